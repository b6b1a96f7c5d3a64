"""pymail list, pymail show: mail for scripts."""

import json
import os
import shlex
import tempfile
from email.message import EmailMessage
from pathlib import Path

import pytest
from harness import Box, argv

HOSTILE = (
    b"From: =?utf-8?q?a=1B=5B31m?= <a\x9b1m@x>\nTo: \x1b]0;owned\x07\n"
    b"Subject: \x1b[2J=?utf-8?b?G1s1bQ==?= \xe2\x80\xae evil\n\n"
    b"one\x1b[31mred\x1b]52;c;aGk=\x07 \xc2\x9b5m \x9bm\x08\x0c\0 two\n"
)

UNKNOWN = "1970-01-01T00:00:00+00:00"


def names(box: Box) -> list[str]:
    place = box.home / "Maildir"
    return sorted(str(path.relative_to(place)) for path in place.glob("[cn]*/*"))


@pytest.fixture
def inbox(box: Box) -> Box:
    """An inbox: one read, one old, two new, one of them hostile."""
    for folder in ("cur", "new", "tmp"):
        (box.home / "Maildir" / folder).mkdir(parents=True)
    for at, (place, text) in enumerate(
        (
            ("cur/a:2,S", b"From: alice@x\nSubject: first\n\nbody one\n"),
            ("cur/b:2,", b"From: Bob <bob@y>\nSubject: second thing\n\nbody two\n"),
            ("new/c", b"From: Alice <alice@z>\nSubject: third\n\nbody three\n"),
            ("new/e", HOSTILE),
        )
    ):
        path = box.home / "Maildir" / place
        path.write_bytes(text)
        os.utime(path, (at, at))
    return box


def facts(box: Box, *args: str) -> list[dict]:
    done = box.run("pymail", *args)
    assert (done.returncode, done.stderr) == (0, b""), done
    assert done.stdout.isascii()
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_pymail_list_tells_each_message(inbox: Box) -> None:
    before = names(inbox)
    rows = inbox.run("pymail", "list").stdout.decode().splitlines()
    assert [row.split()[-1] for row in rows] == ["first", "thing", "third", "evil"]
    found = facts(inbox, "list", "--json")
    assert [(f["number"], f["id"], f["new"], f["seen"]) for f in found] == [
        (1, "a", False, True),
        (2, "b", False, False),
        (3, "c", True, False),
        (4, "e", True, False),
    ]
    assert found[1]["from"] == "Bob"
    assert found[1]["address"] == "bob@y"
    assert found[0]["path"] == f"{inbox.home}/Maildir/cur/a:2,S"
    assert found[0]["date"] is None
    assert names(inbox) == before


@pytest.mark.parametrize("zone", ["UTC0", "XXX-14", "XXX12"])
@pytest.mark.parametrize("year", ["99999", "9999", "0", "-1", "-99999", "9" * 400, "nan"])
def test_a_time_that_no_calendar_has_is_not_known(box: Box, year: str, zone: str) -> None:
    text = f"From a@b Fri Dec 31 23:59:59 {year}\nSubject: odd\n\n\n"
    (box.home / "m").write_text(text + "From a@b Mon Nov 23 12:00:00 2026\nSubject: even\n\n")
    done = box.run("pymail", "list", "--json", "-f", "m", env={"TZ": zone})
    assert (done.returncode, done.stderr) == (0, b"")
    odd, even = (json.loads(line)["arrived"] for line in done.stdout.splitlines())
    # RFC 5322 4.3: a year of one or two digits is one of ours.
    assert odd == UNKNOWN or odd.startswith({"9999": "9999-12-31", "0": "200"}.get(year, "none"))
    assert even.startswith("2026-11-2")


def test_a_file_of_another_calendar_is_listed() -> None:
    # The files of a tmpfs have any time, those of ext4 end in 2446.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        box = Box(Path(place) / "box")
        for name, at in (("late", 1 << 40), ("early", -(1 << 40))):
            path = box.home / "Maildir/new" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            os.utime(path, (at, at))
        assert [f["arrived"] for f in facts(box, "list", "--json")] == [UNKNOWN, UNKNOWN]


def test_list_and_mail_have_the_same_signs(inbox: Box) -> None:
    for at, name in enumerate(("cur/f:2,FS", "cur/r:2,RS", "new/s:2,S")):
        path = inbox.home / "Maildir" / name
        path.touch()
        os.utime(path, (at + 4, at + 4))
    signs = [row[:1] for row in inbox.run("pymail", "list").stdout.decode().splitlines()]
    rows = inbox.run("mail", "-n", stdin=b"x\n").stdout.decode().splitlines()[1:]
    assert [row[1:2] for row in rows] == signs == [*" ONNFR "]


