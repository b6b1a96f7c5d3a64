"""What starts flush again and again: a line of cron's, or a timer of systemd's."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator

from pymail import crontab, paths, peek, units
from pymail.users import user_of

_TIMERS = ("/etc/systemd/system", "/usr/local/lib/systemd/system", "/lib/systemd/system")
_TABLES = ("/var/spool/cron/crontabs/root", "/var/spool/cron/root")


def serves_system() -> bool:
    """Say whether something starts root's flush."""
    named = (command for user, command in _named() if user == "root")
    return any(_starts(command) for command in (*named, *_of_root()))


def by_systemd() -> bool:
    """Say whether it is systemd that runs here, and that starts root's flush."""
    running = os.path.isdir("/run/systemd/system")
    return running and any(_starts(line) for folder in _TIMERS for line in _timed(folder))


def serves_user() -> bool:
    """Say whether something starts the flush of the user who asks."""
    uid = os.getuid()  # a container's may have no passwd entry
    timers = _timed(f"{paths.home(uid)}/.config/systemd/user")
    if any(map(_starts, timers)) or any(map(_starts, crontab.commands(_own_table()))):
        return True
    own = user_of(uid).name
    # A line for this user among the system's: * * * * * alice flush
    return any(user == own and _starts(command) for user, command in _named())


def remedy() -> str:
    """Return the command that makes flush start every minute, by the crontab of who runs it."""
    line = units.each_minute(shlex.quote(program("flush")))
    return f"(crontab -l; echo {shlex.quote(line)}) | crontab -"


def program(name: str) -> str:
    """Return where a program of this installation is, as well as can be told."""
    for place in (sys.argv[0], sys.executable):
        path = f"{os.path.dirname(os.path.abspath(place))}/{name}"
        if os.path.exists(path):
            return path
    return name


def _starts(command: str) -> bool:
    return crontab.runs("flush", command)


def _named() -> Iterator[tuple[str, str]]:
    """Yield user and command of the lines of the system's crontabs."""
    for table in ("/etc/crontab", *(f"/etc/cron.d/{name}" for name in peek.names("/etc/cron.d"))):
        yield from crontab.commands_of_users(peek.text(table))


def _of_root() -> Iterator[str]:
    """Yield the commands of root's own crontab, and of the machine's timers."""
    for table in _TABLES:
        yield from crontab.commands(peek.text(table))
    for folder in _TIMERS:
        yield from _timed(folder)


def _timed(folder: str) -> Iterator[str]:
    """Yield what the services that have a timer of the same name run."""
    for name in peek.names(folder):
        if name.endswith(".timer"):
            service = f"{folder}/{name.removesuffix('.timer')}.service"
            for line in peek.text(service).splitlines():
                if line.startswith("ExecStart"):
                    # systemd.service(5): what may stand before a path
                    yield line.partition("=")[2].lstrip(" \t@-:+!")


def _own_table() -> str:
    try:
        done = subprocess.run(
            ["crontab", "-l"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""  # no cron here
    return done.stdout.decode("utf-8", "replace")
