"""The modules of bench/ are programs beside each other, not a package: they find each other by the path."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "bench"))
