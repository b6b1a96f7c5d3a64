"""A conversation in lines with a server over a socket: what LMTP and SMTP share.

Every wait has an end, also with a server that talks without end or one byte a minute.
"""

import socket
import time

from pymail import replies
from pymail.replies import ProtocolError, Reply
from pymail.transport import deferred

# Seconds; RFC 5321 4.5.3.2.
CONNECT_TIME = 30
REPLY_TIME = 300


class LostError(Exception):
    """The connection is of no more use; `outcome` is that of everyone not answered for."""

    def __init__(self, dsn: str, words: str) -> None:
        super().__init__(words)
        self.outcome = deferred(dsn, words)


class Wire:
    """A connection to the server `name`; it connects when it is made.

    Everything raises LostError where the server, or the way to it, fails.
    """

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self._buffer = b""
        try:
            self._socket = _connect(name, port)
        except ValueError:
            raise LostError("4.3.5", f"cannot connect to {name}: not a destination") from None
        except OSError as error:
            raise LostError("4.4.1", f"connect to {name}: {error.strerror or error}") from None

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        self._socket.close()

    def write(self, data: bytes, what: str, limit: float = REPLY_TIME) -> None:
        """Send all of `data`; `what` tells a person what it is."""
        self._socket.settimeout(limit)
        try:
            self._socket.sendall(data, socket.MSG_NOSIGNAL)
        except OSError as error:
            raise self._lost(error, f"while sending {what}") from None

    def reply(self, command: str, limit: float = REPLY_TIME) -> Reply:
        """Return the next reply, which is the one to `command`; a 421 is a loss."""
        try:
            reply = replies.parse(self._lines(command, time.monotonic() + limit))
        except ProtocolError as error:
            words = f"host {self.name}: {error} (in reply to {command} command)"
            raise LostError("4.5.0", words) from None
        if reply.code == 421:
            raise LostError(reply.dsn, reply.outcome(self.name, command).words)
        return reply

    def _lines(self, command: str, deadline: float) -> list[bytes]:
        lines: list[bytes] = []
        while not lines or not replies.is_last(lines[-1]):
            if len(lines) == replies.MOST_LINES:
                raise ProtocolError("a reply without end")
            lines.append(self._line(command, deadline))
        return lines

    def _line(self, command: str, deadline: float) -> bytes:
        while b"\n" not in self._buffer:
            if len(self._buffer) > replies.MOST_LINE:
                raise ProtocolError("a line without end")
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                data = self._socket.recv(replies.MOST_LINE)
            except OSError as error:
                raise self._lost(error, f"while receiving the reply to {command}") from None
            if not data:
                words = f"lost connection with {self.name} while receiving the reply to {command}"
                raise LostError("4.4.2", words)
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.removesuffix(b"\r")

    def _lost(self, error: OSError, when: str) -> LostError:
        if isinstance(error, TimeoutError):
            return LostError("4.4.2", f"conversation with {self.name} timed out {when}")
        return LostError("4.4.2", f"lost connection with {self.name} {when}: {error.strerror}")


def _connect(name: str, port: int) -> socket.socket:
    """Open a connection.  Raise ValueError where `name` is no destination."""
    kind, _, rest = name.partition(":")
    path = rest if kind == "unix" else name
    if kind != "unix" and not path.startswith("/"):
        place = _endpoint(rest if kind == "inet" else name, port)
        there = socket.create_connection(place, CONNECT_TIME)
        # Each write is all that is to be said: it does not wait for the next.
        there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return there
    there = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    there.settimeout(CONNECT_TIME)
    try:
        there.connect(path.encode("utf-8", "surrogateescape"))
    except OSError:
        there.close()
        raise
    return there


def _endpoint(text: str, port: int) -> tuple[str, int]:
    """Return host and port of "host", "host:port", "[address]" or "[address]:port"."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        colon, number = rest[:1], rest[1:]
        if not bracket or colon not in ("", ":"):
            raise ValueError(text)
    else:
        host, colon, number = text.partition(":")
    if colon:
        port = int(number)
    if not host or not 0 < port < 1 << 16:
        raise ValueError(text)
    return host, port
