"""Facts as a hostile writer could store them: each of these, put into good ones, must read as none at all."""

from typing import Any

ABSURD = 253_402_300_800  # the year 10000

HOSTILE: list[dict[str, Any]] = [
    {"v": 2},
    {"v": 0},
    {"v": True},
    {"v": "1"},
    {"v": [1]},
    {"is": "tar"},
    {"is": 7},
    {"is": "\x1b[31mvolume"},
    {"volume": "1"},
    {"volume": -1},
    {"volume": 2**32},
    {"since": True},
    {"since": 1.0},
    {"since": ABSURD, "until": ABSURD},
    {"since": 2**63, "until": 2**64 - 1},
    {"since": 0},  # but it has a parent
    {"until": 1},  # before it begins
    {"until": None},
    {"until": ABSURD},
    {"until": 2**64 - 1},
    {"creation": -(2**63)},
    {"copy": {"a": 1}},
    {"update": [1, 2]},
    {"parent": "ab" * 32},
    {"parent": b"ab"},
    {"parent": 7},
    {"state": b"short"},
    {"unparsed": -1},
    {"stale": 1},
    {"name": b"bytes"},
    {"name": "x" * 256},
    {"source": ["a"]},
]
