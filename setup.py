"""Build the C extensions; everything else is in pyproject.toml.

The limited API makes one wheel serve every CPython from 3.11 on.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "dedupstore._chunker",
            sources=["dedupstore/_chunker.c"],
            extra_compile_args=["-std=c11", "-O3", "-Wall", "-Wextra", "-Werror"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            depends=["dedupstore/_chunker_core.h"],
            py_limited_api=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
