"""What gpg is asked for, and what of its answers is believed."""

import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dedupstore.errors import KeyAccessError, TrustError
from keys.gpg import Gpg, normal_fingerprint
from keys.public import UnsureError, encrypt, verify
from tests.gpg_home import GpgHome, gpg_with
from tests.keys.conftest import People

DATA = b"first line\r\nsecond line\n"


@pytest.fixture
def home() -> Iterator[GpgHome]:
    with GpgHome() as home:
        yield home


def detached(home: GpgHome, fingerprint: str, *options: str) -> bytes:
    """A signature made by gpg itself, with any options."""
    return home.run(*options, "--local-user", fingerprint, "--detach-sign", data=DATA)


# --- signatures ------------------------------------------------------------------------------------------------


def test_a_signature_names_the_full_fingerprint_of_its_key(people: People) -> None:
    signature = people.of_alice.sign(DATA, people.alice)
    keys = [people.of_alice.export(people.bob), people.of_alice.export(people.alice)]
    assert verify(signature, DATA, keys) == people.alice


def test_a_signature_has_one_form_whatever_the_user_prefers(home: GpgHome) -> None:
    key = home.make_key("alice")
    (home.path / "gpg.conf").write_text("armor\ntextmode\ndigest-algo SHA1\ndefault-sig-expire 1y\n")
    signature = home.gpg.sign(DATA, key)
    packets = home.run("--list-packets", data=signature)
    assert b"sigclass 0x00\n\tdigest algo 10" in packets
    assert b"sig expires" not in packets
    assert verify(signature, DATA, [home.gpg.export(key)]) == key


def test_a_signature_of_a_subkey_counts_for_its_primary_key(home: GpgHome) -> None:
    key = home.make_key("alice")
    home.run("--passphrase", "", "--quick-add-key", key, "ed25519", "sign", "0")
    signature = home.gpg.sign(DATA, key)
    assert b"keyid " + key[-16:].encode() not in home.run("--list-packets", data=signature)
    assert verify(signature, DATA, [home.gpg.export(key)]) == key


def test_a_signature_of_other_bytes_does_not_count(people: People) -> None:
    signature = people.of_alice.sign(DATA, people.alice)
    with pytest.raises(TrustError, match="BADSIG"):
        verify(signature, DATA + b" ", [people.of_alice.export(people.alice)])


def test_a_signature_of_a_key_that_was_not_given_does_not_count(people: People) -> None:
    signature = people.of_alice.sign(DATA, people.alice)
    with pytest.raises(TrustError, match="NO_PUBKEY"):
        verify(signature, DATA, [people.of_alice.export(people.bob)])


def test_a_key_that_has_expired_since_still_counts(home: GpgHome) -> None:
    then = ("--faked-system-time", "20200101T000000")
    key = home.make_key("alice", *then)
    home.run(*then, "--quick-set-expire", key, "5d")
    signature = detached(home, key, "--faked-system-time", "20200103T000000")
    assert verify(signature, DATA, [home.gpg.export(key)]) == key


def test_a_revoked_key_does_not_count(home: GpgHome) -> None:
    key = home.make_key("alice")
    home.run("--passphrase", "", "--quick-add-key", key, "ed25519", "sign", "0")
    by_primary, by_subkey = detached(home, f"{key}!"), detached(home, key)
    revoke(home, key)
    for signature in (by_primary, by_subkey):
        with pytest.raises(TrustError, match="REVKEYSIG"):
            verify(signature, DATA, [home.gpg.export(key)])


def test_an_expired_signature_does_not_count(home: GpgHome) -> None:
    key = home.make_key("alice", "--faked-system-time", "20200101T000000")
    signature = detached(home, key, "--faked-system-time", "20200103T000000", "--default-sig-expire", "5d")
    with pytest.raises(TrustError, match="EXPSIG"):
        verify(signature, DATA, [home.gpg.export(key)])


