"""Where mail is fetched from: POP3, IMAP.

A source is a conversation with one server, logged in, over which messages come as they are:
bytes, with LF line ends.  LostError ends it.
"""

import tempfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from pymail.account import After
from pymail.transport import Login
from pymail.transport.wire import Tunnel

__all__ = ["AGAIN", "MOST_TEXT", "After", "RefusedError", "Remote", "Source", "Text"]

AGAIN = "\N{SECTION SIGN}"
"""Stands in the keys of messages whose key another has, before their number; in no other key."""

MOST_TEXT = 1 << 30
"""Bytes of the largest message there can be."""

_IN_MEMORY = 1 << 20


class RefusedError(Exception):
    """The server does not do one thing that it was asked; the conversation goes on."""


class Remote(NamedTuple):
    """A message on a server.

    key     names it for as long as the account is there; no blank, no line end
    number  what the server calls it in this conversation
    size    bytes, as the server says
    """

    key: str
    number: int
    size: int


class Text:
    """A message as it came; a large one is in a file without a name."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 -- see close()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append."""
        self._file.write(data)
        self.size += len(data)

    def pieces(self) -> Iterator[bytes]:
        """Yield it from its beginning, in pieces of at most 1 MiB."""
        self._file.seek(0)
        while piece := self._file.read(_IN_MEMORY):
            yield piece

    def fileno(self) -> int:
        """Return the descriptor of its file, written out."""
        self._file.flush()
        return self._file.fileno()

    def close(self) -> None:
        """Forget it."""
        self._file.close()


class Source(Protocol):
    """A server that has greeted us.

    reuses_keys  whether it may give the key of one message to another
    """

    reuses_keys: bool

    def secure(self, tunnel: Tunnel) -> None:
        """Go over to TLS.  LostError where that is not offered."""
        ...

    def log_in(self, login: Login, only: Sequence[str]) -> None:
        """Say who we are, the strongest way that there is, or by one of the mechanisms `only`."""
        ...

    def boxes(self, wanted: Sequence[str]) -> Sequence[str]:
        """Return what there is to look in where these folders are wanted."""
        ...

    def look(self, box: str) -> list[Remote]:
        """Turn to `box` and return what is in it, the oldest first.  RefusedError."""
        ...

    def retrieve(
        self, remotes: Sequence[Remote], then: Sequence[Remote] = (), most: int = MOST_TEXT
    ) -> Iterator[tuple[Remote, Text | str]]:
        """Yield each message, or the words in which the server refuses it.

        Those that will be asked for `then` may be asked for already.  Of a message that turns
        out to be larger than `most` comes enough to show that; EndlessError where it is so much
        larger that there is no going on behind it.
        """
        ...

    def finish(self, remotes: Sequence[Remote], after: After) -> None:
        """Do to messages what is to be done when they are safe here.  RefusedError."""
        ...

    def doomed(self) -> Sequence[str]:
        """Return the keys of the messages whose deletion finish() has left for the end."""
        ...

    def settle(self) -> Sequence[str]:
        """Have quit() delete them; return the keys of those that the server does not delete."""
        ...

    def close(self) -> None:
        """Break off."""
        ...

    def quit(self) -> None:
        """Part in peace: what was deleted is gone then.  RefusedError where something stays."""
        ...
