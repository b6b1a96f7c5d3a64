"""The steps of an installation: each knows whether it is done, does it, and takes it back.

What stood where a program of ours is to stand is put aside as NAME.before-pymail: by dpkg-divert
where there is one, so that packages that come later do not write over ours.
"""

import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from pymail import durable, peek, remnant, units
from pymail.errors import TempError, printable
from pymail.launcher import MARK

ASIDE = ".before-pymail"
_PATIENCE = 120


Undoing = tuple[str, Callable[[], object]]
"""What takes something back, in words, and what does it; a text that it returns says it better."""


class Step(Protocol):
    """One thing that is there afterwards."""

    def todo(self) -> Iterator[str]:
        """Yield what is to be done, in words and with the text of each file; nothing if done."""
        ...

    def do(self) -> None:
        """Do it, where there is something to do.  OSError, TempError."""
        ...

    def undo(self) -> Iterator[Undoing]:
        """Yield what takes back what is ours, and what is left and why; nothing is done yet."""
        ...


class Folder(NamedTuple):
    """A directory of root's, or of the user who asks."""

    path: str
    mode: int

    def todo(self) -> Iterator[str]:
        """Yield as Step."""
        about = peek.status(self.path)
        if about is None or stat.S_IMODE(about.st_mode) != self.mode:
            yield f"directory {self.path}, mode {self.mode:04o}"

    def do(self) -> None:
        """Do it."""
        os.makedirs(self.path, exist_ok=True)
        os.chmod(self.path, self.mode)

    def undo(self) -> Iterator[Undoing]:
        """Remove it where it is empty."""
        if os.path.isdir(self.path):
            yield f"remove {self.path}, if it is empty", self._remove

    def _remove(self) -> str:
        try:
            os.rmdir(self.path)
        except OSError:
            return f"leave {self.path}: it is not empty"
        return f"remove {self.path}"


class Directories(NamedTuple):
    """The directories of the system's spool."""

    path: str

    def todo(self) -> Iterator[str]:
        """Yield as Step."""
        for each in self._folders():
            yield from each.todo()

    def do(self) -> None:
        """Do it."""
        for each in self._folders():
            each.do()

    def undo(self) -> Iterator[Undoing]:
        """Remove it, unless there is mail in it."""
        if waiting := remnant.letters(self.path):
            yield f"leave {self.path}: messages wait in it ({waiting})", _nothing
        elif os.path.isdir(self.path):
            yield f"remove {self.path}", lambda: shutil.rmtree(self.path)

    def _folders(self) -> list[Folder]:
        return [
            Folder(self.path, 0o755),
            Folder(f"{self.path}/queue", 0o700),
            Folder(f"{self.path}/drop", 0o1733),
        ]


class File(NamedTuple):
    """A file of ours, with MARK in its text."""

    path: str
    text: str
    mode: int = 0o644

    def todo(self) -> Iterator[str]:
        """Yield as Step."""
        about = peek.status(self.path)
        if about and peek.text(self.path) == self.text and stat.S_IMODE(about.st_mode) == self.mode:
            return
        yield f"file {self.path}, mode {self.mode:04o}:"
        yield from (f"    {line}" for line in self.text.splitlines())

    def do(self) -> None:
        """Do it."""
        if os.path.lexists(self.path) and MARK not in peek.text(self.path):
            put_aside(self.path)
        durable.replace(self.path, self.text, self.mode)

    def undo(self) -> Iterator[Undoing]:
        """Remove it, and put back what was there."""
        ours = MARK in peek.text(self.path)
        free = ours or not os.path.lexists(self.path)
        if ours:
            yield f"remove {self.path}", lambda: os.unlink(self.path)
        if free and os.path.lexists(f"{self.path}{ASIDE}"):
            yield f"put back {self.path}", lambda: os.rename(f"{self.path}{ASIDE}", self.path)


