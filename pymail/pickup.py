"""Adopt what users have dropped: root's side of the drop directory.

Everything below drop/ belongs to somebody who may be hostile, acts at the same time, and owns
the file.  So: every name is used once, relative to a directory descriptor; a file counts by its
descriptor, never by its path; it is linked into the root-only queue first and judged there; who
sent it is the owner of the file, whatever the file says.

    drop/u1000/ID  --link-->  queue/.u1000,ID  --unlink drop, chown, chmod, lease-->  queue/ID

No copy is made unless somebody still has the file open for writing, or another name for it; and
then only of a file whose length is that of a message.  A copy has the holes of the file, so that
the disk that root pays for is never more than its owner had paid for.
"""

import errno
import fcntl
import os
import stat
import time

from pymail.errors import DataError
from pymail.queuefile import FIXED, is_id, read_at, uid_of, whole
from pymail.spool import Spool, kept_for, listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Warn = Callable[[str], None]

MOST_QUEUED = 20000
"""Messages of one user in the queue; the rest waits in the drop directory."""

_LARGEST = 50 << 20
_OVERHEAD = 16 << 20
STALE = 36 * 3600
"""Seconds after which a file that was never finished is swept."""

TURN = 5.0
"""Seconds for which one user is served while others may wait."""

_MOST_NAMES = 2
"""Of a file: its own, and one that a crash may have left beside it."""

_CHUNK = 1 << 20


class _Round:
    """What each user has in the queue, and for how many seconds a round has served each."""

    __slots__ = ("_queued", "_spent", "_turn")

    def __init__(self, turn: float) -> None:
        self._queued: dict[int, int] = {}
        self._spent: dict[int, float] = {}
        self._turn = turn

    def add(self, uid: int) -> None:
        """Count a message of a user in the queue."""
        self._queued[uid] = self._queued.get(uid, 0) + 1

    def serve(self, uid: int, seconds: float) -> None:
        """Count the time that a user was served for."""
        self._spent[uid] = self._spent.get(uid, 0.0) + seconds

    def is_full(self, uid: int) -> bool:
        """Say whether a user has as much in the queue as one may have."""
        return self._queued.get(uid, 0) >= MOST_QUEUED

    def is_over(self, uid: int) -> bool:
        """Say whether it is the turn of others."""
        return self._spent.get(uid, 0.0) > self._turn


def waiting(spool: Spool) -> bool:
    """Say whether anything lies in a drop directory, under a wrong name, or is half adopted."""
    for name in _names(f"{spool.path}/drop"):
        path = f"{spool.path}/drop/{name}"
        if _squatter(path, name) or any(is_id(file) for file in _names(path)):
            return True
    return any(name[0] == "." and "," in name for name in _names(spool.queue))


def adopt(spool: Spool, warn: "Warn", turn: float = TURN) -> list[str]:
    """Move everything that users have dropped into the queue; return the new queue ids.

    Users are served one after the other, each for `turn` seconds and at most MOST_QUEUED messages:
    the rest is for the next time.  What cannot be taken stays where it is and is told to warn().
    A name in drop/ that is another user's is given back to that user.
    """
    queue = os.open(spool.queue, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _recover(spool, queue)
        _give_back(spool, warn)
        served = _Round(turn)
        for each in _names(spool.queue):
            qid = each.removesuffix(".damaged")
            if is_id(qid):
                served.add(uid_of(qid))
        adopted: list[str] = []
        for name in _names(f"{spool.path}/drop"):
            adopted += _directory(spool, queue, name, served, warn)
        return adopted
    finally:
        os.close(queue)


def sweep(spool: Spool, now: int) -> None:
    """Delete what submissions that died long ago have left (where O_TMPFILE is missing)."""
    _sweep(spool.queue, now)
    for name in _names(f"{spool.path}/drop") if spool.system else ():
        _sweep(f"{spool.path}/drop/{name}", now)


def _sweep(place: str, now: int) -> None:
    for directory, name in _listed(place):
        if name[0] == "." and is_id(name[1:]):
            _sweep_one(directory, name, now)


def _sweep_one(directory: int, name: str, now: int) -> None:
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode) and status.st_mtime < now - STALE:
            os.unlink(name, dir_fd=directory)
    except OSError:
        return  # its owner was faster


def _names(path: str) -> "Iterator[str]":
    """Yield the names in a directory, one at a time: users can make millions of them."""
    return (name for _, name in _listed(path))


