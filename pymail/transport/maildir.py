"""Delivery into a Maildir: exactly once, also across a crash at any instruction.

The name of the file follows from the message and the recipient alone, so a second delivery of
the same message finds the name taken and is done.  A reader may have moved the file to cur/ in
the meantime; there it is looked for when an earlier attempt may have succeeded.

For a batch, all files are written first, then synced, then linked, then new/ is synced once:
the disk's commits are what delivery costs.
"""

import errno
import os
import threading
from collections.abc import Iterator, Sequence

from pymail.transport import Delivery, Outcome, failed, sent

GROUP = 64
"""Files that are written before they are synced together."""

MANY, MOST_THREADS = 8, 7

WITHIN = ".Cron"
"""A folder that lies within a Maildir (Maildir++), and is made with it."""


def deliver(batch: Sequence[Delivery]) -> Iterator[tuple[int, Outcome]]:
    """Deliver into the Maildirs named by the deliveries' `argument`."""
    folders: dict[str, list[Delivery]] = {}
    for delivery in batch:
        folders.setdefault(delivery.argument, []).append(delivery)
    for path, deliveries in folders.items():
        try:
            folder = _Folder(path, deliveries[0].user.home)
        except OSError as error:
            outcome = _trouble(path, error)
            yield from ((d.number, outcome) for d in deliveries)
            continue
        try:
            for start in range(0, len(deliveries), GROUP):
                yield from folder.take(deliveries[start : start + GROUP])
        finally:
            folder.close()


def file_name(delivery: Delivery) -> str:
    """Return the name of the message in its Maildir; it never depends on time or process."""
    return f"{delivery.arrived}.Q{delivery.qid}R{delivery.key}.pymail"


class _Folder:
    """An open Maildir; made, with its three directories, where it is missing."""

    def __init__(self, path: str, home: str) -> None:
        self.path = path
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        self._fds: list[int] = []
        self._read: set[str] | None = None
        try:
            try:
                self._fds = [os.open(f"{path}/{name}", flags) for name in ("tmp", "new", "cur")]
            except FileNotFoundError:
                make(path, home)
                self._fds = [os.open(f"{path}/{name}", flags) for name in ("tmp", "new", "cur")]
        except OSError:
            self.close()
            raise
        self.tmp, self.new, self.cur = self._fds

    def take(self, deliveries: Sequence[Delivery]) -> Iterator[tuple[int, Outcome]]:
        """Deliver a group; each outcome comes after the group is durable."""
        outcomes: list[tuple[int, Outcome]] = []
        written: list[tuple[Delivery, int, str]] = []
        try:
            for delivery in deliveries:
                try:
                    written.append((delivery, *self._write(delivery)))
                except OSError as error:
                    outcomes.append((delivery.number, _trouble(self.path, error)))
            trouble = _sync([fd for _, fd, _ in written])
            self._read = None  # looked at again for each group, right before it gets its names
            for delivery, fd, temporary in written:
                try:
                    if fd in trouble:
                        raise trouble[fd]
                    if delivery.doubtful and self._was_read(file_name(delivery)):
                        outcomes.append((delivery.number, sent("delivered to maildir before")))
                        continue
                    self._link(fd, temporary, file_name(delivery))
                    outcomes.append((delivery.number, sent("delivered to maildir")))
                except OSError as error:
                    outcomes.append((delivery.number, _trouble(self.path, error)))
        finally:
            for _, fd, temporary in written:
                os.close(fd)
                if temporary:
                    os.unlink(temporary, dir_fd=self.tmp)
        try:
            os.fsync(self.new)
        except OSError as error:
            failure = _trouble(self.path, error)
            outcomes = [(n, failure if o.status == "sent" else o) for n, o in outcomes]
        yield from outcomes

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds = []

    def _was_read(self, name: str) -> bool:
        """Say whether a reader has moved the message to cur/, with whatever flags."""
        if self._read is None:
            # A fresh descriptor: on btrfs one that was read once shows nothing new.
            self._read = {entry.partition(":")[0] for entry in os.listdir(f"{self.path}/cur")}
        return name in self._read

    def _write(self, delivery: Delivery) -> tuple[int, str]:
        """Write the message to an unnamed file in tmp/, or to a named one where that is missing."""
        fd, temporary = self._open(file_name(delivery))
        try:
            for piece in delivery.content.pieces():
                view = memoryview(piece)
                while view:
                    view = view[os.write(fd, view) :]
            # Start the writing now: the fsync of the group then has less to wait for.
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError:
            os.close(fd)
            if temporary:
                os.unlink(temporary, dir_fd=self.tmp)
            raise
        return fd, temporary

    def _open(self, name: str) -> tuple[int, str]:
        try:
            fd = os.open(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=self.tmp)
            if os.path.lexists(f"/proc/self/fd/{fd}"):
                return fd, ""
            os.close(fd)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
                raise
        # A rest of a killed attempt has the same name; the message's lock is ours, so it is ours.
        try:
            os.unlink(name, dir_fd=self.tmp)
        except FileNotFoundError:
            pass
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return os.open(name, flags, 0o600, dir_fd=self.tmp), name

    def _link(self, fd: int, temporary: str, name: str) -> None:
        try:
            if temporary:
                os.link(temporary, name, src_dir_fd=self.tmp, dst_dir_fd=self.new)
            else:
                os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=self.new)
        except FileExistsError:
            return  # delivered by an attempt that was not heard of


def _sync(fds: list[int]) -> dict[int, OSError]:
    """Make files durable; return what went wrong with which.

    Many at once, by threads: the disk then commits them together.
    """
    errors: dict[int, OSError] = {}
    waiting = iter(fds)

    def work() -> None:
        for fd in waiting:
            try:
                os.fsync(fd)
            except OSError as error:
                errors[fd] = error

    threads = [threading.Thread(target=work) for _ in range(min(len(fds) // MANY, MOST_THREADS))]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    return errors


def make(path: str, home: str = "") -> None:
    """Make a Maildir, durably: a message in it must not vanish with its directory.

    What is missing between `home` and the Maildir is made too, but never the home itself: it may
    not be mounted yet.
    """
    path = path.rstrip("/")
    above, _, last = path.rpartition("/")
    if last == WITHIN and not os.path.isdir(above):
        make(above, home)
    wanted = [*_between(home, path), path, *(f"{path}/{name}" for name in ("tmp", "new", "cur"))]
    made = []
    for each in wanted:
        try:
            os.mkdir(each, 0o700)
            made.append(each)
        except FileExistsError:
            continue
    for parent in {os.path.dirname(each) for each in made}:
        fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _between(home: str, path: str) -> Iterator[str]:
    """Yield the directories below the home that lead to the path."""
    here = home.rstrip("/")
    if home and path.startswith(f"{here}/"):
        for name in filter(None, path[len(here) :].split("/")[:-1]):
            here += f"/{name}"
            yield here


def _trouble(path: str, error: OSError) -> Outcome:
    return failed(f"cannot deliver to {path}: {error.strerror}", error)
