"""Dependencies point one way: pipelines, then keys, then dedupstore; and no test code in the product."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "dedupstore": {"keys", "pipelines", "tests", "gnupg", "click", "rich"},
    "keys": {"pipelines", "tests", "click", "rich"},
    "pipelines": {"tests", "gnupg"},
}


def imported(path: Path) -> set[str]:
    """Return the top-level names that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_a_package_imports_only_what_is_below_it(package: str) -> None:
    """Each module of the package keeps to its layer."""
    modules = sorted((ROOT / package).rglob("*.py"))
    assert modules
    for path in modules:
        assert set() == imported(path) & FORBIDDEN[package], path
