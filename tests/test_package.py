"""The Debian package, installed with dpkg and apt: what it brings, takes and leaves."""

import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import chroots
import pytest
from chroots import BASE, CRON, Chroot, chroot
from harness import needs
from machine import Machine

from pymail import __version__

LETTER = "From: {user} (Cron Daemon)\nTo: {user}\nSubject: Cron\n\nhello {user}\n"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built from this checkout."""
    return chroots.package(tmp_path_factory.mktemp("package"))


@contextmanager
def debian(place: Path, base: Path, package: Path) -> Iterator[Chroot]:
    """A Debian with the package as /pymail.deb."""
    with chroot(place, base) as here:
        (here.root / "pymail.deb").write_bytes(package.read_bytes())
        yield here


def installed(here: Chroot, name: str) -> bool:
    """Say whether a package is there."""
    done = here.run("dpkg-query", "-W", "-f", "${db:Status-Abbrev}", name)
    return done.stdout.startswith(b"ii")


def test_it_takes_the_place_of_any_other_and_goes(
    machine: Machine, tmp_path: Path, package: Path, *, whole: bool
) -> None:
    if not whole:
        needs("postfix", "cron")
    del machine
    with debian(tmp_path, BASE if whole else Path("/"), package) as here:
        it_comes(here)
        it_works(here)
        it_goes(here)


def it_comes(here: Chroot) -> None:
    """Install it where Postfix is, and then cron."""
    if not installed(here, "postfix"):
        here.apt("install", "--no-install-recommends", "postfix")
    here.apt("install", "--no-install-recommends", "./pymail.deb")
    assert not installed(here, "postfix")
    assert here.call("pymail", "--version").strip().endswith(__version__)

    if not installed(here, "cron"):
        assert "exim" not in here.apt("install", "cron")


def it_works(here: Chroot) -> None:
    """Send what cron sends; look at what is where."""
    for user in ("root", "alice"):
        here.call(*CRON, user, user=user, stdin=LETTER.format(user=user).encode())
    assert "2 Requests" in here.call("mailq")
    minutes, command = scheduled(here)
    assert minutes == "* * * * *"
    assert here.call("sh", "-c", command) == ""
    letters = sorted(letter.partition("\n\n")[2] for letter in here.letters("alice"))
    assert letters == ["hello alice\n", "hello root\n"]
    told = here.call("pymail", "check").splitlines()
    assert [line for line in told if "tmpfs" not in line and "overlay" not in line] == []

    for place, target in (
        ("usr/lib/sendmail", "../sbin/sendmail"),
        ("etc/alternatives/mailx", "/usr/lib/pymail/mailx"),
        ("etc/alternatives/mail", "/usr/lib/pymail/mail"),
    ):
        assert (here.root / place).readlink() == Path(target)
    first = (here.root / "usr/sbin/sendmail").read_text().splitlines()[0]
    assert first == "#!/usr/bin/python3 -IS"
    spool = here.root / "var/spool/pymail"
    modes = [stat.S_IMODE((spool / name).stat().st_mode) for name in (".", "queue", "drop")]
    assert modes == [0o755, 0o700, 0o1733]


def it_goes(here: Chroot) -> None:
    """Take it away in each way."""
    # A letter that nobody got is left, whatever goes, and told.
    here.call(*CRON, "alice", user="alice", stdin=LETTER.format(user="later").encode())
    gone = here.run("dpkg", "--purge", "pymail")
    assert gone.returncode == 0
    assert b"leave /var/spool/pymail: messages wait in it (1)\n" in gone.stdout
    assert b"pymail: left /var/spool/pymail: it has mail that nobody got\n" in gone.stderr
    assert not (here.root / "usr/sbin/sendmail").exists()
    here.call("dpkg", "--install", "/pymail.deb")
    here.call("flush")
    assert any("hello later" in letter for letter in here.letters("alice"))

    # An upgrade keeps all, and a removal what may be wanted again.
    here.call("pymail", "config", "set", "relayhost", "[smtp.isp.example]")
    here.call("dpkg", "--install", "/pymail.deb")
    here.call("dpkg", "--remove", "pymail")
    assert here.call("sh", "-c", scheduled(here)[1]) == ""
    assert "smtp.isp" in (here.root / "etc/pymail/conf.d/90-pymail.toml").read_text()
    here.call("dpkg", "--purge", "pymail")
    places = ("/etc", "/usr", "/lib", "/var/spool", "/var/lib")
    assert here.call("find", *places, "-name", "*pymail*") == ""


def scheduled(here: Chroot) -> tuple[str, str]:
    """Return when cron does what as root."""
    line = (here.root / "etc/cron.d/pymail").read_text().splitlines()[-1]
    minutes, _, command = line.partition(" root ")
    return minutes, command


@pytest.mark.usefixtures("sweep", "machine")
def test_debians_cron_has_its_letters_delivered(tmp_path: Path, package: Path) -> None:
    with debian(tmp_path, BASE, package) as here:
        assert "Inst exim4" in here.apt("--simulate", "install", "cron")
        here.apt("install", "--no-install-recommends", "./pymail.deb")
        assert "Inst exim4" not in here.apt("--simulate", "install", "cron")
        here.apt("install", "cron")
        here.call("crontab", "-u", "alice", "-", stdin=b"* * * * * echo from the job\n")
        here.call("cron")
        end = time.monotonic() + 150
        while not here.letters("alice") and time.monotonic() < end:
            time.sleep(1)
        (letter, *_) = here.letters("alice")
    assert "\nSubject: Cron <alice@box> echo from the job\n" in letter
    assert letter.endswith("\n\nfrom the job\n")


def test_setup_makes_what_the_package_cannot_know(
    machine: Machine, tmp_path: Path, package: Path
) -> None:
    needs("systemctl", "systemd-analyze")
    del machine
    with debian(tmp_path, Path("/"), package) as here:
        here.run("dpkg", "--force-depends", "--remove", "postfix", "postfix-pcre")
        here.call("dpkg", "--install", "/pymail.deb")
        assert here.call("pymail", "setup") == ""
        refused = here.run("pymail", "setup", "--start", "cron")
        words = b"cannot start flush by cron: the package has a timer, and cron's line"
        assert (refused.returncode, words in refused.stderr) == (64, True)

        # Another installation may stand over the package, and go.
        here.checkout()
        here.pymail("setup", "--yes", "--start", "none")
        assert "/usr/local/lib/pymail/sendmail" in here.call("readlink", "/usr/sbin/sendmail")
        here.pymail("setup", "--remove", "--start", "none")
        assert here.call("head", "-n1", "/usr/sbin/sendmail") == "#!/usr/bin/python3 -IS\n"
        assert here.call("mailq") == "Mail queue is empty\n"
        assert (here.root / "var/spool/pymail/drop").is_dir()

        (here.root / "run/systemd/system").mkdir(parents=True, exist_ok=True)
        said = here.call("pymail", "setup", "--dry-run").splitlines()
        uid = here.call("id", "-u", "alice").strip()
        assert said[0] == "file /etc/systemd/system/pymail-flush.path, mode 0644:"
        assert f"    PathChanged=/var/spool/pymail/drop/u{uid}" in said
        assert said[-1] == "systemctl enable --now pymail-flush.path"
        units = [f"/lib/systemd/system/pymail-flush.{kind}" for kind in ("service", "timer")]
        found = here.run("systemd-analyze", "verify", "--man=no", *units)
        assert "pymail" not in found.stderr.decode()
