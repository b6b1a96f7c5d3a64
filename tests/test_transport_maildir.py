"""Maildirs: exactly once, durable, and nothing left in tmp."""

import errno
import os
from pathlib import Path

import pytest
from transports import ALICE, content, delivery

from pymail.transport import maildir
from pymail.transport.maildir import deliver, file_name


def give(place: Path, *ids: str, **facts) -> list[tuple[str, str]]:
    """Deliver messages with these queue ids; return (status, words) of each."""
    batch = [delivery(str(place), **{"qid": qid, "number": n} | facts) for n, qid in enumerate(ids)]
    outcomes = dict(deliver(batch))
    assert sorted(outcomes) == list(range(len(ids)))
    return [(outcomes[n].status, outcomes[n].words) for n in range(len(ids))]


def names(place: Path) -> dict[str, list[str]]:
    return {folder: sorted(os.listdir(place / folder)) for folder in ("tmp", "new", "cur")}


@pytest.fixture
def place(tmp_path) -> Path:
    return tmp_path / "Maildir"


@pytest.fixture(params=["with O_TMPFILE", "without", "without proc"])
def system(request, monkeypatch) -> str:
    """What the file system can do."""
    real = os.open

    def without(path: str, flags: int, *args: int, **how: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(path, flags, *args, **how)

    if request.param == "without":
        monkeypatch.setattr(maildir.os, "open", without)
    elif request.param == "without proc":
        monkeypatch.setattr(maildir.os.path, "lexists", lambda _: False)
    return str(request.param)


def test_a_message_is_whole_and_in_new(place, system):
    assert give(place, "0ID0", content=content(b"A: b\n", b"body\n")) == [
        ("sent", "delivered to maildir")
    ]
    (name,) = names(place)["new"]
    assert (place / "new" / name).read_bytes() == b"A: b\n\nbody\n"
    assert names(place) == {"tmp": [], "new": [name], "cur": []}


def test_the_name_follows_from_message_and_recipient_alone(place):
    one = delivery(str(place))
    assert file_name(one) == "1795000000.Q0YT5y1gYW0w1HfGh1Rabcdefghij.pymail"


def test_a_second_delivery_of_the_same_message_finds_it_there(place, system):
    give(place, "0ID0")
    before = names(place)
    assert give(place, "0ID0") == [("sent", "delivered to maildir")]
    assert names(place) == before


@pytest.mark.parametrize("flags", ["", ":2,", ":2,S", ":2,FRS"])
def test_in_doubt_it_is_looked_for_among_what_was_read(place, system, flags):
    give(place, "0ID0")
    (name,) = names(place)["new"]
    (place / "new" / name).rename(place / "cur" / f"{name}{flags}")
    assert give(place, "0ID0", doubtful=True) == [("sent", "delivered to maildir before")]
    assert names(place) == {"tmp": [], "new": [], "cur": [f"{name}{flags}"]}
    assert give(place, "1ID0", doubtful=True) == [("sent", "delivered to maildir")]


def test_the_rest_of_a_killed_attempt_is_in_nobodys_way(place, monkeypatch):
    give(place, "0ID0")
    monkeypatch.setattr(maildir.os.path, "lexists", lambda _: False)
    rest = file_name(delivery("", qid="1ID0"))
    (place / "tmp" / rest).write_text("half")
    assert give(place, "1ID0") == [("sent", "delivered to maildir")]
    assert len(names(place)["new"]) == 2
    assert names(place)["tmp"] == []


def test_many_messages_are_delivered_in_groups(place, system, monkeypatch):
    monkeypatch.setattr(maildir, "GROUP", 4)
    outcomes = give(place, *(f"{n}ID0" for n in range(10)))
    assert outcomes == [("sent", "delivered to maildir")] * 10
    assert len(names(place)["new"]) == 10


def test_a_missing_maildir_is_made_private(place):
    os.umask(0)
    try:
        give(place, "0ID0")
    finally:
        os.umask(0o022)
    for path in (place, *place.iterdir()):
        assert path.stat().st_mode & 0o777 == 0o700


def test_a_maildir_that_lacks_a_part_is_completed(place):
    (place / "cur").mkdir(parents=True)
    assert give(place, "0ID0")[0][0] == "sent"


@pytest.mark.parametrize("name", ["Mail/lists/in/", "/Mail//lists/in", "./Mail/lists/in/"])
def test_directories_that_are_missing_below_the_home_are_made_durably(tmp_path, monkeypatch, name):
    synced, real = set(), os.fsync

    def noted(fd: int) -> None:
        synced.add(os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), tmp_path))
        real(fd)

    monkeypatch.setattr(maildir.os, "fsync", noted)
    user = ALICE._replace(home=str(tmp_path))
    batch = [delivery(f"{tmp_path}/{name}", user=user)]
    assert [o.status for _, o in deliver(batch)] == ["sent"]
    for made in ("Mail", "Mail/lists", "Mail/lists/in", "Mail/lists/in/new"):
        assert (tmp_path / made).stat().st_mode & 0o777 == 0o700
        assert (os.path.dirname(made) or ".") in synced


