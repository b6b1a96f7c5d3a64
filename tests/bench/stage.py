"""A stage: the private mounts, users and loopback in which one system is measured.

The worker has been started by unshare(1) with namespaces of its own; here it covers /etc with a
copy that has the bench's users, puts a package's programs over /usr, and leaves everything else
as it is. Spools and homes are on a disk (disk.py), not in memory: the disk is most of what is
measured.
"""

import fcntl
import os
import shutil
import socket
import struct
import subprocess

from . import disk

USERS = tuple(f"u{number:02}" for number in range(50))
FIRST_UID = 61000
SENDER = ("bencher", 60999)  # submits, gets nothing
SERVICES = (("postfix", 60900), ("pymail", 60901))
POSTDROP = 60902
HOSTNAME = "bench.example.net"

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1


def mount(*arguments: str) -> None:
    """Mount inside this stage."""
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


class Stage:
    """One system's place: a directory for its files, and the users with their homes."""

    def __init__(self, place: str, image: str) -> None:
        self.place, self.image = place, image
        self.home = f"{place}/home"
        self.thrown = 0

    def build(self, package: str = "") -> None:
        """Make everything; `package` is an unpacked Debian package or nothing."""
        mount("--make-rprivate", "/")
        socket.sethostname(HOSTNAME)
        _loopback()
        os.makedirs(self.place, exist_ok=True)
        if self.image:
            disk.mount(self.image, self.place)
        os.makedirs(self.home)
        os.mkdir(f"{self.place}/trash", 0o700)
        self._etc(package)
        if package:
            mount("-t", "overlay", "-o", f"lowerdir={package}/usr:/usr", "overlay", "/usr")
        os.mkdir(f"{self.place}/mail")
        os.chmod(f"{self.place}/mail", 0o2775)
        shutil.chown(f"{self.place}/mail", 0, "mail")
        mount("--bind", f"{self.place}/mail", "/var/mail")

    def _etc(self, package: str) -> None:
        etc = f"{self.place}/etc"
        subprocess.run(["cp", "-a", "/etc", etc], check=True)
        if package and os.path.isdir(f"{package}/etc"):
            shutil.copytree(f"{package}/etc", etc, dirs_exist_ok=True)
        people = [(name, FIRST_UID + at) for at, name in enumerate(USERS)]
        # Users of the host with the same names would be found first.
        names = [name for name, _ in (*SERVICES, SENDER, *people)]
        _without(f"{etc}/passwd", names)
        _without(f"{etc}/group", [*names, "postdrop"])
        with open(f"{etc}/passwd", "a") as passwd, open(f"{etc}/group", "a") as group:
            for name, uid in [SENDER, *people]:
                passwd.write(f"{name}:x:{uid}:{uid}:{name}:{self.home}/{name}:/bin/sh\n")
                group.write(f"{name}:x:{uid}:\n")
            for name, uid in SERVICES:
                passwd.write(f"{name}:x:{uid}:{uid}::/nonexistent:/usr/sbin/nologin\n")
                group.write(f"{name}:x:{uid}:\n")
            group.write(f"postdrop:x:{POSTDROP}:\n")
        for file, text in (
            ("aliases", "root: u00\n"),
            ("mailname", "example.net\n"),
            ("hosts", f"127.0.0.1 {HOSTNAME} bench localhost\n"),
        ):
            with open(f"{etc}/{file}", "w") as out:
                out.write(text)
        for name, uid in [SENDER, *people]:
            os.mkdir(f"{self.home}/{name}")
            os.chown(f"{self.home}/{name}", uid, uid)
        mount("--bind", etc, "/etc")

    def letters(self) -> tuple[int, float]:
        """Return how many letters lie in all Maildirs, and when the last one came there."""
        count, last = 0, 0
        for name in USERS:
            new = f"{self.home}/{name}/Maildir/new"
            if os.path.isdir(new):
                with os.scandir(new) as files:
                    times = [file.stat().st_ctime_ns for file in files]
                count += len(times)
                last = max([last, *times])
        return count, last / 1e9

    def arrived(self) -> int:
        """Return how many letters lie in all Maildirs, as cheaply as that can be had."""
        news = [f"{self.home}/{name}/Maildir/new" for name in USERS]
        return sum(len(os.listdir(new)) for new in news if os.path.isdir(new))

    def discard(self, path: str) -> None:
        """Take a file or directory out of the way, without deleting it.

        ext4 does not use an inode again for some minutes after it was deleted, and looks at all
        of those when it needs a new one: deleting here would make the next measurement slow.
        """
        if os.path.lexists(path):
            self.thrown += 1
            os.rename(path, f"{self.place}/trash/{self.thrown}")

    def sweep(self) -> None:
        """Empty all mailboxes; wait until the disk is done with what was before."""
        for name in USERS:
            self.discard(f"{self.home}/{name}/Maildir")
            self.discard(f"{self.place}/mail/{name}")
        os.sync()


def _without(path: str, names: list[str]) -> None:
    """Take some names out of a copy of /etc/passwd or /etc/group."""
    with open(path) as file:
        lines = [line for line in file if line.partition(":")[0] not in names]
    with open(path, "w") as file:
        file.writelines(lines)


def _loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack_from("h", fcntl.ioctl(probe, _SIOCGIFFLAGS, request), 16)[0]
        fcntl.ioctl(probe, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
