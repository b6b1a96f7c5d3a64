"""What root's flush tells each user's mailq: the messages of that user in the queue."""

import os

from pymail.entry import Head, pack, start
from pymail.errors import DataError
from pymail.queuefile import read_at, uid_of
from pymail.spool import Spool

LIMIT = 1 << 24
"""Bytes of a user's `.status`; one who has more in the queue is told of the oldest."""


def tell(spool: Spool) -> None:
    """Write for each user what is queued of that user's mail, for mailq."""
    queued: dict[int, list[tuple[str, int]]] = {}
    for qid, due in spool.entries():
        queued.setdefault(uid_of(qid), []).append((qid, due))
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.scandir(f"{spool.path}/drop") as names:
        for each in names:
            try:
                fd = os.open(each.path, flags)
            except OSError:
                continue
            try:
                uid = os.fstat(fd).st_uid
                if each.name == f"u{uid}":
                    _write_status(fd, uid, _told(spool, queued.get(uid, [])))
            except OSError:
                continue  # its owner plays tricks, or has just been here
            finally:
                os.close(fd)


def _told(spool: Spool, entries: list[tuple[str, int]]) -> bytes:
    """Return what a user is told of these messages, as much as LIMIT holds."""
    packed: list[bytes] = []
    room = LIMIT
    for qid, due in entries:
        try:
            packed.append(_packed(spool, qid, due))
        except (OSError, DataError):
            continue  # delivered or set aside meanwhile
        room -= len(packed[-1])
        if room < 0:
            break
    return b"".join(packed)


def _packed(spool: Spool, qid: str, due: int) -> bytes:
    fd = os.open(f"{spool.queue}/{qid}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        data = start(fd)
        head = Head(data)
        tail = read_at(fd, 1 << 16, head.tail)
        return pack(data[: head.body], due, qid, tail)
    finally:
        os.close(fd)


def _write_status(directory: int, uid: int, data: bytes) -> None:
    """Replace `.status` in a directory that belongs to somebody else."""
    # A rest of a killed run goes too, whether there is anything to tell or not.
    for name in (".status.new",) if data else (".status.new", ".status"):
        try:
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            continue
    if not data:
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(".status.new", flags, 0o600, dir_fd=directory)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fchown(fd, uid, -1)
    finally:
        os.close(fd)
    os.rename(".status.new", ".status", src_dir_fd=directory, dst_dir_fd=directory)
