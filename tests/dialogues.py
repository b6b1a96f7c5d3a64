"""A player of dialogues: a server that says what a text file tells it to.

A file in tests/data/dialogues/ has facts and expectations, then one conversation or several,
each behind a line "---":

    set NAME VALUE       a setting, its value as in TOML; $ca is the file of our authority
    login USER PASSWORD  who we are
    to ADDRESS           a recipient; alice@example.net where there is none
    from ADDRESS         the sender; "from" alone is the null sender
    message TEXT         the message, with \\n and other escapes of Python
    wish NAME VALUE      a wish of RFC 3461 for the message
    times N              the message is sent N times
    ahead                and each time the next is known before the last is sent
    expect STATUS DSN WORDS     what becomes of a recipient, in order of their numbers
    lost KIND DSN WORDS         how the connection ends; for whoever has no outcome yet
    ---
    S: TEXT              the server says TEXT and CRLF
    S! TEXT              the server says TEXT with its escapes, as it is
    C: TEXT              the client must say TEXT and CRLF; "*" stands for anything
    D: TEXT              the same, for a line of the message; "D" alone takes it to its dot
    tls KIND NAME...     TLS begins (see authority.py)
    raw TEXT             the same as S!, past TLS
    hear                 the client must say something, whatever it is
    close, reset, stall  the server closes; resets; says nothing until the client goes

Words may have "*" for anything; $port is the server's port.
"""

import os
import re
import socket
import ssl
import struct
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from authority import Authority
from transports import content, delivery

from pymail.config import Config, combine
from pymail.nexthop import NextHop
from pymail.outcome import Outcome
from pymail.transport import Delivery, Login, Wishes
from pymail.transport.smtp import Server, Session
from pymail.transport.transaction import Following
from pymail.transport.wire import LostError

HOST = {"hostname": "box.example.net", "mailname": "", "aliases": "/no", "config": "/no.toml"}
MESSAGE = b"Subject: s\nTo: alice\n\nFrom here\nto there\n"


def configured(**settings: object) -> Config:
    """Return a configuration in which these settings are made."""
    return combine({name: (value, "test") for name, value in settings.items()}, HOST)


@dataclass
class Dialogue:
    """What a file says."""

    settings: dict[str, object] = field(default_factory=dict)
    recipients: list[str] = field(default_factory=list)
    login: Login | None = None
    sender: str = "joe@example.org"
    message: bytes = MESSAGE
    wishes: dict[str, Any] = field(default_factory=dict)
    times: int = 1
    ahead: bool = False
    expected: list[str] = field(default_factory=list)
    talks: list[list[str]] = field(default_factory=list)

    def group(self) -> list[Delivery]:
        """Return the deliveries of the message."""
        header, _, body = self.message.partition(b"\n\n")
        return [
            delivery(
                "",
                number=number,
                sender=self.sender,
                recipient=recipient,
                original=recipient,
                content=content(header + b"\n", body),
                wishes=Wishes(**self.wishes),
            )
            for number, recipient in enumerate(self.recipients or ["alice@example.net"])
        ]


def read(path: Path, ca: Path | None = None) -> Dialogue:
    """Return the dialogue in a file."""
    found = Dialogue()
    for line in path.read_text().replace("$ca", str(ca)).splitlines():
        if line == "---":
            found.talks.append([])
        elif found.talks:
            found.talks[-1].append(line)
        elif line and not line.startswith("#"):
            _fact(found, line)
    return found


def _fact(found: Dialogue, line: str) -> None:
    word, _, rest = line.partition(" ")
    name, _, value = rest.partition(" ")
    match word:
        case "set":
            found.settings[name] = tomllib.loads(f"x = {value}")["x"]
        case "login":
            found.login = Login(name, value)
        case "to":
            found.recipients.append(rest)
        case "from":
            found.sender = rest
        case "message":
            found.message = _plain(rest)
        case "wish":
            found.wishes[name] = value == "true" if name == "utf8" else value
        case "times":
            found.times = int(rest)
        case "ahead":
            found.ahead = True
        case "expect" | "lost":
            found.expected.append(line)
        case _:
            raise AssertionError(line)


def _plain(text: str) -> bytes:
    """Return what a text with Python's escapes stands for."""
    return text.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1")


