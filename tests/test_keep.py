"""Copies of letters: an mbox or a Maildir, whole or not at all."""

import errno
import mailbox
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pymail import keep
from pymail.folder import Letter, open_folder
from pymail.transport import lock

LETTER = b"Subject: x\n\nFrom me\n>From you\n\n\n"


@contextmanager
def limit(size: int) -> Iterator[None]:
    """Let no file grow beyond `size`, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def holding(path: Path, *, dotted: bool) -> Iterator[None]:
    """Let another process hold one of the locks of a mailbox."""
    if dotted:
        dotlock = Path(f"{path}.lock")
        dotlock.write_text(f"{os.getpid()}\n")
        yield
        dotlock.unlink()
        return
    code = "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.lockf(f, 2); print(1, flush=True)"
    code += "; input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"1\n"
        yield
        other.communicate(b"\n")


def letters(path: Path) -> list[Letter]:
    """Return what the reader finds."""
    with closing(open_folder(str(path))) as folder:
        return folder.letters()


def test_an_mbox_grows_by_whole_letters_that_every_program_parts_again(tmp_path: Path) -> None:
    path = tmp_path / "mbox"
    for _ in range(3):
        keep.append(str(path), LETTER, "me", 0)
    with closing(mailbox.mbox(path)) as box:
        assert len(box) == 3
    assert len(letters(path)) == 3
    assert path.read_bytes().endswith(b"\n\n>From me\n>>From you\n\n")


@pytest.mark.parametrize("end", [b"no end", b"\n", b"\n\n", b"\r\n", b"\r\n\r\n", b"\n\n\n"])
def test_a_letter_is_not_swallowed_by_what_stands_before(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "mbox"
    path.write_bytes(b"From a now\nSubject: first\n\nbody" + end)
    keep.append(str(path), LETTER, "me", 0)
    assert [found.about.subject for found in letters(path)] == ["first", "x"]
    assert path.read_bytes().partition(b"From me ")[0].endswith(b"\n")


@pytest.mark.parametrize("dotted", [False, True])
def test_an_mbox_that_another_program_has_locked_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, dotted: bool
) -> None:
    monkeypatch.setattr(lock, "LOCK_WAIT", 0.3)
    path = tmp_path / "mbox"
    keep.append(str(path), LETTER, "me", 0)
    assert os.listdir(tmp_path) == ["mbox"]
    before = path.read_bytes()
    with holding(path, dotted=dotted), pytest.raises(BlockingIOError, match="lock"):
        keep.append(str(path), LETTER, "me", 0)
    assert path.read_bytes() == before
    keep.append(str(path), LETTER, "me", 0)
    assert len(letters(path)) == 2


def test_an_mbox_is_as_it_was_when_the_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "mbox"
    keep.append(str(path), LETTER, "me", 0)
    before = path.read_bytes()
    with limit(len(before) + 10), pytest.raises(OSError, match="File too large"):
        keep.append(str(path), LETTER, "me", 0)
    assert path.read_bytes() == before


def test_a_maildir_gets_a_letter_that_was_read(tmp_path: Path) -> None:
    keep.append(str(tmp_path), LETTER, "me", 0)
    (letter,) = letters(tmp_path)
    assert (letter.flags, letter.new) == ("S", False)
    with limit(10), pytest.raises(OSError, match="File too large"):
        keep.append(str(tmp_path), LETTER, "me", 0)
    assert len(letters(tmp_path)) == 1
    assert list((tmp_path / "tmp").iterdir()) == []


def test_devices_are_written_and_pipes_without_a_reader_do_not_block(tmp_path: Path) -> None:
    keep.append("/dev/null", LETTER, "me", 0)
    with pytest.raises(OSError, match="No space left"):
        keep.append("/dev/full", LETTER, "me", 0)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError) as error:  # noqa: PT011  (its number is what counts)
        keep.append(str(tmp_path / "fifo"), LETTER, "me", 0)
    assert error.value.errno == errno.ENXIO


def test_what_stands_before_the_first_letter_of_an_mbox_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "mbox"
    path.write_bytes(
        b"garbage\n\nFrom me now\r\nSubject: x\r\n\r\nbody\r\n\r\nFrom me\nSubject: y\n"
    )
    assert [found.about.subject for found in letters(path)] == ["x", "y"]
