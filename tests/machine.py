"""A whole machine for tests of system mode, made of private mounts over the real one.

The test process moves into its own mount, host name and network namespaces. What it covers with
memory (/etc as a copy, /usr and /dev as overlays; /dev/shm, /home, /opt, /root, /run, /var/mail,
/var/spool and /var/log empty) it may change at will: the host does not see it, and it ends with the
process.
The network is a loopback of its own, so no test reaches anything else.
"""

import ctypes
import fcntl
import os
import pwd
import shutil
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from harness import BIN, PATH, ROOT, Letter, argv, letters, measured, queued

HOSTNAME = "box.example.net"
MAILNAME = "example.net"
SPOOL = Path("/var/spool/pymail")
CONFIG = Path("/etc/pymail/config.toml")
ALIASES = Path("/etc/aliases")

# login, uid, GECOS: hard names on purpose
USERS = (
    ("alice", 1001, "Alice Liddell,Room 1,555-1234,"),
    ("bob", 1002, "Bob (the) Builder"),
    ("carol", 1003, "& Smith, Jr."),
    ("dave", 1004, 'Dave "The Man" O\'Neil <x>'),
    ("erin", 1005, ""),
    ("jrh", 1006, "J. Random Hacker"),
)

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWNET = 0x00020000, 0x04000000, 0x40000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def _mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """Call mount(2)."""
    got = _LIBC.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode())
    if got != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), target)


def enter() -> str:
    """Move this process into a machine of its own; return "" or why that cannot be."""
    if os.getuid() != 0:
        return "not root"
    if _LIBC.unshare(_CLONE_NEWNS | _CLONE_NEWUTS | _CLONE_NEWNET) != 0:
        return f"unshare: {os.strerror(ctypes.get_errno())}"
    try:
        _mount("none", "/", "none", _MS_REC | _MS_PRIVATE)
        _loopback()
        socket.sethostname(HOSTNAME)
        _furnish()
        _reachable(ROOT, Path(sys.prefix), Path(sys.base_prefix))
        os.chdir(ROOT)
        _people()
        programs()
    except OSError as error:
        return f"{error.filename or 'namespace'}: {error.strerror}"
    except RuntimeError as error:
        return str(error)
    return ""


def _loopback() -> None:
    """Bring up 127.0.0.1 in the new network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack_from("h", fcntl.ioctl(probe, _SIOCGIFFLAGS, request), 16)[0]
        fcntl.ioctl(probe, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def _furnish() -> None:
    """Cover what tests write to; what is mounted at /mnt is only a handle on the memory."""
    scratch = "/mnt"
    _mount("tmpfs", scratch, "tmpfs", 0, "mode=0755")
    # A copy, since what happens in the host's /etc (a useradd, say) must not show through here.
    # What goes away while it is copied was temporary: cp's complaints about it do not count.
    subprocess.run(["cp", "-a", "/etc", f"{scratch}/etc"], capture_output=True, check=False)
    _mount(f"{scratch}/etc", "/etc", "none", _MS_BIND)
    for place in ("/usr", "/dev"):
        upper, work = f"{scratch}{place}.upper", f"{scratch}{place}.work"
        os.mkdir(upper)
        os.mkdir(work)
        inner = ["/dev/pts"] if place == "/dev" and os.path.ismount("/dev/pts") else []
        held = {sub: os.open(sub, os.O_PATH) for sub in inner}
        _mount("overlay", place, "overlay", 0, f"lowerdir={place},upperdir={upper},workdir={work}")
        for sub, handle in held.items():
            _mount(f"/proc/self/fd/{handle}", sub, "none", _MS_BIND)
            os.close(handle)
    for place in ("/home", "/opt", "/run", "/var/spool", "/var/log"):
        _cover(Path(place), "0755")
    # libfaketime leaves two files here for each program that ends as ours do, without destructors.
    _cover(Path("/dev/shm"), "1777")
    _cover(Path("/var/mail"), "2775")
    shutil.chown("/var/mail", "root", "mail")
    _cover(Path("/root"), "0755")
    if _LIBC.umount2(scratch.encode(), 2) != 0:  # MNT_DETACH: the overlays hold their own reference
        raise OSError(ctypes.get_errno(), "cannot umount", scratch)


def _keep(place: Path) -> list[Path]:
    """Return what the interpreter and the project need under a directory about to be covered."""
    wanted = {ROOT, Path(sys.prefix), Path(sys.base_prefix)}
    return sorted(path for path in wanted if path.is_relative_to(place))


def _cover(place: Path, mode: str) -> None:
    """Put empty memory over a directory, with the project and the interpreter still in place."""
    if not place.is_dir():
        return
    held = [(path, os.open(path, os.O_PATH)) for path in _keep(place)]
    _mount("tmpfs", str(place), "tmpfs", 0, f"mode={mode}")
    for path, handle in held:
        if not path.exists():
            path.mkdir(parents=True)
            _mount(f"/proc/self/fd/{handle}", str(path), "none", _MS_BIND | _MS_REC)
        os.close(handle)


def _reachable(*paths: Path) -> None:
    """Let ordinary users reach these paths, whoever owns the directories above them."""
    for path in paths:
        for above in reversed(path.parents):
            if above.exists() and not above.stat().st_mode & 0o001:
                _cover(above, "0755")


def _people() -> None:
    """Make the users, and nobody else from number 1000 up."""
    for lock in Path("/etc").glob("*.lock"):  # somebody else's useradd, seen in the middle
        lock.unlink()
    for file in ("passwd", "group"):
        lines = Path("/etc", file).read_text().splitlines()
        kept = [line for line in lines if not 1000 <= int(line.split(":")[2]) < 65000]
        Path("/etc", file).write_text("\n".join(kept) + "\n")
    Path("/etc/mailname").write_text(f"{MAILNAME}\n")
    Path("/etc/hostname").write_text(f"{HOSTNAME}\n")
    Path("/etc/hosts").write_text(f"127.0.0.1 {HOSTNAME} box localhost\n")
    _call("useradd", "-r", "-M", "-d", "/nonexistent", "-s", "/usr/sbin/nologin", "pymail")
    for login, uid, gecos in USERS:
        _call(
            "useradd", "-u", str(uid), "-U", "-m", "-s", "/bin/bash", "-K", "HOME_MODE=0755", login
        )
        # useradd refuses nothing of these, but says so for some: the field itself is what counts
        _call("usermod", "-c", gecos, login)


def programs() -> None:
    """Make pymail's programs those of the system."""
    for place, names in (
        ("/usr/sbin", ("sendmail", "flush")),
        ("/usr/bin", ("mailq", "newaliases", "mail", "mailx", "pymail")),
    ):
        for name in names:
            link = Path(place, name)
            link.unlink(missing_ok=True)
            script = (BIN / name).read_text().replace("#!python", f"#!{sys.executable} -I", 1)
            link.write_text(script)
            link.chmod(0o755)
    lib = Path("/usr/lib/sendmail")
    lib.unlink(missing_ok=True)
    lib.symlink_to("../sbin/sendmail")


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, check=False, env={"PATH": PATH})
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.decode()}")