class Player:
    """A server that plays conversations one after another; `raw` is all that it was told."""

    def __init__(self, talks: list[list[str]], authority: Authority | None = None) -> None:
        self.talks = talks
        self.raw = bytearray()
        self.clear = bytearray()  # what of it was not encrypted
        self.mistakes: list[str] = []
        self.connections = 0
        self._authority = authority
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._play)
        self._thread.start()

    def close(self) -> None:
        """Stop; everything must have been played."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _play(self) -> None:
        for talk in self.talks:
            try:
                there, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            there.settimeout(10)
            try:
                _Talk(self, there, self._authority).play(talk)
            except (OSError, EOFError) as error:
                self.mistakes.append(f"{type(error).__name__}: {error}")


class _Talk:
    """One conversation."""

    def __init__(self, player: Player, there: socket.socket, authority: Authority | None) -> None:
        self._player = player
        self._there = there
        self._authority = authority
        self._heard = b""

    def play(self, talk: list[str]) -> None:
        try:
            for step in talk:
                self._step(step)
        finally:
            self._there.close()

    def _step(self, step: str) -> None:
        word, _, rest = step.partition(" ")
        match word:
            case "S:":
                self._there.sendall(f"{rest}\r\n".encode())
            case "S!":
                self._there.sendall(_plain(rest))
            case "raw":
                os.write(self._there.fileno(), _plain(rest))
            case "C:" | "D:":
                self._expect(rest)
            case "D":
                while self._line() != b".\r\n":
                    pass
            case _:
                getattr(self, f"_{word}")(*rest.split())

    def _expect(self, text: str) -> None:
        line = self._line().decode("utf-8", "backslashreplace")
        if not is_like(f"{text}\r\n", line):
            self._player.mistakes.append(f"not {text!r} but {line!r}")

    def _tls(self, kind: str, *names: str) -> None:
        assert self._authority
        context = self._authority.context(kind, *names)
        self._there = context.wrap_socket(self._there, server_side=True)

    def _close(self) -> None:
        self._there.close()

    def _reset(self) -> None:
        self._there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._there.close()

    def _stall(self) -> None:
        while self._there.recv(4096):
            pass

    def _hear(self) -> None:
        assert self._there.recv(4096)

    def _line(self) -> bytes:
        while b"\n" not in self._heard:
            data = self._there.recv(65536)
            if not data:
                raise EOFError("the client went away")
            self._player.raw += data
            if not isinstance(self._there, ssl.SSLSocket):
                self._player.clear += data
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        return line + b"\n"


@contextmanager
def playing(talks: list[list[str]], authority: Authority | None = None) -> Iterator[Player]:
    """Run a player."""
    player = Player(talks, authority)
    try:
        yield player
    finally:
        player.close()


def is_like(pattern: str, text: str) -> bool:
    """Say whether a text is as written; "*" stands for anything."""
    return bool(re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL))


def server(port: int, hop: str = "mx.example.net", *, mx: bool = False, **facts: object) -> Server:
    """Return the server on a port of this machine, which is called mx.example.net."""
    usual = Server("mx.example.net", "127.0.0.1", port, NextHop(hop, port, mx))
    return usual._replace(**facts)


def told(outcome: Outcome) -> str:
    """Return an outcome as it stands in a file."""
    return f"expect {outcome.status} {outcome.dsn} {outcome.words}"


def heard(dialogue: Dialogue, port: int) -> list[str]:
    """Have the conversation as the client; return what came of it, as it stands in a file."""
    lines: list[str] = []
    try:
        session = Session(server(port), configured(**dialogue.settings), dialogue.login)
        for left in reversed(range(dialogue.times)):
            following = dialogue.group if dialogue.ahead and left else list
            lines += _outcomes(session, dialogue.group(), following)
        session.quit()
    except LostError as lost:
        found = told(lost.outcome).removeprefix(f"expect {lost.outcome.status} ")
        lines.append(f"lost {lost.kind} {found}")
    return lines


def _outcomes(session: Session, group: list[Delivery], following: Following) -> list[str]:
    """Return what is known of the recipients, in their order; a loss is said behind it."""
    outcomes: dict[int, Outcome] = {}
    lines = []
    try:
        for number, outcome in session.transact(group, following):
            assert number not in outcomes
            outcomes[number] = outcome
    except LostError as lost:
        lines.append(f"lost {lost.kind} {lost.outcome.dsn} {lost.outcome.words}")
    return [*(told(outcomes[number]) for number in sorted(outcomes)), *lines]
