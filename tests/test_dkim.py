"""DKIM: keys, records, and signatures that a verifier believes."""

import re
from pathlib import Path

import dkim as verifier
import pytest
from harness import Box
from relays import relay

from pymail import dkim
from pymail.errors import ConfigError, DataError

LETTER = b"From: root@example.net\nTo: joe@example.org\nSubject: s\nDate: x\n\ntext\n"


def txt(record: str):
    """Answer as DNS would with that record."""
    name, _, data = record.partition(" IN TXT ")
    value = "".join(re.findall(r'"([^"]*)"', data)).encode()

    def ask(asked: bytes, timeout: int = 5) -> bytes:
        return value if asked.decode().rstrip(".") == name.rstrip(".") else b""

    return ask


def test_a_signature_is_believed_by_another_implementation(tmp_path: Path) -> None:
    key = dkim.create(str(tmp_path), "Example.NET", "s1", 1024, -1)
    signature = dkim.Signer(str(tmp_path)).signature(LETTER)
    ask = txt(dkim.record(key))
    assert verifier.verify(signature + LETTER, dnsfunc=ask)
    assert not verifier.verify(signature + LETTER.replace(b"text", b"test"), dnsfunc=ask)
    assert not verifier.verify(signature + b"Subject: more\n" + LETTER, dnsfunc=ask)


def test_mail_of_a_domain_without_a_key_is_not_signed(tmp_path: Path) -> None:
    dkim.create(str(tmp_path), "example.net", "s1", 1024, -1)
    signer = dkim.Signer(str(tmp_path))
    assert signer
    for author in (b"a@other.example", b"a@example.net, b@other.example", b"", b"a@../x"):
        assert signer.signature(LETTER.replace(b"root@example.net", author)) == b""
    assert not dkim.Signer(str(tmp_path / "none"))


def test_a_key_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    key = dkim.create(str(tmp_path), "example.net", "s1", 1024, -1)
    Path(key.path).chmod(0o644)
    with pytest.raises(ConfigError, match="others may read it"):
        dkim.Signer(str(tmp_path)).signature(LETTER)


def test_a_key_is_not_made_twice_nor_outside_its_place(tmp_path: Path) -> None:
    dkim.create(str(tmp_path), "example.net", "s1", 1024, -1)
    for domain, selector in (("example.net", "s1"), ("../x", "s"), ("x", "a/b")):
        with pytest.raises(DataError, match="cannot make a key"):
            dkim.create(str(tmp_path), domain, selector, 1024, -1)


def test_a_record_has_strings_that_dns_takes(tmp_path: Path) -> None:
    record = dkim.record(dkim.create(str(tmp_path), "example.net", "s1", 2048, -1))
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
