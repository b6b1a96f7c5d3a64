"""The package as a whole: what starts up, what is installed, what may import what."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from harness import BIN, PATH, ROOT, Box, missing
from machine import Machine

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROGRAMS = ("sendmail", "mailq", "newaliases", "mail", "mailx", "flush", "pymail")

# What the programs that cron starts may load, besides what an isolated interpreter has loaded
# anyway.  Each line is measured time: see whether a new name is worth its milliseconds to every
# letter that is ever sent.
GROUND = {"errors", "paths", "log", "address", "message", "envelope", "stream"}
GROUND |= {"queuefile", "draft", "spool", "pickup"}
SHOWN = {"entry", "waiting"}  # what waits in the queue: mailq's alone
STANDARD = {"errno", "fcntl", "pwd", "syslog", "binascii"}

LOADED = """
import sys, os
before = set(sys.modules)
sys.argv = sys.argv[1:]
sys.path.insert(0, {root!r})
exec("from pymail.cli." + sys.argv[0] + " import main")
out = os.dup(1)
os.dup2(2, 1)
try:
    status = main()
except SystemExit as end:
    status = end.code
os.write(out, " ".join([str(status), *sorted(set(sys.modules) - before)]).encode())
"""


def loaded(box: Box, program: str, *args: str, stdin: bytes = b"") -> set[str]:
    """Run a program without site and return the modules that it loads."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LOADED.format(root=str(ROOT)), program, *args],
        input=stdin,
        capture_output=True,
        env=box.env,
        cwd=box.home,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    status, *names = done.stdout.decode().split()
    assert status == "0", done.stderr.decode()
    return set(names) - {"pymail", "pymail.cli"}


def allowed(*faces: str) -> set[str]:
    return (
        STANDARD | {f"pymail.{name}" for name in GROUND} | {f"pymail.cli.{name}" for name in faces}
    )


def test_sendmail_loads_the_ground_layer_and_nothing_else(box: Box) -> None:
    names = loaded(box, "sendmail", "-t", stdin=b"To: root\nSubject: x\n\nbody\n")
    assert names - allowed("sendmail") == set()
    assert len(box.queue()) == 1


def test_mailq_loads_the_ground_layer_and_nothing_else(box: Box) -> None:
    box.send(b"Subject: x\n\nbody\n")
    shown = {f"pymail.{name}" for name in SHOWN}
    assert loaded(box, "mailq") - allowed("mailq") - shown == set()


def test_an_idle_flush_loads_the_ground_layer_and_nothing_else(box: Box) -> None:
    assert loaded(box, "flush") - allowed("flush") == set()
    box.send(b"Subject: x\n\nbody\n")
    box.flush()
    assert box.queue() == []
    assert loaded(box, "flush") - allowed("flush") == set()


def test_every_ground_module_stands_in_the_contract_of_the_submission_path() -> None:
    forbidden = next(
        contract
        for contract in PROJECT["tool"]["importlinter"]["contracts"]
        if contract["type"] == "forbidden"
    )
    assert {f"pymail.{name}" for name in GROUND | SHOWN} <= set(forbidden["source_modules"])


def test_imports_go_downward() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode()


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_program_says_its_version(box: Box, program: str) -> None:
    import pymail

    done = box.run(program, "--version")
    assert (done.returncode, done.stderr) == (0, b"")
    assert pymail.__version__ in done.stdout.decode()


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_program_says_how_to_use_it(box: Box, program: str) -> None:
    done = box.run(program, "--help")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"usage: " in done.stdout.lower()


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_launch_script_is_three_lines_for_any_interpreter(program: str) -> None:
    script = (BIN / program).read_text()
    lines = [line for line in script.splitlines() if line]
    assert lines[0] == "#!python", "pip puts the interpreter there"
    assert len(lines) == 4
    assert os.access(BIN / program, os.X_OK)


def build(what: str, source: Path, place: Path) -> Path:
    """Build a wheel or a source archive without asking the network for anything."""
    command = [sys.executable, "-m", "build", f"--{what}", "--no-isolation", "-o", place, source]
    env = {**os.environ, "HOME": str(place)}
    done = subprocess.run(command, check=False, capture_output=True, env=env)
    assert done.returncode == 0, done.stdout.decode()
    return next(place.iterdir())


def test_pip_installs_programs_manuals_and_completions_and_takes_them_away(tmp_path: Path) -> None:
    wheel = build("wheel", ROOT, tmp_path / "wheel")
    place = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)

    def pip(*args: str) -> None:
        command = [sys.executable, "-m", "pip", "--python", place / "bin" / "python"]
        command += ["--disable-pip-version-check", *args]
        env = {"PATH": PATH, "HOME": str(tmp_path)}
        done = subprocess.run(command, capture_output=True, env=env, check=False)
        if b"No module named pip" in done.stderr:
            missing("pip is not installed beside this interpreter")
        assert done.returncode == 0, done.stderr.decode()

    def files() -> set[str]:
        return {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}

    pip("install", "--no-deps", "--no-index", str(wheel))
    wanted = {f"bin/{name}" for name in PROGRAMS}
    wanted |= {f"share/man/man{p.name[-1]}/{p.name}" for p in (ROOT / "man").iterdir()}
    for shell, folder in (
        ("bash", "bash-completion/completions"),
        ("zsh", "zsh/site-functions"),
        ("fish", "fish/vendor_completions.d"),
    ):
        wanted |= {f"share/{folder}/{p.name}" for p in (ROOT / "completions" / shell).iterdir()}
    assert wanted - files() == set()
    # with no environment at all, as dovecot-lda starts it
    shown = subprocess.run(
        [place / "bin" / "sendmail", "--version"], env={}, capture_output=True, check=False
    )
    assert (shown.returncode, shown.stderr) == (0, b"")

    pip("uninstall", "-y", "pymail")
    assert wanted & files() == set()


def test_the_source_archive_builds_the_same_wheel(tmp_path: Path) -> None:
    import zipfile

    direct = zipfile.ZipFile(build("wheel", ROOT, tmp_path / "direct")).namelist()
    archive = build("sdist", ROOT, tmp_path / "archive")
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path], check=True)
    unpacked = next(path for path in tmp_path.iterdir() if path.name.startswith("pymail-"))
    again = zipfile.ZipFile(build("wheel", unpacked, tmp_path / "again")).namelist()
    assert set(again) == set(direct)


TRESPASS = """
import os, pwd, socket
from pathlib import Path

HOME = Path(pwd.getpwuid(os.getuid()).pw_dir)

def test_home():
    (HOME / "dead.letter").write_text("x")

def test_spool():
    Path("/var/spool/pymail").mkdir()

def test_network():
    socket.create_connection(("192.0.2.1", 25), 1)

def test_loopback():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
"""


def test_a_test_that_leaves_its_place_fails(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "test_trespass.py").write_text(TRESPASS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n0",
        "-q",
        "-p",
        "conftest",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(
        [*command, "-c", ROOT / "pyproject.toml", f"--rootdir={tmp_path}", tmp_path],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        cwd=tmp_path,
        check=False,
    )
    said = done.stdout.decode()
    assert "1 failed, 3 passed, 2 errors in" in said, said
    for word in ("dead.letter", "/var/spool/pymail", "192.0.2.1"):
        assert word in said
