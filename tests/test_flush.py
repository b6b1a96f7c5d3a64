"""flush: what is due goes out, what cannot waits or comes back, and nobody hears of the rest."""

import fcntl
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from harness import Box, argv, needs, needs_root, queued
from machine import Machine

from pymail import agents, boot, complaint, shares, userstatus
from pymail import config as configuration
from pymail import draft as drafts
from pymail import flush as flushing
from pymail.active import Active, take
from pymail.boot import doubt_after_boot
from pymail.entry import Attempt, shown
from pymail.envelope import Envelope
from pymail.flush import Selection
from pymail.log import Log
from pymail.queuefile import ATTEMPTED, HELD, NEVER, uid_of
from pymail.retry import LEAST_ATTEMPTS
from pymail.spool import Spool

DAY = 86400
LATER = 'default_transport = "retry:4.4.1 no route to host"\n'
NOBODY = "nobody-of-that-name"
LIMIT = "message_size_limit"
ELSEWHERE = "joe@example.org"


def parsed(data: bytes) -> EmailMessage:
    got = message_from_bytes(data, policy=policy.default)
    assert isinstance(got, EmailMessage)
    return got


def status(data: bytes) -> list[dict[str, str]]:
    """Return the groups of fields in a report for programs."""
    part = list(parsed(data).iter_parts())[1]
    assert part.get_content_type() == "message/delivery-status"
    return [{k: str(v) for k, v in group.items()} for group in part.get_payload()]


def subjects(messages: list[bytes]) -> list[str]:
    return [str(parsed(message)["Subject"]) for message in messages]


def due(box: Box) -> list[int]:
    return [when for _, when in Spool(str(box.spool)).entries()]


def waiting(box: Box) -> list[dict[str, object]]:
    """Return what mailq tells."""
    return [json.loads(line) for line in box.run("mailq", "-j").stdout.splitlines()]


@pytest.fixture
def later(box) -> Box:
    """A trial in which nothing for elsewhere can be delivered yet."""
    box.config(LATER)
    return box


# What is due


def test_nothing_to_do_is_nothing_said(box):
    done = box.run("flush")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert not box.spool.exists()


def test_everything_due_is_delivered_and_nothing_is_left(box):
    for n in range(30):
        box.send(f"Subject: {n}\n\n".encode())
    done = box.flush()
    assert (done.stdout, done.stderr) == (b"", b"")
    assert sorted(subjects(box.maildir())) == sorted(map(str, range(30)))
    assert box.queue() == []


def test_what_arrives_during_the_run_is_taken_too(box):
    again = " ".join(map(str, argv("sendmail", box.user)))
    box.aliases(f'slow: "|env PYMAIL_SPOOL={box.spool} {again}"\n')
    box.send(b"Subject: first\n\n", "slow")
    # The command submits another message while the flush that runs it is under way.
    box.flush()
    assert subjects(box.maildir()) == ["first"]
    assert box.queue() == []


def test_reports_are_delivered_in_the_same_run(box):
    box.send(b"Subject: lost\n\n", NOBODY)
    box.flush()
    assert subjects(box.maildir()) == ["Undelivered Mail Returned to Sender"]
    assert box.queue() == []


def test_two_flushes_side_by_side_deliver_each_letter_once(box):
    for n in range(60):
        box.send(f"Subject: {n}\n\n".encode())
    results: list[int] = []
    threads = [
        threading.Thread(target=lambda: results.append(box.run("flush").returncode))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0] * 4
    assert sorted(subjects(box.maildir())) == sorted(map(str, range(60)))
    assert box.queue() == []


