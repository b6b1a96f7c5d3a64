"""A message that came as a text, as transports take it."""

from pymail.source import Text
from pymail.transport import Content


def content(text: Text) -> Content:
    """Return header and body; a large body stays in the file of the text."""
    head = next(text.pieces(), b"")
    end = head.find(b"\n\n") + 1
    if not end:
        return Content(b"".join(text.pieces()).rstrip(b"\n") + b"\n", b"")
    if text.size == len(head):
        return Content(head[:end], head[end + 1 :])
    return Content(head[:end], b"", text.fileno(), end + 1, text.size - end - 1)