class Link(NamedTuple):
    """A link to a program of ours where people and programs look for it."""

    path: str
    target: str

    def todo(self) -> Iterator[str]:
        """Yield as Step."""
        if not self._ours():
            there = " (what is there is put aside)" if os.path.lexists(self.path) else ""
            yield f"link {self.path} to {self.target}{there}"

    def do(self) -> None:
        """Do it."""
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        if self._packaged():
            run("dpkg-divert", *self._diversion(), "--rename", "--add", self.path)
        if os.path.lexists(self.path):  # dpkg-divert moves no link that leads nowhere
            put_aside(self.path)
        os.symlink(self.target, self.path)

    def undo(self) -> Iterator[Undoing]:
        """Remove it, and put back what was there."""
        if self._ours():
            back = os.path.lexists(f"{self.path}{ASIDE}")
            yield f"remove {self.path}{', put back what was there' * back}", self._remove

    def _remove(self) -> None:
        os.unlink(self.path)
        if self._packaged():
            run("dpkg-divert", *self._diversion(), "--rename", "--remove", self.path)
        if os.path.lexists(f"{self.path}{ASIDE}") and not os.path.lexists(self.path):
            os.rename(f"{self.path}{ASIDE}", self.path)

    def _packaged(self) -> bool:
        """Say whether packages of Debian's may come to have a file there."""
        theirs = self.path.startswith("/usr/") and not self.path.startswith("/usr/local/")
        return theirs and shutil.which("dpkg-divert") is not None

    def _ours(self) -> bool:
        return os.path.islink(self.path) and os.readlink(self.path) == self.target

    def _diversion(self) -> Sequence[str]:
        return ("--local", "--divert", f"{self.path}{ASIDE}")


class Alternative(NamedTuple):
    """Programs among Debian's alternatives; the first is the master, (link, target) each."""

    name: str
    links: tuple[tuple[str, str], ...]
    priority: int = 60

    def todo(self) -> Iterator[str]:
        """Yield as Step."""
        path, target = self.links[0]
        if os.path.realpath(path) != os.path.realpath(target):
            yield f"alternative {self.name}: {path} is {target}"

    def do(self) -> None:
        """Do it."""
        (path, target), *others = self.links
        slaves = [
            word
            for link, here in others
            for word in ("--slave", link, os.path.basename(link), here)
        ]
        run(
            "update-alternatives",
            "--install",
            path,
            self.name,
            target,
            str(self.priority),
            *slaves,
        )

    def undo(self) -> Iterator[Undoing]:
        """Let the next best be the one."""
        words = ("update-alternatives", "--remove", self.name, target := self.links[0][1])
        if target in peek.text(f"/var/lib/dpkg/alternatives/{self.name}"):
            yield f"remove the alternative {self.name}", lambda: run(*words)


class Account(NamedTuple):
    """A system user that owns nothing and cannot log in."""

    name: str
    home: str

    def todo(self) -> Iterator[str]:
        """Yield as Step."""
        if not self._there():
            yield f"system user {self.name}"

    def do(self) -> None:
        """Do it."""
        run(
            "useradd", "--system", "--user-group", "--no-create-home",
            "--home-dir", self.home, "--shell", "/usr/sbin/nologin", self.name,
        )  # fmt: skip

    def undo(self) -> Iterator[Undoing]:
        """Leave it: files may be its own, and its number must not become another's."""
        if self._there():
            yield f"leave the user {self.name}", _nothing

    def _there(self) -> bool:
        try:
            pwd.getpwnam(self.name)
        except KeyError:
            return False
        return True


