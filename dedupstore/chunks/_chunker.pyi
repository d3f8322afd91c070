"""Types of the C extension; dedupstore.chunks.chunker is its public face."""

def cuts(
    data: bytes | bytearray | memoryview,
    gear: bytes,
    minimum: int,
    average: int,
    maximum: int,
    final: bool,
    ends: bytes = ...,
    /,
) -> list[int]: ...
def cuts_scalar(
    data: bytes | bytearray | memoryview,
    gear: bytes,
    minimum: int,
    average: int,
    maximum: int,
    final: bool,
    ends: bytes = ...,
    /,
) -> list[int]: ...
def cuts_wide(
    data: bytes | bytearray | memoryview,
    gear: bytes,
    minimum: int,
    average: int,
    maximum: int,
    final: bool,
    ends: bytes = ...,
    /,
) -> list[int]: ...
