"""Mail that goes directly to its domain, in system mode: what DNS says becomes of the message."""

import json
import pwd
import subprocess
from collections.abc import Iterator

import pytest
from authority import Authority
from harness import needs
from machine import SPOOL, Machine
from nameserver import BROKEN, ask_here, deaf, name_server
from test_mtasts import GOOD, NOW, Site, announced, serving, zone

from pymail import mtasts

LETTER = b"Subject: s\n\ntext\n"
WAY = (
    "link add way4 type veth peer name way5",
    "addr add 192.0.2.10/24 dev way4",
    "link set way4 up",
    "link set way5 up",
)


def ip(*commands: str) -> None:
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)


@pytest.fixture
def direct(machine, tmp_path) -> Iterator[Machine]:
    """A machine that sends directly, in a network where nobody is at home."""
    needs("ip")
    zones = {
        "good.test": zone(announced("one")),
        "other.test": "mx A 192.0.2.2",
        "null.test": "@ MX 0 .",
        "broken.test": BROKEN,
    }
    with name_server(tmp_path / "dns", zones):
        ask_here()
        ip(*WAY)
        machine.config("default_transport = 'smtp'\nsmtp_connect_timeout = 1\n")
        yield machine
        ip("link del way4")


def waiting(machine: Machine) -> list[str]:
    """Return why recipients wait."""
    lines = machine.run("root", "mailq", "-j").stdout.splitlines()
    return [each["delay_reason"] for line in lines for each in json.loads(line)["recipients"]]


@pytest.mark.parametrize(
    ("domain", "dsn", "words"),
    [
        ("null.test", "5.1.10", "does not accept mail (nullMX)"),
        ("nosuch.test", "5.1.2", "Name service error for name=nosuch.test type=MX: Host not found"),
    ],
)
def test_mail_for_a_domain_that_takes_none_comes_back(direct, domain, dsn, words):
    direct.send("alice", LETTER, f"joe@{domain}")
    direct.flush()
    (bounce,) = direct.mail("alice")
    assert f"Status: {dsn}".encode() in bounce.data
    assert words.encode() in bounce.data.replace(b"\n    ", b" ")
    assert direct.queue() == []


def test_mail_waits_where_dns_fails(direct):
    direct.send("alice", LETTER, "joe@mx.broken.test")
    direct.flush()
    (reason,) = waiting(direct)
    assert "type=MX: Host not found, try again" in reason


def test_mail_is_not_tried_without_a_network(direct):
    ip("link set way4 down")
    ask_here("127.0.0.54")
    direct.send("alice", LETTER, "joe@good.test")
    with deaf("127.0.0.54"):
        direct.flush()
    (reason,) = waiting(direct)
    assert reason.startswith("offline: Host or domain name not found. ")


def test_mail_for_an_address_is_not_tried_without_a_network(direct):
    ip("link set way4 down")
    direct.send("alice", LETTER, "joe@[198.51.100.1]")
    direct.flush()
    (reason,) = waiting(direct)
    assert reason == "offline: connect to 198.51.100.1[198.51.100.1]:25: Network is unreachable"


def test_a_policy_is_kept_by_who_speaks_with_the_network(direct, tmp_path):
    place = direct.home("alice") / "ca"
    place.mkdir()
    authority = Authority(place)
    direct.config(
        f"default_transport = 'smtp'\nsmtp_connect_timeout = 1\n"
        f"smtp_tls_CAfile = '{authority.file}'\n"
    )
    site = Site(GOOD.replace("mx: mx.good.test", "mx: no.good.test").replace("*.", "no."))
    direct.send("alice", LETTER, "joe@good.test")
    with serving(site, authority.context("good", "mta-sts.good.test")):
        direct.flush()
    assert len(site.asked) == 1
    (reason,) = waiting(direct)
    assert "no mail exchanger of good.test is one that its MTA-STS policy allows" in reason
    about = (SPOOL / "cache").stat()
    assert (about.st_uid, about.st_mode & 0o777) == (pwd.getpwnam("pymail").pw_uid, 0o700)
    kept = mtasts._read(str(SPOOL / "cache"), "good.test")
    assert (kept.mode, kept.id) == ("enforce", "one")
    direct.flush("-a")
    assert len(site.asked) == 1
    assert kept.until > NOW - 100_000_000
