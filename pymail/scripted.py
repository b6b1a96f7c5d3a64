"""Mail for scripts: `pymail list` and `pymail show`.

Nothing is changed by it: what was new stays new.
"""

import datetime as dt
import os
from collections.abc import Iterator, Sequence
from typing import Any

from pymail import attachments, display, inbox, legible, mime, summary
from pymail.errors import DataError, InputError
from pymail.folder import Folder, Letter


class NoMailError(DataError):
    """There is no message."""


FLAGS = {"S": "seen", "R": "replied", "F": "flagged", "T": "trashed", "P": "passed", "D": "draft"}


def mail(path: str, user: str) -> tuple[Folder, list[Letter]]:
    """Return the mailbox `path`, or the inbox of a user ("" for one's own), and its messages.

    Raise NoMailError where there are none, another MailError where it cannot be read.
    """
    boxes = [path] if path else _candidates(user)
    found = inbox.first_with_mail(boxes, user, named=bool(path))
    if found:
        folder = inbox.opened(found, user)
        try:
            letters = folder.letters()
        except OSError as error:
            raise InputError(f"cannot read {found}: {error.strerror}") from None
        if letters:
            return folder, letters
    raise NoMailError(f"no mail in {found or boxes[0]}")


def another(found: Folder, user: str) -> str:
    """Return where the inbox of a user is besides `found` that has mail too, "" for nowhere."""
    return inbox.another(_candidates(user), found.path, user)


def _candidates(user: str) -> list[str]:
    return inbox.candidates(user, os.environ.get("MAIL", ""))


def facts(number: int, folder: Folder, letter: Letter) -> dict[str, Any]:
    """Return what `list --json` says of a message."""
    about = letter.about
    return {
        "number": number,
        "id": letter.id,
        "path": os.path.abspath(where) if (where := folder.where(letter)) else None,
        "new": letter.new,
        **{word: sign in letter.flags for sign, word in FLAGS.items()},
        "from": about.sender,
        "address": about.address,
        "to": about.to,
        "subject": about.subject,
        "date": about.date or None,
        "arrived": dt.datetime.fromtimestamp(letter.arrived, dt.UTC).isoformat(),
        "message_id": about.message_id or None,
        "size": letter.size,
    }


def row(number: int, letter: Letter, width: int) -> str:
    """Return the line of a message in a listing."""
    state = summary.sign(letter.flags, new=letter.new)
    return summary.line(number, state, letter.about, letter.size, width)


def chosen(letters: Sequence[Letter], which: str) -> tuple[int, Letter]:
    """Return the message that a number, or an id, names.  Raise DataError."""
    for number, letter in enumerate(letters, 1):
        if which in {str(number), letter.id}:
            return number, letter
    raise DataError(f"no message {which}: pymail list shows numbers, and with --json ids")


def whole(number: int, folder: Folder, letter: Letter, data: bytes) -> dict[str, Any]:
    """Return what `show --json` says: what list does, header fields, text, attachments."""
    part = mime.parse(data)
    label = next((leaf.charset for leaf in part.leaves()), "")
    texts = [display.plain(p) for p in display.shown(part) if display.is_text(p)]
    return {
        **facts(number, folder, letter),
        "headers": [
            [f.raw[: len(f.name)].decode("ascii"), legible.field(f.value, label)]
            for f in part.fields
        ],
        "text": "\n".join(texts),
        "attachments": [
            {"part": p.number, "name": p.name or None, "type": p.kind, "size": len(p.content)}
            for p in display.attachments(part)
        ],
    }


def lines(data: bytes) -> Iterator[str]:
    """Yield a message as a person reads it, safe for a terminal."""
    return display.message(mime.parse(data))


def save(data: bytes, directory: str) -> list[str]:
    """Save the attachments of a message in `directory`; return the paths.  Raise DataError."""
    try:
        return attachments.save(directory, display.attachments(mime.parse(data)))
    except OSError as error:
        raise DataError(f"cannot save into {directory}: {error.strerror}") from None
