"""Types of the C extension; dedupstore.chunks.splitting is its public face."""

def divide(
    buffer: bytearray | memoryview,
    start: int,
    end: int,
    ranges: bytes,
    content: bool,
    length: int,
    /,
) -> tuple[int, bytes, bytes, bytes, bool, int]: ...
def pairs(
    data: bytes | bytearray | memoryview, least: int, first: bool, ended: bool, /
) -> tuple[bytes, int, int, int] | None: ...