def test_a_message_in_another_hand_is_left_alone(box):
    box.send(b"Subject: s\n\n")
    (qid,) = box.queue()
    with open(box.spool / "queue" / qid, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        box.flush()
        assert (box.maildir(), box.queue()) == ([], [qid])
    box.flush()
    assert len(box.maildir()) == 1


def test_what_is_not_due_waits(later):
    later.send(b"", ELSEWHERE)
    later.flush()
    first = due(later)
    later.flush()
    assert due(later) == first
    assert (later.spool / "log").read_text().count("status=deferred") == 1


def test_a_time_further_ahead_than_any_delay_counts_for_nothing(later):
    later.send(b"", ELSEWHERE)
    later.flush()
    (qid,) = later.queue()
    ahead = time.time() + 2 * DAY
    os.utime(later.spool / "queue" / qid, (ahead, ahead))
    later.flush()
    assert (later.spool / "log").read_text().count("status=deferred") == 2


def test_users_are_served_in_turn(machine):
    for n in range(5):
        machine.send("alice", f"Subject: flood {n}\n\n".encode(), "carol")
    machine.send("bob", b"Subject: single\n\n", "carol")
    said = machine.flush("-v").stdout.decode().splitlines()
    order = [line for line in said if "status=sent" in line]
    assert len(order) == 6
    assert len(machine.mail("carol")) == 6
    ids = [queue_id(line) for line in order]
    assert [uid_of(qid) for qid in ids].index(1002) <= 1


def queue_id(line: str) -> str:
    match = re.match(r"(\w+): to=", line)
    assert match is not None
    return match[1]


# Waiting and trying again


def test_what_is_deferred_is_tried_again_between_the_bounds(later):
    later.send(b"", ELSEWHERE)
    before = int(time.time())
    later.flush()
    (when,) = due(later)
    assert before + 300 <= when <= time.time() + 331
    (entry,) = waiting(later)
    assert entry["recipients"] == [{"address": ELSEWHERE, "delay_reason": "no route to host"}]


def test_the_delay_grows_with_the_age_of_the_message(later):
    for age in (0, 1000, 3000, DAY):
        arrived(later, age, [ELSEWHERE])
    later.flush("-a")
    waits = [when - int(time.time()) for when in due(later)]
    for wait, base in zip(waits, (4000, 3000, 1000, 300), strict=True):  # oldest id first
        assert base - 10 <= wait <= base * 1.1 + 2


def test_the_bounds_can_be_set(later):
    later.config(f'{LATER}minimal_backoff_time = "1m"\nmaximal_backoff_time = "2m"\n')
    later.send(b"", ELSEWHERE)
    arrived(later, DAY, [ELSEWHERE])
    later.flush("-a")
    old, new = (when - int(time.time()) for when in due(later))
    assert 118 <= old <= 134
    assert 58 <= new <= 68


def test_what_was_deferred_is_delivered_when_it_can_be(later):
    later.send(b"Subject: s\n\n", ELSEWHERE, later.user)
    later.flush()
    assert len(later.maildir()) == 1
    later.config('default_transport = "discard:"\n')
    later.flush("-a")
    assert len(later.maildir()) == 1
    assert later.queue() == []


def test_an_unknown_user_can_be_waited_for(box):
    box.config("unknown_local_recipient_reject_code = 450\n")
    box.send(b"", NOBODY)
    box.flush()
    (entry,) = waiting(box)
    assert "unknown user" in str(entry["recipients"])
    assert box.maildir() == []
    box.aliases(f"{NOBODY}: {box.user}\n")
    box.flush("-a")
    assert (len(box.maildir()), box.queue()) == (1, [])


def test_a_disk_full_at_the_mailbox_keeps_the_mail_however_old_it_is(box, monkeypatch):
    needs_root()
    disk = box.home / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=1", "none", disk], check=True)
    try:
        box.config('home_mailbox = "disk/Maildir/"\n')
        arrived(box, 30 * DAY, [box.user], attempts=50)
        (said,) = run_here(box, monkeypatch)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
    assert "dsn=4.3.1, status=deferred" in said and "No space left on device" in said
    run_here(box, monkeypatch)
    assert subjects(box.maildir("disk/Maildir")) == ["old"]
    assert box.queue() == []


# Giving up


def arrived(box: Box, age: int, recipients: list[str], *, attempts: int = 0, **facts) -> str:
    """Queue a message that is `age` seconds old; a negative age lies ahead."""
    spool = Spool(str(box.spool))
    real = time.time_ns
    drafts.time.time_ns = lambda: real() - age * 10**9
    try:
        envelope = Envelope(os.getuid(), recipients, **facts)
        qid = spool.submit(envelope, b"Subject: old\n\nbody\n")
    finally:
        drafts.time.time_ns = real
    active = take(spool, qid)
    assert active is not None
    for _ in range(attempts):
        active.begin([])
    active.close()
    return qid


def run_here(
    box: Box,
    monkeypatch: pytest.MonkeyPatch,
    *,
    uptime: int = 10**6,
    selection: Selection | None = None,
) -> list[str]:
    """Run a flush in this process, where the uptime of the machine can be chosen."""
    for name in ("PYMAIL_SPOOL", "PYMAIL_CONFIG", "HOME"):
        monkeypatch.setenv(name, box.env[name])
    monkeypatch.setattr(flushing, "_uptime", lambda: uptime)
    said: list[str] = []
    flushing.run(
        Spool(str(box.spool)),
        configuration.here(str(box.spool)),
        Log(f"{box.spool}/log"),
        selection=selection or Selection(everything=True),
        tell=said.append,
    )
    return said


OLD = {"age": 5 * DAY, "attempts": LEAST_ATTEMPTS, "uptime": 3600}


@pytest.mark.parametrize(
    ("change", "expires"),
    [({}, True), ({"age": 4 * DAY}, False), ({"attempts": 5}, False), ({"uptime": 3000}, False)],
)
def test_a_message_expires_by_age_attempts_and_uptime_together(later, monkeypatch, change, expires):
    facts = OLD | change
    arrived(later, facts["age"], [ELSEWHERE], attempts=facts["attempts"])
    run_here(later, monkeypatch, uptime=facts["uptime"])
    assert len(later.queue()) == (0 if expires else 1)
    reports = later.maildir()
    assert len(reports) == (1 if expires else 0)
    if expires:
        fields = status(reports[0])[1]
        assert (fields["Status"], fields["Action"]) == ("5.4.1", "failed")
        assert "expired: no route to host" in fields["Diagnostic-Code"]


def test_the_last_attempt_counts(later, monkeypatch):
    arrived(later, 5 * DAY, [ELSEWHERE], attempts=LEAST_ATTEMPTS - 1)
    run_here(later, monkeypatch)
    assert len(later.maildir()) == 1


def test_expiry_takes_only_what_waits(later, monkeypatch):
    arrived(later, 5 * DAY, [later.user, ELSEWHERE], attempts=20)
    run_here(later, monkeypatch)
    assert sorted(subjects(later.maildir())) == ["Undelivered Mail Returned to Sender", "old"]


def test_a_report_that_is_too_old_goes_to_the_postmaster(later, monkeypatch):
    later.config(LATER + 'bounce_queue_lifetime = "1d"\n')
    arrived(later, DAY, [ELSEWHERE], attempts=20, sender="", kind="bounce")
    run_here(later, monkeypatch)
    assert subjects(later.maildir()) == ["Postmaster Copy: Undelivered Mail"]


@pytest.fixture
def clock(later) -> Callable[..., None]:
    """Run a program at another time, by the library behind faketime(1)."""
    needs("faketime")
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))

    def then(when: str, program: str, *args: str) -> None:
        env = {"LD_PRELOAD": str(library), "FAKETIME": f"@{when}"}
        env |= {"NO_FAKE_STAT": "1", "DONT_FAKE_MONOTONIC": "1"}
        done = later.run(program, *args, env=env)
        assert (done.returncode, done.stderr) == (0, b"")

    return then


