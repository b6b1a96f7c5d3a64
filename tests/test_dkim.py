"""DKIM: keys, records, and signatures that a verifier believes."""

import os
import re
from pathlib import Path

import dkim as verifier
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from dialogues import configured
from harness import Box
from relays import relay

from pymail import checkconfig, dkim, dkimkeys
from pymail.errors import ConfigError, DataError
from pymail.spool import Spool

LETTER = b"From: root@example.net\nTo: joe@example.org\nSubject: s\nDate: x\n\ntext\n"


def txt(record: str):
    """Answer as DNS would with that record."""
    name, _, data = record.partition(" IN TXT ")
    value = "".join(re.findall(r'"([^"]*)"', data)).encode()

    def ask(asked: bytes, timeout: int = 5) -> bytes:
        return value if asked.decode().rstrip(".") == name.rstrip(".") else b""

    return ask


def test_a_signature_is_believed_by_another_implementation(tmp_path: Path) -> None:
    key = dkimkeys.create(str(tmp_path), "Example.NET", "s1", 1024, -1)
    signature = dkim.Signer(str(tmp_path)).signature(LETTER)
    ask = txt(dkimkeys.record(key))
    assert verifier.verify(signature + LETTER, dnsfunc=ask)
    assert not verifier.verify(signature + LETTER.replace(b"text", b"test"), dnsfunc=ask)
    assert not verifier.verify(signature + b"Subject: more\n" + LETTER, dnsfunc=ask)


def test_ed25519_signs_beside_rsa_the_newest_of_each(tmp_path: Path) -> None:
    made = [
        dkimkeys.create(str(tmp_path), "example.net", name, bits, -1)
        for name, bits in (("old", 1024), ("e1", 0), ("r1", 1024))
    ]
    for age, key in enumerate(made):
        os.utime(key.path, (age, age))
    signatures = dkim.Signer(str(tmp_path)).signature(LETTER)
    found = re.findall(rb"a=([a-z0-9-]+);.*?\bs=(\w+);", signatures, re.DOTALL)
    assert found == [(b"rsa-sha256", b"r1"), (b"ed25519-sha256", b"e1")]
    by_rsa, by_ed25519 = signatures.split(b"DKIM-Signature:")[1:]
    for one, key in ((by_rsa, made[2]), (by_ed25519, made[1])):
        text = b"DKIM-Signature:" + one + LETTER
        assert verifier.verify(text, dnsfunc=txt(dkimkeys.record(key)))
    assert "k=ed25519" in dkimkeys.record(made[1])


@pytest.mark.parametrize("pem", [b"", b"nonsense", b"-----BEGIN RSA PRIVATE KEY-----\nx\n"])
def test_a_broken_key_is_told(tmp_path: Path, pem: bytes) -> None:
    key = dkimkeys.create(str(tmp_path), "example.net", "s1", 1024, -1)
    Path(key.path).write_bytes(pem)
    with pytest.raises(ConfigError, match=r"cannot (use|sign with) .*s1\.pem: "):
        dkim.Signer(str(tmp_path)).signature(LETTER)
    with pytest.raises(ConfigError, match=r"cannot use .*s1\.pem: "):
        dkimkeys.record(key)


def test_a_key_of_another_kind_is_told(tmp_path: Path) -> None:
    key = dkimkeys.create(str(tmp_path), "example.net", "s1", 1024, -1)
    private = ec.generate_private_key(ec.SECP256R1())
    Path(key.path).write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    with pytest.raises(ConfigError, match="neither RSA nor Ed25519"):
        dkim.Signer(str(tmp_path)).signature(LETTER)


def test_an_rsa_key_that_openssl_made_signs(tmp_path: Path) -> None:
    key = dkimkeys.create(str(tmp_path), "example.net", "s1", 1024, -1)
    private = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    Path(key.path).write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    signature = dkim.Signer(str(tmp_path)).signature(LETTER)
    assert verifier.verify(signature + LETTER, dnsfunc=txt(dkimkeys.record(key)))


