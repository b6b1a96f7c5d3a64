"""What waits in the queue, as far as the caller may see it: the reading of mailq.

Root sees everything.  A user of a system spool sees the own messages: those still in the own
drop directory, and those that root's flush has told of in `.status` there.
"""

import os
import stat
import time

from pymail.errors import DataError
from pymail.spool import HELD, OPEN, Entry, Spool, is_id, read, unpack

STATUS_LIMIT = 1 << 26


def queue(spool: Spool) -> list[tuple[str, Entry]]:
    """Return ("drop", "deferred", "active" or "hold", entry) of what the caller may see."""
    now = int(time.time())
    if not spool.system or os.geteuid() == 0:
        found = [e for e in (spool.read(qid) for qid, _ in spool.entries()) if e is not None]
        entries = [(where(entry, now), entry) for entry in found]
        if spool.system:
            for name in _names(f"{spool.path}/drop"):
                entries += [("drop", e) for e in dropped(f"{spool.path}/drop/{name}")]
        return entries
    directory = spool.drop_directory(os.geteuid())
    entries = [("drop", entry) for entry in dropped(directory)]
    return entries + [(where(entry, now), entry) for entry in told(directory)]


def where(entry: Entry, now: int) -> str:
    """Return "deferred", "active" or "hold" for a message in the queue."""
    waiting = [state for state in entry.head.states if state in OPEN]
    if waiting and all(state in HELD for state in waiting):
        return "hold"
    return "active" if entry.due <= now else "deferred"


def dropped(directory: str) -> list[Entry]:
    """Return what lies in a drop directory; what is no message of its owner is passed over."""
    found = []
    for name in _names(directory):
        path = f"{directory}/{name}"
        try:
            if is_id(name) and stat.S_ISREG(os.lstat(path).st_mode):
                found.append(read(path, name))
        except (OSError, DataError):
            continue  # adopted meanwhile, or not ours to read
    return found


def told(directory: str) -> list[Entry]:
    """Return what flush tells the owner of a drop directory about the queue."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with open(os.open(f"{directory}/.status", flags), "rb") as file:
            return unpack(file.read(STATUS_LIMIT) or b"")
    except OSError:
        return []  # nothing of ours is queued


def _names(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []
