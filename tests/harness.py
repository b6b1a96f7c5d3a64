"""What every test may need: the place of the project's files, its programs, and real peers."""

import os
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / "pymail" / "bin"
DATA = ROOT / "tests" / "data"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CI = os.environ.get("CI") == "true"

# What subprocess coverage needs in the environment of a program that gets a clean one.
MEASURE = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START", "COVERAGE_FILE")


def corpus() -> Path:
    """Tell where the compatibility corpus is."""
    return Path(os.environ.get("PYMAIL_CORPUS") or DATA / "corpus")


def missing(reason: str) -> None:
    """Skip this test for want of a real part; in CI, where every part is installed, fail."""
    if CI:
        pytest.fail(f"CI must have what this test needs: {reason}")
    pytest.skip(reason)


def needs(*programs: str) -> None:
    """Ask for real programs, by the name that a shell would find them under."""
    for name in programs:
        if shutil.which(name, path=PATH) is None:
            missing(f"{name} is not installed")


def needs_root() -> None:
    """Ask for root's rights."""
    if os.getuid() != 0:
        missing("this test needs root")


def argv(program: str, *args: str | bytes) -> list[str | bytes]:
    """Return the command line of one of pymail's programs, or of any other as it is."""
    script = BIN / program
    if "/" in program or not script.exists():
        return [program, *args]
    return [sys.executable, "-I", str(script), *args]


def measured(env: dict[str, str]) -> dict[str, str]:
    """Return env with what lets coverage see the program."""
    return {**{name: os.environ[name] for name in MEASURE if name in os.environ}, **env}


@dataclass(frozen=True)
class Letter:
    """A delivered message, as it lies on the disk."""

    path: Path
    data: bytes
    uid: int
    gid: int
    mode: int

    @property
    def head(self) -> bytes:
        """The header, each field with its line end."""
        return self.data.partition(b"\n\n")[0] + b"\n"

    @property
    def body(self) -> bytes:
        """Everything after the first empty line."""
        return self.data.partition(b"\n\n")[2]

    def values(self, name: str) -> list[str]:
        """Return the unfolded values of every field with that name."""
        unfolded = self.head.replace(b"\n ", b" ").replace(b"\n\t", b" ").split(b"\n")
        pairs = [line.partition(b":") for line in unfolded]
        return [
            value.strip().decode(errors="surrogateescape")
            for key, _, value in pairs
            if key.strip().lower() == name.lower().encode()
        ]


# What flush keeps in the queue for itself.
BOOKS = {".boot", ".complaint", ".complaint.log", ".sites", ".warned"}


def queued(spool: Path) -> list[str]:
    """Return everything in a queue directory but flush's own books."""
    place = spool / "queue"
    return sorted({*os.listdir(place)} - BOOKS) if place.exists() else []


def letters(maildir: Path) -> list[Letter]:
    """Return the messages of a Maildir, new and cur, oldest first."""
    found = []
    for folder in ("new", "cur"):
        for path in (maildir / folder).glob("*"):
            about = path.lstat()
            mode = stat.S_IMODE(about.st_mode)
            letter = Letter(path, path.read_bytes(), about.st_uid, about.st_gid, mode)
            found.append((about.st_mtime_ns, path.name, letter))
    return [letter for _, _, letter in sorted(found, key=lambda item: item[:2])]


@dataclass
class Box:
    """A trial in user mode: a spool, a configuration and a home of its own."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the directories; nothing is configured."""
        self.home = self.root / "home"
        self.spool = self.root / "spool"
        self.config_file = self.root / "etc" / "config.toml"
        self.home.mkdir(parents=True)
        self.config_file.parent.mkdir()
        self.env = measured(
            {
                "PATH": PATH,
                "HOME": str(self.home),
                "LANG": "C.UTF-8",
                "PYMAIL_SPOOL": str(self.spool),
                "PYMAIL_CONFIG": str(self.config_file),
                **self.env,
            }
        )

    @property
    def user(self) -> str:
        """The login name of whoever runs the tests."""
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name

    def config(self, text: str) -> None:
        """Write the configuration."""
        self.config_file.write_text(text)

    def aliases(self, text: str) -> None:
        """Write the aliases file and index it."""
        (self.config_file.parent / "aliases").write_text(text)
        done = self.run("newaliases")
        assert done.returncode == 0, done.stderr

    def run(
        self,
        program: str,
        *args: str | bytes,
        stdin: bytes = b"",
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 120,
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run one of pymail's programs (or another) in this trial."""
        return subprocess.run(
            argv(program, *args),
            input=stdin,
            capture_output=True,
            env={**self.env, **(env or {})},
            cwd=cwd or self.home,
            timeout=timeout,
            check=False,
        )

    def send(self, message: bytes, *args: str) -> None:
        """Submit a message that must be accepted."""
        done = self.run("sendmail", *(args or (self.user,)), stdin=message)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")

    def flush(self, *args: str) -> "subprocess.CompletedProcess[bytes]":
        """Run the queue once; it must succeed."""
        done = self.run("flush", *args)
        assert done.returncode == 0, done.stderr
        return done

    def queue(self) -> list[str]:
        """Return the names in the queue directory."""
        return queued(self.spool)

    def maildir(self, name: str = "Maildir") -> list[bytes]:
        """Return the messages in a Maildir of this trial's home, oldest first."""
        return [letter.data for letter in letters(self.home / name)]
