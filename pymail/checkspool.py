"""What is wrong with the spool and the disk below it, and with the runs that move its mail."""

import os
import re
import shlex
import stat
from collections.abc import Iterator

from pymail import complaint, peek, schedule, setup, units, waiting
from pymail.config import Config
from pymail.errors import TempError
from pymail.fault import Fault, as_user, login
from pymail.paths import INLET
from pymail.queuefile import NEVER
from pymail.spool import Spool, kept_for

LATE = 900
"""Seconds that a message may be due without anybody taking it."""

FEW_INODES = 1000
_DAY = 86400
_SEARCHED_BY_ALL = 0o555
_SENDMAIL = "/usr/sbin/sendmail"
_MOUNTS = "/proc/self/mountinfo"
_escapes = re.compile(rb"\\([0-3][0-7]{2})").sub


def of_spool(_settings: Config, spool: Spool, _now: int) -> Iterator[Fault]:
    """Find directories of the spool with the wrong owner or mode, and damaged messages."""
    owner = 0 if spool.system else os.getuid()
    # In user mode nobody else needs to come in.
    modes = {spool.path: 0o755 if spool.system else 0o700, spool.queue: 0o700}
    if spool.system:
        modes[f"{spool.path}/drop"] = 0o1733
    elif not os.path.lexists(spool.path):
        return  # the first mail makes it
    for place, mode in modes.items():
        yield from _directory(place, owner, mode, exact=place != spool.path)
    for name in peek.names(f"{spool.path}/drop"):
        status = peek.status(f"{spool.path}/drop/{name}")
        place = f"{spool.path}/drop/{name}"
        uid = kept_for(name)
        if status and uid >= 0 and status.st_uid != uid:
            words = f"{login(status.st_uid)} has taken {place}, which is for {login(uid)}"
            yield Fault(words, "flush -v gives it back")
        elif status and stat.S_ISDIR(status.st_mode) and status.st_mode & 0o022:
            words = f"others may write to {place}, so mail in it is not taken"
            yield Fault(words, as_user(status.st_uid, ["chmod", "700", place]))
    for name in peek.names(spool.queue):
        if name.endswith(".damaged"):
            place = f"{spool.queue}/{name}"
            yield Fault(f"{place} is damaged and set aside", "look at it, then delete it")


def _directory(place: str, owner: int, mode: int, *, exact: bool) -> Iterator[Fault]:
    status = peek.status(place)
    user = login(owner)
    if status is None:
        if os.access(os.path.dirname(place), os.X_OK) and not os.path.lexists(place):
            remedy = shlex.join(["install", "-d", "-o", user, "-m", f"{mode:04o}", place])
            yield Fault(f"{place} is not there", remedy, fatal=owner == 0)
        return
    if not stat.S_ISDIR(status.st_mode):
        remedy = f"move it away, then install -d {shlex.quote(place)}"
        yield Fault(f"{place} is no directory", remedy, fatal=True)
        return
    if status.st_uid != owner:
        words = f"{place} belongs to {login(status.st_uid)}"
        yield Fault(words, shlex.join(["chown", user, place]), fatal=True)
    have = stat.S_IMODE(status.st_mode)
    closed = mode == 0o755 and have & _SEARCHED_BY_ALL != _SEARCHED_BY_ALL
    if have != mode if exact else (have & 0o022 or closed):
        words = f"{place} has the mode {have:04o}"
        yield Fault(words, shlex.join(["chmod", f"{mode:04o}", place]), fatal=True)


def of_disk(settings: Config, spool: Spool, _now: int) -> Iterator[Fault]:
    """Find a disk that is nearly full, and a file system that keeps less than is promised."""
    place = spool.path if os.path.isdir(spool.path) else "/"
    try:
        space = os.statvfs(place)
    except OSError:
        return
    free = space.f_bavail * space.f_frsize
    if free < 2 * (settings.message_size_limit or 1 << 24):
        yield Fault(f"only {free >> 20} MiB are free where {place} is", "make room", fatal=True)
    if space.f_files and space.f_favail < FEW_INODES:
        yield Fault(f"only {space.f_favail} inodes are free where {place} is", "make room")
    yield from promises(place, *_file_system(place))


