"""A message as it goes to one server: measured once, converted where it must be."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pymail.dkim import Signer
from pymail.recode import ascii_header, recode
from pymail.transport import Content
from pymail.transport.data import data_lines, folded, is_long, tamed, with_lf
from pymail.transport.hello import Offers

END = b".\r\n"


class Letter(NamedTuple):
    """A message and what must be known of it before it is sent.

    size      bytes with CRLF, dots not stuffed (RFC 1870)
    eightbit  it has bytes beyond ASCII; `foreign`: its header had, and they are UTF-8
    wire      what goes over the wire, final dot included; where that is too much to have at
              hand, it is made of `content` while it is sent
    """

    size: int
    eightbit: bool
    foreign: bool
    wire: bytes
    content: Content

    def pieces(self) -> Iterator[bytes]:
        """Yield what goes over the wire, final dot included.  OSError is that of the queue."""
        last = self.wire
        if not last:
            for piece in data_lines(self.content.pieces()):
                if last:
                    yield last
                last = piece
            last += END
        yield last


def letter(content: Content, offers: Offers, limit: int, signer: Signer | None = None) -> Letter:
    """Return the message for a server with these offers, signed where there is a signer.

    No line has more than `limit` bytes.  OSError is that of the file in which the body lies,
    MailError the signer's.
    """
    content = tamed(content)
    if content.fd < 0:
        (text,) = content.pieces()
        size, ascii_only, long = _measured((text,), limit)
    else:
        text = b""
        size, ascii_only, long = _measured(content.pieces(), limit)
    foreign = _is_foreign(content.header)
    # With a byte that is no UTF-8 in it, it is no message of SMTPUTF8.
    odd = not content.header.isascii() and not (foreign and offers.utf8)
    if signer or long or odd or not (ascii_only or offers.eightbit):
        text = with_lf(text or b"".join(content.pieces()))
        if odd:
            text = ascii_header(text)
        text = folded(recode(text, eightbit=offers.eightbit, limit=limit), limit)
        if signer:
            text = signer.signature(text) + text
        size, ascii_only, _ = _measured((text,), limit)
    wire = b"".join(data_lines((text,))) + END if text else b""
    return Letter(size, not ascii_only, foreign, wire, content)


def _measured(pieces: Iterable[bytes], limit: int) -> tuple[int, bool, bool]:
    """Return the size on the wire, whether all is ASCII, and whether a line is too long."""
    size, ascii_only, long = 0, True, False
    rest = b""
    for piece in pieces:
        size += len(piece) + piece.count(b"\n")
        ascii_only = ascii_only and piece.isascii()
        text = rest + piece
        long = long or is_long(text, limit)
        rest = b"" if long else text[text.rfind(b"\n") + 1 :]
    return size, ascii_only, long


def _is_foreign(header: bytes) -> bool:
    if header.isascii():
        return False
    try:
        header.decode()
    except UnicodeDecodeError:
        return False
    return True