class Unit(NamedTuple):
    """A unit of systemd that is enabled and, where systemd runs, started; `user` says whose."""

    name: str
    user: bool = False

    def todo(self) -> Iterator[str]:
        """Yield as Step."""
        if self._fails("is-enabled") or (_booted() and self._fails("is-active")):
            yield f"systemctl {' '.join(self._words('enable'))}"
        elif self._is_stale():
            yield f"systemctl {' '.join([*self._whose(), 'restart', self.name])}, by its new file"

    def do(self) -> None:
        """Do it; one that runs by a file of before is started anew."""
        stale = self._is_stale()
        if _booted():
            run("systemctl", *self._whose(), "daemon-reload")
        run("systemctl", *self._words("enable"))
        if stale:
            run("systemctl", *self._whose(), "restart", self.name)

    def undo(self) -> Iterator[Undoing]:
        """Stop it."""
        if not self._fails("is-enabled"):
            yield f"stop {self.name}", lambda: run("systemctl", *self._words("disable"))

    def _words(self, verb: str) -> list[str]:
        return [*self._whose(), verb, *["--now"] * _booted(), self.name]

    def _whose(self) -> list[str]:
        return ["--user"] * self.user

    def _fails(self, question: str) -> bool:
        if not shutil.which("systemctl"):
            return True
        return _ended("systemctl", *self._whose(), question, self.name).returncode != 0

    def _is_stale(self) -> bool:
        """Say whether the file of the unit, or of what it starts, is another than what runs."""
        if not _booted() or not shutil.which("systemctl"):
            return False
        asked = ("show", "--property=NeedDaemonReload", "--value", self.name, units.SERVICE)
        return b"yes" in _ended("systemctl", *self._whose(), *asked).stdout


class TableLine(NamedTuple):
    """A line in the crontab of the user who asks."""

    line: str

    def todo(self) -> Iterator[str]:
        """Yield as Step."""
        if self.line not in self._lines():
            yield f"line in the crontab: {self.line}"

    def do(self) -> None:
        """Do it."""
        self._write([*self._lines(), self.line])

    def undo(self) -> Iterator[Undoing]:
        """Remove it."""
        lines = self._lines()
        others = [line for line in lines if line != self.line]
        if others != lines:
            yield f"remove from the crontab: {self.line}", lambda: self._write(others)

    def _lines(self) -> list[str]:
        """Return the lines that are there.  TempError: what cannot be read is not replaced."""
        if not shutil.which("crontab"):
            return []
        done = _ended("crontab", "-l", env={**os.environ, "LC_ALL": "C"})
        if done.returncode == 0:
            text = done.stdout.decode("utf-8", "surrogateescape").removesuffix("\n")
            return text.split("\n") if text else []
        if "no crontab" not in (words := _said(done)):
            raise TempError(f"cannot read the crontab: {words}")
        return []

    def _write(self, lines: list[str]) -> None:
        run("crontab", "-", text="".join(f"{line}\n" for line in lines))


def _nothing() -> None:
    """Do nothing: what is told is left."""


def _booted() -> bool:
    """Say whether systemd runs; where an image is made, it does not."""
    return os.path.isdir("/run/systemd/system")


def put_aside(path: str) -> None:
    """Put a file aside.  TempError where that is there which was put aside before."""
    aside = f"{path}{ASIDE}"
    if os.path.lexists(aside):
        raise TempError(f"cannot put {path} aside: {aside} is there; remove one of them")
    os.rename(path, aside)


def run(*command: str, text: str = "") -> None:
    """Run a program of the system.  TempError with what it says where it fails."""
    done = _ended(*command, data=text.encode("utf-8", "surrogateescape"))
    if done.returncode:
        raise TempError(f"{' '.join(command)}: {_said(done)}")


def _ended(
    *command: str, data: bytes = b"", env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """Run a program of the system to its end.  TempError where it does not come to that."""
    try:
        return subprocess.run(
            command, input=data, capture_output=True, timeout=_PATIENCE, check=False, env=env
        )
    except subprocess.TimeoutExpired:
        raise TempError(f"{' '.join(command)}: no answer in {_PATIENCE} s") from None
    except OSError as error:
        raise TempError(f"cannot run {command[0]}: {printable(str(error))}") from None


def _said(done: "subprocess.CompletedProcess[bytes]") -> str:
    words = (done.stderr or done.stdout).decode("utf-8", "replace")
    return printable(" ".join(words.split()))
