"""Which cipher ssh ends up with: a fast one, unless somebody chose."""

import re
from contextlib import closing
from pathlib import Path

import pytest

from dedupstore.backends import open_backend
from dedupstore.backends.sftp import ssh_settings
from tests.servers.sshd import Sshd

AES, CHACHA = "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"


@pytest.mark.parametrize(
    ("processor", "configured", "option", "expected"),
    [
        ("flags\t\t: fpu aes avx", "", "", AES),
        ("Features\t: fp aes pmull", "", "", AES),
        ("flags\t\t: fpu avx", "", "", CHACHA),
        ("", "", "", CHACHA),
        ("flags\t\t: fpu aes avx", f"Ciphers {CHACHA}", "", CHACHA),
        ("flags\t\t: fpu aes avx", "Ciphers ^aes192-ctr", "", "aes192-ctr"),
        ("flags\t\t: fpu aes avx", f"Ciphers -{AES}", "", CHACHA),
        ("flags\t\t: fpu aes avx", "", "-c aes128-ctr", "aes128-ctr"),
        ("flags\t\t: fpu aes avx", "", f"-oCiphers={CHACHA},{AES}", CHACHA),
    ],
)
def test_prefers_aes_where_the_processor_has_it_and_nobody_chose(
    sshd: Sshd,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    processor: str,
    configured: str,
    option: str,
    expected: str,
) -> None:
    cpu, config, log = tmp_path / "cpuinfo", tmp_path / "config", tmp_path / "log"
    cpu.write_text(f"processor\t: 0\n{processor}\n")
    monkeypatch.setattr(ssh_settings, "_PROCESSOR", cpu)
    config.write_text(f"Include {sshd.ssh_config}\n{configured}\n")
    monkeypatch.setenv("DEDUP_SSH", f"ssh -F {config} -v -E {log} {option}")
    with closing(open_backend(sshd.url(tmp_path.name), retry=False)) as backend:
        assert not list(backend.list(""))
    assert [expected] * 2 == re.findall(r"kex: .* cipher: (\S+)", log.read_text())
