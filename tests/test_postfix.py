"""The same mail through a Postfix of our own: it takes the same way, under the same addresses."""

import smtplib
import stat
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from harness import PATH, Box, missing, needs, needs_root
from relays import Taken, free_port, relay

from pymail import address, message, outside
from pymail import config as configuration
from pymail.config import Config
from pymail.keys import Found, Key, Lookup
from pymail.maps import Map
from pymail.rewrite import Rewriting

COMMON = """\
myhostname = "box.example.net"
myorigin = "example.net"
mydestination = "example.net, box.example.net, localhost"
recipient_delimiter = "+"
"""

TRANSPORT = """\
example.org relay:[d]
joe@example.org :[e]
null.example :
.up.example smtp:[up]
.example.com relay:
bare.example smtp
only.example :[only]
bob@example.net :[local]
carol@example.net smtp:[carol]
*\trelay:[star]
dave+x@example.org smtp:[dave+x]
dave@example.org smtp:[dave]
"j d"@example.org smtp:[jd]
"""

RELAYS = "@w.example [w]\nw@w.example DUNNO\n<> [null]\n"

CANONICAL = """\
a b
b@example.net c@d.example
@d.example @e.example
root2 root2x
x@y.example z
ext extended@new.example
"""

GENERIC = """\
root@example.net me@isp.example
a@example.net @isp.example
b local
c@x.example cc
@up.example up@isp.example
ext@example.net e@isp.example
@box.example.net @isp2.example
"q r"@example.net "s t"@isp.example
d@example.net d2@example.net
d2@example.net d3@example.net
list@example.net x@isp.example, y@isp.example
"""

SENDERS = (
    *("root", "a", "a+x@example.net", "x@y.example", "w@w.example", "v@w.example", "ext+1"),
    *("joe@h.home.example", "root@h.home.example", "joe@x.keep.home.example", "A@Example.NET"),
    *("joe@home.example", "", "root2+y", '"q r"@example.net'),
)
RECIPIENTS = (
    *("joe@example.org", "ann@example.org", "joe+y@example.org", "n@null.example"),
    *("n@sub.null.example", "u@up.example", "u@a.up.example", "u@a.b.up.example"),
    *("c@example.com", "c@x.example.com", "b@bare.example", "o@only.example", "bob@example.net"),
    *("carol@example.net", "carol+x@example.net", "alice@example.net", "alice@localhost"),
    *("q@other.example", "dave@example.org", "dave+x@example.org", "dave+z@example.org"),
    *('"j d"@example.org', "ANN@EXAMPLE.ORG"),
)
AUTHORS = (
    *("root", "a", "a+x", "b", "b@localhost", "b+y", "b@other.example", "c@x.example"),
    *("z@up.example", "z+1@up.example", "z@sub.up.example", "ext+w", "u@box.example.net"),
    *("u+v@box.example.net", '"q r"', "d", "list", "ROOT@Example.net", "n@box.example.net"),
)

SERVICES = """\
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
real unix - - n - - smtp
"""


@dataclass
class Postfix:
    """A Postfix of the test's own, which takes mail on a port and tells where it sends it."""

    place: Path
    port: int = field(default_factory=free_port)

    def start(self, settings: str) -> None:
        """Start it with these settings."""
        for name in ("etc", "queue", "data"):
            (self.place / name).mkdir()
        subprocess.run(["chown", "postfix", self.place / "data"], check=True)
        self.seen = self.place / "seen"
        self.seen.touch()
        self.seen.chmod(0o666)
        spy = self.place / "spy"
        spy.write_text(f'#!/bin/sh\ncat >/dev/null\necho "$1 $2 $3 $4" >>{self.seen}\n')
        spy.chmod(0o755)
        pipes = "".join(
            f"{name} unix - n n - - pipe\n"
            f"  user=nobody argv={spy} {name} ${{sender}} ${{recipient}} ${{nexthop}}\n"
            for name in ("plocal", "psmtp", "smtp", "relay")
        )
        entrance = f"127.0.0.1:{self.port} inet n - n - - smtpd\n"
        (self.place / "etc" / "master.cf").write_text(SERVICES + entrance + pipes)
        (self.place / "etc" / "main.cf").write_text(
            f"compatibility_level = 3.6\nqueue_directory = {self.place}/queue\n"
            f"data_directory = {self.place}/data\nmaillog_file = {self.place}/log\n"
            f"maillog_file_prefixes = {self.place}\ninet_interfaces = 127.0.0.1\n"
            "inet_protocols = ipv4\nlocal_recipient_maps =\nalias_maps =\n"
            "smtpd_relay_restrictions = permit_mynetworks, reject\nmynetworks = 127.0.0.0/8\n"
            "local_transport = plocal:\n" + COMMON.replace('"', "") + settings
        )
        done = self.ask("start")
        if done.returncode:
            missing(f"Postfix does not start: {done.stderr.decode()}")
        wait(lambda: "daemon started" in (self.place / "log").read_text())

    def ask(self, verb: str) -> "subprocess.CompletedProcess[bytes]":
        argv = ["postfix", "-c", str(self.place / "etc"), verb]
        return subprocess.run(argv, capture_output=True, env={"PATH": PATH}, check=False)

    def send(self, letters: Iterable[tuple[str, str, str]]) -> None:
        """Hand over messages: sender, recipient, text."""
        with smtplib.SMTP("127.0.0.1", self.port) as client:
            client.ehlo("box.example.net")
            for sender, recipient, text in letters:
                client.docmd(f"MAIL FROM:<{sender}>")
                assert client.docmd(f"RCPT TO:<{recipient}>")[0] == 250
                assert client.data(text.encode())[0] == 250


@pytest.fixture
def postfix(tmp_path_factory) -> Iterator[Postfix]:
    needs("postfix", "postmap")
    needs_root()
    place = tmp_path_factory.mktemp("postfix")
    for above in (place, *place.parents):
        above.chmod(above.stat().st_mode | stat.S_IXOTH)
    here = Postfix(place)
    yield here
    here.ask("stop")


def wait(enough: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not enough() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert enough()


def bare(text: str) -> str:
    """Return the internal form of an address."""
    return address.mailboxes(text)[0][0] if text else ""


def test_mail_takes_the_way_that_postfix_sends_it(postfix: Postfix, tmp_path: Path) -> None:
    files = {"transport": TRANSPORT, "relays": RELAYS, "canonical": CANONICAL}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    settings = (
        'relayhost = "[a]:587"\nmasquerade_domains = "!keep.home.example home.example"\n'
        f'masquerade_exceptions = "root"\ntransport_maps = "texthash:{tmp_path}/transport"\n'
        f'sender_dependent_relayhost_maps = "texthash:{tmp_path}/relays"\n'
        f'sender_canonical_maps = "texthash:{tmp_path}/canonical"\n'
    )
    postfix.start(settings.replace('"', "") + "default_transport = psmtp\n")
    pairs = [(sender, "q@other.example") for sender in SENDERS]
    pairs += [("me@plain.example", recipient) for recipient in RECIPIENTS]
    postfix.send((sender, recipient, "Subject: s\n\nx\n") for sender, recipient in pairs)
    wait(lambda: len(postfix.seen.read_text().splitlines()) >= len(pairs))

    (tmp_path / "config.toml").write_text(COMMON + settings + 'default_transport = "smtp"\n')
    config, lookup = loaded(tmp_path / "config.toml")
    rewriting = Rewriting(config, lookup)
    ours = []
    for sender, recipient in pairs:
        origin = rewriting.sender(address.qualify(bare(sender), config.myorigin))
        inside = address.split(recipient)[1].lower() in config.mydestination
        choice = outside.choose(config, lookup, bare(recipient), origin, ours=inside)
        hop = "" if choice.kind == "local" else choice.argument
        line = f"{choice.kind} {origin or 'MAILER-DAEMON'} {bare(recipient)} {hop}"
        ours.append(line.rstrip())
    assert sorted(ours) == sorted(map(plain, postfix.seen.read_text().splitlines()))


def plain(line: str) -> str:
    """Return what a transport was given, under the name that the transport has here."""
    name, _, rest = line.partition(" ")
    if name == "plocal":
        return f"local {rest.rpartition(' ')[0]}"
    return f"smtp {rest}"


def loaded(file: Path) -> tuple[Config, Lookup]:
    config = configuration.load(str(file), hostname="h", mailname="", aliases="/etc/aliases")
    maps: dict[str, Map] = {}

    def lookup(setting: str, keys: Iterator[Key]) -> Found | None:
        return maps.setdefault(setting, Map(getattr(config, setting))).first(keys)

    return config, lookup


def test_the_world_sees_the_addresses_that_postfix_would_show(
    postfix: Postfix, box: Box, tmp_path: Path
) -> None:
    (tmp_path / "generic").write_text(GENERIC)
    with relay() as theirs, relay() as ours:
        postfix.start(
            f"relayhost = {theirs.hop}\nsmtp_generic_maps = texthash:{tmp_path}/generic\n"
            "default_transport = real\nsmtp_destination_recipient_limit = 1\n"
        )
        box.config(f'{COMMON}relayhost = "{ours.hop}"\nsmtp_generic_maps = "{tmp_path}/generic"\n')
        letters = [(author, "u@up.example", letter(author)) for author in AUTHORS]
        postfix.send(letters)
        for sender, recipient, text in letters:
            box.send(text.encode(), "-f", sender, recipient)
        box.flush()
        wait(lambda: len(theirs.taken) >= len(letters))
    assert seen(ours.taken) == seen(theirs.taken)
    assert len(ours.taken) == len(AUTHORS)


def letter(author: str) -> str:
    return (
        f"From: N <{author}>\nTo: x (y) <{author}>, other@o.example, grp: root, b;\n"
        f"Reply-To: {author}\nCc: b+y\nSubject: {author}\nX-Me: {author}\n\nx\n"
    )


def seen(taken: list[Taken]) -> list[tuple[str, ...]]:
    """Return what a server has got to see of each message."""
    found = []
    for each in taken:
        fields = message.split(each.data.replace(b"\r\n", b"\n"))[0]
        names = (b"subject", b"from", b"to", b"reply-to", b"cc", b"x-me")
        values = [" ".join(message.values(fields, name)[0].decode().split()) for name in names]
        found.append((each.sender, *each.recipients, *values))
    return sorted(found)
