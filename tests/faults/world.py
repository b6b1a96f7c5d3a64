"""A small machine for a scene: spool, homes, configuration, real users and pymail's programs.

    TOP/one/            what a scene changes; disk 1 when there are disks
        var/spool       system mode: 0755 with drop/ 1733 and queue/ 0700; user mode: made by pymail
        etc/            config.toml, aliases
        home/USER       disk 2 when spool and homes are on two
    TOP/package/pymail  a copy of the package: users cannot read every checkout, mutants patch it
    TOP/bin/            its programs
    TOP/letters/        what is given to them on standard input
    TOP/boot_id         stands for the kernel's
    TOP/nsswitch.conf   stands for the machine's

A world lives in a process of its own with its own mount namespace (see enter()).
"""

import ctypes
import os
import pwd
import select
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Sequence

from . import disk, mutants, probe, tracer
from .relay import Relay

# The package under test: this checkout's, or another one's for a comparison.
_HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = (
    os.environ.get("PYMAIL_FAULTS_PACKAGE") or f"{os.path.dirname(os.path.dirname(_HERE))}/pymail"
)
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_NSSWITCH = "/etc/nsswitch.conf"
_PREFIX = "pmfault"
_CLONE_NEWNS, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x20000, 0x1000, 0x4000, 0x40000
_PROGRAMS = {"sendmail": "", "flush": "flush, tomllib", "newaliases": "", "mailq": ""}
"""And what each loads at need, but in a scene always: before it begins, to save stops."""


class User:
    """A user of the world: the account, and what the scenes call it."""

    __slots__ = ("gid", "home", "name", "uid")

    def __init__(self, name: str, uid: int, gid: int, home: str) -> None:
        self.name = name
        self.uid = uid
        self.gid = gid
        self.home = home


