"""Databases as their dumps have them, day by day, for data to measure with; seeded."""

import time
from random import Random

from bench.made.text import Text

TABLES = {"events": 0.40, "orders": 0.25, "users": 0.12, "stock": 0.03, "pages": 0.20}


class Database:
    """A database of `size` bytes; its tables are lists of rows.  All times are `before` one, in Unix seconds.

    One table grows at its end and is purged at its head, one changes near its end, a large one in few and a small
    one in many places, and one has long texts.
    """

    def __init__(self, text: Text, source: Random, size: int, before: int) -> None:
        self._text, self._source, self._before, self._serial = text, source, before, 0
        self._tables: dict[str, list[bytes]] = {}
        for name, share in TABLES.items():
            rows = self._tables[name] = []
            have = 0
            while have < size * share:
                rows += self._rows(name, 500)
                have += sum(map(len, rows[-500:]))

    def change(self) -> None:
        """Let a day pass."""
        source, tables = self._source, self._tables
        counts = {name: len(rows) for name, rows in tables.items()}
        del tables["events"][: counts["events"] // 100]
        tables["events"] += self._rows("events", counts["events"] * 15 // 1000)
        for name, changed, first in (
            ("orders", 200, 0.9),
            ("users", 2000, 0),
            ("stock", 33, 0),
            ("pages", 300, 0),
        ):
            for new in self._rows(name, counts[name] // changed + 1):
                tables[name][int(source.uniform(first, 1) * counts[name])] = new
        tables["orders"] += self._rows("orders", counts["orders"] // 200)
        for name, places, share in (("users", 1, 1000), ("pages", 3, 500)):
            for _ in range(places):
                at = source.randrange(counts[name])
                tables[name][at:at] = self._rows(name, counts[name] // share + 1)

    def sql(self) -> bytes:
        """Return the database as a dump has it."""
        parts = [b"--\n-- PostgreSQL database dump\n--\n\nSET client_encoding = 'UTF8';\n\n"]
        for name, rows in self._tables.items():
            parts += [f"COPY public.{name} FROM stdin;\n".encode(), *rows, b"\\.\n\n"]
        return b"".join([*parts, b"--\n-- PostgreSQL database dump complete\n--\n"])

    def _rows(self, table: str, count: int) -> list[bytes]:
        source, words, made = self._source, self._text.words, []
        for _ in range(count):
            self._serial += 1
            one, two, number = source.choice(words), source.choice(words[:400]), source.randrange(10**9)
            at = time.strftime("%F %T", time.gmtime(self._before - number % 10**8))
            if table == "events":
                row = f"{self._serial * 3}\t{number % 400}\tview\t10.{number & 3}.{number >> 8 & 255}.9\t{two} {one}"
            elif table == "orders":
                row = f"{number % 50_000}\t{at}\t{number % 977}.{number % 100:02}\tnew\t{two} {one}\tf\t\\N"
            elif table == "users":
                row = f"{one}\t{one}@{two}.example.org\t{at}\tt\t{number * 2_654_435_761 % 2**64:016x}"
            elif table == "stock":
                row = f"{one}\t{number % 400}\t{number % 10_000}\t{at}"
            else:
                body = self._text.make("html", 300 + number % 1500).decode().replace("\n", "\\n")
                row = f"/{two}/{one}\t{at}\t{body}"
            made.append(f"{self._serial}\t{row}\n".encode())
        return made
