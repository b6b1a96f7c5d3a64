"""Mail that goes directly to its domain, in system mode: what DNS says becomes of the message."""

import contextlib
import json
import pwd
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from authority import Authority
from harness import letters, needs
from machine import SPOOL, Machine
from nameserver import BROKEN, ask_here, deaf, name_server
from relays import relay
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
        "far.test": "@ MX 10 dead\n@ MX 20 mx\ndead A 192.0.2.77\nmx A 192.0.2.1",
        "other.test": "mx A 192.0.2.2",
        "null.test": "@ MX 0 .",
        "lost.test": "@ MX 10 mx",
        "us.test": "@ MX 10 mx\nmx A 192.0.2.10",
        "broken.test": BROKEN,
    }
    with name_server(tmp_path / "dns", zones):
        ask_here()
        ip(*WAY)
        machine.config("default_transport = 'smtp'\n")
        yield machine
        # It goes with the network at its other end.
        subprocess.run(["ip", "link", "del", "way4"], capture_output=True, check=False)


@pytest.fixture
def authority(direct) -> Authority:
    """An authority that the machine trusts."""
    place = direct.home("alice") / "ca"
    place.mkdir()
    authority = Authority(place)
    direct.config(f"default_transport = 'smtp'\nsmtp_tls_CAfile = '{authority.file}'\n")
    return authority


def waiting(machine: Machine) -> list[str]:
    """Return why recipients wait."""
    lines = machine.run("root", "mailq", "-j").stdout.splitlines()
    return [each["delay_reason"] for line in lines for each in json.loads(line)["recipients"]]


@pytest.mark.parametrize(
    ("domain", "dsn", "words"),
    [
        ("null.test", "5.1.10", "does not accept mail (nullMX)"),
        ("nosuch.test", "5.1.2", "Name service error for name=nosuch.test type=MX: Host not found"),
        ("lost.test", "5.4.4", "Name service error for name=mx.lost.test type=A"),
        ("us.test", "5.4.6", "mail for us.test loops back to myself"),
    ],
)
def test_mail_for_a_domain_that_takes_none_comes_back(direct, domain, dsn, words):
    direct.send("alice", LETTER, f"joe@{domain}")
    direct.flush()
    (bounce,) = direct.mail("alice")
    assert f"Status: {dsn}".encode() in bounce.data
    assert words.encode() in bounce.data.replace(b"\n    ", b" ")
    assert direct.queue() == []


@pytest.mark.parametrize("domain", ["nosuch.test", "lost.test"])
def test_mail_for_a_domain_that_is_not_found_goes_through_the_fallback_relay(direct, domain):
    """Who knows the names of a private network only has no other way."""
    with relay() as server:
        direct.config(f"default_transport = 'smtp'\nsmtp_fallback_relay = '{server.hop}'\n")
        direct.send("alice", LETTER, f"joe@{domain}")
        direct.flush()
    assert [taken.recipients for taken in server.taken] == [[f"joe@{domain}"]]
    assert direct.queue() == []


@pytest.mark.parametrize(("domain", "dsn"), [("null.test", "5.1.10"), ("us.test", "5.4.6")])
def test_mail_that_no_other_way_helps_does_not_go_through_the_fallback_relay(direct, domain, dsn):
    with relay() as server:
        direct.config(f"default_transport = 'smtp'\nsmtp_fallback_relay = '{server.hop}'\n")
        direct.send("alice", LETTER, f"joe@{domain}")
        direct.flush()
    assert server.connections == 0
    (bounce,) = direct.mail("alice")
    assert f"Status: {dsn}".encode() in bounce.data


def test_mail_for_a_domain_that_is_not_found_waits_for_a_fallback_relay_that_is_not_either(direct):
    direct.config("default_transport = 'smtp'\nsmtp_fallback_relay = 'mx.broken.test'\n")
    direct.send("alice", LETTER, "joe@nosuch.test")
    direct.flush()
    (reason,) = waiting(direct)
    assert "name=mx.broken.test type=MX: Host not found, try again" in reason
    assert direct.mail("alice") == []


def test_a_mistake_in_the_table_of_next_hops_is_not_the_recipients(direct):
    direct.config("[transport_maps]\n'good.test' = 'smtp:wrong.good.test'\n")
    direct.send("alice", LETTER, "joe@good.test")
    direct.flush()
    (reason,) = waiting(direct)
    assert "name=wrong.good.test type=MX: Host not found" in reason
    assert "correct the next hop wrong.good.test (transport_maps)" in reason
    assert direct.mail("alice") == []


@contextlib.contextmanager
def far(mailbox: Path, *options: str) -> Iterator[None]:
    """Run a server of aiosmtpd at 192.0.2.1, in a network of its own at the other end."""
    needs("unshare", "nsenter")
    there = subprocess.Popen(["unshare", "--net", "sleep", "600"])
    enter = ["nsenter", "--net", "--target", str(there.pid)]
    while (
        Path(f"/proc/{there.pid}/ns/net").stat().st_ino == Path("/proc/self/ns/net").stat().st_ino
    ):
        time.sleep(0.01)
    ip(f"link set way5 netns {there.pid}")
    for words in ("addr add 192.0.2.1/24 dev way5", "link set way5 up"):
        subprocess.run([*enter, "ip", *words.split()], check=True)
    server = subprocess.Popen(
        [
            *(*enter, sys.executable, "-m", "aiosmtpd", "-n", "-l", "192.0.2.1:25"),
            *(*options, "-c", "aiosmtpd.handlers.Mailbox", str(mailbox)),
        ]
    )
    try:
        for _ in range(200):
            listening = [*enter, "cat", "/proc/net/tcp"]
            if ":0019 " in subprocess.run(listening, stdout=-1, text=True, check=True).stdout:
                break
            time.sleep(0.05)
        yield
    finally:
        for each in (server, there):
            each.terminate()
            each.wait(30)


def test_mail_goes_to_the_first_exchanger_that_answers(direct, tmp_path):
    direct.send("alice", LETTER, "joe@far.test")
    with far(tmp_path / "mailbox"):
        direct.flush()
        assert direct.queue() == [], waiting(direct)
    (letter,) = letters(tmp_path / "mailbox")
    assert letter.values("X-RcptTo") == ["joe@far.test"]
    assert letter.values("X-MailFrom") == ["alice@example.net"]


def test_mail_goes_by_tls_to_a_server_of_the_policy(direct, authority, tmp_path):
    direct.send("alice", LETTER, "joe@good.test")
    pem = str(authority.pem("good", "mx.good.test"))
    policy = serving(Site(), authority.context("good", "mta-sts.good.test"))
    with policy, far(tmp_path / "mailbox", "--tlscert", pem, "--tlskey", pem):
        direct.flush()
        assert direct.queue() == [], waiting(direct)
    assert len(letters(tmp_path / "mailbox")) == 1


def test_mail_does_not_go_to_a_server_of_the_policy_that_cannot_prove_itself(
    direct, authority, tmp_path
):
    direct.send("alice", LETTER, "joe@good.test")
    site = Site(GOOD.replace("*.other.test", "no.test"))
    policy = serving(site, authority.context("good", "mta-sts.good.test"))
    with policy, far(tmp_path / "mailbox"):
        direct.flush()
    (reason,) = waiting(direct)
    assert "TLS is required, but was not offered by host mx.good.test[192.0.2.1]" in reason
    assert letters(tmp_path / "mailbox") == []


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


def test_a_policy_is_kept_by_who_speaks_with_the_network(direct, authority):
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