@pytest.mark.parametrize("when", ["1970-01-02", "2038-03-01", "2099-01-01"])
def test_a_clock_that_is_wrong_bounces_nothing_and_loses_nothing(later, clock, when):
    later.send(b"Subject: here\n\n")
    later.send(b"Subject: there\n\n", ELSEWHERE)
    later.flush()
    for _ in range(3):
        clock(f"{when} 00:00:00", "flush", "-a")
    assert (later.spool / "log").read_text().count("status=deferred") == 4
    assert subjects(later.maildir()) == ["here"]
    assert len(later.queue()) == 1
    assert [entry["queue_name"] for entry in waiting(later)] != ["hold"]
    # The clock is right again: the message is not put off until the other century.
    later.config('default_transport = "discard:"\n')
    later.flush("-a")
    assert later.queue() == []


def test_a_message_deferred_beyond_2038_is_tried_again_there(later, clock):
    clock("2038-03-01 00:00:00", "sendmail", ELSEWHERE)
    clock("2038-03-01 00:00:01", "flush")
    assert (later.spool / "log").read_text().count("status=deferred") == 1
    clock("2038-03-01 12:00:00", "flush")
    assert (later.spool / "log").read_text().count("status=deferred") == 2


# Reports


def test_a_failure_is_reported_by_the_book(box):
    box.send(b"Subject: hello\nX-Mine: 1\n\nsecret body\n", NOBODY)
    box.flush()
    (data,) = box.maildir()
    report = parsed(data)
    assert report.get_content_type() == "multipart/report"
    assert report["Return-Path"] == "<>"
    assert report["Auto-Submitted"] == "auto-replied"
    about, recipient = status(data)
    assert re.fullmatch(r"dns; \S+", about["Reporting-MTA"])
    assert recipient["Final-Recipient"].startswith(f"rfc822; {NOBODY}@")
    assert (recipient["Action"], recipient["Status"]) == ("failed", "5.1.1")
    text, _, original = report.iter_parts()
    assert "unknown user" in text.get_content()
    assert original.get_content_type() == "text/rfc822-headers"
    assert "X-Mine: 1" in original.get_content()
    assert b"secret body" not in data


def test_one_report_tells_of_all_failures_of_a_message(box):
    box.send(b"", NOBODY, "other-nobody", ELSEWHERE, box.user)
    box.flush()
    reports = [m for m in box.maildir() if b"multipart/report" in m]
    assert len(reports) == 1
    assert [group["Status"] for group in status(reports[0])[1:]] == ["5.1.1", "5.1.1", "5.4.4"]
    assert len(box.maildir()) == 2


def test_without_configuration_mail_for_elsewhere_comes_back_with_what_to_do(box):
    box.send(b"", ELSEWHERE)
    box.flush()
    (data,) = box.maildir()
    text = next(parsed(data).iter_parts()).get_content()
    assert "outside mail is not deliverable" in text
    assert "default_transport" in text
    assert str(box.config_file) in text


def test_a_report_for_nobody_goes_to_the_postmaster_once(box):
    box.send(b"Subject: s\n\n", "-f", f"{NOBODY}@localhost", "another-nobody")
    box.flush()
    assert subjects(box.maildir()) == ["Postmaster Copy: Undelivered Mail"]
    assert box.queue() == []
    box.flush("-a")
    assert len(box.maildir()) == 1


def test_mail_from_the_null_sender_is_reported_to_the_postmaster_only(box):
    box.send(b"Subject: s\n\n", "-f", "<>", NOBODY)
    box.flush()
    assert subjects(box.maildir()) == ["Postmaster Copy: Undelivered Mail"]


def test_a_report_that_the_postmaster_cannot_get_is_held_and_shown(box):
    box.aliases(f"postmaster: {NOBODY}\n")
    box.send(b"Subject: s\n\n", "-f", "<>", "another-nobody")
    for _ in range(2):
        box.flush()
    (entry,) = waiting(box)
    assert (entry["queue_name"], entry["sender"]) == ("hold", "MAILER-DAEMON")
    assert "unknown user" in str(entry["recipients"])
    assert "undeliverable report to postmaster" in (box.spool / "log").read_text()
    box.flush("-a")
    assert len(box.queue()) == 1
    assert box.maildir() == []


def test_a_report_that_a_crash_prevented_goes_where_it_would_have_gone(box, monkeypatch):
    box.aliases(f"list: {NOBODY}, another-nobody, {box.user}\nowner-list: {box.user}\n")
    box.send(b"Subject: s\n\n", "list")
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "insert", fails)
        run_here(box, patch)
    assert len(box.maildir()) == 1
    for _ in range(2):
        box.flush("-a")
    _, report = box.maildir()
    assert parsed(report)["To"].startswith("owner-list@")
    assert [group["Status"] for group in status(report)[1:]] == ["5.1.1", "5.1.1"]
    assert box.queue() == []


