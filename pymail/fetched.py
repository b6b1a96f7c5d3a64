"""What was fetched from an account: one file, which a crash cannot hurt.

    STATE/NAME          one line a message, appended and synced: seconds, key, digest of its text;
                        " -" behind it: it was deleted on the server; "# PROTOCOL SERVER USER":
                        who has the messages of the lines behind it
    STATE/.NAME.lock    held by the one fetch that runs
    STATE/.NAME.new     a shorter record that is being written
    STATE/.NAME.complaint           what cron was told last: see complaint.py
    STATE/.NAME.complaint.warnings  the same, of single messages

No name of an account begins with a dot, so no two of them share a file.

Another server, or user, may give the same keys to other messages: where the account has changed,
nothing counts as fetched any more, but what the same user has in a folder of IMAP whose UIDVALIDITY
is a time: that is the same folder under another name of the server.
Some POP3 servers give the key of a deleted message to a new one: the digest tells them apart.

A line without its end was not finished: its message was not recorded.
"""

import fcntl
import os
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping

from pymail import durable
from pymail.errors import TempError, printable
from pymail.spool import Spool, make_directory

WORTH = 10_000
"""Lines about messages that are gone which are worth a new file."""

_TIMED = re.compile(r"[^:]+:[1-9][0-9]{9}:[0-9]+")
"""A key of IMAP with a UIDVALIDITY that is a time."""

_DIGITS = 18
"""Of a time; more of them are none."""


def place(spool: Spool, home: str) -> str:
    """Return the directory of the records of the user whose home this is."""
    return f"{home}/.local/state/pymail/fetch" if spool.system else f"{spool.path}/fetch"


def files(folder: str, name: str) -> list[str]:
    """Return the files of an account, all of which may be there."""
    beside = [f"{folder}/.{name}.{end}" for end in ("lock", "new", "complaint")]
    return [f"{folder}/{name}", *beside, f"{beside[-1]}.warnings"]


class Fetched:
    """The record of one account, under its lock.  TempError where another fetch has it."""

    def __init__(self, folder: str, name: str, whose: str) -> None:
        """Open it; `whose` says protocol, server and user, in one line."""
        self._whose = f"# {printable(whose)}"
        self._path = f"{folder}/{name}"
        self._beside = f"{folder}/.{name}"
        self._times: dict[str, int] = {}
        self._digests: dict[str, str] = {}
        self._deleted: dict[str, str] = {}
        self._file = self._lock = -1
        try:
            os.close(make_directory(folder))
            self._lock = _open(f"{self._beside}.lock", os.O_RDWR)
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

    def digest(self, key: str) -> str:
        """Return the digest of a message that was fetched, or was and is deleted; "" for none."""
        return self._digests.get(key) or self._deleted.get(key, "")

    def add(self, digests: Mapping[str, str]) -> None:
        """Record messages with their digests, "" for none; they are on the disk on return."""
        now = int(time.time())
        self._append(f"{now} {key} {digest}".rstrip() for key, digest in digests.items())
        self._times |= dict.fromkeys(digests, now)
        self._digests |= digests

    def retire(self, keys: Collection[str]) -> None:
        """Record that messages are about to be deleted: who is called so later is another.

        One that is not deleted after all is fetched again, and known by its digest.
        """
        self._append(f"{self._times[key]} {key} {self._digests[key] or '?'} -" for key in keys)
        for key in keys:
            del self._times[key]
            self._deleted[key] = self._digests.pop(key)

    def restore(self, times: Mapping[str, int]) -> None:
        """Record again, as fetched at these times, what was retired and was not deleted."""
        if not times:
            return
        self._append(f"{when} {key} {self._deleted[key]}".rstrip() for key, when in times.items())
        for key, when in times.items():
            self._times[key] = when
            self._digests[key] = self._deleted.pop(key)

    def _append(self, lines: Iterable[str]) -> None:
        text = "".join(f"{line}\n" for line in lines)
        try:
            _write(self._file, text.encode("utf-8", "surrogateescape"))
            os.fsync(self._file)
        except OSError as error:
            raise _trouble(self._path, error) from None

    def keep(self, present: Collection[str]) -> None:
        """Forget what is not on the server any more, once that is worth a new file.

        A server that shows nothing at all may have lost its mail for a while only.
        """
        kept = {key: self._times[key] for key in (present or self._times) if key in self._times}
        if len(self._times) - len(kept) + len(self._deleted) <= len(present) + WORTH:
            return
        draft = f"{self._beside}.new"
        try:
            fd = _open(draft, os.O_RDWR | os.O_TRUNC)
            try:
                lines = (f"{when} {key} {self._digests[key]}" for key, when in kept.items())
                text = "".join(f"{line.rstrip()}\n" for line in (self._whose, *lines))
                _write(fd, text.encode("utf-8", "surrogateescape"))
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(draft, self._path)
            durable.sync(os.path.dirname(self._path))
            os.close(self._file)
            self._file = -1
            self._file = _open(self._path, os.O_RDWR | os.O_APPEND)
            self._times, self._deleted = kept, {}
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
            durable.sync(os.path.dirname(self._path))
        whose = ""
        for line in whole.decode("utf-8", "surrogateescape").split("\n"):
            if line.startswith("# "):
                whose = self._turn(whose, line)
                continue
            when, key, digest, mark = (*line.split(" "), "", "", "")[:4]
            if not key or not when.isdecimal() or len(when) > _DIGITS:
                continue
            if mark == "-":
                self._times.pop(key, 0)
                self._digests.pop(key, "")
                self._deleted[key] = digest
            else:
                self._times[key], self._digests[key] = int(when), digest
                self._deleted.pop(key, "")
        if self._turn(whose, self._whose) != whose:
            self._append([self._whose])

    def _turn(self, before: str, whose: str) -> str:
        """Go over to another server or user, who may have other messages under the same keys."""
        if before and whose != before:
            same = whose.split(" ", 3)[3:] == before.split(" ", 3)[3:]
            for key in [key for key in self._times if not (same and _TIMED.fullmatch(key))]:
                del self._times[key]
                self._deleted[key] = self._digests.pop(key)
        return whose


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _trouble(path: str, error: OSError) -> TempError:
    return TempError(f"cannot record in {path} what was fetched: {error.strerror}")
