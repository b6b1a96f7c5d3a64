"""Adoption of what users have dropped: everything in there may be hostile, and acts meanwhile."""

import errno
import fcntl
import mmap
import os
import shutil
import socket
import stat
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from harness import ROOT

from pymail import pickup, waiting
from pymail import spool as spools
from pymail.envelope import Envelope
from pymail.queuefile import is_id, make_id, uid_of
from pymail.spool import Spool

ALICE, BOB = 1001, 1002
DROP = Path("/var/spool/pymail/drop/u1001")


@pytest.fixture
def spool(machine) -> Spool:
    return Spool(str(machine.spool))


@pytest.fixture
def letter(machine) -> Path:
    """A letter of alice's to bob, not picked up yet."""
    machine.send("alice", b"Subject: one\n\nbody\n", "bob")
    (path,) = DROP.iterdir()
    return path


def adopt(spool: Spool) -> tuple[list[str], list[str]]:
    """Pick up once; return what was taken and what was said."""
    warnings: list[str] = []
    return pickup.adopt(spool, warnings.append), warnings


def another_id(uid: int = ALICE) -> str:
    return make_id(time.time_ns() // 1000, os.urandom(5), uid)


def given_to(path: Path, uid: int) -> Path:
    os.chown(path, uid, uid, follow_symlinks=False)
    return path


def as_alice(machine, code: str) -> None:
    head = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    done = machine.run("alice", sys.executable, "-I", "-c", head + code)
    assert done.returncode == 0, done.stderr


def test_a_letter_is_taken_without_a_copy(spool, letter):
    inode = letter.stat().st_ino
    assert pickup.waiting(spool)
    assert adopt(spool) == ([letter.name], [])
    assert not pickup.waiting(spool)
    taken = os.stat(f"{spool.queue}/{letter.name}")
    assert (taken.st_ino, taken.st_uid, taken.st_gid) == (inode, 0, 0)
    assert (stat.S_IMODE(taken.st_mode), taken.st_nlink) == (0o600, 1)
    assert list(DROP.iterdir()) == []
    assert adopt(spool) == ([], [])


def test_a_letter_that_is_still_being_written_waits(spool, letter):
    with letter.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert adopt(spool) == ([], [])
    assert adopt(spool) == ([letter.name], [])


# What is no letter


def squat(kind: str, path: Path) -> None:
    if kind == "symlink":
        path.symlink_to("/etc/shadow")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory", "device", "socket"])
def test_what_is_no_file_is_left_and_hides_nothing(machine, spool, letter, kind):
    path = DROP / another_id()
    squat(kind, path)
    given_to(path, ALICE)
    taken, _ = adopt(spool)
    assert taken == [letter.name]
    assert os.path.lexists(path)
    assert machine.queue() == [letter.name]


@pytest.mark.parametrize(
    "name", ["x", ".hidden", "a\nb", "\udcff", "\x1b[2J", "0" * 16 + "H9", "x" * 255]
)
def test_names_that_are_no_ids_are_never_touched(spool, letter, name):
    evil = DROP / name
    shutil.copy(letter, evil)
    before = evil.stat()
    adopt(spool)
    assert evil.stat() == before


def test_a_letter_that_names_another_user_in_its_id_is_not_taken(spool, letter):
    letter.rename(DROP / another_id(BOB))
    assert adopt(spool) == ([], [])


def test_a_link_to_a_file_of_somebody_else_is_not_taken(spool, letter, tmp_path):
    """What fs.protected_hardlinks=0 lets alice do; root does it here in her place."""
    secret = Path(spool.queue) / another_id(0)
    shutil.copy(letter, secret)
    secret.chmod(0o600)
    before = secret.stat()
    os.link(secret, DROP / another_id())
    assert adopt(spool)[0] == [letter.name]
    after = secret.stat()
    assert (after.st_uid, after.st_mode, after.st_size) == (0, before.st_mode, before.st_size)
    assert len(list(DROP.iterdir())) == 1


def test_the_sender_is_the_owner_whatever_the_file_says(machine, spool):
    as_alice(
        machine,
        "from pymail import draft as d, spool as s\n"
        "from pymail.envelope import Envelope\n"
        "real = d.make_id\n"
        "d.make_id = lambda t, r, uid: real(t, r, 1001)\n"
        "for kind in ('', 'bounce', 'double-bounce'):\n"
        "    envelope = Envelope(0, ['bob'], kind=kind)\n"
        f"    s.Spool({spool.path!r}).submit(envelope, b'Subject: x\\n\\n')\n",
    )
    machine.flush()
    got = machine.mail("bob")
    assert [m.values("Return-Path") for m in got] == [["<alice@example.net>"]] * 3
    assert [m.values("From") for m in got] == [["Alice Liddell <alice@example.net>"]] * 3
    assert all("from userid 1001" in m.values("Received")[0] for m in got)


# Files that are not the user's alone


def test_a_file_with_a_second_name_is_copied_and_the_other_name_left(spool, letter, tmp_path):
    other = DROP / "keep"
    os.link(letter, other)
    inode = letter.stat().st_ino
    assert adopt(spool) == ([letter.name], [])
    taken = os.stat(f"{spool.queue}/{letter.name}")
    assert taken.st_ino != inode
    assert (taken.st_uid, stat.S_IMODE(taken.st_mode), taken.st_nlink) == (0, 0o600, 1)
    assert (other.stat().st_uid, other.stat().st_nlink) == (ALICE, 1)


def test_a_file_that_is_open_for_writing_is_copied(machine, spool, letter):
    with letter.open("r+b") as writer:
        assert adopt(spool) == ([letter.name], [])
        writer.seek(0)
        writer.write(b"garbage")
    machine.flush()
    assert [m.values("Subject") for m in machine.mail("bob")] == [["one"]]


def test_a_file_that_is_mapped_for_writing_is_copied(machine, spool, letter):
    with letter.open("r+b") as writer:
        mapped = mmap.mmap(writer.fileno(), 0)
    with mapped:
        assert adopt(spool) == ([letter.name], [])
        mapped[:7] = b"garbage"
        mapped.flush()
    machine.flush()
    assert [m.values("Subject") for m in machine.mail("bob")] == [["one"]]


def test_a_copy_that_its_writer_garbles_is_found_out(machine, letter):
    data = bytearray(letter.read_bytes())
    data[-2] ^= 1
    letter.write_bytes(data)
    done = machine.flush("-v")
    assert b"damaged queue file" in done.stdout
    assert machine.queue() == [f"{letter.name}.damaged"]
    assert machine.mail("bob") == []


def test_a_full_disk_during_a_copy_leaves_the_letter_and_no_rest(
    machine, spool, letter, monkeypatch
):
    os.link(letter, DROP / "keep")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pickup.os, "write", full)
    taken, warnings = adopt(spool)
    assert taken == []
    assert ["No space left on device" in text for text in warnings] == [True]
    monkeypatch.undo()
    assert [name for name in os.listdir(spool.queue) if is_id(name[1:])] == []
    machine.flush()
    assert len(machine.mail("bob")) == 1
    assert machine.queue() == []


