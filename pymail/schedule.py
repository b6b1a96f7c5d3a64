"""What starts flush again and again: a line of cron's, or a timer of systemd's."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

from pymail import paths, peek, units
from pymail.users import user_of

_TIMERS = ("/etc/systemd/system", "/usr/local/lib/systemd/system", "/lib/systemd/system")
_TABLES = ("/etc/crontab", "/var/spool/cron/crontabs/root", "/var/spool/cron/root")
_starts = re.compile(r"^[^#\n]*(?:^|[\s/\"'=])flush(?![\w.-]).*$", re.MULTILINE).findall


def serves_system() -> bool:
    """Say whether something starts root's flush."""
    return any(_starts(text) for text in _for_all())


def by_systemd() -> bool:
    """Say whether it is systemd that runs here, and that starts root's flush."""
    running = os.path.isdir("/run/systemd/system")
    return running and any(_starts(text) for folder in _TIMERS for text in _timed(folder))


def serves_user() -> bool:
    """Say whether something starts the flush of the user who asks."""
    uid = os.getuid()  # a container's may have no passwd entry
    timers = _timed(f"{paths.home(uid)}/.config/systemd/user")
    if any(_starts(text) for text in timers) or _starts(_own_table()):
        return True
    own = user_of(uid).name
    # A line for this user among the system's: * * * * * alice flush
    return any(own in line.split() for text in _for_all() for line in _starts(text))


def remedy_for_system() -> str:
    """Return the command that makes root's flush start every minute."""
    return f"echo {shlex.quote(_each_minute('root'))} >/etc/cron.d/pymail"


def remedy_for_user() -> str:
    """Return the command that makes the user's flush start every minute."""
    return f"(crontab -l; echo {shlex.quote(_each_minute())}) | crontab -"


def _each_minute(user: str = "") -> str:
    return units.each_minute(shlex.quote(program("flush")), user)


def program(name: str) -> str:
    """Return where a program of this installation is, as well as can be told."""
    for place in (sys.argv[0], sys.executable):
        path = f"{os.path.dirname(os.path.abspath(place))}/{name}"
        if os.path.exists(path):
            return path
    return name


def _for_all() -> Iterator[str]:
    for table in _TABLES:
        yield peek.text(table)
    for name in peek.names("/etc/cron.d"):
        yield peek.text(f"/etc/cron.d/{name}")
    for folder in _TIMERS:
        yield from _timed(folder)


def _timed(folder: str) -> Iterator[str]:
    """Return what the services that have a timer of the same name run."""
    for name in peek.names(folder):
        if name.endswith(".timer"):
            yield "\n".join(
                line
                for line in peek.text(f"{folder}/{name[: -len('.timer')]}.service").splitlines()
                if line.startswith("ExecStart")
            )


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
