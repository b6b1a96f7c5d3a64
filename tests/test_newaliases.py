"""newaliases: silent when all is well, every mistake with its place, an index for large files."""

import os
import subprocess
from pathlib import Path

import pytest
from harness import Box, needs_root


def aliases_file(box: Box) -> Path:
    return box.config_file.parent / "aliases"


def index(box: Box) -> list[str]:
    return [name for name in os.listdir(box.spool) if name.endswith(".index")]


def test_a_good_file_is_passed_over_in_silence(box: Box) -> None:
    aliases_file(box).write_text("root: alice\npostmaster: root\n")
    done = box.run("newaliases")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_no_aliases_file_is_nothing_to_complain_of(box: Box) -> None:
    done = box.run("newaliases")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_file_that_is_named_must_be_there(box: Box) -> None:
    box.config('alias_maps = ["/no/such/file"]\n')
    done = box.run("newaliases")
    assert done.returncode == 66
    assert done.stderr == b"newaliases: cannot read /no/such/file: No such file or directory\n"
    assert box.run("newaliases", "/no/such/other").returncode == 66


def test_every_mistake_is_told_and_an_unusable_alias_is_status_65(box: Box) -> None:
    aliases_file(box).write_text("a: b\nempty:\nu@x.org: c\nA: d\n")
    done = box.run("newaliases")
    place = f"newaliases: {aliases_file(box)}, line"
    assert done.stderr.decode().splitlines() == [
        f"{place} 2: missing value for the alias empty",
        f"{place} 3: name must be local: u@x.org",
        f"{place} 4: duplicate alias a: the one on line 1 counts",
    ]
    assert (done.returncode, done.stdout) == (65, b"")


def test_a_mere_warning_is_status_0(box: Box) -> None:
    aliases_file(box).write_text("a: b\na: c\n")
    done = box.run("newaliases")
    assert done.returncode == 0
    assert b"line 2: duplicate alias a" in done.stderr


def test_control_characters_of_the_file_do_not_reach_the_terminal(box: Box) -> None:
    aliases_file(box).write_text("a\x1b[2Jb@c: d\n")
    done = box.run("newaliases")
    assert done.returncode == 65
    assert b"\x1b" not in done.stderr


def test_a_broken_configuration_is_told(box: Box) -> None:
    box.config("alias_map = 1\n")
    done = box.run("newaliases")
    assert done.returncode == 78
    assert b"did you mean alias_maps?" in done.stderr


def test_files_may_be_named_as_sendmail_bi_does(box: Box) -> None:
    other = box.root / "other"
    other.write_text("a:\n")
    assert box.run("newaliases", str(other)).returncode == 65
    assert box.run("newaliases", "-v", "--", str(other)).returncode == 65


def test_help_and_version_and_nothing_else(box: Box) -> None:
    assert box.run("newaliases", "--help").stdout.startswith(b"usage: newaliases")
    assert box.run("newaliases", "--version").stdout.startswith(b"pymail ")
    done = box.run("newaliases", "--frobnicate")
    assert (done.returncode, done.stdout) == (64, b"")
    assert done.stderr == b"newaliases: option --frobnicate not supported\n"


def test_a_large_file_is_indexed_in_the_spool(box: Box) -> None:
    box.spool.mkdir(mode=0o700)
    aliases_file(box).write_text("".join(f"u{n}: v{n}\n" for n in range(10000)))
    done = box.run("newaliases")
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(index(box)) == 1
    aliases_file(box).write_text("u: v\n")
    assert box.run("newaliases").returncode == 0
    assert index(box) == []


def test_without_a_spool_it_only_checks(box: Box) -> None:
    aliases_file(box).write_text("".join(f"u{n}: v{n}\n" for n in range(10000)))
    assert box.run("newaliases").returncode == 0
    assert not box.spool.exists()


def test_anybody_may_check_but_only_the_owner_of_the_spool_writes(
    box: Box, tmp_path_factory: pytest.TempPathFactory
) -> None:
    needs_root()
    box.spool.mkdir(mode=0o755)
    aliases_file(box).write_text("bad:\n" + "".join(f"u{n}: v{n}\n" for n in range(10000)))
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all",
         *_readable_by_anybody(box)],
        capture_output=True,
        env=box.env,
        check=False,
        cwd="/",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (65, b"")
    assert b"missing value for the alias bad" in done.stderr
    assert index(box) == []


def _readable_by_anybody(box: Box) -> list[str]:
    """Return the command line of newaliases, after opening the way to what it reads."""
    import sys

    from harness import BIN

    for place in (box.root, *box.root.parents):
        if str(place).startswith("/tmp/") and place.stat().st_uid == os.getuid():
            place.chmod(place.stat().st_mode | 0o055)
    return [sys.executable, str(BIN / "newaliases")]
