"""Files: quoting, locks, links, full disks, crashes, and other programs at the same file."""

import errno
import fcntl
import mailbox
import multiprocessing
import os
import stat
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest
from harness import missing, needs_root
from hypothesis import given, settings
from hypothesis import strategies as st
from transports import content, delivery, filed

from pymail.outcome import Outcome, bounced, deferred, kept, sent
from pymail.transport import Content, lock, mbox

SEPARATOR = b"From joe@example.org  " + time.asctime(time.localtime(1795000000)).encode() + b"\n"
LETTER = SEPARATOR + b"Subject: s\nTo: alice\n\n>From here\nto there\n\n"


def run(path: Path | str, **facts) -> Outcome:
    ((number, outcome),) = mbox.deliver([delivery(str(path), **facts)])
    assert number == 7
    return outcome


def subjects(path: Path) -> list[str]:
    """Return what Python's own reader finds."""
    with closing(mailbox.mbox(path)) as box:
        return [message["subject"] for message in box]


def test_a_file_is_made_for_its_owner_alone(tmp_path):
    box = tmp_path / "box"
    old = os.umask(0)
    assert run(box) == sent(f"delivered to file: {box}")
    os.umask(old)
    assert box.read_bytes() == LETTER
    assert stat.S_IMODE(box.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["box"]


def test_messages_are_appended_and_the_mode_stays(tmp_path):
    box = tmp_path / "box"
    box.write_bytes(b"From a  x\n\nold\n\n")
    box.chmod(0o660)
    run(box)
    run(box, sender="", content=content(b"Subject: 2\n", b"\nno newline"))
    null = SEPARATOR.replace(b"joe@example.org", b"MAILER-DAEMON")
    second = null + b"Subject: 2\n\n\nno newline\n\n"
    assert box.read_bytes() == b"From a  x\n\nold\n\n" + LETTER + second
    assert stat.S_IMODE(box.stat().st_mode) == 0o660


def test_a_file_that_ends_in_the_middle_of_a_line_is_put_right(tmp_path):
    box = tmp_path / "box"
    box.write_bytes(b"garbage")
    run(box)
    assert box.read_bytes() == b"garbage\n\n" + LETTER


def test_separators_in_the_text_are_quoted_so_that_it_can_be_taken_back(tmp_path):
    box = tmp_path / "box"
    body = b"From a\n>From b\n>>From c\n From d\nfrom e\nFrom\nFroma\n> From f\n\nFrom g\n"
    run(box, content=content(b"A: b\n", body))
    text = box.read_bytes().partition(b"\n\n")[2]
    assert text == (
        b">From a\n>>From b\n>>>From c\n From d\nfrom e\nFrom\nFroma\n> From f\n\n>From g\n\n"
    )


def test_a_sender_cannot_forge_a_message(tmp_path):
    box = tmp_path / "box"
    run(box, sender="x\nFrom y\n\n@example.org")
    assert subjects(box) == ["s"]


def test_pythons_reader_finds_every_message(tmp_path):
    box = tmp_path / "box"
    bodies = [b"From x\n", b"", b"\n\nFrom y", b"\xff\0\n", b"x" * 2000 + b"\n"]
    for n, body in enumerate(bodies):
        assert run(box, content=content(b"Subject: %d\n" % n, body)).status == "sent"
    assert subjects(box) == ["0", "1", "2", "3", "4"]


class _Pieces(Content):
    """A message in given pieces."""

    def pieces(self):
        at = 0
        for size in self.header:
            yield self.body[at : at + size]
            at += size
        yield self.body[at:]


@given(
    st.lists(st.sampled_from([b"From ", b">", b"\n", b"x", b"Fr"]), max_size=12).map(b"".join),
    st.lists(st.integers(1, 7), max_size=4).map(bytes),
)
@settings(deadline=None)
def test_quoting_does_not_depend_on_the_pieces(body, sizes):
    out = b"".join(mbox.quoted(_Pieces(sizes, body)))
    assert out == b"".join(mbox.quoted(_Pieces(b"", body)))
    lines = out.split(b"\n")
    assert not any(line.startswith(b"From ") for line in lines)
    back = [line[1:] if line.lstrip(b">").startswith(b"From ") else line for line in lines]
    whole = body if not body or body.endswith(b"\n") else body + b"\n"
    assert b"\n".join(back) == whole + b"\n"


def test_a_big_message_is_written_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(mbox, "_AT_ONCE", 1000)
    box = tmp_path / "box"
    body = b"From z" * 10 + b"\n" * 3_000_000
    assert run(box, content=filed(tmp_path, b"A: b\n", body)).status == "sent"
    assert box.read_bytes() == SEPARATOR + b"A: b\n\n>" + body + b"\n"


def test_dev_null_takes_everything():
    assert run("/dev/null") == sent("delivered to file: /dev/null")


def _refusals(place: Path) -> dict[str, str]:
    os.mkfifo(place / "fifo")
    (place / "directory").mkdir()
    (place / "plain").write_text("")
    (place / "other").write_text("")
    os.link(place / "other", place / "hard")
    (place / "loop").symlink_to("loop")
    return {
        "fifo": "not a regular file",
        "directory": "Is a directory",
        "plain/box": "Not a directory",
        "hard": "file has 2 hard links",
        "loop": "Too many levels of symbolic links",
    }


def test_what_is_no_file_is_refused(tmp_path):
    for name, reason in _refusals(tmp_path).items():
        path = tmp_path / name
        words = f"cannot append message to file {path}: {reason}"
        assert run(path) == bounced("5.2.0", words)
    assert run("/dev/zero").status == "bounced"
    assert run("/dev/tty").status in ("bounced", "deferred")
    assert (tmp_path / "other").read_text() == ""


def test_a_directory_that_is_not_there_defers(tmp_path):
    outcome = run(tmp_path / "home" / "box")
    assert (outcome.status, outcome.dsn) == ("deferred", "4.2.0")
    assert run(f"{tmp_path}/{'x' * 300}").status == "deferred"
    (tmp_path / "dangling").symlink_to("nothing")
    assert run(tmp_path / "dangling").status == "deferred"
    assert not (tmp_path / "nothing").exists()


def test_a_path_may_have_any_bytes(tmp_path):
    assert run(f"{tmp_path}/b\udcffx ü").status == "sent"
    assert os.listdir(os.fsencode(tmp_path)) == [b"b\xffx \xc3\xbc"]


def test_an_own_symbolic_link_is_followed_and_another_users_is_not(tmp_path):
    needs_root()
    (tmp_path / "box").write_bytes(b"")
    (tmp_path / "link").symlink_to("box")
    assert run(tmp_path / "link").status == "sent"
    assert (tmp_path / "box").read_bytes() == LETTER
    os.chown(tmp_path / "link", 1001, 1001, follow_symlinks=False)
    assert run(tmp_path / "link").status == "bounced"
    assert (tmp_path / "box").read_bytes() == LETTER


@pytest.mark.parametrize(
    ("error", "status", "dsn"),
    [
        (errno.ENOSPC, "kept", "4.3.1"),
        (errno.EDQUOT, "kept", "4.2.2"),
        (errno.EIO, "kept", "4.3.0"),
        (errno.EFBIG, "kept", "4.2.2"),
        (errno.EPERM, "deferred", "4.2.0"),
    ],
)
@pytest.mark.parametrize(("call", "big"), [("write", 0), ("write", 1), ("fsync", 0), ("fsync", 1)])
def test_an_error_leaves_the_file_as_it_was(
    monkeypatch, tmp_path, *, call, big, error, status, dsn
):
    box = tmp_path / "box"
    box.write_bytes(LETTER)
    if big:
        monkeypatch.setattr(mbox, "_AT_ONCE", 10)
    real = getattr(os, call)
    calls = []

    def fail(fd, *data):
        if os.readlink(f"/proc/self/fd/{fd}") != str(box):
            return real(fd, *data)
        calls.append(fd)
        if data and len(calls) == 1:
            return real(fd, data[0][:10])  # a short write first
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patch:
        patch.setattr(mbox.os, call, fail)
        outcome = run(box)
    assert (outcome.status, outcome.dsn) == (status, dsn)
    assert os.strerror(error) in outcome.words
    assert box.read_bytes() == LETTER
    assert sorted(os.listdir(tmp_path)) == ["box"]


def test_a_new_file_whose_directory_cannot_be_synced_stays_empty(monkeypatch, tmp_path):
    def fail(fd):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(mbox.os, "fsync", fail)
        assert run(tmp_path / "box").status == "kept"
    assert (tmp_path / "box").read_bytes() == b""


def test_a_queue_file_that_cannot_be_read_leaves_the_file_as_it_was(tmp_path):
    box = tmp_path / "box"
    box.write_bytes(LETTER)
    assert run(box, content=filed(tmp_path, b"A: b\n", b"x\n", claim=99)).status == "kept"
    assert box.read_bytes() == LETTER


def test_a_disk_that_is_full_keeps_the_message(tmp_path):
    needs_root()
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "t", place]
    if subprocess.run(mount, check=False).returncode:
        missing("cannot mount")
    try:
        box = place / "box"
        assert run(box).status == "sent"
        big = content(b"A: b\n", b"x" * 70 + b"\n" * 100_000)
        outcome = run(box, content=big)
        assert (outcome.status, outcome.dsn) == ("kept", "4.3.1")
        assert box.read_bytes() == LETTER
        (place / "fill").write_bytes(b"x" * (64 * 1024 - 4096))
        assert run(box).status == "sent"  # it fits into the block that is there
        assert sorted(os.listdir(place)) == ["box", "fill"]
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_lock_held_by_another_program_defers(monkeypatch, tmp_path):
    monkeypatch.setattr(lock, "LOCK_WAIT", 0.2)
    box = tmp_path / "box"
    box.write_bytes(b"")
    code = "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX);"
    code += "print(flush=True); input()"
    with subprocess.Popen(
        ["python3", "-c", code, box], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        holder.stdout.readline()
        words = f"cannot append message to file {box}: the file is locked"
        assert run(box) == deferred("4.2.0", words)
        holder.communicate(b"\n")
    assert run(box).status == "sent"


def test_a_dotlock_defers_until_it_is_stale(monkeypatch, tmp_path):
    monkeypatch.setattr(lock, "LOCK_WAIT", 0.2)
    box, dot = tmp_path / "box", tmp_path / "box.lock"

    def refuse(*_):
        raise PermissionError

    dot.write_text("")
    words = f"cannot append message to file {box}: its dotlock exists"
    assert run(box) == deferred("4.2.0", words)
    dot.write_text(f"{os.getpid()}\n")
    assert run(box).status == "deferred"
    with monkeypatch.context() as patch:
        patch.setattr(lock.os, "kill", refuse)
        dot.write_text("1\n")  # lives, and is not ours to signal
        assert run(box).status == "deferred"
    os.utime(dot, (0, time.time() - lock.STALE - 60))
    assert run(box).status == "sent"
    dot.write_text("4194305\n")  # no such process
    assert run(box).status == "sent"
    dot.write_text("9" * 19)
    assert run(box).status == "sent"
    assert os.listdir(tmp_path) == ["box"]


def test_a_dotlock_that_cannot_be_removed_defers(monkeypatch, tmp_path):
    monkeypatch.setattr(lock, "LOCK_WAIT", 0.2)
    (tmp_path / "box.lock").mkdir()
    assert run(tmp_path / "box").status == "deferred"


@pytest.mark.parametrize(
    ("error", "status"),
    [(errno.EACCES, "sent"), (errno.EROFS, "sent"), (errno.ENOSPC, "kept")],
)
def test_where_no_dotlock_may_be_made_it_is_done_without(monkeypatch, tmp_path, error, status):
    real = os.link

    def refuse(source, target, **kwargs):
        if os.fsencode(target).endswith(b".lock"):
            raise OSError(error, os.strerror(error))
        return real(source, target, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(mbox.os, "link", refuse)
        assert run(tmp_path / "box").status == status


def test_a_dotlock_that_cannot_be_written_is_a_lock_all_the_same(monkeypatch, tmp_path):
    real = os.write

    def full(fd, data):
        if os.readlink(f"/proc/self/fd/{fd}").endswith("(deleted)"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    with monkeypatch.context() as patch:
        patch.setattr(mbox.os, "write", full)
        assert run(tmp_path / "box").status == "sent"
    assert os.listdir(tmp_path) == ["box"]
    assert (tmp_path / "box").read_bytes() == LETTER


def test_locks_that_the_file_system_lacks_are_done_without(monkeypatch, tmp_path):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    with monkeypatch.context() as patch:
        patch.setattr(lock.fcntl, "lockf", none)
        assert run(tmp_path / "box").status == "sent"


def test_a_lock_that_fails_otherwise_is_told(monkeypatch, tmp_path):
    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(lock.fcntl, "lockf", broken)
        assert run(tmp_path / "box").status == "kept"


def test_a_file_that_is_exchanged_meanwhile_is_not_written(monkeypatch, tmp_path):
    box = tmp_path / "box"
    box.write_bytes(b"")
    real = fcntl.lockf

    def exchange(fd, how):
        os.rename(box, tmp_path / "old")
        box.write_bytes(b"new")
        real(fd, how)

    with monkeypatch.context() as patch:
        patch.setattr(lock.fcntl, "lockf", exchange)
        assert run(box).status == "deferred"
    assert (tmp_path / "old").read_bytes() == b""
    assert run(box).status == "sent"
    assert box.read_bytes() == b"new\n\n" + LETTER


@pytest.mark.parametrize("before", [b"", b"From a  x\n\nold\n\n"])
@pytest.mark.parametrize("after", [b"", b"From z  x\n\nlater\n\n"])
def test_a_message_that_is_there_is_not_doubled(tmp_path, before, after):
    box = tmp_path / "box"
    box.write_bytes(before + LETTER + after)
    assert run(box, doubtful=True).status == "sent"
    assert box.read_bytes() == before + LETTER + after
    assert run(box).status == "sent"  # nobody is in doubt: it is another message
    assert box.read_bytes().count(LETTER) == 2


@pytest.mark.parametrize(
    "before", [b"", b"From a  x\n\nold\n\n", LETTER.replace(b"to there", b"x")]
)
def test_half_a_message_is_completed_wherever_it_was_cut(tmp_path, before):
    box = tmp_path / "box"
    for cut in range(len(LETTER)):
        box.write_bytes(before + LETTER[:cut])
        assert run(box, doubtful=True).status == "sent"
        assert box.read_bytes() == before + LETTER, cut


def test_a_message_too_big_to_be_looked_for_is_delivered_again(monkeypatch, tmp_path):
    monkeypatch.setattr(mbox, "_SOUGHT", 10)
    box = tmp_path / "box"
    box.write_bytes(LETTER)
    assert run(box, doubtful=True).status == "sent"
    assert box.read_bytes() == LETTER * 2


def test_a_message_is_found_before_what_others_appended_since(monkeypatch, tmp_path):
    box = tmp_path / "box"
    later = b"From z  x\n\n" + b"later\n" * 1000 + b"\n"
    box.write_bytes(b"From a  x\n\nold\n\n" * 300_000 + LETTER + later)
    size = box.stat().st_size
    assert run(box, doubtful=True).status == "sent"
    assert box.stat().st_size == size


def test_an_end_that_is_not_ours_is_not_cut_off(tmp_path):
    box = tmp_path / "box"
    for end in (
        b"",
        b"\n",
        b"x",
        b"From",
        b"From joe@example.org  x\n\ny\n\n",
        SEPARATOR + b"A: b\n",
    ):
        box.write_bytes(b"From a  x\n\nold\n\n" + end)
        assert run(box, doubtful=True).status == "sent"
        ours = LETTER.startswith(end)
        rest = b"" if ours else end if end.endswith(b"\n") else end + b"\n\n"
        assert box.read_bytes() == b"From a  x\n\nold\n\n" + rest + LETTER


def _crash(path: str, at: int) -> None:
    """Deliver, and die after `at` bytes of the message."""
    real = os.write

    def write(fd, data):
        if os.readlink(f"/proc/self/fd/{fd}") == path:
            real(fd, bytes(data)[:at])
            os._exit(9)
        return real(fd, data)

    mbox.os.write = write
    list(mbox.deliver([delivery(path)]))


@pytest.mark.parametrize("at", [1, 30, 60, len(LETTER)])
def test_a_crash_in_the_middle_is_healed_at_once(tmp_path, at):
    box = tmp_path / "box"
    box.write_bytes(LETTER.replace(b"s\n", b"earlier\n"))
    start = box.read_bytes()
    process = multiprocessing.get_context("fork").Process(target=_crash, args=(str(box), at))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert box.read_bytes() == start + LETTER[:at]
    began = time.monotonic()
    assert run(box, doubtful=True).status == "sent"
    assert time.monotonic() - began < 5  # the dotlock's owner is dead
    assert box.read_bytes() == start + LETTER


def _many(path: str, name: str) -> None:
    for n in range(40):
        text = content(b"Subject: %s-%d\n" % (name.encode(), n), b"From x\n" * 50)
        ((_, outcome),) = mbox.deliver([delivery(path, content=text)])
        assert outcome.status == "sent", outcome


def test_several_writers_and_a_reader_lose_nothing(tmp_path):
    box = tmp_path / "box"
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=_many, args=(str(box), name)) for name in "abc"]
    for writer in writers:
        writer.start()
    seen = []
    deadline = time.monotonic() + 60
    while any(writer.is_alive() for writer in writers) and time.monotonic() < deadline:
        time.sleep(0.05)
        seen += _take(box)
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    seen += _take(box)
    assert sorted(seen) == sorted(f"{name}-{n}" for name in "abc" for n in range(40))


def _take(path: Path) -> list[str]:
    """Read and remove everything as another program does: in place, with both locks."""
    if not path.exists():
        return []
    with path.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        try:
            os.close(os.open(f"{path}.lock", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return []
        data = file.read()
        file.truncate(0)
        os.unlink(f"{path}.lock")
    found = [line[9:].decode() for line in data.split(b"\n") if line.startswith(b"Subject: ")]
    assert data.count(b"\nSubject: ") == data.count(b">From x\n\n") == len(found)
    return found


def test_a_fault_in_one_does_not_stop_the_others(tmp_path):
    batch = [
        delivery(str(tmp_path / "a"), number=1),
        delivery(str(tmp_path), number=2),
        delivery(str(tmp_path / "b"), number=3),
    ]
    assert [(n, o.status) for n, o in mbox.deliver(batch)] == [
        (1, "sent"),
        (2, "bounced"),
        (3, "sent"),
    ]


def test_an_outcome_names_the_file(tmp_path):
    assert run(tmp_path / "no" / "x") == deferred(
        "4.2.0", f"cannot append message to file {tmp_path}/no/x: No such file or directory"
    )
    assert kept("4.3.1", "x").status == "kept"
