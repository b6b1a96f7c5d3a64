"""mailq: Postfix's listing for people and check_mailq, postqueue's objects for programs."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import ROOT, argv

from pymail.active import take
from pymail.cli.mailq import text
from pymail.entry import Attempt, pack
from pymail.envelope import Envelope
from pymail.queuefile import DELIVERED, HELD, NEVER
from pymail.spool import Spool
from pymail.waiting import queue

HEADING = "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------"
ENTRY = re.compile(r"(\w{17,22})([*! ])? +(\d+) (\w{3} \w{3} [ \d]\d [\d:]{8}) (.*)")
LATER = 'default_transport = "retry:4.4.1 no route to host"\n'


def listing(box, *args: str, **how) -> str:
    done = box.run("mailq", *args, **how)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


def objects(box) -> list[dict[str, object]]:
    return [json.loads(line) for line in listing(box, "-j").splitlines()]


@pytest.fixture
def deferred(box):
    """A trial with one message that waits for a route."""
    box.config(LATER)
    box.send(b"Subject: s\n\n", "-f", "joe@example.net", "a@example.org", "b@example.org")
    box.flush()
    return box


def test_an_empty_queue_says_so(box):
    assert listing(box) == "Mail queue is empty\n"
    assert listing(box, "-j") == ""


def test_the_listing_is_that_of_postfix(deferred):
    (qid,) = deferred.queue()
    heading, first, reason, one, two, blank, last = listing(deferred).splitlines()
    assert heading == HEADING
    match = ENTRY.fullmatch(first)
    assert match is not None
    assert (match[1], match[3], match[5]) == (qid, "12", "joe@example.net")
    # "%-17s %8ld %19.19s %s", as showq writes long ids
    assert first == f"{qid:<17} {12:8d} {match[4]:>19} joe@example.net"
    assert reason == f"{'(no route to host)':>78}"
    assert [one, two] == [" " * 41 + "a@example.org", " " * 41 + "b@example.org"]
    assert (blank, last) == ("", "-- 0 Kbytes in 1 Request.")


def test_the_arrival_is_local_time(deferred):
    shown = ENTRY.search(listing(deferred))
    assert shown is not None
    when = time.strptime(f"{time.localtime().tm_year} {shown[4]}", "%Y %a %b %d %H:%M:%S")
    assert abs(time.mktime(when) - time.time()) < 60


def test_check_mailq_reads_the_last_line(box):
    """monitoring-plugins' check_mailq -M postfix, its two patterns."""
    empty = re.compile(r"Mail queue is empty")
    count = re.compile(r"-- (\d+) Kbytes in (\d+) Requests?\.")
    assert empty.search(listing(box).splitlines()[-1])
    for n in (1, 2, 3):
        box.send(b"x" * 2000 + b"\n")
        found = count.fullmatch(listing(box).splitlines()[-1])
        assert found is not None
        assert (int(found[1]), int(found[2])) == (2001 * n // 1024, n)


@pytest.mark.parametrize("args", [["-v"], ["-v", "-v"]])
def test_verbose_changes_nothing(box, args):
    box.send(b"")
    assert listing(box, *args) == listing(box)


def test_a_message_that_is_due_has_a_star_and_a_held_one_a_bang(box):
    box.send(b"", "one")
    box.send(b"", "two")
    spool = Spool(str(box.spool))
    active = take(spool, box.queue()[1])
    assert active is not None
    active.mark(0, HELD)
    active.defer(NEVER)
    active.close()
    marks = [match[1][-1:] for match in re.finditer(r"^(\w{17,22}.)", listing(box), re.MULTILINE)]
    assert marks == ["*", "!"]
    assert [entry["queue_name"] for entry in objects(box)] == ["active", "hold"]


def test_the_null_sender_is_mailer_daemon_and_a_missing_one_the_user(box):
    box.send(b"", "-f", "<>", "one")
    box.send(b"", "two")
    assert [entry["sender"] for entry in objects(box)] == ["MAILER-DAEMON", box.user]
    assert re.findall(r"[\d:]{8} (\S+)$", listing(box), re.MULTILINE) == ["MAILER-DAEMON", box.user]


def test_an_object_has_the_keys_of_postqueue(deferred):
    (entry,) = objects(deferred)
    (qid,) = deferred.queue()
    assert set(entry) == {
        *("queue_name", "queue_id", "arrival_time", "message_size", "forced_expire", "sender"),
        "recipients",
    }
    assert (entry["queue_name"], entry["queue_id"]) == ("deferred", qid)
    assert abs(int(str(entry["arrival_time"])) - time.time()) < 60
    assert (entry["message_size"], entry["forced_expire"]) == (12, False)
    assert entry["recipients"] == [
        {"address": "a@example.org", "delay_reason": "no route to host"},
        {"address": "b@example.org", "delay_reason": "no route to host"},
    ]


def test_recipients_that_are_done_are_not_shown(box):
    box.config(LATER)
    box.send(b"", box.user, "a@example.org")
    box.flush()
    (entry,) = objects(box)
    assert [r["address"] for r in entry["recipients"]] == ["a@example.org"]  # type: ignore[index, attr-defined]
    assert f"{'':41}{box.user}" not in listing(box)


def test_each_reason_stands_once_before_those_who_share_it(box):
    spool = Spool(str(box.spool))
    qid = spool.submit(Envelope(os.getuid(), ["a", "b", "c", "d"]), b"")
    active = take(spool, qid)
    assert active is not None
    for index, words in ((0, "old"), (0, "one"), (1, "one"), (2, "two")):
        active.note(Attempt(1, index, "deferred", "4.0.0", "t", words))
    active.mark(3, DELIVERED)
    active.close()
    lines = [line.strip() for line in listing(box).splitlines()[2:-2]]
    assert lines == ["(one)", "a", "b", "(two)", "c"]


def test_a_long_reason_is_shown_whole(box):
    box.config(f'default_transport = "retry:4.4.1 {"long " * 40}"\n')
    box.send(b"", "a@example.org")
    box.flush()
    assert f"({('long ' * 40).strip()})" in listing(box)


def test_a_reason_in_wide_letters_ends_where_others_end(box):
    spool = Spool(str(box.spool))
    qid = spool.submit(Envelope(os.getuid(), ["a"]), b"")
    active = take(spool, qid)
    assert active is not None
    active.note(Attempt(1, 0, "deferred", "4.0.0", "t", "満杯 e\u0301"))
    active.close()
    assert f"\n{'(満杯 e' + chr(0x301) + ')':>77}\n" in listing(box)


EVIL = "a\x1b[2J\x9b\u202e\u200bб\udcff"


def evil(directory: str) -> bytes:
    """Return the start of a queue file whose every text is hostile."""
    spool = Spool(directory)
    qid = spool.submit(Envelope(os.getuid(), [f"{EVIL}@x"], sender=f"{EVIL}@y"), b"")
    active = take(spool, qid)
    assert active is not None
    active.note(Attempt(1, 0, "deferred", "4.0.0", "t", f"why {EVIL}"))
    active.close()
    return Path(spool.queue, qid).read_bytes()


def test_control_characters_reach_neither_a_terminal_nor_a_program(box):
    evil(str(box.spool))
    shown = listing(box)
    assert all(line.isprintable() for line in shown.splitlines())
    assert "a?[2J???б?@x" in shown and "(why a?[2J???б?)" in shown
    raw = listing(box, "-j")
    assert all(c.isprintable() or c == "\n" for c in raw)
    (entry,) = objects(box)
    assert entry["sender"] == f"{EVIL[:-1]}\ufffd@y"


@pytest.mark.parametrize("locale", ["C", "POSIX", "ru_RU.KOI8-R", "en_US.ISO-8859-1"])
def test_names_of_any_language_are_shown_in_any_locale(box, locale):
    box.send(b"", "-f", "joe@x", "имя@example.org")
    done = box.run("mailq", env={"LC_ALL": locale, "PYTHONUTF8": "0"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"@example.org" in done.stdout


def test_a_reader_that_goes_away_is_no_error(box):
    for _ in range(3):
        box.send(b"")
    script = 'exec "$@" | head -n 1 >/dev/null; exit ${PIPESTATUS[0]}'
    done = subprocess.run(
        ["/bin/bash", "-c", script, "bash", *argv("mailq")],
        env=box.env,
        check=False,
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_output_that_cannot_be_written_is_an_error(box):
    full = os.open("/dev/full", os.O_WRONLY)
    done = subprocess.run(
        argv("mailq"), env=box.env, check=False, stdout=full, stderr=subprocess.PIPE
    )
    os.close(full)
    assert (done.returncode, done.stderr.count(b"\n")) == (74, 1)


def test_options(box):
    for option in ("-h", "--help"):
        assert listing(box, option).startswith("usage: mailq ")
    for option in ("-V", "--version"):
        assert listing(box, option).startswith("pymail ")
    assert listing(box, "--json") == ""
    for word in ("-Z", "--no", "operand"):
        done = box.run("mailq", word)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (64, b"", 1)


def test_a_damaged_file_is_not_shown_and_hurts_nobody(box):
    box.send(b"", "good")
    Path(box.spool, "queue", "0" * 16 + "1").write_bytes(b"garbage")
    Path(box.spool, "queue", "0" * 16 + "2").write_bytes(b"")
    assert "in 1 Request." in listing(box)


def test_ten_thousand_messages_are_listed_in_a_moment(box):
    box.send(b"Subject: s\n\n")
    (qid,) = box.queue()
    folder = box.spool / "queue"
    data = (folder / qid).read_bytes()
    for n in range(10_000):
        (folder / f"{n:0>16}a1").write_bytes(data)
    started = time.monotonic()
    assert "in 10001 Requests." in listing(box)
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("args", [[], ["-j"]])
def test_one_message_is_in_memory_at_a_time(box, args):
    """A user may have thousands of them with a hundred thousand recipients each."""
    spool = Spool(str(box.spool))
    for _ in range(20):
        spool.submit(Envelope(os.getuid(), ["ab"] * 100_000), b"")
    bounded = ["/bin/sh", "-c", 'ulimit -v 200000; exec "$@"', "sh", *argv("mailq", *args)]
    with subprocess.Popen(bounded, env=box.env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        shown = sum(line.count(b"ab") for line in process.stdout)
    assert (process.returncode, shown) == (0, 2_000_000)


def test_what_goes_while_others_are_listed_is_not_shown(box):
    for name in ("one", "two", "three"):
        box.send(b"", name)
    entries = queue(Spool(str(box.spool)))
    shown = [next(entries)]
    (box.spool / "queue" / box.queue()[1]).unlink()
    shown += entries
    assert [e.head.envelope.recipients[0] for _, e in shown] == ["one", "three"]


# System mode: who sees what


def seen(machine, user: str) -> list[tuple[object, object]]:
    done = machine.run(user, "mailq", "-j")
    assert (done.returncode, done.stderr) == (0, b"")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [(entry["queue_name"], entry["recipients"][0]["address"]) for entry in lines]


def test_root_sees_everything_and_a_user_the_own_messages(machine):
    machine.config(LATER)
    machine.send("alice", b"", "for-alice@example.org")
    machine.send("bob", b"", "for-bob@example.org")
    machine.send("root", b"", "for-root@example.org")
    before = {
        "alice": [("maildrop", "for-alice@example.org")],
        "bob": [("maildrop", "for-bob@example.org")],
        "carol": [],
    }
    assert {user: seen(machine, user) for user in before} == before
    assert sorted(r for _, r in seen(machine, "root")) == [
        f"for-{user}@example.org" for user in ("alice", "bob", "root")
    ]
    machine.flush()
    after = {
        user: [("deferred", address) for _, address in messages]
        for user, messages in before.items()
    }
    assert {user: seen(machine, user) for user in after} == after
    assert {name for name, _ in seen(machine, "root")} == {"deferred"}


def test_a_user_is_told_why_it_waits(machine):
    machine.config(LATER)
    machine.send("alice", b"", "a@example.org")
    machine.flush()
    assert b"(no route to host)" in machine.run("alice", "mailq").stdout


def test_what_is_delivered_is_gone_for_the_user_too(machine):
    machine.config(LATER)
    machine.send("alice", b"", "a@example.org")
    machine.flush()
    machine.config('default_transport = "discard:"\n')
    machine.flush("-a")
    assert machine.run("alice", "mailq").stdout == b"Mail queue is empty\n"
    status = machine.spool / "drop" / "u1001" / ".status"
    assert not status.exists()


def test_the_list_for_a_user_is_the_users_own_file(machine):
    machine.config(LATER)
    machine.send("alice", b"", "a@example.org")
    machine.flush()
    status = machine.spool / "drop" / "u1001" / ".status"
    assert (status.stat().st_uid, status.stat().st_mode & 0o777) == (1001, 0o600)


def as_alice(machine, *lines: str) -> None:
    done = machine.run("alice", sys.executable, "-I", "-c", "\n".join(lines))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "trap",
    [
        "os.symlink('/etc/passwd', name)",
        "os.mkfifo(name)",
        "os.mkdir(name)",
        "os.link(d + '/bait', name)",
        "open(name, 'w').write('x' * 100)",
    ],
)
@pytest.mark.parametrize("name", [".status", ".status.new"])
def test_a_trap_in_the_place_of_the_list_harms_the_user_only(machine, name, trap):
    machine.config(LATER)
    machine.send("alice", b"", "a@example.org")
    machine.send("bob", b"", "b@example.org")
    code = f"import os; d = '/var/spool/pymail/drop/u1001'; name = d + '/{name}'"
    as_alice(machine, code, "open(d + '/bait', 'w').write('bait')", trap)
    before = Path("/etc/passwd").read_bytes()
    machine.flush()
    assert Path("/etc/passwd").read_bytes() == before
    assert (machine.spool / "drop" / "u1001" / "bait").read_text() == "bait"
    assert os.stat("/etc/passwd").st_uid == 0
    assert seen(machine, "bob") == [("deferred", "b@example.org")]
    assert machine.run("alice", "mailq", timeout=20).returncode == 0
    assert machine.run("root", "mailq", timeout=20).returncode == 0


def test_a_directory_that_is_not_the_users_own_gets_no_list(machine):
    machine.config(LATER)
    machine.send("alice", b"", "a@example.org")
    machine.flush()
    drop = machine.spool / "drop"
    (drop / "u1001").rename(drop / "u1002")
    machine.send("alice", b"", "a2@example.org")
    machine.flush("-a")
    assert len(seen(machine, "alice")) == 2


def test_a_list_that_another_user_has_put_there_is_not_shown(machine, tmp_path):
    """Dave makes bob's drop directory before bob does, with a list for bob in it."""
    machine.config(LATER)
    (machine.spool / "drop" / "u1002").mkdir()
    status = machine.spool / "drop" / "u1002" / ".status"
    status.write_bytes(pack(evil(str(tmp_path / "own")), 1, "0" * 16 + "GA", b""))
    (machine.spool / "drop" / "u1002" / ("0" * 16 + "GA")).write_bytes(evil(str(tmp_path / "2")))
    for path in (status, status.parent):
        path.chmod(0o755)
        os.chown(path, 1004, 1004)
    for user in ("bob", "root"):
        assert seen(machine, user) == []
    machine.send("bob", b"", "mine@example.org")
    machine.flush()
    assert seen(machine, "bob") == [("deferred", "mine@example.org")]
    assert machine.run("dave", "mailq").stdout == b"Mail queue is empty\n"


def test_a_hostile_list_shows_nothing_that_steers_a_terminal(machine, tmp_path):
    start = evil(str(tmp_path / "own"))
    status = machine.spool / "drop" / "u1001" / ".status"
    machine.send("alice", b"", "a@example.org")
    for data in (
        pack(start, 1, "0" * 16 + "G9", b"1\t0\tdeferred\t4\tt\t\x1b]0;evil\x07\n"),
        b"\x1b[2J" * 1000,
        b"0" * 17 + b" 1 64 5\n" + b"pymail1 ffffff ffffffff" + b" " * 100,
        b"0" * 17 + b" 1 " + b"9" * 50 + b" 5\n",
        os.urandom(100_000),
    ):
        status.write_bytes(data)
        os.chown(status, 1001, 1001)
        done = machine.run("alice", "mailq")
        assert (done.returncode, done.stderr) == (0, b"")
        assert all(line.isprintable() for line in done.stdout.decode().splitlines())


def test_garbage_in_the_drop_directory_is_passed_over(machine):
    machine.send("alice", b"", "a@example.org")
    drop = machine.spool / "drop" / "u1001"
    (drop / ("0" * 16 + "G9")).write_bytes(b"garbage")
    (drop / ("1" * 16 + "G9")).mkdir()
    os.mkfifo(drop / ("2" * 16 + "G9"))
    (drop / ("3" * 16 + "G9")).symlink_to("/etc/shadow")
    for user in ("alice", "root"):
        done = machine.run(user, "mailq", timeout=20)
        assert b"in 1 Request." in done.stdout


def test_a_sender_without_an_entry_is_called_by_its_number(tmp_path, monkeypatch):
    spool = Spool(str(tmp_path / "spool"))
    spool.submit(Envelope(54321, ["a"]), b"")
    assert "uid54321\n" in "".join(text(queue(spool)))


def test_an_ordinary_user_without_mail_has_an_empty_queue(machine):
    assert machine.run("carol", "mailq").stdout == b"Mail queue is empty\n"


def test_the_queue_of_the_checkout_is_not_the_one_of_the_system(box):
    assert str(ROOT) not in listing(box)
