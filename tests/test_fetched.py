"""The record of what was fetched: it survives, and does not grow for ever."""

import os
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pymail import fetched
from pymail.account import accounts
from pymail.destination import destination
from pymail.errors import TempError
from pymail.fetched import Fetched
from pymail.identity import Identity
from pymail.source import Text
from pymail.spool import Spool

WHOSE = "imap a.example u"


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "fetch")


def held(folder) -> set[str]:
    record = Fetched(folder, "isp", WHOSE)
    try:
        return set(record)
    finally:
        record.close()


def test_what_was_recorded_is_there_the_next_time(folder):
    record = Fetched(folder, "isp", WHOSE)
    record.add(dict.fromkeys(["a", "b"], ""))
    record.close()
    assert held(folder) == {"a", "b"}


@pytest.mark.parametrize("name", ["isp", ".isp.lock"])
def test_a_directory_in_the_place_of_a_record_is_trouble_and_no_accident(folder, name):
    Path(folder, name).mkdir(parents=True)
    with pytest.raises(TempError, match=r"cannot record in .*isp what was fetched: Is a directory"):
        Fetched(folder, "isp", WHOSE)


@given(data=st.binary(max_size=200))
@example("²³ key\n1 good\n".encode())
@example(b"9" * 5000 + b" key\n1 good\n")
def test_whatever_is_in_the_file_is_read_and_added_to(data):
    with tempfile.TemporaryDirectory() as place:
        Path(place, "isp").write_bytes(data)
        record = Fetched(place, "isp", WHOSE)
        record.add({"new": ""})
        record.close()
        assert "new" in held(place)
        assert (b"1 good\n" not in data) or "good" in held(place)


def test_a_line_that_was_not_finished_counts_for_nothing(folder):
    record = Fetched(folder, "isp", WHOSE)
    record.add(dict.fromkeys(["a"], ""))
    record.close()
    with open(f"{folder}/isp", "a", encoding="ascii") as file:
        file.write("1700000000 half")
    assert held(folder) == {"a"}
    record = Fetched(folder, "isp", WHOSE)
    record.add(dict.fromkeys(["c"], ""))
    record.close()
    assert held(folder) == {"a", "c"}


def test_accounts_with_names_like_those_of_our_files_share_none(folder, monkeypatch):
    monkeypatch.setattr(fetched, "WORTH", -5)  # a new file each time
    names = ("a", "a.lock", "a.new")
    records = [Fetched(folder, name, WHOSE) for name in names]
    for record, name in zip(records, names, strict=True):
        record.add({f"of-{name}": ""})
        record.keep({f"of-{name}"})
        record.close()
    for name in names:
        record = Fetched(folder, name, WHOSE)
        assert set(record) == {f"of-{name}"}
        record.close()


def test_two_at_a_time_are_refused(folder):
    record = Fetched(folder, "isp", WHOSE)
    with pytest.raises(TempError, match="another fetch of it is running"):
        Fetched(folder, "isp", WHOSE)
    record.close()


def test_what_is_gone_for_good_is_forgotten_and_the_rest_kept(folder, monkeypatch):
    monkeypatch.setattr(fetched, "WORTH", 10)
    record = Fetched(folder, "isp", WHOSE)
    record.add(dict.fromkeys([f"k{n}" for n in range(20)], ""))
    record.keep(set())  # a server that shows nothing
    assert len(set(record)) == 20
    record.keep({"k1", "k2", "new"})
    assert set(record) == {"k1", "k2"}
    record.add(dict.fromkeys(["later"], ""))
    record.close()
    assert held(folder) == {"k1", "k2", "later"}


def test_what_was_fetched_from_another_counts_for_nothing(folder, monkeypatch):
    """Small numbers are given by every server: here they would be deleted, and never fetched."""
    keys = ["INBOX:1:7", "INBOX:1790000000:7", "0001"]
    with closing(Fetched(folder, "isp", WHOSE)) as record:
        record.add({**dict.fromkeys(keys, ""), "0002": "digest"})
    with closing(Fetched(folder, "isp", "imap b.example u")) as record:
        assert set(record) == {"INBOX:1790000000:7"}
        assert record.digest("0002") == "digest"
        record.add({"INBOX:1:8": ""})
    for whose, known in (
        ("imap b.example u", {"INBOX:1790000000:7", "INBOX:1:8"}),
        ("pop3 b.example u", {"INBOX:1790000000:7"}),
        (WHOSE, {"INBOX:1790000000:7"}),
        ("imap a.example v", set()),
    ):
        with closing(Fetched(folder, "isp", whose)) as record:
            assert set(record) == known
    monkeypatch.setattr(fetched, "WORTH", -5)  # a new file
    with closing(Fetched(folder, "isp", WHOSE)) as record:
        record.add({"INBOX:1:9": ""})
        record.keep({"INBOX:1:9"})
    with closing(Fetched(folder, "isp", "imap c.example u")) as record:
        assert set(record) == set()


def test_a_record_of_before_is_the_account_s(folder):
    Path(folder).mkdir()
    Path(folder, "isp").write_text("1 INBOX:1:7\n")
    assert held(folder) == {"INBOX:1:7"}
    assert Path(folder, "isp").read_text() == f"1 INBOX:1:7\n# {WHOSE}\n"


def test_accounts_of_one_name_leave_each_other_s_messages_in_a_maildir_alone(tmp_path):
    user = Identity("u", os.getuid(), os.getgid(), str(tmp_path), "")
    table = {"server": "x", "user": "y", "maildir": "~/Maildir"}
    account = accounts({"isp": table}, "config")["isp"]
    spools = [Spool(str(tmp_path / name)) for name in ("one", "two")]
    mine, other = (destination(account, spool, user, 1) for spool in spools)
    text = Text()
    text.write(b"Subject: x\n\n")
    mine.recover(())
    assert mine.take("digest", text) == ""
    mine.settle()
    other.recover(())
    mine.release()
    text.close()
    (letter,) = (tmp_path / "Maildir/new").iterdir()
    assert letter.read_bytes() == b"Subject: x\n\n"


def test_a_record_that_cannot_be_written_is_told(folder, tmp_path):
    (tmp_path / "fetch").write_text("a file")
    with pytest.raises(TempError, match="cannot record in"):
        Fetched(folder, "isp", WHOSE)