def test_check_tells_what_keeps_mail_from_being_signed(box: Box) -> None:
    box.run("pymail", "dkim", "new", "example.net", "--selector", "s1", "--ed25519")
    key = box.config_file.parent / "dkim" / "example.net" / "s1.pem"
    assert b"s1.pem" not in box.run("pymail", "check").stdout
    key.chmod(0o644)
    assert f"others may read {key}: chmod 640 {key}".encode() in box.run("pymail", "check").stdout
    both = box.run("pymail", "dkim", "new", "example.net", "--ed25519", "--bits", "2048")
    assert both.returncode == 64


def test_check_tells_of_a_missing_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configured(dkim_directory=str(tmp_path))
    spool = Spool(str(tmp_path / "spool"))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert list(checkconfig.of_keys(config, spool, 0)) == []
    dkimkeys.create(str(tmp_path), "example.net", "s1", 1024, -1)
    (finding,) = checkconfig.of_keys(config, spool, 0)
    assert finding.fatal
    assert "install dkimpy" in str(finding)


def test_mail_of_a_domain_without_a_key_is_not_signed(tmp_path: Path) -> None:
    dkimkeys.create(str(tmp_path), "example.net", "s1", 1024, -1)
    signer = dkim.Signer(str(tmp_path))
    assert signer
    for author in (b"a@other.example", b"a@example.net, b@other.example", b"", b"a@../x"):
        assert signer.signature(LETTER.replace(b"root@example.net", author)) == b""
    assert not dkim.Signer(str(tmp_path / "none"))


def test_a_key_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    key = dkimkeys.create(str(tmp_path), "example.net", "s1", 1024, -1)
    Path(key.path).chmod(0o644)
    with pytest.raises(ConfigError, match="others may read it"):
        dkim.Signer(str(tmp_path)).signature(LETTER)


def test_a_key_is_not_made_twice_nor_outside_its_place(tmp_path: Path) -> None:
    dkimkeys.create(str(tmp_path), "example.net", "s1", 1024, -1)
    for domain, selector in (("example.net", "s1"), ("../x", "s"), ("x", "a/b")):
        with pytest.raises(DataError, match="cannot make a key"):
            dkimkeys.create(str(tmp_path), domain, selector, 1024, -1)


def test_a_record_has_strings_that_dns_takes(tmp_path: Path) -> None:
    record = dkimkeys.record(dkimkeys.create(str(tmp_path), "example.net", "s1", 2048, -1))
    strings = re.findall(r'"([^"]*)"', record)
    assert record.startswith("s1._domainkey.example.net. IN TXT (")
    assert all(len(string) <= 255 for string in strings)
    assert "".join(strings).startswith("v=DKIM1; k=rsa; p=MII")


def test_the_program_makes_a_key_and_shows_its_record(box: Box) -> None:
    made = box.run("pymail", "dkim", "new", "example.net", "--selector", "s1", "--bits", "1024")
    assert made.returncode == 0, made.stderr
    shown = box.run("pymail", "dkim", "show", "example.net")
    assert b"s1._domainkey.example.net. IN TXT" in made.stdout
    assert shown.stdout in made.stdout
    key = box.config_file.parent / "dkim" / "example.net" / "s1.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    again = box.run("pymail", "dkim", "new", "example.net", "--selector", "s1")
    assert again.returncode == 65
    assert b"is there already" in again.stderr
    none = box.run("pymail", "dkim", "show", "example.org")
    assert none.returncode == 65


def test_a_relay_gets_mail_unsigned(box: Box) -> None:
    box.run("pymail", "dkim", "new", "example.net", "--bits", "1024")
    with relay() as server:
        box.config(f"relayhost = '{server.hop}'\n")
        box.send(LETTER, "joe@example.org")
        box.flush()
    assert b"DKIM-Signature" not in server.taken[0].data
