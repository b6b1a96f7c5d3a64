"""The log: Postfix's line shape, so that tools that count Postfix's mail count ours."""

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import needs

from pymail import log as logs
from pymail.log import FILE_LIMIT, Log

LINE = re.compile(
    r"[A-Z][a-z]{2} [ 123]\d \d\d:\d\d:\d\d \S+ pymail/(\w+)\[\d+\]: (?:(\w{17,22}): )?(.*)"
)
TO = re.compile(
    r"to=<[^>]*>,(?: orig_to=<[^>]*>,)? relay=\S+, delay=[\d.e+]+, delays=[\d.e+]+/0/0/[\d.e+-]+,"
    r" dsn=[245]\.\d+\.\d+, status=(sent|deferred|bounced) \(.*\)"
)


def lines(path: Path) -> list[tuple[str, str, str]]:
    """Return (part, queue id, text) of each line, every line in form."""
    found = []
    for line in path.read_text().splitlines():
        match = LINE.fullmatch(line)
        assert match, line
        found.append((match[1], match[2] or "", match[3]))
    return found


@pytest.fixture
def syslog(machine) -> Iterator[socket.socket]:
    """The system's log socket, with nobody but the test behind it."""
    path = Path("/dev/log")
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        path.chmod(0o666)
        sock.settimeout(10)
        yield sock
    path.unlink()


def test_the_life_of_a_message_is_told_as_postfix_tells_it(box):
    box.aliases(f"boss: {box.user}\n")
    box.send(b"Message-ID: <m@x>\nSubject: s\n\nb\n", "-f", "joe@example.org", "boss")
    box.flush()
    told = lines(box.spool / "log")
    assert [part for part, _, _ in told] == ["pickup", "cleanup", "qmgr", "local", "qmgr"]
    assert len({qid for _, qid, _ in told}) == 1
    texts = [text for _, _, text in told]
    assert texts[0] == f"uid={os.getuid()} from=<joe@example.org>"
    assert texts[1] == "message-id=<m@x>"
    assert texts[2] == "from=<joe@example.org>, size=32, nrcpt=1 (queue active)"
    assert TO.fullmatch(texts[3]), texts[3]
    assert texts[3].startswith(f"to=<{box.user}@") and "orig_to=<boss@" in texts[3]
    assert texts[3].endswith("status=sent (delivered to maildir)")
    assert texts[4] == "removed"


def test_a_message_without_an_id_is_logged_with_the_one_it_gets(box):
    box.send(b"Subject: s\n\n")
    box.flush()
    (message,) = box.maildir()
    logged = re.search(r"message-id=(<\S+>)", (box.spool / "log").read_text())
    assert logged is not None
    assert f"Message-Id: {logged[1]}".encode() in message


def test_a_bounce_tells_both_ids(box):
    box.send(b"", "nobody-of-that-name")
    box.flush()
    told = lines(box.spool / "log")
    (notice,) = [text for part, _, text in told if part == "bounce"]
    match = re.fullmatch(r"sender non-delivery notification: (\w+)", notice)
    assert match is not None
    assert [text for _, qid, text in told if qid == match[1]][-1] == "removed"
    assert any("status=bounced (unknown user" in text for part, _, text in told if part == "error")


def test_addresses_are_logged_as_they_are_written(box):
    box.config('default_transport = "discard:"\n')
    box.send(b"Subject: s\n\n", "-f", '"x y"@example.net', '"a b"@example.org')
    box.flush()
    text = (box.spool / "log").read_text()
    assert 'from=<"x y"@example.net>,' in text
    assert 'to=<"a b"@example.org>,' in text


def test_pflogsumm_counts_it_right(box):
    needs("pflogsumm")
    for _ in range(3):
        box.send(b"Subject: here\n\nbody\n")
    box.send(b"Subject: gone\n\n", "nobody-of-that-name@localhost")
    box.config('default_transport = "retry:4.4.1 no route"\n')
    box.send(b"Subject: later\n\n", "someone@example.org", "other@example.org")
    box.flush()
    done = subprocess.run(
        ["pflogsumm", "--syslog-name=pymail", "--detail", "0", str(box.spool / "log")],
        capture_output=True,
        check=True,
        env=box.env,
    )
    total = re.compile(r"^ +(\d+) +([a-z]+)", re.MULTILINE)
    counts = {name: int(number) for number, name in total.findall(done.stdout.decode())}
    # 3 letters, 1 to nobody, 1 to two outside; a report of our own is delivered, not received
    assert counts["received"] == 5
    assert counts["delivered"] == 4
    assert counts["deferred"] == 1
    assert counts["bounced"] == 1
    assert counts["rejected"] == 0


