"""Sizes, parts and names, as they are shown to people.

Invariant: what `safe` returns changes nothing on a terminal but what is seen.
"""

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def size(count: float) -> str:
    """Return a number of bytes as `1.2 GB`: powers of ten, one decimal."""
    if count < 1000:
        return f"{count:.0f} B"
    unit = 0
    while count >= 999.95 and unit < len(_UNITS) - 1:  # 999.95 would be shown as 1000.0
        count /= 1000
        unit += 1
    return f"{count:.1f} {_UNITS[unit]}"


def saved(total: int, new: int) -> str:
    """Return the part of `total` bytes that was there already, as `97.2 %`."""
    return f"{100 * max(0, total - new) / total:.1f} %" if total else "0.0 %"


def safe(text: str) -> str:
    """Return the text with control characters, bidi marks and invalid UTF-8 escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def count(number: int, noun: str) -> str:
    """Return `1 stream`, `2 streams`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
