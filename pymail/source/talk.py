"""A conversation in lines with a server that has mail for us, over a wire (wire.py).

Commands may go ahead of their answers.  Every wait has an end, also with a server that sends one
byte a minute, and a message may be no longer than it may be.
"""

import time
from collections.abc import Iterable, Iterator

from pymail.errors import printable
from pymail.source import MOST_TEXT, Text
from pymail.transport.wire import LostError, Tunnel, Wire

LIMIT = 60
"""Seconds without a word after which a server is given up."""

SLOWEST = 500
"""Bytes a second in which a message has to come."""

MOST_WAIT = 600
"""Seconds that a command may take, beside what SLOWEST allows for the answer."""

MOST_EARLY = 1 << 16
"""Bytes of an answer before the server knows us, and in a login."""

MOST_LINE = 1 << 20
MOST_LISTING = 1 << 26
"""Bytes of a line, and of an answer, that is no message; SEARCH answers in one line."""

_END = b"\r\n.\r\n"


class EndlessError(LostError):
    """What a server sends is longer than it may be, and goes on."""


class Pace:
    """How long an answer may be, and how fast it has to come: in `wait` seconds, and SLOWEST.

    What counts is what comes, and only the time in which we wait for it.
    """

    def __init__(self, wait: float, most: int = MOST_TEXT) -> None:
        self._wait = wait
        self._most = most
        self._size = 0
        self._waited = 0.0

    @property
    def left(self) -> float:
        """The seconds in which more of it has to come."""
        return max(self._wait + self._size / SLOWEST - self._waited, 0)

    @property
    def is_over(self) -> bool:
        """Whether more has come than may come."""
        return self._size > self._most

    def add(self, size: int, waited: float) -> None:
        """Count bytes that have come, and the seconds that we waited for them."""
        self._size += size
        self._waited += waited


class Talk:
    """What is said over `wire`.  Everything raises LostError."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._buffer = bytearray()
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

    def line(self, what: str, pace: Pace | None = None) -> bytes:
        """Return the next line, without its end; `pace` is that of an answer in many lines."""
        until = time.monotonic() + LIMIT
        pace = pace or Pace(LIMIT)
        seen = 0
        while (end := self._buffer.find(b"\n", seen)) < 0:
            seen = len(self._buffer)
            if seen > MOST_LINE:
                raise LostError("4.5.0", f"host {self.host}: a line without end in {what}")
            self._hear(what, pace, max(until - time.monotonic(), 0))
        return self._taken(end, 1).removesuffix(b"\r")

    def exactly(self, size: int, what: str, pace: Pace) -> Iterator[bytes]:
        """Yield the next `size` bytes."""
        while size:
            if not self._buffer:
                self._hear(what, pace, LIMIT)
            piece = self._taken(min(size, len(self._buffer)))
            size -= len(piece)
            yield piece

    def until_dot(self, what: str, most: int = MOST_TEXT) -> Iterator[bytes]:
        """Yield what comes before a line with a dot alone; the dots before dots are undone.

        It comes as it is heard: a piece may begin and end within a line.
        """
        pace = Pace(LIMIT, most)
        # The first line begins as every other does: behind the end of a line.
        self._buffer[:0] = b"\r\n"
        added = 2
        while True:
            end = self._buffer.find(_END)
            cut = end + 2 if end >= 0 else len(self._buffer) - _begun(self._buffer)
            if cut:
                piece = self._taken(cut, len(_END) - 2 if end >= 0 else 0)
                yield piece.replace(b"\r\n.", b"\r\n")[added:]
                added = 0
            if end >= 0:
                return
            self._hear(what, pace, LIMIT)

    def _hear(self, what: str, pace: Pace, limit: float) -> None:
        begun = time.monotonic()
        heard = self._wire.heard(f"receiving {what}", min(limit, pace.left))
        pace.add(len(heard), time.monotonic() - begun)
        if pace.is_over:
            raise EndlessError("4.5.0", f"host {self.host}: {what} has no end")
        self._buffer += heard

    def _taken(self, size: int, beyond: int = 0) -> bytes:
        """Take `size` bytes from what was heard, and drop those `beyond` them."""
        taken = bytes(self._buffer[:size])
        # A bytearray loses its beginning without a copy of what is left.
        del self._buffer[: size + beyond]
        return taken


def _begun(heard: bytearray) -> int:
    """Return how many bytes at the end of what was heard may be the beginning of _END."""
    return next((n for n in range(len(_END) - 1, 0, -1) if heard.endswith(_END[:n])), 0)


def carried(most: int) -> int:
    """Return the bytes up to which a message is heard that is to have `most` at most.

    Line ends and dots may double it on its way, and a little more costs less than to break off.
    """
    return min(2 * most + MOST_LINE, MOST_TEXT)


def collected(pieces: Iterable[bytes], most: int = MOST_TEXT) -> Text:
    """Return the text of these pieces, their CRLF as LF.

    Of one that is larger than `most` there is only enough to show that, though all is heard.
    """
    text, rest = Text(), b""
    try:
        for piece in pieces:
            if text.size > most:
                continue
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
