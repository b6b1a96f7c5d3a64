"""The spool: its directories, the format of a queue file, and how a message gets in.

    SPOOL/drop/             root 1733   system mode: nobody can list it
        u1000/              1000 0700   made by that user's first mail; its OWNER is the sender
            .status                     what root's flush tells that user's mailq
    SPOOL/queue/            0700        what flush works on
        ID                              one file per message
        .ID                             being written where O_TMPFILE is missing
        .fetch-ACCOUNT-MESSAGE-ID       fetched, not yet recorded; in drop/ too
        .DIRECTORY,ID                   being adopted from drop/DIRECTORY
        ID.damaged                      set aside
        .boot                           the boot during which the last flush ran
        .warned                         what the log was warned of in the last run
    SPOOL/message_size_limit            bytes, where it is not the default

A queue file is written once; only the marks and the end change afterwards.

    64 bytes    "pymail1", number of recipients, length of envelope, length of message, CRC-32,
                arrival in microseconds; all but the CRC itself under the CRC
    marks       one flag, attempts (two hexadecimal digits), one state a recipient, LF;
                overwritten in place
    envelope    see envelope.py                                             under the CRC
    message     as the caller gave it, LF line ends                         under the CRC
    tail        appended, one line an outcome: seconds, recipient, status, DSN, target, words
    mtime       the next attempt

The commit is: write, link to the final name, fsync the file, fsync the directory.  The link
comes before the fsync, so that the one fsync makes content and name durable together on ext4,
xfs and btrfs; "write, fsync, rename" without the directory's fsync loses acknowledged mail at a
power cut on all three.
"""

import errno
import fcntl
import os
import time
from binascii import crc32

from pymail.envelope import Envelope, decode, encode
from pymail.errors import DataError, SealedError, TempError
from pymail.paths import INLET, SYSTEM_SPOOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAGIC = b"pymail1 "
FIXED = 64
MARKS = 4
"""Bytes of the marks besides the states: flag, attempts, attempts, LF."""

TODO = b"t"
ATTEMPTED = b"a"  # in doubt: it may have been delivered
DELIVERED = b"d"
REPORTED = b"r"  # failed, and the sender was told
CANCELLED = b"c"
HELD = b"h"
STATES = b"tadrch"
OPEN = b"tah"
"""States in which the recipient still waits for something."""

NEW, SEEN, WARNED = b"-", b"s", b"w"
"""The flag: logged as arrived; the sender was told of the delay."""

NEVER = 0x7FFFFFFF
"""The mtime of a message that is held: the latest that every file system can keep."""

MOST_DIGITS = 20
"""Length of a number in a tail, which the sender of the message may have written."""

MOST_SHOWN = 1 << 20
"""Bytes of a tail that mailq reads."""

DEFAULT_SIZE_LIMIT = 10240000
MOST_RECIPIENTS = 100000
ENVELOPE_LIMIT = 1 << 22
"""Bytes; a larger envelope is no message of ours but an attempt to fill our memory."""

MOST_LISTED = 1 << 15
"""Messages that are seen at once in a directory whose owner may have put any number there."""

_CHUNK = 1 << 15
LATER = "; try again later"
_SEALED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT)
_SQUATTED = (errno.EACCES, errno.ELOOP, errno.ENOTDIR)

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TIME, _RANDOM = 9, 7
"""Digits to the base 62: microseconds until 2398, and 40 random bits."""


def make_id(microseconds: int, random: bytes, uid: int) -> str:
    """Return a queue id: time, 40 random bits, uid.  Ids sort by arrival."""
    noise = int.from_bytes(random[:5], "big")
    return _base62(microseconds, _TIME) + _base62(noise, _RANDOM) + _base62(uid, 1)


def is_id(name: str) -> bool:
    """Say whether `name` has the form of a queue id."""
    tail = name[_TIME + _RANDOM :]
    if not (1 <= len(tail) <= 6 and name.isascii() and name.isalnum()):
        return False
    return tail == "0" or tail[0] != "0"


def uid_of(qid: str) -> int:
    """Return the uid that a queue id carries."""
    return _number(qid[_TIME + _RANDOM :])


def time_of(qid: str) -> int:
    """Return the arrival that a queue id carries, in seconds."""
    return _number(qid[:_TIME]) // 1000000


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


