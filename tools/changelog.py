"""Join the files of changelog/ into a section of CHANGELOG.md.

    python tools/changelog.py            print what the next release would say
    python tools/changelog.py VERSION    put it on top of CHANGELOG.md, dated today, and delete the files

Invariant: the files are deleted only after CHANGELOG.md holds what they say.
"""

import re
import sys
from datetime import date
from pathlib import Path

KINDS = ("added", "changed", "deprecated", "removed", "fixed", "security")
VERSION = re.compile(r"\d+\.\d+\.\d+")
SECTION = re.compile(r"^## \[", re.MULTILINE)


def changes(folder: Path) -> list[Path]:
    """Return the files of changes, in the order of their kinds and names."""
    found = [path for path in folder.glob("*.md") if path.name != "README.md"]
    for path in found:
        if _kind(path) not in KINDS:
            sys.exit(f"{path}: the name begins with none of {', '.join(KINDS)}")
        if not path.read_text().strip():
            sys.exit(f"{path}: the file is empty")
    return sorted(found, key=lambda path: (KINDS.index(_kind(path)), path.name))


def section(paths: list[Path]) -> str:
    """Return the changes as lists under their kinds."""
    lines: list[str] = []
    for kind in KINDS:
        texts = [path.read_text().strip() for path in paths if _kind(path) == kind]
        if texts:
            bullets = ["- " + text.replace("\n", "\n  ") for text in texts]
            lines += [f"### {kind.capitalize()}\n", *bullets, ""]
    return "\n".join(lines)


def release(root: Path, version: str, today: date) -> None:
    """Move the changes into CHANGELOG.md, as the newest version."""
    paths, page = changes(root / "changelog"), root / "CHANGELOG.md"
    text = page.read_text()
    if not VERSION.fullmatch(version):
        sys.exit(f"{version}: not a version such as 0.2.0")
    if f"## [{version}]" in text:
        sys.exit(f"{page}: has version {version} already")
    if not paths:
        sys.exit(f"{root / 'changelog'}: no changes to release")
    newest = SECTION.search(text)
    at = newest.start() if newest else len(text)
    new = page.with_suffix(".new")
    new.write_text(f"{text[:at]}## [{version}] - {today:%Y-%m-%d}\n\n{section(paths)}\n{text[at:]}")
    new.replace(page)
    for path in paths:
        path.unlink()


def _kind(path: Path) -> str:
    return path.name.partition("-")[0]


def main() -> None:
    """Print or release."""
    root = Path(__file__).parents[1]
    match sys.argv[1:]:
        case []:
            print(section(changes(root / "changelog")), end="")
        case [version] if not version.startswith("-"):
            release(root, version, date.today())
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
