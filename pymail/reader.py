"""Look into Maildirs and mbox files: is there mail, and a line about each message."""

import email.errors
import email.header
import email.utils
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pymail import charset, config, message, paths
from pymail.errors import MailError, printable

_HEAD = 1 << 16
"""Bytes that are read of a file for its header."""

_AUTHOR = 1000
"""Bytes of a From field that are looked at."""


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
        with open(path, "rb") as lines:
            yield from in_mbox(lines)
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
    date = _date(fields.get(b"date", b""))
    subject = _decoded(fields.get(b"subject", b""))
    who = _author(fields.get(b"from", b""))
    text = f"{message.state} {number:3} {who[:18]:18} {date:16} {message.size:7}"
    return f"{text} {printable(' '.join(subject.split()))}"[:width].rstrip()


def author(head: bytes) -> str:
    """Return who wrote a message, the name or else the address, safe for a terminal."""
    return _author(_fields(head).get(b"from", b""))


def in_mbox(lines: Iterable[bytes]) -> Iterator[Message]:
    """Return the messages in the lines of an mbox file."""
    head: list[bytes] = []
    size = 0
    in_head = False
    empty = True  # the line before: a separator stands at the beginning or behind an empty line
    for text in lines:
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


def home_mailbox() -> str:
    """Return the setting of that name; a configuration that is broken is no reason not to look."""
    spool = paths.spool()
    try:
        return config.load(
            paths.config(spool),
            hostname=os.uname().nodename,
            mailname="",
            aliases=paths.aliases(spool),
        ).home_mailbox
    except MailError:
        return "Maildir/"


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


def _from_mbox(lines: list[bytes], size: int) -> Message:
    head = b"".join(lines)
    flags = _fields(head).get(b"status", b"")
    state = " " if b"R" in flags else "O" if b"O" in flags else "N"
    return Message(state, head, size)


def _fields(head: bytes) -> dict[bytes, bytes]:
    """Return the first field of each name, unfolded."""
    fields, _ = message.split(head.replace(b"\r\n", b"\n"))
    return {f.name: f.value.replace(b"\n", b" ").strip() for f in reversed(fields)}


def _author(value: bytes) -> str:
    """Return the name or the address in a From field.

    What is encoded is decoded last (RFC 2047 6.2): a comma in a name separates nothing.
    """
    text = charset.decode(value[:_AUTHOR], "")
    try:
        name, address = email.utils.parseaddr(text)
    except RecursionError:  # hundreds of open parentheses
        name = address = ""
    return printable(" ".join(_words(name or address or text).split()))


def _decoded(value: bytes) -> str:
    """Return a field as text: RFC 2047 where it is well-formed, and raw 8-bit characters."""
    return _words(charset.decode(value, ""))


def _words(text: str) -> str:
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
