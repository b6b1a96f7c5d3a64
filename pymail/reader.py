"""Look whether there is mail: in a Maildir, or in an mbox file."""

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pymail import config, legible, message, paths, summary
from pymail.errors import MailError

_HEAD = 1 << 16
"""Bytes of a header that are looked at."""


class Message(NamedTuple):
    """What is said of one message: N new, O old (not read), " " read; and its header."""

    state: str
    head: bytes


def has_mail(path: str) -> bool:
    """Say whether there is any message.  Raise OSError where that cannot be known."""
    if os.path.isdir(path):
        return any(True for _ in _files(path))
    # A FIFO is no mailbox, and nobody waits for what comes out of it.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        return bool(os.read(fd, 1))
    finally:
        os.close(fd)


def author(head: bytes) -> str:
    """Return who wrote a message, the name or else the address, safe for a terminal."""
    return legible.line(summary.author(_fields(head).get(b"from", b""))[0])


def in_mbox(lines: Iterable[bytes]) -> Iterator[Message]:
    """Return the messages in the lines of an mbox file."""
    head: list[bytes] = []
    size = 0
    in_head = False
    empty = True  # the line before: a separator stands at the beginning or behind an empty line
    for text in lines:
        if empty and text.startswith(b"From "):
            if head:
                yield _from_mbox(head)
            head, size, in_head = [b""], 0, True
        elif head:
            size += len(text)
            in_head = in_head and text.strip() != b"" and size < _HEAD
            head += [text] if in_head else []
        empty = text in {b"\n", b"\r\n"}
    if head:
        yield _from_mbox(head)


def home_mailbox() -> str:
    """Return the setting of that name; a configuration that is broken is no reason not to look.

    Raise MailError where it may not be read: "no mail" would be a guess.
    """
    spool = paths.spool()
    try:
        return config.load(
            paths.config(spool),
            hostname=os.uname().nodename,
            mailname="",
            aliases=paths.aliases(spool),
        ).home_mailbox
    except MailError as error:
        if isinstance(error.__cause__, PermissionError):
            raise
        return "Maildir/"


def _files(path: str) -> Iterator[str]:
    """Return the files of a Maildir that are messages, as new/NAME and cur/NAME."""
    for folder in ("new", "cur"):
        try:
            names = os.listdir(f"{path}/{folder}")
        except FileNotFoundError:
            continue
        yield from (f"{folder}/{name}" for name in names if not name.startswith("."))


def _from_mbox(lines: list[bytes]) -> Message:
    head = b"".join(lines)
    flags = _fields(head).get(b"status", b"")
    state = " " if b"R" in flags else "O" if b"O" in flags else "N"
    return Message(state, head)


def _fields(head: bytes) -> dict[bytes, bytes]:
    """Return the first field of each name."""
    return summary.first(message.split(head.replace(b"\r\n", b"\n"))[0])