def _base62(number: int, width: int) -> str:
    digits = ""
    while number or len(digits) < width:
        number, digit = divmod(number, 62)
        digits = _DIGITS[digit] + digits
    return digits


def _number(digits: str) -> int:
    number = 0
    for digit in digits:
        number = number * 62 + _DIGITS.index(digit)
    return number


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

    @staticmethod
    def length(fixed: bytes) -> int:
        """Return how many bytes come before the message, from the first 64 of the file."""
        try:
            count, length = int(fixed[8:14], 16), int(fixed[15:23], 16)
        except ValueError:
            raise DataError("damaged queue file") from None
        if not 0 < count <= MOST_RECIPIENTS or not 0 < length <= ENVELOPE_LIMIT:
            raise DataError("damaged queue file")
        return FIXED + MARKS + count + length


def whole(fixed: bytes) -> int:
    """Return where the message ends, from the first 64 bytes of the file.  Raise DataError."""
    if len(fixed) < FIXED:
        raise DataError("damaged queue file")
    try:
        size = int(fixed[24:36], 16)
    except ValueError:
        raise DataError("damaged queue file") from None
    return Head.length(fixed) + max(size, 0)


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

    def draft(self, envelope: Envelope) -> "Draft":
        """Open a message for writing.  Raise TempError where the spool cannot take it."""
        if len(envelope.recipients) > MOST_RECIPIENTS:
            raise DataError(f"cannot queue message: more than {MOST_RECIPIENTS} recipients")
        return Draft(self._own_directory, envelope)

    def reach(self) -> None:
        """Raise SealedError where no mail of ours can come in, TempError for other trouble."""
        try:
            os.close(self._own_directory())
        except OSError as error:
            raise _unopened(error) from None

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

    def hide(self, envelope: Envelope) -> "Draft":
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
            raise _trouble(error) from None

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

    def read(self, qid: str) -> Entry | None:
        """Return an entry for showing, without its lock; None where it is gone or damaged."""
        try:
            return read(f"{self.queue}/{qid}", qid)
        except (FileNotFoundError, DataError):
            return None

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


def read_at(fd: int, size: int, offset: int) -> bytes:
    """Return `size` bytes at `offset`, fewer only where the file ends: a read may fall short."""
    data = os.pread(fd, size, offset)
    while 0 < len(data) < size and (more := os.pread(fd, size - len(data), offset + len(data))):
        data += more
    return data


