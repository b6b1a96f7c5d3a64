"""What mailq and flush read of a queue file: all but the message itself."""

import os

from pymail.envelope import decode
from pymail.errors import DataError
from pymail.queuefile import (
    ENVELOPE_LIMIT,
    FIXED,
    MAGIC,
    MARKS,
    MOST_RECIPIENTS,
    STATES,
    head_length,
    read_at,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_DIGITS = 20
"""Length of a number in a tail, which the sender of the message may have written."""

MOST_SHOWN = 1 << 20
"""Bytes of a tail that mailq reads."""


class Head:
    """What stands in a queue file before the message.

    `arrived` is in seconds; `body` and `tail` are offsets in the file.
    """

    __slots__ = ("arrived", "attempts", "body", "crc", "envelope", "flag", "size", "states", "tail")

    def __init__(self, data: bytes) -> None:
        """Read the start of a queue file.  Raise DataError where it is not one."""
        try:
            if data[:8] != MAGIC or data[63:64] != b"\n":
                raise ValueError  # noqa: TRY301
            count, length = int(data[8:14], 16), int(data[15:23], 16)
            self.size, self.crc = int(data[24:36], 16), int(data[37:45], 16)
            self.arrived = int(data[46:60], 16) // 1000000
            self.flag = data[FIXED : FIXED + 1]
            self.attempts = int(data[FIXED + 1 : FIXED + 3], 16)
        except ValueError:
            raise DataError("damaged queue file") from None
        if not 0 < count <= MOST_RECIPIENTS or not 0 < length <= ENVELOPE_LIMIT or self.size < 0:
            raise DataError("damaged queue file")
        start = FIXED + MARKS + count
        self.body = start + length
        self.tail = self.body + self.size
        self.states = bytearray(data[FIXED + 3 : start - 1])
        if len(data) < self.body or data[start - 1 : start] != b"\n":
            raise DataError("damaged queue file")
        if self.states.translate(None, STATES):
            raise DataError("damaged queue file")
        self.envelope = decode(data[start : self.body], count)


class Attempt:
    """One line of the tail: what happened to `target` of recipient number `index`.

    `status` is an Outcome's, "reporting" or "reported"; `target` names the last hop.  `report` is
    what only the report of a failure needs, as many fields as its writer likes.
    """

    __slots__ = ("dsn", "index", "report", "status", "target", "time", "words")

    def __init__(
        self,
        time: int,
        index: int,
        status: str,
        dsn: str,
        target: str,
        words: str,
        *report: str,
    ) -> None:
        self.time = time
        self.index = index
        self.status = status
        self.dsn = dsn
        self.target = target
        self.words = words
        self.report = report

    def line(self) -> bytes:
        """Return the line for the tail; no field can end it early."""
        fields = [str(self.time), str(self.index), self.status, self.dsn, self.target, self.words]
        fields += self.report
        clean = ["".join(" " if c in "\t\n\r\0" else c for c in f) for f in fields]
        return ("\t".join(clean) + "\n").encode("utf-8", "surrogateescape")


def attempts(tail: bytes) -> list[Attempt]:
    """Return the outcomes in a tail; a line that was cut short by a crash is passed over."""
    found: list[Attempt] = []
    for line in tail.decode("utf-8", "surrogateescape").split("\n")[:-1]:
        fields = line.split("\t")
        if len(fields) >= 6 and all(f.isdecimal() and len(f) < MOST_DIGITS for f in fields[:2]):
            found.append(Attempt(int(fields[0]), int(fields[1]), *fields[2:]))
    return found


class Entry:
    """A message in the queue as mailq shows it: nothing of the message itself."""

    __slots__ = ("attempts", "due", "head", "qid")

    def __init__(self, qid: str, due: int, head: Head, attempts: list[Attempt]) -> None:
        self.qid = qid
        self.due = due
        self.head = head
        self.attempts = attempts


def pack(fixed: bytes, due: int, qid: str, tail: bytes) -> bytes:
    """Return an entry as bytes for a user's `.status`: its lengths, then its parts."""
    return f"{qid} {due} {len(fixed)} {len(tail)}\n".encode() + fixed + tail


def unpack(data: bytes) -> "Iterator[Entry]":
    """Yield the entries of a `.status`; what cannot be read is the end."""
    at = 0
    while at < len(data):
        line, _, _ = data[at : at + 80].partition(b"\n")
        fields = line.split(b" ")
        if len(fields) != 4 or not all(f.isalnum() for f in fields):
            break
        try:
            due, size, tail = int(fields[1]), int(fields[2]), int(fields[3])
            at += len(line) + 1
            head = Head(data[at : at + size])
        except (ValueError, DataError):
            break
        at += size
        yield Entry(fields[0].decode(), due, head, attempts(data[at : at + tail]))
        at += tail


def start(fd: int, at_once: int = 4096) -> bytes:
    """Return what stands before the message, and perhaps some of it, `at_once` bytes or more.

    Raise DataError where the file is none of the queue.
    """
    data = read_at(fd, at_once, 0)
    need = head_length(data)
    if need > len(data):
        data += read_at(fd, need - len(data), len(data))
    return data


def read(path: str, qid: str, directory: int | None = None) -> Entry:
    """Return the entry in the queue file `path`, which may be relative to a directory."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(path, flags, dir_fd=directory)
    try:
        head = Head(start(fd))
        status = os.fstat(fd)
        # The end of it, where the latest reasons are.
        tail = read_at(fd, MOST_SHOWN, max(head.tail, status.st_size - MOST_SHOWN))
        return Entry(qid, int(status.st_mtime), head, attempts(tail))
    finally:
        os.close(fd)


def shown(queue: str, qid: str) -> Entry | None:
    """Return an entry for showing, without its lock; None where it is gone or damaged."""
    try:
        return read(f"{queue}/{qid}", qid)
    except (FileNotFoundError, DataError):
        return None
