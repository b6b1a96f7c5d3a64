"""The spool: the format of a queue file, the commit, ids, and what others have left."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from harness import argv, needs_root
from hypothesis import given
from hypothesis import strategies as st

from pymail import spool as spools
from pymail.active import TAIL_LIMIT, Active, set_aside, take
from pymail.entry import Attempt, Head, attempts, pack, read, shown, unpack
from pymail.envelope import Envelope
from pymail.errors import DataError, TempError
from pymail.queuefile import (
    ATTEMPTED,
    CANCELLED,
    DELIVERED,
    HELD,
    NEVER,
    SEEN,
    head_length,
    is_id,
    make_id,
    time_of,
    uid_of,
    whole,
)
from pymail.spool import DEFAULT_SIZE_LIMIT, Spool

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@pytest.fixture
def spool(tmp_path) -> Spool:
    return Spool(str(tmp_path / "state" / "spool"))


def letter(*recipients: str, **facts) -> Envelope:
    return Envelope(os.getuid(), list(recipients or ("alice",)), **facts)


def leftovers(spool: Spool) -> list[str]:
    return os.listdir(spool.queue) if os.path.isdir(spool.queue) else []


def grab(spool: Spool, qid: str) -> Active:
    active = take(spool, qid)
    assert active is not None
    return active


# Queue ids


@given(st.integers(0, 62**9 - 1), st.binary(min_size=5, max_size=5), st.integers(0, 2**32 - 1))
def test_an_id_carries_time_and_uid(microseconds, random, uid):
    qid = make_id(microseconds, random, uid)
    assert is_id(qid)
    assert (time_of(qid), uid_of(qid)) == (microseconds // 1000000, uid)


@given(st.integers(0, 62**9 - 2), st.binary(min_size=10, max_size=10))
def test_ids_sort_by_arrival(microseconds, random):
    early = make_id(microseconds, random[:5], 2**32 - 1)
    assert early < make_id(microseconds + 1, random[5:], 0)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a",
        "0" * 16,
        "0" * 23,
        "0" * 16 + "01",
        "0" * 15 + ".0",
        "0" * 15 + "é1",
        "../" + "0" * 14,
    ],
)
def test_other_names_are_no_ids(name):
    assert not is_id(name)


def test_an_id_for_root_ends_in_nought():
    assert make_id(1, b"12345", 0)[-1] == "0"


# The commit


def test_what_is_submitted_can_be_read(spool):
    envelope = letter("alice", "bob@example.org", sender="", notify=["", "NEVER"], envid="x")
    qid = spool.submit(envelope, b"Subject: s\n\nbody\n")
    entry = shown(spool.queue, qid)
    assert entry is not None
    assert (entry.qid, entry.head.size, bytes(entry.head.states)) == (qid, 17, b"tt")
    for name in Envelope.__slots__:
        assert getattr(entry.head.envelope, name) == getattr(envelope, name)
    assert grab(spool, qid).message() == b"Subject: s\n\nbody\n"


def test_a_queue_file_is_the_senders_alone(spool):
    os.umask(0)
    try:
        qid = spool.submit(letter(), b"")
    finally:
        os.umask(0o022)
    assert os.stat(f"{spool.queue}/{qid}").st_mode & 0o777 == 0o600
    assert os.stat(spool.queue).st_mode & 0o777 == 0o700
    assert os.stat(spool.path).st_mode & 0o777 == 0o700


@given(pieces=st.lists(st.binary(max_size=300000), max_size=5))
def test_a_message_in_pieces_is_whole(tmp_path_factory, pieces):
    spool = Spool(str(tmp_path_factory.mktemp("spool")))
    draft = spool.draft(letter())
    for piece in pieces:
        draft.write(piece)
    active = grab(spool, draft.commit())
    assert active.message() == b"".join(pieces)
    active.close()


def test_a_draft_is_seen_by_nobody_before_its_commit(spool):
    draft = spool.draft(letter())
    draft.write(b"x" * 500000)
    assert spool.entries() == []
    assert leftovers(spool) == []
    draft.abandon()
    draft.abandon()  # twice does no harm
    assert leftovers(spool) == []


def test_a_full_disk_at_any_write_leaves_nothing(spool, monkeypatch):
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    draft = spool.draft(letter())
    monkeypatch.setattr(spools.os, "pwrite", full)
    with pytest.raises(TempError, match="No space left on device; try again later"):
        draft.write(b"x" * 500000)
    monkeypatch.undo()
    draft = spool.draft(letter())
    monkeypatch.setattr(spools.os, "pwrite", full)
    with pytest.raises(TempError):
        draft.commit()
    monkeypatch.undo()
    assert leftovers(spool) == []


def test_a_failed_sync_takes_the_name_back(spool, monkeypatch):
    calls = []

    def broken(fd: int) -> None:
        calls.append(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    draft = spool.draft(letter())
    monkeypatch.setattr(spools.os, "fsync", broken)
    with pytest.raises(TempError, match="Input/output error"):
        draft.commit()
    assert len(calls) == 1  # an fsync that failed is never tried again on the same descriptor
    assert leftovers(spool) == []


def test_a_disk_that_cannot_even_unlink_has_the_message_cancelled(spool, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    draft = spool.draft(letter("alice", "bob"))
    monkeypatch.setattr(spools.os, "fsync", broken)
    monkeypatch.setattr(spools.os, "unlink", broken)
    with pytest.raises(TempError):
        draft.commit()
    monkeypatch.undo()
    ((qid, _),) = spool.entries()
    active = grab(spool, qid)
    assert (bytes(active.head.states), active.waiting()) == (CANCELLED * 2, [])
    active.close()


def test_and_where_nothing_at_all_can_be_written_it_is_still_an_error(spool, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    draft = spool.draft(letter())
    real = os.pwrite
    written = []

    def once(fd: int, data: bytes, offset: int) -> int:
        if written:
            broken()
        written.append(offset)
        return real(fd, data, offset)

    for name, change in (("fsync", broken), ("unlink", broken), ("pwrite", once)):
        monkeypatch.setattr(spools.os, name, change)
    with pytest.raises(TempError):
        draft.commit()


def test_an_error_of_close_after_the_sync_is_no_error_of_the_message(spool, monkeypatch):
    draft = spool.draft(letter())
    real = os.close

    def broken(fd: int) -> None:
        real(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(spools.os, "close", broken)
    qid = draft.commit()
    monkeypatch.undo()
    assert [q for q, _ in spool.entries()] == [qid]


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT])
def test_a_file_system_without_o_tmpfile_will_do(spool, monkeypatch, error):
    real = os.open

    def without(path: str, flags: int, *args: int, **how: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(error, os.strerror(error))
        return real(path, flags, *args, **how)

    monkeypatch.setattr(spools.os, "open", without)
    draft = spool.draft(letter())
    (hidden,) = leftovers(spool)
    assert hidden.startswith(".") and is_id(hidden[1:])
    draft.abandon()
    assert leftovers(spool) == []
    qid = spool.submit(letter(), b"x\n")
    assert leftovers(spool) == [qid]


def test_a_proc_that_is_not_there_is_found_out_before_anything_is_written(spool, monkeypatch):
    monkeypatch.setattr(spools.os.path, "lexists", lambda _: False)
    qid = spool.submit(letter(), b"x\n")
    assert leftovers(spool) == [qid]


def test_another_error_of_opening_is_told(spool, monkeypatch):
    spool.submit(letter(), b"")
    real = os.open

    def none_left(path: str, flags: int, *args: int, **how: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path, flags, *args, **how)

    monkeypatch.setattr(spools.os, "open", none_left)
    with pytest.raises(TempError, match="Too many open files"):
        spool.draft(letter())


def test_a_hidden_rest_that_cannot_be_removed_is_left_for_the_sweep(spool, monkeypatch):
    monkeypatch.setattr(spools.os.path, "lexists", lambda _: False)
    draft = spool.draft(letter())
    monkeypatch.undo()

    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(spools.os, "unlink", broken)
    draft.abandon()


def test_too_many_recipients_are_refused_before_anything_is_made(spool, monkeypatch):
    monkeypatch.setattr(spools, "MOST_RECIPIENTS", 2)
    with pytest.raises(DataError, match="more than 2 recipients"):
        spool.draft(letter("a", "b", "c"))
    assert not os.path.exists(spool.path)


def test_a_report_is_made_once(spool):
    spool.submit(letter(), b"")
    qid = make_id(1, b"12345", 0)
    assert spool.insert(qid, letter(), b"one\n", ATTEMPTED)
    assert not spool.insert(qid, letter(), b"one\n", ATTEMPTED)
    assert len(spool.entries()) == 2
    assert grab(spool, qid).state(0) == ATTEMPTED


def test_two_first_mails_at_once_make_one_spool(tmp_path):
    spool = Spool(str(tmp_path / "a" / "b" / "c"))
    barrier = threading.Barrier(8)
    got: list[str] = []

    def submit() -> None:
        barrier.wait()
        got.append(spool.submit(letter(), b"x\n"))

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [qid for qid, _ in spool.entries()]
    assert len(set(got)) == 8


def test_a_queue_that_is_a_symbolic_link_is_not_used(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "queue").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TempError):
        Spool(str(tmp_path)).submit(letter(), b"")
    assert os.listdir(tmp_path / "elsewhere") == []


def test_a_spool_that_cannot_be_made_is_a_temporary_failure(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TempError, match="try again later"):
        Spool(str(tmp_path / "file" / "spool")).submit(letter(), b"")


# Reading


def test_an_empty_spool_has_no_entries(spool):
    assert spool.entries() == []
    assert shown(spool.queue, "0" * 17) is None


def test_names_that_are_no_ids_are_passed_over(spool):
    qid = spool.submit(letter(), b"")
    for name in (".boot", f".{qid}", f"{qid}.damaged", "core"):
        Path(spool.queue, name).write_text("")
    assert [q for q, _ in spool.entries()] == [qid]


def test_a_message_that_goes_while_the_queue_is_listed_is_no_error(spool, monkeypatch):
    spool.submit(letter(), b"")
    real = os.scandir

    class Vanishing:
        def __init__(self, path: str) -> None:
            self.found = real(path)

        def __enter__(self):
            names = list(self.found)
            for each in names:
                os.unlink(each.path)
            return iter(names)

        def __exit__(self, *_: object) -> None:
            self.found.close()

    monkeypatch.setattr(spools.os, "scandir", Vanishing)
    assert spool.entries() == []


def test_an_envelope_larger_than_the_first_read_is_read_whole(spool):
    names = [f"recipient-number-{n}@a-domain-that-is-long.example.org" for n in range(2000)]
    qid = spool.submit(letter(*names), b"body\n")
    entry = shown(spool.queue, qid)
    assert entry is not None and entry.head.envelope.recipients == names
    active = grab(spool, qid)
    assert (active.head.envelope.recipients, active.message()) == (names, b"body\n")
    active.close()


def damaged(data: bytes) -> None:
    with pytest.raises(DataError):
        Head(data)


def test_a_damaged_head_is_refused(spool):
    qid = spool.submit(letter("alice", "bob"), b"body\n")
    data = Path(spool.queue, qid).read_bytes()
    assert Head(data).size == 5
    for cut in range(len(data) - 6):
        damaged(data[:cut])
    damaged(b"pymail2 " + data[8:])
    damaged(data[:8] + b"zzzzzz" + data[14:])
    damaged(data[:8] + b"000000" + data[14:])
    damaged(data[:67] + b"?" + data[68:])
    damaged(data[:63] + b"x" + data[64:])
    with pytest.raises(DataError):
        head_length(b"pymail1 zzzzzz ")


@given(at=st.integers(0, 400), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed_or_is_in_a_mark(tmp_path_factory, at, bit):
    spool = Spool(str(tmp_path_factory.mktemp("spool")))
    qid = spool.submit(letter("alice", "bob"), b"Subject: s\n\n" + b"body\n" * 60)
    path = Path(spool.queue, qid)
    data = bytearray(path.read_bytes())
    at %= len(data)
    data[at] ^= 1 << bit
    path.write_bytes(data)
    try:
        active = grab(spool, qid)
    except DataError:
        return
    # Marks change in place and are not under the checksum; nor are blanks and case in it.
    assert 64 <= at < 70 or 36 <= at < 46
    assert active.message() == b"Subject: s\n\n" + b"body\n" * 60
    active.close()


@given(st.binary(max_size=300))
def test_no_garbage_is_taken_for_a_message(data):
    damaged(data)
    damaged(b"pymail1 " + data)


@given(
    st.integers(0, 2**40),
    st.integers(0, 999),
    st.lists(WORDS, min_size=4, max_size=4),
)
def test_an_outcome_is_one_line_and_is_read_again(when, index, texts):
    attempt = Attempt(when, index, *texts)
    line = attempt.line()
    assert line.count(b"\n") == 1
    (again,) = attempts(line)
    clean = [t.translate(str.maketrans("\t\n\r\0", "    ")) for t in texts]
    assert [again.status, again.dsn, again.target, again.words] == clean
    assert (again.time, again.index) == (when, index)


def test_a_line_cut_short_by_a_crash_is_passed_over():
    good = Attempt(1, 0, "sent", "2.0.0", "t", "w").line()
    assert attempts(good[:-5]) == []
    assert [a.time for a in attempts(b"x\ty\n" + good + good[:9])] == [1]


@given(st.lists(st.tuples(st.binary(max_size=80), st.integers(0, 2**33)), max_size=4), st.data())
def test_a_status_file_gives_the_entries_that_were_packed(tmp_path_factory, tails, data):
    spool = Spool(str(tmp_path_factory.mktemp("spool")))
    packed, ids = [], []
    for tail, due in tails:
        qid = spool.submit(letter(), b"message")
        fixed = Path(spool.queue, qid).read_bytes()[: -len(b"message")]
        packed.append(pack(fixed, due, qid, tail))
        ids.append((qid, due))
    whole = b"".join(packed)
    assert [(e.qid, e.due) for e in unpack(whole)] == ids
    cut = data.draw(st.integers(0, len(whole)))
    assert len(list(unpack(whole[:cut]))) <= len(ids)


@given(st.binary(max_size=200))
def test_a_hostile_status_file_is_nothing(data):
    assert list(unpack(data)) == []
    assert list(unpack(b"0" * 17 + b" 1 9999999999999999 5\n" + data)) == []
    assert list(unpack(b"0" * 17 + b" 1 \xb2 5\n" + data)) == []


def test_the_size_limit_is_the_default_until_another_is_published(spool):
    assert spool.size_limit() == DEFAULT_SIZE_LIMIT
    os.makedirs(spool.path)
    limit = Path(spool.path, "message_size_limit")
    for text, value in (("1000\n", 1000), ("0\n", 0), ("much", DEFAULT_SIZE_LIMIT)):
        limit.write_text(text)
        assert spool.size_limit() == value


# A message in hand


def test_a_message_is_in_one_hand_only(spool):
    qid = spool.submit(letter(), b"")
    active = grab(spool, qid)
    assert take(spool, qid) is None
    active.close()
    active.close()  # twice does no harm
    grab(spool, qid).close()


def test_a_message_that_went_is_nobodys(spool):
    qid = spool.submit(letter(), b"")
    assert take(spool, make_id(5, b"12345", 0)) is None
    fd = os.open(f"{spool.queue}/{qid}", os.O_RDWR)
    grab(spool, qid).remove()
    assert leftovers(spool) == []
    assert take(spool, qid) is None
    os.close(fd)


def test_a_message_removed_between_open_and_lock_is_nobodys(spool, monkeypatch):
    qid = spool.submit(letter(), b"")
    real = fcntl.flock

    def late(fd: int, how: int) -> None:
        os.unlink(f"{spool.queue}/{qid}")
        real(fd, how)

    monkeypatch.setattr("pymail.active.fcntl.flock", late)
    assert take(spool, qid) is None


def test_marks_are_kept_in_the_file(spool):
    qid = spool.submit(letter("a", "b", "c"), b"message")
    active = grab(spool, qid)
    active.begin([0, 1])
    active.mark(0, DELIVERED)
    active.mark(2, HELD)
    active.flag(SEEN)
    active.sync()
    active.close()
    active = grab(spool, qid)
    assert (bytes(active.head.states), active.head.attempts) == (b"dah", 1)
    assert (active.head.flag, active.waiting()) == (SEEN, [1, 2])
    active.close()


def test_attempts_are_counted_to_255(spool):
    qid = spool.submit(letter(), b"")
    active = grab(spool, qid)
    for _ in range(300):
        active.begin([0])
    active.close()
    active = grab(spool, qid)
    assert active.head.attempts == 255
    active.close()


def test_the_tail_grows_and_is_bounded_for_deferrals_only(spool):
    qid = spool.submit(letter(), b"message")
    active = grab(spool, qid)
    deferral = Attempt(1, 0, "deferred", "4.0.0", "t", "w" * 1000)
    for _ in range(2 * TAIL_LIMIT // 1000):
        active.note(deferral)
    active.note(Attempt(2, 0, "kept", "4.0.0", "t", "w"))
    active.note(Attempt(3, 0, "bounced", "5.0.0", "t", "w"))
    found = active.attempts()
    assert TAIL_LIMIT <= sum(len(a.line()) for a in found) <= TAIL_LIMIT + 2200
    assert [a.time for a in found[-2:]] == [1, 3]
    active.close()
    active = grab(spool, qid)
    assert len(active.attempts()) == len(found)
    assert active.message() == b"message"
    active.close()


def test_an_outcome_after_one_cut_short_begins_a_line(spool):
    qid = spool.submit(letter(), b"message")
    with open(f"{spool.queue}/{qid}", "ab") as file:
        file.write(b"12345\t0\tdefer")
    active = grab(spool, qid)
    active.note(Attempt(3, 0, "sent", "2.0.0", "t", "w"))
    assert [a.time for a in active.attempts()] == [3]
    active.close()


def test_the_next_attempt_is_the_time_of_the_file(spool):
    qid = spool.submit(letter(), b"")
    active = grab(spool, qid)
    for until in (1795000000, NEVER):
        active.defer(until)
        assert spool.entries() == [(qid, until)]
    # A clock that is far ahead must not put a message on hold.
    active.defer(NEVER + 10**9)
    assert spool.entries() == [(qid, NEVER - 1)]
    active.close()


def test_a_long_header_is_read_whole_and_a_large_message_from_the_file(spool):
    message = b"X: " + b"y" * 40000 + b"\nTo: alice\n\n" + b"z" * 3_000_000
    qid = spool.submit(letter(), message)
    active = grab(spool, qid)
    assert len(active.start) < 40000
    assert b"\n\n" in active.header()
    assert active.message() == message
    active.close()


def test_a_file_that_lost_its_end_is_damaged(spool):
    qid = spool.submit(letter(), b"x" * 100000)
    path = f"{spool.queue}/{qid}"
    os.truncate(path, 50000)
    with pytest.raises(DataError):
        take(spool, qid)
    set_aside(spool, qid)
    assert leftovers(spool) == [f"{qid}.damaged"]


def test_a_file_that_becomes_shorter_while_it_is_checked_is_damaged(spool, monkeypatch):
    qid = spool.submit(letter(), b"x" * 100000)
    real = os.pread
    monkeypatch.setattr(
        "pymail.active.os.pread", lambda fd, n, at: b"" if at > 10000 else real(fd, n, at)
    )
    with pytest.raises(DataError):
        take(spool, qid)


def test_a_damaged_message_is_not_kept_locked(spool):
    qid = spool.submit(letter(), b"x")
    path = f"{spool.queue}/{qid}"
    with open(path, "r+b") as file:
        file.seek(20)
        file.write(b"?")
    for _ in range(2):
        with pytest.raises(DataError):
            take(spool, qid)
    assert shown(spool.queue, qid) is None


# A system spool


def test_each_user_has_a_private_directory_that_is_made_by_the_first_mail(machine):
    machine.send("alice", b"Subject: s\n\n", "bob")
    drop = machine.spool / "drop" / "u1001"
    assert (drop.stat().st_uid, drop.stat().st_mode & 0o777) == (1001, 0o700)
    (file,) = drop.iterdir()
    assert is_id(file.name) and uid_of(file.name) == 1001
    assert (file.stat().st_uid, file.stat().st_mode & 0o777) == (1001, 0o600)


def test_roots_own_mail_goes_into_the_queue(machine):
    machine.send("root", b"Subject: s\n\n", "bob")
    (qid,) = machine.queue()
    assert uid_of(qid) == 0


def test_a_drop_directory_that_its_owner_opened_is_closed_again(machine):
    machine.send("alice", b"", "bob")
    drop = machine.spool / "drop" / "u1001"
    drop.chmod(0o777)
    machine.send("alice", b"", "bob")
    assert drop.stat().st_mode & 0o777 == 0o700


def test_a_squatted_name_does_not_stop_the_mail(machine):
    squatted = machine.spool / "drop" / "u1001"
    squatted.mkdir()
    os.chown(squatted, 1002, 1002)
    squatted.chmod(0o755)
    machine.send("alice", b"Subject: mine\n\n", "carol")
    assert list(squatted.iterdir()) == []
    machine.flush()
    assert [m.values("Subject") for m in machine.mail("carol")] == [["mine"]]
    assert [p.name for p in (machine.spool / "drop").iterdir()] == ["u1001"]


@pytest.mark.parametrize("kind", ["link", "file", "closed directory"])
def test_a_name_that_cannot_even_be_opened_does_not_stop_the_mail_either(machine, kind):
    squatted = machine.spool / "drop" / "u1001"
    if kind == "link":
        squatted.symlink_to("/home/bob")
    elif kind == "file":
        squatted.write_text("")
    else:
        squatted.mkdir(mode=0o700)
    os.chown(squatted, 1002, 1002, follow_symlinks=False)
    machine.send("alice", b"Subject: mine\n\n", "carol")
    assert os.listdir("/home/bob") == []
    machine.flush()
    assert [m.values("Subject") for m in machine.mail("carol")] == [["mine"]]
    assert squatted.stat(follow_symlinks=False).st_uid == 1001


@pytest.mark.parametrize(
    ("name", "uid"),
    [
        ("u0", 0),
        ("u1001", 1001),
        *((name, -1) for name in ("", "u", "u01", "u1001.0f", "v1", "u-1", "u٣", "u" + "9" * 5000)),
    ],
)
def test_a_plain_name_in_drop_is_kept_for_the_user_of_that_number(name, uid):
    assert spools.kept_for(name) == uid


def test_where_both_names_are_taken_nothing_is_sent(tmp_path, monkeypatch):
    needs_root()
    for folder in ("drop", "queue"):
        (tmp_path / folder).mkdir()
    tmp_path.chmod(0o755)
    monkeypatch.setattr(spools.os, "geteuid", lambda: 4321)  # what root makes is not 4321's
    with pytest.raises(TempError, match="directory is not ours"):
        Spool(str(tmp_path)).submit(letter(), b"")


def test_a_user_cannot_list_the_drop_directory(machine):
    code = "import os; os.listdir('/var/spool/pymail/drop')"
    done = machine.run("alice", sys.executable, "-c", code)
    assert b"PermissionError" in done.stderr


def test_reading_a_queue_file_never_waits(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises((OSError, DataError)):
        read(str(tmp_path / "fifo"), "fifo")
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic"):
        read(str(tmp_path / "link"), "link")


def test_a_killed_submission_leaves_nothing(box):
    """cronie -n feeds sendmail a job's output and kills it when the job succeeded."""
    with subprocess.Popen(
        argv("sendmail", "alice"), stdin=subprocess.PIPE, env=box.env, cwd=box.home
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b"x\n" * 500000)
        process.stdin.flush()
        process.kill()
    assert box.queue() == []


def test_a_head_that_was_read_short_is_no_head() -> None:
    # Half of it once looked like a message of fewer bytes, and the rest was cut off.
    fixed = b"pymail1 000001 00000020 000000000400 00000000 00000000000000   \n"
    assert whole(fixed) == 64 + 4 + 1 + 0x20 + 0x400
    for size in range(64):
        with pytest.raises(DataError):
            whole(fixed[:size])
