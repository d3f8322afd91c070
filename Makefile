# The project's verbs.  `make` alone lists them.
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check
C := $(wildcard dedupstore/chunks/*.c dedupstore/chunks/*.h pipelines/formats/*.c pipelines/formats/*.h)
SOURCES := pyproject.toml setup.py $(C)
FUZZ_SECONDS ?= 200

unexport PYTHONDONTWRITEBYTECODE  # demo and tests start dedup hundreds of times: compile it once

.PHONY: help build demo test test-long coverage lint bench fuzz clean

help:
	@echo "make build   ./.venv with dedup in it"
	@echo "make demo    two weeks of backups, end to end, with throw-away keys"
	@echo "make test    the whole suite, on real servers (installs what is missing when root)"
	@echo "make test-long   what takes many minutes: large models, an emulated big-endian machine"
	@echo "make coverage   branches that the tests of modules and of the command line pass through, with a floor"
	@echo "make lint    ruff, mypy and codespell"
	@echo "make bench   figures, with ratios to the machine's limits"
	@echo "make fuzz    ten minutes of coverage-guided fuzzing of the splitters (needs clang)"
	@echo "make clean   remove what the others made"

build: $(VENV)/built
demo: build
	@$(BIN)/python tools/demo.py

$(VENV)/built: $(SOURCES)
	@tools/system-packages build
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q --editable .
	@touch $@

$(VENV)/developed: $(VENV)/built
	@tools/system-packages test
	$(PIP) install -q --editable '.[dev]'
	@touch $@

test: $(VENV)/developed
	$(BIN)/python -m pytest

test-long: $(VENV)/developed
	$(BIN)/python -m pytest -m long -o timeout=0 -rP

coverage: $(VENV)/developed
	$(BIN)/python -m pytest -m 'not long and not budget' tests/dedupstore tests/keys tests/pipelines tests/e2e/cli --cov

lint: $(VENV)/developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

bench: $(VENV)/developed
	$(BIN)/python -m pytest bench/bench_*.py --benchmark-only -o timeout=0

fuzz: $(VENV)/built
	@mkdir -p build/fuzz
	$(BIN)/python tests/fuzz/seeds.py build/fuzz
	for what in afs tar succeed; do \
		clang -std=c11 -O2 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
			-DTARGET=check_$$what -Ipipelines/formats -o build/fuzz/check_$$what tests/fuzz/libfuzzer.c || exit 1; \
		nice build/fuzz/check_$$what -max_total_time=$(FUZZ_SECONDS) -max_len=16384 -print_final_stats=1 \
			-artifact_prefix=build/fuzz/ build/fuzz/$$what 2> build/fuzz/$$what.log \
			|| { tail -n 40 build/fuzz/$$what.log; exit 1; }; \
		grep -E 'DONE|stat::' build/fuzz/$$what.log; \
	done

clean:
	rm -rf $(VENV) build dist *.egg-info dedupstore/chunks/*.so pipelines/formats/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
	find . -name __pycache__ -prune -exec rm -rf {} +
