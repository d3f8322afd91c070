"""What several of the programs here are told on their command lines."""

import argparse
from pathlib import Path


def existing_folder(text: str) -> Path:
    """Return a folder that is there; for `argparse`, which says so if it is not."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return Path(text)
