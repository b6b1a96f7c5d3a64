"""Maildirs and mbox files that are read while others work on them."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymail import folder, summaries
from pymail.errors import InputError, MailError
from pymail.folder import Change, Folder, Letter

MESSAGE = b"From: %s <%s@x>\nSubject: %s\n\nbody of %s\n"


def message(name: str) -> bytes:
    return MESSAGE % ((name.encode(),) * 4)


def maildir(place: Path, **messages: str) -> Path:
    """Make a Maildir; a message is named after where it is: cur_a="S"."""
    for name in ("cur", "new", "tmp"):
        (place / name).mkdir(parents=True, exist_ok=True)
    for at, (key, flags) in enumerate(messages.items(), 1):
        where, _, name = key.partition("_")
        path = place / where / (name if where == "new" else f"{name}:2,{flags}")
        path.write_bytes(message(name))
        os.utime(path, (at, at))
    return place


def mbox(place: Path, *messages: tuple[str, str]) -> Path:
    """Make an mbox file of (name, Status) pairs."""
    text = b""
    for name, status in messages:
        head, _, body = message(name).partition(b"\n\n")
        field = f"\nStatus: {status}".encode() if status else b""
        text += b"From a@x Mon Nov 23 00:00:00 2026\n" + head + field + b"\n\n" + body + b"\n"
    place.write_bytes(text)
    return place


def names(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.glob("[cn]*/*")}


@pytest.fixture(autouse=True)
def descriptors_go(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close what a test has opened: thousands of tests share a process."""
    left: list[Folder] = []
    real = folder.open_folder

    def open_folder(path: str, cache: str = "") -> Folder:
        left.append(real(path, cache))
        return left[-1]

    monkeypatch.setattr(folder, "open_folder", open_folder)
    yield
    for each in left:
        each.close()


def opened(path: Path, cache: str = "") -> tuple[Folder, dict[str, Letter]]:
    here = folder.open_folder(str(path), cache)
    return here, {letter.about.subject: letter for letter in here.letters()}


# --- both kinds: one contract ----------------------------------------------------------------


@pytest.fixture(params=["maildir", "mbox"])
def box(request, tmp_path: Path) -> Path:
    """A mailbox with new a, old b, read c."""
    if request.param == "maildir":
        return maildir(tmp_path / "m", new_a="", cur_b="", cur_c="S")
    return mbox(tmp_path / "m", ("a", ""), ("b", "O"), ("c", "RO"))


def states(path: Path) -> dict[str, tuple[bool, str]]:
    _, letters = opened(path)
    return {name: (letter.new, letter.flags) for name, letter in letters.items()}


def test_messages_are_there_with_their_state(box: Path) -> None:
    here, letters = opened(box)
    assert list(letters) == ["a", "b", "c"]
    assert states(box) == {"a": (True, ""), "b": (False, ""), "c": (False, "S")}
    assert {name: here.read(letter) for name, letter in letters.items()} == {
        name: message(name) for name in "abc"
    }
    here.close()


def test_changes_are_made(box: Path) -> None:
    here, found = opened(box)
    changes = [Change(found["a"], add="RS"), Change(found["b"], delete=True)]
    assert here.commit([*changes, Change(found["c"], add="F", remove="S")]) == []
    assert states(box) == {"a": (False, "RS"), "c": (False, "F")}
    assert opened(box)[0].read(opened(box)[1]["a"]) == message("a")
    here, found = opened(box)
    assert here.commit([Change(found["a"], remove="RS"), Change(found["c"], add="TD")]) == []
    assert states(box) == {"a": (False, ""), "c": (False, "DFT")}


def test_a_message_that_others_removed_is_gone_and_no_trouble(box: Path) -> None:
    here, found = opened(box)
    other, same = opened(box)
    other.commit([Change(same["a"], delete=True)])
    assert here.commit([Change(found["a"], delete=True), Change(found["c"], add="F")]) == []
    with pytest.raises(InputError, match="another program has removed it"):
        here.read(found["a"])
    assert here.read(found["c"]) == message("c")
    assert states(box) == {"b": (False, ""), "c": (False, "FS")}


