"""A conversation in lines with a server that has mail for us, over a wire (wire.py).

Commands may go ahead of their answers.  Every wait has an end, also with a server that sends one
byte a minute, and a message may be no longer than it may be.
"""

import time
from collections.abc import Iterable, Iterator

from pymail.errors import printable
from pymail.source import Text
from pymail.transport.wire import LostError, Tunnel, Wire

LIMIT = 60
"""Seconds without a word after which a server is given up."""

SLOWEST = 500
"""Bytes a second in which a message has to come."""

MOST_WAIT = 600
"""Seconds that a command may take, beside what SLOWEST allows for the answer."""

MOST_LINE = 1 << 20
MOST_LISTING = 1 << 26
"""Bytes of a line, and of an answer, that is no message; SEARCH answers in one line."""

MOST_TEXT = 1 << 30
"""Bytes of the largest message there can be."""

_END = b"\r\n.\r\n"


class Talk:
    """What is said over `wire`.  Everything raises LostError."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._buffer = b""
        self.host = wire.name
        self.secret = False

    @property
    def idle(self) -> bool:
        """Whether nothing was said that is not read yet."""
        return not self._buffer and self._wire.idle

    def secure(self, tunnel: Tunnel) -> None:
        """Go on through `tunnel`."""
        self._wire.secure(tunnel, LIMIT)
        self.secret = True

    def close(self) -> None:
        """Close the connection."""
        self._wire.close()

    def say(self, data: bytes, what: str) -> None:
        """Send whole lines; `what` is for people."""
        self._wire.write(data, what, LIMIT)

    def line(self, what: str) -> bytes:
        """Return the next line, without its end."""
        until = time.monotonic() + LIMIT
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > MOST_LINE:
                raise LostError("4.5.0", f"host {self.host}: a line without end in {what}")
            left = max(until - time.monotonic(), 0)
            self._buffer += self._wire.heard(f"receiving {what}", left)
        line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        return line.removesuffix(b"\r")

    def exactly(self, size: int, what: str) -> Iterator[bytes]:
        """Yield the next `size` bytes."""
        pace = _Pace(self.host, what)
        while size:
            if not self._buffer:
                self._buffer = self._wire.heard(f"receiving {what}", LIMIT)
            piece, self._buffer = self._buffer[:size], self._buffer[size:]
            size -= len(piece)
            pace.check(len(piece))
            yield piece

    def until_dot(self, what: str, most: int = MOST_TEXT) -> Iterator[bytes]:
        """Yield lines as they stand before a line with a dot alone; their own dots are undone."""
        pace = _Pace(self.host, what, most)
        data, first = b"\r\n" + self._buffer, True
        self._buffer = b""
        while True:
            end = data.find(_END)
            # A line is whole when the next one has begun.
            cut = end if end >= 0 else data.rfind(b"\r\n")
            if cut > 0 or end == 0:
                piece = data[:cut].replace(b"\r\n.", b"\r\n") + b"\r\n" * (end >= 0)
                data = data[cut:]
                yield piece[2:] if first else piece
                first = False
            if end >= 0:
                self._buffer = data[len(_END) :]
                return
            heard = self._wire.heard(f"receiving {what}", LIMIT)
            pace.check(len(heard))
            data += heard


class _Pace:
    """How fast a text comes, and how long it is."""

    def __init__(self, host: str, what: str, most: int = MOST_TEXT) -> None:
        self._most = most
        self._host = host
        self._what = what
        self._size = 0
        self._begun = time.monotonic()

    def check(self, more: int) -> None:
        """Raise LostError where that is too slow, or too much."""
        self._size += more
        if self._size > self._most:
            raise LostError("4.5.0", f"host {self._host}: {self._what} has no end")
        if time.monotonic() - self._begun > LIMIT + self._size / SLOWEST:
            words = f"conversation with {self._host} timed out while receiving {self._what}"
            raise LostError("4.4.2", words)


def collected(pieces: Iterable[bytes]) -> Text:
    """Return the text of these pieces, their CRLF as LF."""
    text, rest = Text(), b""
    try:
        for piece in pieces:
            data = rest + piece
            rest = b"\r" if data.endswith(b"\r") else b""
            text.write(data[: len(data) - len(rest)].replace(b"\r\n", b"\n"))
        text.write(rest)
    except BaseException:
        text.close()
        raise
    return text


def words(data: bytes) -> str:
    """Return what a server says, for people."""
    return printable(data[:500].decode("utf-8", "replace"))
