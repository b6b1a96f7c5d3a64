"""The units under a real systemd: process 1 of namespaces of its own, over this machine's root."""

import os
import subprocess
import sysconfig
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from harness import ROOT, Letter, letters, missing, needs

SYSTEMD = "/lib/systemd/systemd"
LIB = "/opt/pymail"
WAIT = 60
ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
ADMIN = (
    f"import sys; sys.path.insert(0, {LIB!r}); sys.argv[0] = 'pymail';"
    "from pymail.cli.admin import main; raise SystemExit(main())"
)
BOOT = r"""
set -e
mount -t tmpfs none "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 none sys/fs/cgroup
mkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified
mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd 2> /dev/null ||
    { umount sys/fs/cgroup; mount -t cgroup2 cgroup2 sys/fs/cgroup; }
for place in run tmp var/tmp var/spool home; do
    mount -t tmpfs -o mode=755 none "$place"
done
chmod 1777 tmp var/tmp
mount --rbind /dev dev
mount -t tmpfs none etc/cron.d
rm -rf etc/systemd/system
mkdir -p etc/systemd/system
cat > etc/systemd/system/test.target <<EOF
[Unit]
Requires=sockets.target timers.target paths.target
After=sockets.target timers.target paths.target
DefaultDependencies=no
EOF
ln -s test.target etc/systemd/system/default.target
mkdir -p opt/pymail
cp -r "$2/pymail" opt/pymail/
for package in click dns tomli_w keyring; do cp -r "$3/$package" opt/pymail/; done
exec chroot . env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    "$4" --system --log-target=null --show-status=no
"""