def _listed(path: str) -> "Iterator[tuple[int, str]]":
    """Yield the names in a directory, each with the descriptor of the directory."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        with os.scandir(fd) as found:
            for each in found:
                yield fd, each.name
    finally:
        os.close(fd)


def _squatter(path: str, name: str) -> os.stat_result | None:
    """Return what is at a path in drop/ whose name is kept for another user, else None."""
    uid = kept_for(name)
    if uid < 0:
        return None
    try:
        status = os.lstat(path)
    except OSError:
        return None  # gone by itself
    return None if status.st_uid == uid else status


def _give_back(spool: Spool, warn: "Warn") -> None:
    """Move what has the name of another user's directory away, and make that user's own.

    Mail in it is its owner's, and is adopted as such; but only under the plain name does the other
    user find again what was fetched, and the list that flush makes for mailq.
    """
    for name in _names(f"{spool.path}/drop"):
        path, uid = f"{spool.path}/drop/{name}", kept_for(name)
        status = _squatter(path, name)
        if status is None:
            continue
        aside = f"{spool.path}/drop/u{status.st_uid}.{os.urandom(8).hex()}"
        try:
            os.rename(path, aside)
            if not os.path.samestat(os.lstat(aside), status):
                os.rename(aside, path)  # the owner was faster, and this is the right one
                continue
            warn(f"uid {status.st_uid} had taken {path}, which is for uid {uid}: given back")
            _make_for(uid, path)
        except OSError as error:
            warn(f"cannot give {path} back to uid {uid}: {error.strerror}")


def _make_for(uid: int, path: str) -> None:
    import pwd  # noqa: PLC0415 -- nobody squats

    try:
        gid = pwd.getpwuid(uid).pw_gid
    except KeyError:
        return
    os.mkdir(path, 0o700)  # drop/ is sticky: nobody else can put another in its place
    os.chown(path, uid, gid, follow_symlinks=False)


def _directory(spool: Spool, queue: int, name: str, served: _Round, warn: "Warn") -> list[str]:
    path = f"{spool.path}/drop/{name}"
    try:
        drop = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        warn(f"cannot use {path}: {error.strerror}")
        return []
    try:
        status = os.fstat(drop)
        uid = status.st_uid
        if status.st_mode & 0o022:
            warn(f"cannot use {path}: others may write to it; its owner must chmod 700 it")
            return []
        largest = max(_LARGEST, spool.size_limit() + _OVERHEAD)
        adopted = []
        files = listed(drop)
        for file in files:
            if served.is_full(uid):
                warn(f"cannot take more mail of uid {uid}: {MOST_QUEUED} are queued")
                break
            if served.is_over(uid):
                break
            began = time.monotonic()
            try:
                if _file(queue, drop, f"{name},{file}", uid, largest, warn):
                    adopted.append(file)
                    served.add(uid)
            except OSError as error:
                warn(f"cannot take {path}/{file}: {error.strerror}")
            served.serve(uid, time.monotonic() - began)
        if adopted or not files:
            _remove_spare(spool, name)
        return adopted
    finally:
        os.close(drop)


def _remove_spare(spool: Spool, name: str) -> None:
    """Remove an emptied directory that was made only because the plain name was taken."""
    if "." in name:
        try:
            os.rmdir(f"{spool.path}/drop/{name}")
        except OSError:
            return  # not empty again


def _file(queue: int, drop: int, temporary: str, uid: int, largest: int, warn: "Warn") -> bool:
    """Adopt one file; return False where it is not, or not yet, a message of that user."""
    file = temporary.partition(",")[2]
    temporary = f".{temporary}"
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        fd = os.open(file, flags, dir_fd=drop)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a symlink, a socket
            return False
        raise
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False  # still being submitted, or in another flush's hand
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != uid or uid_of(file) != uid:
            return False
        if status.st_size > largest:
            warn(f"cannot take a message of uid {uid}: larger than {largest} bytes")
            return False
        if status.st_nlink > _MOST_NAMES:
            warn(f"cannot take a message of uid {uid}: its file has more than {_MOST_NAMES} names")
            return False
        if not 0 < _end(fd) <= status.st_size and not (status.st_nlink == 1 and _alone(fd)):
            why = "its file is damaged, and is open or has another name"
            warn(f"cannot take a message of uid {uid}: {why}")
            return False
        return _take(queue, drop, fd, status, file, temporary)
    finally:
        os.close(fd)


def _take(
    queue: int, drop: int, fd: int, status: os.stat_result, file: str, temporary: str
) -> bool:
    try:
        os.link(file, temporary, src_dir_fd=drop, dst_dir_fd=queue, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except FileExistsError:
        return False  # another flush, or a rest that the next recovery clears
    here = os.stat(temporary, dir_fd=queue, follow_symlinks=False)
    if (here.st_dev, here.st_ino) != (status.st_dev, status.st_ino):
        os.unlink(temporary, dir_fd=queue)  # swapped since we looked
        return False
    try:
        os.unlink(file, dir_fd=drop)
    except FileNotFoundError:
        pass  # its owner withdraws it: too late
    except OSError:
        os.unlink(temporary, dir_fd=queue)
        raise
    _finish(queue, fd, file, temporary)
    return True


def _finish(queue: int, fd: int, file: str, temporary: str) -> None:
    """Make the linked file ours alone and give it its queue id."""
    ours = os.fstat(fd).st_nlink == 1
    if ours:
        os.fchown(fd, 0, 0)
        os.fchmod(fd, 0o600)
        ours = _alone(fd)
    if not ours:
        _copy(queue, fd, file)
        os.unlink(temporary, dir_fd=queue)
        return
    _cut(fd)
    os.utime(fd)
    os.rename(temporary, file, src_dir_fd=queue, dst_dir_fd=queue)


def _cut(fd: int) -> None:
    """Take away what follows the message: the tail is ours to write, and its length ours."""
    if 0 < (end := _end(fd)) < os.fstat(fd).st_size:
        os.truncate(f"/proc/self/fd/{fd}", end)


def _end(fd: int) -> int:
    """Return where the message ends, 0 for a damaged file: flush sets it aside."""
    try:
        return whole(read_at(fd, FIXED, 0))
    except DataError:
        return 0


def _alone(fd: int) -> bool:
    """Say whether nobody has the file open or mapped for writing: only then a lease is given."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return False
    return True


