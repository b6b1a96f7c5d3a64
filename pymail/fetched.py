"""What was fetched from an account: one file, which a crash cannot hurt.

    STATE/NAME          one line a message: seconds, blank, key; appended and synced
    STATE/NAME.lock     held by the one fetch that runs

A line without its end was not finished: its message was not recorded.
"""

import fcntl
import os
import time
from collections.abc import Collection, Iterator

from pymail.errors import TempError
from pymail.spool import make_directory

WORTH = 10_000
"""Lines about messages that are gone which are worth a new file."""

_DIGITS = 18
"""Of a time; more of them are none."""


class Fetched:
    """The record of one account, under its lock.  TempError where another fetch has it."""

    def __init__(self, folder: str, name: str) -> None:
        self._path = f"{folder}/{name}"
        self._times: dict[str, int] = {}
        self._file = self._lock = -1
        try:
            os.close(make_directory(folder))
            self._lock = _open(f"{self._path}.lock", os.O_RDWR)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file = _open(self._path, os.O_RDWR | os.O_APPEND)
            self._load()
        except BlockingIOError:
            self.close()
            raise TempError(f"cannot fetch {name}: another fetch of it is running") from None
        except OSError as error:
            self.close()
            raise _trouble(self._path, error) from None

    def __contains__(self, key: str) -> bool:
        """Say whether a message was fetched."""
        return key in self._times

    def __iter__(self) -> Iterator[str]:
        """Yield every message."""
        return iter(self._times)

    def time(self, key: str) -> int:
        """Return when a message was fetched, in seconds."""
        return self._times[key]

    def add(self, keys: Collection[str]) -> None:
        """Record messages; they are on the disk on return."""
        now = int(time.time())
        lines = "".join(f"{now} {key}\n" for key in keys).encode("utf-8", "surrogateescape")
        try:
            _write(self._file, lines)
            os.fsync(self._file)
        except OSError as error:
            raise _trouble(self._path, error) from None
        self._times |= dict.fromkeys(keys, now)

    def keep(self, present: Collection[str]) -> None:
        """Forget what is not on the server any more, once that is worth a new file.

        A server that shows nothing at all may have lost its mail for a while only.
        """
        gone = len(self._times) - sum(key in self._times for key in present)
        if not present or gone <= len(present) + WORTH:
            return
        kept = {key: self._times[key] for key in present if key in self._times}
        draft = f"{self._path}.new"
        try:
            fd = _open(draft, os.O_RDWR | os.O_TRUNC)
            try:
                text = "".join(f"{when} {key}\n" for key, when in kept.items())
                _write(fd, text.encode("utf-8", "surrogateescape"))
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(draft, self._path)
            _sync(os.path.dirname(self._path))
            os.close(self._file)
            self._file = -1
            self._file = _open(self._path, os.O_RDWR | os.O_APPEND)
            self._times = kept
        except OSError as error:
            raise _trouble(self._path, error) from None

    def close(self) -> None:
        """Let go of it."""
        for fd in (self._file, self._lock):
            if fd >= 0:
                os.close(fd)
        self._file = self._lock = -1

    def _load(self) -> None:
        size = os.fstat(self._file).st_size
        data = b""
        while len(data) < size:
            piece = os.pread(self._file, size - len(data), len(data))
            if not piece:
                break
            data += piece
        whole, end, torn = data.rpartition(b"\n")
        if torn:
            os.ftruncate(self._file, len(whole) + len(end))
        if not data:
            _sync(os.path.dirname(self._path))
        for line in whole.decode("utf-8", "surrogateescape").split("\n"):
            when, _, key = line.partition(" ")
            if key and when.isdecimal() and len(when) <= _DIGITS:
                self._times[key] = int(when)


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _sync(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _trouble(path: str, error: OSError) -> TempError:
    return TempError(f"cannot record in {path} what was fetched: {error.strerror}")
