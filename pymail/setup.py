"""Install pymail on this machine, or for one user, and take it away again.

A plan is a list of steps (step.py); one that is done is not done again.
"""

import os
import pwd
import shlex
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence

from pymail import config, configfile, environment, launcher, paths, peek, shelf, units
from pymail.errors import PermError, TempError, UsageError
from pymail.launcher import MARK
from pymail.spool import Spool
from pymail.step import Account, Alternative, Directories, File, Folder, Link, Step, TableLine, Unit

PLACE = "/usr/local/lib/pymail"
"""Where the programs are; what stands in PATH are links."""

PACKAGED = "/usr/lib/python3/dist-packages"
"""Where only packages of Debian's put code; ours has the programs, a timer and a line for cron."""

_SHARE = "/usr/local/share"
_UNITS = "/etc/systemd/system"
_CRON = "/etc/cron.d"
_RUNNING = "/run/systemd/system"
_STARTERS = ("cron", "systemd")
_FIRST_PERSON, _LAST_PERSON = 1000, 59999


def plan(start: str) -> list[Step]:
    """Return the steps for root or for the user who asks; `start` is cron, systemd, none, or "".

    UsageError where flush cannot be started that way; PermError for a user whose mail is that of
    the machine.
    """
    if os.getuid() == 0 and is_packaged():
        return _packaged(start)
    start = start or _starter()
    if start == "cron" and os.getuid() == 0 and not os.path.isdir(_CRON):
        raise UsageError(f"cannot use cron: there is no {_CRON}; install cron")
    if start == "cron" and os.getuid() != 0 and not shutil.which("crontab"):
        raise UsageError("cannot use cron: there is no crontab; install cron")
    if start == "systemd" and not shutil.which("systemctl"):
        raise UsageError("cannot use systemd: there is no systemctl; use --start cron")
    if os.getuid() != 0:
        if paths.is_system(paths.spool()):
            own = os.path.dirname(paths.own_config())
            remedy = f"for a configuration and a queue of your own: mkdir -p {own}; touch {own}"
            raise PermError(f"cannot set up: this machine has pymail; {remedy}/config.toml")
        return _user((start,))
    here = os.path.dirname(os.path.abspath(__file__))
    sourced = [each.source for each in shelf.shelves(_SHARE) if os.path.isdir(each.source)]
    for place in (sys.executable, here, *sourced):
        _trust(place)
        _trust(os.path.realpath(place))
    return _system((start,))


def done() -> list[Step]:
    """Return the steps that any plan may have done, to be taken back."""
    if os.getuid() != 0:
        return _user(_STARTERS)
    if is_packaged():
        return [*_places(paths.SYSTEM_SPOOL), *_watch(paths.SYSTEM_SPOOL)]
    return _system(_STARTERS)


def is_packaged() -> bool:
    """Say whether this is what Debian's package has installed."""
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__))) == PACKAGED


def starts_flush() -> bool:
    """Say whether setup has something to start root's flush with, on this machine."""
    return not is_packaged() and (os.path.isdir(_RUNNING) or os.path.isdir(_CRON))


def todo(steps: Sequence[Step]) -> Iterator[str]:
    """Yield what is to be done."""
    for step in steps:
        yield from step.todo()


def carry_out(steps: Sequence[Step]) -> Iterator[str]:
    """Do what is to be done; yield it, a line a step.  PermError, TempError."""
    for step in steps:
        first = next(step.todo(), "")
        if not first:
            continue
        try:
            step.do()
        except OSError as error:
            # What fails by its descriptor, as on a full disk, names no file.
            place = error.filename or first.removesuffix(":")
            kind = PermError if isinstance(error, PermissionError) else TempError
            raise kind(f"cannot set up {place}: {error.strerror}") from None
        yield first.removesuffix(":")


def undoing(steps: Sequence[Step]) -> Iterator[str]:
    """Yield what take_back() would do."""
    for step in reversed(steps):
        yield from (words for words, _ in step.undo())


def take_back(steps: Sequence[Step]) -> Iterator[str]:
    """Take back what the plan has done; yield it, a line a step.  TempError."""
    for step in reversed(steps):
        try:
            for words, act in step.undo():
                better = act()
                yield better if isinstance(better, str) else words
        except OSError as error:
            raise TempError(f"cannot remove {error.filename}: {error.strerror}") from None


