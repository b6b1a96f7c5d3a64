"""From each of the programs that people come from, and back: the same mail goes the same way.

A sample of one, Postfix, is played on this machine, with memory over it; --whole plays all of them
in a Debian of its own each.
"""

import time
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from typing import NamedTuple

import pytest
from chroots import BASE, CRON, Chroot, chroot, package
from harness import needs
from machine import HOSTNAME, Machine
from relays import Relay, relay


class Old(NamedTuple):
    """A program that people come from: its package, files, and what makes it go on."""

    package: str
    files: dict[str, str]
    start: tuple[str, ...] = ()


# as /etc/init.d/nullmailer starts it
NULLMAILER = """
cd /var/spool/nullmailer && rm -f trigger && mkfifo -m 622 trigger || exit
chown mail:root trigger
setpriv --init-groups --reuid=mail --regid=mail nullmailer-send >/dev/null 2>&1 &
"""
OLD = {
    "postfix": Old(
        "postfix",
        {
            "/etc/postfix/main.cf": "compatibility_level = 3.6\nmyhostname = {host}\n"
            "myorigin = $myhostname\nmydestination = $myhostname, localhost\n"
            "inet_interfaces = loopback-only\nrelayhost = [127.0.0.1]:{port}\n"
            "smtp_generic_maps = hash:/etc/postfix/generic\nalias_maps = hash:/etc/aliases\n"
            "home_mailbox = Maildir/\nmailbox_size_limit = 0\n",
            "/etc/postfix/generic": "@{host} me@isp.example\n",
            "/etc/aliases": "root: alice, ops@isp.example\n",
        },
        ("sh", "-c", "postmap /etc/postfix/generic && newaliases && postfix start"),
    ),
    "dma": Old(
        "dma",
        {
            "/etc/dma/dma.conf": "SMARTHOST 127.0.0.1\nPORT {port}\nALIASES /etc/aliases\n"
            "SPOOLDIR /var/spool/dma\nMAILNAME {host}\nMASQUERADE me@isp.example\nNULLCLIENT\n",
            "/etc/aliases": "root: ops@isp.example\n",
        },
    ),
    "msmtp": Old(
        "msmtp-mta",
        {
            "/etc/msmtprc": "# all\ndefaults\nauth off\ntls off\naliases /etc/msmtp-aliases\n"
            "account isp\nhost 127.0.0.1\nport {port}\nfrom me@isp.example\n"
            "account default : isp\n",
            "/etc/msmtp-aliases": "root: ops@isp.example\ndefault: all@isp.example\n",
        },
    ),
    "nullmailer": Old(
        "nullmailer",
        {
            "/etc/nullmailer/defaulthost": "{host}\n",
            "/etc/nullmailer/adminaddr": "ops@isp.example\n",
            "/etc/nullmailer/allmailfrom": "me@isp.example\n",
            "/etc/nullmailer/remotes": "127.0.0.1 smtp --port={port}\n",
        },
        ("sh", "-c", NULLMAILER),
    ),
    "ssmtp": Old(
        "ssmtp",
        {
            "/etc/ssmtp/ssmtp.conf": "root=postmaster\nmailhub=127.0.0.1:{port}\nhostname={host}\n",
            "/etc/ssmtp/revaliases": "root:me@isp.example:127.0.0.1:{port}\n"
            "alice:alice@isp.example:127.0.0.1:{port}\n",
        },
    ),
    "esmtp": Old(
        "esmtp-run",
        {
            "/etc/esmtprc": 'hostname = 127.0.0.1:{port}\nqualifydomain = "isp.example"\n'
            'force reverse_path = "me@isp.example"\n',
        },
    ),
}
KEEP = ("--no-install-recommends", "-o", "Dpkg::Options::=--force-confold")
KEPT = ("/etc/pymail", "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/subuid")
KEPT += ("/etc/subgid", "/etc/.pwd.lock", "/var/spool/postfix", "/var/spool/nullmailer")
KEPT += ("/var/spool/dma",)
"""What is left: the configuration, the user, and where mail goes through."""


class Passed(NamedTuple):
    """How a letter went: to the relay with an envelope, or to a Maildir."""

    place: str
    sender: str
    recipients: tuple[str, ...]
    subject: str


def configure(here: Chroot, old: Old, server: Relay) -> None:
    """Write the files of a program that sends to a server."""
    for name, text in {"/etc/mailname": "{host}\n", **old.files}.items():
        here.write(name, text.replace("{port}", str(server.port)).replace("{host}", HOSTNAME))