@pytest.mark.parametrize("name", ["Maildir/", "Mail/in/", "/Mail/in/", "./Mail/in/", "../a/Mail/"])
def test_a_home_that_is_missing_is_never_made(tmp_path, name):
    home = tmp_path / "alice"
    batch = [delivery(f"{home}/{name}", user=ALICE._replace(home=str(home)))]
    assert [o.status for _, o in deliver(batch)] == ["deferred"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", ["a file", "a file in it", "no way there"])
def test_what_is_no_maildir_defers(place, wrong):
    if wrong == "a file":
        place.write_text("")
    elif wrong == "a file in it":
        place.mkdir()
        (place / "new").write_text("")
    else:
        place = place / "missing" / "Maildir"
    for status, words in give(place, "0ID0", "1ID0"):
        assert status == "deferred"
        assert words.startswith(f"cannot deliver to {place}: ")


def failing(call: str, error: int, after: int = 0):
    """Return a function that fails with `error` after a number of calls."""
    real = getattr(os, call)
    calls = []

    def broken(*args: object, **how: object) -> object:
        calls.append(args)
        if len(calls) > after:
            raise OSError(error, os.strerror(error))
        return real(*args, **how)

    return broken


@pytest.mark.parametrize("call", ["write", "fsync", "link"])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errno.ENOSPC, "kept"),
        (errno.EDQUOT, "kept"),
        (errno.EIO, "kept"),
        (errno.EACCES, "deferred"),
    ],
)
def test_trouble_delivers_nothing_and_leaves_nothing(
    place, system, monkeypatch, call, error, status
):
    give(place, "0ID0")
    before = names(place)
    with monkeypatch.context() as patch:
        patch.setattr(maildir.os, call, failing(call, error))
        assert [s for s, _ in give(place, "1ID0", "2ID0")] == [status] * 2
    assert names(place) == before
    assert [s for s, _ in give(place, "1ID0", "2ID0", doubtful=True)] == ["sent"] * 2
    assert len(names(place)["new"]) == 3


def test_one_message_in_trouble_stops_no_other(place, system, monkeypatch):
    give(place, "0ID0")
    real = os.write
    evil = content(b"evil: 1\n", b"x\n")

    def broken(fd: int, data: bytes) -> int:
        if bytes(data).startswith(b"evil"):
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return real(fd, data)

    monkeypatch.setattr(maildir.os, "write", broken)
    batch = [
        delivery(str(place), number=1, qid="1ID0"),
        delivery(str(place), number=2, qid="2ID0", content=evil),
        delivery(str(place), number=3, qid="3ID0"),
    ]
    outcomes = {number: outcome.status for number, outcome in deliver(batch)}
    assert outcomes == {1: "sent", 2: "kept", 3: "sent"}
    assert len(names(place)["new"]) == 3
    assert names(place)["tmp"] == []


def test_a_directory_that_cannot_be_synced_is_no_delivery_yet(place, system, monkeypatch):
    """The name may not survive: the next attempt finds it, or makes it anew."""
    give(place, "0ID0")
    with monkeypatch.context() as patch:
        # the file's own sync succeeds, that of new/ does not
        patch.setattr(maildir.os, "fsync", failing("fsync", errno.EIO, after=1))
        assert [s for s, _ in give(place, "1ID0")] == ["kept"]
    assert [s for s, _ in give(place, "1ID0", doubtful=True)] == ["sent"]
    assert len(names(place)["new"]) == 2


def test_short_writes_are_no_short_messages(place, system, monkeypatch):
    real = os.write
    monkeypatch.setattr(maildir.os, "write", lambda fd, data: real(fd, bytes(data)[:7]))
    body = os.urandom(1000)
    give(place, "0ID0", content=content(b"A: b\n", body))
    (name,) = names(place)["new"]
    assert (place / "new" / name).read_bytes() == b"A: b\n\n" + body


def test_another_error_of_opening_is_told(place, monkeypatch):
    give(place, "0ID0")
    real = os.open

    def none_left(path: str, flags: int, *args: int, **how: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path, flags, *args, **how)

    monkeypatch.setattr(maildir.os, "open", none_left)
    assert give(place, "1ID0")[0][0] == "kept"


def test_several_maildirs_in_a_batch_each_get_theirs(tmp_path):
    batch = [delivery(str(tmp_path / name), number=n) for n, name in enumerate("abca")]
    assert {number: outcome.status for number, outcome in deliver(batch)} == dict.fromkeys(
        range(4), "sent"
    )
    assert [len(names(tmp_path / name)["new"]) for name in "abc"] == [1, 1, 1]


def test_nothing_stays_open(place, system):
    before = len(os.listdir("/proc/self/fd"))
    give(place, "0ID0", "1ID0")
    give(place / "no" / "way", "0ID0")
    assert len(os.listdir("/proc/self/fd")) == before