def reader_of_root() -> str:
    """Return who is to get root's mail where nothing says so: who became root, or the first user.

    "" where somebody gets it already, or nobody can, and for mail that is not the machine's.  It
    can be asked before the machine is set up.
    """
    if os.getuid() != 0:
        return ""
    spool = paths.spool()
    facts = config.machine(spool)
    if not paths.is_system(spool):
        if spool != paths.own_spool() or os.path.exists(facts["config"]):
            return ""  # a trial, or root's own
        facts |= {"config": paths.SYSTEM_CONFIG, "aliases": paths.SYSTEM_ALIASES}
    given = config.given(facts["config"]) | environment.given(os.environ, config.SETTINGS)
    settings = config.combine(given, facts)
    if settings.root_user or any(_has_root(file) for file in settings.alias_maps):
        return ""
    people = [
        entry
        for entry in pwd.getpwall()
        if _FIRST_PERSON <= entry.pw_uid <= _LAST_PERSON and os.path.isdir(entry.pw_dir)
    ]
    names = [entry.pw_name for entry in sorted(people, key=lambda entry: entry.pw_uid)]
    asked = os.environ.get("SUDO_USER", "")
    return asked if asked in names else next(iter(names), "")


def misplaced() -> str:
    """Return what root has of configuration where the machine's is not looked for, "" for none."""
    if os.environ.get("PYMAIL_CONFIG"):
        return ""
    place = os.path.dirname(paths.config(paths.own_spool()))
    found = [name for name in peek.names(place) if name != "conf.d"]
    found += [f"conf.d/{name}" for name in peek.names(f"{place}/conf.d")]
    return f"{place}/{found[0]}" if found else ""


def _has_root(file: str) -> bool:
    lines = peek.text(file).lower().splitlines()
    return any(line.partition(":")[0].strip() == "root" for line in lines if ":" in line)


def _trust(place: str) -> None:
    """Raise UsageError where everybody's mail cannot go through what is at a place."""
    remedy = "install it for all: python3 -m venv /opt/pymail, and pip install there"
    path = place
    while path != "/":
        about = os.stat(path)
        why = configfile.unsafe(about, 0)
        if why:
            raise UsageError(
                f"cannot set up {place}: {path}: {why}, and root would run it: {remedy}"
            )
        if not about.st_mode & stat.S_IXOTH:
            raise UsageError(f"cannot set up {place}: other users cannot get at {path}: {remedy}")
        path = os.path.dirname(path)


def _starter() -> str:
    """Return what starts flush: what an earlier setup has chosen, else what this machine has."""
    spool, home = paths.SYSTEM_SPOOL, paths.home(os.getuid())
    for start in _STARTERS:
        if os.getuid() == 0:
            steps = _started(start, f"{PLACE}/flush", spool)
        else:
            steps = _started_for_user(start, home, _flush_of(home))
        if any(map(_is_there, steps)):
            return start
    if os.path.isdir(_RUNNING):
        return "systemd"
    cron = os.path.isdir(_CRON) if os.getuid() == 0 else shutil.which("crontab")
    return "cron" if cron else "none"


def _is_there(step: Step) -> bool:
    if isinstance(step, TableLine):
        return not any(step.todo())
    return isinstance(step, File) and MARK in peek.text(step.path)


def _system(starters: Sequence[str]) -> list[Step]:
    spool = paths.SYSTEM_SPOOL
    # The package's places are not ours to take back.
    steps: list[Step] = [] if os.path.isdir(f"{PACKAGED}/pymail") else _places(spool)
    steps.append(Folder(PLACE, 0o755))
    steps += [File(f"{PLACE}/{name}", launcher.text(name), 0o755) for name in launcher.PROGRAMS]
    steps += [
        Link("/usr/sbin/sendmail", f"{PLACE}/sendmail"),
        Link("/usr/lib/sendmail", f"{PLACE}/sendmail"),
        Link("/usr/bin/mailq", f"{PLACE}/mailq"),
        Link("/usr/bin/newaliases", f"{PLACE}/newaliases"),
        Link("/usr/local/bin/pymail", f"{PLACE}/pymail"),
        Link("/usr/local/sbin/flush", f"{PLACE}/flush"),
    ]
    # Where another program has them there, they come before /usr/bin in root's PATH.
    first = [f"/usr/sbin/{name}" for name in ("mailq", "newaliases")]
    if not os.path.samefile("/usr/sbin", "/usr/bin"):
        steps += [Link(p, f"{PLACE}/{os.path.basename(p)}") for p in first if os.path.lexists(p)]
    mail = (("/usr/bin/mailx", f"{PLACE}/mailx"), ("/usr/bin/mail", f"{PLACE}/mail"))
    if shutil.which("update-alternatives") and all(map(_alternative, ("mail", "mailx"))):
        steps.append(Alternative("mailx", mail))
    else:
        steps += [Link(link, target) for link, target in mail]
    steps += shelf.shelves(_SHARE)
    return steps + [step for start in starters for step in _started(start, f"{PLACE}/flush", spool)]