def test_a_report_that_exists_is_not_made_again_after_a_crash(box, monkeypatch):
    box.aliases(f"list: {NOBODY}, Another-Nobody\nowner-list: {box.user}\n")
    box.send(b"Subject: s\n\n", "list", ELSEWHERE)
    note = Active.note

    def crashes(self: Active, attempt: Attempt) -> None:
        if attempt.status == "reported":
            fails()
        note(self, attempt)

    with monkeypatch.context() as patch:
        patch.setattr(Active, "note", crashes)
        run_here(box, patch)
    assert len(box.maildir()) == 2
    box.flush("-a")
    box.flush("-a")
    assert (len(box.maildir()), box.queue()) == (2, [])


def test_a_crash_among_failures_makes_no_second_report(box, monkeypatch):
    box.send(b"Subject: s\n\n", NOBODY, "another-nobody")
    note = Active.note

    def crashes(self: Active, attempt: Attempt) -> None:
        if attempt.index == 1:
            fails()
        note(self, attempt)

    with monkeypatch.context() as patch:
        patch.setattr(Active, "note", crashes)
        run_here(box, patch)
    assert box.maildir() == []
    box.flush("-a")
    (report,) = box.maildir()
    assert len(status(report)) == 3
    assert box.queue() == []


def fails(*_: object) -> None:
    raise OSError(5, "Input/output error")


def test_a_user_cannot_pass_for_the_mail_system(machine):
    """A message that says of itself that it is a double bounce is one of the user's."""
    machine.aliases("root: alice\npostmaster: nobody-of-that-name\n")
    machine.send("bob", b"Subject: s\n\n", "-f", "<>", "another-nobody")
    machine.flush()
    (qid,) = machine.queue()
    assert uid_of(qid) == 0


@pytest.mark.parametrize(
    ("wish", "told"), [("never", 0), ("success", 0), ("delay", 0), ("failure", 1), ("", 1)]
)
def test_failures_are_told_to_those_who_want_to_hear(box, wish, told):
    box.send(b"", *(["-N", wish] if wish else []), NOBODY)
    box.flush()
    assert len(box.maildir()) == told
    assert box.queue() == []


def test_the_whole_message_comes_back_where_it_was_asked_for(box):
    box.send(b"Subject: s\n\nthe \xff body\n", "-R", "full", NOBODY)
    box.flush()
    (data,) = box.maildir()
    part = list(parsed(data).iter_parts())[2]
    assert part.get_content_type() == "message/rfc822"
    assert b"\n\nthe \xff body\n" in data


def test_but_not_one_over_the_limit(box):
    box.config("bounce_size_limit = 2000\n")
    box.send(b"Subject: s\n\n" + b"x\n" * 2000, "-R", "full", NOBODY)
    box.flush()
    (data,) = box.maildir()
    assert list(parsed(data).iter_parts())[2].get_content_type() == "text/rfc822-headers"


def test_an_endless_header_does_not_come_back_whole(box):
    box.config("bounce_size_limit = 2000\n")
    box.send(b"X: " + b"y" * 100_000 + b"\n\n", NOBODY)
    box.flush()
    (data,) = box.maildir()
    assert len(data) < 8000


def test_the_senders_own_id_comes_back(box):
    box.send(b"", "-V", "ENV-7", NOBODY)
    box.flush()
    assert status(box.maildir()[0])[0]["Original-Envelope-Id"] == "ENV-7"


def test_success_is_told_where_it_was_asked_for(box):
    box.send(b"Subject: s\n\n", "-N", "success", box.user)
    box.flush()
    assert sorted(subjects(box.maildir())) == ["Successful Mail Delivery Report", "s"]
    (report,) = [m for m in box.maildir() if b"multipart/report" in m]
    assert (status(report)[1]["Action"], status(report)[1]["Status"]) == ("delivered", "2.0.0")


def test_success_is_not_told_to_nobody(box):
    box.send(b"Subject: s\n\n", "-f", "<>", "-N", "success", box.user)
    box.flush()
    assert subjects(box.maildir()) == ["s"]


def test_a_delay_is_told_once(later):
    later.config(f'{LATER}delay_warning_time = "1h"\n')
    arrived(later, 1000, [ELSEWHERE])
    arrived(later, 3700, [ELSEWHERE])
    for _ in range(3):
        later.flush("-a")
    assert subjects(later.maildir()) == ["Delayed Mail (still being retried)"]
    fields = status(later.maildir()[0])[1]
    assert (fields["Action"], fields["Status"]) == ("delayed", "4.4.1")
    assert "Will-Retry-Until" in fields


def test_a_delay_is_not_told_unasked_nor_to_those_who_do_not_want_it(later):
    arrived(later, 4 * DAY, [ELSEWHERE])
    later.flush("-a")
    later.config(f'{LATER}delay_warning_time = "1h"\n')
    arrived(later, 4 * DAY, [ELSEWHERE], notify=["FAILURE"])
    arrived(later, 4 * DAY, [ELSEWHERE], sender="")
    later.flush("--recipient", "nobody-here")
    assert later.maildir() == []


def test_a_report_is_made_once_also_when_the_run_dies_after_it(box, monkeypatch):
    """The report is durable before the failed message goes: between the two a run may die."""
    box.send(b"Subject: lost\n\n", NOBODY)
    (qid,) = box.queue()
    saved = (box.spool / "queue" / qid).read_bytes()
    box.flush()
    assert len(box.maildir()) == 1
    (box.spool / "queue" / qid).write_bytes(saved)  # as if it had never been removed
    box.flush()
    assert len(box.maildir()) == 1
    assert box.queue() == []


