# The project's verbs.  `make` alone lists them.
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check
SOURCES := pyproject.toml setup.py $(wildcard dedupstore/*.c dedupstore/*.h)

unexport PYTHONDONTWRITEBYTECODE  # demo and tests start dedup hundreds of times: compile it once

.PHONY: help build demo test lint bench clean

help:
	@echo "make build   ./.venv with dedup in it"
	@echo "make demo    two weeks of backups, end to end, with throw-away keys"
	@echo "make test    the whole suite, on real servers (installs what is missing when root)"
	@echo "make lint    ruff and mypy"
	@echo "make bench   figures, with ratios to the machine's limits"
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

lint: $(VENV)/developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/developed
	$(BIN)/python -m pytest bench --benchmark-only -p no:timeout

clean:
	rm -rf $(VENV) build dist *.egg-info dedupstore/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
