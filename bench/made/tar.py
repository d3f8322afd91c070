"""A folder of files as a tar, and what becomes of it in a week; seeded.

Sizes are log-normal (median 8 KiB, at most 4 MiB); 60 % are text.  A day changes 0.6 % of the files (half grow at the
end, a third are edited within, the rest are written anew), 0.2 % come and 0.1 % go.
"""

import io
import tarfile
from pathlib import Path
from random import Random

from bench.made.data import pieces

START = 1_772_326_800
DAY = 86_400


class Folder:
    """The files, by path: contents and time of change in Unix seconds."""

    def __init__(self, files: int, seed: int = 1) -> None:
        self._source = Random(seed)
        self._material = pieces(1 << 40, seed)
        self._rest = b""
        self._made = 0
        self.files: dict[str, tuple[bytes, int]] = {}
        for _ in range(files):
            self._add(START)

    def _bytes(self, size: int) -> bytes:
        """Return bytes that are nowhere else in the folder."""
        while len(self._rest) < size:
            self._rest += next(self._material)
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def _add(self, now: int) -> None:
        self._made += 1
        size = min(int(self._source.lognormvariate(9, 1.8)), 4 << 20)
        self.files[f"folder{self._made // 40:04}/file{self._made:06}"] = self._bytes(size), now

    def change(self, now: int) -> None:
        """Let a day pass."""
        source, paths = self._source, sorted(self.files)
        for path in source.sample(paths, max(1, len(paths) * 6 // 1000)):
            old, _ = self.files[path]
            how, at = source.random(), source.randrange(len(old) + 1)
            if how < 0.5:
                new = old + self._bytes(200 + source.randrange(4000))
            elif how < 0.83:
                new = old[:at] + self._bytes(source.randrange(1, 300)) + old[at + source.randrange(300) :]
            else:
                new = self._bytes(len(old))
            self.files[path] = new, now
        for path in source.sample(paths, len(paths) // 1000):
            del self.files[path]
        for _ in range(max(1, len(paths) * 2 // 1000)):
            self._add(now)

    def write(self, path: Path) -> None:
        """Write the tar, in the order of the paths."""
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
            for name, (content, changed) in sorted(self.files.items()):
                member = tarfile.TarInfo(name)
                member.size, member.mtime, member.mode = len(content), changed, 0o644
                tar.addfile(member, io.BytesIO(content))


def make_week(folder: Path, files: int, seed: int = 1) -> list[Path]:
    """Write eight daily tars into `folder` and return them."""
    made, state = [], Folder(files, seed)
    for day in range(8):
        if day:
            state.change(START + day * DAY)
        made.append(folder / f"{day}.tar")
        state.write(made[-1])
    return made
