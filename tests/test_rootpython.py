"""Python that root runs: neither the directory, nor the home, nor the environment slips code in.

The launchers start Python isolated (-I); what programs start in turn is isolated as well.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import BIN, PATH, ROOT

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"

# Modules that the programs import, and names that Python looks for by itself.
MODULES = (
    *("errno", "fcntl", "pwd", "syslog", "binascii", "time", "json", "re", "tomllib", "select"),
    *("dataclasses", "subprocess", "pickle", "socket", "hashlib", "click", "signal", "typing"),
    *("sitecustomize", "usercustomize"),
)

PROGRAMS = (
    ("/usr/sbin/sendmail", "bob"),
    ("/usr/sbin/sendmail", "-odi", "bob"),
    ("/usr/sbin/sendmail", "-bs"),
    ("/usr/sbin/sendmail", "-bp"),
    ("/usr/sbin/sendmail", "-bi"),
    ("/usr/sbin/sendmail", "-bv", "bob"),
    ("/usr/sbin/sendmail", "-q"),
    ("/usr/sbin/flush", "-v"),
    ("/usr/bin/mailq",),
    ("/usr/bin/newaliases",),
    ("/usr/bin/mail", "-s", "s", "bob"),
    ("/usr/bin/pymail", "check"),
    ("/usr/bin/pymail", "config"),
    ("/usr/bin/pymail", "queue", "list"),
    ("/usr/bin/pymail", "explain", "bob"),
)


@pytest.fixture
def trap(tmp_path) -> Path:
    """A directory full of modules that leave a mark when they are run."""
    place = tmp_path / "trap"
    packages = place / ".local" / "lib" / VERSION / "site-packages"
    packages.mkdir(parents=True)
    sprung = f"open({str(place / 'sprung')!r}, 'a').write(__name__ + chr(10))\n"
    for name in MODULES:
        for folder in (place, packages):
            (folder / f"{name}.py").write_text(sprung)
    for folder in (place, packages):
        (folder / "pymail").mkdir()
        (folder / "pymail" / "__init__.py").write_text(sprung)
    (packages / "evil.pth").write_text(f"import sys; exec({sprung!r})\n")
    (place / "startup.py").write_text(sprung)
    (place / "pyvenv.cfg").write_text(f"home = {place}\n")
    return place


def sprung(trap: Path) -> list[str]:
    mark = trap / "sprung"
    return mark.read_text().split() if mark.exists() else []


def hostile(trap: Path) -> dict[str, str]:
    """Return what su -m or a kept environment may bring.

    Not LD_PRELOAD, nor PYTHONEXECUTABLE, which -I of Python 3.11 obeys: whoever can set these for
    root is root.
    """
    return {
        "PATH": f"{trap}:{PATH}",
        "HOME": str(trap),
        "XDG_CONFIG_HOME": str(trap),
        "PYTHONPATH": str(trap),
        "PYTHONHOME": str(trap),
        "PYTHONUSERBASE": str(trap / ".local"),
        "PYTHONSTARTUP": str(trap / "startup.py"),
        "PYTHONINSPECT": "1",
        "PYTHONBREAKPOINT": "usercustomize.x",
        "PYTHONWARNINGS": "error::usercustomize.X",
        "PYTHONPLATLIBDIR": str(trap),
        "PYTHONSAFEPATH": "",
    }


def test_the_trap_works(trap):
    """Without -I it springs: else the tests below would show nothing."""
    script = BIN / "mailq"
    env = {"PYTHONPATH": str(trap), "PATH": PATH, "HOME": str(trap)}
    subprocess.run([sys.executable, script], cwd=trap, env=env, check=False, capture_output=True)
    assert sprung(trap)


@pytest.mark.parametrize("line", PROGRAMS, ids=" ".join)
def test_nothing_of_the_directory_the_home_or_the_environment_runs_as_root(machine, trap, line):
    machine.send("alice", b"Subject: waiting\n\n", "bob")
    machine.aliases('root: alice\ncommand: "|cat"\n')
    program, *args = line
    done = machine.run("root", program, *args, cwd=trap, env=hostile(trap), stdin=b"QUIT\n")
    assert done.returncode == 0 or line[1:] == ("check",), done.stderr
    assert b"Traceback" not in done.stderr
    assert sprung(trap) == []


def test_nor_does_it_in_what_flush_starts(machine, trap):
    machine.aliases(f'root: alice\ncommand: "|{sys.executable} -c pass"\n')
    machine.write("bob", ".forward", f'"|{sys.executable} -c pass"\n')
    for recipient in ("alice", "bob", "command"):
        machine.send("carol", b"Subject: s\n\n", recipient)
    done = machine.run("root", "/usr/sbin/flush", cwd=trap, env=hostile(trap))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert machine.queue() == []
    assert sprung(trap) == []


def test_users_are_as_safe_as_root(machine, trap):
    for folder, _, names in os.walk(trap):
        os.chmod(folder, 0o777)
        for name in names:
            os.chmod(f"{folder}/{name}", 0o666)
    done = machine.run("alice", "/usr/sbin/sendmail", "bob", cwd=trap, env=hostile(trap), stdin=b"")
    assert done.returncode == 0
    assert sprung(trap) == []


def test_every_launcher_that_is_installed_for_root_is_isolated(machine):
    for name in ("/usr/sbin/sendmail", "/usr/sbin/flush", "/usr/bin/mailq", "/usr/bin/newaliases"):
        first = Path(name).read_text().splitlines()[0]
        assert first.split()[1:] == ["-I"]


def test_the_project_is_not_found_by_accident(trap):
    """What is tested here is this checkout and nothing that happens to be installed."""
    done = subprocess.run(
        [sys.executable, "-I", BIN / "mailq", "--version"],
        cwd=trap,
        check=True,
        capture_output=True,
    )
    version = (ROOT / "pymail" / "__init__.py").read_text()
    assert done.stdout.decode().split()[1] in version
