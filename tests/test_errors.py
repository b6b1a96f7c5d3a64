"""What a person is told when something cannot be done, and with which exit status."""

import errno
import os
import subprocess
import sys

import pytest
from harness import ROOT, Box, argv
from hypothesis import given
from hypothesis import strategies as st

from pymail import errors
from pymail.errors import printable

STATUSES = {
    "UsageError": 64,
    "DataError": 65,
    "InputError": 66,
    "NoUserError": 67,
    "TooBigError": 69,
    "MailError": 70,
    "TempError": 75,
    "PermError": 77,
    "ConfigError": 78,
}


def program(body: str, **how) -> "subprocess.CompletedProcess[bytes]":
    """Run a program whose main is `body`."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import os\n"
        "from pymail import errors\n"
        "def main():\n"
        f"    {body}\n"
        "sys.exit(errors.run('name', main))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code], check=False, **{"capture_output": True, **how}
    )


@pytest.mark.parametrize(("name", "status"), STATUSES.items())
def test_each_kind_of_error_has_its_exit_status_and_one_line(name, status):
    done = program(f"raise errors.{name}('cannot do it: no reason')")
    assert (done.returncode, done.stdout) == (status, b"")
    assert done.stderr == b"name: cannot do it: no reason\n"


def test_a_line_has_no_control_characters_and_no_second_line():
    done = program(r"raise errors.DataError('a\nb\x1b[2Jc\u202ed\udcff é')")
    assert done.stderr == "name: a?b?[2Jc?d? é\n".encode()


def test_a_program_that_succeeds_is_silent():
    done = program("return 0")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_bug_is_shown_with_its_place():
    done = program("raise KeyError('bug')")
    assert done.returncode == 1
    assert b"Traceback" in done.stderr


def test_an_interrupt_is_no_traceback():
    done = program("raise KeyboardInterrupt")
    assert (done.returncode, done.stderr) == (130, b"")


def test_a_reader_that_goes_away_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    done = program(
        "sys.stdout.write('x' * 100000); return 0",
        capture_output=False,
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


PRINTING = (
    "sendmail --help",
    "sendmail --version",
    "mailq",
    "newaliases --help",
    "flush --help",
    "flush --version",
    "mail --help",
    "mail -n -H",
    "mail -n",
    "mail -n -N",
    "mail -n -d -s x root",
    "pymail --help",
    "pymail -V",
    "pymail fetch --help",
    "pymail queue --help",
    "pymail queue list",
    "pymail config",
    "pymail list",
    "pymail list -j",
    "pymail show 1",
    "pymail show --raw 1",
    "pymail show -j 1",
    "pymail notice",
    "pymail shell-init bash",
)


def printed_to(box: Box, line: str, out: int) -> tuple[int, str]:
    """Run a program of ours, with a letter in the inbox; return its status and what it says."""
    for folder in ("cur", "new", "tmp"):
        (box.home / "Maildir" / folder).mkdir(parents=True)
    (box.home / "Maildir" / "new" / "a").write_bytes(b"From: a@x\nSubject: s\n\nbody\n")
    program, *args = line.split()
    done = subprocess.run(
        argv(program, *args),
        input=b"p *\n",
        env=box.env,
        cwd=box.home,
        stdout=out,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(out)
    assert [path.name for path in (box.home / "Maildir" / "new").iterdir()] == ["a"]
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize("line", PRINTING)
def test_output_that_cannot_be_written_is_told_in_one_line(box: Box, line: str) -> None:
    status, told = printed_to(box, line, os.open("/dev/full", os.O_WRONLY))
    program = "mailq" if line == "pymail queue list" else line.split(maxsplit=1)[0]
    reason = "cannot write output: No space left on device"
    if "-d" in line:
        reason += f"; the letter is in {box.home}/dead.letter"
    assert (status, told) == (74, f"{program}: {reason}\n")


@pytest.mark.parametrize("line", PRINTING)
def test_output_that_nobody_reads_any_more_is_no_error(box: Box, line: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    assert printed_to(box, line, writer) == (0, "")


def closed(body: str, *fds: int) -> int:
    """Run a program with these descriptors closed; return its status."""
    redirect = " ".join(f"{fd}{'<' if fd == 0 else '>'}&-" for fd in fds)
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import os\nfrom pymail import errors\n"
        f"def main():\n    {body}\n"
        "sys.exit(errors.run('name', main))\n"
    )
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -c "$1" {redirect}', sys.executable, code], check=False
    ).returncode


@pytest.mark.parametrize("fds", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)])
def test_no_file_is_opened_in_the_place_of_a_closed_stream(fds):
    assert closed("return os.open('/dev/zero', os.O_RDONLY)", *fds) > 2


def test_a_closed_standard_input_cannot_be_read_as_an_empty_message():
    body = "try: os.read(0, 1)\n    except OSError as e: return e.errno\n    return 0"
    assert closed(body, 0) == errno.EBADF


@pytest.mark.parametrize(("fd", "stream"), [(1, "stdout"), (2, "stderr")])
def test_a_program_may_write_to_a_closed_output(fd, stream):
    assert closed(f"sys.{stream}.write('x'); return sys.{stream}.isatty()", fd) == 0


def test_an_error_can_be_told_to_nobody():
    assert closed("raise errors.TempError('x')", 1, 2) == 75


def test_complaining_to_a_closed_terminal_does_not_raise():
    reader, writer = os.pipe()
    os.close(reader)
    done = program(
        "raise errors.TempError('x')",
        capture_output=False,
        stderr=writer,
        stdout=subprocess.DEVNULL,
    )
    os.close(writer)
    assert done.returncode == 75


@given(st.text())
def test_printable_text_is_one_safe_line(text):
    safe = printable(text)
    assert safe.isprintable()
    assert len(safe) == len(text)
    assert all(a in (b, "?") for a, b in zip(safe, text, strict=True))


@pytest.mark.parametrize("bad", ["\x00", "\x1b", "\x9b", "\u2028", "\u202e", "\u200b", "\udcff"])
def test_what_steers_a_terminal_is_not_printable(bad):
    assert printable(f"a{bad}b") == "a?b"


def test_the_statuses_are_those_of_sysexits():
    assert {name: getattr(errors, name).status for name in STATUSES} == STATUSES
    assert (errors.EX_OK, errors.EX_USAGE, errors.EX_CONFIG) == (0, 64, 78)
