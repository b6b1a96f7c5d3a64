"""What mail keeps of a letter: dead.letter when it could not be sent, a copy when it was.

An mbox file: "From SENDER DATE", the message, an empty line; "From " at the beginning of a line
gets a ">" before it.  A directory is a Maildir, or becomes one if it is empty, and the copy is a
message that was read.  A name that ends in a slash is that of a directory, which is made.
"""

import errno
import fcntl
import os
import re
import secrets
import stat
import time

from pymail import durable

_FROM = re.compile(rb"^(>*From )", re.MULTILINE)


def append(path: str, data: bytes, sender: str, now: int, *, follow: bool = True) -> None:
    """Add the message `data` to the mailbox `path`, which is made where there is none.

    It is on the disk on return, or nothing has changed.  Without `follow` a symbolic link is
    refused.  Raise OSError.
    """
    if path.endswith("/") and not os.path.isdir(path):
        os.mkdir(path, 0o700)
        durable.sync(os.path.dirname(os.path.realpath(path)))
    if os.path.isdir(path):
        if not os.path.isdir(f"{path}/cur") and os.listdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        _add_file(path, data, now)
        return
    # O_NONBLOCK: a FIFO without a reader is an error, not a wait without end.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    fd = os.open(path, flags | (0 if follow else os.O_NOFOLLOW), 0o600)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX)
        separator = f"From {sender} {time.asctime(time.localtime(now))}\n".encode()
        size = _write(fd, separator + _FROM.sub(rb">\1", data).rstrip(b"\n") + b"\n\n")
        if size == 0:  # the file may be new, and its name not on the disk yet
            durable.sync(os.path.dirname(os.path.realpath(path)))
    finally:
        os.close(fd)


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
