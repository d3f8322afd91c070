"""Options, environment, config file, defaults: which one counts."""

import re
from pathlib import Path

import pytest

from dedupstore.errors import DedupError
from pipelines.config import config_file
from pipelines.config.config_file import Settings


def load(
    text: str | None, folder: Path, environment: dict[str, str] | None = None, option: str | None = None
) -> Settings:
    file = folder / "dedup.toml"
    if text is not None:
        file.write_text(text)
    return config_file.load(option, str(file) if text is not None else None, environment or {}, root=False)


def why(text: str, folder: Path) -> str:
    with pytest.raises(DedupError) as caught:
        load(text, folder)
    return str(caught.value)


def test_reads_every_key(tmp_path: Path) -> None:
    settings = load(
        'repository = "sftp://u@h/~/r"\ngpg_home = "/g"\nstate_dir = "/s"\ncompression = 19\n', tmp_path
    )
    assert Settings("sftp://u@h/~/r", Path("/g"), Path("/s"), 19, tmp_path / "dedup.toml") == settings


def test_an_option_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    text = 'repository = "/file"\nstate_dir = "/file"\ngpg_home = "/file"\n'
    environment = {"DEDUP_REPOSITORY": "/env", "DEDUP_STATE_DIR": "/env", "GNUPGHOME": "/env"}
    both = load(text, tmp_path, environment)
    assert ("/env", Path("/env"), None) == (both.repository, both.state, both.gpg_home)
    assert "/option" == load(text, tmp_path, environment, "/option").repository


def test_an_option_beats_a_config_file_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("compression = 1\n")
    (tmp_path / "two").write_text("compression = 2\n")
    environment = {"DEDUP_CONFIG": str(tmp_path / "one")}
    assert 1 == config_file.load(None, None, environment, root=False).compression
    assert 2 == config_file.load(None, str(tmp_path / "two"), environment, root=False).compression


def test_a_folder_gets_one_name_from_wherever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/alice")
    assert f"{tmp_path}/repo" == load(None, tmp_path, option="sub/../repo").repository
    assert "/home/alice/repo" == load(None, tmp_path, option="~/repo").repository


@pytest.mark.parametrize("place", ["sftp://u@h/r", "file:///r", "host:repo", "", "~nobody-of-that-name/r"])
def test_what_is_no_plain_path_is_left_to_the_back_end(tmp_path: Path, place: str) -> None:
    assert place == load(None, tmp_path, {"DEDUP_REPOSITORY": "/other"}, option=place).repository


def test_nothing_named_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_file, "DEFAULT_FILE", tmp_path / "missing")
    assert load(None, tmp_path, {"DEDUP_REPOSITORY": ""}).repository is None


def test_the_state_is_where_the_user_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_file, "DEFAULT_FILE", tmp_path / "missing")
    monkeypatch.setenv("HOME", "/home/alice")
    assert Path("/var/lib/dedup") == config_file.load(None, None, {}, root=True).state
    assert Path("/home/alice/.local/state/dedup") == config_file.load(None, None, {}, root=False).state
    assert Path("/x/dedup") == config_file.load(None, None, {"XDG_STATE_HOME": "/x"}, root=False).state
    ignored = config_file.load(None, None, {"XDG_STATE_HOME": "relative"}, root=False).state
    assert Path("/home/alice/.local/state/dedup") == ignored


def test_a_home_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert "cannot expand '~nobody-of-that-name/x': no home folder; give an absolute path" == why(
        'state_dir = "~nobody-of-that-name/x"\n', tmp_path
    )


def test_an_unknown_key_names_the_file_the_key_and_the_choices(tmp_path: Path) -> None:
    expected = (
        f"{tmp_path}/dedup.toml, line 2: unknown key 'repo'; known keys: repository, gpg_home, state_dir, "
        "compression, run, schedule, source"
    )
    assert expected == why('# x\nrepo = "/x"\n', tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "repository = 3",
        'repository = ""',
        "compression = 0",
        "compression = 20",
        "compression = true",
        'compression = "3"',
    ],
)
def test_a_wrong_value_names_the_file_the_key_and_an_example(tmp_path: Path, line: str) -> None:
    key = line.split()[0]
    message = why(line + "\n", tmp_path)
    assert re.match(rf"{tmp_path}/dedup\.toml, line 1: invalid value {key} = .*; write .*{key} = ", message)


@pytest.mark.parametrize("data", [b"repository = \n", b'repository = "\xff"\n', b"[["])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "dedup.toml"
    file.write_bytes(data)
    with pytest.raises(DedupError, match=f"the config file {file} is not valid TOML: "):
        config_file.load(None, str(file), {}, root=False)


def test_what_only_a_run_needs_is_not_read_by_others(tmp_path: Path) -> None:
    assert 5 == load("compression = 5\n[run]\nno_such_key = 1\n", tmp_path).compression


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(DedupError, match="no such config file: /nowhere/x; check --config and DEDUP_CONFIG"):
        config_file.load(None, None, {"DEDUP_CONFIG": "/nowhere/x"}, root=False)


def test_a_folder_instead_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DedupError, match=f"cannot read the config file {tmp_path}: Is a directory"):
        config_file.load(None, str(tmp_path), {}, root=False)
