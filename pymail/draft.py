"""A message on its way into the spool.

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

from pymail.envelope import Envelope, encode
from pymail.errors import DataError, SealedError, TempError
from pymail.queuefile import CANCELLED, ENVELOPE_LIMIT, FIXED, MAGIC, MARKS, NEW, TODO, make_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LATER = "; try again later"
_CHUNK = 1 << 15
_SEALED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT)


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
            raise unopened(error) from None
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
                raise trouble(error) from None

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
            raise trouble(error) from None
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


def unopened(error: OSError) -> TempError:
    """Say that a message cannot even be begun, and whether that is so for all from here."""
    said = trouble(error)
    return SealedError(str(said)) if error.errno in _SEALED else said


def trouble(error: OSError) -> TempError:
    """Say that a message did not come into the spool, and why."""
    where = f" ({error.filename})" if isinstance(error.filename, str) else ""
    return TempError(f"cannot queue message: {error.strerror}{where}{LATER}")