class World:
    """The machine.  As root it has three users of its own, else one: who runs it."""

    def __init__(self, top: str) -> None:
        self.top = top
        self.one = f"{top}/one"
        self.spool = f"{self.one}/var/spool"
        self.etc = f"{self.one}/etc"
        self.homes = f"{self.one}/home"
        self.disks: list[disk.Disk] = []
        self.system = False
        self.relay = Relay()
        for folder in (self.one, f"{top}/images", f"{top}/letters", f"{top}/bin"):
            os.makedirs(folder, exist_ok=True)
        os.chmod(top, 0o755)
        self.rooted = os.geteuid() == 0
        self.users = _new_users(self.homes) if self.rooted else [_myself(self.homes)]
        self.python = interpreter(self.users[0].uid)
        self._mutant = ""
        self._install("")
        if self.rooted:
            with open(f"{top}/boot_id", "w", encoding="ascii") as file:
                file.write(f"{uuid.uuid4()}\n")
            _mount(f"{top}/boot_id", _BOOT_ID, _MS_BIND)
            if os.path.exists(_NSSWITCH):  # how users are looked up is no part of a scene
                with open(f"{top}/nsswitch.conf", "w", encoding="ascii") as file:
                    file.write("passwd: files\ngroup: files\nhosts: files dns\n")
                _mount(f"{top}/nsswitch.conf", _NSSWITCH, _MS_BIND)

    def close(self) -> None:
        """Remove the users and everything else."""
        for one in reversed(self.disks):
            one.detach()
        if self.rooted:
            remove_users(user.name for user in self.users)
        shutil.rmtree(self.top, ignore_errors=True)

    # Before and after a scene.

    def begin(self, kinds: Sequence[str]) -> None:
        """Empty the world and put it on file systems of these kinds: none, one, or two."""
        for one in reversed(self.disks):
            one.detach()
        shutil.rmtree(self.one, ignore_errors=True)
        os.makedirs(self.one)
        places = (self.one, self.homes)
        self.disks = [
            disk.Disk(kind, _folder(f"{self.top}/images/{index}"), place)
            for index, (kind, place) in enumerate(zip(kinds, places, strict=False))
        ]
        for one in self.disks:
            os.makedirs(one.place, exist_ok=True)
            one.create()
        self.system = False
        self.relay.forget()
        os.mkdir(f"{self.one}/var")
        os.chown(f"{self.one}/var", self.users[0].uid, self.users[0].gid)
        os.makedirs(self.etc)
        os.makedirs(self.homes, exist_ok=True)
        for user in self.users:
            os.mkdir(user.home, 0o755)
            os.chown(user.home, user.uid, user.gid)
        self.configure("", "")

    def configure(self, settings: str, aliases: str) -> None:
        """Write the configuration and the aliases file."""
        for name, text in (("config.toml", settings), ("aliases", aliases)):
            with open(f"{self.etc}/{name}", "w", encoding="utf-8") as file:
                file.write(text)

    def system_spool(self) -> None:
        """Make the spool one for everybody."""
        self.system = True
        os.chown(f"{self.one}/var", 0, 0)
        for folder, mode in (("", 0o755), ("/drop", 0o1733), ("/queue", 0o700)):
            os.mkdir(self.spool + folder)
            os.chmod(self.spool + folder, mode)

    def keep(self) -> None:
        """Take the world as it is for the beginning of every run of a scene."""
        for one in reversed(self.disks):
            one.settle()
            one.detach()
        for one in self.disks:
            one.keep()
        if not self.disks:
            shutil.rmtree(f"{self.top}/kept", ignore_errors=True)
            os.rename(self.one, f"{self.top}/kept")

    def restore(self) -> None:
        """Go back to what was kept."""
        self.relay.forget()
        for one in reversed(self.disks):
            one.detach()
        for one in self.disks:
            one.restore()
            one.attach()
        if not self.disks:
            shutil.rmtree(self.one, ignore_errors=True)
            _clone(f"{self.top}/kept", self.one)

    def power_cut(self, settled: str) -> None:
        """Lose the power, and boot; one disk may have been written to the end before."""
        if settled:
            self.disks[0 if settled == "spool" else 1].settle()
        disk.cut(self.disks)
        with open(f"{self.top}/boot_id", "w", encoding="ascii") as file:
            file.write(f"{uuid.uuid4()}\n")

    # What is done in it.

    def letter(self, name: str, recipients: str, lines: int = 60) -> str:
        """Write a letter to be given to a program, and return its place."""
        place = f"{self.top}/letters/{name}"
        with open(place, "wb") as file:
            file.write(probe.letter(name, recipients, lines))
        return place

    def environment(self, user: User | None) -> dict[str, str]:
        """Return the environment in which a user's programs run; no user is root."""
        home = user.home if user else "/root"
        return {
            "PATH": f"{self.top}/bin:/usr/local/bin:/usr/bin:/bin",
            "HOME": home,
            "PYMAIL_SPOOL": self.spool,
            "PYMAIL_CONFIG": f"{self.etc}/config.toml",
        }

    def program(self, name: str, *args: str) -> list[str]:
        """Return the command line of one of pymail's programs."""
        return [f"{self.top}/bin/{name}", *args]

    def trace(
        self, user: User | None, fault: tracer.Fault, argv: Sequence[str], stdin: str = os.devnull
    ) -> tracer.Result:
        """Run a command as a user (none: as who we are) under a fault."""
        command = tracer.Command(
            argv,
            stdin,
            output=f"{self.top}/output",
            env=self.environment(user),
            uid=user.uid if user and self.rooted else None,
            gid=user.gid if user else 0,
            tells=True,
        )
        return tracer.run(command, fault, tracer.below(self.one))

    def run(
        self,
        user: User | None,
        argv: Sequence[str],
        stdin: str = os.devnull,
        more: dict[str, str] | None = None,
        patience: float = 30.0,
    ) -> int | None:
        """Run a command as a user (none: as who we are); return its status, None if it hung."""
        identity = (
            {"user": user.uid, "group": user.gid, "extra_groups": ()}
            if user and self.rooted
            else {}
        )
        with open(stdin, "rb") as source, open(f"{self.top}/output", "ab") as sink:
            process = subprocess.Popen(
                argv,
                stdin=source,
                stdout=sink,
                stderr=sink,
                env=self.environment(user) | (more or {}),
                cwd="/",
                **identity,  # type: ignore[call-overload]
            )
        # subprocess would sleep, and look, and sleep longer.
        ended = select.poll()
        handle = os.pidfd_open(process.pid)
        try:
            ended.register(handle, select.POLLIN)
            in_time = ended.poll(patience * 1000)
        finally:
            os.close(handle)
        if not in_time:
            process.kill()
        status = process.wait()
        return status if in_time else None

    def submit(self, user: User | None, name: str, *recipients: str, lines: int = 60) -> int | None:
        """Submit a letter."""
        place = self.letter(name, ", ".join(recipients), lines)
        return self.run(user, self.program("sendmail", "-i", *recipients), place)

    def flush(self) -> int | None:
        """Run the queue, as who has to, past servers that are to be left alone for a while."""
        return self.run(None if self.system else self.users[0], self.program("flush", "-a"))

    def queued(self) -> bool:
        """Say whether anything is in the queue."""
        try:
            return any(not name.startswith(".") for name in os.listdir(f"{self.spool}/queue"))
        except FileNotFoundError:
            return False

    def read_mail(self) -> None:
        """Let a mail reader open every mailbox: what was new is now in cur/."""
        for user in self.users:
            for base, _, names in os.walk(user.home):
                if base.endswith("/new"):
                    for name in names:
                        os.rename(f"{base}/{name}", f"{base[:-3]}cur/{name}:2,S")

    def later(self) -> None:
        """Let so much time pass that everything in the queue is due."""
        now = int(time.time())
        for base, _, names in os.walk(self.spool):
            for name in names:
                path = f"{base}/{name}"
                if os.lstat(path).st_mtime > now:
                    os.utime(path, (now, now), follow_symlinks=False)

    def look(self) -> probe.View:
        """Look at everything."""
        view = probe.look(self.spool, {user.name: (user.home, user.uid) for user in self.users})
        for recipient, name, whole in self.relay.accepted():
            if whole:
                view.delivered[recipient, name] += 1
            else:
                view.torn.append(f"{recipient} {name}")
        return view

    def output(self) -> str:
        """Return and forget what the programs have said."""
        try:
            with open(f"{self.top}/output", encoding="utf-8", errors="replace") as file:
                text = file.read()
            os.unlink(f"{self.top}/output")
        except FileNotFoundError:
            return ""
        return text

    def mutate(self, name: str) -> None:
        """Install the package with one line broken, or whole again."""
        if name != self._mutant:
            self._mutant = name
            self._install(name)

    def _install(self, mutant: str) -> None:
        package = f"{self.top}/package/pymail"
        shutil.rmtree(package, ignore_errors=True)
        shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
        if mutant:
            mutants.patch(mutant, package)
        # A file that does not compile is found by the program that needs it.
        subprocess.run([self.python, "-I", "-m", "compileall", "-qq", package], check=False)
        place = f"sys.path.insert(0, {self.top + '/package'!r})"
        for name, more in _PROGRAMS.items():
            with open(f"{self.top}/bin/{name}", "w", encoding="utf-8") as file:
                file.write(f"#!{self.python} -IS\nimport posix\nimport sys\n\n{place}\n\n")
                file.write(f"from pymail.cli.{name} import main\n\n")
                file.write(f"import pymail.{more}\n" * bool(more))
                file.write(f"posix.getrandom({tracer.LOADED})\nsys.exit(main())\n")
            os.chmod(file.name, 0o755)


