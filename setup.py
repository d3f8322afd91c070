"""Build the C extensions; everything else is in pyproject.toml.

The limited API makes one wheel serve every CPython from 3.11 on.  `dedupstore.chunks._identify` is built around the
BLAKE3 team's C code, in the folder that BLAKE3_C names or that Debian's librust-blake3-dev has; where there is none
it is left out, and chunks are hashed one by one (dedupstore/chunks/ids.py).
"""

import os
import platform
import re
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

EXTENSIONS = {  # where each lives, and the headers with what it does apart from Python
    "dedupstore/chunks/_chunker": ["_chunker_core.h"],
    "dedupstore/chunks/_divide": ["_divide_core.h"],
    "dedupstore/chunks/_identify": ["_identify_core.h"],
    "pipelines/formats/_split": [
        f"_split_{part}.h"
        for part in ("afs", "afs_fields", "hash", "ranges", "succeed", "tar", "tar_fields", "tar_records")
    ],
}
DEBIAN = Path("/usr/share/cargo/registry")
ASSEMBLER = "_x86-64_unix.S"
HASHED = "dedupstore/chunks/_identify"


def blake3_folder() -> Path | None:
    """Return where BLAKE3's C code is, if it is anywhere."""
    if sys.maxsize < 1 << 32:
        return None
    if named := os.environ.get("BLAKE3_C"):
        if not Path(named, "blake3_impl.h").exists():
            sys.exit(f"BLAKE3_C names {named}, which is not the folder of BLAKE3's C code")
        return Path(named)
    return max(DEBIAN.glob("blake3-*/c"), key=_version, default=None)


def _version(path: Path) -> list[int]:
    return [int(number) for number in re.findall("[0-9]+", path.parent.name)]


def blake3_sources(folder: Path) -> list[str]:
    """Return what this machine needs of it: all that there is, of which the processor's best is used."""
    names = ["blake3_dispatch.c", "blake3_portable.c"]
    if platform.machine() in ("x86_64", "AMD64"):
        names += sorted(path.name for path in folder.glob(f"*{ASSEMBLER}"))
    elif platform.machine() in ("aarch64", "arm64"):
        names.append("blake3_neon.c")
    return [str(folder / name) for name in names]


class Build(build_ext):
    """Compiles BLAKE3's sources, too, which setuptools does not take from outside the project."""

    def build_extension(self, ext: Extension) -> None:
        """Build one."""
        if ext.name == HASHED.replace("/", "."):
            self.compiler.src_extensions.append(".S")
            ext.extra_objects = self.compiler.compile(
                blake3_sources(Path(ext.include_dirs[0])), output_dir=self.build_temp, extra_postargs=["-O3"]
            )
        super().build_extension(ext)


def extensions(blake3: Path | None) -> list[Extension]:
    """Return what is to be built."""
    return [
        Extension(
            path.replace("/", "."),
            sources=[f"{path}.c"],
            include_dirs=[str(blake3)] if path == HASHED else [],
            extra_compile_args=["-std=c11", "-O3", "-Wall", "-Wextra", "-Werror"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            depends=[f"{path.rpartition('/')[0]}/{header}" for header in headers],
            py_limited_api=True,
        )
        for path, headers in EXTENSIONS.items()
        if blake3 or path != HASHED
    ]


if __name__ == "__main__":
    setup(
        cmdclass={"build_ext": Build},
        ext_modules=extensions(blake3_folder()),
        options={"bdist_wheel": {"py_limited_api": "cp311"}},
    )
