"""What mail keeps of a letter: dead.letter when it could not be sent, a copy when it was.

An mbox file: "From SENDER DATE", the message, an empty line; "From " at the beginning of a line
gets a ">" before it.  It is locked as for a delivery.  What stands before gets the line ends
that it lacks: a "From " without an empty line before it is text of the last message.

A directory is a Maildir, or becomes one if it is empty, and the copy is a message that was read.  A
name that ends in a slash is that of a directory, which is made.
"""

import errno
import os
import re
import secrets
import stat
import time

from pymail import durable
from pymail.transport.lock import BusyError, Lock, verify

_FROM = re.compile(rb"^(>*From )", re.MULTILINE)


def append(path: str, data: bytes, sender: str, now: int, *, follow: bool = True) -> None:
    """Add the message `data` to the mailbox `path`, which is made where there is none.

    It is on the disk on return, or nothing has changed.  Without `follow` a symbolic link is
    refused.  Raise OSError: BlockingIOError where another program has locked it.
    """
    if path.endswith("/") and not os.path.isdir(path):
        os.mkdir(path, 0o700)
        durable.sync(os.path.dirname(os.path.realpath(path)))
    if os.path.isdir(path):
        if not os.path.isdir(f"{path}/cur") and os.listdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        _add_file(path, data, now)
        return
    separator = f"From {sender} {time.asctime(time.localtime(now))}\n".encode()
    letter = separator + _FROM.sub(rb">\1", data).rstrip(b"\n") + b"\n\n"
    fd = _open(path, follow=follow)
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            _add(fd, path, letter)
        else:
            _write(fd, letter)
    finally:
        os.close(fd)


def _open(path: str, *, follow: bool) -> int:
    """Open a file to append to, and to read where it is one; it is made where it is missing."""
    # O_NONBLOCK: a FIFO without a reader is an error, not a wait without end.
    flags = os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    flags |= os.O_RDWR if os.path.isfile(path) or not os.path.exists(path) else os.O_WRONLY
    return os.open(path, flags | (0 if follow else os.O_NOFOLLOW), 0o600)


def _add(fd: int, path: str, letter: bytes) -> None:
    """Append a letter to an mbox that no other program writes to meanwhile."""
    try:
        with Lock(fd, os.fsencode(path)):
            verify(fd, path)
            size = _write(fd, _gap(fd) + letter)
    except BusyError as busy:
        raise BlockingIOError(errno.EAGAIN, str(busy), path) from None
    if size == 0:  # the file may be new, and its name not on the disk yet
        durable.sync(os.path.dirname(os.path.realpath(path)))


def _gap(fd: int) -> bytes:
    """Return the line ends that what is in a file lacks for a separator to follow."""
    size = os.fstat(fd).st_size
    end = os.pread(fd, 3, max(size - 3, 0))
    if not end or end.endswith((b"\n\n", b"\n\r\n")):
        return b""
    return b"\n" if end.endswith(b"\n") else b"\n\n"


def _write(fd: int, data: bytes) -> int:
    """Append to a file; return what its size was, -1 where it is none."""
    before = os.fstat(fd)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if stat.S_ISREG(before.st_mode):
            os.fsync(fd)
    except OSError:
        if stat.S_ISREG(before.st_mode):
            os.ftruncate(fd, before.st_size)
        raise
    return before.st_size if stat.S_ISREG(before.st_mode) else -1


def _add_file(maildir: str, data: bytes, now: int) -> None:
    fresh = not os.path.isdir(f"{maildir}/cur")
    for name in ("tmp", "new", "cur"):
        os.makedirs(f"{maildir}/{name}", 0o700, exist_ok=True)
    name = f"{now}.{secrets.token_hex(8)}.{os.uname().nodename.replace('/', '_')}"
    draft = os.path.join(maildir, "tmp", name)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _write(fd, data)
        kept = os.path.join(maildir, "cur", f"{name}:2,S")
        os.rename(draft, kept)
        draft = kept
        durable.sync(f"{maildir}/cur")
        if fresh:
            durable.sync(maildir)
    except OSError:
        os.unlink(draft)
        raise
    finally:
        os.close(fd)
