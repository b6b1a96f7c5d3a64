"""Relaying through Exim: both ways into TLS, a login, certificates and passwords."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from authority import Authority
from exim import Exim, exim
from machine import Machine

USER, PASSWORD = "me@isp.example", "correct horse battery"
LETTER = (
    "Subject: письмо\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
    "Content-Transfer-Encoding: 8bit\n\nтекст\n.\n..\nFrom here\n"
).encode()


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def relay(machine: Machine, tmp_path: Path, authority: Authority) -> Iterator[Exim]:
    pem = authority.pem("good", "127.0.0.1")
    with exim(tmp_path / "exim", pem, USER, PASSWORD) as server:
        yield server


@pytest.fixture
def configure(machine: Machine, relay: Exim) -> Callable[..., None]:
    def configured(service: str, ca: Path, *more: str, password: str = PASSWORD) -> None:
        secrets = Path("/etc/pymail/saslpass")
        trusted = Path("/etc/ssl/relay-ca.pem")
        trusted.write_bytes(ca.read_bytes())
        lines = [f"relayhost = '{relay.hop(service)}'", f"smtp_tls_CAfile = '{trusted}'"]
        lines += [f"smtp_sasl_password_maps = '{secrets}'", *more]
        lines += ["smtp_tls_wrappermode = true"] * (service == "smtps")
        machine.config("".join(f"{line}\n" for line in lines))
        secrets.write_text(f"{relay.hop(service)} {USER}:{password}\n")
        secrets.chmod(0o600)

    return configured


def reason(machine: Machine) -> str:
    (line,) = machine.run("root", "mailq", "-j").stdout.splitlines()
    (recipient,) = json.loads(line)["recipients"]
    return recipient["delay_reason"]


@pytest.mark.parametrize("mechanism", ["plain", "login", "cram-md5"])
@pytest.mark.parametrize("service", ["submission", "smtps"])
def test_a_letter_comes_once_and_with_the_same_bytes(
    machine: Machine, relay: Exim, configure, authority: Authority, service: str, mechanism: str
):
    configure(service, authority.file, f"smtp_sasl_mechanism_filter = '{mechanism}'")
    machine.send("alice", LETTER, "-i", "boss@elsewhere.example")
    said = machine.flush("-v").stdout
    assert machine.queue() == [], said
    (letter,) = relay.letters(1)
    assert letter.body == LETTER.partition(b"\n\n")[2]
    assert letter.values("subject") == ["письмо"]
    assert letter.values("envelope-to") == ["boss@elsewhere.example"]
    assert f"A={ {'cram-md5': 'cram'}.get(mechanism, mechanism) }:{USER}" in relay.log()
    assert "X=TLS1.3" in relay.log()


def test_messages_one_behind_the_other_are_taken_once(machine, relay, configure, authority):
    configure("submission", authority.file, "smtp_destination_concurrency_limit = 2")
    for _ in range(40):
        machine.send("alice", LETTER, "-i", "boss@elsewhere.example")
    machine.flush()
    taken = re.findall(r" <= alice@\S+ .* id=(\S+)", relay.log())
    assert len(taken) == len(set(taken)) == 40
    assert machine.run("root", "mailq", "-j").stdout == b""


def test_a_wrong_password_is_told_and_nothing_is_sent(machine, relay, configure, authority):
    configure("submission", authority.file, password="wrong")
    machine.send("alice", LETTER, "-i", "boss@elsewhere.example")
    machine.flush()
    assert "535" in reason(machine)
    assert "run pymail login" in reason(machine)
    assert relay.letters(0) == []


@pytest.mark.parametrize("service", ["submission", "smtps"])
def test_a_certificate_of_a_stranger_gets_neither_login_nor_mail(
    machine, relay, configure, tmp_path, service
):
    configure(service, Authority(tmp_path).file)
    machine.send("alice", LETTER, "-i", "boss@elsewhere.example")
    machine.flush()
    assert "cannot trust" in reason(machine)
    assert relay.letters(0) == []


def test_without_a_login_the_refusal_comes_back(machine, relay, configure, authority):
    configure("smtp", authority.file, "smtp_sasl_auth_enable = false")
    machine.send("alice", LETTER, "-i", "boss@elsewhere.example")
    machine.flush()
    (bounce,) = machine.mail("alice")
    assert b"550" in bounce.data
    assert relay.letters(0) == []
