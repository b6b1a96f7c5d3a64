"""A message of the queue that this process has locked and works on.

The lock is flock on the queue file: any number of flushes run side by side, each message is in
one hand.  Nothing is lost without it, since every step can be repeated; see queuefile.py.
"""

import fcntl
import os
import time
from binascii import crc32

from pymail.entry import Attempt, Head, attempts, start
from pymail.errors import DataError
from pymail.message import HEADER_LIMIT
from pymail.queuefile import ATTEMPTED, FIXED, NEVER, OPEN, read_at
from pymail.spool import Spool

_FIRST_READ = 1 << 14
_CHUNK = 1 << 20
_MOST_TAIL = 1 << 24
TAIL_LIMIT = 1 << 18
"""Bytes; a longer tail takes no further deferrals, only ends."""


class Active:
    """A locked queue file: `head` as read, `start` the first bytes of the message.

    Marks are written in place and survive a killed process at once; sync() makes them survive
    a power cut.
    """

    __slots__ = ("_end", "_path", "due", "fd", "head", "qid", "start")

    def __init__(self, path: str, qid: str, fd: int) -> None:
        self._path = path
        self.qid = qid
        self.fd = fd
        status = os.fstat(fd)
        self.due = int(status.st_mtime)
        self._end = status.st_size
        data = start(fd, min(_FIRST_READ, self._end))
        self.head = Head(data)
        if self._end < self.head.tail:
            raise DataError("damaged queue file")
        self.start = data[self.head.body : self.head.tail]
        self._check(data)

    def header(self) -> bytes:
        """Return the start of the message, the whole header block in it."""
        if len(self.start) < self.head.size and b"\n\n" not in self.start:
            size = min(self.head.size, HEADER_LIMIT)
            self.start = read_at(self.fd, size, self.head.body)
        return self.start

    def message(self) -> bytes:
        """Return the whole message."""
        if len(self.start) == self.head.size:
            return self.start
        return read_at(self.fd, self.head.size, self.head.body)

    def attempts(self) -> list[Attempt]:
        """Return what happened to the message so far."""
        size = min(self._end - self.head.tail, _MOST_TAIL)
        return attempts(read_at(self.fd, size, self.head.tail)) if size > 0 else []

    @property
    def weight(self) -> int:
        """How many bytes of the file must be in memory while it is worked on, at the least."""
        return self.head.body + len(self.header()) + self._end - self.head.tail

    def waiting(self) -> list[int]:
        """Return the numbers of the recipients that still wait for something."""
        return [i for i, state in enumerate(self.head.states) if state in OPEN]

    def state(self, index: int) -> bytes:
        """Return the state of one recipient."""
        return bytes(self.head.states[index : index + 1])

    def mark(self, index: int, state: bytes) -> None:
        """Set the state of one recipient."""
        self.head.states[index] = state[0]
        os.pwrite(self.fd, state, FIXED + 3 + index)

    def begin(self, indexes: list[int]) -> None:
        """Count an attempt and mark its recipients as in doubt until there is an outcome."""
        self.head.attempts = min(self.head.attempts + 1, 255)
        for index in indexes:
            self.head.states[index] = ATTEMPTED[0]
        marks = self.head.flag + b"%02x" % self.head.attempts + bytes(self.head.states)
        os.pwrite(self.fd, marks, FIXED)

    def unbegin(self) -> None:
        """Take back that an attempt was made."""
        self.head.attempts = max(self.head.attempts - 1, 0)
        os.pwrite(self.fd, b"%02x" % self.head.attempts, FIXED + 1)

    def flag(self, flag: bytes) -> None:
        """Set the flag of the message."""
        self.head.flag = flag
        os.pwrite(self.fd, flag, FIXED)

    def note(self, attempt: Attempt) -> None:
        """Append an outcome to the tail; deferrals only while the tail is not full."""
        if (
            attempt.status in ("deferred", "kept", "offline")
            and self._end - self.head.tail > TAIL_LIMIT
        ):
            return
        line = attempt.line()
        if self._end > self.head.tail and os.pread(self.fd, 1, self._end - 1) != b"\n":
            line = b"\n" + line  # the last append was cut short
        self._end += os.pwrite(self.fd, line, self._end)

    def defer(self, until: int) -> None:
        """Set the next attempt (seconds); NEVER holds the message."""
        # A clock far ahead must not put a message on hold.
        self.due = until if until == NEVER else min(until, NEVER - 1)
        os.utime(self.fd, (time.time(), self.due))

    def sync(self) -> None:
        """Make all marks survive a power cut."""
        os.fdatasync(self.fd)

    def remove(self) -> None:
        """Take the message out of the queue."""
        os.unlink(self._path)
        self.close()

    def close(self) -> None:
        """Let go of the message."""
        fd, self.fd = self.fd, -1  # also where close fails: the number may be another's already
        if fd >= 0:
            os.close(fd)

    def _check(self, data: bytes) -> None:
        head = self.head
        crc = crc32(data[FIXED + len(head.states) + 4 : head.tail])
        at = len(data)
        while at < head.tail:
            piece = os.pread(self.fd, min(_CHUNK, head.tail - at), at)
            if not piece:
                raise DataError("damaged queue file")
            crc = crc32(piece, crc)
            at += len(piece)
        crc = crc32(data[45:FIXED], crc32(data[:37], crc))
        if crc != head.crc:
            raise DataError("damaged queue file")


def take(spool: Spool, qid: str) -> Active | None:
    """Lock a message; None where it is gone or in another hand.

    Raise DataError for a damaged file, which stays where it is and unlocked.
    """
    path = f"{spool.queue}/{qid}"
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_nlink == 0:
            os.close(fd)
            return None
        return Active(path, qid, fd)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise


def set_aside(spool: Spool, qid: str) -> None:
    """Put a damaged queue file out of the way; it is never deleted."""
    os.rename(f"{spool.queue}/{qid}", f"{spool.queue}/{qid}.damaged")
