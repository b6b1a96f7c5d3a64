"""SMTP: every dialogue of tests/data/dialogues, and what dialogues cannot say."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import pytest
from authority import Authority
from dialogues import configured, heard, is_like, playing, read, server
from harness import DATA
from transports import content, delivery, filed

from pymail.outcome import Outcome
from pymail.transport import Delivery, wire
from pymail.transport.smtp import Session

DIALOGUES = sorted((DATA / "dialogues").glob("*.txt"))


@pytest.fixture(scope="session")
def authority(tmp_path_factory) -> Iterator[Authority]:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.parametrize("path", DIALOGUES, ids=[path.stem for path in DIALOGUES])
def test_a_dialogue_goes_as_it_is_written(path: Path, authority: Authority):
    dialogue = read(path, authority.file)
    with playing(dialogue.talks, authority) as player:
        lines = heard(dialogue, player.port)
    wrong = [line for line in player.mistakes if not line.startswith("SSL")]
    assert not wrong
    expected = [line.replace("$port", str(player.port)) for line in dialogue.expected]
    assert len(lines) == len(expected), lines
    for line, pattern in zip(lines, expected, strict=True):
        assert is_like(pattern, line), lines
    assert player.connections == len(dialogue.talks)


def deaths() -> list[tuple[str, int]]:
    """Return where a server can die: behind each step of the dialogues that go well."""
    found = []
    for name in ("pipelined", "step-by-step", "helo", "tls-secure", "too-many"):
        (talk,) = read(DATA / "dialogues" / f"{name}.txt").talks
        found += [(name, step) for step in range(len(talk) - 1)]
    return found


@pytest.mark.parametrize(("name", "step"), deaths())
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_server_that_dies_bounces_nothing(name, step, how, authority: Authority):
    dialogue = read(DATA / "dialogues" / f"{name}.txt", authority.file)
    talk = dialogue.talks[0][:step]
    with playing([[*talk, how]], authority) as player:
        lines = heard(dialogue, player.port)
    *before, last = lines
    assert re.fullmatch(r"lost host 4\.(4\.1|4\.2|7\.5) .*", last)
    assert set(before) <= set(dialogue.expected)
    # Once the message is under way, its dot may or may not have come out.
    said = last.endswith("message may be sent more than once")
    if talk[-1:] in (["D: ."], ["D"]):
        assert said
    if said:
        assert "S: 354 go" in talk[-7:]


class Sink:
    """A server that takes everything, and keeps each byte it was sent."""

    def __init__(self, *offers: str) -> None:
        self.raw = bytearray()
        self.connections = 0
        self._offers = offers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                there, _ = self._listener.accept()
                self.connections += 1
                with there, suppress(ConnectionError):
                    self._talk(there)

    def _talk(self, there: socket.socket) -> None:
        there.sendall(b"220 sink\r\n")
        hello = "\r\n".join(f"250-{offer}" for offer in ("sink", *self._offers))
        lines = there.makefile("rb")
        for line in lines:
            self.raw += line
            verb = line[:4].upper()
            if verb == b"EHLO":
                there.sendall(f"{hello}\r\n250 HELP\r\n".encode())
            elif verb == b"DATA":
                there.sendall(b"354 go\r\n")
                for text in lines:
                    self.raw += text
                    if text == b".\r\n":
                        break
                there.sendall(b"250 2.0.0 queued\r\n")
            else:
                there.sendall(b"250 2.0.0 ok\r\n")

    @property
    def message(self) -> bytes:
        """The one message that it was sent, as it came over the wire."""
        assert self.raw.count(b"DATA\r\n") == 1
        data = bytes(self.raw).partition(b"DATA\r\n")[2]
        return data.partition(b"\r\n.\r\n")[0] + b"\r\n"


FULL = ("PIPELINING", "SIZE 100000000", "8BITMIME", "SMTPUTF8", "DSN")


def send(sink: "Sink", *batch: Delivery, **settings: object) -> list[Outcome]:
    """Send one message through one session; return what became of its recipients."""
    session = Session(server(sink.port), configured(**settings))
    outcomes = dict(session.transact(batch))
    session.quit()
    return [outcomes[number] for number in sorted(outcomes)]


@pytest.mark.parametrize("offers", [(), FULL])
@pytest.mark.parametrize("place", ["head", "memory", "file"])
@pytest.mark.parametrize("before", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("after", ["\r", "\n", "\r\n"])
def test_nothing_in_a_message_ends_it(tmp_path, offers, place, before, after):
    """CVE-2023-51764."""
    evil = b"x" + f"{before}.{after}".encode() + b"MAIL FROM:<x@y>\r\nRCPT TO:<z@y>\r\nDATA\r\n"
    if place == "head":
        message = content(b"A: b\n" + evil, b"end\n")
    elif place == "memory":
        message = content(b"A: b\n", evil)
    else:
        message = filed(tmp_path, b"A: b\n", evil)
    with Sink(*offers) as sink:
        (outcome,) = send(sink, delivery("", content=message))
    assert outcome.status == "sent"
    raw = bytes(sink.raw)
    assert raw.count(b"\r\n.\r\n") == 1
    assert b"\r\n..\r\n" in raw
    assert raw.count(b"\r") == raw.count(b"\n") == raw.count(b"\r\n")
    assert raw.endswith(b"\r\n.\r\nQUIT\r\n")


EVIL = [
    "a\r\nRSET@x.org",
    "a\n@x.org",
    "a\r@x.org",
    "a\0@x.org",
    "a\x1b@x.org",
    "a\x85@x.org",
    "\udcff@x.org",
    "",
]


@pytest.mark.parametrize("evil", EVIL)
def test_an_address_cannot_become_a_command(evil):
    with Sink(*FULL) as sink:
        refused, sent = send(
            sink,
            delivery("", number=0, recipient=evil),
            delivery("", number=1, recipient="b@x.org"),
        )
    assert (refused.status, refused.dsn) == ("bounced", "5.1.3")
    assert sent.status == "sent"
    assert sink.raw.count(b"RCPT TO") == 1
    assert b"RSET" not in sink.raw
    if evil:
        with Sink(*FULL) as sink:
            (refused,) = send(sink, delivery("", sender=evil))
        assert (refused.status, refused.dsn) == ("bounced", "5.1.7")
        assert b"MAIL" not in sink.raw


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("a> NOTIFY=NEVER@x.org", b'<"a> NOTIFY=NEVER"@x.org>'),
        ("a b@x.org", b'<"a b"@x.org>'),
        ('a"b\\c@x.org', b'<"a\\"b\\\\c"@x.org>'),
        ("a@b@x.org", b'<"a@b"@x.org>'),
        ("bare", b"<bare>"),
    ],
)
def test_brackets_and_blanks_stay_within_an_address(address, line):
    with Sink() as sink:
        send(sink, delivery("", sender=address, recipient=address))
    assert b"MAIL FROM:" + line + b"\r\nRCPT TO:" + line + b"\r\n" in sink.raw


def test_a_domain_with_brackets_or_blanks_is_refused():
    batch = [
        delivery("", number=0, recipient="a@x> NOTIFY=NEVER"),
        delivery("", number=1, recipient="a@x y"),
        delivery("", number=2, recipient="a@[192.0.2.1]"),
    ]
    with Sink() as sink:
        outcomes = send(sink, *batch)
    assert [(o.status, o.dsn) for o in outcomes[:2]] == [("bounced", "5.1.3")] * 2
    assert outcomes[2].status == "sent"
    assert sink.raw.count(b"RCPT TO") == 1


def test_two_round_trips_are_enough_for_a_message():
    with Sink(*FULL) as sink, counted() as writes:
        send(sink, delivery("", number=0), delivery("", number=1, recipient="b@x.org"))
    assert [data[:4] for data in writes] == [b"EHLO", b"MAIL", b"Subj", b"QUIT"]
    assert writes[1].endswith(b"DATA\r\n")
    assert writes[2].endswith(b"\r\n.\r\n")


@contextmanager
def counted() -> Iterator[list[bytes]]:
    """Collect what is written, a piece a write."""
    writes: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch:
        write = wire.Wire.write

        def noted(self: wire.Wire, data: bytes, *rest: object) -> None:
            writes.append(data)
            write(self, data, *rest)

        patch.setattr(wire.Wire, "write", noted)
        yield writes


def test_ten_thousand_recipients_fill_no_socket():
    """Both would wait for the other to read, if nobody read while writing."""
    batch = [delivery("", number=n, recipient=f"{'x' * 60}{n}@x.org") for n in range(10_000)]
    with Sink("PIPELINING") as sink, small_buffers():
        outcomes = send(sink, *batch)
    assert {o.status for o in outcomes} == {"sent"}
    assert len(outcomes) == 10_000


@contextmanager
def small_buffers() -> Iterator[None]:
    """Let sockets hold as little as they can."""
    with pytest.MonkeyPatch.context() as patch:
        made = wire.Wire.__init__

        def small(self: wire.Wire, name: str, there: socket.socket) -> None:
            there.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
            there.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            made(self, name, there)

        patch.setattr(wire.Wire, "__init__", small)
        yield


@pytest.mark.parametrize("size", [0, 1, 65_000, 3_000_001])
def test_a_message_of_any_size_arrives_whole(tmp_path, size):
    lines = b"".join(b"%09d..\n.%d\n" % (n, n) for n in range(size // 16 + 1))[:size]
    for message in (content(b"A: 1\n", lines), filed(tmp_path, b"A: 1\n", lines)):
        with Sink(*FULL) as sink, small_buffers():
            (outcome,) = send(sink, delivery("", content=message))
        assert outcome.status == "sent"
        arrived = sink.message.replace(b"\r\n.", b"\r\n").replace(b"\r\n", b"\n")
        expected = b"A: 1\n\n" + lines
        assert arrived == expected + (b"" if expected.endswith(b"\n") else b"\n")
        size_on_wire = len(sink.message.replace(b"\r\n.", b"\r\n"))
        assert abs(int(re.search(rb" SIZE=(\d+)", sink.raw)[1]) - size_on_wire) <= 2