def test_the_columns_of_a_listing_stand_below_one_another(inbox: Box) -> None:
    """East Asian letters and emoji are two columns wide, combining marks none."""
    senders = {
        "plain": "plain             ",
        "山田太郎山田太郎山田太郎": "山田太郎山田太郎山",  # two columns each
        "a山田太郎山田太郎": "a山田太郎山田太郎 ",  # the ninth would be half in
        "\U0001f389 party": "\U0001f389 party          ",
        "e\u0301te\u0301" + "n" * 20: "e\u0301te\u0301" + "n" * 15,
        "\u1112\u1161\u11ab": "\u1112\u1161\u11ab" + " " * 16,
    }
    place = inbox.home / "Wide"
    for folder in ("cur", "new", "tmp"):
        (place / folder).mkdir(parents=True)
    for at, name in enumerate(senders):
        text = f"From: {name} <a@x>\nSubject: {'山' * 100}\n\n"
        (place / "new" / f"{at}").write_text(text)
        os.utime(place / "new" / f"{at}", (at, at))
    rows = inbox.run("pymail", "list", "-f", str(place)).stdout.decode().splitlines()
    for at, (row, shown) in enumerate(zip(rows, senders.values(), strict=True), 1):
        assert row.startswith(f"N {at:3} {shown} {'':16} ")
        subject = row.rpartition(" ")[2]
        assert subject == "山" * ((120 - len("N   1  ") - 18 - 17 - 8) // 2)


def test_pymail_list_of_nothing_is_status_1(box: Box) -> None:
    for args in (["list"], ["list", "-j"]):
        done = box.run("pymail", *args)
        assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
    assert box.run("pymail", "list", "-f", "nowhere").returncode == 66
    assert box.run("pymail", "list", "-u", "nobody-here").returncode == 67
    assert box.run("pymail", "show", "1").returncode == 65


def test_a_listing_that_is_read_in_part_is_not_one_of_nothing(box: Box) -> None:
    for folder in ("cur", "new", "tmp"):
        (box.home / "Maildir" / folder).mkdir(parents=True)
    for number in range(400):  # more than a pipe and a buffer hold
        (box.home / "Maildir" / "new" / f"{number}").write_text(f"Subject: {'x' * 200}\n\n")
    listing = shlex.join(map(str, argv("pymail", "list", "-j")))
    done = box.run("bash", "-c", f"{listing} | head -n 1 | wc -l; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"1\n", b"")


def test_pymail_show_shows_one_message(inbox: Box) -> None:
    for which in ("2", "b"):
        done = inbox.run("pymail", "show", which)
        assert done.stdout == b"From: Bob <bob@y>\nSubject: second thing\n\nbody two\n"
    assert inbox.run("pymail", "show", "--raw", "e").stdout == HOSTILE
    assert b"\x1b" not in inbox.run("pymail", "show", "e").stdout
    (shown,) = facts(inbox, "show", "--json", "e")
    assert shown["headers"][1] == ["To", "\x1b]0;owned\x07"]
    assert shown["text"].startswith("one\x1b[31m")
    assert shown["attachments"] == []
    done = inbox.run("pymail", "show", "9")
    assert done.returncode == 65
    assert b"no message 9" in done.stderr
    assert inbox.run("pymail", "show", "--raw", "--json", "1").returncode == 64


def test_pymail_show_saves_attachments(box: Box) -> None:
    made = EmailMessage()
    made.set_content("text")
    made.add_attachment(b"data", maintype="a", subtype="b", filename="../отчёт")
    path = box.home / "m"
    path.write_bytes(b"From a Mon Nov 23 00:00:00 2026\n" + made.as_bytes() + b"\n")
    done = box.run("pymail", "show", "-f", "m", "--save", ".", "1")
    assert done.stdout.decode() == f"{box.home}/отчёт\n"
    assert (box.home / "отчёт").read_bytes() == b"data"
    (shown,) = facts(box, "show", "-f", "m", "-j", "1")
    assert shown["path"] is None
    assert shown["attachments"] == [{"part": "2", "name": "../отчёт", "type": "a/b", "size": 4}]
    assert facts(box, "show", "-f", "m", "-j", shown["id"]) == [shown]
    assert box.run("pymail", "show", "-f", "m", "--save", "nowhere", "1").returncode == 65


def test_half_of_an_attachment_is_not_left(box: Box) -> None:
    part = "--x\nContent-Disposition: attachment; filename={}\n\n{}\n"
    body = part.format("small", "whole") + part.format("big", "y" * 100_000)
    head = "From: a@x\nContent-Type: multipart/mixed; boundary=x\n\n"
    (box.home / "m" / "new").mkdir(parents=True)
    (box.home / "m" / "new" / "a").write_text(f"{head}{body}--x--\n")
    (box.home / "out").mkdir()
    # No file may grow beyond 50 KiB: as if the disk were full.
    command = ("-c", 'ulimit -f 100; exec "$@"', "sh", *argv("pymail", "show", "-f", "m"))
    done = box.run("/bin/sh", *command, "--save", "out", "1")
    assert (done.returncode, done.stderr.count(b"\n")) == (65, 1), done
    assert b"cannot save into out: File too large" in done.stderr
    assert {path.name: path.read_text() for path in (box.home / "out").iterdir()} == {
        "small": "whole"
    }
    assert box.run("pymail", "show", "-f", "m", "--save", "out", "1").returncode == 0
    assert len((box.home / "out" / "big").read_text()) == 100_000