def test_a_message_may_be_put_in_other_words(box: Path) -> None:
    here, found = opened(box)
    assert here.commit([Change(found["c"], add="F", text=message("new words"))]) == []
    assert states(box)["new words"] == (False, "FS")
    assert set(states(box)) == {"a", "b", "new words"}
    here, found = opened(box)
    assert here.read(found["new words"]) == message("new words")


def test_what_comes_meanwhile_is_seen_and_stays(box: Path) -> None:
    here, found = opened(box)
    assert here.arrived() == []
    if box.is_dir():
        (box / "new" / "d").write_bytes(message("d"))
    else:
        with box.open("ab") as file:
            file.write(b"From a@x Mon Nov 23 00:00:00 2026\n" + message("d") + b"\n")
    assert [letter.about.subject for letter in here.arrived()] == ["d"]
    assert here.arrived() == []
    here.commit([Change(letter, delete=True) for letter in found.values()])
    assert states(box) == {"d": (True, "")}


# --- Maildir ----------------------------------------------------------------------------------


def test_a_message_that_was_renamed_is_found_and_keeps_the_flags_of_others(tmp_path: Path) -> None:
    place = maildir(tmp_path / "m", new_a="", cur_b="S", cur_c="")
    here, found = opened(place)
    (place / "new/a").rename(place / "cur/a:2,F")
    (place / "cur/b:2,S").rename(place / "cur/b:2,RSTa")
    assert here.read(found["a"]) == message("a")
    assert here.commit([Change(found["a"], add="S"), Change(found["b"], add="F", remove="S")]) == []
    assert names(place) == {"cur/a:2,FS", "cur/b:2,FRTa", "cur/c:2,"}


def test_a_message_that_others_rename_is_rewritten_once(tmp_path: Path) -> None:
    place = maildir(tmp_path / "m", cur_a="S")
    here, found = opened(place)
    (place / "cur/a:2,S").rename(place / "cur/a:2,RS")
    assert here.commit([Change(found["a"], add="F", text=message("new"))]) == []
    (name,) = names(place)
    assert name.endswith(":2,FRS")
    assert (place / name).read_bytes() == message("new")
    assert (place / name).stat().st_mtime == 1
    assert os.listdir(place / "tmp") == []


def test_only_the_message_that_was_shown_is_deleted(tmp_path: Path) -> None:
    place = maildir(tmp_path / "m", cur_a="S", cur_b="S")
    here, found = opened(place)
    (place / "other").write_bytes(b"Subject: precious\n\n")
    (place / "other").rename(place / "cur/a:2,S")
    (place / "cur/b:2,S").rename(place / "cur/b:2,RS")
    (place / "cur/b:2,F").write_bytes(b"Subject: precious too\n\n")
    troubles = here.commit([Change(letter, delete=True) for letter in found.values()])
    assert len(troubles) == 2
    assert names(place) == {"cur/a:2,S", "cur/b:2,RS", "cur/b:2,F"}


def test_a_name_that_is_taken_is_not_written_over(tmp_path: Path) -> None:
    place = maildir(tmp_path / "m", cur_a="S")
    here, found = opened(place)
    (place / "cur/a:2,FS").write_bytes(b"Subject: precious\n\n")
    assert here.commit([Change(found["a"], add="F")])
    assert (place / "cur/a:2,FS").read_bytes() == b"Subject: precious\n\n"
    assert names(place) == {"cur/a:2,S", "cur/a:2,FS"}


def test_what_is_no_message_is_left_out(tmp_path: Path) -> None:
    place = maildir(tmp_path / "m", new_a="")
    (place / "new/link").symlink_to("/etc/passwd")
    os.mkfifo(place / "new/fifo")
    (place / "new/dir").mkdir()
    (place / "cur/.hidden").write_text("x")
    here, found = opened(place)
    assert list(found) == ["a"]
    (place / "new/a").unlink()
    (place / "new/a").symlink_to("/etc/passwd")
    with pytest.raises((InputError, OSError)):
        here.read(found["a"])
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no Maildir"):
        folder.open_folder(str(tmp_path / "none"))
    with pytest.raises(InputError, match="neither"):
        folder.open_folder("/dev/null")