def test_failures_of_several_runs_are_each_told_once(box, monkeypatch):
    box.config(LATER)
    box.send(b"", NOBODY, ELSEWHERE)
    box.flush()
    assert [len(status(m)) for m in box.maildir()] == [2]
    box.config('default_transport = "error:5.1.2 no such host"\n')
    box.flush("-a")
    assert [len(status(m)) for m in box.maildir()] == [2, 2]
    assert box.queue() == []


# Trouble


def test_a_damaged_file_is_set_aside_once_and_kept(box):
    box.send(b"Subject: good\n\n")
    box.send(b"Subject: bad\n\n")
    qid = box.queue()[1]
    path = box.spool / "queue" / qid
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    done = box.flush("-v")
    assert f"{qid}: damaged queue file, set aside as {qid}.damaged".encode() in done.stdout
    assert subjects(box.maildir()) == ["good"]
    assert box.queue() == [f"{qid}.damaged"]
    assert (box.spool / "queue" / f"{qid}.damaged").read_bytes() == bytes(data)
    assert box.flush("-v", "-a").stdout == b""


def test_from_cron_a_damaged_file_is_no_noise(box):
    box.send(b"")
    path = box.spool / "queue" / box.queue()[0]
    path.write_bytes(b"garbage")
    done = box.run("flush")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_from_cron_nothing_normal_is_said(later):
    later.send(b"", ELSEWHERE)
    later.send(b"", NOBODY)
    later.send(b"")
    done = later.run("flush")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_broken_configuration_stops_the_run_and_is_said_once_a_day(box):
    box.send(b"Subject: s\n\n")
    box.config("home_mailbox = 7\n")
    done = box.run("flush")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (78, b"", 1)
    assert done.stderr.startswith(b"flush: ")
    assert b"config.toml" in done.stderr and b"home_mailbox" in done.stderr
    assert (box.run("flush").returncode, box.run("flush").stderr) == (78, b"")
    complaint = box.spool / "queue" / ".complaint"
    os.utime(complaint, (time.time() - DAY - 60,) * 2)
    assert box.run("flush").stderr == done.stderr
    box.config("no_such_setting = 1\n")
    assert b"no_such_setting" in box.run("flush").stderr  # another mistake is said at once
    box.config("")
    box.flush()
    assert len(box.maildir()) == 1


def test_a_mistake_that_comes_back_is_said_again(box):
    box.send(b"")
    for _ in range(2):
        box.config("x = 1\n")
        assert b"x" in box.run("flush").stderr
        box.config("")
        box.flush()
        box.send(b"")


def test_an_idle_flush_forgets_what_stopped_an_earlier_one(box):
    box.send(b"")
    box.config("x = 1\n")
    assert box.run("flush").returncode == 78
    assert box.run("pymail", "queue", "delete", "ALL").returncode == 0
    assert (box.spool / "queue" / ".complaint").exists()
    box.flush()
    assert not (box.spool / "queue" / ".complaint").exists()


def test_an_idle_flush_does_not_look_at_the_configuration(box):
    box.send(b"")
    box.flush()
    box.config("broken [")
    assert box.run("flush").returncode == 0


def test_aliases_that_cannot_be_read_stop_the_run(box):
    box.send(b"Subject: s\n\n")
    (box.config_file.parent / "aliases").mkdir()
    done = box.run("flush")
    assert done.returncode in {75, 78} and b"aliases" in done.stderr
    assert len(box.queue()) == 1


def test_a_spool_that_cannot_be_read_is_told_in_one_line(machine):
    machine.send("alice", b"", "bob")
    (machine.spool / "queue").rmdir()
    (machine.spool / "queue").write_text("")
    done = machine.run("root", "flush")
    assert (done.returncode, done.stdout) == (75, b"")
    assert done.stderr.count(b"\n") == 1 and b"/var/spool/pymail/queue" in done.stderr


def test_an_agent_that_dies_defers_what_it_had(machine):
    machine.config('mailbox_command = "kill -9 $PPID; sleep 5"\n')
    machine.send("alice", b"Subject: s\n\n", "bob")
    done = machine.flush("-v")
    assert b"status=deferred" in done.stdout
    assert b"cannot deliver as bob: killed by signal 9" in done.stdout
    machine.config("")
    machine.flush("-a")
    assert len(machine.mail("bob")) == 1


def test_a_command_that_hangs_is_ended_and_tried_again(machine):
    machine.config('command_time_limit = "1s"\nmailbox_command = "sleep 100"\n')
    machine.send("alice", b"Subject: s\n\n", "bob")
    started = time.monotonic()
    done = machine.flush("-v")
    assert time.monotonic() - started < 30
    assert b"Command time limit exceeded" in done.stdout
    assert b"status=deferred" in done.stdout


def test_commands_of_one_user_run_side_by_side_up_to_the_limit(machine):
    note = "/home/bob/running"
    command = f"echo $(date +%s%N) 1 >> {note}; sleep 0.7; echo $(date +%s%N) -1 >> {note}"
    machine.config(f"local_destination_concurrency_limit = 3\nmailbox_command = '{command}'\n")
    for _ in range(6):
        machine.send("alice", b"", "bob")
    machine.flush()
    running, most = 0, 0
    for line in sorted(Path(note).read_text().splitlines()):
        running += int(line.split()[1])
        most = max(most, running)
    assert (running, most) == (0, 3)


def test_a_run_ends_when_its_time_is_over_and_the_next_goes_on(box, monkeypatch):
    for _ in range(3):
        box.send(b"Subject: s\n\n")
    box.config('run_time_limit = "1s"\n')
    run_here(box, monkeypatch)
    box.flush()
    assert len(box.maildir()) == 3


