"""An mbox file, beside other programs that work on it.

    From SENDER DATE     at the beginning, or behind an empty line
    header               Status has R for read and O for "not new", X-Status A replied, F flagged,
                         D trashed, T draft
                         an empty line
    body                 "From " behind ">"s has one ">" too many

It is written under the locks that every mail program of Debian takes.  A message is found again
by what it says, whatever was put before it or behind it meanwhile.
"""

import contextlib
import email.utils
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pymail import message, summaries, summary
from pymail.errors import InputError, TempError
from pymail.folder import Change, Letter, gone
from pymail.message import Field
from pymail.summaries import Known
from pymail.transport.lock import BusyError, Lock

_SEPARATOR = re.compile(rb"(?:\A|\n\r?\n)(?=From )")
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)
_STATUS = frozenset((b"status", b"x-status"))
_BLOCK = 1 << 16
_OF_PROGRAMS = _STATUS | {b"x-uid", b"x-keywords", b"x-imap", b"x-imapbase", b"content-length"}
"""What mail programs write into a message that is the same for all that."""

_EXTENDED = {"A": "R", "F": "F", "D": "T", "T": "D"}
"""Letters of X-Status, and those of a Maildir."""


class Mbox:
    """An open mbox file."""

    def __init__(self, path: str, cache: str = "") -> None:
        self.path = path
        self._cache = cache
        self._places: dict[str, tuple[int, int]] = {}
        self._size = 0
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            os.close(self._fd)
            raise InputError(f"cannot read {path}: neither a Maildir nor a file")

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)

    def letters(self) -> list[Letter]:
        """Return the messages, in the order of the file."""
        data = self._whole()
        pieces = list(_pieces(data))
        if data.strip() and not pieces:
            raise InputError(f"cannot read {self.path}: not an mbox file")
        self._size = len(data)
        self._places.clear()
        known = summaries.load(self._cache, self.path)
        letters = [self._letter(piece, known.get(piece.name)) for piece in pieces]
        if any(letter.id not in known for letter in letters):
            fresh = {each.id: Known((0, each.size, 0), each.about) for each in letters}
            summaries.store(self._cache, self.path, fresh)
        return letters

    def arrived(self) -> list[Letter]:
        """Return what has been appended since."""
        if os.stat(self.path).st_size == self._size:
            return []
        data = self._whole()
        self._size = len(data)
        fresh = [piece for piece in _pieces(data) if piece.name not in self._places]
        return [self._letter(piece, None) for piece in fresh]

    def read(self, letter: Letter) -> bytes:
        """Return a message, its quoting taken back."""
        piece = self._piece(*self._places[letter.id])
        if _digest(piece, *_parts(piece)) != letter.id.partition("-")[0]:
            # Another program has put the file together anew.
            places = [(p.start, p.end) for p in _pieces(self._whole()) if p.name == letter.id]
            if not places:
                raise gone(letter)
            piece = self._piece(*places[0])
        return _sent(piece)

    def where(self, _letter: Letter) -> str:
        """Return no path: a message has no file of its own."""
        return ""

    def commit(self, changes: Sequence[Change]) -> list[str]:
        """Write the file anew, with what has come meanwhile."""
        path = os.path.realpath(self.path)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise InputError(f"cannot change {self.path}: {error.strerror}") from None
        try:
            with Lock(fd, os.fsencode(path)):
                missing = self._exchange(fd, path, changes)
        except BusyError as busy:
            raise TempError(f"cannot change {self.path}: {busy}; nothing was changed") from None
        finally:
            os.close(fd)
        return [f"message {name} is another one by now; left alone" for name in missing]

    def _exchange(self, fd: int, path: str, changes: Sequence[Change]) -> list[str]:
        """Write the file that is locked; return the names of messages that were not found."""
        if not os.path.samestat(os.fstat(fd), os.stat(path)):
            raise BusyError("the file was exchanged meanwhile")
        old = _all(fd, os.fstat(fd).st_size)
        data, missing = _changed(old, changes)
        if data != old:
            _write(fd, old, data, self._kept(path))
        return missing

    def _kept(self, path: str) -> str:
        """Return where a copy is kept during a change: beside the file, else in the cache."""
        if os.access(os.path.dirname(path), os.W_OK) or not self._cache:
            return f"{path}.kept"
        os.makedirs(self._cache, 0o700, exist_ok=True)
        return f"{self._cache}/{path.strip('/').replace('/', '-')[-100:]}.kept"

    def _whole(self) -> bytes:
        # By its name: another program may have put a new file in its place.
        with open(self.path, "rb") as file:
            return file.read()

    def _piece(self, start: int, end: int) -> bytes:
        with open(self.path, "rb") as file:
            file.seek(start)
            return file.read(end - start)

    def _letter(self, piece: "_Piece", known: Known | None) -> Letter:
        self._places[piece.name] = (piece.start, piece.end)
        return _letter(piece, known)


