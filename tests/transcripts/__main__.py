"""Run all transcripts; with `--update`, write what is printed now in the place of what does not match."""

import sys

from tests.transcripts.runner import FILES, Runner
from tests.transcripts.script import rewritten
from tests.transcripts.world import ROOT


def main(update: bool) -> int:
    """Return the exit status: 0 if all matched, 1 if not."""
    failed = 0
    with Runner() as runner:
        for path in FILES:
            results = runner.run(path)
            wrong = [result for result in results if not result.step.matches(result.printed, result.status)]
            for step, printed, status in wrong:
                print(f"{path.relative_to(ROOT)}:{step.first}: {step.typed}\n{printed}[exit {status}]")
            failed += len(wrong)
            if update and wrong:
                path.write_text(rewritten(path.read_text(), results))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main("--update" in sys.argv[1:]))
