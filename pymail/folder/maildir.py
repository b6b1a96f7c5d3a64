"""A Maildir, beside other programs that work on it.

    new/UNIQUE           no mail program has seen it
    cur/UNIQUE:2,FLAGS   flags in ASCII order

Only names change.  Another program may rename a file at any time: it is looked for anew by its
unique part, its flags are taken as they are then, and ours are added.  A file is only removed or
renamed when it is the very file (inode) that was shown.
"""

import os
import secrets
import stat
import time
from collections.abc import Iterator, Sequence

from pymail import summaries, summary
from pymail.errors import InputError
from pymail.folder import Change, Letter, gone
from pymail.summaries import Known

_HEAD = 1 << 16
"""Bytes that are read of a file for its header."""

_TRIES = 100
"""How often another program may rename a file before it is left alone."""

_LOOKS = 3
"""How often a file is looked for: a listing may miss one that is renamed meanwhile."""

_PLACES = ("new", "cur")
Found = dict[str, list[str]]


class Maildir:
    """An open Maildir."""

    def __init__(self, path: str, cache: str = "") -> None:
        self.path = path
        self._cache = cache
        self._seen: set[str] = set()
        self._changed = (0, 0)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        self._root = os.open(path, flags)
        try:
            os.stat("cur", dir_fd=self._root)
        except FileNotFoundError:
            if not self._exists("new"):
                os.close(self._root)
                raise InputError(f"cannot read {path}: a directory, but no Maildir") from None

    def _exists(self, name: str) -> bool:
        try:
            os.stat(name, dir_fd=self._root)
        except FileNotFoundError:
            return False
        return True

    def close(self) -> None:
        """Let go of it."""
        os.close(self._root)

    def letters(self) -> list[Letter]:
        """Return the messages, oldest first."""
        self._seen.clear()
        return self._load(_PLACES)

    def arrived(self) -> list[Letter]:
        """Return what has come into new/ since."""
        if self._stamp() == self._changed:
            return []
        return self._load(("new",))

    def read(self, letter: Letter) -> bytes:
        """Return a message."""
        for place in self._ways(letter):
            try:
                with open(self._open(place), "rb") as file:
                    return file.read()
            except FileNotFoundError:
                continue
        raise gone(letter)

    def where(self, letter: Letter) -> str:
        """Return the path of the message's file."""
        return f"{self.path.rstrip('/')}/{letter.place}"

    def commit(self, changes: Sequence[Change]) -> list[str]:
        """Rename and remove files; each is looked for where it is by now."""
        troubles: list[str] = []
        todo = [self._rewritten(c) if c.text and not c.delete else c for c in changes]
        absent: dict[str, int] = {}
        for _ in range(_TRIES):
            found = self._scan()
            for change in todo:
                if change.letter.id not in found:
                    absent[change.letter.id] = absent.get(change.letter.id, 0) + 1
            # What another program has removed needs nothing any more.
            todo = [change for change in todo if absent.get(change.letter.id, 0) < _LOOKS]
            todo = [change for change in todo if not self._try(change, found, troubles)]
            if not todo:
                break
        why = "another program renames it, or has taken its name"
        troubles += [f"message {c.letter.id} cannot be changed: {why}" for c in todo]
        self._sync("cur")
        self._sync("new")
        return troubles

    def _load(self, folders: Sequence[str]) -> list[Letter]:
        """Return the messages in `folders` that were not there before."""
        self._changed = self._stamp()
        known = summaries.load(self._cache, self.path)
        fresh: summaries.Cache = {}
        letters: list[Letter] = []
        misses = 0
        for _ in range(_TRIES):
            renamed = False
            for place in self._files(folders):
                unique = place.partition("/")[2].partition(":2,")[0]
                if place in self._seen:
                    continue
                try:
                    entry = self._entry(place, known.get(unique))
                except FileNotFoundError:
                    renamed = True  # by another program, since we have read the directory
                    continue
                self._seen.add(place)
                # It may have moved from new/ to cur/ between two looks.
                if entry is None or (unique in fresh and fresh[unique].mark == entry.mark):
                    continue
                misses += entry is not known.get(unique)
                fresh[unique] = entry
                letters.append(self._letter(place, unique, entry))
            if not renamed:
                break
        if misses and len(folders) > 1:
            summaries.store(self._cache, self.path, fresh)
        return sorted(letters, key=lambda letter: (letter.arrived, letter.id))

    def _entry(self, place: str, known: Known | None) -> Known | None:
        """Return what is known of a message, None for what is none or not ours to read."""
        about = os.stat(place, dir_fd=self._root, follow_symlinks=False)
        if not stat.S_ISREG(about.st_mode):
            return None
        mark = (about.st_ino, about.st_size, about.st_mtime_ns)
        if known is not None and known.mark == mark:
            return known
        try:
            return Known(mark, summary.of(self._head(place)))
        except PermissionError:
            return None

    def _letter(self, place: str, unique: str, known: Known) -> Letter:
        flags = "".join(c for c in place.partition(":2,")[2] if c in "DFPRST")
        inode, size, changed = known.mark
        new = place.startswith("new/")
        arrived = changed // 1_000_000_000
        return Letter(unique, place, flags, new, size, inode, arrived, known.about)

    def _files(self, folders: Sequence[str]) -> Iterator[str]:
        """Yield the files that may be messages, as new/NAME and cur/NAME."""
        for folder in folders:
            try:
                fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._root)
            except FileNotFoundError:
                continue
            try:
                names = os.listdir(fd)
            finally:
                os.close(fd)
            yield from (f"{folder}/{name}" for name in names if not name.startswith("."))

    def _open(self, place: str) -> int:
        """Open a message: a regular file, whatever else somebody put there."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        fd = os.open(place, flags, dir_fd=self._root)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise FileNotFoundError(place)
        return fd

    def _head(self, place: str) -> bytes:
        fd = self._open(place)
        try:
            return os.read(fd, _HEAD)
        finally:
            os.close(fd)

    def _stamp(self) -> tuple[int, int]:
        try:
            about = os.stat("new", dir_fd=self._root)
        except FileNotFoundError:
            return (0, 0)
        return about.st_ino, about.st_mtime_ns

    def _scan(self) -> Found:
        """Return where each unique part is now."""
        found: Found = {}
        for place in self._files(_PLACES):
            unique = place.partition("/")[2].partition(":2,")[0]
            found.setdefault(unique, []).append(place)
        return found

    def _ways(self, letter: Letter) -> Iterator[str]:
        """Yield where a message may be: where it was, then where others moved it."""
        yield letter.place
        for _ in range(_LOOKS):
            yield from self._scan().get(letter.id, [])

    def _inode(self, place: str) -> int:
        return os.stat(place, dir_fd=self._root, follow_symlinks=False).st_ino

    def _try(self, change: Change, found: Found, troubles: list[str]) -> bool:
        """Make one change; say whether it is settled, one way or the other."""
        places = found.get(change.letter.id, [])
        if not places:
            return False
        place = change.letter.place if change.letter.place in places else places[0]
        if len(places) > 1 and place != change.letter.place:
            troubles.append(f"message {change.letter.id} is there twice; left alone")
            return True
        try:
            if self._inode(place) != change.letter.inode:
                troubles.append(f"message {change.letter.id} is another one by now; left alone")
            elif change.delete:
                os.unlink(place, dir_fd=self._root)
            else:
                return self._rename(place, self._target(place, change))
        except FileNotFoundError:
            return False
        return True

    def _target(self, place: str, change: Change) -> str:
        unique, _, info = place.partition("/")[2].partition(":2,")
        # Letters that we do not know, such as Dovecot's keywords, stay.
        flags = (set(info) | set(change.add)) - set(change.remove)
        return f"cur/{unique}:2,{''.join(sorted(flags))}"

    def _rename(self, place: str, target: str) -> bool:
        if place == target:
            return True
        if self._exists(target):
            return False  # a second file of that name: never over it
        os.rename(place, target, src_dir_fd=self._root, dst_dir_fd=self._root)
        return True

    def _rewritten(self, change: Change) -> Change:
        """Write the new text of a message, durable and under a name of its own.

        Return what is left to do: to remove the old one.
        """
        name = f"{int(time.time())}.{secrets.token_hex(8)}.{os.uname().nodename.replace('/', '_')}"
        owner = os.stat("cur", dir_fd=self._root)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(f"tmp/{name}", flags, 0o600, dir_fd=self._root), "wb") as file:
            file.write(change.text)
            file.flush()
            if owner.st_uid != os.geteuid():
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            os.utime(file.fileno(), (change.letter.arrived, change.letter.arrived))
            os.fsync(file.fileno())
        places = self._scan().get(change.letter.id, [change.letter.place])
        target = self._target(f"cur/{name}:2,{places[0].partition(':2,')[2]}", change)
        os.rename(f"tmp/{name}", target, src_dir_fd=self._root, dst_dir_fd=self._root)
        self._sync("cur")
        return Change(change.letter, delete=True)

    def _sync(self, folder: str) -> None:
        try:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._root)
        except FileNotFoundError:
            return
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
