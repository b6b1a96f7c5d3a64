"""Where spool, configuration and aliases are, and who that depends on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import ROOT, needs_root

from pymail import paths

QUESTIONS = ("spool", "config", "aliases", "home")
ASK = (
    f"import sys, os; sys.path.insert(0, {str(ROOT)!r}); from pymail import paths as p;"
    "s = p.spool(); print(s, p.config(s), p.aliases(s), p.home(os.getuid()), sep=chr(10))"
)


@pytest.fixture
def nobody_here(monkeypatch, tmp_path):
    """A user whose home is known and empty; no system spool."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setattr(paths, "_own_home", lambda uid: str(home))
    monkeypatch.setattr(paths, "SYSTEM_SPOOL", str(tmp_path / "var"))
    monkeypatch.setenv("HOME", str(home))
    return home


def ask(machine, user: str, **env: str) -> dict[str, str]:
    """Ask as a user of the machine."""
    done = machine.run(user, sys.executable, "-I", "-c", ASK, env=env)
    assert done.returncode == 0, done.stderr
    return dict(zip(QUESTIONS, done.stdout.decode().splitlines(), strict=True))


def test_without_anything_all_is_in_the_users_home(nobody_here):
    assert paths.spool() == f"{nobody_here}/.local/state/pymail/spool"
    assert paths.config(paths.spool()) == f"{nobody_here}/.config/pymail/config.toml"
    assert paths.aliases(paths.spool()) == f"{nobody_here}/.config/pymail/aliases"


def test_the_xdg_directories_are_obeyed(nobody_here, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/x/state")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/x/config")
    assert paths.spool() == "/x/state/pymail/spool"
    assert paths.config(paths.spool()) == "/x/config/pymail/config.toml"


def test_but_not_where_home_is_somebody_elses(nobody_here, monkeypatch):
    monkeypatch.setenv("HOME", "/root")  # as from Debian's cron
    monkeypatch.setenv("XDG_STATE_HOME", "/x/state")
    assert paths.spool() == f"{nobody_here}/.local/state/pymail/spool"


def test_and_not_where_they_are_no_absolute_path(nobody_here, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    assert paths.spool() == f"{nobody_here}/.local/state/pymail/spool"


def test_a_system_spool_is_one_with_a_drop_directory(tmp_path):
    assert not paths.is_system(str(tmp_path))
    (tmp_path / "drop").mkdir()
    assert paths.is_system(str(tmp_path))


def test_a_trial_names_spool_and_configuration_and_its_home(nobody_here, monkeypatch, tmp_path):
    monkeypatch.setenv("PYMAIL_SPOOL", str(tmp_path / "trial"))
    monkeypatch.setenv("PYMAIL_CONFIG", "/trial/my.toml")
    monkeypatch.setenv("HOME", "/trial/home")
    assert paths.spool() == str(tmp_path / "trial")
    assert paths.config(paths.spool()) == "/trial/my.toml"
    assert paths.aliases(paths.spool()) == "/trial/aliases"
    assert paths.home(os.getuid()) == "/trial/home"
    assert paths.home(os.getuid() + 1) == str(nobody_here)
    monkeypatch.delenv("HOME")
    assert paths.home(os.getuid()) == str(nobody_here)


def test_a_trial_of_system_mode_has_the_homes_of_the_users(nobody_here, monkeypatch, tmp_path):
    (tmp_path / "trial" / "drop").mkdir(parents=True)
    monkeypatch.setenv("PYMAIL_SPOOL", str(tmp_path / "trial"))
    monkeypatch.setenv("HOME", "/trial/home")
    assert paths.home(os.getuid()) == str(nobody_here)
    assert paths.config(paths.spool()) == "/etc/pymail/config.toml"
    assert paths.aliases(paths.spool()) == "/etc/aliases"
    monkeypatch.setenv("PYMAIL_CONFIG", "/trial/my.toml")
    assert paths.aliases(paths.spool()) == "/trial/aliases"


def test_everybody_uses_the_system_spool_where_there_is_one(machine):
    for user in ("root", "alice"):
        assert ask(machine, user) == {
            "spool": "/var/spool/pymail",
            "config": "/etc/pymail/config.toml",
            "aliases": "/etc/aliases",
            "home": str(machine.home(user)),
        }


def test_a_user_with_a_configuration_of_pymail_runs_in_user_mode(machine):
    machine.write("alice", ".config/pymail/config.toml", "")
    assert ask(machine, "alice") == {
        "spool": "/home/alice/.local/state/pymail/spool",
        "config": "/home/alice/.config/pymail/config.toml",
        "aliases": "/home/alice/.config/pymail/aliases",
        "home": "/home/alice",
    }
    assert ask(machine, "bob")["spool"] == "/var/spool/pymail"


def test_identity_is_the_uid_and_not_the_environment(machine):
    """Debian's cron starts jobs' mailers with root's HOME, dovecot-lda with nothing."""
    machine.write("alice", ".config/pymail/config.toml", "")
    want = ask(machine, "alice")
    assert ask(machine, "alice", HOME="/root", USER="root", LOGNAME="root") == want
    assert ask(machine, "alice", HOME="/home/bob", XDG_STATE_HOME="/tmp/x") == want


def test_a_uid_without_an_entry_has_home_or_the_root_directory(tmp_path):
    needs_root()
    for env, home in (({"HOME": "/some/where"}, "/some/where"), ({}, "/")):
        done = subprocess.run(
            [sys.executable, "-I", "-c", ASK],
            env=env,
            user=54321,
            group=54321,
            extra_groups=[],
            capture_output=True,
            check=True,
        )
        assert done.stdout.decode().splitlines()[3] == home


@pytest.mark.parametrize("flags", ["", "I", "IS", "S"])
def test_another_program_is_run_with_the_flags_of_this_one(flags):
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pymail import paths;"
        "print(paths.program('mailq', '-j')[1])"
    )
    command = [sys.executable, *(f"-{flag}" for flag in flags), "-c", code]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout.decode() == f"-P{flags}\n"


def test_the_other_program_runs_under_its_own_name_and_nothing_of_the_current_directory(tmp_path):
    (tmp_path / "pymail").mkdir()
    (tmp_path / "pymail" / "__init__.py").write_text("raise SystemExit(99)")
    (tmp_path / "fcntl.py").write_text("raise SystemExit(98)")
    done = subprocess.run(
        paths.program("mailq", "--version"), cwd=tmp_path, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout[:7]) == (0, b"pymail ")
    done = subprocess.run(paths.program("mailq", "-Z"), capture_output=True, check=False)
    assert done.stderr.startswith(b"mailq: ")
    assert Path(paths.program("flush")[0]) == Path(sys.executable)