def _copy(queue: int, fd: int, file: str) -> None:
    """Copy the message in a file that is not ours alone, and the holes of it as holes.

    Its writer can garble the copy: the CRC tells.
    """
    name = f".{file}"
    try:
        os.unlink(name, dir_fd=queue)
    except FileNotFoundError:
        pass
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    out = os.open(name, flags, 0o600, dir_fd=queue)
    try:
        size = min(_end(fd), os.fstat(fd).st_size)
        for begin, end in _data(fd, size):
            _copy_part(out, fd, begin, end)
        os.ftruncate(out, size)
        _cut(out)
        os.fsync(out)
    except OSError:
        os.unlink(name, dir_fd=queue)
        raise
    finally:
        os.close(out)
    os.rename(name, file, src_dir_fd=queue, dst_dir_fd=queue)
    os.fsync(queue)


def _copy_part(out: int, fd: int, at: int, end: int) -> None:
    os.lseek(out, at, os.SEEK_SET)
    while at < end and (piece := os.pread(fd, min(_CHUNK, end - at), at)):
        at += len(piece)
        while piece:
            piece = piece[os.write(out, piece) :]


def _data(fd: int, size: int) -> "Iterator[tuple[int, int]]":
    """Yield begin and end of what is no hole in the first `size` bytes of a file."""
    end = 0
    while end < size:
        try:
            begin = os.lseek(fd, end, os.SEEK_DATA)
            end = min(os.lseek(fd, begin, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # a hole up to the end, or cut off since
            raise
        yield begin, end


def _recover(spool: Spool, queue: int) -> None:
    """Finish adoptions that a killed flush has left half done."""
    for name in list(_names(spool.queue)):
        if name[0] != "." or "," not in name:
            continue
        directory, _, file = name[1:].partition(",")
        if not is_id(file) or "/" in directory:
            continue
        try:
            fd = os.open(
                name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=queue
            )
        except OSError:
            continue  # another flush was faster
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink and not _still_dropped(spool, fd, directory, file):
                _finish(queue, fd, file, name)
            else:
                os.unlink(name, dir_fd=queue)
        except OSError:
            continue  # busy, or trouble that the next run meets again
        finally:
            os.close(fd)


def _still_dropped(spool: Spool, fd: int, directory: str, file: str) -> bool:
    """Say whether the drop directory has the file yet, so that it is simply adopted again."""
    try:
        there = os.stat(f"{spool.path}/drop/{directory}/{file}", follow_symlinks=False)
    except OSError:
        return False
    here = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
