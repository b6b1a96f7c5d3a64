"""What waits in the queue, as far as the caller may see it: the reading of mailq.

Root sees everything.  A user of a system spool sees the own messages: those still in the own
drop directory, and those that root's flush has told of in `.status` there.
"""

import errno
import os
import stat
import time

from pymail.entry import Entry, read, shown, unpack
from pymail.errors import DataError
from pymail.queuefile import HELD, OPEN, uid_of
from pymail.spool import Spool, listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

STATUS_LIMIT = 1 << 26

ANYBODY = -1


def queue(spool: Spool) -> "Iterator[tuple[str, Entry]]":
    """Yield ("drop", "deferred", "active" or "hold", entry) of what the caller may see.

    One entry is read at a time: it may have a hundred thousand recipients, and so may the next.
    """
    now = int(time.time())
    if not spool.system or os.geteuid() == 0:
        for qid, _ in spool.entries():
            if entry := shown(spool.queue, qid):
                yield where(entry, now), entry
        for name in _names(f"{spool.path}/drop") if spool.system else ():
            for entry in dropped(f"{spool.path}/drop/{name}", ANYBODY):
                yield "drop", entry
        return
    uid = os.geteuid()
    directory = spool.drop_directory(uid)
    for entry in dropped(directory, uid):
        yield "drop", entry
    for entry in told(directory, uid):
        yield where(entry, now), entry


def where(entry: Entry, now: int) -> str:
    """Return "deferred", "active" or "hold" for a message in the queue."""
    waiting = [state for state in entry.head.states if state in OPEN]
    if waiting and all(state in HELD for state in waiting):
        return "hold"
    return "active" if entry.due <= now else "deferred"


def dropped(directory: str, uid: int) -> "Iterator[Entry]":
    """Yield what lies in a drop directory; what is no message of its owner is passed over.

    There is nothing in one that does not belong to `uid`, whatever its name is.
    """
    try:
        fd = _open(directory, uid)
    except OSError:
        return
    try:
        owner = os.fstat(fd).st_uid
        for name in listed(fd):
            try:
                if not _is_of(owner, name, fd):
                    continue
                entry = read(name, name, fd)
            except (OSError, DataError):
                continue  # adopted meanwhile, or not ours to read
            yield entry
    finally:
        os.close(fd)


def told(directory: str, uid: int) -> "Iterator[Entry]":
    """Yield what flush tells `uid`, the owner of a drop directory, about the queue."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = _open(directory, uid)
        try:
            with open(os.open(".status", flags, dir_fd=fd), "rb") as file:
                data = file.read(STATUS_LIMIT) or b""
        finally:
            os.close(fd)
    except OSError:
        return  # nothing of ours is queued
    yield from unpack(data)


def _open(directory: str, uid: int) -> int:
    """Open a drop directory.  PermissionError where it belongs to another than `uid`."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if uid in (ANYBODY, os.fstat(fd).st_uid):
        return fd
    os.close(fd)
    raise PermissionError(errno.EPERM, "directory is not ours", directory)


def _is_of(owner: int, name: str, directory: int) -> bool:
    """Say whether an id in a drop directory is that of a message of its owner."""
    if uid_of(name) != owner:
        return False
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return stat.S_ISREG(status.st_mode) and status.st_uid == owner


def _names(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []
