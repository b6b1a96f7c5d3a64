"""The filter before a mailbox: it changes, discards, or fails, and no mail is lost or doubled."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import Box, argv, measured, needs
from machine import Machine

from pymail import filter as filters

LETTER = b"Subject: one\n\nbody\n"
PYTHON = sys.executable


def letters(machine: Machine) -> list[bytes]:
    return [letter.data for letter in machine.mail("bob")]


def setting(command: str, more: str = "") -> str:
    return f"filter = '''{command}'''\n{more}"


def test_a_filter_sees_the_whole_letter_and_what_it_prints_is_delivered(machine):
    machine.config(setting("tee $HOME/seen | sed s/one/two/"))
    machine.send("alice", LETTER, "bob")
    out = machine.flush("-v").stdout
    (letter,) = letters(machine)
    assert b"status=sent (delivered to maildir)" in out
    assert (machine.home("bob") / "seen").read_bytes().replace(b"one", b"two") == letter
    assert letter.startswith(b"Return-Path: <alice@") and letter.count(b"\nReceived: ") == 1
    assert b"\nDelivered-To: bob@" in letter and b"\nSubject: two\n" in letter
    assert letter.endswith(b"\n\nbody\n")


def test_a_filter_runs_as_the_user_with_nothing_of_roots(machine):
    machine.config(setting("(id -u; pwd; env) > $HOME/me; cat"))
    machine.send("alice", LETTER, "bob")
    machine.flush()
    uid, place, *env = (machine.home("bob") / "me").read_text().splitlines()
    assert (uid, place) == ("1002", "/")
    names = {each.partition("=")[0] for each in env}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {"PATH", "HOME", "USER", "LOGNAME"}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("echo rubbish; echo why >&2; exit 3", "filter failed with status 3: why"),
        ("cat; kill -9 $$", "filter failed with status -9"),
        ("yes", "filter failed with status"),
        ("/no/such/program", "filter failed with status 127"),
        ("echo no header here", "filter printed no header"),
        (r'printf "\000\377: x\n"', "filter printed no header"),
        (f'{PYTHON} -c "bytearray(1 << 31)"', "filter failed with status 1"),
        (r'printf "\033[2J" >&2; exit 1', "filter failed with status 1: ?[2J"),
        ("cat > /dev/null", ""),
        ("exit 0", ""),
    ],
)
def test_a_filter_that_fails_leaves_the_letter_as_it_was_and_the_log_says_so(
    machine, command, words
):
    machine.config("")
    machine.send("alice", LETTER, "bob")
    machine.config(setting(command))
    out = machine.flush("-v").stdout.decode()
    (letter,) = letters(machine)
    assert b"\nSubject: one\n" in letter and letter.endswith(b"\n\nbody\n")
    end = f"delivered to maildir, not filtered: {words}" if words else "delivered to maildir)"
    assert f"status=sent ({end}" in out
    assert machine.queue() == []


def test_a_filter_that_hangs_is_ended_and_the_letter_comes_as_it_was(box, monkeypatch):
    monkeypatch.setattr(filters, "TIME_LIMIT", 1)
    text = filters.Text()
    text.write(LETTER)
    user = filters.Identity("nobody", 0, 0, str(box.home), "")
    found = filters.through(f"sleep 1000 & echo $! > {box.home}/pid; wait", text, user)
    assert found == filters.Filtered(text, "filter took more than 1 s")
    pid = int((box.home / "pid").read_text())
    until = time.monotonic() + 60
    while Path(f"/proc/{pid}/cmdline").exists() and time.monotonic() < until:
        if Path(f"/proc/{pid}/cmdline").read_bytes() == b"":
            break  # dead, and not reaped by whoever is init here
        time.sleep(0.01)
    else:
        assert not Path(f"/proc/{pid}").exists()
    text.close()


def test_status_99_discards(machine):
    machine.config(setting("exit 99"))
    machine.send("alice", LETTER, "bob")
    out = machine.flush("-v").stdout
    assert b"status=sent (discarded by filter: exit 99)" in out
    assert (letters(machine), machine.queue()) == ([], [])


def test_what_is_filtered_goes_into_an_mbox_and_to_a_mailbox_command_too(machine):
    for more, file in (
        ("home_mailbox = 'box'\n", "box"),
        ("mailbox_command = 'cat > out'\n", "out"),
    ):
        machine.config(setting("sed s/one/two/", more))
        machine.send("alice", LETTER, "bob")
        machine.flush()
        data = (machine.home("bob") / file).read_bytes()
        assert data.startswith(b"From alice@") and data.count(b"\nReturn-Path: ") == 1
        assert b"\nSubject: two\n" in data and b"\n\nbody\n" in data


def test_a_pipe_of_a_forward_goes_through_no_filter(machine):
    machine.config(setting("exit 99"))
    machine.write("bob", ".forward", '"|cat > out"\n')
    machine.send("alice", LETTER, "bob")
    machine.flush()
    assert b"\nSubject: one\n" in (machine.home("bob") / "out").read_bytes()


def test_a_report_of_ours_is_never_discarded_by_a_filter(machine):
    machine.config(setting("exit 99"))
    machine.send("bob", LETTER, "nosuch")
    machine.flush()
    (letter,) = letters(machine)
    assert b"Undelivered" in letter or b"could not be delivered" in letter
    assert machine.queue() == []


def test_a_large_letter_and_many_go_through_whole(machine):
    machine.config(setting("cat"))
    large = b"Subject: large\n\n" + b"0123456789abcde\n" * 300_000
    machine.send("alice", large, "bob")
    for number in range(70):
        machine.send("alice", b"Subject: %d\n\nbody\n" % number, "bob")
    machine.flush()
    found = letters(machine)
    assert len(found) == 71
    assert sum(each.endswith(large[15:]) for each in found) == 1


def test_foreign_bytes_come_through_as_they_are(machine):
    machine.config(setting("cat"))
    body = bytes(range(1, 10)) + "\nпривет\n".encode("koi8-r") + b"\0\xff\n"
    machine.send("alice", "Subject: Привет\n".encode("cp1251") + b"\n" + body, "bob")
    machine.flush()
    (letter,) = letters(machine)
    assert b"\nSubject: " + "Привет\n".encode("cp1251") in letter
    assert letter.endswith(b"\n\n" + body)


def test_what_was_filtered_before_a_crash_is_not_delivered_twice(box):
    box.config(setting("cat; date +%N"))  # never the same
    box.send(LETTER)
    (qid,) = box.queue()
    saved = (box.spool / "queue" / qid).read_bytes()
    box.flush()
    (first,) = (box.home / "Maildir" / "new").iterdir()
    was = first.read_bytes()
    (box.spool / "queue" / qid).write_bytes(saved)
    box.flush()
    assert (first.read_bytes(), len(box.maildir()), box.queue()) == (was, 1, [])
    first.rename(box.home / "Maildir" / "cur" / f"{first.name}:2,S")
    (box.spool / "queue" / qid).write_bytes(saved)
    (box.spool / "queue" / ".boot").write_text("another boot")
    box.flush()
    assert (len(box.maildir()), box.queue()) == (1, [])


def test_runs_that_are_killed_while_a_filter_works_lose_and_double_nothing(box: Box):
    box.config(setting("sleep 0.02; cat; date +%N"))
    for number in range(30):
        box.send(b"Subject: %d\n\nbody\n" % number)
    for pause in (0.15, 0.25, 0.2, 0.3):
        run = subprocess.Popen(argv("flush", "-a"), env=measured(box.env), cwd=box.home)
        time.sleep(pause)
        run.send_signal(signal.SIGKILL)
        run.wait()
    until = time.monotonic() + 120
    while box.queue() and time.monotonic() < until:
        box.run("flush", "-a")
    assert box.queue() == []
    subjects = [int(re.findall(rb"\nSubject: (\d+)\n", letter)[0]) for letter in box.maildir()]
    assert sorted(subjects) == list(range(30))


def test_bogofilter_marks_what_is_delivered(machine):
    needs("bogofilter")
    words = {"-s": "buy pills now cheap", "-n": "minutes of the meeting"}
    for kind, text in words.items():
        learn = f"printf 'Subject: x\\n\\n{text}\\n' | bogofilter {kind}"
        assert machine.run("bob", "sh", "-c", learn).returncode == 0
    machine.config(setting("bogofilter -p -e"))
    machine.send("alice", b"Subject: hello\n\nbuy pills now cheap\n", "bob")
    machine.flush()
    (letter,) = letters(machine)
    assert b"\nX-Bogosity: " in letter and letter.endswith(b"\n\nbuy pills now cheap\n")


def test_explain_shows_the_filter(machine):
    machine.config(setting("spamc -x"))
    out = machine.run("root", "pymail", "explain", "bob").stdout.decode()
    assert "filter = spamc -x (/etc/pymail/config.toml" in out
