"""A conversation in lines with a server over a socket: what LMTP and SMTP share.

Every wait has an end, also with a server that talks without end, one byte a minute, or that
takes what it is sent one byte a minute.  While we write, what the server says is heard: with
pipelining neither side waits for the other to read.
"""

import contextlib
import select
import socket
import time
from typing import Protocol

from pymail import replies
from pymail.outcome import Outcome
from pymail.replies import ProtocolError, Reply

# Seconds; RFC 5321 4.5.3.2.
REPLY_TIME = 300
LAST_TIME = 1

SLOWEST = 500
"""Bytes a second that a server takes at least; Postfix's smtp_min_data_rate."""

MOST_HEARD = 1 << 20
"""Bytes of replies that wait to be read, or of one; those to 10,000 recipients are fewer."""

_ROOM = 1 << 16
_LEAST = 64
"""Bytes for which a line of a reply counts at least: to take a short one costs no less."""


class LostError(Exception):
    """The connection is of no more use; `outcome` is that of everyone not answered for.

    kind      "host" the next server may do better, "login" the login was refused, "offline"
              there is no way to the network from here
    doubtful  the server may have the message all the same: to send it at once again is wrong
    """

    def __init__(
        self, dsn: str, words: str, kind: str = "host", *, reply: str = "", status: str = "deferred"
    ) -> None:
        super().__init__(words)
        self.outcome = Outcome(status, dsn, words, reply=reply)
        self.kind = kind
        self.doubtful = False


class Tunnel(Protocol):
    """TLS, or what else is between the conversation and the bytes that a socket carries.

    All raise OSError where the other side breaks the protocol.
    """

    def shake(self, data: bytes) -> tuple[bytes, bool]:
        """Take what came from the peer; return what to send, and whether it stands."""
        ...

    def rest(self) -> bytes:
        """Return what is to be sent where that came to nothing."""
        ...

    def seal(self, data: bytes) -> bytes:
        """Return `data` as it is sent."""
        ...

    def unseal(self, data: bytes) -> bytes:
        """Return what was said, as far as `data` has it complete."""
        ...