@pytest.mark.parametrize("digest", ["MD5", "SHA1", "RIPEMD160", "SHA224"])
def test_a_weak_digest_does_not_count(home: GpgHome, digest: str) -> None:
    key = home.make_key("alice")
    with pytest.raises(TrustError, match=r"ERRSIG|with SHA-256, SHA-384 or SHA-512"):
        verify(detached(home, key, "--digest-algo", digest), DATA, [home.gpg.export(key)])


@pytest.mark.parametrize("period", ["1d", "75y"])  # by 2099, or not even then
def test_a_signature_that_can_expire_does_not_count(home: GpgHome, period: str) -> None:
    key = home.make_key("alice")
    with pytest.raises(TrustError, match=r"EXPSIG|it can expire"):
        verify(detached(home, key, "--default-sig-expire", period), DATA, [home.gpg.export(key)])


@pytest.mark.parametrize("clock", ["19990101T000000", "20400101T000000", "20980101T000000"])
def test_the_local_clock_does_not_matter(
    home: GpgHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: str
) -> None:
    """Keys and signatures of the past and of the future, and one that expired between."""
    now, then = ("--faked-system-time", "20500101T000000"), ("--faked-system-time", "20500301T000000")
    lasting, expiring = home.make_key("lasting", *now), home.make_key("expiring", *now)
    home.run(*now, "--quick-set-expire", expiring, "90d")
    made = [
        (key, detached(home, key, *then), home.run(*then, "--export", key)) for key in (lasting, expiring)
    ]
    monkeypatch.setenv("PATH", str(gpg_with(tmp_path / "bin", f"--faked-system-time {clock}")), prepend=":")
    for key, signature, public_key in made:
        assert verify(signature, DATA, [public_key]) == key


