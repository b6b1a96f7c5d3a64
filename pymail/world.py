"""The machine as the router sees it: users, aliases, .forward and :include: files.

What is looked up is remembered for one run of flush.
"""

import os
import pwd

from pymail import agent, config, forward, paths
from pymail.aliases import Aliases, Entry, include_may_act, load, members, unsafe_include
from pymail.config import Config
from pymail.identity import Identity, lookup
from pymail.route import Lines

_INCLUDE_LIMIT = 1 << 20
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def configuration(spool: str) -> Config:
    """Return the configuration that goes with a spool.  Raise ConfigError where it is wrong."""
    return config.load(
        paths.config(spool),
        hostname=os.uname().nodename,
        mailname=_mailname(),
        aliases=paths.aliases(spool),
    )


def _mailname() -> str:
    """Return what /etc/mailname says (Debian policy 11.6), "" where there is none."""
    try:
        with open("/etc/mailname", encoding="utf-8", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return ""


def open_machine(settings: Config, spool: str) -> "Machine":
    """Return the machine as this process sees it.

    Raise MailError where the aliases cannot be read: then nothing is known of any name.
    """
    return Machine(settings, load(settings.alias_maps, spool), spool)


class Machine:
    """The World of this machine."""

    def __init__(self, settings: Config, aliases: Aliases, spool: str) -> None:
        self.config = settings
        self._aliases = aliases
        self._single = None if paths.is_system(spool) else _myself()
        self._users: dict[str, Identity | None] = {}
        self._entries: dict[str, Entry | None] = {}
        self._forwards: dict[tuple[str, str], Lines] = {}
        self._includes: dict[str, Lines] = {}

    def alias(self, key: str) -> Entry | None:
        """Return the alias of that name."""
        if key not in self._entries:
            self._entries[key] = self._aliases.lookup(key)
        return self._entries[key]

    def user(self, name: str) -> Identity | None:
        """Return the user of that name."""
        if name not in self._users:
            self._users[name] = lookup(name)
        return self._users[name]

    def single(self) -> Identity | None:
        """Return the one user of user mode, None in system mode."""
        return self._single

    def forward(self, user: Identity, extension: str) -> Lines:
        """Return the user's .forward, read with the user's rights."""
        key = (user.name, extension)
        if key not in self._forwards:
            self._forwards[key] = self._read_forward(user, extension)
        return self._forwards[key]

    def include(self, path: str) -> Lines:
        """Return an include file; what it may do depends on who owns it."""
        if path not in self._includes:
            self._includes[path] = self._read_include(path)
        return self._includes[path]

    def _read_forward(self, user: Identity, extension: str) -> Lines:
        values = {
            "home": user.home,
            "user": user.name,
            "extension": extension,
            "recipient_delimiter": self.config.recipient_delimiter[:1],
        }
        files = forward.paths(self.config.forward_path, values)
        try:
            path, text, trouble, warning = agent.ask(user, lambda: read_forward(user, files))
        except OSError as error:
            return Lines("", trouble=f"cannot look for .forward of {user.name}: {error.strerror}")
        if trouble:
            return Lines(path, trouble=trouble)
        if not path:
            return Lines("", warning=warning)
        return Lines(path, tuple(forward.parse(text, user.home)), warning=warning)

    def _read_include(self, path: str) -> Lines:
        try:
            fd = os.open(path, _READ)
            with open(fd, "rb") as file:
                status = os.fstat(fd)
                why = unsafe_include(status)
                data = b"" if why else file.read(_INCLUDE_LIMIT + 1)
        except OSError as error:
            return Lines(path, trouble=error.strerror or "")
        if why or len(data) > _INCLUDE_LIMIT:
            return Lines(path, trouble=why or f"larger than {_INCLUDE_LIMIT} bytes")
        found = tuple(members(data.decode("utf-8", "surrogateescape")))
        if not include_may_act(status, os.geteuid()):
            found = tuple(i for i in found if i.kind not in ("command", "file"))
        return Lines(path, found)


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


def _myself() -> Identity:
    uid = os.getuid()
    home = paths.home(uid)
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Identity(f"uid{uid}", uid, os.getgid(), home, "/bin/sh")
    return Identity(entry.pw_name, uid, entry.pw_gid, home, entry.pw_shell)