class Booted:
    """A systemd that runs, and what can be run beside it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        packages = sysconfig.get_paths()["purelib"]
        self._boot = subprocess.Popen(
            ["unshare", "--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup", "--fork",
             "--kill-child=KILL", "sh", "-c", BOOT, "sh", place, ROOT, packages, SYSTEMD],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def end(self) -> None:
        """Kill it, and with it everything in its namespaces."""
        self._boot.kill()
        self._boot.communicate()

    @property
    def init(self) -> int:
        """Its pid as seen from here, 0 before there is one."""
        children = Path(f"/proc/{self._boot.pid}/task/{self._boot.pid}/children").read_text()
        pid = int(children.split()[0]) if children.split() else 0
        return pid if pid and Path(f"/proc/{pid}/comm").read_text() == "systemd\n" else 0

    def run(self, *command: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        """Run a program there, as root."""
        inside = ["nsenter", f"--target={self.init}", "--all", "--wd=/", "--root"]
        return subprocess.run(
            [*inside, *command], input=stdin, capture_output=True, check=False, env=ENV,
            timeout=WAIT,
        )  # fmt: skip

    def file(self, path: str) -> Path:
        """Return a file there as a path of ours."""
        return Path(f"/proc/{self.init}/root{path}")

    def wait(self) -> str:
        """Wait until it is up; return "" or why it is not."""
        until = time.monotonic() + WAIT
        while time.monotonic() < until:
            if self._boot.poll() is not None:
                assert self._boot.stdout
                return self._boot.stdout.read().decode(errors="replace").strip() or "it has ended"
            if self.init:
                done = self.run("systemctl", "is-active", "test.target")
                if done.stdout.strip() == b"active":
                    return ""
            time.sleep(0.1)
        return "it does not come up"


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    needs("unshare", "nsenter", "systemctl", "/usr/bin/python3")
    if os.getuid() != 0:
        pytest.skip("not root")
    if not Path(SYSTEMD).exists():
        missing("systemd")
    there = Booted(tmp_path_factory.mktemp("systemd"))
    try:
        why = there.wait()
        if why:
            pytest.skip(f"systemd cannot run in namespaces here: {why}")
        for name, uid in (("alice", 4001), ("bob", 4002)):
            made = there.run("useradd", "-m", "-u", str(uid), name)
            assert made.returncode == 0, made
        setup(there, "--start", "systemd")
        yield there
    finally:
        there.end()


def arrived(there: Booted, wanted: Iterable[str]) -> dict[str, Letter]:
    """Wait for letters with these subjects to alice; return what came."""
    until = time.monotonic() + WAIT
    while True:
        found = letters(there.file("/home/alice/Maildir"))
        got = {each.values("subject")[0]: each for each in found}
        if got.keys() >= set(wanted) or time.monotonic() > until:
            return got
        time.sleep(0.05)


def test_the_units_run(booted: Booted) -> None:
    for unit in ("pymail-flush.timer", "pymail-flush.path", "pymail-submit.socket"):
        assert booted.run("systemctl", "is-active", unit).stdout == b"active\n", unit
    listed = booted.run("systemctl", "list-timers", "--all", "--no-legend").stdout
    assert b"pymail-flush.service" in listed


def test_check_misses_the_socket(booted: Booted) -> None:
    def checked() -> bytes:
        return booted.run("/usr/bin/python3", "-I", "-c", ADMIN, "check").stdout

    assert b"/run/pymail/submit" not in checked()
    booted.run("systemctl", "stop", "pymail-submit.socket")
    booted.run("rm", "-f", "/run/pymail/submit")
    assert b"nobody listens at /run/pymail/submit: pymail setup, or systemctl" in checked()
    booted.run("systemctl", "start", "pymail-submit.socket")
    assert b"/run/pymail/submit" not in checked()


def test_a_letter_starts_flush(booted: Booted) -> None:
    letter = b"Subject: at once\n\nx\n"
    done = booted.run("runuser", "-u", "bob", "/usr/sbin/sendmail", "alice", stdin=letter)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "at once" in arrived(booted, ["at once"])


def test_many_letters_in_a_row_end_no_unit(booted: Booted) -> None:
    """By default systemd gives up a unit that is started six times in ten seconds."""
    for number in range(12):
        letter = f"Subject: row {number}\n\nx\n".encode()
        booted.run("runuser", "-u", "bob", "/usr/sbin/sendmail", "alice", stdin=letter)
        arrived(booted, [f"row {number}"])
    for unit in ("pymail-flush.path", "pymail-flush.timer"):
        assert booted.run("systemctl", "is-active", unit).stdout == b"active\n", unit
    assert booted.run("systemctl", "is-failed", "pymail-flush.service").stdout != b"failed\n"


SANDBOXES = {
    "none": ("User=bob",),
    "no new privileges": ("User=bob", "NoNewPrivileges=yes"),
    "private tmp": ("User=bob", "PrivateTmp=yes"),
    "strict": ("User=bob", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes"),
    "read only": ("User=bob", "ReadOnlyPaths=/"),
    "dynamic": ("DynamicUser=yes",),
    "hidden": ("User=bob", "TemporaryFileSystem=/var", "NoNewPrivileges=yes"),
    "private users": ("User=bob", "PrivateUsers=yes", "ProtectSystem=strict"),
    "unix sockets only": ("User=bob", "RestrictAddressFamilies=AF_UNIX", "ProtectSystem=strict"),
    "root": ("ProtectSystem=strict", "CapabilityBoundingSet=", "NoNewPrivileges=yes"),
    "all": (
        "DynamicUser=yes", "NoNewPrivileges=yes", "PrivateTmp=yes", "ProtectSystem=strict",
        "ProtectHome=yes", "PrivateDevices=yes", "PrivateNetwork=yes",
        "RestrictAddressFamilies=AF_UNIX", "SystemCallFilter=@system-service",
        "MemoryDenyWriteExecute=yes", "RestrictNamespaces=yes", "ProtectProc=invisible",
    ),
}  # fmt: skip


def test_every_sandboxed_service_submits(booted: Booted) -> None:
    sent: list[str] = []
    for name, options in SANDBOXES.items():
        unit = f"box-{name.replace(' ', '-')}.service"
        command = f"printf 'Subject: {name}\\\\n\\\\nx\\\\n' | /usr/sbin/sendmail -oi alice"
        lines = ["[Unit]", "DefaultDependencies=no", "[Service]", "Type=oneshot", *options]
        text = "\n".join([*lines, f'ExecStart=/bin/sh -c "{command}"', ""])
        booted.file(f"/etc/systemd/system/{unit}").write_text(text)
        done = booted.run("systemctl", "start", unit)
        told = booted.run("systemctl", "show", "-p", "ExecMainStatus", unit).stdout.decode()
        if "=217" in told and name == "private users":
            continue  # user namespaces are not to be had here: systemd could not start it
        assert done.returncode == 0, (name, told)
        sent.append(name)
    kept = arrived(booted, sent)
    assert kept.keys() >= set(sent)
    assert "from userid 4002" in kept["strict"].values("received")[0]
    assert "from userid 0" in kept["root"].values("received")[0]
    dynamic = kept["all"].values("return-path")[0]
    assert dynamic.startswith("<box-all@"), dynamic  # the name that the user had while it was there


def setup(there: Booted, *args: str) -> list[str]:
    done = there.run("/usr/bin/python3", "-I", "-c", ADMIN, "setup", *args)
    assert (done.returncode, done.stderr) == (0, b""), done
    return done.stdout.decode().splitlines()


def test_for_a_user_made_later_setup_run_again_takes_effect(booted: Booted) -> None:
    setup(booted)  # the user pymail is one that the first run has made
    assert setup(booted) == []
    assert booted.run("useradd", "-m", "-u", "4003", "carol").returncode == 0
    said = setup(booted)
    assert said[0] == "file /etc/systemd/system/pymail-flush.path, mode 0644"
    assert said[1:] == ["systemctl restart pymail-flush.path, by its new file"]
    watched = booted.run("systemctl", "show", "--property=Paths", "pymail-flush.path").stdout
    assert b"/var/spool/pymail/drop/u4003 " in watched
    assert booted.run("systemctl", "is-active", "pymail-flush.path").stdout == b"active\n"
    assert setup(booted) == []


@pytest.mark.parametrize(
    ("changed", "unit", "ours", "other"),
    [
        ("submit.socket", "submit.socket", "MaxConnections=64", "MaxConnections=9"),
        ("flush.timer", "flush.timer", "OnBootSec=30s", "OnBootSec=9s"),
        ("flush.service", "flush.timer", "KillMode=process", "KillMode=mixed"),
    ],
)
def test_a_unit_whose_file_was_of_another_version_is_started_anew(
    booted: Booted, changed: str, unit: str, ours: str, other: str
) -> None:
    file = booted.file(f"/etc/systemd/system/pymail-{changed}")
    text = file.read_text()
    file.write_text(text.replace(ours, other))
    for words in (("daemon-reload",), ("restart", f"pymail-{unit}")):
        assert booted.run("systemctl", *words).returncode == 0

    def runs_by(setting: str) -> bool:
        shown = booted.run("systemctl", "show", f"pymail-{changed}").stdout.decode()
        return f"{setting}\n" in shown or f"{setting.replace('Sec=', 'USec=')} ;" in shown

    assert runs_by(other)
    assert f"systemctl restart pymail-{unit}, by its new file" in setup(booted)
    assert file.read_text() == text
    assert runs_by(ours)
    assert booted.run("systemctl", "is-active", f"pymail-{unit}").stdout == b"active\n"
    assert setup(booted) == []


def test_setup_takes_its_units_away(booted: Booted) -> None:
    done = booted.run("/usr/bin/python3", "-I", "-c", ADMIN, "setup", "--remove")
    assert (done.returncode, done.stderr) == (0, b""), done
    left = booted.run(
        "sh", "-c", "ls /etc/systemd/system | grep pymail; test -e /run/pymail/submit"
    )
    assert left.stdout == b""
    assert not booted.file("/usr/local/lib/pymail").exists()