@pytest.mark.parametrize(
    "bad",
    [b"", b"junk", b"\xff" * 5000, b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ", b"$ORIGIN example.org.\n"],
)
def test_a_malformed_key_does_not_spoil_those_after_it(people: People, bad: bytes) -> None:
    signature, key = people.of_alice.sign(DATA, people.alice), people.of_alice.export(people.alice)
    for before in (bad, key[:100], people.of_alice.export(people.bob)[:-1] + bad):
        assert verify(signature, DATA, [before, key]) == people.alice
    with pytest.raises(UnsureError, match="NO_PUBKEY"):
        verify(signature, DATA, [bad])


def test_two_signatures_in_one_blob_do_not_count(people: People) -> None:
    blob = people.of_alice.sign(DATA, people.alice) + people.of_bob.sign(DATA, people.bob)
    keys = [people.of_alice.export(people.alice), people.of_alice.export(people.bob)]
    with pytest.raises(TrustError, match="exactly one"):
        verify(blob, DATA, keys)


def test_a_text_signature_does_not_count_for_line_ends_may_change_under_it(home: GpgHome) -> None:
    key = home.make_key("alice")
    signature = detached(home, key, "--textmode")
    with pytest.raises(TrustError, match="binary"):
        verify(signature, DATA.replace(b"\r\n", b"\n"), [home.gpg.export(key)])


@pytest.mark.parametrize("other", [b"", b"\0" * 100, b"\xff" * 70_000])
def test_what_is_no_signature_does_not_count(people: People, other: bytes) -> None:
    with pytest.raises(TrustError):
        verify(other, DATA, [people.of_alice.export(people.alice)])


def test_a_signed_message_is_no_detached_signature(home: GpgHome) -> None:
    key = home.make_key("alice")
    message = home.run("--local-user", key, "--sign", data=DATA)
    with pytest.raises(TrustError):
        verify(message, DATA, [home.gpg.export(key)])


@pytest.mark.parametrize("line_end", ["\u00c5", "\u2028", "\u0085\r\v\f\x1c\x1d\x1e"])
def test_a_user_id_cannot_smuggle_in_status_lines(home: GpgHome, line_end: str) -> None:
    victim = "A" * 40
    forged = f"VALIDSIG {victim} 2026-01-01 1 0 4 0 22 8 00 {victim}"
    key = home.make_key(f"x{line_end}[GNUPG:] {forged}")
    assert verify(detached(home, key), DATA, [home.gpg.export(key)]) == key
    assert home.gpg.secret_fingerprints() == [key]


def test_verification_leaves_no_folder_and_no_agent(
    people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature, key = people.of_alice.sign(DATA, people.alice), people.of_alice.export(people.alice)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert verify(signature, DATA, [key]) == people.alice
    assert list(tmp_path.iterdir()) == []
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, check=True, text=True).stdout
    assert str(tmp_path) not in processes


# --- keys ------------------------------------------------------------------------------------------------------


def test_a_key_is_found_by_address_and_by_fingerprint_with_blanks(people: People) -> None:
    assert people.of_wendy.fingerprint("alice@example.org") == people.alice
    assert (
        people.of_wendy.fingerprint(" ".join(people.alice[i : i + 4] for i in range(0, 40, 4)))
        == people.alice
    )


def test_refuses_a_name_that_no_key_has(people: People) -> None:
    with pytest.raises(KeyAccessError, match="no GPG key here answers to 'nobody'"):
        people.of_alice.fingerprint("nobody")


def test_refuses_an_empty_name(people: People) -> None:
    for spec in ("", " "):
        with pytest.raises(KeyAccessError, match="an empty name"):
            people.of_alice.fingerprint(spec)


def test_a_name_is_never_taken_for_an_option(people: People) -> None:
    with pytest.raises(KeyAccessError, match="no GPG key here answers to '--yes'"):  # not: 4 keys answer
        people.of_alice.fingerprint("--yes")


def test_refuses_a_name_that_several_keys_have(people: People) -> None:
    with pytest.raises(KeyAccessError, match="4 GPG keys answer") as caught:
        people.of_alice.fingerprint("example.org")
    assert people.bob in str(caught.value)


def test_refuses_a_key_that_cannot_encrypt(home: GpgHome) -> None:
    home.make_key("signer", algorithm="ed25519")
    home.make_key("expired", "--faked-system-time", "20200101T000000")
    home.run(
        "--faked-system-time",
        "20200101T000000",
        "--quick-set-expire",
        home.gpg.secret_fingerprints()[1],
        "5d",
    )
    revoke(home, home.make_key("revoked"))
    for name in ("signer", "expired", "revoked"):
        with pytest.raises(KeyAccessError, match="cannot encrypt"):
            home.gpg.fingerprint(name)


def test_a_renewed_key_is_preferred_to_a_revoked_one_of_the_same_name(home: GpgHome) -> None:
    revoke(home, home.make_key("alice"))
    new = home.make_key("alice", "--allow-freeform-uid", "--yes")
    assert home.gpg.fingerprint("alice") == new


def test_a_fingerprint_that_a_human_typed_must_be_a_whole_one(people: People) -> None:
    assert normal_fingerprint(f" 0x{people.alice.lower()[:20]} {people.alice[20:]}\n") == people.alice
    for text in ("", people.alice[-16:], people.alice + "00", "alice"):
        with pytest.raises(KeyAccessError, match="full GPG fingerprint"):
            normal_fingerprint(text)


# --- messages --------------------------------------------------------------------------------------------------


def test_only_the_named_key_opens_a_message(people: People) -> None:
    message = encrypt(DATA, people.of_alice.export(people.wendy), people.wendy)
    assert people.of_wendy.decrypt(message) == DATA
    with pytest.raises(KeyAccessError, match="secret key is not here"):
        people.of_alice.decrypt(message)


SETTINGS = [
    *("default-key MALLORY\nencrypt-to-default-key", "encrypt-to MALLORY", "hidden-encrypt-to MALLORY"),
    *("recipient MALLORY", "hidden-recipient MALLORY", "default-recipient MALLORY", "default-recipient-self"),
    *("group ALICE=MALLORY", "local-user MALLORY", "sender mallory@example.org", "throw-keyids"),
    *("armor", "textmode", "comment x", "include-key-block", "set-notation a@b.c=d", "digest-algo SHA1"),
    *("default-sig-expire 1y", "cipher-algo 3DES", "compress-algo none", "personal-cipher-preferences 3DES"),
    *("trust-model direct", "no-default-keyring", "export-options export-pka", "import-options import-clean"),
    *("export-filter drop-subkey=secret=0", "export-filter keep-uid=mbox=nobody", "list-options show-photos"),
    *("charset utf-16", "fast-list-mode", "legacy-list-mode", "list-only", "dry-run", "output /nowhere/x"),
    *("disable-cipher-algo AES256", "disable-pubkey-algo ECDH", "faked-system-time 19990101T000000"),
    *("max-output 1", "status-fd 1", "no-batch", "keyserver hkp://localhost", "agent-program /bin/false"),
    *("homedir /nowhere", "no-such-option"),
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_nothing_depends_on_a_gpg_conf(people: People, settings: str) -> None:
    with people.everyone.subset(people.alice, people.mallory) as home:
        exported = home.gpg.export(people.alice)
        text = settings.replace("MALLORY", people.mallory).replace("ALICE", people.alice)
        (home.path / "gpg.conf").write_text(f"{text}\n")
        assert home.gpg.fingerprint("alice") == people.alice
        assert sorted(home.gpg.secret_fingerprints()) == sorted([people.alice, people.mallory])
        assert home.gpg.export(people.alice) == exported
        signature = home.gpg.sign(DATA, people.alice)
        assert verify(signature, DATA, [exported]) == people.alice
        message = encrypt(DATA, exported, people.alice)
        assert home.gpg.decrypt(message) == DATA
        with pytest.raises(KeyAccessError, match="secret key is not here"):
            people.of_mallory.decrypt(message)


@pytest.mark.parametrize("arguments", ['{} "$@"', '"$@" {}'])
@pytest.mark.parametrize("option", ["--recipient-file", "--hidden-recipient-file"])
def test_a_message_that_another_could_open_is_refused(
    people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, arguments: str
) -> None:
    """As a newer gpg does for a key with an additional decryption subkey."""
    public_key = people.of_alice.export(people.wendy)
    (tmp_path / "other").write_bytes(people.of_alice.export(people.mallory))
    script = gpg_with(tmp_path / "bin", "") / "gpg"
    more = arguments.format(f"{option} {tmp_path}/other")
    script.write_text(
        script.read_text().replace("exec", f'case "$*" in *--encrypt*) set -- {more};; esac\nexec')
    )
    monkeypatch.setenv("PATH", str(script.parent), prepend=":")
    with pytest.raises(KeyAccessError, match=f"others than {people.wendy} could open"):
        encrypt(DATA, public_key, people.wendy)


def test_what_is_not_the_named_key_is_not_encrypted_to(people: People) -> None:
    wendy, bob = people.of_alice.export(people.wendy), people.of_alice.export(people.bob)
    for public_key in (b"", b"junk", wendy[:50], bob, wendy + bob):
        with pytest.raises(KeyAccessError, match=f"not usable as {people.wendy}"):
            encrypt(DATA, public_key, people.wendy)


@pytest.mark.parametrize("place", [5, 60, -3])
def test_an_altered_message_does_not_open(people: People, place: int) -> None:
    message = bytearray(encrypt(DATA, people.of_alice.export(people.wendy), people.wendy))
    message[place] ^= 1
    with pytest.raises(KeyAccessError, match="could not decrypt"):
        people.of_wendy.decrypt(bytes(message))


def test_a_key_with_a_passphrase_works_through_the_agent(home: GpgHome) -> None:
    key = home.make_key("alice", passphrase="open sesame")
    home.answer_passphrase("open sesame")
    message = encrypt(DATA, home.gpg.export(key), key)
    assert home.gpg.decrypt(message) == DATA
    assert verify(home.gpg.sign(DATA, key), DATA, [home.gpg.export(key)]) == key
    assert "GETPIN" in home.pinentry_log.read_text()


def test_a_cancelled_or_wrong_passphrase_is_told_plainly(home: GpgHome) -> None:
    key = home.make_key("alice", passphrase="open sesame")
    message = encrypt(DATA, home.gpg.export(key), key)
    home.cancel_passphrase()
    with pytest.raises(KeyAccessError, match=r"^GPG could not decrypt: cancelled$"):
        home.gpg.decrypt(message)
    with pytest.raises(KeyAccessError, match=f"could not sign with the key {key}: cancelled"):
        home.gpg.sign(DATA, key)
    home.answer_passphrase("open barley")
    with pytest.raises(KeyAccessError, match="wrong passphrase"):
        home.gpg.decrypt(message)


def test_pinentry_is_told_the_terminal_of_this_process(
    home: GpgHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = home.make_key("alice", passphrase="open sesame")
    message = encrypt(DATA, home.gpg.export(key), key)
    home.answer_passphrase("open sesame")
    leader, terminal = pty.openpty()
    saved = os.dup(2)
    os.dup2(terminal, 2)
    try:
        assert Gpg(home.path).decrypt(message) == DATA
    finally:
        os.dup2(saved, 2)
    assert f"OPTION ttyname={os.ttyname(terminal)}\n" in home.pinentry_log.read_text()
    for descriptor in (saved, leader, terminal):
        os.close(descriptor)


def test_refuses_to_sign_with_a_key_whose_secret_part_is_not_here(people: People) -> None:
    with pytest.raises(
        KeyAccessError, match=f"could not sign with the key {people.alice}: its secret key is not here"
    ):
        people.of_bob.sign(DATA, people.alice)


def test_says_why_a_key_that_has_expired_does_not_sign_or_encrypt(home: GpgHome) -> None:
    key = home.make_key("alice", "--faked-system-time", "20200101T000000")
    home.run("--faked-system-time", "20200101T000000", "--quick-set-expire", key, "5d")
    with pytest.raises(KeyAccessError, match="its secret key is expired, revoked or not made for this"):
        home.gpg.sign(DATA, key)
    with pytest.raises(KeyAccessError, match="its public key is expired, revoked or not made for this"):
        encrypt(DATA, home.gpg.export(key), key)


def test_a_user_who_never_used_gpg_has_no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GNUPGHOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert [] == Gpg().secret_fingerprints()
    assert {} == Gpg().user_ids(["0" * 40])
    with pytest.raises(KeyAccessError, match="no GPG key here answers to 'alice'"):
        Gpg().fingerprint("alice")


def test_says_that_gpg_is_missing(people: People, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KeyAccessError, match="install GnuPG"):
        Gpg(people.everyone.path).secret_fingerprints()


def revoke(home: GpgHome, key: str) -> None:
    """Import the revocation certificate that gpg made along with the key."""
    certificate = (home.path / "openpgp-revocs.d" / f"{key}.rev").read_bytes()
    home.run("--import", data=certificate.replace(b":-----BEGIN", b"-----BEGIN"))


# --- names -----------------------------------------------------------------------------------------------------


def test_user_ids_are_those_of_the_keys_that_are_here(home: GpgHome) -> None:
    zoe = home.make_key("Zoë Ωmega: <zoe@example.org>")
    odd = home.make_key("a\u2028b\u0085c")
    assert {} == home.gpg.user_ids(["0" * 40])
    assert {zoe: "Zoë Ωmega: <zoe@example.org>"} == home.gpg.user_ids([zoe, "0" * 40])
    assert {odd: "a\u2028b\u0085c"} == home.gpg.user_ids([odd])
