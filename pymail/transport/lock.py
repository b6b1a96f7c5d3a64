"""The locks of a mailbox file that every mail program of Debian takes: fcntl, then FILE.lock.

The dotlock is done without where its directory does not let us make one.  It names its process,
so that one whose owner was killed holds nobody up (as liblockfile has it).
"""

import contextlib
import errno
import fcntl
import os
import time

LOCK_WAIT = 15.0
"""Seconds to wait for another program's lock before the message is deferred."""

STALE = 300
"""Age in seconds of a dotlock whose owner must have died (as in Debian's liblockfile)."""


class BusyError(Exception):
    """Another program holds a lock."""


class Lock:
    """Both locks of the open mailbox at `path`, held for the length of a `with` block.

    Raise BusyError where they cannot be had within LOCK_WAIT.
    """

    def __init__(self, fd: int, path: bytes) -> None:
        self._fd = fd
        self._path = os.path.realpath(path) + b".lock"
        self._deadline = time.monotonic() + LOCK_WAIT
        self._dotted = False

    def __enter__(self) -> None:
        while not self._lock():
            self._wait("the file is locked")
        while not self._dot():
            self._wait("its dotlock exists")

    def __exit__(self, *_: object) -> None:
        if self._dotted:
            # Missing: taken for stale by another program; we are done anyway.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)

    def _wait(self, why: str) -> None:
        if time.monotonic() > self._deadline:
            raise BusyError(why)
        time.sleep(0.1)

    def _lock(self) -> bool:
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            if error.errno == errno.ENOLCK:
                return True  # NFS without a lock daemon: the dotlock has to do
            raise
        return True

    def _dot(self) -> bool:
        """Make the dotlock; say whether it is ours, or cannot be and is done without."""
        try:
            self._make()
        except FileExistsError:
            self._break()
            return False
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG):
                return True
            raise
        return True

    def _make(self) -> None:
        """Make the dotlock, where that can be with our process in it from the beginning.

        One that a killed process has left empty would hold everybody up until it is stale.
        """
        folder = os.open(os.path.dirname(self._path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                fd = os.open(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=folder)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
                    raise
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                fd = os.open(self._path, flags, 0o600)
                self._dotted = True
            # On a full disk: a lock that does not name its owner is a lock too.
            with contextlib.suppress(OSError):
                os.write(fd, b"%d\n" % os.getpid())
            try:
                if not self._dotted:
                    os.link(f"/proc/self/fd/{fd}", self._path, dst_dir_fd=folder)
                    self._dotted = True
            finally:
                os.close(fd)
        finally:
            os.close(folder)

    def _break(self) -> None:
        """Remove a dotlock that is old, or whose process is dead."""
        try:
            with open(self._path, "rb") as file:
                owner = file.read(20).strip()
            old = time.time() - os.lstat(self._path).st_mtime > STALE
            if old or (owner.isdigit() and not _lives(int(owner))):
                os.unlink(self._path)
        except OSError:
            return  # gone by now, or not ours to remove: the deadline decides


def verify(fd: int, path: str | bytes) -> None:
    """Raise BusyError where the file that is open, and locked by now, is not at `path` any more."""
    if not os.path.samestat(os.fstat(fd), os.stat(path)):
        raise BusyError("the file was exchanged meanwhile")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # another user's
    return True