def test_in_doubt_after_a_crash_a_letter_is_not_delivered_twice(box):
    box.send(b"Subject: s\n\n")
    (qid,) = box.queue()
    saved = (box.spool / "queue" / qid).read_bytes()
    box.flush()
    (letter,) = (box.home / "Maildir" / "new").iterdir()
    letter.rename(box.home / "Maildir" / "cur" / f"{letter.name}:2,S")
    (box.spool / "queue" / qid).write_bytes(saved)
    (box.spool / "queue" / ".boot").write_text("another boot")  # then all is in doubt
    box.flush()
    assert (len(box.maildir()), box.queue()) == (1, [])


def test_after_a_boot_every_recipient_is_in_doubt(later):
    later.send(b"", ELSEWHERE)
    (later.spool / "queue" / ".boot").write_text("another boot")
    (later.spool / "queue" / ("0" * 17)).write_bytes(b"garbage")
    spool = Spool(str(later.spool))
    doubt_after_boot(spool)
    (qid,) = [qid for qid, _ in spool.entries() if qid != "0" * 17]
    entry = shown(spool.queue, qid)
    assert entry is not None and bytes(entry.head.states) == ATTEMPTED


def test_more_messages_than_may_be_in_hand_are_done_in_turns(box, monkeypatch):
    monkeypatch.setattr(flushing, "MOST_ACTIVE", 4)
    for n in range(15):
        box.send(f"Subject: {n}\n\n".encode())
    run_here(box, monkeypatch)
    assert (len(box.maildir()), box.queue()) == (15, [])


def test_more_than_the_share_of_a_user_is_done_in_turns(box, monkeypatch):
    taken: list[str] = []
    real = shares.Shares.take

    def take_in(self: shares.Shares, qid: str, uid: int, size: int) -> None:
        real(self, qid, uid, size)
        taken.append(qid)
        in_hand.append(len(self._loads))

    in_hand: list[int] = []
    monkeypatch.setattr(shares, "SHARE", 300_000)
    monkeypatch.setattr(shares.Shares, "take", take_in)
    for n in range(6):
        box.send(b"Subject: %d\nX: " % n + b"x " * 50_000 + b"\n\n")
    said = run_here(box, monkeypatch)
    assert len(said) == 6
    assert (len(set(taken)), max(in_hand)) == (6, 2)
    assert (len(box.maildir()), box.queue()) == (6, [])


def test_the_only_message_of_a_user_is_taken_whatever_it_weighs():
    here = shares.Shares()
    assert here.fits(1, 10 * shares.SHARE)
    here.take("a", 1, 10 * shares.SHARE)
    assert not here.fits(1, 1)
    assert here.is_full(1) and not here.is_full(2)
    assert here.fits(2, shares.SHARE)
    here.drop("a")
    assert here.fits(1, shares.SHARE) and not here.is_full(1)