def promises(place: str, kind: str, options: str) -> Iterator[Fault]:
    """Find what a file system of this kind does not keep."""
    if kind in {"tmpfs", "ramfs"}:
        yield Fault(f"{place} is on {kind}: the queue does not survive a reboot", "move it")
    elif kind.startswith(("nfs", "cifs", "smb", "9p", "fuse")):
        words = f"{place} is on {kind}: after a power cut a message may be lost or be there twice"
        yield Fault(words, "put the spool on a disk of this machine")
    elif kind == "overlay" and "volatile" in options.split(","):
        words = f"{place} is on a volatile overlay: nothing there survives a crash"
        yield Fault(words, "mount a volume there")


def _file_system(place: str) -> tuple[str, str]:
    """Return type and options of the file system that a directory is on."""
    real = os.path.realpath(os.fsencode(place))
    best, found = b"", ("", "")
    for line in filter(None, peek.data(_MOUNTS).split(b"\n")):
        before, _, after = line.partition(b" - ")
        # proc(5): only blanks, line ends and backslashes are escaped, each as one byte.
        point = _escapes(lambda byte: bytes([int(byte[1], 8)]), before.split(b" ")[4])
        inside = real == point or real.startswith(point.rstrip(b"/") + b"/")
        if inside and len(point) >= len(best):
            kind, _, options = [*os.fsdecode(after).split(" "), "", ""][:3]
            best, found = point, (kind, options)
    return found


def of_runs(_settings: Config, spool: Spool, now: int) -> Iterator[Fault]:
    """Find mail that nobody moves: flush is not started, or complains."""
    if spool.system and not _is_ours(_SENDMAIL):
        words = f"{_SENDMAIL} is not pymail's, so what programs send goes elsewhere"
        again = "install Debian's package pymail again"
        yield Fault(words, again if setup.is_packaged() else _setup(), fatal=True)
    if spool.system and not schedule.serves_system():
        remedy = _setup() if setup.starts_flush() else schedule.remedy()
        yield Fault("nothing starts flush", remedy, fatal=True)
    if not spool.system and not schedule.serves_user():
        yield Fault("nothing starts flush", schedule.remedy(), fatal=True)
    if spool.system and schedule.by_systemd() and peek.status(INLET) is None:
        words = f"services that cannot write to {spool.path} cannot send: nobody listens at {INLET}"
        yield Fault(words, f"pymail setup, or systemctl enable --now {units.INLET}")
    said = peek.text(f"{spool.queue}/.complaint")
    status = peek.status(f"{spool.queue}/.complaint")
    # The configuration and what it names was looked at above: it may be in order by now.
    if said.startswith(complaint.HALTED) and status and now - status.st_mtime < _DAY:
        yield Fault(f"flush could not run: {said.strip()}", "correct it", fatal=True)
    late = [qid for qid, due in _entries(spool) if due != NEVER and due < now - LATE]
    for name in peek.names(f"{spool.path}/drop"):
        dropped = waiting.dropped(f"{spool.path}/drop/{name}", waiting.ANYBODY)
        late += [entry.qid for entry in dropped if entry.due < now - LATE]
    if late:
        words = f"flush has not run for {LATE // 60} minutes, messages due: {len(late)}"
        yield Fault(words, "see that cron or the timer runs, then: flush -v", fatal=True)


def _setup() -> str:
    """Return the command that installs pymail, and puts aside what stands in its places."""
    return shlex.join([schedule.program("pymail"), "setup"])


def _is_ours(program: str) -> bool:
    """Say whether a program is one of pymail's, by what its script says."""
    return "pymail" in peek.text(os.path.realpath(program))[:2000]


def _entries(spool: Spool) -> list[tuple[str, int]]:
    try:
        return spool.entries()
    except TempError:
        return []  # not ours to see, or told already