def read(path: str, qid: str, directory: int | None = None) -> Entry:
    """Return the entry in the queue file `path`, which may be relative to a directory."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(path, flags, dir_fd=directory)
    try:
        data = read_at(fd, 4096, 0)
        need = Head.length(data)
        if need > len(data):
            data += read_at(fd, need - len(data), len(data))
        head = Head(data)
        status = os.fstat(fd)
        # The end of it, where the latest reasons are.
        start = max(head.tail, status.st_size - MOST_SHOWN)
        tail = read_at(fd, MOST_SHOWN, start)
        return Entry(qid, int(status.st_mtime), head, attempts(tail))
    finally:
        os.close(fd)


class Draft:
    """A message on its way into the spool.

    Nobody sees it before commit(); after commit() returned, it survives a power cut.  Every
    failure leaves nothing behind and is a TempError.
    """

    __slots__ = (
        "_buffer",
        "_buffered",
        "_crc",
        "_directory",
        "_envelope",
        "_fd",
        "_marks",
        "_name",
        "_offset",
        "_qid",
        "_temporary",
        "_time",
        "size",
    )

    def __init__(
        self,
        directory: "Callable[[], int]",
        envelope: Envelope,
        *,
        qid: str = "",
        state: bytes = TODO,
    ) -> None:
        encoded = encode(envelope)
        if len(encoded) > ENVELOPE_LIMIT:
            raise DataError(f"cannot queue message: recipients over {ENVELOPE_LIMIT} bytes")
        self._time = time.time_ns() // 1000
        self._qid = qid or make_id(self._time, os.urandom(5), envelope.uid)
        self._marks = NEW + b"00" + state * len(envelope.recipients) + b"\n"
        self._envelope = len(encoded)
        self._crc = crc32(encoded)
        self._buffer = [b" " * FIXED, self._marks, encoded]
        self._buffered = 0
        self._offset = 0
        self._temporary = self._name = ""
        self._directory = self._fd = -1
        self.size = 0
        mask = os.umask(0o077)
        try:
            self._directory = directory()
            self._fd = self._create()
        except OSError as error:
            self.abandon()
            raise _unopened(error) from None
        finally:
            os.umask(mask)

    @property
    def qid(self) -> str:
        """The id that the message will have."""
        return self._qid

    def write(self, data: bytes) -> None:
        """Append bytes of the message (LF line ends)."""
        self._buffer.append(data)
        self._buffered += len(data)
        self._crc = crc32(data, self._crc)
        self.size += len(data)
        if self._buffered > _CHUNK:
            try:
                self._flush()
            except OSError as error:
                self.abandon()
                raise _trouble(error) from None

    def commit(self, hidden: str = "") -> str:
        """Make the message durable and visible; return its id, "" where the id exists already.

        Under a name that is `hidden` nobody takes it, and it is durable once Spool.settle() was
        called, until Spool.release() renames it.
        """
        self._name = hidden or self._qid
        linked = False
        try:
            fixed = self._fixed()
            if self._offset:
                self._flush()
                _write(self._fd, fixed, 0)
            else:
                self._buffer[0] = fixed
                self._flush()
            self._link()
            linked = True
            os.fsync(self._fd)
            if not hidden:
                os.fsync(self._directory)
        except FileExistsError:
            self.abandon()
            return ""
        except OSError as error:
            if linked:
                self._withdraw()
            self.abandon()
            raise _trouble(error) from None
        self._close()
        return self._qid

    def abandon(self) -> None:
        """Forget the message; nothing of it stays."""
        if self._temporary:
            try:
                os.unlink(self._temporary, dir_fd=self._directory)
            except OSError:
                pass  # flush sweeps it when it is old
            self._temporary = ""
        self._close()

    def _fixed(self) -> bytes:
        count = len(self._marks) - MARKS
        before = b"%b%06x %08x %012x " % (MAGIC, count, self._envelope, self.size)
        after = b" %014x   \n" % self._time
        crc = crc32(after, crc32(before, self._crc))
        return before + b"%08x" % crc + after

    def _create(self) -> int:
        try:
            fd = os.open(
                ".", os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=self._directory
            )
            if os.path.lexists(f"/proc/self/fd/{fd}"):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return fd
            os.close(fd)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
                raise
        self._temporary = f".{self._qid}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self._temporary, flags, 0o600, dir_fd=self._directory)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return fd

    def _flush(self) -> None:
        data = self._buffer[0] if len(self._buffer) == 1 else b"".join(self._buffer)
        self._buffer = []
        self._buffered = 0
        _write(self._fd, data, self._offset)
        self._offset += len(data)

    def _link(self) -> None:
        if self._temporary:
            os.link(
                self._temporary,
                self._name,
                src_dir_fd=self._directory,
                dst_dir_fd=self._directory,
            )
            os.unlink(self._temporary, dir_fd=self._directory)
            self._temporary = ""
        else:
            os.link(f"/proc/self/fd/{self._fd}", self._name, dst_dir_fd=self._directory)

    def _withdraw(self) -> None:
        """Take back a name that was given before the message was durable."""
        try:
            os.unlink(self._name, dir_fd=self._directory)
        except OSError:
            # A disk that cannot even unlink: say in the file that nobody is to get it.
            count = len(self._marks) - MARKS
            try:
                os.pwrite(self._fd, CANCELLED * count, FIXED + 3)
            except OSError:
                return

    def _close(self) -> None:
        for fd in (self._fd, self._directory):
            if fd >= 0:
                try:
                    os.close(fd)
                except OSError:
                    pass  # after fsync the message is safe whatever close says
        self._fd = self._directory = -1


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view = view[done:]
        offset += done


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


def _unopened(error: OSError) -> TempError:
    """Say that a message cannot even be begun, and whether that is so for all from here."""
    trouble = _trouble(error)
    return SealedError(str(trouble)) if error.errno in _SEALED else trouble


def _trouble(error: OSError) -> TempError:
    where = f" ({error.filename})" if isinstance(error.filename, str) else ""
    return TempError(f"cannot queue message: {error.strerror}{where}{LATER}")
