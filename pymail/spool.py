"""The spool: its directories, and how a message gets in.

SPOOL/drop/             root 1733   system mode: nobody can list it
u1000/              1000 0700   made by that user's first mail; its OWNER is the sender
.status                     what root's flush tells that user's mailq
SPOOL/queue/            0700        what flush works on
ID                              one file per message: queuefile.py
.ID                             being written where O_TMPFILE is missing
.fetch-ACCOUNT-MESSAGE-ID       fetched, not yet recorded; in drop/ too
.DIRECTORY,ID                   being adopted from drop/DIRECTORY
ID.damaged                      set aside
.boot                           the boot during which the last flush ran
.warned                         what the log was warned of in the last run
SPOOL/message_size_limit            bytes, where it is not the default
"""

import errno
import os

from pymail.draft import Draft, trouble, unopened
from pymail.envelope import Envelope
from pymail.errors import DataError, TempError
from pymail.paths import INLET, SYSTEM_SPOOL
from pymail.queuefile import MOST_RECIPIENTS, TODO, is_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DEFAULT_SIZE_LIMIT = 10240000
"""Bytes."""

MOST_LISTED = 1 << 15
"""Messages that are seen at once in a directory whose owner may have put any number there."""

_SQUATTED = (errno.EACCES, errno.ELOOP, errno.ENOTDIR)


def kept_for(name: str) -> int:
    """Return the uid that a name in drop/ is kept for, -1 for a name that anybody may take."""
    digits = name[1:]
    if name[:1] != "u" or not (digits.isascii() and digits.isdecimal() and len(digits) <= 10):
        return -1
    return int(digits) if name == f"u{int(digits)}" else -1


def listed(directory: int) -> list[str]:
    """Return the queue ids in a directory, sorted, at most MOST_LISTED; no other name is kept."""
    found: list[str] = []
    with os.scandir(directory) as names:
        for each in names:
            if is_id(each.name):
                found.append(each.name)
                if len(found) == MOST_LISTED:
                    break
    found.sort()
    return found


