"""The machine as the router sees it: users, aliases, .forward and :include: files.

What is looked up is remembered for one run of flush.
"""

import errno
import os
import pwd
import stat
import time
from collections.abc import Callable, Iterator
from typing import Any

from pymail import child, forward, paths
from pymail.aliases import Aliases, Entry, load, members, unsafe_include
from pymail.config import Config
from pymail.identity import Identity, lookup
from pymail.keys import Found, Key
from pymail.maps import Map
from pymail.members import Item
from pymail.route import Lines

_INCLUDE_LIMIT = 1 << 20
_LAST_PATIENCE = 0.05
"""Seconds for a question of a user whose agents have used up all the others."""

MOST_REMEMBERED = 10000
MOST_FILES = 100
_MAPS = (
    "transport_maps",
    "sender_dependent_relayhost_maps",
    "sender_canonical_maps",
    "smtp_generic_maps",
)
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def open_machine(
    settings: Config, spool: str, warn: Callable[[str], None] = lambda _: None
) -> "Machine":
    """Return the machine as this process sees it; warn() hears of files that are not obeyed.

    Raise MailError where the aliases or tables cannot be read: then nothing is known of any name.
    """
    return Machine(settings, load(settings.alias_maps, spool), spool, warn)


class Machine:
    """The World of this machine."""

    def __init__(
        self, settings: Config, aliases: Aliases, spool: str, warn: Callable[[str], None]
    ) -> None:
        self.config = settings
        self._warn = warn
        self._aliases = aliases
        self._single = None if paths.is_system(spool) else _myself()
        self._users: dict[str, Identity | None] = {}
        self._entries: dict[str, Entry | None] = {}
        self._forwards: dict[tuple[str, str], Lines] = {}
        self._includes: dict[tuple[str, str], Lines] = {}
        self._silent: dict[str, OSError] = {}
        self._patience: dict[str, float] = {}
        self._maps = {name: Map(getattr(settings, name), settings.source(name)) for name in _MAPS}

    def alias(self, key: str) -> Entry | None:
        """Return the alias of that name."""
        if key not in self._entries:
            _keep_small(self._entries)
            self._entries[key] = self._aliases.lookup(key)
        return self._entries[key]

    def user(self, name: str) -> Identity | None:
        """Return the user of that name."""
        if name not in self._users:
            _keep_small(self._users)
            self._users[name] = lookup(name)
        return self._users[name]

    def single(self) -> Identity | None:
        """Return the one user of user mode, None in system mode."""
        return self._single

    def forward(self, user: Identity, extension: str) -> Lines:
        """Return the user's .forward, read with the user's rights."""
        key = (user.name, extension)
        if key not in self._forwards:
            _keep_small(self._forwards)
            self._forwards[key] = self._read_forward(user, extension)
        return self._forwards[key]

    def include(self, path: str, reader: Identity | None) -> Lines:
        """Return an include file; what it may do depends on who owns it.

        `reader` is whose .forward names it, and with whose rights it is then read.
        """
        key = (path, reader.name if reader else "")
        if key not in self._includes:
            _keep_small(self._includes, MOST_FILES)
            self._includes[key] = self._read_include(path, reader)
        return self._includes[key]

    def lookup(self, setting: str, keys: Iterator[Key]) -> Found | None:
        """Return the first of the keys that is in the table of a setting."""
        return self._maps[setting].first(keys)

    def _read_forward(self, user: Identity, extension: str) -> Lines:
        values = {
            "home": user.home,
            "user": user.name,
            "extension": extension,
            "recipient_delimiter": self.config.recipient_delimiter[:1],
        }
        files = forward.paths(self.config.forward_path, values)
        try:
            path, text, trouble, warning = self._ask(user, lambda: read_forward(user, files))
        except OSError as error:
            return Lines("", trouble=f"cannot look for .forward of {user.name}: {error.strerror}")
        if trouble:
            return Lines(path, trouble=trouble)
        if warning:
            self._warn(warning)
        if not path:
            return Lines("", warning=warning)
        return Lines(path, tuple(forward.parse(text, user.home)), warning=warning)

    def _ask(self, user: Identity, question: Callable[[], list[str]]) -> list[str]:
        """Ask an agent; a user whose agents take too long in all is not asked again in this run."""
        if user.name in self._silent:
            raise self._silent[user.name]
        asked = time.monotonic()
        try:
            return child.ask(user, question, self._patience.get(user.name, child.PATIENCE))
        except TimeoutError as error:
            self._silent[user.name] = error
            raise
        finally:
            left = self._patience.get(user.name, child.PATIENCE) - (time.monotonic() - asked)
            self._patience[user.name] = max(left, _LAST_PATIENCE)

    def _read_include(self, path: str, reader: Identity | None) -> Lines:
        """Read an include file with the rights of its owner, or of `reader`.

        Where only root can have put it there, root reads it for an alias; anywhere else a link
        could make root read, and mail out, what is no list.  What a .forward names, root never
        reads: it would tell every user what is in every file.
        """
        try:
            owner = os.lstat(path).st_uid if reader is None else -1
            as_whom = reader or self._reader(path, owner)
            limit = forward.LIMIT if reader else _INCLUDE_LIMIT
            owned, text, trouble = self._ask(as_whom, lambda: read_include(path, limit))
        except OSError as error:
            return Lines(path, trouble=error.strerror or "cannot be read")
        if trouble:
            return Lines(path, trouble=trouble)
        found = tuple(members(text))
        # Whoever may only edit a list may not run commands with the rights of its alias.
        if int(owned) not in (0, reader.uid if reader else os.geteuid()):
            found = tuple(_refused(i, path) if i.kind in ("command", "file") else i for i in found)
        return Lines(path, found)

    def _reader(self, path: str, owner: int) -> Identity:
        myself = self._single or _myself()
        if self._single is not None or _only_root_writes(path):
            return myself
        try:
            name = pwd.getpwuid(owner).pw_name if owner else self.config.default_privs
        except KeyError:
            name = self.config.default_privs
        reader = self.user(name)
        if reader is None:
            raise FileNotFoundError(2, f"no user {name} to read it (default_privs)")
        return reader


