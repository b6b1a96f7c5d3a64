"""SMTP: every dialogue of tests/data/dialogues, and what dialogues cannot say."""

import errno
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import dkim as verifier
import pytest
from authority import Authority
from dialogues import configured, heard, is_like, playing, read, server
from harness import DATA
from hypothesis import given, settings
from hypothesis import strategies as st
from transports import content, delivery, filed

from pymail import dkimkeys, network
from pymail.outcome import Outcome
from pymail.transport import Content, Delivery, wire
from pymail.transport.data import folded, is_long
from pymail.transport.smtp import Server, Session
from pymail.transport.wire import LostError

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
    if dialogue.login:
        assert not any(dialogue.login.password in line for line in lines)
        assert (
            dialogue.settings.get("smtp_sasl_security_options") == [] or b"AUTH" not in player.clear
        )


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
    if place != "head":
        assert b"\r\n..\r\n" in raw
    assert raw.count(b"\r") == raw.count(b"\n") == raw.count(b"\r\n")
    assert raw.endswith(b"\r\n.\r\nQUIT\r\n")


@pytest.mark.parametrize("place", ["memory", "file"])
def test_a_lone_cr_in_the_header_begins_no_field(tmp_path, place):
    head = b"Subject: a\rBcc: b@x.org\r\rbody\r\nTo: c\r\n"
    evil = content(head, b"x\n") if place == "memory" else filed(tmp_path, head, b"x\n")
    with Sink(*FULL) as sink:
        send(sink, delivery("", content=evil))
    assert sink.message == b"Subject: a Bcc: b@x.org  body\r\nTo: c\r\n\r\nx\r\n"


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


@pytest.mark.parametrize("offers", [(), FULL])
def test_an_outcome_tells_who_has_the_message_and_who_reports_its_success(offers):
    with Sink(*offers) as sink:
        (outcome,) = send(sink, delivery(""))
    relay = f"mx.example.net[127.0.0.1]:{sink.port}"
    words = "250 2.0.0 queued"
    assert outcome == Outcome("sent", "2.0.0", words, relay, words, passed=bool(offers))


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


def test_thousands_of_recipients_fill_no_socket():
    """Both would wait for the other to read, if nobody read while writing."""
    batch = [delivery("", number=n, recipient=f"{'x' * 60}{n}@x.org") for n in range(3_000)]
    with Sink("PIPELINING") as sink, small_buffers():
        outcomes = send(sink, *batch)
    assert {o.status for o in outcomes} == {"sent"}
    assert len(outcomes) == 3_000


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


def lost(there: Server, **settings: object) -> LostError:
    """Return how a session fails to begin."""
    with pytest.raises(LostError) as caught:
        Session(there, configured(**settings))
    return caught.value


def test_a_server_that_is_not_there_is_said_by_name():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    found = lost(server(port))
    relay = f"mx.example.net[127.0.0.1]:{port}"
    assert found.kind == "host"
    words = f"connect to {relay}: Connection refused"
    assert found.outcome == Outcome("deferred", "4.4.1", words, relay)


def test_a_connection_does_not_wait_longer_than_it_may():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        with suppress_connections(port):
            found = lost(server(port), smtp_connect_timeout=1)
    assert found.outcome.words == f"connect to mx.example.net[127.0.0.1]:{port}: timed out"


@contextmanager
def suppress_connections(port: int) -> Iterator[None]:
    """Fill a queue of connections that nobody accepts."""
    waiting = []
    for _ in range(4):
        there = socket.socket()
        there.setblocking(False)
        with suppress(BlockingIOError):
            there.connect(("127.0.0.1", port))
        waiting.append(there)
    yield
    for there in waiting:
        there.close()


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.ENETDOWN])
@pytest.mark.parametrize(("online", "kind"), [(False, "offline"), (True, "host")])
def test_no_way_to_the_network_is_told_apart(monkeypatch, number, online, kind):
    def nowhere(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket, "create_connection", nowhere)
    monkeypatch.setattr(network, "online", lambda: online)
    found = lost(server(25))
    assert (found.kind, found.outcome.status, found.outcome.dsn) == (kind, "deferred", "4.4.1")


