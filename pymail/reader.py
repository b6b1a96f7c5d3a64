"""Look into Maildirs and mbox files: is there mail, and a line about each message."""

import email.errors
import email.header
import email.utils
import os
from collections.abc import Iterator
from typing import NamedTuple

from pymail import charset, message
from pymail.errors import printable

_HEAD = 1 << 16
"""Bytes that are read of a file for its header."""


class Message(NamedTuple):
    """What is said of one message: N new, O old (in cur, not read), " " read; header; size."""

    state: str
    head: bytes
    size: int


def has_mail(path: str) -> bool:
    """Say whether there is any message.  Raise OSError where that cannot be known."""
    if os.path.isdir(path):
        return any(True for _ in _files(path))
    with open(path, "rb") as file:
        return bool(file.read(1))


def messages(path: str) -> Iterator[Message]:
    """Return the messages of a Maildir (oldest first) or an mbox file.  Raise OSError."""
    if not os.path.isdir(path):
        yield from _mbox(path)
        return
    found = sorted((os.path.getmtime(f"{path}/{f}"), f) for f in _files(path))
    for _, file in found:
        try:
            with open(f"{path}/{file}", "rb") as stream:
                head = stream.read(_HEAD)
                size = os.fstat(stream.fileno()).st_size
        except FileNotFoundError:
            continue  # read or removed by another program meanwhile
        yield Message(_state(file), head, size)


def line(number: int, message: Message, width: int) -> str:
    """Return the line of a listing, safe for a terminal, at most `width` columns."""
    fields = _fields(message.head)
    author = _decoded(fields.get(b"from", b""))
    name, address = email.utils.parseaddr(author)
    date = _date(fields.get(b"date", b""))
    subject = _decoded(fields.get(b"subject", b""))
    who = printable(" ".join((name or address or author).split()))
    text = f"{message.state} {number:3} {who[:18]:18} {date:16} {message.size:7}"
    return f"{text} {printable(' '.join(subject.split()))}"[:width].rstrip()


def _files(path: str) -> Iterator[str]:
    """Return the files of a Maildir that are messages, as new/NAME and cur/NAME."""
    for folder in ("new", "cur"):
        try:
            names = os.listdir(f"{path}/{folder}")
        except FileNotFoundError:
            continue
        yield from (f"{folder}/{name}" for name in names if not name.startswith("."))


def _state(file: str) -> str:
    if file.startswith("new/"):
        return "N"
    return " " if "S" in file.rpartition(":2,")[2] and ":2," in file else "O"


def _mbox(path: str) -> Iterator[Message]:
    head: list[bytes] = []
    size = 0
    in_head = False
    empty = True  # the line before: a separator stands at the beginning or behind an empty line
    with open(path, "rb") as file:
        for text in file:
            if empty and text.startswith(b"From "):
                if head:
                    yield _from_mbox(head, size)
                head, size, in_head = [b""], 0, True
            elif head:
                size += len(text)
                in_head = in_head and text.strip() != b"" and size < _HEAD
                head += [text] if in_head else []
            empty = text in {b"\n", b"\r\n"}
    if head:
        yield _from_mbox(head, size)


def _from_mbox(lines: list[bytes], size: int) -> Message:
    head = b"".join(lines)
    flags = _fields(head).get(b"status", b"")
    state = " " if b"R" in flags else "O" if b"O" in flags else "N"
    return Message(state, head, size)


def _fields(head: bytes) -> dict[bytes, bytes]:
    """Return the first field of each name, unfolded."""
    fields, _ = message.split(head.replace(b"\r\n", b"\n"))
    return {f.name: f.value.replace(b"\n", b" ").strip() for f in reversed(fields)}


def _decoded(value: bytes) -> str:
    """Return a field as text: RFC 2047 where it is well-formed, and raw 8-bit characters."""
    text = charset.decode(value, "")
    try:
        return str(email.header.make_header(email.header.decode_header(text)))
    except (ValueError, LookupError, email.errors.MessageError):
        return text


def _date(value: bytes) -> str:
    try:
        when = email.utils.parsedate_to_datetime(value.decode("ascii", "replace"))
    except (ValueError, TypeError, IndexError, OverflowError):
        return ""
    return when.strftime("%a %b %e %H:%M")