class Wire:
    """A connected socket to the server `name`.

    Everything raises LostError where the server, or the way to it, fails.  `strange` is whether
    a reply began with what is none: what comes next may belong to another command.
    """

    def __init__(self, name: str, there: socket.socket) -> None:
        there.setblocking(False)
        self.name = name
        self.strange = False
        self._socket = there
        self._tunnel: Tunnel | None = None
        self._buffer = b""
        self._room = MOST_HEARD
        self._poll = select.poll()
        self._poll.register(there, select.POLLIN)

    @property
    def idle(self) -> bool:
        """Whether nothing was heard, of what has been taken in, that was not asked for."""
        return not self._buffer

    def quiet(self) -> bool:
        """Say whether nothing has come in that was not asked for.

        That the connection is lost shows at the next step.
        """
        if not self._buffer and self._poll.poll(0):
            with contextlib.suppress(LostError):
                self._hear("listening", time.monotonic() + LAST_TIME)
        return self.idle

    @property
    def secured(self) -> bool:
        """Whether the conversation goes through a tunnel."""
        return self._tunnel is not None

    @property
    def here(self) -> str:
        """The address of our end."""
        try:
            return str(self._socket.getsockname()[0])
        except OSError as error:
            raise self._lost(error, "while saying hello") from None

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        self._socket.close()

    def secure(self, tunnel: Tunnel, limit: float) -> None:
        """Talk through `tunnel` from here on.  OSError and others are the tunnel's."""
        try:
            self._shake(tunnel, limit)
        except Exception:
            with contextlib.suppress(LostError):
                self._send(tunnel.rest(), "parting")  # an alert, which says why
            raise
        self._tunnel = tunnel
        self._buffer = tunnel.unseal(b"")

    def _shake(self, tunnel: Tunnel, limit: float) -> None:
        deadline = time.monotonic() + limit
        what = "performing the TLS handshake"
        data, done = tunnel.shake(b"")
        while True:
            if data:
                self._push(data, what, limit)
            if done:
                return
            heard, self._buffer = self._buffer, b""
            data, done = tunnel.shake(heard or self._pull(what, deadline))

    def write(self, data: bytes, what: str, limit: float = REPLY_TIME) -> None:
        """Send all of `data`; `what` tells a person what it is."""
        try:
            self._push(self._tunnel.seal(data) if self._tunnel else data, f"sending {what}", limit)
        except OSError as error:
            raise self._lost(error, f"while sending {what}") from None

    def heard(self, doing: str, limit: float) -> bytes:
        """Return what was said, and wait for something; `doing` tells a person for what."""
        deadline = time.monotonic() + limit
        while not self._buffer:
            self._hear(doing, deadline)
        data, self._buffer = self._buffer, b""
        return data

    def reply(self, command: str, limit: float = REPLY_TIME) -> Reply:
        """Return the next reply, which is the one to `command`; a 421 is a loss."""
        try:
            reply = self._reply(command, time.monotonic() + limit)
        except ProtocolError as error:
            words = f"host {self.name}: {error} (in reply to {command} command)"
            raise LostError("4.5.0", words) from None
        if reply.code == 421:
            outcome = reply.outcome(self.name, command)
            raise LostError(outcome.dsn, outcome.words, reply=reply.words)
        return reply

    def last_words(self, command: str) -> Reply | None:
        """Return the reply that a server left behind when it went away, if it did."""
        try:
            return self.reply(command, LAST_TIME)
        except LostError:
            return None

    def _reply(self, command: str, deadline: float) -> Reply:
        self._room = MOST_HEARD
        line = self._line(command, deadline)
        if reply := replies.single(line):
            return reply
        self.strange = self.strange or not replies.begins(line)
        lines = [line]
        while not replies.is_last(line := self._line(command, deadline)):
            self._spend(max(len(line), _LEAST))
            if len(lines) < replies.MOST_LINES:
                lines.append(line)
        return replies.parse([*lines, line])

    def _line(self, command: str, deadline: float) -> bytes:
        """Return the next line without its end; what is too long of it is dropped."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > replies.MOST_LINE:
                self._spend(len(self._buffer) - replies.MOST_LINE)
                self._buffer = self._buffer[: replies.MOST_LINE]
            self._hear(f"receiving the reply to {command}", deadline)
        line = self._buffer[:end].removesuffix(b"\r")
        self._buffer = self._buffer[end + 1 :]
        return line if end < replies.MOST_LINE else line[: replies.MOST_LINE]

    def _spend(self, count: int) -> None:
        """Count bytes of the reply that is being heard."""
        self._room -= count
        if self._room < 0:
            raise ProtocolError("a reply without end")

    def _hear(self, doing: str, deadline: float) -> None:
        try:
            data = self._pull(doing, deadline)
            self._buffer += self._tunnel.unseal(data) if self._tunnel else data
        except OSError as error:
            raise self._lost(error, f"while {doing}") from None

    def _pull(self, doing: str, deadline: float) -> bytes:
        """Return some bytes that came in."""
        while True:
            wait = deadline - time.monotonic()
            if wait <= 0 or not self._poll.poll(wait * 1000):
                raise self._late(doing)
            try:
                data = self._socket.recv(_ROOM)
            except BlockingIOError:
                continue  # poll(2): what is readable may not be, after all
            except OSError as error:
                raise self._lost(error, f"while {doing}") from None
            if not data:
                raise LostError("4.4.2", f"lost connection with {self.name} while {doing}")
            return data

    def _push(self, data: bytes, doing: str, limit: float) -> None:
        """Send `data` as it is; most often there is room for all of it."""
        sent = self._send(data, doing)
        if sent == len(data):
            return
        rest = memoryview(data)[sent:]
        total = time.monotonic() + limit + len(rest) / SLOWEST
        stalled = time.monotonic() + limit
        self._poll.modify(self._socket, select.POLLIN | select.POLLOUT)
        while rest:
            wait = min(stalled, total) - time.monotonic()
            events = dict(self._poll.poll(wait * 1000)) if wait > 0 else {}
            if not events:
                raise self._late(doing)
            (event,) = events.values()
            if event & ~select.POLLOUT:
                self._overhear(doing, total)
            if event & select.POLLOUT and (sent := self._send(rest, doing)):
                rest = rest[sent:]
                stalled = time.monotonic() + limit
        self._poll.modify(self._socket, select.POLLIN)

    def _overhear(self, doing: str, deadline: float) -> None:
        self._hear(doing, deadline)
        if len(self._buffer) > MOST_HEARD:
            raise LostError("4.5.0", f"host {self.name} talks without end while {doing}")

    def _send(self, data: bytes | memoryview, doing: str) -> int:
        try:
            return self._socket.send(data, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._lost(error, f"while {doing}") from None

    def _late(self, doing: str) -> LostError:
        return LostError("4.4.2", f"conversation with {self.name} timed out while {doing}")

    def _lost(self, error: OSError, when: str) -> LostError:
        words = f"lost connection with {self.name} {when}: {error.strerror or error}"
        return LostError("4.4.2", words)