def _sent(piece: bytes) -> bytes:
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


class _Piece(NamedTuple):
    """A message in the file: its name, where it begins and ends, its separator and fields."""

    name: str
    start: int
    end: int
    separator: bytes
    fields: list[Field]


def _pieces(data: bytes) -> Iterator[_Piece]:
    """Yield the messages in a file.  The same text twice has names that differ at the end."""
    starts = [found.end() for found in _SEPARATOR.finditer(data)]
    times: dict[str, int] = {}
    for start, end in zip(starts, [*starts[1:], len(data)][: len(starts)], strict=True):
        piece = data[start:end]
        fields, body, separator = _parts(piece)
        name = _digest(piece, fields, body, separator)
        times[name] = times.get(name, 0) + 1
        yield _Piece(f"{name}-{times[name]}", start, end, separator, fields)


def _digest(piece: bytes, fields: list[Field], body: int, separator: bytes) -> str:
    """Return what names a message: a digest of all that reading it does not change."""
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


def _letter(piece: _Piece, known: Known | None) -> Letter:
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
    """Return the time in a separator line, 0 where it has none."""
    words = separator.decode("ascii", "replace").split()[-5:]
    with contextlib.suppress(ValueError, TypeError, IndexError, OverflowError):
        day, month, number, clock, year = words
        parsed = email.utils.parsedate_tz(f"{day}, {number} {month} {year} {clock} +0000")
        return max(int(email.utils.mktime_tz(parsed)), 0) if parsed else 0
    return 0


def _changed(data: bytes, changes: Sequence[Change]) -> tuple[bytes, list[str]]:
    """Return the file with changes made, and the names of messages that were not found."""
    wanted = {change.letter.id: change for change in changes}
    out: list[bytes] = []
    at = 0
    for piece in _pieces(data):
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


def _all(fd: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (piece := os.pread(fd, size - len(data), len(data))):
        data += piece
    return bytes(data)


def _write(fd: int, old: bytes, data: bytes, kept: str) -> None:
    """Put `data` in the place of `old`, in the file itself: others may have it open.

    A program that waits for our lock would write into a file that is no more, if a new one took
    its place.  What is written is kept in the file `kept` until it is safe, in case the machine
    stops.
    """
    try:
        draft = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        text = f"{kept} has its whole contents, since a change was cut off: compare and remove it"
        raise TempError(f"cannot change the mailbox: {text}") from None
    try:
        with open(draft, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(draft)
        _sync(os.path.dirname(kept))
        # What does not fit must fail before the first byte is lost.
        if len(data) > len(old):
            os.posix_fallocate(fd, len(old), len(data) - len(old))
    except OSError:
        os.unlink(kept)
        raise
    _overwrite(fd, old, data)
    os.unlink(kept)


def _overwrite(fd: int, old: bytes, data: bytes) -> None:
    at = 0
    while at < len(data) and data[at : at + _BLOCK] == old[at : at + _BLOCK]:
        at += _BLOCK
    view = memoryview(data)
    while at < len(data):
        at += os.pwrite(fd, view[at : at + _BLOCK], at)
    os.ftruncate(fd, len(data))
    os.fsync(fd)


def _sync(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
