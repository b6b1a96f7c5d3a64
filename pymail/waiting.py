"""What waits in the queue, as far as the caller may see it: the reading of mailq.

Root sees everything.  A user of a system spool sees the own messages: those still in the own
drop directory, and those that root's flush has told of in `.status` there.
"""

import os
import stat
import time

from pymail.errors import DataError
from pymail.spool import HELD, OPEN, Entry, Spool, is_id, read, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

STATUS_LIMIT = 1 << 26


def queue(spool: Spool) -> "Iterator[tuple[str, Entry]]":
    """Yield ("drop", "deferred", "active" or "hold", entry) of what the caller may see.

    One entry is read at a time: it may have a hundred thousand recipients, and so may the next.
    """
    now = int(time.time())
    if not spool.system or os.geteuid() == 0:
        for qid, _ in spool.entries():
            if entry := spool.read(qid):
                yield where(entry, now), entry
        for name in _names(f"{spool.path}/drop") if spool.system else ():
            for entry in dropped(f"{spool.path}/drop/{name}"):
                yield "drop", entry
        return
    directory = spool.drop_directory(os.geteuid())
    for entry in dropped(directory):
        yield "drop", entry
    for entry in told(directory):
        yield where(entry, now), entry


def where(entry: Entry, now: int) -> str:
    """Return "deferred", "active" or "hold" for a message in the queue."""
    waiting = [state for state in entry.head.states if state in OPEN]
    if waiting and all(state in HELD for state in waiting):
        return "hold"
    return "active" if entry.due <= now else "deferred"


def dropped(directory: str) -> "Iterator[Entry]":
    """Yield what lies in a drop directory; what is no message of its owner is passed over."""
    for name in _names(directory):
        path = f"{directory}/{name}"
        try:
            if not (is_id(name) and stat.S_ISREG(os.lstat(path).st_mode)):
                continue
            entry = read(path, name)
        except (OSError, DataError):
            continue  # adopted meanwhile, or not ours to read
        yield entry


def told(directory: str) -> "Iterator[Entry]":
    """Yield what flush tells the owner of a drop directory about the queue."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with open(os.open(f"{directory}/.status", flags), "rb") as file:
            data = file.read(STATUS_LIMIT) or b""
    except OSError:
        return  # nothing of ours is queued
    yield from unpack(data)


def _names(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []
