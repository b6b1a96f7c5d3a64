"""The text of an mbox file: where its messages are, and what flags they have.  Pure.

From SENDER DATE     at the beginning, or behind an empty line
header               Status has R for read and O for "not new", X-Status A replied, F flagged,
                     D trashed, T draft
                     an empty line
body                 "From " behind ">"s has one ">" too many
"""

import contextlib
import email.utils
import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pymail import message, summary
from pymail.folder import Change, Letter, moment
from pymail.message import Field
from pymail.summaries import Known

_SEPARATOR = re.compile(rb"(?:\A|\n\r?\n)(?=From )")
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)
_STATUS = frozenset((b"status", b"x-status"))
_OF_PROGRAMS = _STATUS | {b"x-uid", b"x-keywords", b"x-imap", b"x-imapbase", b"content-length"}
"""What mail programs write into a message that is the same for all that."""

_EXTENDED = {"A": "R", "F": "F", "D": "T", "T": "D"}
"""Letters of X-Status, and those of a Maildir."""


class Piece(NamedTuple):
    """A message in the file: its name, where it begins and ends, its separator and fields."""

    name: str
    start: int
    end: int
    separator: bytes
    fields: list[Field]


def pieces(data: bytes) -> Iterator[Piece]:
    """Yield the messages in a file.  The same text twice has names that differ at the end."""
    starts = [found.end() for found in _SEPARATOR.finditer(data)]
    times: dict[str, int] = {}
    for start, end in zip(starts, [*starts[1:], len(data)][: len(starts)], strict=True):
        piece = data[start:end]
        fields, body, separator = _parts(piece)
        name = _digest(piece, fields, body, separator)
        times[name] = times.get(name, 0) + 1
        yield Piece(f"{name}-{times[name]}", start, end, separator, fields)


def name(piece: bytes) -> str:
    """Return what names a message: a digest of all that reading it does not change."""
    return _digest(piece, *_parts(piece))


def _digest(piece: bytes, fields: list[Field], body: int, separator: bytes) -> str:
    kept = [f.raw for f in fields if f.name not in _OF_PROGRAMS]
    text = b"\n".join([separator, *kept, b"", piece[body:].rstrip(b"\r\n")])
    return hashlib.blake2b(text, digest_size=12).hexdigest()


def _parts(piece: bytes) -> tuple[list[Field], int, bytes]:
    """Return header fields, where the body starts, and the separator line."""
    first = piece.partition(b"\n")[0]
    # A header is far shorter than what follows it: no copy of the whole.
    stop = piece.find(b"\n\n", len(first))
    stop = min(len(piece) if stop < 0 else stop + 2, len(first) + message.HEADER_LIMIT)
    fields, at = message.split(piece[len(first) + 1 : stop])
    return fields, len(first) + 1 + at, first


def letter(piece: Piece, known: Known | None) -> Letter:
    """Return what is said of a message; its summary, where that is known, is not made again."""
    values = summary.first(piece.fields)
    status = values.get(b"status", b"")
    new = b"O" not in status and b"R" not in status
    flags = _flags(piece.fields)
    about = known.about if known else summary.of_fields(values)
    size = piece.end - piece.start - len(piece.separator) - 1
    arrived = _arrived(piece.separator)
    return Letter(piece.name, "", "".join(sorted(flags)), new, size, 0, arrived, about)


def _flags(fields: list[Field]) -> set[str]:
    values = summary.first(fields)
    extended = values.get(b"x-status", b"").decode("ascii", "replace")
    flags = {letter for sign, letter in _EXTENDED.items() if sign in extended}
    return flags | ({"S"} if b"R" in values.get(b"status", b"") else set())


def _arrived(separator: bytes) -> int:
    """Return the local time in a separator line in seconds, 0 where it has none."""
    words = separator.decode("ascii", "replace").split()[-5:]
    with contextlib.suppress(ValueError, TypeError, IndexError, OverflowError):
        day, month, number, clock, year = words
        parsed = email.utils.parsedate(f"{day}, {number} {month} {year} {clock}")
        return moment(int(time.mktime(parsed))) if parsed else 0
    return 0


def changed(data: bytes, changes: Sequence[Change]) -> tuple[bytes, list[str]]:
    """Return the file with changes made, and the names of messages that were not found."""
    wanted = {change.letter.id: change for change in changes}
    out: list[bytes] = []
    at = 0
    for piece in pieces(data):
        out.append(data[at : piece.start])
        change = wanted.pop(piece.name, None)
        text = data[piece.start : piece.end]
        if change is None:
            out.append(text)
        elif not change.delete:
            out.append(_with_flags(text, _flags(piece.fields), change))
        at = piece.end
    out.append(data[at:])
    return b"".join(out), [change.letter.id for change in wanted.values() if not change.delete]


def _with_flags(piece: bytes, flags: set[str], change: Change) -> bytes:
    """Return a message with its flags as they are to be."""
    separator = piece.partition(b"\n")[0]
    if change.text:
        piece = separator + b"\n" + _quoted(change.text)
    flags = (flags | set(change.add)) - set(change.remove)
    status = b"RO" if "S" in flags else b"O"
    extended = "".join(sign for sign, each in _EXTENDED.items() if each in flags)
    fields, body, separator = _parts(piece)
    old = {f.name: f.value.strip() for f in reversed(fields) if f.name in _STATUS}
    if not change.text and old == _wanted(status, extended):
        return piece
    gap = b"\n" if piece[body - 2 : body] == b"\n\n" else b""
    head = _without_status(piece[len(separator) : body - len(gap)], fields)
    lines = [b"%s: %s\n" % (name.title(), v) for name, v in _wanted(status, extended).items()]
    return separator + head + b"".join(lines) + gap + piece[body:]


def _wanted(status: bytes, extended: str) -> dict[bytes, bytes]:
    return {b"status": status, **({b"x-status": extended.encode()} if extended else {})}


def _quoted(text: bytes) -> bytes:
    text = re.sub(rb"^(>*From )", rb">\1", text.replace(b"\r\n", b"\n"), flags=re.MULTILINE)
    return text.rstrip(b"\n") + b"\n\n"


def sent(piece: bytes) -> bytes:
    """Return a message as it was before it came into the file."""
    fields, body, separator = _parts(piece)
    head = _without_status(piece[len(separator) : body], fields)[1:]
    text = _QUOTED.sub(rb"\1", piece[body:])
    end = next((e for e in (b"\r\n", b"\n") if text.endswith(e + e)), b"")
    return head + text.removesuffix(end)


def _without_status(head: bytes, fields: Sequence[Field]) -> bytes:
    """Return a header that begins with a line end, without the fields of _STATUS."""
    for field in fields:
        if field.name in _STATUS:
            head = head.replace(b"\n" + field.raw + b"\n", b"\n", 1)
    return head
