"""Relaying through a real Postfix with SASL by Dovecot: every mechanism, every way into TLS."""

import email
import json
from pathlib import Path

import pytest
from authority import Authority
from harness import Box
from postfixes import MECHANISMS, Postfix, dovecot_auth, postfix

LETTER = b"From: root (Cron Daemon)\nTo: boss@elsewhere.example\nSubject: s\n\ntext\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def relay(tmp_path_factory, authority: Authority):
    place = tmp_path_factory.mktemp("relay")
    pem = authority.pem("good", "127.0.0.1", "smtp.isp.example")
    with (
        dovecot_auth(place / "dovecot", {"me@isp.example": "correct horse battery"}) as sasl,
        postfix(place / "postfix", tls=pem, sasl=sasl) as server,
    ):
        yield server


def configured(
    box: Box, hop: str, ca: Path, *more: str, password: str = "correct horse battery"
) -> None:
    secrets = box.config_file.parent / "saslpass"
    secrets.write_text(f"{hop} me@isp.example:{password}\n")
    secrets.chmod(0o600)
    box.config(
        f"relayhost = '{hop}'\nsmtp_tls_CAfile = '{ca}'\n"
        f"smtp_sasl_password_maps = 'hash:{secrets}'\nmyorigin = 'laptop'\n"
        "mydestination = ['laptop']\n" + "".join(f"{line}\n" for line in more)
    )


def reasons(box: Box) -> list[str]:
    lines = box.run("mailq", "-j").stdout.splitlines()
    return [r["delay_reason"] for line in lines for r in json.loads(line)["recipients"]]


@pytest.mark.parametrize("mechanism", MECHANISMS.split())
@pytest.mark.parametrize("service", ["submission", "smtps"])
def test_every_mechanism_logs_in(
    box: Box, relay: Postfix, authority: Authority, mechanism: str, service: str
) -> None:
    more = ["smtp_tls_wrappermode = true"] if service == "smtps" else []
    configured(
        box,
        relay.hop(service),
        authority.file,
        f"smtp_sasl_mechanism_filter = '{mechanism}'",
        *more,
    )
    before = len(relay.letters("relayed", "joe", 0))
    box.send(LETTER, "boss@elsewhere.example")
    done = box.flush("-v")
    assert box.queue() == [], done.stdout
    assert len(relay.letters("relayed", "joe", before + 1)) == before + 1
    name = mechanism.upper()
    assert f"sasl_method={name}, sasl_username=me@isp.example" in relay.log()


def test_a_wrong_password_is_told_and_nothing_is_sent(
    box: Box, relay: Postfix, authority: Authority
) -> None:
    configured(box, relay.hop(), authority.file, password="wrong")
    before = len(relay.letters("relayed", "joe", 0))
    box.send(LETTER, "boss@elsewhere.example")
    box.flush()
    (reason,) = reasons(box)
    assert "535 5.7.8" in reason
    assert "run pymail login" in reason
    assert len(relay.letters("relayed", "joe", 0)) == before


def test_without_a_login_the_refusal_comes_back_with_its_cure(
    box: Box, relay: Postfix, authority: Authority
) -> None:
    box.config(
        f"relayhost = '[127.0.0.1]:{relay.ports['smtp']}'\nsmtp_tls_CAfile = '{authority.file}'\n"
    )
    box.send(LETTER, "boss@elsewhere.example")
    box.flush()
    (bounce,) = box.maildir()
    assert b"Relay access denied" in bounce or b"Access denied" in bounce
    text = next(email.message_from_bytes(bounce).walk().__iter__())
    assert text.get_content_type() == "multipart/report"


@pytest.mark.parametrize("level", ["encrypt", "verify", "secure", "may"])
def test_every_level_of_tls_that_fits_the_certificate_sends(
    box: Box, relay: Postfix, authority: Authority, level: str
) -> None:
    configured(box, relay.hop(), authority.file, f"smtp_tls_security_level = '{level}'")
    box.send(LETTER, "boss@elsewhere.example")
    done = box.flush("-v")
    assert b"status=sent" in done.stdout


@pytest.mark.parametrize("level", ["", "verify", "secure", "fingerprint"])
def test_a_server_that_cannot_be_trusted_gets_neither_login_nor_mail(
    box: Box, relay: Postfix, tmp_path: Path, level: str
) -> None:
    stranger = Authority(tmp_path)
    setting = [f"smtp_tls_security_level = '{level}'"] if level else []
    configured(box, relay.hop(), stranger.file, *setting)
    before = len(relay.letters("relayed", "joe", 0))
    box.send(LETTER, "boss@elsewhere.example")
    box.flush()
    assert "cannot trust" in reasons(box)[0] or "fingerprint" in reasons(box)[0]
    assert len(relay.letters("relayed", "joe", 0)) == before


def test_pymail_login_proves_the_login_and_stores_it_for_cron(
    box: Box, relay: Postfix, authority: Authority
) -> None:
    box.config(f"relayhost = '{relay.hop()}'\nsmtp_tls_CAfile = '{authority.file}'\n")
    bad = box.run("pymail", "login", relay.hop(), "me@isp.example", stdin=b"wrong\n")
    assert bad.returncode == 77
    assert b"535 5.7.8" in bad.stderr
    good = box.run(
        "pymail", "login", relay.hop(), "me@isp.example", stdin=b"correct horse battery\n"
    )
    assert good.returncode == 0, good.stderr
    assert b"the login works, also from cron" in good.stdout
    secrets = box.config_file.parent / "saslpass"
    assert secrets.stat().st_mode & 0o777 == 0o600
    listed = box.run("pymail", "login", "--list")
    assert b"me@isp.example" in listed.stdout
    assert b"battery" not in listed.stdout + good.stdout + good.stderr
    assert box.run("pymail", "login", "--check", relay.hop()).returncode == 0
    box.send(LETTER, "boss@elsewhere.example")
    assert b"status=sent" in box.flush("-v").stdout
    assert box.run("pymail", "login", "--remove", relay.hop()).returncode == 0
    assert box.run("pymail", "login", "--check", relay.hop()).returncode == 65
    assert box.run("pymail", "login", "--remove", relay.hop()).returncode == 65


def test_cron_mail_goes_out_under_the_name_that_the_provider_knows(
    box: Box, relay: Postfix, authority: Authority
) -> None:
    configured(
        box, relay.hop(), authority.file, "[smtp_generic_maps]", "'@laptop' = 'me@isp.example'"
    )
    before = relay.letters("relayed", "joe", 0)
    box.send(
        "From: root (Cron Daemon)\nTo: root\nSubject: отчёт\n\nготово\n".encode(), "boss@x.example"
    )
    box.flush()
    # Names of the same second are in no order.
    letters = relay.letters("relayed", "joe", len(before) + 1)
    (letter,) = (each for each in letters if each not in before)
    head, _, body = letter.partition(b"\n\n")
    assert b"\nFrom: me@isp.example (Cron Daemon)\n" in head
    assert b"\nTo: me@isp.example\n" in head
    assert b"Return-Path: <me@isp.example>\n" in head + b"\n"
    assert body == "готово\n".encode()
