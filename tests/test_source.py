"""POP3 and IMAP with servers that lie, stall, break off, or say anything at all."""

import itertools
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import pytest
from dialogues import configured
from hypothesis import given, settings
from hypothesis import strategies as st

from pymail import tls
from pymail.source import After, RefusedError, Remote, Text, exchange, pop3, response, retrieval
from pymail.source import talk as talks
from pymail.source.imap import Imap
from pymail.source.pop3 import Pop3
from pymail.source.talk import Talk
from pymail.transport import Login, connect
from pymail.transport.tunnel import Tunnel
from pymail.transport.wire import LostError, Wire

LOGIN = Login("joe", "secret")
CAPABILITY = b"* CAPABILITY IMAP4rev1 AUTH=PLAIN UIDPLUS MOVE\r\n"
OPENED = b"* OK hello\r\n" + CAPABILITY + b"a1 OK\r\n"
SELECTED = b"* 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\na2 OK\r\n"
GREETED = b"+OK hello <1.2@x>\r\n+OK\r\nUIDL\r\nPIPELINING\r\n.\r\n"


@contextmanager
def saying(data: bytes) -> Iterator[tuple[Talk, socket.socket]]:
    """Have a server say all of this, and nothing more."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)

    def say() -> None:
        with suppress(OSError):
            theirs.sendall(data)
            theirs.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=say)
    sender.start()
    talk = Talk(Wire("server", ours))
    try:
        yield talk, theirs
    finally:
        talk.close()
        sender.join()
        theirs.close()


class Pieces:
    """A wire on which one piece after the other comes, so many seconds later but for the first.

    `now` is its own clock, `bytes` what has come.
    """

    name = "server"
    idle = True

    def __init__(self, pieces: Iterable[bytes], every: float = 0, on_time: int = 0) -> None:
        self._pieces = iter(pieces)
        self._waits = itertools.chain([0] * on_time, itertools.repeat(every))
        self.now = 0.0
        self.bytes = 0

    def monotonic(self) -> float:
        return self.now

    def write(self, data: bytes, what: str, limit: float) -> None: ...

    def close(self) -> None: ...

    def heard(self, doing: str, limit: float) -> bytes:
        wait = next(self._waits)
        self.now += min(limit, wait)
        if limit < wait:
            raise LostError("4.4.2", f"conversation with {self.name} timed out while {doing}")
        piece = next(self._pieces, b"")
        if not piece:
            raise LostError("4.4.2", f"lost connection with {self.name} while {doing}")
        self.bytes += len(piece)
        return piece


def texts(found: Iterator[tuple[Remote, Text | str]]) -> dict[str, bytes | str]:
    read: dict[str, bytes | str] = {}
    for remote, text in found:
        if isinstance(text, Text):
            read[remote.key] = b"".join(text.pieces())
            text.close()
        else:
            read[remote.key] = text
    return read


def three() -> list[Remote]:
    return [Remote(f"k{n}", n, 10) for n in (1, 2, 3)]


def test_pop3_takes_texts_as_they_are():
    letters = [b"A: b\r\n\r\n..dot\r\n...\r\n", b"", b"bare \r and \n in it\r\n"]
    replies = b"".join(b"+OK\r\n" + each + b".\r\n" for each in letters)
    with saying(GREETED + replies) as (talk, _):
        found = texts(Pop3(talk).retrieve(three()))
    assert found == {"k1": b"A: b\n\n.dot\n..\n", "k2": b"", "k3": b"bare \r and \n in it\n"}


def test_pop3_goes_on_behind_a_message_that_is_refused():
    replies = b"+OK\r\na\r\n.\r\n-ERR gone\x1b[2J\r\n+OK\r\nc\r\n.\r\n"
    with saying(GREETED + replies) as (talk, _):
        found = texts(Pop3(talk).retrieve(three()))
    assert found == {"k1": b"a\n", "k2": "-ERR gone?[2J", "k3": b"c\n"}


def test_pop3_asks_for_the_next_messages_ahead_and_deletes_at_the_end():
    replies = b"".join(b"+OK\r\n%d\r\n.\r\n" % n for n in range(1, 251)) + b"+OK\r\n" * 3
    remotes = [Remote(f"k{n}", n, 10) for n in range(1, 251)]
    first, then = remotes[:60], remotes[60:]
    with saying(GREETED + replies) as (talk, server):
        source = Pop3(talk)
        found = texts(source.retrieve(first, then))
        heard = server.recv(1 << 16)
        source.finish(first[:2], After("delete"))
        found |= texts(source.retrieve(then))
        assert (source.doomed(), source.settle()) == (["k1", "k2"], [])
        source.quit()
        heard += server.recv(1 << 16)
    asked = [b"RETR %d" % n for n in range(1, 251)]
    assert heard.split(b"\r\n") == [b"CAPA", *asked, b"DELE 1", b"DELE 2", b"QUIT", b""]
    assert found == {f"k{n}": b"%d\n" % n for n in range(1, 251)}


def test_pop3_without_pipelining_waits_for_each_answer():
    able = GREETED.replace(b"PIPELINING\r\n", b"")
    with saying(able + b"+OK\r\na\r\n.\r\n") as (talk, server):
        texts(Pop3(talk).retrieve(three()[:1], three()[1:]))
        assert server.recv(1 << 16) == b"CAPA\r\nRETR 1\r\n"


@pytest.mark.parametrize("size", [b"x", b"-5", b"9" * 5000])
def test_pop3_takes_a_size_that_is_none_for_unknown(size: bytes):
    listed = b"+OK\r\n1 " + size + b"\r\n.\r\n"
    with saying(GREETED + listed + b"+OK\r\n1 a\r\n.\r\n") as (talk, _):
        assert Pop3(talk).look("") == [Remote("a", 1, 0)]


@pytest.mark.parametrize("line", [b"1 a\r\n", b"x", b" \r\n\r\n1 \t \r\n"])
def test_pop3_lists_no_more_than_a_mailbox_can_have(monkeypatch, line: bytes):
    monkeypatch.setattr(pop3, "MOST_MESSAGES", 1000)
    wire = Pieces(itertools.chain([GREETED, b"+OK\r\n"], itertools.repeat(line * 100)))
    with pytest.raises(LostError, match="server: too much in the answer to LIST"):
        Pop3(Talk(wire)).look("")
    assert wire.bytes < 2 << 20


def test_imap_takes_literals_and_strings_wherever_the_uid_stands():
    replies = b"* 1 FETCH (BODY[] {3}\r\na\r\n UID 1)\r\n* 9 EXISTS\r\n"
    replies += b'* 2 FETCH (FLAGS (\\Seen) UID 2 BODY[] "q \\"\\\\ q")\r\n'
    replies += b"* 3 FETCH (UID 3 BODY[] NIL)\r\na2 OK\r\n"
    replies += b"* 3 FETCH (UID 3 BODY[] NIL)\r\na3 OK\r\n"
    with saying(OPENED + replies) as (talk, _):
        found = texts(Imap(talk).retrieve(three()))
    assert found == {"k1": b"a\n", "k2": b'q "\\ q', "k3": "there is no such message"}


def parts(monkeypatch, replies: bytes) -> bytes | str:
    """Return what comes of a message whose parts, four bytes each, a server gives like this."""
    monkeypatch.setattr(response, "PART", 4)
    with saying(OPENED + replies) as (talk, _):
        found = texts(Imap(talk).retrieve([Remote("k1", 1, 10)]))
    return found["k1"]


def part(number: int, offset: int, data: bytes) -> bytes:
    told = b"* 1 FETCH (UID 1 BODY[]<%d> {%d}\r\n%b)\r\n" % (offset, len(data), data)
    return told + b"a%d OK done\r\n" % number


@pytest.mark.parametrize(
    "last",
    [
        part(5, 7, b""),
        b'* 1 FETCH (UID 1 BODY[]<7> "")\r\na5 OK\r\n',
        b"* 1 FETCH (UID 1 BODY[] NIL)\r\na5 OK\r\n",
        b'* 1 FETCH (BODY[]<7> "q\\"" UID 1)\r\na5 OK\r\n' + part(6, 9, b""),
    ],
)
def test_imap_takes_a_large_message_in_parts_up_to_its_real_end(monkeypatch, last: bytes):
    # Line ends are halved by parts, and the second part is shorter than what was asked for.
    replies = part(2, 0, b"ab\n\r") + part(3, 4, b"\nc") + part(4, 6, b"d") + last
    found = parts(monkeypatch, replies)
    assert isinstance(found, bytes)
    assert found.removesuffix(b'q"') == b"ab\n\ncd"


@pytest.mark.parametrize("size", [1000, 5_000_000])
def test_of_a_message_that_is_larger_than_wanted_no_more_parts_are_asked_for(monkeypatch, size):
    monkeypatch.setattr(response, "PART", 1 << 20)
    told = b"* 1 FETCH (UID 1 BODY[]<%d> {%d}\r\n%b)\r\na%d OK\r\n"
    replies = (told % (n << 20, 1 << 20, b"x" * (1 << 20), n + 2) for n in range(100))
    wire = Pieces([OPENED, *replies])
    ((_, text),) = Imap(Talk(wire)).retrieve([Remote("k1", 1, 9 << 20)], most=size)
    assert isinstance(text, Text)
    assert size < text.size < size + (2 << 20)
    assert wire.bytes < 2 * size + (3 << 20)
    text.close()


def test_a_server_that_knows_no_parts_may_give_the_whole(monkeypatch):
    whole = b"* 1 FETCH (UID 1 BODY[] {8}\r\n0123456\n)\r\na2 OK\r\n"
    assert parts(monkeypatch, whole) == b"0123456\n"
    asked_again = b"* 1 FETCH (UID 1)\r\na2 OK\r\n" + whole.replace(b"a2", b"a3")
    assert parts(monkeypatch, asked_again) == b"0123456\n"


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        (b"a2 NO gone\r\n", "NO gone"),
        (part(2, 0, b"abcd") + b"a3 NO gone\r\n", "NO gone"),
        (part(2, 0, b"abcd") + b"a3 OK nothing\r\n", "OK nothing"),
        (part(2, 0, b"abcd") + part(3, 8, b"ijkl"), "OK done"),
        (b"* 1 FETCH (UID 1 BODY[] NIL)\r\na2 OK none\r\na3 OK\r\n", "OK none"),
        (part(2, 0, b"abcd").replace(b"OK", b"NO"), "NO done"),
        (b"* 1 FETCH (UID 1 BODY[] {1}\r\nx)\r\na2 NO why\r\n", "NO why"),
        (
            part(2, 0, b"abcd") + b"* 1 FETCH (UID 1 BODY[] {1}\r\nx)\r\na3 OK\r\n",
            "it sends a whole message for a part of one",
        ),
        (part(2, 0, b"abcd").replace(b"UID 1", b"UID 2") + b"a3 NO\r\n", "OK done"),
    ],
)
def test_a_message_of_which_parts_are_missing_is_none(monkeypatch, replies: bytes, words: str):
    assert parts(monkeypatch, replies) == words


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        (part(2, 0, b"abcde"), "more than asked"),
        (part(2, 0, b"abcd") + b"* OK [UIDVALIDITY 9] new\r\na3 OK\r\n", "UIDVALIDITY has changed"),
        (b"".join(part(n + 2, n, b"x") for n in range(70)), "crumbs"),
        (part(2, 0, b"abcd") + b"* 1 FETCH (UID 1 BODY[]<4> {4}\r\nx", "lost connection"),
        (b"".join(part(n + 2, 4 * n, b"abcd") for n in range(9)), "no end"),
    ],
)
def test_a_server_that_gives_parts_as_none_would_is_left(monkeypatch, replies: bytes, words: str):
    monkeypatch.setattr(retrieval, "MOST_TEXT", 20 if words == "no end" else 1000)
    with pytest.raises(LostError, match=words):
        parts(monkeypatch, replies)


def test_a_text_cannot_pass_for_an_answer():
    evil = b"x\r\n* 2 FETCH (UID 2 BODY[] {1}\r\nz)\r\na2 OK\r\n"
    replies = b"* 1 FETCH (UID 1 BODY[] {%d}\r\n%b)\r\na2 OK\r\n" % (len(evil), evil)
    with saying(OPENED + replies) as (talk, _):
        found = texts(Imap(talk).retrieve(three()[:1]))
    assert found == {"k1": evil.replace(b"\r\n", b"\n")}


def test_imap_asks_again_for_each_where_one_spoils_the_answer():
    replies = b"* 1 FETCH (UID 1 BODY[] {1}\r\na)\r\na2 NO broken\r\n"
    replies += b"a3 NO broken\r\n* 3 FETCH (UID 3 BODY[] {1}\r\nc)\r\na4 OK\r\n"
    with saying(OPENED + replies) as (talk, _):
        found = texts(Imap(talk).retrieve(three()))
    assert found["k1"] == b"a"
    assert found["k3"] == b"c"
    assert isinstance(found["k2"], str)


def test_imap_makes_keys_of_folder_validity_and_uid():
    listed = b"* 1 FETCH (UID 5 RFC822.SIZE 10)\r\n* 2 FETCH (RFC822.SIZE 20 UID 9)\r\na3 OK\r\n"
    with saying(OPENED + SELECTED + listed) as (talk, theirs):
        found = Imap(talk).look("Рас сылки & Co")
        said = theirs.recv(1 << 16)
    assert found == [
        Remote("%420;%430;%441;%20;%441;%44B;%43B;%43A;%438;%20;&%20;Co:7:5", 5, 10),
        Remote("%420;%430;%441;%20;%441;%44B;%43B;%43A;%438;%20;&%20;Co:7:9", 9, 20),
    ]
    assert b'a2 SELECT "&BCAEMARB- &BEEESwQ7BDoEOA- &- Co"\r\n' in said


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"* BYE full\r\n", "refused to talk"),
        (b"x" * 1_100_000, "a line without end"),
        (b"* OK\r\n* CAPABILITY IMAP4rev1\r\na1 OK\r\n* BYE out\r\n", "out"),
        (OPENED + SELECTED.replace(b"UIDVALIDITY", b"X"), "has no UIDVALIDITY"),
        (OPENED + SELECTED + b"* 1 FETCH (UID 1 RFC822.SIZE 3)\r\na3 NO\r\n", "cannot list folder"),
        (OPENED + b"a2 NO none\r\n", "cannot open folder INBOX"),
        (b"* OK\r\n" + b"* CAPABILITY" + b" X" * 20_000 + b"\r\n", "too much in CAPABILITY"),
        (OPENED + b"* X {99999999}\r\n", "too much"),
    ],
)
def test_an_imap_server_that_is_none_is_left(data: bytes, words: str):
    with saying(data) as (talk, _), pytest.raises((LostError, RefusedError), match=words):
        Imap(talk).look("INBOX")


@pytest.mark.parametrize("size", [2, 1000, 5_000_000])
def test_a_text_that_breaks_off_is_none(size: int):
    broken = b"* 1 FETCH (UID 1 BODY[] {%d}\r\na" % size
    with saying(OPENED + broken) as (talk, _), pytest.raises(LostError, match="lost connection"):
        texts(Imap(talk).retrieve(three()))
    half = GREETED + b"+OK\r\na\r\n"
    with saying(half) as (talk, _), pytest.raises(LostError, match="lost connection"):
        texts(Pop3(talk).retrieve(three()))


def test_what_a_server_repeats_of_a_login_is_in_no_error():
    said = b"AG5vYm9keQBzZWNyZXQtd29yZA=="  # PLAIN, of nobody and secret-word
    login = Login("nobody", "secret-word")
    challenge = CAPABILITY + b"a1 OK\r\n+ \r\n"
    for end in (b"a2 NO what is " + said, b"* BYE secret-word and " + said[:12]):
        with saying(b"* OK hello\r\n" + challenge + end + b"\r\n") as (talk, _):
            server = Imap(talk)
            with pytest.raises(LostError) as caught:
                server.log_in(login, ())
        for secret in ("secret-word", said.decode(), said[:12].decode()):
            assert secret not in str(caught.value)
            assert secret not in caught.value.outcome.words


def test_what_is_said_before_tls_counts_for_nothing():
    class Never:
        """A tunnel that nobody gets to."""

    with saying(GREETED + b"+OK go\r\n+OK logged in\r\n") as (talk, _):
        server = Pop3(talk)
        with pytest.raises(LostError, match="does not begin TLS"):
            server.secure(Never())  # type: ignore[arg-type]
    with saying(OPENED + b"a2 OK go\r\na3 OK logged in\r\n") as (talk, _):
        other = Imap(talk)
        with pytest.raises(LostError, match="does not begin TLS"):
            other.secure(Never())  # type: ignore[arg-type]


def test_a_server_of_thousands_of_addresses_that_do_not_answer_is_left(monkeypatch):
    clock, called = Pieces(()), []

    def call(host: str, address: str, port: int, source: str, limit: float) -> Wire:
        del port, source
        called.append(address)
        clock.now += limit
        raise LostError("4.4.1", f"connect to {host}[{address}]: timed out")

    found = [(0, 0, 0, "", (f"192.0.2.{n % 250}", 993)) for n in range(4000)]
    monkeypatch.setattr(connect.socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(connect, "call", call)
    monkeypatch.setattr(connect, "time", SimpleNamespace(monotonic=clock.monotonic))
    with pytest.raises(LostError, match=r"connect to imap\.example\.org"):
        connect.reach("imap.example.org", 993, 60)
    assert clock.now <= 600
    assert len(called) == 10


@pytest.mark.parametrize("drops", [0, 1000])
def test_a_server_that_stalls_in_the_handshake_is_left(monkeypatch, drops: int):
    monkeypatch.setattr(talks, "LIMIT", 0.5)
    ours, theirs = socket.socketpair()
    gone = threading.Event()

    def drip() -> None:
        record = b"\x16\x03\x03\x40\x00"
        for n in range(drops):
            if gone.wait(0.02):
                break
            with suppress(OSError):
                theirs.send(record[n : n + 1] or b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        tunnel = Tunnel(configured(), tls.Policy("encrypt"), "server")
        with pytest.raises(LostError, match="server timed out while performing the TLS handshake"):
            Talk(Wire("server", ours)).secure(tunnel)
    finally:
        gone.set()
        thread.join()
        ours.close()
        theirs.close()


def test_a_server_that_stalls_is_left(monkeypatch):
    monkeypatch.setattr(talks, "LIMIT", 0.2)
    ours, theirs = socket.socketpair()
    theirs.sendall(GREETED + b"+OK\r\nhalf")
    with ours, theirs:
        server = Pop3(Talk(Wire("server", ours)))
        with pytest.raises(LostError, match="timed out"):
            texts(server.retrieve(three()))


def test_a_server_that_sends_drop_by_drop_is_left(monkeypatch):
    monkeypatch.setattr(talks, "LIMIT", 0.2)
    ours, theirs = socket.socketpair()
    theirs.sendall(GREETED + b"+OK\r\n")
    server = Pop3(Talk(Wire("server", ours)))
    gone = threading.Event()

    def drip() -> None:
        while not gone.wait(0.02):
            with suppress(OSError):
                theirs.send(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        with pytest.raises(LostError, match="timed out"):
            texts(server.retrieve(three()))
    finally:
        gone.set()
        thread.join()
        ours.close()
        theirs.close()


FETCHED = b"* 1 FETCH (UID 1 BODY[] {0}\r\n"
ENDLESS = [
    (OPENED + FETCHED, b" BODY[] {0}\r\n" * 4000, "too much in the answer to FETCH"),
    (OPENED + b"* 1 FETCH (UID 1", b" X {1}\r\ny" * 4000, "too much in the answer to FETCH"),
    (OPENED + FETCHED, b"(" * 60_000, "a line without end in the answer to FETCH"),
    (OPENED + FETCHED, b' "x', "a line without end in the answer to FETCH"),
    (OPENED, b"* 1 EXISTS\r\n" * 4000, "the answer to FETCH has no end"),
    (OPENED, b"\r\n" * 30_000, "the answer to FETCH has no end"),
    (OPENED, FETCHED.replace(b"{0}", b"{50000}") + b"y" * 50_000 + b")\r\n", ".* has no end"),
    (
        OPENED,
        FETCHED.replace(b"{0}", b"{9999999999}") + b"y" * 50_000,
        "a message of 9999999999 bytes in",
    ),
    (b"* OK\r\n", b"* 1 EXISTS\r\n" * 4000, "the answer to CAPABILITY has no end"),
    (b"* OK\r\n", b"* CAPABILITY" + b" X" * 60_000, "the answer to CAPABILITY has no end"),
    (OPENED.replace(b"VE\r", b"VE\r\n* X {60}\r"), b"y" * 99, "the answer to .* has no end"),
]


@pytest.mark.parametrize(("said", "more", "words"), ENDLESS)
def test_an_answer_without_end_is_soon_left(monkeypatch, said: bytes, more: bytes, words: str):
    monkeypatch.setattr(exchange, "MOST_LISTING", 1 << 19)
    monkeypatch.setattr(retrieval, "MOST_TEXT", 1 << 21)
    wire = Pieces(itertools.chain([said], itertools.repeat(more)))
    with pytest.raises(LostError, match=f"host server: {words}"):
        texts(Imap(Talk(wire)).retrieve(three()[:1]))
    assert wire.bytes < 3 << 20


def converse(talk: Talk, kind: type[Imap | Pop3]) -> None:
    """Do all that a fetch does."""
    server = kind(talk)
    server.log_in(LOGIN, ())
    server.look("INBOX")
    texts(server.retrieve(three()[:1]))
    server.finish(three()[:1], After("delete"))
    server.settle()
    server.quit()


IMAP_SAYS = [
    *(b"* OK hello\r\n", CAPABILITY + b"a1 OK\r\n", b"+ \r\n", b"a2 OK\r\n"),
    *(CAPABILITY + b"a3 OK\r\n", SELECTED.replace(b"a2", b"a4")),
    *(b"* 1 FETCH (UID 1 RFC822.SIZE 3)\r\n", b"a5 OK\r\n"),
    *(b"* 1 FETCH (UID 1 BODY[] {9999}\r\n", b"x" * 9999 + b")\r\n", b"a6 OK\r\n"),
    *(b"a7 OK\r\n", b"a8 OK\r\n", b"* BYE\r\na9 OK\r\n"),
]
POP3_SAYS = [
    *(b"+OK hello\r\n", b"+OK\r\nUIDL\r\nSASL CRAM-MD5\r\n.\r\n", b"+ PDE=\r\n"),
    *(b"+OK\r\n", b"-ERR\r\n", b"+OK\r\n", b"1 10\r\n.\r\n", b"+OK\r\n1 a\r\n.\r\n", b"+OK\r\n"),
    *(b"Subject: x\r\n", b"\r\n.\r\n", b"+OK\r\n", b"+OK\r\n"),
]
STATES = [
    (kind, says[:n])
    for kind, says in ((Imap, IMAP_SAYS), (Pop3, POP3_SAYS))
    for n in range(len(says))
]


@pytest.mark.parametrize("drop", [b"x", b"* 1 EXISTS\r\n", b"* 1 FETCH (BODY[] {0}\r\n"])
@pytest.mark.parametrize(("kind", "said"), STATES)
def test_a_server_that_drips_is_left_in_every_state(monkeypatch, kind, said, drop: bytes):
    for every in (59, 1):
        # What it says on time comes one by one, and then a drop each minute, or each second.
        wire = Pieces([*said, *[drop] * 2000], every, on_time=len(said))
        monkeypatch.setattr(talks, "time", SimpleNamespace(monotonic=wire.monotonic))
        why = ""
        try:
            converse(Talk(wire), kind)
        except (LostError, RefusedError) as error:
            why = str(error)
        assert wire.now <= 2 * talks.LIMIT + talks.MOST_WAIT
        # Whole lines are answers in POP3, and such as refuse.
        assert "server" in why or (kind is Pop3 and drop.endswith(b"\n"))


WORDS = [
    *(b"* OK hello\r\n", b"+OK <a@b>\r\n", b"+OK\r\n", b"-ERR no\r\n", b".\r\n", b"+ \r\n"),
    *(b"a1 OK\r\n", b"a2 OK\r\n", b"a3 OK\r\n", b"a4 OK x\r\n", b"a2 NO\r\n", b"a3 BAD\r\n"),
    *(CAPABILITY, b"* 3 EXISTS\r\n", b"* OK [UIDVALIDITY 7]\r\n", b"+ AAA=\r\n", b"* BYE\r\n"),
    *(b"* 1 FETCH (UID 1 RFC822.SIZE 3)\r\n", b"* 1 FETCH (UID 1 BODY[] {3}\r\n", b"{5}\r\n"),
    *(b"{0}\r\n", b'BODY[] "x', b"1 a\r\n2 b\r\n", b"PIPELINING\r\n", b"\r\n", b"\n", b"\0"),
    b"SASL PLAIN SCRAM-SHA-256 XOAUTH2\r\n",
]
ANYTHING = st.lists(st.one_of(st.sampled_from(WORDS), st.binary(max_size=40)), max_size=25)


@settings(max_examples=300, deadline=None)
@given(data=ANYTHING, kind=st.sampled_from([Imap, Pop3]), greeted=st.booleans())
def test_whatever_a_server_says_ends_well_or_in_words(data, kind, greeted):
    said = b"".join(data)
    if greeted:
        said = (OPENED if kind is Imap else GREETED) + said
    with saying(said) as (talk, _):
        why = ""
        try:
            server = kind(talk)
            server.log_in(LOGIN, ())
            remotes = server.look("INBOX")
            texts(server.retrieve(remotes))
            server.finish(remotes, After("delete"))
            server.settle()
            server.quit()
        except (LostError, RefusedError) as error:
            why = str(error)
    assert why.isprintable()
    assert "secret" not in why


PARTS = [
    *(b"* 1 FETCH (UID 1 BODY[]<0> {3}\r\nabc)\r\n", b"* 1 FETCH (UID 1 BODY[]<3> {1}\r\nd)\r\n"),
    *(b'* 1 FETCH (UID 1 BODY[]<3> "")\r\n', b"* 1 FETCH (UID 1 BODY[] NIL)\r\n", b"BODY[]<"),
    *(b"* 1 FETCH (UID 1 BODY[] {3}\r\nabc)\r\n", b"{4}\r\n", b"(UID 1 ", b")\r\n"),
    *(b"a2 OK\r\n", b"a3 OK\r\n", b"a4 OK\r\n", b"a3 NO\r\n", b"* OK [UIDVALIDITY 7]\r\n"),
]
SOME = st.lists(st.one_of(st.sampled_from(PARTS), st.binary(max_size=20)), max_size=15)


@settings(max_examples=300, deadline=None)
@given(data=SOME)
def test_whatever_parts_a_server_gives_make_a_text_or_words(data):
    with saying(OPENED + b"".join(data)) as (talk, _):
        why: bytes | str = ""
        try:
            found = texts(Imap(talk).retrieve([Remote("k1", 1, response.PART + 1)]))
            why = found["k1"]
        except LostError as lost:
            why = str(lost)
    assert isinstance(why, bytes) or why.isprintable()


@given(pieces=st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n", b"\r\n.", b"\0"])))
def test_a_text_goes_over_pop3_unchanged(pieces):
    text = b"".join(pieces).replace(b"\r\n", b"\n")
    text = text.replace(b"\r", b"") + b"\n"
    sent = b"\r\n".join(b"." + x if x[:1] == b"." else x for x in text.split(b"\n")) + b".\r\n"
    with saying(GREETED + b"+OK\r\n" + sent) as (talk, _):
        assert texts(Pop3(talk).retrieve(three()[:1])) == {"k1": text}


@given(
    said=st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n", b"\r\n.", b"\r\n.\r"])),
    cuts=st.sets(st.integers(1, 60)),
)
def test_a_message_is_the_same_wherever_it_is_cut_on_its_way(said, cuts):
    stream = b"".join(said) + b"\r\n.\r\n+OK next\r\n"
    ends = [*(cut for cut in sorted(cuts) if cut < len(stream)), len(stream)]
    pieces = [stream[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    text, end, rest = (b"\r\n" + stream).partition(b"\r\n.\r\n")
    talk = Talk(Pieces(pieces))
    found = b"".join(talk.until_dot("a message"))
    assert found == (text + end[:2]).replace(b"\r\n.", b"\r\n")[2:]
    lines = [talk.line("what follows") for _ in range(rest.count(b"\n"))]
    assert lines == [line.removesuffix(b"\r") for line in rest.split(b"\n")[:-1]]


def test_a_line_without_end_is_passed_on_as_it_comes():
    """To look at all of it again for each piece made a core busy for minutes with 64 MB."""
    wire = Pieces([*[b"A" * 1000] * 500, b"\r\n.\r\n"])
    passed = [len(piece) for piece in Talk(wire).until_dot("a message")]
    assert max(passed) <= 1000
    assert sum(passed) == 500_000 + len(b"\r\n")


@pytest.mark.parametrize(("kind", "says"), [(Imap, IMAP_SAYS), (Pop3, POP3_SAYS)])
def test_the_server_that_drips_would_else_be_a_good_one(kind, says):
    converse(Talk(Pieces(says)), kind)
