"""Delivery by appending to a file: an mbox, or whatever /path in an alias or .forward names.

    From SENDER  Mon Nov 23 04:11:25 2026
    header
                            an empty line
    body                    a line that begins with "From " or ">From " gets one more ">"
                            an empty line

The file is locked with fcntl and then with FILE.lock (where its directory lets us make one), as
every mail program of Debian does.  An error on the way cuts the file back to its old length, so
a reader never finds half a message.  A file cannot be exchanged as a Maildir's can, so a crash
may leave half a message, or a whole one that nobody heard of; the bytes of a message are the
same at every attempt, and a doubtful one first looks for them at the end of the file.
"""

import errno
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from pymail.address import quote
from pymail.errors import printable
from pymail.transport import Content, Delivery, Outcome, bounced, deferred, failed, sent
from pymail.transport.lock import BusyError, Lock, verify

_AT_ONCE = 1 << 20
"""Bytes of a message that is written with one call; a bigger one goes piece by piece."""

_SOUGHT = 1 << 24
"""Bytes of a message that is looked for at the end of the file when in doubt."""

_BACK = 1 << 20
"""Bytes that others may have appended since."""

_NOT_A_MAILBOX = {errno.EISDIR, errno.ENXIO, errno.ENOTDIR, errno.ELOOP}
_NULL = os.makedev(1, 3)


class _RefusedError(Exception):
    """The path names something that mail is never written to."""


def deliver(batch: Sequence[Delivery]) -> Iterator[tuple[int, Outcome]]:
    """Append each message to the file that is its `argument`."""
    for delivery in batch:
        yield delivery.number, _append(delivery)


def separator(delivery: Delivery) -> bytes:
    """Return the "From " line that begins a message in an mbox or on its way to a program."""
    sender = printable(quote(delivery.sender)) if delivery.sender else "MAILER-DAEMON"
    when = time.asctime(time.localtime(delivery.arrived))
    return f"From {sender}  {when}\n".encode("utf-8", "replace")


def quoted(content: Content) -> Iterator[bytes]:
    """Yield header, body and a final empty line, with ">" before what looks like a separator.

    A line is a separator when it is "From " behind any number of ">": so the quoting can be
    taken back without loss.
    """
    rest = b""
    for piece in content.pieces():
        whole, newline, rest = (rest + piece).rpartition(b"\n")
        if newline:
            yield _quote(whole) + b"\n"
    if rest:
        yield _quote(rest) + b"\n"
    yield b"\n"


def _quote(lines: bytes) -> bytes:
    if b"From " not in lines:
        return lines
    return b"\n".join(
        [
            b">" + line if line.lstrip(b">").startswith(b"From ") else line
            for line in lines.split(b"\n")
        ]
    )


def _append(delivery: Delivery) -> Outcome:
    path = delivery.argument
    try:
        _put(path.encode("utf-8", "surrogateescape"), delivery)
    except _RefusedError as refusal:
        return bounced("5.2.0", f"cannot append message to file {path}: {refusal}")
    except BusyError as busy:
        return deferred("4.2.0", f"cannot append message to file {path}: {busy}")
    except OSError as error:
        return _failed(path, error)
    return sent(f"delivered to file: {path}")


def _put(path: bytes, delivery: Delivery) -> None:
    fd, made = _open(path)
    try:
        if stat.S_ISCHR(os.fstat(fd).st_mode):
            return
        if made:
            _sync_directory(path)
        with Lock(fd, path):
            verify(fd, path)
            _write(fd, delivery)
    finally:
        os.close(fd)


def _open(path: bytes) -> tuple[int, bool]:
    """Open a file to append to, made with mode 0600 where it is missing; say whether it was.

    We have become the user, so whatever opens is the user's to write.  What is guarded against
    is a directory that others can write to: a link of another's may not choose the file.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    made = False
    try:
        # Not O_CREAT alone: that would also make what a dangling symbolic link points to.
        fd = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        made = True
    except FileExistsError:
        link = os.lstat(path)
        if not stat.S_ISLNK(link.st_mode):
            flags |= os.O_NOFOLLOW
        elif link.st_uid not in (0, os.geteuid()):
            raise _RefusedError("a symbolic link of another user") from None
        fd = os.open(path, flags)
    try:
        _inspect(fd)
    except _RefusedError:
        os.close(fd)
        raise
    return fd, made


def _inspect(fd: int) -> None:
    about = os.fstat(fd)
    if stat.S_ISCHR(about.st_mode) and about.st_rdev == _NULL:
        return
    if not stat.S_ISREG(about.st_mode):
        raise _RefusedError("not a regular file")
    if about.st_nlink != 1:
        raise _RefusedError(f"file has {about.st_nlink} hard links")


def _write(fd: int, delivery: Delivery) -> None:
    """Append the message durably, or leave the file as it was."""
    size = os.lseek(fd, 0, os.SEEK_END)
    content = delivery.content
    length = len(content.header) + max(len(content.body), content.size)
    pieces: Iterable[bytes] = chain((separator(delivery),), quoted(content))
    if delivery.doubtful and length <= _SOUGHT:
        whole = b"".join(pieces)
        there, size = _earlier(fd, size, whole)
        if there:
            os.fsync(fd)
            return
        pieces = (whole,)
    elif length <= _AT_ONCE:
        pieces = (b"".join(pieces),)
    try:
        # A file that others broke off in mid-line: a separator has an empty line before it.
        if size and os.pread(fd, 1, size - 1) != b"\n":
            pieces = chain((b"\n\n",), pieces)
        for piece in pieces:
            _all(fd, piece)
        os.fsync(fd)
    except OSError:
        os.ftruncate(fd, size)
        raise


def _earlier(fd: int, size: int, whole: bytes) -> tuple[bool, int]:
    """Say whether the file ends with the message and perhaps some more; cut off half of it.

    Return the size of the file after that.
    """
    start = max(0, size - len(whole) - _BACK)
    tail = b"\n" + _read(fd, start, size)
    if b"\n" + whole in tail:
        return True, size
    separator_at = tail.rfind(b"\n" + whole.partition(b"\n")[0]) + 1
    for at in (separator_at, tail.rfind(b"\n") + 1):
        rest = tail[at:]
        if rest and at > (start > 0) and whole.startswith(rest):
            os.ftruncate(fd, size - len(rest))
            return False, size - len(rest)
    return False, size


def _read(fd: int, start: int, end: int) -> bytes:
    data = b""
    while start + len(data) < end and (
        piece := os.pread(fd, end - start - len(data), start + len(data))
    ):
        data += piece
    return data


def _all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _sync_directory(path: bytes) -> None:
    fd = os.open(
        os.path.dirname(os.path.realpath(path)), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    )
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _failed(path: str, error: OSError) -> Outcome:
    words = f"cannot append message to file {path}: {error.strerror}"
    if error.errno in _NOT_A_MAILBOX:
        return bounced("5.2.0", words)
    return failed(words, error)
