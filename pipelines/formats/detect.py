"""Tell what a stream is by its first bytes.

Invariant: detection never changes or refuses a stream; it only names it.
"""

FORMATS = ("auto", "afs", "tar", "raw")  # what people may ask for
HEAD = 512  # bytes that are enough to tell: one tar header

# How an AFS volume dump begins and ends: the tags D_DUMPHEADER and D_DUMPEND with DUMPBEGINMAGIC and DUMPENDMAGIC, as
# in src/volser/dump.h of OpenAFS.
DUMP_BEGIN, DUMP_END = bytes.fromhex("01b3a11322"), bytes.fromhex("043a214b6e")
_CHECKSUM = slice(148, 156)


def detect(head: bytes) -> str:
    """Return `afs`, `tar` or `raw` for a stream that begins with `head` (`HEAD` bytes, or all there are)."""
    if is_volume_dump(head):
        return "afs"
    return "tar" if has_tar_header(head) else "raw"


def is_volume_dump(head: bytes) -> bool:
    """Tell whether it begins as an AFS volume dump."""
    return head.startswith(DUMP_BEGIN)


def has_tar_header(head: bytes) -> bool:
    """Tell whether it begins with a header of any tar format, from Unix v7 to pax.

    All have the same checksum (POSIX.1-2017, pax, "ustar Interchange Format"): the sum of the header's
    512 bytes, its own field taken as spaces, in octal.  Some old programs added up signed bytes.
    """
    if len(head) < HEAD:
        return False
    header = head[:HEAD]
    digits = header[_CHECKSUM].strip(b" \0")
    if not digits or digits.strip(b"01234567"):
        return False
    rest = header[: _CHECKSUM.start] + b" " * 8 + header[_CHECKSUM.stop :]
    total = sum(rest)
    signed = total - 256 * sum(byte > 127 for byte in rest)
    return int(digits, 8) in (total, signed)


def is_empty_tar(head: bytes) -> bool:
    """Tell whether it begins with a block of zeros: as a tar, that is one without members."""
    return len(head) >= HEAD and not any(head[:HEAD])