@pytest.mark.parametrize("kind", ["EMFILE", "ENFILE", "ENOMEM"])
def test_want_of_descriptors_or_memory_is_no_fault_of_the_server(monkeypatch, kind):
    number = getattr(errno, kind)

    def none(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket, "create_connection", none)
    found = lost(server(25))
    assert (found.kind, found.outcome.status, found.outcome.dsn) == ("host", "kept", "4.3.0")


def test_mail_leaves_from_the_address_that_is_set():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with ThreadPoolExecutor() as pool:
            found = pool.submit(lost, server(port), smtp_bind_address="127.0.0.77")
            there, peer = listener.accept()
            there.close()
            assert found.result().outcome.dsn == "4.4.2"
        assert peer[0] == "127.0.0.77"
        found = lost(server(port), smtp_bind_address="192.0.2.1")
    assert "192.0.2.1 is not of this machine: see smtp_bind_address" in found.outcome.words


def test_an_ipv6_server_is_spoken_to_from_an_ipv6_address():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        there = server(listener.getsockname()[1], name="::1", address="::1")
        with ThreadPoolExecutor() as pool:
            settings = {"smtp_bind_address": "192.0.2.1", "smtp_bind_address6": "::1"}
            found = pool.submit(lost, there, **settings, myhostname="box")
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"220 six\r\n")
                assert peer.recv(100) == b"EHLO [IPv6:::1]\r\n"
        assert found.result().outcome.relay == f"::1[::1]:{there.port}"


@pytest.mark.parametrize(
    "what", [b"2", b"250-more\r\n", b"250-" + b"x" * 100 + b"\r\n", b"x" * 900]
)
def test_a_reply_that_trickles_or_never_ends_is_given_up(what):
    def talk(there: socket.socket) -> None:
        there.sendall(b"220 slow\r\n")
        there.recv(100)
        with suppress(OSError):
            while True:
                there.sendall(what)
                time.sleep(0.05)

    with serving(talk) as port:
        start = time.monotonic()
        found = lost(server(port), smtp_helo_timeout=2)
        assert time.monotonic() - start < 60
    assert (found.outcome.status, found.outcome.dsn[:2]) == ("deferred", "4.")
    assert len(found.outcome.words) < 1500


@pytest.mark.parametrize("what", [b"250-more\r\n", b"more\r\n", b"\n", b"250 " + b"x" * 99])
@pytest.mark.parametrize("at", ["greeting", "end"])
def test_a_reply_without_end_is_bounded_in_bytes_and_no_success(what, at):
    def talk(there: socket.socket) -> None:
        with suppress(OSError):
            if at == "end":
                take_one(there)
            while True:
                there.sendall(what * 500)

    def deliver(port: int) -> None:
        list(Session(server(port), configured()).transact([delivery("")]))

    with serving(talk) as port, pytest.raises(LostError) as caught:
        deliver(port)
    assert "a reply without end" in caught.value.outcome.words
    assert (caught.value.outcome.status, caught.value.outcome.dsn) == ("deferred", "4.5.0")
    assert caught.value.doubtful == (at == "end")