def cron_mail(here: Chroot) -> None:
    """Send what cron sends of jobs of root's and of a user's, and for a MAILTO elsewhere."""
    for user, to in (("root", "root"), ("alice", "alice"), ("alice", "ops@example.org")):
        text = (
            f"From: {user} (Cron Daemon)\nTo: {to}\nSubject: Cron <{user}@box> {to}\n"
            f"MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n\nоутпут\n"
        )
        here.call(*CRON, to, user=user, stdin=text.encode())


def passed(here: Chroot, server: Relay) -> list[Passed]:
    """Return how what has come went, and forget it."""
    found = []
    for one in server.taken:
        letter = message_from_bytes(one.data)
        # A name without a domain is meant as one of this machine.
        to = sorted(each if "@" in each else f"{each}@{HOSTNAME}" for each in one.recipients)
        found.append(Passed("relay", one.sender, tuple(to), str(letter["Subject"])))
    server.taken.clear()
    for path in (here.root / "home/alice/Maildir/new").glob("*"):
        letter = message_from_bytes(path.read_bytes())
        sender = str(letter["Return-Path"]).strip("<>")
        found.append(Passed("alice", sender, (), str(letter["Subject"])))
        path.unlink()
    return sorted(found)


def arrived(here: Chroot, server: Relay, count: int) -> list[Passed]:
    """Wait for so many letters."""
    found: list[Passed] = []
    end = time.monotonic() + 30
    while len(found) < count and time.monotonic() < end:
        found = sorted(found + passed(here, server))
        time.sleep(0.1)
    assert len(found) == count, found
    return found


@pytest.fixture
def places(tmp_path: Path, machine: Machine, *, whole: bool) -> Iterator[Chroot]:
    """A Debian of its own, or this machine."""
    del machine
    with chroot(tmp_path, BASE if whole else Path("/")) as here:
        yield here


def played(here: Chroot, old: Old, server: Relay) -> tuple[int, list[Passed]]:
    """Start the old program; return how many letters of cron arrive, and as what."""
    if old.start:
        here.call(*old.start)
    count = 4 if old is OLD["postfix"] else 3
    cron_mail(here)
    return count, arrived(here, server, count)


@pytest.mark.parametrize("kind", OLD)
def test_the_mail_of_cron_goes_as_before_and_so_it_does_afterwards(
    places: Chroot, kind: str, *, whole: bool
) -> None:
    here, old = places, OLD[kind]
    if not whole and kind != "postfix":
        pytest.skip("one of a sweep; --whole plays it")
    needs("postfix")
    with relay() as server:
        configure(here, old, server)
        if whole:
            here.apt("install", *KEEP, old.package)
        count, before = played(here, old, server)
        system = here.sight(*KEPT)

        here.checkout()
        here.pymail("setup", "--yes", "--start", "none")
        told = here.pymail("import", "--write", kind)
        assert "no such setting" not in told
        here.pymail("setup", "--yes", "--start", "cron")
        line = (here.root / "etc/cron.d/pymail").read_text().splitlines()[-1]
        cron_mail(here)
        assert here.call("sh", "-c", line.partition(" root ")[2]) == ""
        assert here.call("mailq") == "Mail queue is empty\n"
        assert arrived(here, server, count) == before

        here.pymail("setup", "--remove", "--start", "cron")
        assert here.sight(*KEPT) == system
        cron_mail(here)
        assert arrived(here, server, count) == before


@pytest.mark.usefixtures("sweep")
@pytest.mark.parametrize("kind", OLD)
def test_apt_changes_one_for_the_other_and_back(places: Chroot, kind: str) -> None:
    here, old = places, OLD[kind]
    with relay() as server:
        configure(here, old, server)
        here.apt("install", *KEEP, old.package)
        count, before = played(here, old, server)

        (here.root / "pymail.deb").write_bytes(package(here.root / "tmp").read_bytes())
        here.apt("install", *KEEP, "./pymail.deb")
        here.call("pymail", "import", "--write", kind)
        cron_mail(here)
        assert here.call("flush") == ""
        assert arrived(here, server, count) == before

        here.apt("install", *KEEP, old.package)
        if kind == "postfix":
            here.call("postfix", "stop")
        if old.start:
            here.call(*old.start)
        cron_mail(here)
        assert arrived(here, server, count) == before