def test_no_process_to_be_had_keeps_the_mail(box, monkeypatch):
    def none_left(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    box.send(b"Subject: s\n\n")
    with monkeypatch.context() as patch:
        patch.setattr(agents, "Agent", none_left)
        (said,) = run_here(box, patch)
    assert "cannot start an agent for" in said and "status=deferred" in said
    box.flush("-a")
    assert len(box.maildir()) == 1


def test_a_queue_file_that_cannot_be_opened_stops_no_other(box, monkeypatch):
    box.send(b"Subject: one\n\n")
    box.send(b"Subject: two\n\n")
    first, _ = box.queue()

    def broken(spool: Spool, qid: str) -> object:
        if qid == first:
            raise OSError(5, "Input/output error")
        return take(spool, qid)

    with monkeypatch.context() as patch:
        patch.setattr(flushing, "take", broken)
        said = run_here(box, patch)
    assert f"warning: {first}: cannot read or write the queue file: Input/output error" in said
    assert (subjects(box.maildir()), box.queue()) == (["two"], [first])


@pytest.mark.parametrize("call", ["mark", "note", "remove", "defer"])
def test_a_queue_that_cannot_be_written_loses_and_doubles_nothing(box, monkeypatch, call):
    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    box.config(LATER)
    box.aliases(f"list: {box.user}, {ELSEWHERE}\n")
    box.send(b"Subject: before\n\n")
    box.flush()
    box.send(b"Subject: two\n\n", box.user, "list@localhost")
    box.send(b"Subject: one\n\n")
    with monkeypatch.context() as patch:
        patch.setattr(f"pymail.active.Active.{call}", broken)
        said = run_here(box, patch)
    assert any(line.startswith("warning: ") and "No space left" in line for line in said)
    box.config('default_transport = "discard:"\n')
    box.flush("-a")
    assert sorted(subjects(box.maildir())) == ["before", "one", "two"]
    assert box.queue() == []


def machine_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run root's flush in this process."""
    said: list[str] = []
    spool = "/var/spool/pymail"
    flushing.run(
        Spool(spool),
        configuration.here(spool),
        Log(None),
        selection=Selection(),
        tell=said.append,
    )
    return said


@pytest.mark.parametrize("most", [1, 2])
def test_with_few_agents_all_users_get_their_mail(machine, monkeypatch, most):
    monkeypatch.setattr(agents, "MOST_AGENTS", most)
    for _ in range(2):
        machine.send("erin", b"Subject: s\n\n", "alice", "bob", "carol", "dave")
    machine_here(monkeypatch)
    assert [len(machine.mail(u)) for u in ("alice", "bob", "carol", "dave")] == [2] * 4
    assert machine.queue() == []


def test_an_agent_that_hangs_is_ended_and_its_mail_waits(machine, monkeypatch):
    def hangs(batch):
        time.sleep(600)
        yield from ()

    machine.send("erin", b"Subject: s\n\n", "alice")
    with monkeypatch.context() as patch:
        patch.setattr(flushing, "MARGIN", 1)
        patch.setitem(flushing.agent.TRANSPORTS, "maildir", hangs)
        (said,) = machine_here(patch)
    assert "cannot deliver as alice: took too long" in said
    machine.flush("-a")
    assert len(machine.mail("alice")) == 1


def test_what_slow_commands_are_queued_for_waits_for_the_next_run(machine):
    machine.config(
        'run_time_limit = "2s"\nlocal_destination_concurrency_limit = 1\n'
        'mailbox_command = "sleep 1; cat >> out"\n'
    )
    for _ in range(5):
        machine.send("alice", b"Subject: s\n\n", "bob")
    started = time.monotonic()
    out = machine.flush("-v").stdout
    assert time.monotonic() - started < 10
    assert b"the run has used its time (run_time_limit)" in out
    machine.config('mailbox_command = "cat >> out"\n')
    machine.flush("-a")
    assert (machine.home("bob") / "out").read_bytes().count(b"Subject: s") == 5
    assert machine.queue() == []


def test_what_else_lies_among_the_drop_directories_stops_nobodys_list(machine):
    machine.config(LATER)
    drop = machine.spool / "drop"
    (drop / "file").write_text("")
    (drop / "link").symlink_to("/etc")
    machine.send("alice", b"", ELSEWHERE)
    machine.flush()
    assert ELSEWHERE.encode() in machine.run("alice", "mailq").stdout


def test_a_user_is_told_of_long_envelopes_and_within_bounds(machine, monkeypatch):
    machine.config(LATER)
    names = [f"recipient-{n}@example.org" for n in range(300)]
    for _ in range(3):
        machine.send("alice", b"", *names)
    machine.flush()
    assert b"in 3 Requests." in machine.run("alice", "mailq").stdout
    monkeypatch.setattr(userstatus, "LIMIT", 20_000)
    userstatus.tell(Spool(str(machine.spool)))
    status = machine.spool / "drop" / "u1001" / ".status"
    assert status.stat().st_size < 100_000
    assert b"Request" in machine.run("alice", "mailq").stdout


# Options


def test_verbose_tells_each_delivery(box):
    box.send(b"Subject: s\n\n", box.user, NOBODY)
    out = box.flush("-v").stdout.decode()
    assert out.count("status=sent (delivered to maildir)") == 2  # and the report
    assert out.count("status=bounced (unknown user") == 1


def test_verbose_shows_no_control_characters(box):
    box.send(b"", "a\u202eb@example.org")
    out = box.flush("-v").stdout.decode()
    assert out and all(line.isprintable() for line in out.splitlines())


def test_ids_name_what_is_tried_due_or_not(later):
    for _ in range(3):
        later.send(b"", ELSEWHERE)
    later.flush()
    one, two, three = later.queue()
    out = later.flush("-v", one, "--id", two, f"--id={three}").stdout
    assert out.count(b"status=deferred") == 3
    assert later.flush("-v", two).stdout.startswith(two.encode())
    assert later.flush("0" * 17).stdout == b""


def test_site_recipient_and_sender_select(later):
    later.send(b"", "-f", "Ann@x", "one@Example.ORG")
    later.send(b"", "-f", "<>", "two@sub.example.org")
    later.send(b"", "three@example.com", "four@example.org")
    later.flush()
    for args, count in (
        (["--site", "example.org"], 3),
        (["--site=EXAMPLE.com"], 2),
        (["--site", "xample.org"], 0),
        (["--recipient", "two@"], 1),
        (["--sender", "ann"], 1),
        (["--sender", "ann", "--site", "example.com"], 0),
        (["-a"], 4),
        (["--all"], 4),
    ):
        out = later.flush("-v", *args).stdout
        assert out.count(b"status=deferred") == count, args


def test_held_mail_is_left_alone_whatever_is_asked(box):
    box.send(b"Subject: s\n\n")
    (qid,) = box.queue()
    active = take(Spool(str(box.spool)), qid)
    assert active is not None
    active.mark(0, HELD)
    active.defer(NEVER)
    active.close()
    for args in ([], ["-a"], [qid], ["--recipient", "o"], ["--sender", ""][:0]):
        box.flush(*args)
    assert box.maildir() == []
    assert box.queue() == [qid]


def test_one_recipient_on_hold_does_not_stop_the_others(box):
    box.aliases(f"boss: {box.user}\n")
    box.send(b"Subject: s\n\n", box.user, "boss@localhost")
    (qid,) = box.queue()
    active = take(Spool(str(box.spool)), qid)
    assert active is not None
    active.mark(1, HELD)
    active.close()
    box.flush()
    assert len(box.maildir()) == 1
    (entry,) = waiting(box)
    assert entry["queue_name"] == "hold"


@pytest.mark.parametrize(
    "args",
    [["-Z"], ["--no"], ["--log"], ["--site"], ["--log="], ["no-id"], ["--id", "x"], ["../x"]],
)
def test_what_is_not_understood_is_a_usage_error(box, args):
    done = box.run("flush", *args)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (64, b"", 1)
    assert done.stderr.startswith(b"flush: ")


def test_help_and_version(box):
    for option, start in (("-h", b"usage: flush "), ("--version", b"pymail "), ("-V", b"pymail ")):
        assert box.flush(option).stdout.startswith(start)
    assert box.flush("--help").stdout.startswith(b"usage: flush ")


def test_a_reader_of_the_story_that_goes_away_stops_no_mail(box):
    for n in range(20):
        box.send(f"Subject: {n}\n\n".encode())
    script = 'exec "$@" | head -n 1 >/dev/null; exit ${PIPESTATUS[0]}'
    done = subprocess.run(
        ["/bin/bash", "-c", script, "bash", *argv("flush", "-v")],
        env=box.env,
        check=False,
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    box.flush("-a")
    assert len(box.maildir()) == 20


def test_an_ordinary_user_cannot_flush_the_system(machine):
    machine.send("alice", b"", "bob")
    done = machine.run("alice", "flush")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (77, b"", 1)
    assert b"only root may" in done.stderr
    assert machine.mail("bob") == []


def test_an_ordinary_user_flushes_an_own_spool(machine):
    machine.write("alice", ".config/pymail/config.toml", "")
    machine.send("alice", b"Subject: mine\n\n", "alice")
    done = machine.run("alice", "flush")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    (letter,) = machine.mail("alice")
    assert (letter.uid, letter.mode) == (1001, 0o600)
    assert queued(machine.home("alice") / ".local/state/pymail/spool") == []


def test_permissions_of_what_flush_makes_do_not_depend_on_the_umask(box):
    box.config("message_size_limit = 5000\n")
    box.send(b"Subject: s\n\n")
    command = ["/bin/sh", "-c", 'umask 0; exec "$@"', "sh", *argv("flush")]
    subprocess.run(command, env=box.env, check=True)
    modes = {p.name: p.stat().st_mode & 0o777 for p in (box.spool / "queue").iterdir()}
    assert set(modes.values()) <= {0o600}
    assert (box.spool / "log").stat().st_mode & 0o777 == 0o600
    assert (box.spool / "message_size_limit").stat().st_mode & 0o777 == 0o644
    (letter,) = (box.home / "Maildir" / "new").iterdir()
    assert letter.stat().st_mode & 0o777 == 0o600


# Inside


def test_taking_in_turn_serves_everybody():
    from collections import deque

    got = list(flushing._in_turn([deque("aaa"), deque("b"), deque("cc")]))
    assert got == list("abcaca")


@pytest.mark.parametrize("text", ["", "x y", None])
def test_an_unknown_uptime_is_none(monkeypatch, text):
    def broken(path: str, *_: object, **__: object):
        if text is None:
            raise FileNotFoundError(path)
        import io

        return io.StringIO(text)

    monkeypatch.setattr(flushing, "open", broken, raising=False)
    if text == "":
        with pytest.raises(IndexError):
            flushing._uptime()
    else:
        assert flushing._uptime() == 0


def hurt(note: Path, damage: bytes | str) -> None:
    """Let a file have these bytes, or be a directory."""
    if isinstance(damage, bytes):
        note.unlink(missing_ok=True)
        note.write_bytes(damage)
    elif not note.is_dir():
        note.unlink(missing_ok=True)
        note.mkdir()
        (note / "in it").write_text("")


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"[", b"-1", bytes(4096), "directory"])
def test_no_damaged_note_of_ours_stops_a_run(machine: Machine, damage: bytes | str) -> None:
    """Zeros are what a power cut leaves; the others come from people and disks."""
    settings = "relayhost = '[127.0.0.1]:1'\nmessage_size_limit = 20000000\n"
    machine.config(f"{settings}[cron]\nfold = true\n")
    letter = b"Subject: Cron <alice@box> backup\nX-Cron-Env: <SHELL=/bin/sh>\n\ndisk full\n"
    machine.send("alice", letter, "bob")
    machine.send("alice", b"", ELSEWHERE)
    machine.flush()
    spool = machine.spool
    notes = [spool / "queue" / name for name in (".boot", ".complaint", ".warned", ".sites")]
    notes += [*(spool / "cron").iterdir(), spool / "drop/u1001/.status", spool / LIMIT]
    for note in notes:
        hurt(note, damage)
    machine.send("alice", letter, "bob")
    machine.send("alice", b"", "bob", "jim@example.org")
    for _ in range(2):
        assert machine.flush().stderr == b""
    assert len(machine.mail("bob")) == 3  # the job is another one, as far as we know
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    assert (spool / "queue/.boot").read_text() == boot
    assert (spool / LIMIT).read_text() == "20000000\n"
    shown = machine.run("alice", "mailq")
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert machine.run("root", "pymail", "check").stderr == b""
    machine.config("nonsense = 1\n")
    hurt(spool / "queue/.complaint", damage)
    done = machine.run("root", "flush", "-a")
    assert (done.returncode, done.stderr.count(b"\n")) == (78, 1)


def test_a_complaint_that_utf_8_cannot_have_is_remembered(tmp_path: Path) -> None:
    """It may name a file whose name is in no encoding."""
    note = str(tmp_path / "note")
    assert [complaint.said_today(note, "cannot read \udcff") for _ in range(2)] == [False, True]


def test_a_machine_without_a_boot_id_is_in_doubt_once(box, monkeypatch):
    box.send(b"")
    real = open

    def hidden(path: str, *args: object, **how: object) -> object:
        if "boot_id" in str(path):
            raise FileNotFoundError(path)
        return real(path, *args, **how)

    monkeypatch.setattr(boot, "open", hidden, raising=False)
    spool = Spool(str(box.spool))
    doubt_after_boot(spool)
    assert (box.spool / "queue" / ".boot").read_text() == "unknown"
    doubt_after_boot(spool)