def test_control_characters_cannot_forge_a_line(box):
    box.send(
        "Message-ID: <a\x1b[2J\x85\u202e\rb>\nSubject: s\n\n".encode(), "--", "o'x\u2028y@localhost"
    )
    box.flush()
    told = (box.spool / "log").read_text()
    assert all(line.isprintable() for line in told.splitlines())
    assert lines(box.spool / "log")
    assert "message-id=<a?[2J?? b>" in told


@pytest.mark.parametrize("name", ["nonexist/x", "."])
def test_a_log_that_cannot_be_opened_is_told_once_a_day_and_keeps_no_mail_back(box, name):
    place = f"{box.root}/{name}"
    for number, env in enumerate(({}, {}, {"PYMAIL_LOG": place}), 1):
        box.send(b"")
        done = box.run("flush", *(() if env else ("--log", place)), env=env)
        told = f"flush: cannot open the log {place}: ".encode()
        assert (done.returncode, done.stderr.startswith(told)) == (0, number == 1)
        assert (done.stderr.count(b"\n"), len(box.maildir())) == (number == 1, number)
    box.send(b"")
    box.flush()
    box.send(b"")
    assert b"cannot open the log" in box.run("flush", "--log", place).stderr


def test_in_system_mode_lines_go_to_syslog_as_mail(machine, syslog):
    machine.send("alice", b"Subject: s\n\n", "bob")
    machine.flush()
    got = []
    while not got or not got[-1].endswith("removed"):
        got.append(syslog.recv(4096).decode())
    heads = [
        re.match(r"<(\d+)>[A-Z][a-z]{2} [ \d]\d [\d:]{8} pymail/(\w+)\[\d+\]: ", m) for m in got
    ]
    assert all(heads), got
    assert [head[2] for head in heads if head] == ["pickup", "cleanup", "qmgr", "local", "qmgr"]
    assert {head[1] for head in heads if head} == {str(2 << 3 | 6)}  # mail.info


def test_with_nobody_behind_syslog_mail_moves_all_the_same(machine):
    Path("/dev/log").unlink(missing_ok=True)
    machine.send("alice", b"Subject: s\n\n", "bob")
    machine.flush()
    assert len(machine.mail("bob")) == 1


def test_log_names_a_file_for_machines_without_syslog(machine, tmp_path):
    machine.send("alice", b"Subject: s\n\n", "bob")
    path = tmp_path / "mail.log"
    machine.flush("--log", str(path))
    assert [part for part, _, _ in lines(path)][-2:] == ["local", "qmgr"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_log_to_a_dash_is_standard_error(box):
    box.send(b"Subject: s\n\n")
    done = box.flush("--log", "-")
    assert all(LINE.fullmatch(line) for line in done.stderr.decode().splitlines())
    assert done.stderr.endswith(b": removed\n")
    assert not (box.spool / "log").exists()


def test_a_large_log_is_moved_aside_once(tmp_path):
    path = tmp_path / "log"
    path.write_text("x" * (FILE_LIMIT + 1))
    (tmp_path / "log.1").write_text("older")
    Log(str(path)).event("qmgr", "hello")
    assert (tmp_path / "log.1").stat().st_size == FILE_LIMIT + 1
    assert [text for _, _, text in lines(path)] == ["hello"]


def test_a_log_that_cannot_be_written_stops_no_mail(tmp_path, monkeypatch):
    log = Log(str(tmp_path / "log"))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    said = []
    monkeypatch.setattr(logs.os, "write", full)
    monkeypatch.setattr(logs.syslog, "syslog", lambda _, text: said.append(text))
    log.event("qmgr", "one")
    log.event("qmgr", "two")
    assert said == ["two"]  # the system's log is what is left
    Log("-").event("qmgr", "three")


def test_undecodable_bytes_reach_the_log_as_question_marks(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(logs, "SOCKET", "/")
    monkeypatch.setattr(logs.syslog, "syslog", lambda _, text: said.append(text))
    log = Log(None)
    log.event("local", "to=<j\udcff@x>\n")
    log.event("local", "again")
    assert said == ["to=<j?@x>?", "again"]


def test_the_time_is_local_time_with_a_blank_before_a_short_day(tmp_path, monkeypatch):
    when = time.struct_time((2026, 3, 4, 5, 6, 7, 2, 63, 0))
    monkeypatch.setattr(logs.time, "localtime", lambda _: when)
    Log(str(tmp_path / "log")).event("qmgr", "x")
    assert (tmp_path / "log").read_text().startswith("Mar  4 05:06:07 ")


@pytest.mark.parametrize("there", [True, False])
def test_a_log_that_cannot_be_opened_stops_no_mail(box, there):
    box.send(b"Subject: s\n\n")
    if there:
        (box.spool / "log").mkdir()
        box.flush()
    else:
        box.flush("--log", "/no/such/directory/log")
    assert len(box.maildir()) == 1
