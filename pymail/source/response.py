"""One response of an IMAP server, with its literals: that of BODY[] is a message or part of one."""

import re

from pymail.source import Text
from pymail.source.talk import EndlessError, Pace, Talk, carried, collected
from pymail.transport.wire import LostError

MOST_RESPONSE = 1 << 20
"""Bytes of a response beside the message in it."""

PART = 1 << 21
"""Bytes of a message that are asked for at once; a larger one comes in parts."""

_LITERAL = re.compile(rb"\{(\d{1,10})\}\Z")
_PART = re.compile(rb"[( ]BODY\[\]<(\d{1,12})> \Z")
_QUOTED = re.compile(rb'[( ]BODY\[\] "((?:[^"\\]|\\.)*)"', re.DOTALL)
_QUOTED_PART = re.compile(rb'[( ]BODY\[\](?:<(\d{1,12})>)? (?:NIL|"((?:[^"\\]|\\.)*)")', re.DOTALL)
_NEAR = 40
"""Bytes in which a line says that there is a literal, and what it is."""

_UID = re.compile(rb"[( ]UID (\d{1,10})(?=[ )])")


class Response:
    """An untagged response: its text, and the message in it, or part of one, where it has that."""

    def __init__(self) -> None:
        self.text = b""
        self.message: Text | None = None
        self.part: bytes | None = None
        self.offset = 0

    @property
    def uid(self) -> int:
        """The UID that it speaks of, -1 for none."""
        found = _UID.search(self.text)
        return int(found[1]) if found else -1

    def whole(self) -> Text | None:
        """Return the message in it, which may be a quoted string."""
        if self.message is None and (quoted := _QUOTED.search(self.text)):
            self.message = collected([re.sub(rb"\\(.)", rb"\1", quoted[1])])
        return self.message

    def at(self, offset: int) -> bytes | None:
        """Return the part at an offset, b"" where that is said to be behind the end."""
        if self.part is not None:
            return self.part if self.offset == offset or (offset and not self.part) else None
        quoted = _QUOTED_PART.search(self.text)
        if not quoted:
            return None
        part = re.sub(rb"\\(.)", rb"\1", quoted[2] or b"", flags=re.DOTALL)
        here = quoted[1] == b"%d" % offset
        return part if (offset and not part) or (part and here) else None

    def close(self) -> None:
        """Forget the message."""
        if self.message:
            self.message.close()


def heard(talk: Talk, what: str, pace: Pace, largest: int) -> Response:
    """Return the next response of a server, with a message of `largest` bytes.  LostError.

    A message that is larger is there in part, or ends the conversation: see carried().
    """
    response = Response()
    try:
        _read(response, talk, what, pace, largest)
    except BaseException:
        response.close()
        raise
    return response


def _read(response: Response, talk: Talk, what: str, pace: Pace, largest: int) -> None:
    text = bytearray()
    while True:
        start = len(text)
        text += talk.line(what, pace)
        # However many literals there are, what is before them is not looked at again.
        literal = _LITERAL.search(text, max(start, len(text) - _NEAR))
        size = int(literal[1]) if literal else 0
        before = bytes(text[-_NEAR : -len(literal[0])]) if literal else b""
        whole, part = before.endswith(b"BODY[] "), literal and _PART.search(before)
        if len(text) + (0 if whole or part else size) > MOST_RESPONSE:
            raise LostError("4.5.0", f"host {talk.host}: too much in {what}")
        if not literal:
            break
        pieces = talk.exactly(size, what, pace)
        if whole:
            if size > carried(largest):
                words = f"host {talk.host}: a message of {size} bytes in {what}"
                raise EndlessError("4.5.0", words)
            response.close()
            response.message = collected(pieces, largest)
        elif part:
            if size > PART:
                raise LostError("4.5.0", f"host {talk.host}: more than asked in {what}")
            response.part, response.offset = b"".join(pieces), int(part[1])
        text += b" " if whole or part else b"".join(pieces)
    response.text = bytes(text)
