"""An mbox file, beside other programs that work on it.

It is written under the locks that every mail program of Debian takes.  A message is found again
by what it says, whatever was put before it or behind it meanwhile.
"""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Sequence

from pymail import durable, summaries
from pymail.errors import InputError, TempError
from pymail.folder import Change, Letter, gone, mboxfile
from pymail.folder.mboxfile import Piece
from pymail.summaries import Known
from pymail.transport.lock import LOCK_WAIT, BusyError, Lock

_BLOCK = 1 << 16


class Mbox:
    """An open mbox file."""

    def __init__(self, path: str, cache: str = "") -> None:
        self.path = path
        self._cache = cache
        self._places: dict[str, tuple[int, int]] = {}
        self._size = 0
        self._refuse_no_file(path)

    def close(self) -> None:
        """Let go of nothing: the file is open only while it is read or written."""

    def letters(self) -> list[Letter]:
        """Return the messages, in the order of the file."""
        data = self._whole()
        pieces = list(mboxfile.pieces(data))
        if data.strip() and not pieces:
            raise InputError(f"cannot read {self.path}: not an mbox file")
        self._size = len(data)
        self._places.clear()
        known = summaries.load(self._cache, self.path)
        letters = [self._letter(piece, known.get(piece.name)) for piece in pieces]
        if any(letter.id not in known for letter in letters):
            fresh = {each.id: Known((0, each.size, 0), each.about) for each in letters}
            summaries.store(self._cache, self.path, fresh)
        return letters

    def arrived(self) -> list[Letter]:
        """Return what has been appended since."""
        if os.stat(self.path).st_size == self._size:
            return []
        data = self._whole()
        self._size = len(data)
        fresh = [piece for piece in mboxfile.pieces(data) if piece.name not in self._places]
        return [self._letter(piece, None) for piece in fresh]

    def read(self, letter: Letter) -> bytes:
        """Return a message, its quoting taken back."""
        piece = self._piece(*self._places[letter.id])
        if mboxfile.name(piece) != letter.id.partition("-")[0]:
            # Another program has put the file together anew.
            there = [each for each in mboxfile.pieces(self._whole()) if each.name == letter.id]
            if not there:
                raise gone(letter)
            piece = self._piece(there[0].start, there[0].end)
        return mboxfile.sent(piece)

    def where(self, _letter: Letter) -> str:
        """Return no path: a message has no file of its own."""
        return ""

    def commit(self, changes: Sequence[Change]) -> list[str]:
        """Write the file anew, with what has come meanwhile."""
        path = os.path.realpath(self.path)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise InputError(f"cannot change {self.path}: {error.strerror}") from None
        try:
            with Lock(fd, os.fsencode(path)):
                missing = self._exchange(fd, path, changes)
        except BusyError as busy:
            raise TempError(f"cannot change {self.path}: {busy}; nothing was changed") from None
        finally:
            os.close(fd)
        return [f"message {name} is another one by now; left alone" for name in missing]

    def _exchange(self, fd: int, path: str, changes: Sequence[Change]) -> list[str]:
        """Write the file that is locked; return the names of messages that were not found."""
        if not os.path.samestat(os.fstat(fd), os.stat(path)):
            raise BusyError("the file was exchanged meanwhile")
        old = _all(fd, os.fstat(fd).st_size)
        data, missing = mboxfile.changed(old, changes)
        if data != old:
            _write(fd, old, data, self._kept(path))
        return missing

    def _kept(self, path: str) -> str:
        """Return where a copy is kept during a change: beside the file, else in the cache."""
        if os.access(os.path.dirname(path), os.W_OK) or not self._cache:
            return f"{path}.kept"
        os.makedirs(self._cache, 0o700, exist_ok=True)
        return f"{self._cache}/{path.strip('/').replace('/', '-')[-100:]}.kept"

    def _whole(self) -> bytes:
        return self._piece(0, -1)

    def _piece(self, start: int, end: int) -> bytes:
        """Return what is between two places, while nobody writes; an `end` of -1 is that of all.

        The file is opened by its name: another program may have put a new one in its place.
        """
        # O_NONBLOCK: a FIFO in its place is an error, not a wait without end.
        fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            self._refuse_no_file(fd)
            _share(file.fileno(), self.path)
            file.seek(start)
            return file.read(end - start if end >= 0 else -1)

    def _refuse_no_file(self, there: int | str) -> None:
        if not stat.S_ISREG(os.stat(there).st_mode):
            raise InputError(f"cannot read {self.path}: neither a Maildir nor a file")

    def _letter(self, piece: Piece, known: Known | None) -> Letter:
        self._places[piece.name] = (piece.start, piece.end)
        return mboxfile.letter(piece, known)


def _share(fd: int, path: str) -> None:
    """Wait until nobody has locked the file to write; who holds it too long is told."""
    deadline = time.monotonic() + LOCK_WAIT
    while True:
        try:
            fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EACCES, errno.EAGAIN}:
                return  # NFS without a lock daemon
            if time.monotonic() > deadline:
                raise TempError(f"cannot read {path}: another program has locked it") from None
            time.sleep(0.1)
        else:
            return


def _all(fd: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (piece := os.pread(fd, size - len(data), len(data))):
        data += piece
    return bytes(data)


def _write(fd: int, old: bytes, data: bytes, kept: str) -> None:
    """Put `data` in the place of `old`, in the file itself: others may have it open.

    A program that waits for our lock would write into a file that is no more, if a new one took
    its place.  What is written is kept in the file `kept` until it is safe, in case the machine
    stops.
    """
    try:
        draft = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        text = f"{kept} has its whole contents, since a change was cut off: compare and remove it"
        raise TempError(f"cannot change the mailbox: {text}") from None
    try:
        with open(draft, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(draft)
        durable.sync(os.path.dirname(kept))
        # What does not fit must fail before the first byte is lost.
        if len(data) > len(old):
            os.posix_fallocate(fd, len(old), len(data) - len(old))
    except OSError:
        os.unlink(kept)
        raise
    _overwrite(fd, old, data)
    os.unlink(kept)


def _overwrite(fd: int, old: bytes, data: bytes) -> None:
    at = 0
    while at < len(data) and data[at : at + _BLOCK] == old[at : at + _BLOCK]:
        at += _BLOCK
    view = memoryview(data)
    while at < len(data):
        at += os.pwrite(fd, view[at : at + _BLOCK], at)
    os.ftruncate(fd, len(data))
    os.fsync(fd)