def enter() -> None:
    """Give this process a mount namespace of its own, if it may have one."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNS) != 0:
            raise OSError(ctypes.get_errno(), "cannot have a mount namespace")
        _mount("none", "/", _MS_REC | _MS_PRIVATE)


def interpreter(uid: int) -> str:
    """Find a Python that a user can run: this one, or the system's."""
    for candidate in (
        os.path.realpath(sys.executable),
        "/usr/bin/python3",
        "/usr/local/bin/python3",
    ):
        argv = [candidate, "-I", "-S", "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        identity = {"user": uid} if os.geteuid() == 0 else {}
        try:
            if subprocess.run(argv, cwd="/", check=False, **identity).returncode == 0:  # type: ignore[call-overload]
                return candidate
        except OSError:
            continue
    raise FileNotFoundError("no Python 3.11 that every user can run")


def remove_users(names: Iterable[str]) -> None:
    """Remove accounts."""
    for name in names:
        _account("userdel", name)


def remove_stale_users() -> None:
    """Remove the accounts of runs that died."""
    for account in pwd.getpwall():
        if account.pw_name.startswith(_PREFIX):
            pid = account.pw_name[len(_PREFIX) : -1]
            if not pid.isdigit() or not os.path.exists(f"/proc/{pid}"):
                _account("userdel", account.pw_name)


def _new_users(homes: str) -> list[User]:
    users = []
    for letter in "abc":
        name = f"{_PREFIX}{os.getpid()}{letter}"
        _account("useradd", "-M", "-d", f"{homes}/{name}", "-s", "/bin/sh", name)
        account = pwd.getpwnam(name)
        users.append(User(name, account.pw_uid, account.pw_gid, f"{homes}/{name}"))
    return users


def _account(*argv: str) -> None:
    """Run useradd or userdel, which wait for nobody who has the password file locked."""
    done = subprocess.CompletedProcess(argv, 1, "", "")
    for _ in range(100):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode in (0, 6):  # done, or there is no such user
            return
        time.sleep(0.1)
    raise OSError(f"{' '.join(argv)}: {done.stderr.strip()}")


def _myself(homes: str) -> User:
    account = pwd.getpwuid(os.getuid())
    return User(account.pw_name, account.pw_uid, account.pw_gid, f"{homes}/{account.pw_name}")


def _mount(source: str, place: str, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), place.encode(), None, ctypes.c_ulong(flags), None) != 0:
        raise OSError(ctypes.get_errno(), f"cannot mount {source} on {place}")


def _folder(path: str) -> str:
    os.makedirs(path, exist_ok=True)
    return path


def _clone(source: str, target: str) -> None:
    """Copy a tree with owners, modes and times."""
    state = os.lstat(source)
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
    elif os.path.isdir(source):
        os.mkdir(target)
        for name in os.listdir(source):
            _clone(f"{source}/{name}", f"{target}/{name}")
    else:
        shutil.copyfile(source, target)
    if os.geteuid() == 0:
        os.lchown(target, state.st_uid, state.st_gid)
    if not os.path.islink(target):
        os.chmod(target, state.st_mode & 0o7777)
        os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns))
