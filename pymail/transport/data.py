"""A message as it goes over the wire: CRLF, dots stuffed, no line too long.  Pure.

Lines go out with CRLF and never with a bare CR or LF, dots are stuffed after that
(CVE-2023-51764).
"""

from collections.abc import Iterable, Iterator

from pymail.transport import Content


def tamed(content: Content) -> Content:
    """Return a message whose header has no lone CR: as a line end it would begin a new field.

    It becomes a blank, as in Postfix.
    """
    if b"\r" not in content.header:
        return content
    header = content.header.replace(b"\r\n", b"\n").replace(b"\r", b" ")
    return content._replace(header=header)


def with_lf(text: bytes) -> bytes:
    """Return a text in which every CR, LF and CRLF is an LF."""
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in text else text


def data_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a message as it goes over the wire, to the line before the final dot.

    Every CR, LF and CRLF is a line end; a dot at the beginning of a line gets another.
    """
    held = b""
    start = b"\n"
    for piece in pieces:
        text = held + piece
        held = b"\r" if text.endswith(b"\r") else b""
        text = text.removesuffix(b"\r")
        text = with_lf(text)
        if text:
            stuffed = (start + text).replace(b"\n.", b"\n..")[len(start) :]
            start = b"\n" if text.endswith(b"\n") else b""
            yield stuffed.replace(b"\n", b"\r\n")
    if held or not start:
        yield b"\r\n"


def is_long(text: bytes, limit: int) -> bool:
    """Say whether a line of `text` has more than `limit` bytes, its LF not counted.

    It leaps from line end to line end, as far as one may be away: few steps a message.
    """
    start, last = 0, len(text) - limit
    while start < last:
        end = text.rfind(b"\n", start, start + limit + 1)
        if end < 0:
            return True
        start = end + 1
    return False


def folded(text: bytes, limit: int) -> bytes:
    """Return `text` with lines of at most `limit` bytes (5 at least); a cut is LF and blank.

    So does Postfix (smtp_line_length_limit); but a cut is never within a character of UTF-8.
    """
    lines = text.split(b"\n")
    if all(len(line) <= limit for line in lines):
        return text
    return b"\n".join(_folded(line, limit) for line in lines)


def _folded(line: bytes, limit: int) -> bytes:
    pieces = []
    while len(line) > limit:
        end = limit
        # A character has three bytes behind its first one at most.
        while end > limit - 3 and line[end] & 0xC0 == 0x80:
            end -= 1
        if line[end] & 0xC0 == 0x80:
            end = limit  # this is no UTF-8
        pieces.append(line[:end])
        line = b" " + line[end:]
    pieces.append(line)
    return b"\n".join(pieces)
