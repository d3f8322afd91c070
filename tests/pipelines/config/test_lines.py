"""On which line a key of a config file stands."""

from hypothesis import given
from hypothesis import strategies as st

from pipelines.config.lines import lines


def test_tables_and_keys_have_their_lines() -> None:
    text = 'a = 1\n\n# [no]\n[run]\nb = 2\n[[source]]\nname = "x"\n[[source]]\n  name = "y"\n'
    expected = {
        ("a",): 1,
        ("run",): 4,
        ("run", "b"): 5,
        ("source",): 6,
        ("source", 0): 6,
        ("source", 0, "name"): 7,
        ("source", 1): 8,
        ("source", 1, "name"): 9,
    }
    assert expected == lines(text)


def test_a_statement_of_several_lines_stands_where_it_begins() -> None:
    text = 'a = [\n  "x = 1",\n  2,\n]\nb = """\n[[c]]\nd = 1\n"""\n'
    text += "e = '''\n\"\"\"\n'''\nf = 1\r\ng = \"\u2028\"\n"
    assert {("a",): 1, ("b",): 5, ("e",): 9, ("f",): 12, ("g",): 13} == lines(text)


def test_tables_below_the_last_of_a_list_belong_to_it() -> None:
    text = "[[a]]\n[[a]]\n[a.b]\nc = 1\n[[a.d]]\n[[a.d]]\ne = 1\n"
    found = lines(text)
    assert (4, 7) == (found["a", 1, "b", "c"], found["a", 1, "d", 1, "e"])


def test_keys_with_dots_and_inline_tables_are_found_too() -> None:
    assert {("a",): 1, ("a", "b"): 1, ("c",): 2, ("c", "d"): 2} == lines("a.b = 1\nc = { d = 1 }\n")


@given(
    st.lists(st.sampled_from(["", "# x", "{k} = 1", '{k} = """\n\n"""', "[{k}]", "[[{k}]]", "{k}=[\n1,\n]"]))
)
def test_every_key_is_on_the_line_that_names_it(forms: list[str]) -> None:
    text = "".join(form.replace("{k}", f"k{number}") + "\n" for number, form in enumerate(forms))
    rows = text.split("\n")
    for place, line in lines(text).items():
        keys = [part for part in place if isinstance(part, str)]
        assert keys[-1] in rows[line - 1]
    named = {place[-1] for place in lines(text)} | {part for place in lines(text) for part in place}
    assert {f"k{number}" for number, form in enumerate(forms) if "{k}" in form} <= named