def test_a_maildir_may_lack_a_directory(tmp_path: Path) -> None:
    for name in ("cur", "new"):
        (tmp_path / name / name).mkdir(parents=True)
        here, found = opened(tmp_path / name)
        assert found == {}
        assert here.commit([]) == []
        assert here.arrived() == []


# --- mbox -------------------------------------------------------------------------------------


def test_lines_that_look_like_separators_are_read_as_they_were_sent(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(
        b"From a@x Mon Nov 23 00:00:00 2026\nSubject: q\n\n>From here\n>>From there\n> no\n\n"
        b"From not-here\n\n"
    )
    here, found = opened(path)
    assert here.read(found["q"]) == b"Subject: q\n\nFrom here\n>From there\n> no\n"


def test_what_is_not_changed_stays_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "m"
    first = b"From a Mon Nov 23 00:00:00 2026\n>From b\nSubject: one\nX: \xff\r\n\nx\r\n\n\n"
    second = b"From b Mon Nov 23 00:00:00 2026\r\nSubject: two\r\nStatus: O\r\n\r\nbody\r\n\r\n"
    third = b"From c\nSubject: three\nno header\n\n"
    path.write_bytes(first + second + third)
    path.chmod(0o640)
    here, found = opened(path)
    assert list(found) == ["one", "two", "three"]
    assert here.commit([Change(found["two"], add="S")]) == []
    changed = second.replace(b"Status: O\r\n", b"").replace(b"two\r\n", b"two\r\nStatus: RO\n")
    assert path.read_bytes() == first + changed + third
    assert path.stat().st_mode & 0o777 == 0o640
    here, found = opened(path)
    assert here.commit([Change(found["one"]), Change(found["three"], add="R")]) == []
    one = first.replace(b"\xff\r\n\n", b"\xff\r\nStatus: O\n\n")
    three = third.replace(b"three\n", b"three\nStatus: O\nX-Status: A\n")
    assert path.read_bytes() == one + changed + three
    assert os.listdir(tmp_path) == ["m"]


def test_two_messages_that_are_the_same_are_two(tmp_path: Path) -> None:
    path = mbox(tmp_path / "m", ("a", ""), ("a", ""), ("a", ""))
    here = folder.open_folder(str(path))
    letters = here.letters()
    assert len({letter.id for letter in letters}) == 3
    here.commit([Change(letters[0], delete=True)])
    assert len(folder.open_folder(str(path)).letters()) == 2


def test_a_message_that_another_program_moved_in_the_file_is_found(tmp_path: Path) -> None:
    path = mbox(tmp_path / "m", ("a", ""), ("b", ""))
    here, found = opened(path)
    mbox(path, ("zero", ""), ("a", "RO"), ("b", "O"))
    assert here.read(found["b"]) == message("b")
    here.commit([Change(found["a"], delete=True)])
    assert list(opened(path)[1]) == ["zero", "b"]
    mbox(path, ("other", ""))
    assert here.commit([Change(found["b"], add="S")]) != []
    assert list(opened(path)[1]) == ["other"]


LOCKED = """
import fcntl, sys
file = open(sys.argv[1], "r+")
fcntl.lockf(file, fcntl.LOCK_EX)
print(flush=True)
input()
file.write(sys.argv[2])
"""


@contextmanager
def locked(path: Path, text: str = "") -> Iterator[None]:
    """Have another program lock a file, and write into it in the end."""
    with subprocess.Popen(
        [sys.executable, "-c", LOCKED, path, text], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()
        yield
        other.communicate(b"\n")


def test_a_file_that_is_locked_is_not_changed(tmp_path: Path, monkeypatch) -> None:
    path = mbox(tmp_path / "m", ("a", ""))
    here, found = opened(path)
    before = path.read_bytes()
    monkeypatch.setattr("pymail.transport.lock.LOCK_WAIT", 0.2)
    monkeypatch.setattr("pymail.folder.mbox.LOCK_WAIT", 0.2)
    with locked(path):
        with pytest.raises(MailError, match="locked; nothing was changed"):
            here.commit([Change(found["a"], delete=True)])
        with pytest.raises(MailError, match="another program has locked it"):
            here.read(found["a"])
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m"]


def test_a_file_is_read_when_nobody_writes_to_it(tmp_path: Path) -> None:
    path = mbox(tmp_path / "m", ("a", ""))
    with ThreadPoolExecutor() as pool:
        with locked(path, "From b@y"):
            reading = pool.submit(opened, path)
            time.sleep(0.3)
            assert not reading.done()
        assert list(reading.result(30)[1]) == ["a"]
    assert path.read_bytes().startswith(b"From b@y")


def test_a_change_that_was_cut_off_is_not_made_worse(tmp_path: Path) -> None:
    path = mbox(tmp_path / "m", ("a", ""), ("b", ""))
    here, found = opened(path)
    before = path.read_bytes()
    (tmp_path / "m.kept").write_bytes(b"what an earlier run has left")
    with pytest.raises(MailError, match=r"m\.kept has its whole contents"):
        here.commit([Change(found["a"], delete=True)])
    assert path.read_bytes() == before
    (tmp_path / "m.kept").unlink()
    here.commit([Change(found["a"], delete=True)])
    assert os.listdir(tmp_path) == ["m"]


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    path = mbox(tmp_path / "m", ("a", ""), ("b", ""))
    here, found = opened(path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before), limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            here.commit([Change(letter, add="SR") for letter in found.values()])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m"]


def is_open(path: Path) -> bool:
    """Say whether this process has a file open."""
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # closed again
            if os.readlink(f"/proc/self/fd/{fd}") == str(path):
                return True
    return False


def test_a_file_that_others_exchange_or_remove_is_not_changed(tmp_path: Path) -> None:
    path = mbox(tmp_path / "m", ("a", ""))
    here, found = opened(path)
    other = mbox(tmp_path / "other", ("a", ""), ("z", ""))
    with ThreadPoolExecutor() as pool:
        with locked(path):
            changing = pool.submit(here.commit, [Change(found["a"], delete=True)])
            while not is_open(path):
                time.sleep(0.05)
            other.rename(path)
        with pytest.raises(MailError, match="exchanged meanwhile; nothing was changed"):
            changing.result(30)
    assert set(opened(path)[1]) == {"a", "z"}
    path.unlink()
    with pytest.raises(InputError, match="No such file"):
        here.commit([Change(found["a"], delete=True)])


def test_a_file_in_a_directory_that_is_not_ours_is_changed_in_place(machine) -> None:
    spool = Path("/tmp/in-place")
    spool.mkdir(exist_ok=True)
    path = mbox(spool / "alice", ("a", ""), ("b", ""))
    machine.run("root", "chown", "alice", str(path))
    inode = path.stat().st_ino
    done = machine.run("alice", "mail", "-n", "-f", str(path), stdin=b"p 1\nd 2\nq\n")
    assert done.returncode == 0, done
    assert path.stat().st_ino == inode
    assert states(path) == {"a": (False, "S")}
    assert list(Path("/home/alice/.cache/pymail").iterdir()) == []


def test_what_is_no_mbox_is_said(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("just a text\n")
    with pytest.raises(InputError, match="not an mbox"):
        opened(tmp_path / "m")
    (tmp_path / "e").write_text("")
    assert opened(tmp_path / "e")[1] == {}


def test_no_link_in_the_place_of_a_maildirs_directory_is_followed(tmp_path: Path) -> None:
    place, other = maildir(tmp_path / "m", new_a="", cur_b=""), maildir(tmp_path / "o", new_a="")
    here, found = opened(place)
    (place / "new").rename(place / "old")
    (place / "new").symlink_to(other / "new")
    assert here.commit([Change(found["a"], delete=True)]) == []
    assert here.commit([Change(found["b"], text=b"changed")]) == []
    assert names(other) == {"new/a"}
    assert list((place / "old").iterdir()) == []
    here.close()
    with pytest.raises(NotADirectoryError):
        opened(place)


# --- what is remembered -----------------------------------------------------------------------


def many(place: Path, count: int = 250) -> Path:
    maildir(place)
    for n in range(count):
        path = place / "cur" / f"{n:04}.x:2,"
        path.write_bytes(message(f"s{n}"))
        os.utime(path, (n, n))
    return place


def test_headers_are_remembered_and_never_wrong(tmp_path: Path) -> None:
    place, cache = many(tmp_path / "m"), str(tmp_path / "cache")
    first = opened(place, cache)[1]
    (file,) = Path(cache).iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert opened(place, cache)[1] == first
    # a file with the same name and other contents
    path = place / "cur/0005.x:2,"
    path.write_bytes(message("new"))
    (place / "cur/0006.x:2,").unlink()
    now = opened(place, cache)[1]
    assert set(first) - set(now) == {"s5", "s6"}
    assert set(now) - set(first) == {"new"}
    assert len(json.loads(file.read_bytes().partition(b"\n")[2])) == 249


@pytest.mark.parametrize("damage", [b"", b"x", b"pymail summaries 1 00000000\n{}"])
def test_a_memory_that_is_damaged_is_as_good_as_none(tmp_path: Path, damage: bytes) -> None:
    place, cache = many(tmp_path / "m"), str(tmp_path / "cache")
    first = opened(place, cache)[1]
    (file,) = Path(cache).iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage or whole[:-100])
    assert opened(place, cache)[1] == first
    assert file.read_bytes()[:27] == whole[:27]


def test_a_memory_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    place = many(tmp_path / "m")
    (tmp_path / "file").write_text("x")
    assert len(opened(place, str(tmp_path / "file"))[1]) == 250
    assert summaries.load("", "x") == {}
    maildir(tmp_path / "small", cur_a="")
    opened(tmp_path / "small", str(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


# --- any bytes --------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [b"From a@x Mon Nov 23 00:00:00 2026\n", b"From ", b"\n", b"\n\n", b"\r\n", b">From x\n",
     b"a: b\n", b"Status: RO\n", b"X-Status: AF\n", b"status : \xff\n", b"no field\n",
     b" fold\n", b"\0", b"x"]
)  # fmt: skip


FILES = st.lists(PIECES, max_size=30).map(b"".join)


@given(data=FILES, at=st.integers(0, 20), flags=st.booleans())
def test_any_mbox_is_read_and_what_is_not_changed_stays(
    data: bytes, at: int, *, flags: bool
) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "m")
        path.write_bytes(data)
        here = folder.open_folder(str(path))
        try:
            letters = here.letters()
        except InputError:
            return
        texts = [here.read(letter) for letter in letters]
        assert here.commit([]) == []
        assert path.read_bytes() == data
        if not letters:
            return
        changed = letters[at % len(letters)]
        here.commit([Change(changed, add="S" if flags else "", delete=not flags)])
        if len(letters) == 1 and not flags:
            return
        again = folder.open_folder(str(path))
        after = [again.read(letter) for letter in again.letters()]
        if not flags:
            del texts[at % len(letters)]
            assert after == texts
        else:
            assert len(after) == len(texts)
            assert [t for n, t in enumerate(after) if n != at % len(letters)] == [
                t for n, t in enumerate(texts) if n != at % len(letters)
            ]


@given(st.binary(max_size=300), st.text("SRFT:2,abc.é\n ", max_size=12))
def test_any_file_in_a_maildir_is_a_message(data: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as top:
        place = maildir(Path(top))
        (place / "cur" / f"x{name}").write_bytes(data)
        with closing(folder.open_folder(top)) as here, closing(folder.open_folder(top)) as again:
            (letter,) = here.letters()
            assert here.read(letter) == data
            assert here.commit([Change(letter, add="F")]) == []
            (after,) = again.letters()
            assert set(after.flags) == set(letter.flags) | {"F"}
            assert here.commit([Change(letter, delete=True)]) == []
            assert again.letters() == []
