"""Reading transcripts, comparing them and writing them back."""

import pytest

from tests.transcripts.script import Step, page, rewritten, transcript

SCRIPT = """\
world: made
# A comment.
$ echo one &&
>   echo two
one

two
[exit 3]

# Another.
root@fs1# true
bob@desktop$ dedup -q trust accept
Is that right? [y/N] y
"""
PAGE = """\
$ not a command

```console
$ dedup list
```

```sh
$ rm -rf /
```

```console
$ echo one
one
$ true
```
"""


def expecting(*lines: str) -> Step:
    return Step("fs1", "true", list(lines), 0, 0, 0)


def test_a_transcript_says_who_types_what_and_what_happens() -> None:
    one, two, three = transcript(SCRIPT)
    assert ("alice@laptop", "echo one &&\n  echo two") == (one.machine, one.typed)
    assert (["one", "", "two"], 3) == (one.output, one.status)
    assert ("root@fs1", [], 0, "") == (two.machine, two.output, two.status, two.answer)
    assert ("bob@desktop", "y") == (three.machine, three.answer)


def test_a_block_of_a_page_that_shows_no_output_is_not_compared() -> None:
    assert [("dedup list", False), ("echo one", True), ("true", True)] == [
        (step.typed, step.compared) for step in page(PAGE)
    ]


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        ("made …", "made it\n"),
        ("SIZE 1.5 MB in 1.0 s", "SIZE   23 B in 2 s\n"),
        ("5db5e2eef724305b473d1efbaf291a4c", "00000000000000000000000000000000\n"),
        ("at 2026.11.01T03:10", "at 2026.11.01T03:10  \n\n"),
    ],
)
def test_samples_stand_for_their_kind(expected: str, printed: str) -> None:
    assert expecting(expected).matches(printed, 0)


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        ("made …", "made \n"),
        ("4 streams", "5 streams\n"),
        ("at 2026.11.01T03:10", "at 2026.11.02T03:10\n"),
        ("", "something\n"),
        ("one", ""),
    ],
)
def test_everything_else_must_be_equal(expected: str, printed: str) -> None:
    assert not expecting(*filter(None, [expected])).matches(printed, 0)
    assert not expecting("one").matches("one\n", 1)


def test_an_ellipsis_alone_stands_for_some_lines_or_none() -> None:
    for between in ("", "two\n", "two\n\nthree\n"):
        assert expecting("one", "…", "four").matches(f"one\n{between}four\n", 0)
    assert not expecting("one", "…", "four").matches("one\ntwo\n", 0)


def test_only_what_does_not_match_is_replaced() -> None:
    one, two, three = transcript(SCRIPT)
    results = [(one, "one\n\ntwo\n", 3), (two, "new\n\nlines\n", 1), (three, "Is that right? [y/N] y\n", 0)]
    assert SCRIPT.replace("# true\n", "# true\nnew\n\nlines\n[exit 1]\n") == rewritten(SCRIPT, results)


@pytest.mark.parametrize(
    ("expected", "printed", "new"),
    [
        (["made 4 B", "two"], "made 5 B\n2\n", ["made 4 B", "2"]),
        (["one", "…", "four"], "1\ntwo\nthree\nfour\n", ["1", "…", "four"]),
        (["one", "…", "two", "…", "four"], "1\n\ntwo\n\nfour\n", ["1", "…", "two", "…", "four"]),
        (["one", "…", "two", "…", "four"], "one\n2\n4\n", ["one", "…", "…", "4"]),
        (["one"], "1\n2\n", ["1", "2"]),
    ],
)
def test_what_was_left_out_stays_left_out(expected: list[str], printed: str, new: list[str]) -> None:
    text = "\n".join(["$ true", *expected, ""])
    (step,) = transcript(text)
    assert "\n".join(["$ true", *new, ""]) == rewritten(text, [(step, printed, 0)])
