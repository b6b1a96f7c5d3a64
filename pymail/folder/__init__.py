"""Mailboxes that are read: Maildirs and mbox files behind one interface.

Flags are Maildir's letters: S seen, R replied, F flagged, T trashed, P passed on, D draft.  What
another program does to a mailbox meanwhile stays done: a change names the flags that it adds and
takes away, and a message is found by what it is, never by its place.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pymail.errors import InputError
from pymail.summary import Summary

_LAST = 253_402_300_799
"""The end of the year 9999, and of the calendar of datetime."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message as it was when the mailbox was looked at.

    id       what names it for as long as it exists: of a Maildir, the unique part of its file's
    place    where it was, which only its folder understands
    flags    Maildir's letters
    new      whether no mail program has seen it: in new/, or without "O" in Status
    size     bytes
    inode    of its file, 0 where it has none of its own
    arrived  when it came, in seconds; 0 where that is not known
    """

    id: str
    place: str
    flags: str
    new: bool
    size: int
    inode: int
    arrived: int
    about: Summary


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a message; `text`, where there is any, is what it says from now on."""

    letter: Letter
    add: str = ""
    remove: str = ""
    delete: bool = False
    text: bytes = b""


class Folder(Protocol):
    """A mailbox that is open."""

    path: str

    def letters(self) -> list[Letter]:
        """Return the messages, oldest first.  Raise OSError."""

    def arrived(self) -> list[Letter]:
        """Return what has come since it was last looked at.  Raise OSError."""

    def read(self, letter: Letter) -> bytes:
        """Return a message as it was sent.  Raise InputError where it is gone."""

    def where(self, letter: Letter) -> str:
        """Return the path of the file that is the message alone, "" for none."""

    def commit(self, changes: Sequence[Change]) -> list[str]:
        """Make changes durable; every message in `changes` is not new any more.

        Return what could not be done, in words.  Raise OSError or MailError where nothing was.
        """

    def close(self) -> None:
        """Let go of it."""


def open_folder(path: str, cache: str = "") -> Folder:
    """Open a Maildir or an mbox file; `cache` is a directory of ours, "" for none.

    Raise OSError, or InputError where it is neither.
    """
    if os.path.isdir(path):
        from pymail.folder.maildir import Maildir  # noqa: PLC0415 -- one of the two is enough

        return Maildir(path, cache)
    from pymail.folder.mbox import Mbox  # noqa: PLC0415

    return Mbox(path, cache)


def moment(seconds: int) -> int:
    """Return a time, 0 for one that is in no calendar: whoever wrote it did not know it."""
    return seconds if 0 <= seconds <= _LAST else 0


def gone(letter: Letter) -> InputError:
    """Return the error for a message that another program has removed."""
    return InputError(f"cannot read message {letter.id}: another program has removed it")