def test_the_rest_of_an_earlier_copy_is_in_nobodys_way(spool, letter):
    os.link(letter, DROP / "keep")
    Path(spool.queue, f".{letter.name}").write_text("half")
    assert adopt(spool) == ([letter.name], [])


def test_a_file_that_becomes_shorter_while_it_is_copied_is_a_damaged_one(
    machine, spool, letter, monkeypatch
):
    os.link(letter, DROP / "keep")
    real = os.lseek

    def cut(fd: int, *args: int) -> int:
        found = real(fd, *args)
        os.truncate(letter if letter.exists() else DROP / "keep", 80)
        return found

    monkeypatch.setattr(pickup.os, "lseek", cut)
    assert adopt(spool)[0] == [letter.name]
    monkeypatch.undo()
    machine.flush()
    assert machine.queue() == [f"{letter.name}.damaged"]


def test_a_file_of_many_names_is_left_and_not_copied(machine, spool, letter):
    """A submission has one name; a second one a crash may have left."""
    many = given_to(Path(shutil.copy(letter, DROP / another_id())), ALICE)
    for _ in range(4):
        os.link(many, DROP / another_id())
    taken, warnings = adopt(spool)
    assert (taken, machine.queue()) == ([letter.name], [letter.name])
    words = "cannot take a message of uid 1001: its file has more than 2 names"
    assert set(warnings) == {words}
    assert many.stat().st_nlink == 5