def read_forward(user: Identity, files: list[str]) -> list[str]:
    """Return [path, text, trouble, warning] of the first .forward there is.

    Runs as the user.  A home that is not there (not mounted yet) is trouble, not "no .forward";
    a file that others can write to is passed over with a warning.
    """
    private = user.gid if user.gid == user.uid else -1
    try:
        home = os.stat(user.home)
    except OSError as error:
        return ["", "", f"cannot use home {user.home} of {user.name}: {error.strerror}", ""]
    unsafe = forward.unsafe_home(home, user.uid, private)
    for path in files:
        try:
            fd = os.open(path, _READ)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                continue  # an extension that no file can have
            return [path, "", f"cannot read {path}: {error.strerror}", ""]
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            why = unsafe or forward.unsafe(status, user.uid, private)
            if why:
                return ["", "", "", f"{path} is not obeyed: {why}"]
            try:
                text = file.read(forward.LIMIT).decode("utf-8", "surrogateescape")
            except OSError as error:
                return [path, "", f"cannot read {path}: {error.strerror}", ""]
            return [path, text, "", ""]
    return ["", "", "", ""]


def read_include(path: str, limit: int) -> list[str]:
    """Return [owner, text, trouble] of an include file; runs as whoever may read it."""
    fd = os.open(path, _READ)
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        why = unsafe_include(status)
        data = b"" if why else file.read(limit + 1)
    if len(data) > limit:
        why = f"larger than {limit} bytes"
    return [str(status.st_uid), data.decode("utf-8", "surrogateescape"), why]


def _keep_small(cache: dict[Any, Any], most: int = MOST_REMEMBERED) -> None:
    """Forget everything once there is too much: names that nobody has come without end."""
    if len(cache) >= most:
        cache.clear()


def _refused(item: Item, path: str) -> Item:
    return Item("fail", f"5.7.1 {item.kind} {item.value} in {path}: its owner may not say so")


def _only_root_writes(path: str) -> bool:
    """Say whether nobody but root can change what `path` leads to."""
    path = f"/{path.lstrip('/')}"  # the parent of "//" is "//"
    while True:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode) or status.st_uid != 0 or status.st_mode & 0o022:
            return False
        if path == "/":
            return True
        path = os.path.dirname(path)


def _myself() -> Identity:
    uid = os.getuid()
    home = paths.home(uid)
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Identity(f"uid{uid}", uid, os.getgid(), home, "/bin/sh")
    return Identity(entry.pw_name, uid, entry.pw_gid, home, entry.pw_shell)