@contextmanager
def serving(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve one connection; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            there, _ = listener.accept()
            with there:
                talk(there)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.parametrize("how", ["silent", "talking"])
def test_a_server_that_does_not_take_the_message_is_given_up(how, monkeypatch):
    monkeypatch.setattr(wire, "MOST_HEARD", 1 << 16)
    gone = threading.Event()

    def talk(there: socket.socket) -> None:
        there.sendall(b"220 slow\r\n")
        lines = there.makefile("rb")
        for reply in (b"250-x\r\n250 PIPELINING\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            lines.readline()
            there.sendall(reply)
        with suppress(OSError):
            while how == "talking":
                there.sendall(b"250 blah\r\n" * 50)
            gone.wait(60)

    big = content(b"A: b\n", (b"x" * 70 + b"\n") * 200_000)
    with serving(talk) as port, small_buffers():
        session = Session(
            server(port), configured(smtp_data_xfer_timeout=30 if how == "talking" else 1)
        )
        with pytest.raises(LostError) as caught:
            list(session.transact([delivery("", content=big)]))
        gone.set()
    words = "timed out while sending message body" if how == "silent" else "talks without end"
    assert words in caught.value.outcome.words
    assert "more than once" not in caught.value.outcome.words


@pytest.mark.parametrize("how", [socket.SHUT_WR, socket.SHUT_RDWR])
def test_what_a_server_says_before_it_hangs_up_counts(how):
    def talk(there: socket.socket) -> None:
        there.sendall(b"220 strict\r\n")
        lines = there.makefile("rb")
        for reply in (b"250 x\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            lines.readline()
            there.sendall(reply)
        lines.readline()
        there.sendall(b"552 5.3.4 too large\r\n")
        there.shutdown(how)

    big = content(b"A: b\n", (b"x" * 70 + b"\n") * 200_000)
    with serving(talk) as port, small_buffers():
        session = Session(server(port), configured())
        outcomes = session.transact([delivery("", content=big)])
        _, outcome = next(outcomes)
        with pytest.raises(LostError):
            next(outcomes)
    assert (outcome.status, outcome.dsn) == ("bounced", "5.3.4")


def take_one(there: socket.socket) -> Iterator[bytes]:
    """Take a message up to its dot; return what comes then."""
    there.sendall(b"220 x\r\n")
    lines = there.makefile("rb")
    for reply in (b"250-x\r\n250 PIPELINING\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
        lines.readline()
        there.sendall(reply)
    while lines.readline() != b".\r\n":
        pass
    return lines


def test_quit_is_not_the_first_line_of_a_message_that_was_announced():
    rest = []

    def talk(there: socket.socket) -> None:
        lines = take_one(there)
        rest.extend(next(lines) for _ in range(3))
        there.sendall(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
        rest.extend(lines)

    with serving(talk) as port:
        session = Session(server(port), configured())
        ((_, outcome),) = session.transact([delivery("")], lambda: [delivery("", number=1)])
        with pytest.raises(ValueError, match="another message"):
            list(session.transact([delivery("", number=2)]))
        session.quit()
    assert outcome.status == "sent"
    assert [line[:4] for line in rest] == [b"MAIL", b"RCPT", b"DATA"]


@pytest.mark.parametrize("reply", [b"", b"250 ok\r\n", b"554 5.7.1 no\r\n"])
def test_a_connection_that_breaks_behind_the_dot_leaves_it_in_doubt(reply):
    def talk(there: socket.socket) -> None:
        take_one(there)
        there.sendall(reply)
        there.shutdown(socket.SHUT_WR)
        gone.wait(60)

    gone = threading.Event()
    following = [delivery("", number=n, recipient=f"{n}@example.net") for n in range(20_000)]
    outcomes = []
    with serving(talk) as port, small_buffers():
        session = Session(server(port), configured())
        with pytest.raises(LostError, match="while sending message body") as caught:
            outcomes.extend(session.transact([delivery("", number=-1)], lambda: following))
        gone.set()
    assert [outcome.status for _, outcome in outcomes] == {
        b"": [],
        b"2": ["sent"],
        b"5": ["bounced"],
    }[reply[:1]]
    assert caught.value.doubtful
    assert "may be sent more than once" in caught.value.outcome.words


def test_a_session_that_is_given_up_half_way_is_closed():
    with Sink(*FULL) as sink:
        session = Session(server(sink.port), configured())
        outcomes = session.transact([delivery("", number=n) for n in range(2)])
        next(outcomes)
        outcomes.close()
        with pytest.raises(LostError):
            list(session.transact([delivery("")]))
        session.quit()


def test_a_queue_file_that_cannot_be_read_sends_no_dot(tmp_path):
    broken = filed(tmp_path, b"A: b\n", b"short\n", claim=1000)
    with Sink(*FULL) as sink:
        (outcome,) = send(sink, delivery("", content=broken))
    assert (outcome.status, outcome.dsn) == ("kept", "4.3.0")
    assert b"MAIL" not in sink.raw


def test_a_queue_file_that_fails_in_the_middle_sends_no_dot(tmp_path, monkeypatch):
    message = filed(tmp_path, b"A: b\n", b"x\n" * 100)
    calls = []

    def pieces(self: Content) -> Iterator[bytes]:
        calls.append(self)
        yield b"A: b\n\nhalf\n"
        yield b"more\n"
        if len(calls) > 1:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(Content, "pieces", pieces)
    with Sink(*FULL) as sink:
        session = Session(server(sink.port), configured())
        outcomes = []
        with pytest.raises(LostError):
            outcomes.extend(session.transact([delivery("", number=1, content=message)]))
    assert b"\r\n.\r\n" not in sink.raw


@pytest.mark.parametrize("offers", [(), FULL])
@pytest.mark.parametrize("line", [b"x" * 2500, "日".encode() * 833, b"\xff" * 2500, b"\x80" * 999])
def test_a_line_that_is_too_long_is_folded_between_characters(offers, line):
    with Sink(*offers) as sink:
        send(sink, delivery("", content=content(b"A: b\n", line + b"\nend\n")))
    lines = sink.message.split(b"\r\n\r\n", 1)[1].split(b"\r\n")
    assert max(map(len, lines)) <= 998
    if b"Content-Transfer-Encoding" in sink.message:
        return
    assert b"".join(lines[:-2]).replace(b" ", b"") == line
    assert lines[-2:] == [b"end", b""]
    if line[:1] == b"\xe6":
        for piece in lines:
            piece.decode()


@given(st.text(st.sampled_from("aä日𐍈\n"), max_size=60), st.integers(5, 20))
def test_folding_loses_nothing_and_splits_no_character(text, limit):
    data = text.encode()
    out = folded(data, limit)
    assert not is_long(out, limit)
    assert out.decode().replace("\n ", "") == text
    assert is_long(data, limit) == any(len(line) > limit for line in data.split(b"\n"))


@given(st.binary(max_size=60), st.integers(5, 20))
def test_any_bytes_can_be_folded(data, limit):
    assert not is_long(folded(data, limit), limit)


ANSWERS = {
    "MAIL": [
        "250 ok",
        "450 4.1.0 x",
        "550 5.1.0 x",
        "354 x",
        "421 4.3.2 bye",
        "",
        "what\r\n250 ok",
        "what\r\n550 5.1.0 x",
        "650 what",
    ],
    "RCPT": [
        "250 ok",
        "450 4.2.0 x",
        "550 5.1.1 x",
        "452 4.5.3 x",
        "552 5.5.3 x",
        "452 4.2.2 x",
        "250-x\r\n550 5.1.1 x",
        "550-x\r\nwhat\r\n250 x",
        "",
    ],
    "DATA": ["354 go", "250 x", "451 4.3.0 x", "554 5.5.1 x", "421 4.3.2 bye", ""],
    ".": [
        "250 2.0.0 ok",
        "250-a\r\n251 b",
        "451 4.3.0 x",
        "554 5.6.0 x",
        "421 bye",
        "",
        "250-a\r\nwhat\r\n250 b",
        "what\r\n250 b",
        "what\r\n554 5.6.0 x",
        "650 what",
    ],
    "RSET": ["250 ok", "500 what", ""],
}


class Moody:
    """A server of which nobody knows what it will say; `taken` is what it has, each message."""

    def __init__(self, answers: dict[str, list[str]], *, pipelining: bool) -> None:
        self.taken: list[list[bytes]] = []
        self._answers = {verb: iter(said) for verb, said in answers.items()}
        self._hello = b"250-x\r\n250 PIPELINING\r\n" if pipelining else b"250 x\r\n"

    def talk(self, there: socket.socket) -> None:
        with suppress(OSError):
            self._talk(there)

    def _talk(self, there: socket.socket) -> None:
        there.sendall(b"220 x\r\n")
        lines = there.makefile("rb")
        assert lines.readline().startswith(b"EHLO ")
        there.sendall(self._hello)
        accepted: list[bytes] = []
        for line in lines:
            verb = line[:4].decode()
            if verb == "QUIT":
                return
            said = self._say(there, verb)
            if verb in ("MAIL", "RSET"):
                accepted = []
            elif verb == "RCPT" and said == "2":
                accepted.append(line)
            elif verb == "DATA" and said == "3":
                while (text := lines.readline()) != b".\r\n":
                    if not text.endswith(b"\r\n"):
                        return
                if self._say(there, ".") == "2":
                    self.taken.append(accepted)
                accepted = []

    def _say(self, there: socket.socket, verb: str) -> str:
        answer = next(self._answers[verb], ANSWERS[verb][0])
        if not answer:
            raise OSError
        there.sendall(answer.encode() + b"\r\n")
        return answer.splitlines()[-1][0]


@given(
    st.fixed_dictionaries(
        {v: st.lists(st.sampled_from(a), max_size=6) for v, a in ANSWERS.items()}
    ),
    st.booleans(),
)
@settings(max_examples=150)
def test_whatever_a_server_says_each_recipient_has_one_fate_and_it_is_the_true_one(
    answers, pipelining
):
    moody = Moody(answers, pipelining=pipelining)
    told: dict[int, Outcome] = {}
    doubtful: list[int] = []
    with serving(moody.talk) as port:
        session = Session(server(port), configured())
        try:
            for first in (0, 4, 8):
                numbers = range(first, first + 4)
                batch = [delivery("", number=n, recipient=f"u{n}@x.org") for n in numbers]
                for number, outcome in session.transact(batch):
                    assert number not in told
                    told[number] = outcome
                assert set(numbers) <= set(told)
            session.quit()
        except LostError as lost:
            doubtful = list(range(12)) if lost.doubtful else []
    has = [int(re.search(rb"u(\d+)@", line)[1]) for group in moody.taken for line in group]
    assert len(has) == len(set(has))
    for number in range(12):
        outcome = told.get(number)
        if number in has:
            assert outcome.status == "sent" if outcome else number in doubtful
        else:
            assert outcome is None or outcome.status != "sent"
        if outcome and outcome.status == "bounced":
            assert outcome.reply[0] == "5"


ODD = b"a\rb\r\n\r\n.c\r\r\n.\n d \t\n\xff\n" + b"x" * 1200 + b"\n\n\n"


@pytest.mark.parametrize("offers", [(), FULL])
@pytest.mark.parametrize("body", [b"text\n", b"no end", b"", ODD, "дом\n".encode()])
@pytest.mark.parametrize("header", [b"", "Subject: дом\n".encode(), b"X: a\rb\n"])
def test_a_signature_holds_for_what_goes_over_the_wire(tmp_path, offers, body, header):
    key = dkimkeys.create(str(tmp_path), "example.net", "s1", 1024, -1)
    record = "".join(re.findall(r'"([^"]*)"', dkimkeys.record(key))).encode()
    message = content(b"From: root@example.net\nTo: joe@example.org\n" + header, body)
    with Sink(*offers) as sink:
        config = configured(dkim_directory=str(tmp_path))
        session = Session(server(sink.port, "example.org", mx=True), config)
        ((_, outcome),) = session.transact([delivery("", content=message)])
        session.quit()
    assert outcome.status == "sent"
    arrived = sink.message.replace(b"\r\n.", b"\r\n")
    assert arrived.startswith(b"DKIM-Signature: ")
    assert verifier.verify(arrived, dnsfunc=lambda *_, **__: record)


def test_a_key_that_cannot_be_used_keeps_the_mail(tmp_path):
    key = dkimkeys.create(str(tmp_path), "example.net", "s1", 1024, -1)
    os.chmod(key.path, 0o644)
    message = content(b"From: root@example.net\n", b"x\n")
    with Sink(*FULL) as sink:
        config = configured(dkim_directory=str(tmp_path))
        session = Session(server(sink.port, "example.org", mx=True), config)
        ((_, outcome),) = session.transact([delivery("", content=message)])
        session.quit()
    assert (outcome.status, outcome.dsn) == ("kept", "4.3.5")
    assert outcome.relay == f"mx.example.net[127.0.0.1]:{sink.port}"
    assert b"MAIL" not in sink.raw
