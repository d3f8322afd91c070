"""Dependencies point one way: from package to package, and within each package down its table of modules."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOP = ["pipelines", "keys", "dedupstore"]
FORBIDDEN = {
    "dedupstore": {"tests", "gnupg", "click", "rich"},
    "keys": {"tests", "click", "rich"},
    "pipelines": {"tests", "gnupg"},
}
MOST_MODULES = 17  # directly in a folder
_ROW = re.compile(r"^\|((?: *`\w+`,?)+) *\|", re.MULTILINE)


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for package in TOP for path in sorted((ROOT / package).rglob("*.py"))}
PACKAGES = [name for name, path in MODULES.items() if path.name == "__init__.py"]


def imported(path: Path) -> Iterator[str]:
    """Yield what a module imports, anywhere in it: lazily, and for its annotations alone, too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else node.module


IMPORTS = {name: {other for other in imported(path) if other in MODULES} for name, path in MODULES.items()}


def rooms(package: str) -> list[list[str]]:
    """Return the rows of a package's table, each with the modules that it names."""
    rows = _ROW.findall(ast.get_docstring(ast.parse(MODULES[package].read_text())) or "")
    return [re.findall(r"`(\w+)`", row) for row in rows]


def inside(package: str) -> set[str]:
    """Return the modules and packages directly in a package."""
    return {
        name.removeprefix(f"{package}.").split(".")[0] for name in MODULES if name.startswith(f"{package}.")
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_the_table_of_a_package_names_each_of_its_modules_once(package: str) -> None:
    assert sorted(inside(package)) == sorted(name for row in rooms(package) for name in row)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_module_imports_only_what_stands_below_it_in_its_packages_table(package: str) -> None:
    """Modules in one row do not know each other."""
    floor = {name: number for number, row in enumerate(rooms(package)) for name in row}
    upward = [
        f"{module} imports {other}"
        for module, others in IMPORTS.items()
        for other in others
        if module.startswith(f"{package}.") and other.startswith(f"{package}.")
        for here, there in [[name.removeprefix(f"{package}.").split(".")[0] for name in (module, other)]]
        if here != there and floor[here] >= floor[there]
    ]
    assert [] == upward


@pytest.mark.parametrize("package", PACKAGES)
def test_a_folder_holds_no_more_modules_than_a_newcomer_can_overlook(package: str) -> None:
    assert len([*MODULES[package].parent.glob("*.py")]) <= MOST_MODULES


def test_packages_depend_one_way() -> None:
    below = {name: TOP[number:] for number, name in enumerate(TOP)}
    upward = [
        f"{module} imports {other}"
        for module, others in IMPORTS.items()
        for other in others
        if other.split(".")[0] not in below[module.split(".")[0]]
    ]
    assert [] == upward


@pytest.mark.parametrize("package", TOP)
def test_a_package_imports_no_library_of_another_layer_and_no_test(package: str) -> None:
    for module, path in MODULES.items():
        if module.split(".")[0] == package:
            assert set() == {name.split(".")[0] for name in imported(path)} & FORBIDDEN[package], module


def test_there_is_no_cycle_of_imports() -> None:
    """A package's own `__init__` counts, too."""
    left = {name: others - {name} for name, others in IMPORTS.items()}
    while free := {name for name, others in left.items() if not others}:
        left = {name: others - free for name, others in left.items() if name not in free}
    assert {} == left
