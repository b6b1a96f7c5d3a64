"""A Maildir, beside other programs that work on it.

    new/UNIQUE           no mail program has seen it
    cur/UNIQUE:2,FLAGS   flags in ASCII order

Only names change.  Another program may rename a file at any time: it is looked for anew by its
unique part, its flags are taken as they are then, and ours are added.  A file is only removed or
renamed when it is the very file (inode) that was shown.

Whoever else may write to the Maildir can put links into it.  None is followed: new, cur and tmp are
opened once, and what is done in them is done there.
"""

import os
import secrets
import stat
import time
from collections.abc import Iterator, Sequence

from pymail import summaries, summary
from pymail.errors import InputError
from pymail.folder import Change, Letter, gone, moment
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
        self._folders: dict[str, int] = {}
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        self._root = os.open(path, flags)
        try:
            there = [folder for folder in _PLACES if self._is_there(folder)]
        except OSError:
            self.close()
            raise
        if not there:
            self.close()
            raise InputError(f"cannot read {path}: a directory, but no Maildir")

    def _is_there(self, folder: str) -> bool:
        try:
            self._folder(folder)
        except FileNotFoundError:
            return False
        return True

    def _folder(self, name: str) -> int:
        """Return the open directory new, cur or tmp.  Raise OSError, also where it is a link."""
        if name not in self._folders:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            self._folders[name] = os.open(name, flags, dir_fd=self._root)
        return self._folders[name]

    def _at(self, place: str) -> tuple[int, str]:
        """Return the open directory and the name that a place such as new/NAME consists of."""
        folder, _, name = place.partition("/")
        return self._folder(folder), name

    def close(self) -> None:
        """Let go of it, once."""
        for fd in (*self._folders.values(), self._root):
            if fd >= 0:
                os.close(fd)
        self._folders, self._root = {}, -1

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
        about = self._stat(place)
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
        arrived = moment(changed // 1_000_000_000)
        return Letter(unique, place, flags, new, size, inode, arrived, known.about)

    def _files(self, folders: Sequence[str]) -> Iterator[str]:
        """Yield the files that may be messages, as new/NAME and cur/NAME."""
        for folder in folders:
            try:
                names = os.listdir(self._folder(folder))
            except FileNotFoundError:
                continue
            yield from (f"{folder}/{name}" for name in names if not name.startswith("."))

    def _open(self, place: str) -> int:
        """Open a message: a regular file, whatever else somebody put there."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        folder, name = self._at(place)
        fd = os.open(name, flags, dir_fd=folder)
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
            about = os.fstat(self._folder("new"))
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

    def _stat(self, place: str) -> os.stat_result:
        folder, name = self._at(place)
        return os.stat(name, dir_fd=folder, follow_symlinks=False)

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
            if self._stat(place).st_ino != change.letter.inode:
                troubles.append(f"message {change.letter.id} is another one by now; left alone")
            elif change.delete:
                folder, name = self._at(place)
                os.unlink(name, dir_fd=folder)
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
        (source, old), (into, new) = self._at(place), self._at(target)
        try:
            self._stat(target)
        except FileNotFoundError:
            os.rename(old, new, src_dir_fd=source, dst_dir_fd=into)
            return True
        return False  # a second file of that name: never over it

    def _rewritten(self, change: Change) -> Change:
        """Write the new text of a message, durable and under a name of its own.

        Return what is left to do: to remove the old one.
        """
        name = f"{int(time.time())}.{secrets.token_hex(8)}.{os.uname().nodename.replace('/', '_')}"
        drafts, owner = self._folder("tmp"), os.fstat(self._folder("cur"))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(name, flags, 0o600, dir_fd=drafts), "wb") as file:
            file.write(change.text)
            file.flush()
            if owner.st_uid != os.geteuid():
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            os.utime(file.fileno(), (change.letter.arrived, change.letter.arrived))
            os.fsync(file.fileno())
        places = self._scan().get(change.letter.id, [change.letter.place])
        target = self._target(f"cur/{name}:2,{places[0].partition(':2,')[2]}", change)
        into, kept = self._at(target)
        os.rename(name, kept, src_dir_fd=drafts, dst_dir_fd=into)
        self._sync("cur")
        return Change(change.letter, delete=True)

    def _sync(self, folder: str) -> None:
        if self._is_there(folder):
            os.fsync(self._folder(folder))
