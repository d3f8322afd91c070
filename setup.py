"""Build the C extensions; everything else is in pyproject.toml.

The limited API makes one wheel serve every CPython from 3.11 on.
"""

from setuptools import Extension, setup

EXTENSIONS = {  # where each lives, and the headers with what it does apart from Python
    "dedupstore/_chunker": ["_chunker_core.h"],
    "dedupstore/_divide": ["_divide_core.h"],
    "pipelines/formats/_split": [
        f"_split_{part}.h"
        for part in ("afs", "afs_fields", "hash", "ranges", "succeed", "tar", "tar_fields", "tar_records")
    ],
}

setup(
    ext_modules=[
        Extension(
            path.replace("/", "."),
            sources=[f"{path}.c"],
            extra_compile_args=["-std=c11", "-O3", "-Wall", "-Wextra", "-Werror"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            depends=[f"{path.rpartition('/')[0]}/{header}" for header in headers],
            py_limited_api=True,
        )
        for path, headers in EXTENSIONS.items()
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
