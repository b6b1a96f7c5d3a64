"""File systems that lose power: ext4, xfs and btrfs on loop devices.

A cut takes what the device holds at that instant, which is a copy of the backing file; page
cache, delayed allocation and transactions that were not committed are gone, as with a disk
that is honest about its cache. The copy is mounted in its place, which replays its journal.
Needs root, and a mount namespace of its own, so that nothing stays mounted when a run dies.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Sequence

KINDS = ("ext4", "xfs", "btrfs")
_SIZE = {"ext4": "48M", "xfs": "320M", "btrfs": "128M"}
_MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-J", "size=4"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
    "btrfs": ["mkfs.btrfs", "-q", "-f"],
}
_libc = ctypes.CDLL(None, use_errno=True)


def missing(kind: str) -> str:
    """Say what is missing for a kind of file system, or nothing."""
    if os.geteuid() != 0:
        return "not root"
    for tool in (_MAKE[kind][0], "mount", "losetup"):
        if not shutil.which(tool, path=_PATH):
            return f"no {tool}"
    return ""


class Disk:
    """One file system at one place.  Images lie in `folder`; a template is where scenes begin."""

    def __init__(self, kind: str, folder: str, place: str) -> None:
        self.place = place
        self._kind = kind
        self._template = f"{folder}/{kind}.template"
        self._live = f"{folder}/{kind}.live"
        self._next = f"{folder}/{kind}.next"
        self._attached = False

    def create(self) -> None:
        """Make an empty file system and mount it."""
        self.detach()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._live)
        _run("truncate", "-s", _SIZE[self._kind], self._live)
        _run(*_MAKE[self._kind], self._live)
        self.attach()

    def keep(self) -> None:
        """Take what is there, detached, as the template."""
        os.rename(self._live, self._template)

    def restore(self) -> None:
        """Begin again from the template, detached."""
        _copy(self._template, self._live)

    def snap(self) -> None:
        """Take what the device holds now."""
        _copy(self._live, self._next)

    def swap(self) -> None:
        """Put what was taken in the place of the device, detached."""
        os.rename(self._next, self._live)

    def attach(self) -> None:
        """Mount it."""
        options = "loop,nouuid" if self._kind == "xfs" else "loop"
        for attempt in range(50):
            answer = _try("mount", "-t", self._kind, "-o", options, self._live, self.place)
            if not answer:
                self._attached = True
                return
            time.sleep(0.05 * (attempt < 49))  # all loop devices busy for a moment
        raise OSError(answer)

    def settle(self) -> None:
        """Write everything to the device."""
        descriptor = os.open(self.place, os.O_RDONLY)
        _libc.syncfs(descriptor)
        os.close(descriptor)

    def detach(self) -> None:
        """Unmount it, if it is mounted."""
        if not self._attached:
            return
        for _ in range(200):
            answer = _try("umount", self.place)
            if not answer:
                self._attached = False
                return
            time.sleep(0.02)
        raise OSError(answer)


def cut(disks: Sequence[Disk]) -> None:
    """Let the power of all disks fail at once; the later ones are mounted inside the earlier."""
    for disk in disks:
        disk.snap()
    for disk in reversed(disks):
        disk.detach()
    for disk in disks:
        disk.swap()
        disk.attach()


_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _copy(source: str, target: str) -> None:
    _run("cp", "--sparse=always", source, target)


def _run(*argv: str) -> None:
    answer = _try(*argv)
    if answer:
        raise OSError(answer)


def _try(*argv: str) -> str:
    """Run a tool; return nothing, or what it complained of."""
    environment = {"PATH": _PATH, "LC_ALL": "C"}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr or f"{argv[0]}: status {done.returncode}"
