"""Fixtures of the store's tests."""

from pathlib import Path

import pytest

from tests.store import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a new repository with an admin and a writer."""
    return World(tmp_path)