@pytest.mark.parametrize("head", ["", "damaged", "cut off"])
@pytest.mark.parametrize("held", ["open", "linked"])
def test_a_damaged_file_is_taken_when_it_is_one_alone_and_never_copied(
    machine, spool, letter, head, held
):
    data = letter.read_bytes()
    bad = {"": b"", "damaged": b"x" + bytes(1 << 20), "cut off": data[:-1]}[head]
    letter.write_bytes(bad)
    if held == "linked":
        os.link(letter, DROP / "keep")
    with letter.open("r+b") if held == "open" else nullcontext():
        taken, warnings = adopt(spool)
    assert (taken, machine.queue()) == ([], [])
    words = "its file is damaged, and is open or has another name"
    assert warnings == [f"cannot take a message of uid 1001: {words}"]
    assert letter.read_bytes() == bad
    (DROP / "keep").unlink(missing_ok=True)
    machine.flush()
    assert machine.queue() == [f"{letter.name}.damaged"]


def test_a_copy_takes_no_more_of_the_disk_than_the_file(machine, spool, letter):
    """Else a user could fill it with files that consist of holes, at the expense of root."""
    size = 40 << 20
    as_alice(
        machine,
        "from pymail.envelope import Envelope\n"
        "from pymail.spool import Spool\n"
        f"zeros = bytes({size})\n"
        f"Spool({spool.path!r}).submit(Envelope(1001, ['bob']), b'Subject: x\\n\\n' + zeros)\n",
    )
    (full,) = (path for path in DROP.iterdir() if path != letter)
    data = full.read_bytes()
    with full.open("r+b", buffering=0) as file:
        file.truncate(4096)
        file.truncate(size)
        file.seek(size)
        file.write(data[size:] + b"beyond the end")
        assert full.stat().st_blocks * 512 < 1 << 20
        assert adopt(spool) == ([letter.name, full.name], [])
    taken = Path(spool.queue, full.name)
    assert taken.stat().st_blocks * 512 < 1 << 20
    assert taken.read_bytes() == data


