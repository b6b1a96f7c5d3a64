"""A Debian for a test, in which everything may be changed: memory over one that stays as it is.

That is this machine's, or a small one without a mail server, which .ci/bookworm has made once.
"""

import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import PATH, ROOT, missing, needs

from pymail import launcher

BASE = Path("/var/tmp/pymail-peers/bookworm")
CODE = "/opt/pymail"
CRON = ("/usr/sbin/sendmail", "-i", "-FCronDaemon", "-B8BITMIME", "-oem")
"""How Debian's cron calls sendmail; the recipient follows."""
IMPORTS = "import click, dns, keyring, tomli_w"
# In namespaces of its own: everything that is started in it ends with its first process.
ENTER = """
mount -t proc none "$1/proc" && mount --rbind /dev "$1/dev" || exit 1
read -r pid rest < /proc/self/stat
exec chroot "$1" sh -c "echo $pid; while sleep 1; do :; done"
"""


def package(place: Path) -> Path:
    """Build the Debian package of this checkout into a directory."""
    needs("dpkg-buildpackage", "dh")
    built = subprocess.run(
        [ROOT / ".ci/deb", place], capture_output=True, text=True, timeout=120, check=False
    )
    assert (built.returncode, built.stderr) == (0, "")
    return Path(built.stdout.strip())


class Chroot:
    """A Debian that ends with the test."""

    def __init__(self, root: Path, pid: int) -> None:
        self.root = root
        self._pid = pid

    def enter(self, *command: str, user: str = "root") -> list[str]:
        """Return the command line that runs a program there."""
        become = ["setpriv", "--init-groups", f"--reuid={user}", f"--regid={user}", "--"]
        home = "/root" if user == "root" else f"/home/{user}"
        env = {"PATH": PATH, "HOME": home, "USER": user, "LANG": "C.UTF-8"}
        # apt's questions have their defaults; whoever called sudo gets root's mail
        env |= {"DEBIAN_FRONTEND": "noninteractive", "SUDO_USER": "alice"}
        return [
            *("nsenter", f"--target={self._pid}", "--mount", "--pid", "--root"),
            *("env", "--chdir=/", "-i", *(f"{name}={value}" for name, value in env.items())),
            *(become if user != "root" else ()),
            *command,
        ]

    def run(
        self, *command: str, user: str = "root", stdin: bytes = b""
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run a program there."""
        return subprocess.run(
            self.enter(*command, user=user),
            input=stdin,
            capture_output=True,
            timeout=120,
            check=False,
        )

    def call(self, *command: str, user: str = "root", stdin: bytes = b"") -> str:
        """Run a program that must succeed; return what it says."""
        done = self.run(*command, user=user, stdin=stdin)
        assert done.returncode == 0, (command, done.stdout.decode(), done.stderr.decode())
        return done.stdout.decode()

    def apt(self, *args: str) -> str:
        """Install or remove packages; what is needed lies in the cache, there is no network."""
        return self.call("apt-get", "-y", *args)

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Write a file of the system's, into place where it keeps its owner."""
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def letters(self, user: str) -> list[str]:
        """Return what is in a user's Maildir."""
        home = "root" if user == "root" else f"home/{user}"
        return [path.read_text() for path in (self.root / home / "Maildir/new").glob("*")]

    def checkout(self) -> None:
        """Put the code of this checkout there, where only root can change it."""
        ours = shutil.ignore_patterns("__pycache__", "bin")
        place = f"{self.root}{CODE}"
        shutil.copytree(ROOT / "pymail", f"{place}/pymail", ignore=ours)
        # Before a pymail that is packaged there.
        text = launcher.script("pymail", "/usr/bin/python3", "-I", CODE)
        self.write(f"{CODE}/run", text.replace("path.append(", "path.insert(0, "), 0o755)

    def pymail(self, *args: str) -> str:
        """Run pymail of the checkout."""
        return self.call(f"{CODE}/run", *args)

    def sight(self, *but: str) -> dict[str, tuple[object, ...]]:
        """Return each file of the system's with what tells that it was changed."""
        seen: dict[str, tuple[object, ...]] = {"diversions": (self.call("dpkg-divert", "--list"),)}
        for top in ("etc", "usr", "var/lib/dpkg/alternatives", "var/spool"):
            for folder, folders, files in os.walk(self.root / top):
                for name in (*folders, *files):
                    path = f"{folder}/{name}"
                    shown = path.removeprefix(str(self.root))
                    if shown.startswith(but) or "__pycache__" in shown:
                        continue
                    seen[shown] = _about(path, whole=top == "etc")
        return seen


def _about(path: str, *, whole: bool) -> tuple[object, ...]:
    about = os.lstat(path)
    who = (stat.filemode(about.st_mode), about.st_uid, about.st_gid)
    if stat.S_ISLNK(about.st_mode):
        return (*who, os.readlink(path))
    if stat.S_ISREG(about.st_mode):
        text = Path(path).read_bytes() if whole else about.st_mtime_ns
        return (*who, about.st_size, text)
    return who


@contextmanager
def chroot(place: Path, base: Path) -> Iterator[Chroot]:
    """Make one over `base`, for as long as it is used."""
    needs("unshare", "nsenter", "chroot")
    if not base.exists():
        missing(f"there is no {base}: .ci/bookworm {base} makes it")
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    try:
        for name in ("upper", "work", "root"):
            (place / name).mkdir()
            (place / name).chmod(0o755)
        options = f"lowerdir={base},upperdir={place}/upper,workdir={place}/work"
        root = place / "root"
        subprocess.run(["mount", "-t", "overlay", "none", root, "-o", options], check=True)
        enter = ["unshare", "-m", "-p", "--fork", "sh", "-c", ENTER, "sh", str(root)]
        pipe = subprocess.PIPE
        with subprocess.Popen(enter, stdout=pipe, stderr=pipe, text=True) as first:
            assert first.stdout
            said = first.stdout.readline()
            if not said:
                missing(f"no namespace over {base}: {first.communicate()[1]}")
            pid = int(said)
            here = Chroot(root, pid)
            # The index of manual pages would take longer than all the rest.
            (root / "var/lib/man-db/auto-update").unlink(missing_ok=True)
            if "\nalice:" not in (root / "etc/passwd").read_text():
                here.call("useradd", "-m", "-s", "/bin/bash", "alice")
            try:
                if here.run("/usr/bin/python3", "-c", IMPORTS).returncode:
                    missing(f"/usr/bin/python3 under {base} cannot {IMPORTS}")
                yield here
            finally:
                os.kill(pid, signal.SIGKILL)
        subprocess.run(["umount", "-l", root], check=True)
    finally:
        subprocess.run(["umount", "-l", place], check=True)