def _packaged(start: str) -> list[Step]:
    """Return what is left to do where the package is installed: what depends on the machine."""
    if start:
        raise UsageError(f"cannot start flush by {start}: the package has a timer, and cron's line")
    spool = paths.SYSTEM_SPOOL
    return [*_places(spool), *(_watch(spool) if os.path.isdir(_RUNNING) else ())]


def _places(spool: str) -> list[Step]:
    return [Account("pymail", spool), Folder("/etc/pymail", 0o755), Directories(spool)]


def _alternative(name: str) -> bool:
    """Say whether a name in /usr/bin is free, or one of Debian's alternatives."""
    place = f"/usr/bin/{name}"
    return not os.path.lexists(place) or (
        os.path.islink(place) and os.readlink(place).startswith("/etc/alternatives/")
    )


def _started(start: str, flush: str, spool: str) -> list[Step]:
    if start == "cron":
        return [File(f"{_CRON}/pymail", units.table(shlex.quote(flush)))]
    if start == "systemd":
        return [
            File(f"{_UNITS}/{units.SERVICE}", units.service(flush)),
            File(f"{_UNITS}/{units.TIMER}", units.timer()),
            Unit(units.TIMER),
            *_watch(spool),
            *_inlet(f"{PLACE}/receive", spool),
        ]
    return []


def _watch(spool: str) -> list[Step]:
    """Return the steps that have flush started when a letter comes."""
    drops = (Spool(spool).drop_directory(uid) for uid in _uids())
    text = units.path([f"{spool}/queue", *drops])
    return [File(f"{_UNITS}/{units.PATH}", text), Unit(units.PATH)]


def _inlet(program: str, spool: str) -> list[Step]:
    """Return the steps that take letters of services which cannot write to the spool."""
    return [
        File(program, launcher.text("receive"), 0o755),
        File(f"{_UNITS}/{units.RECEIVE}", units.receive(program, spool)),
        File(f"{_UNITS}/{units.INLET}", units.inlet()),
        Unit(units.INLET),
    ]


def _uids() -> list[int]:
    """Return whose drop directories are watched: people's, and those of services."""
    return sorted({entry.pw_uid for entry in pwd.getpwall()} - {0})


def _user(starters: Sequence[str]) -> list[Step]:
    home = paths.home(os.getuid())
    programs = os.path.dirname(os.path.abspath(sys.argv[0]))
    spool = paths.spool()
    file = paths.own_config() if paths.is_system(spool) else paths.config(spool)
    steps: list[Step] = [Folder(os.path.dirname(file), 0o700)]
    flush = _flush_of(home)
    place = os.path.dirname(flush)
    steps.append(Folder(place, 0o755))
    steps += [File(f"{place}/{name}", launcher.text(name), 0o755) for name in launcher.PROGRAMS]
    if programs != f"{home}/.local/bin":
        steps += [Link(f"{home}/.local/bin/{n}", f"{place}/{n}") for n in launcher.PROGRAMS]
    steps += shelf.shelves(f"{home}/.local/share")
    return steps + [step for start in starters for step in _started_for_user(start, home, flush)]


def _flush_of(home: str) -> str:
    return f"{home}/.local/lib/pymail/flush"


def _started_for_user(start: str, home: str, flush: str) -> list[Step]:
    if start == "cron":
        return [TableLine(units.each_minute(shlex.quote(flush)))]
    if start == "systemd":
        folder = f"{home}/.config/systemd/user"
        return [
            File(f"{folder}/{units.SERVICE}", units.service(flush)),
            File(f"{folder}/{units.TIMER}", units.timer()),
            Unit(units.TIMER, user=True),
            File(f"{folder}/{units.PATH}", units.path([f"{paths.spool()}/queue"])),
            Unit(units.PATH, user=True),
        ]
    return []
