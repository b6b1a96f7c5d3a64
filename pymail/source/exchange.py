"""Commands to an IMAP server, each with a tag, and what it answers."""

from collections.abc import Callable, Iterator

from pymail.source import MOST_TEXT, response
from pymail.source.response import Response
from pymail.source.talk import MOST_EARLY, MOST_LISTING, MOST_WAIT, Pace, Talk, words
from pymail.transport.wire import LostError, Tunnel


class Exchange:
    """What is said and answered over `talk`.  Everything raises LostError."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._count = 0
        self._final = b""
        self.host = talk.host
        self.greeting = talk.line("greeting")

    def good(self) -> bool:
        """Say whether the last command was answered with a yes."""
        return self._final[:2].upper() == b"OK"

    @property
    def end(self) -> str:
        """The words that the answer to the last command ended with, for people."""
        return words(self._final)

    @property
    def idle(self) -> bool:
        """Whether nothing was said that is not read yet."""
        return self._talk.idle

    def secure(self, tunnel: Tunnel) -> None:
        """Go on through `tunnel`."""
        self._talk.secure(tunnel)

    def close(self) -> None:
        """Close the connection."""
        self._talk.close()

    def ask(self, *line: str, most: int = MOST_LISTING) -> bool:
        """Say a command and wait for its end; say whether that was a yes."""
        for each in self.said(*line, most=most):
            each.close()
        return self.good()

    def said(
        self, *line: str, most: int = MOST_LISTING, largest: int = MOST_TEXT
    ) -> Iterator[Response]:
        """Say a command; yield what is answered up to its end: `most` bytes.

        Messages in it have `largest` bytes: see heard().
        """
        tag, what = self._tag(), line[0] if line[0] != "UID" else line[1]
        text = " ".join(line)
        if any(c in text for c in "\r\n\0"):
            raise LostError("4.3.5", f"cannot say a control character to {self.host}")
        data = text.encode("utf-8", "surrogateescape")
        self._talk.say(tag + b" " + data + b"\r\n", what)
        pace, size = Pace(MOST_WAIT, most), 0
        while True:
            each = response.heard(self._talk, f"the answer to {what}", pace, largest)
            size += len(each.text) + 1
            if size > MOST_LISTING:  # texts of messages may be more
                each.close()
                raise LostError("4.5.0", f"host {self.host}: the answer to {what} has no end")
            if each.text.startswith(tag + b" "):
                each.close()
                self._final = each.text[len(tag) + 1 :]
                return
            if each.text[:5].upper() == b"* BYE" and line[0] != "LOGOUT":
                each.close()
                raise LostError("4.3.2", f"host {self.host}: {words(each.text[2:])}")
            yield each

    def authentication(self, name: str) -> Callable[[str | None], tuple[bytes | None, bool]]:
        """Return what says the lines of AUTHENTICATE, None to begin, as prove() asks for them."""
        tag = self._tag()
        pace = Pace(MOST_WAIT, MOST_EARLY)
        begin = tag + b" AUTHENTICATE " + name.encode() + b"\r\n"

        def ask(line: str | None) -> tuple[bytes | None, bool]:
            data = begin if line is None else line.encode() + b"\r\n"
            self._talk.say(data, "AUTHENTICATE")
            while True:
                each = response.heard(self._talk, "the answer to AUTHENTICATE", pace, 0)
                each.close()
                if each.text.startswith(b"+"):
                    return each.text[2:], False
                if each.text.startswith(tag + b" "):
                    self._final = each.text[len(tag) + 1 :]
                    return None, self.good()

        return ask

    def _tag(self) -> bytes:
        self._count += 1
        return b"a%d" % self._count