def test_a_file_that_cannot_say_where_its_holes_are_is_left(machine, spool, letter, monkeypatch):
    os.link(letter, DROP / "keep")

    def broken(*_: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(pickup.os, "lseek", broken)
    taken, warnings = adopt(spool)
    assert (taken, len(warnings)) == ([], 1)
    assert "Input/output error" in warnings[0]
    monkeypatch.undo()
    machine.flush()
    assert len(machine.mail("bob")) == 1


# What happens between a look and the next


def test_a_file_swapped_between_the_look_and_the_link_is_let_go(
    machine, spool, letter, monkeypatch
):
    real = os.link
    decoy = given_to(Path(shutil.copy("/etc/hosts", DROP / "decoy")), BOB)

    def swap(*args: object, **how: object) -> None:
        decoy.rename(letter)
        real(*args, **how)

    monkeypatch.setattr(pickup.os, "link", swap)
    assert adopt(spool) == ([], [])
    assert machine.queue() == []
    assert letter.stat().st_uid == BOB


@pytest.mark.parametrize("call", ["open", "link"])
def test_a_letter_withdrawn_in_time_is_gone(machine, spool, letter, monkeypatch, call):
    real = getattr(os, call)

    def late(path: str, *args: object, **how: object) -> object:
        if is_id(path):
            letter.unlink(missing_ok=True)
        return real(path, *args, **how)

    monkeypatch.setattr(pickup.os, call, late)
    assert adopt(spool) == ([], [])
    assert machine.queue() == []


def test_a_letter_withdrawn_too_late_is_sent(spool, letter, monkeypatch):
    real = os.stat

    def late(path: str, *args: object, **how: object) -> os.stat_result:
        letter.unlink(missing_ok=True)
        return real(path, *args, **how)

    monkeypatch.setattr(pickup.os, "stat", late)
    assert adopt(spool) == ([letter.name], [])


def test_a_name_that_cannot_be_taken_away_leaves_the_letter_where_it_is(
    machine, spool, letter, monkeypatch
):
    real = os.unlink

    def broken(path: str, *args: object, **how: object) -> None:
        if is_id(path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        real(path, *args, **how)

    monkeypatch.setattr(pickup.os, "unlink", broken)
    taken, warnings = adopt(spool)
    assert (taken, len(warnings)) == ([], 1)
    assert "Read-only file system" in warnings[0]
    assert machine.queue() == []
    assert letter.exists()


def test_two_flushes_take_a_letter_once(spool, letter, monkeypatch):
    rest = Path(spool.queue, f".u1001,{letter.name}")
    rest.write_text("another flush is here")
    real = os.open

    def not_ours(path: str, flags: int, *args: object, **how: object) -> int:
        if path == rest.name:
            raise PermissionError(errno.EACCES, "no recovery here")
        return real(path, flags, *args, **how)

    monkeypatch.setattr(pickup.os, "open", not_ours)
    assert adopt(spool) == ([], [])
    assert letter.exists()


def test_an_error_of_opening_is_told_and_the_others_are_taken(spool, letter, monkeypatch):
    real = os.open
    broken = DROP / another_id()
    given_to(Path(shutil.copy(letter, broken)), ALICE)

    def none_left(path: str, flags: int, *args: object, **how: object) -> int:
        if path == broken.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, flags, *args, **how)

    monkeypatch.setattr(pickup.os, "open", none_left)
    taken, warnings = adopt(spool)
    assert taken == [letter.name]
    assert warnings == [f"cannot take {broken}: Input/output error"]


# Directories


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_directory_that_others_can_write_to_is_not_used(spool, letter, mode):
    DROP.chmod(mode)
    taken, warnings = adopt(spool)
    assert taken == []
    assert warnings == [f"cannot use {DROP}: others may write to it; its owner must chmod 700 it"]


@pytest.mark.parametrize("kind", ["symlink", "fifo", "file"])
def test_what_stands_in_the_place_of_a_directory_is_not_used(machine, spool, letter, kind):
    DROP.rename(machine.spool / "moved")
    if kind == "symlink":
        DROP.symlink_to(machine.spool / "moved")
    elif kind == "fifo":
        os.mkfifo(DROP)
    else:
        DROP.write_text("")
    given_to(DROP, ALICE)
    taken, warnings = adopt(spool)
    assert taken == []
    assert [text.startswith(f"cannot use {DROP}: ") for text in warnings] == [True]
    assert not pickup.waiting(spool)


def test_an_emptied_spare_directory_is_removed_a_full_one_is_not(machine, spool, letter):
    spare = DROP.with_name("u1001.0123456789abcdef")
    DROP.rename(spare)
    (spare / "mine").write_text("")
    assert adopt(spool)[0] == [letter.name]
    assert spare.exists()
    (spare / "mine").unlink()
    adopt(spool)
    assert not spare.exists()


def names() -> set[tuple[str, int]]:
    """Return what stands in drop/, by the part of the name that is not random, with its owner."""
    found = {path.name: path.stat(follow_symlinks=False) for path in DROP.parent.iterdir()}
    return {(name.partition(".")[0], status.st_uid) for name, status in found.items()}


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory", "device", "socket"])
def test_a_name_that_another_user_has_taken_is_given_back(spool, letter, kind):
    other = DROP.with_name("u1002")
    squat(kind, other)
    given_to(other, ALICE)
    assert pickup.waiting(spool)
    taken, warnings = adopt(spool)
    assert taken == [letter.name]
    assert warnings[0] == f"uid 1001 had taken {other}, which is for uid 1002: given back"
    assert names() == {("u1001", ALICE), ("u1002", BOB)}
    assert (other.stat().st_gid, stat.S_IMODE(other.stat().st_mode)) == (BOB, 0o700)
    assert not pickup.waiting(spool)


def test_mail_in_a_directory_with_anothers_name_is_its_owners(spool, letter):
    DROP.rename(DROP.with_name("u1002"))
    assert adopt(spool)[0] == [letter.name]
    assert names() == {("u1002", BOB)}


def test_a_name_of_nobodys_is_cleared_and_no_directory_made(spool):
    nobodys = DROP.with_name("u54321")
    nobodys.mkdir()
    given_to(nobodys, ALICE)
    adopt(spool)
    assert names() == set()


def test_a_directory_that_its_user_has_got_meanwhile_stays(spool, monkeypatch):
    DROP.mkdir()
    given_to(DROP, BOB)
    real = os.rename

    def late(path: str, to: str) -> None:
        if DROP.exists() and DROP.stat().st_uid == BOB:
            DROP.rmdir()
            DROP.mkdir()
            given_to(DROP, ALICE)
        real(path, to)

    monkeypatch.setattr(pickup.os, "rename", late)
    assert adopt(spool) == ([], [])
    assert names() == {("u1001", ALICE)}


def test_a_name_that_cannot_be_given_back_is_told(spool, monkeypatch):
    DROP.mkdir()
    given_to(DROP, BOB)

    def broken(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(pickup.os, "rename", broken)
    assert f"cannot give {DROP} back to uid 1001: Read-only file system" in adopt(spool)[1]


# Floods


def test_a_file_beyond_all_limits_is_not_read(spool, letter):
    huge = given_to(Path(shutil.copy(letter, DROP / another_id())), ALICE)
    os.truncate(huge, 1 << 40)
    taken, warnings = adopt(spool)
    assert taken == [letter.name]
    assert len(warnings) == 1 and "larger than" in warnings[0]


def test_a_users_flood_waits_and_the_mail_of_others_does_not(machine, spool, letter, monkeypatch):
    monkeypatch.setattr(pickup, "MOST_QUEUED", 3)
    for _ in range(5):
        machine.send("alice", b"", "bob")
    machine.send("bob", b"", "alice")
    taken, warnings = adopt(spool)
    assert len(taken) == 4
    assert warnings == ["cannot take more mail of uid 1001: 3 are queued"]
    assert len(list(DROP.iterdir())) == 3
    machine.flush()
    assert len(machine.mail("bob")) == 6


def test_each_user_is_served_for_a_while_and_the_rest_is_for_the_next_time(machine, spool):
    for user in ("alice", "alice", "alice", "bob"):
        machine.send(user, b"", "carol")
    for users in ([ALICE, BOB], [ALICE], [ALICE], []):
        taken = pickup.adopt(spool, pytest.fail, turn=0)
        assert sorted(uid_of(qid) for qid in taken) == users


def test_all_the_directories_of_a_user_have_one_turn(machine, spool, letter):
    spare = DROP.with_name("u1001.0123456789abcdef")
    DROP.rename(spare)
    machine.send("alice", b"", "bob")
    assert len(pickup.adopt(spool, pytest.fail, turn=0)) == 1
    assert len(pickup.adopt(spool, pytest.fail, turn=0)) == 1


def test_of_a_users_names_only_so_many_are_kept(machine, spool, letter, monkeypatch):
    """And what is no message is never in the way of what is one."""
    monkeypatch.setattr(spools, "MOST_LISTED", 2)
    for number in range(300):
        (DROP / f"{number:03}{'n' * 200}").write_text("")
    machine.send("alice", b"", "bob")
    machine.send("alice", b"", "bob")
    assert pickup.waiting(spool)
    for most in (2, 1, 0):
        assert len(list(waiting.dropped(str(DROP), ALICE))) == most
        assert len(pickup.adopt(spool, pytest.fail)) == most
    assert not pickup.waiting(spool)


# Recovery


def half(spool: Spool, letter: Path, *, dropped: bool) -> Path:
    """Leave an adoption as a killed flush does."""
    rest = Path(spool.queue, f".u1001,{letter.name}")
    os.link(letter, rest)
    if not dropped:
        letter.unlink()
    return rest


def test_an_adoption_cut_short_before_the_unlink_begins_anew(spool, letter):
    half(spool, letter, dropped=True)
    assert pickup.waiting(spool)
    assert adopt(spool) == ([letter.name], [])
    assert [n for n in os.listdir(spool.queue) if n != ".boot"] == [letter.name]


def test_an_adoption_cut_short_after_the_unlink_is_finished(machine, spool, letter):
    half(spool, letter, dropped=False)
    assert pickup.waiting(spool)
    machine.flush()
    assert len(machine.mail("bob")) == 1
    assert machine.queue() == []


def test_an_adoption_in_another_hand_is_left(spool, letter):
    rest = half(spool, letter, dropped=False)
    with rest.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        adopt(spool)
        assert rest.exists()
    adopt(spool)
    assert not rest.exists()
    assert Path(spool.queue, letter.name).exists()


def test_names_that_only_look_like_half_adoptions_are_left(spool, letter):
    for name in (".boot,", ".a,b", f".,{'x' * 30}"):
        Path(spool.queue, name).write_text("")
    (Path(spool.queue) / f".u1,{another_id()}").symlink_to("/etc/shadow")
    adopt(spool)
    assert len(os.listdir(spool.queue)) == 5


# Leftovers where O_TMPFILE is missing


def test_only_old_leftovers_are_swept(machine, spool, letter):
    now = int(time.time())
    places = [Path(spool.queue), DROP]
    for place in places:
        for name, age in ((another_id(), 0), (another_id(), pickup.STALE + 60), ("boot", 10**6)):
            path = place / f".{name}"
            path.write_text("")
            os.utime(path, (now - age, now - age))
        (place / f".{another_id()}").mkdir()
    DROP.with_name("link").symlink_to("/etc")
    pickup.sweep(spool, now)
    assert [len([n for n in os.listdir(p) if n[0] == "."]) for p in places] == [3, 3]


def test_a_leftover_that_its_owner_removes_first_is_no_error(spool, letter, monkeypatch):
    path = DROP / f".{another_id()}"
    path.write_text("")
    os.utime(path, (0, 0))
    real = os.stat

    def late(name: str, *args: object, **how: object) -> os.stat_result:
        if name == path.name:
            path.unlink()
        return real(name, *args, **how)

    monkeypatch.setattr(pickup.os, "stat", late)
    pickup.sweep(spool, int(time.time()))


def test_a_users_spool_is_swept_too(tmp_path):
    own = Spool(str(tmp_path / "spool"))
    own.submit(Envelope(0, ["alice"]), b"")
    rest = Path(own.queue, f".{another_id()}")
    rest.write_text("")
    os.utime(rest, (0, 0))
    pickup.sweep(own, int(time.time()))
    assert not rest.exists()


def test_the_log_is_warned_once_of_what_stays_as_it_is(machine, tmp_path):
    drop, log = Path("/var/spool/pymail/drop/u1001"), tmp_path / "log"
    options = ("-v", "--log", str(log))
    for warned in (1, 2):
        machine.send("alice", b"Subject: s\n\n", "bob")
        drop.chmod(0o770)
        said = [machine.flush(*options).stdout for _ in range(3)]
        assert all(b"its owner must chmod 700 it" in each for each in said)
        assert log.read_text().count("its owner must chmod 700 it") == warned
        drop.chmod(0o700)
        machine.flush(*options)
        assert len(machine.mail("bob")) == warned