class Spool:
    """A spool directory.  `system` says whether it serves every user of the machine.

    The time of change of the directory `cron`, if there is one, is when folding.py has to act.
    """

    __slots__ = ("cron", "path", "queue", "system")

    def __init__(self, path: str) -> None:
        self.path = path
        self.queue = f"{path}/queue"
        self.cron = f"{path}/cron"
        self.system = os.path.isdir(f"{path}/drop")

    def draft(self, envelope: Envelope) -> Draft:
        """Open a message for writing.  Raise TempError where the spool cannot take it."""
        if len(envelope.recipients) > MOST_RECIPIENTS:
            raise DataError(f"cannot queue message: more than {MOST_RECIPIENTS} recipients")
        return Draft(self._own_directory, envelope)

    def reach(self) -> None:
        """Raise SealedError where no mail of ours can come in, TempError for other trouble."""
        try:
            os.close(self._own_directory())
        except OSError as error:
            raise unopened(error) from None

    def submit(self, envelope: Envelope, data: bytes) -> str:
        """Queue a whole message; return its id.  It survives a power cut on return."""
        draft = self.draft(envelope)
        draft.write(data)
        return draft.commit()

    def insert(self, qid: str, envelope: Envelope, data: bytes, state: bytes = TODO) -> bool:
        """Queue a message of our own under a given id; return False where it is there already.

        For bounces: the id follows from the message that failed, so that it is made once.
        """
        draft = Draft(lambda: _directory(self.queue), envelope, qid=qid, state=state)
        draft.write(data)
        return bool(draft.commit())

    def hide(self, envelope: Envelope) -> Draft:
        """Open a message that is to be committed under a hidden name.  TempError as draft()."""
        return Draft(self._lasting_directory, envelope)

    def settle(self) -> None:
        """Make what was committed under hidden names durable."""
        self._change(lambda _: None)

    def release(self, names: "Iterable[tuple[str, str]]") -> None:
        """Let flush have messages that were committed under hidden names: (hidden, id) of each.

        Those that are gone were released before.
        """

        def rename(directory: int) -> None:
            for hidden, qid in names:
                try:
                    os.rename(hidden, qid, src_dir_fd=directory, dst_dir_fd=directory)
                except FileNotFoundError:
                    continue

        self._change(rename)

    def withdraw(self, names: "Iterable[str]") -> None:
        """Remove messages that were committed under hidden names."""

        def remove(directory: int) -> None:
            for hidden in names:
                os.unlink(hidden, dir_fd=directory)

        self._change(remove)

    def hidden(self, prefix: str) -> list[str]:
        """Return the hidden names of our own that begin with `prefix`."""
        found: list[str] = []
        self._change(
            lambda directory: found.extend(
                name for name in os.listdir(directory) if name.startswith(prefix)
            )
        )
        return found

    def _change(self, act: "Callable[[int], object]") -> None:
        """Act on the directory that our own mail comes into, and sync it."""
        try:
            directory = self._lasting_directory()
            try:
                act(directory)
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise trouble(error) from None

    def entries(self) -> "list[tuple[str, int]]":
        """Return (id, next attempt in seconds) of every message in the queue, oldest first."""
        found: list[tuple[str, int]] = []
        try:
            # A fresh descriptor each time: on btrfs one that was read once shows nothing new.
            with os.scandir(self.queue) as names:
                for name in names:
                    if is_id(name.name):
                        try:
                            due = int(name.stat(follow_symlinks=False).st_mtime)
                        except FileNotFoundError:
                            continue  # another flush was faster
                        found.append((name.name, due))
        except FileNotFoundError:
            return []  # nobody has sent anything yet
        except OSError as error:
            raise TempError(f"cannot read {self.queue}: {error.strerror}") from None
        found.sort()
        return found

    def size_limit(self) -> int:
        """Return message_size_limit in bytes as flush has published it, 0 for none."""
        try:
            with open(f"{self.path}/message_size_limit", encoding="ascii") as file:
                limit = int(file.read(20))
        except (OSError, ValueError):
            return DEFAULT_SIZE_LIMIT
        return limit if limit >= 0 else DEFAULT_SIZE_LIMIT

    def drop_directory(self, uid: int) -> str:
        """Return the name of the directory that a user's mail is dropped in."""
        return f"{self.path}/drop/u{uid}"

    def _lasting_directory(self) -> int:
        """Open the directory that our own mail comes into, if it is the one of the last time.

        Where somebody else has taken its name, that is so once root's flush has given it back.
        """
        directory = self._own_directory()
        if self.system and os.geteuid() != 0:
            path = self.drop_directory(os.geteuid())
            if not os.path.samestat(os.fstat(directory), os.lstat(path)):
                os.close(directory)
                raise PermissionError(errno.EPERM, "directory is not ours before flush ran", path)
        return directory

    def _own_directory(self) -> int:
        uid = os.geteuid()
        if not self.system:
            if self.path == SYSTEM_SPOOL and os.path.exists(INLET):
                raise FileNotFoundError(errno.ENOENT, "spool is out of sight", self.path)
            return make_directory(self.queue)
        if uid == 0:
            return _directory(self.queue)
        # The plain name may be squatted; the owner of the directory is what counts.
        path = self.drop_directory(uid)
        for suffix in ("", f".{os.urandom(8).hex()}"):
            path += suffix
            try:
                os.mkdir(path, 0o700)
            except FileExistsError:
                pass
            try:
                fd = _directory(path)
            except OSError as error:
                if suffix or error.errno not in _SQUATTED:
                    raise
                continue
            status = os.fstat(fd)
            if status.st_uid == uid:
                if status.st_mode & 0o777 != 0o700:
                    os.fchmod(fd, 0o700)
                return fd
            os.close(fd)
        raise PermissionError(errno.EPERM, "directory is not ours", path)


def _directory(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def make_directory(path: str) -> int:
    """Open a directory of our own, made where it is missing; a new one is made durable."""
    try:
        return _directory(path)
    except FileNotFoundError:
        path = os.path.abspath(path)  # the parents of "spool" end at "", not at "/"
        missing = [path]
    while not os.path.isdir(os.path.dirname(missing[-1])):
        missing.append(os.path.dirname(missing[-1]))
    for each in reversed(missing):
        try:
            os.mkdir(each, 0o700)
        except FileExistsError:
            continue  # two first mails at once
        parent = os.open(os.path.dirname(each), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
    return _directory(path)
