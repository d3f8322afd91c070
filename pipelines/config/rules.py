"""Which values a key of the config file accepts: strings, numbers, choices, lists.

Invariant: a rule accepts what it describes and nothing else; its example is what an error suggests.
"""

from collections.abc import Iterable

from pipelines.config.sections import Rule

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value) and "\0" not in value


def _is_word(value: object) -> bool:
    """Tell whether no program would read this string as an option."""
    return isinstance(value, str) and _is_text(value) and not value.startswith("-")


def _texts(value: object) -> tuple[str, ...] | None:
    return tuple(value) if isinstance(value, list) and value and all(map(_is_text, value)) else None


def number(least: int, most: int, of: str) -> Rule[int]:
    """Return the rule for a number of `of` within bounds."""

    def read(value: object) -> int | None:
        return value if type(value) is int and least <= value <= most else None  # True is an int, too

    return Rule(read, f"a number of {of} from {least} to {most}")


def one_of(choices: Iterable[str]) -> Rule[str]:
    """Return the rule for one of a few strings."""
    listed = tuple(choices)
    return Rule(
        lambda value: value if value in listed else None, " or ".join(f'"{choice}"' for choice in listed)
    )


TEXT: Rule[str] = Rule(lambda value: value if _is_text(value) else None, '"text"')
TEXTS: Rule[tuple[str, ...]] = Rule(_texts, '["text", "more"]')
WORD: Rule[str] = Rule(lambda value: value if _is_word(value) else None, '"text without a leading hyphen"')
WORDS: Rule[tuple[str, ...]] = Rule(
    lambda value: found if (found := _texts(value)) and all(map(_is_word, found)) else None,
    '["text without a leading hyphen", "more"]',
)
FOLDER: Rule[str] = Rule(
    lambda value: value if _is_text(value) and value.startswith("/") else None, '"/path/to/folder"'
)
NAMES: Rule[tuple[str, ...]] = Rule(
    lambda value: None if (found := _texts(value)) is None or any("/" in each for each in found) else found,
    '["a name without slashes", "*.sql"]',
)
COMMAND: Rule[tuple[str, ...]] = Rule(_texts, '["program", "argument", "more"]')
FLAG: Rule[bool] = Rule(lambda value: value if isinstance(value, bool) else None, "true or false")
DAY: Rule[int] = Rule(
    lambda value: DAYS.index(value) if value in DAYS else None, " or ".join(f'"{day}"' for day in DAYS)
)