@dataclass(frozen=True)
class Machine:
    """The machine, as one test sees it: clean at its beginning."""

    spool: Path = SPOOL

    def reset(self) -> None:
        """Take away all mail and configuration; make the spool as an administrator does."""
        for place in (SPOOL, CONFIG.parent):
            shutil.rmtree(place, ignore_errors=True)
        for place in (Path("/var/mail"), Path("/root")):
            _empty(place)
        for login, uid, _ in USERS:
            home = Path("/home", login)
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            os.chown(home, uid, uid)
        SPOOL.mkdir(mode=0o755)
        (SPOOL / "drop").mkdir()
        (SPOOL / "drop").chmod(0o1733)
        (SPOOL / "queue").mkdir(mode=0o700)
        ALIASES.write_text("root: alice\npostmaster: root\n")
        for index in ALIASES.parent.glob("aliases.*"):
            index.unlink()
        Path("/etc/cron.d/pymail").unlink(missing_ok=True)

    def config(self, text: str) -> None:
        """Write the machine's configuration."""
        CONFIG.parent.mkdir(exist_ok=True)
        CONFIG.write_text(text)

    def aliases(self, text: str) -> None:
        """Write /etc/aliases and index it."""
        ALIASES.write_text(text)
        done = self.run("root", "newaliases")
        assert done.returncode == 0, done.stderr

    def home(self, user: str) -> Path:
        """Tell a user's home directory."""
        return Path(pwd.getpwnam(user).pw_dir)

    def write(self, user: str, name: str, text: str | bytes, mode: int = 0o644) -> Path:
        """Put a file of that user's into their home."""
        path = self.home(user) / name
        entry = pwd.getpwnam(user)
        missing = [above for above in reversed(path.parents) if not above.exists()]
        for above in missing:
            above.mkdir()
            os.chown(above, entry.pw_uid, entry.pw_gid)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(mode)
        os.chown(path, entry.pw_uid, entry.pw_gid)
        return path

    def run(
        self,
        user: str,
        program: str,
        *args: str | bytes,
        stdin: bytes = b"",
        env: dict[str, str] | None = None,
        cwd: str | Path = "/tmp",
        timeout: float = 120,
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run a program as that user, with the user's groups and a login's environment."""
        entry = pwd.getpwnam(user)
        login = {"HOME": entry.pw_dir, "LOGNAME": user, "USER": user, "LANG": "C.UTF-8"}
        return subprocess.run(
            argv(program, *args),
            input=stdin,
            capture_output=True,
            env=measured({"PATH": PATH, **login}) if env is None else measured(env),
            cwd=cwd,
            timeout=timeout,
            check=False,
            user=entry.pw_uid,
            group=entry.pw_gid,
            extra_groups=os.getgrouplist(user, entry.pw_gid),
            umask=0o022,
        )

    def send(self, user: str, message: bytes, *args: str) -> None:
        """Submit a message that must be accepted, in silence."""
        done = self.run(user, "sendmail", *args, stdin=message)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")

    def flush(self, *args: str) -> "subprocess.CompletedProcess[bytes]":
        """Run the queue once as root; it must succeed."""
        done = self.run("root", "flush", *args, cwd="/", timeout=300)
        assert done.returncode == 0, done.stderr
        return done

    def queue(self) -> list[str]:
        """Return the names in the queue directory."""
        return queued(SPOOL)

    def mail(self, user: str, maildir: str = "Maildir") -> list[Letter]:
        """Return what has been delivered to that user, oldest first."""
        return letters(self.home(user) / maildir)


def _empty(place: Path) -> None:
    """Remove what tests left in a directory, not what is mounted there."""
    kept = {path.relative_to(place).parts[0] for path in _keep(place)}
    for path in place.iterdir():
        if path.name in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
