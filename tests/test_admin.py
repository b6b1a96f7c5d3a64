"""pymail config, queue and explain: run as programs."""

import json
import os
import stat
import subprocess
import time
import tomllib
from pathlib import Path

import pytest
from harness import Box
from machine import CONFIG, SPOOL, Machine

from pymail import overlay, queued
from pymail.active import take
from pymail.config import SETTINGS
from pymail.entry import Attempt
from pymail.queuefile import NEVER
from pymail.spool import Spool

LETTER = b"Subject: hello\n\nThe text.\n"


def ok(done: "subprocess.CompletedProcess[bytes]") -> list[str]:
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().splitlines()


def refused(done: "subprocess.CompletedProcess[bytes]", status: int) -> str:
    assert (done.returncode, done.stdout) == (status, b"")
    text = done.stderr.decode()
    assert text.startswith("pymail: ")
    assert text.count("\n") == 1
    return text


# --- config ---------------------------------------------------------------------------------


def overlay_of(box: Box) -> Path:
    return box.config_file.parent / "conf.d" / "90-pymail.toml"


def test_every_setting_is_shown_as_toml_with_its_source(box: Box) -> None:
    box.config('# by hand\nhome_mailbox = ".maildir/"\n')
    lines = ok(box.run("pymail", "config"))
    assert [line.partition(" = ")[0] for line in lines] == list(SETTINGS)
    assert set(tomllib.loads("\n".join(lines))) == set(SETTINGS)
    assert f'home_mailbox = ".maildir/"  # {box.config_file}, line 2' in lines
    assert 'recipient_delimiter = ""  # default' in lines


def test_only_what_is_changed_or_asked_for_is_shown(box: Box) -> None:
    box.config("hopcount_limit = 7\nmaximal_queue_lifetime = '2d'\n")
    assert [line.partition("  #")[0] for line in ok(box.run("pymail", "config", "-n"))] == [
        "hopcount_limit = 7",
        "maximal_queue_lifetime = 172800",
    ]
    assert ok(box.run("pymail", "config", "-d", "hopcount_limit")) == [
        "hopcount_limit = 50  # default"
    ]
    assert len(ok(box.run("pymail", "config", "root_user", "hopcount_limit"))) == 2
    assert "did you mean root_user?" in refused(box.run("pymail", "config", "root_usr"), 64)


def test_the_defaults_can_be_shown_when_the_configuration_is_broken(box: Box) -> None:
    box.config("broken")
    assert refused(box.run("pymail", "config"), 78)
    assert len(ok(box.run("pymail", "config", "-d"))) == len(SETTINGS)


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["home_mailbox", ".maildir/"], ".maildir/"),
        (["hopcount_limit", "7"], 7),
        (["maximal_queue_lifetime", "2d"], "2d"),
        (["maximal_queue_lifetime", "3600"], 3600),
        (["append_dot_mydomain", "yes"], True),
        (["append_dot_mydomain", "False"], False),
        (["mydestination", "$myhostname", "localhost"], ["$myhostname", "localhost"]),
        (["mydestination", "$myhostname, localhost"], ["$myhostname", "localhost"]),
        (["mydestination", '["a.example", "b.example"]'], ["a.example", "b.example"]),
        (["alias_maps", '["/etc/my aliases"]'], ["/etc/my aliases"]),
        (["relayhost", "[smtp.example]:587"], ["[smtp.example]:587"]),
        (["relayhost", "[smtp.example]:587, [::1]"], ["[smtp.example]:587", "[::1]"]),
        (["relayhost", '["[smtp.example]:587"]'], ["[smtp.example]:587"]),
        (["transport_maps", "/etc/a", "regexp:/etc/b"], ["/etc/a", "regexp:/etc/b"]),
        (["transport_maps", '["/etc/a"]'], ["/etc/a"]),
        (["smtp_generic_maps", '{ "@laptop" = "a@b.example" }'], {"@laptop": "a@b.example"}),
        (["mailbox_command", 'procmail -a "$EXTENSION"'], 'procmail -a "$EXTENSION"'),
        (["root_user", "jörg"], "jörg"),
    ],
)
def test_a_value_is_set_over_the_hand_written_file(
    box: Box, words: list[str], value: object
) -> None:
    by_hand = "# a comment\nhopcount_limit = 9 # another\n"
    box.config(by_hand)
    done = box.run("pymail", "config", "set", *words)
    assert box.config_file.read_text() == by_hand
    assert ok(done) == []
    assert tomllib.loads(overlay_of(box).read_text()) == {words[0]: value}
    assert stat.S_IMODE(overlay_of(box).stat().st_mode) == 0o644
    assert os.listdir(overlay_of(box).parent) == ["90-pymail.toml"]
    (line,) = ok(box.run("pymail", "config", words[0]))
    assert "90-pymail.toml" in line


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["hopcount_limit", "0"], 65, "cannot set hopcount_limit: 0 is out of range"),
        (["hopcount_limit", "many"], 65, "cannot set hopcount_limit: must be a number"),
        (["hopcount_limit", "1", "2"], 64, "hopcount_limit takes one value"),
        (["hopcount_limit"], 64, "Missing argument"),
        (["hopcount_limt", "1"], 64, "did you mean hopcount_limit?"),
        (["append_dot_mydomain", "maybe"], 65, "must be true or false"),
        (["maximal_queue_lifetime", "5x"], 65, "is no time"),
        (["mydestination", "[1, 2"], 65, "cannot understand [1, 2"),
        (["smtp_generic_maps", "{ a = }"], 65, "cannot understand { a = }"),
        (["smtp_generic_maps", "{ a = 1 }"], 65, "must have a text behind each key"),
        (["mydestination", "$nonsense"], 65, "names an unknown setting: $nonsense"),
        (["mydomain", "$myhostname.$mydomain"], 65, "refers to itself"),
        (["maximal_backoff_time", "10"], 78, "minimal_backoff_time (300) is more than"),
    ],
)
def test_what_cannot_hold_is_not_written(
    box: Box, words: list[str], status: int, told: str
) -> None:
    box.config("")
    assert told in refused(box.run("pymail", "config", "set", *words), status)
    assert not overlay_of(box).exists()


def test_values_are_added_and_taken_back_one_by_one(box: Box) -> None:
    ok(box.run("pymail", "config", "set", "hopcount_limit", "7"))
    ok(box.run("pymail", "config", "set", "root_user", "alice"))
    ok(box.run("pymail", "config", "set", "hopcount_limit", "8"))
    assert tomllib.loads(overlay_of(box).read_text()) == {"hopcount_limit": 8, "root_user": "alice"}
    ok(box.run("pymail", "config", "unset", "hopcount_limit"))
    assert tomllib.loads(overlay_of(box).read_text()) == {"root_user": "alice"}
    assert "was not set with" in refused(box.run("pymail", "config", "unset", "hopcount_limit"), 65)
    ok(box.run("pymail", "config", "unset", "root_user"))
    assert not overlay_of(box).exists()


def test_a_change_does_not_pass_over_a_broken_file(box: Box) -> None:
    box.config("hopcount_limt = 1\n")
    told = refused(box.run("pymail", "config", "set", "root_user", "alice"), 78)
    assert "config.toml, line 1: unknown setting hopcount_limt" in told
    assert not overlay_of(box).exists()


def test_a_mistake_in_the_overlay_can_be_taken_back(box: Box) -> None:
    overlay_of(box).parent.mkdir()
    overlay_of(box).write_text('no_such_setting = 1\nroot_user = "alice"\n')
    refused(box.run("pymail", "config"), 78)
    ok(box.run("pymail", "config", "unset", "no_such_setting"))
    assert len(ok(box.run("pymail", "config", "-n"))) == 1


def test_a_later_file_is_warned_of(box: Box) -> None:
    overlay_of(box).parent.mkdir()
    (overlay_of(box).parent / "95-later.toml").write_text("hopcount_limit = 3\n")
    done = box.run("pymail", "config", "set", "hopcount_limit", "8")
    assert done.returncode == 0
    assert b"95-later.toml, line 1 counts before" in done.stderr


def test_two_changes_at_once_are_both_there(box: Box) -> None:
    names = ["hopcount_limit", "bounce_size_limit", "message_size_limit", "command_time_limit"]
    from harness import argv

    running = [
        subprocess.Popen(argv("pymail", "config", "set", name, "1234"), env=box.env)
        for name in names
    ]
    assert [each.wait(60) for each in running] == [0] * len(names)
    assert set(tomllib.loads(overlay_of(box).read_text())) == set(names)


def test_a_full_disk_leaves_the_old_overlay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pymail.errors import TempError

    file = tmp_path / "conf.d" / overlay.NAME
    facts = {"hostname": "box", "mailname": "", "aliases": "/a", "config": str(tmp_path / "c.toml")}
    overlay.set_value(facts["config"], facts, "hopcount_limit", 7)
    before = file.read_bytes()

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TempError, match="No space left"):
        overlay.set_value(facts["config"], facts, "hopcount_limit", 8)
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == [overlay.NAME]


def test_an_ordinary_user_cannot_change_the_systems_configuration(machine: Machine) -> None:
    machine.config("")
    told = refused(machine.run("alice", "pymail", "config", "set", "root_user", "alice"), 77)
    assert "cannot write /etc/pymail/conf.d: Permission denied" in told
    assert ok(machine.run("alice", "pymail", "config", "root_user")) == [
        'root_user = ""  # default'
    ]
    ok(machine.run("root", "pymail", "config", "set", "root_user", "alice"))
    assert (CONFIG.parent / "conf.d").stat().st_mode & 0o777 == 0o755
    assert 'root_user = "alice"' in ok(machine.run("bob", "pymail", "config", "root_user"))[0]


SECRETS = "[smtp_sasl_password_maps]\n'[smtp.isp.example]:587' = 'me:secret'\n"
ACCOUNT = "[fetch.isp]\nserver = 'x'\nuser = 'me'\npassword = 'secret'\nto = 'alice'\n"


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


@pytest.mark.parametrize("before", [SECRETS, ACCOUNT, "hopcount_limit = 7\n"])
def test_a_file_that_others_cannot_read_stays_so(box: Box, before: str) -> None:
    overlay_of(box).parent.mkdir()
    overlay_of(box).write_text(before)
    overlay_of(box).chmod(0o600)
    ok(box.run("pymail", "config", "set", "relayhost", "[smtp.isp.example]:587"))
    assert mode(overlay_of(box)) == 0o600
    ok(box.run("pymail", "config", "unset", "relayhost"))
    assert mode(overlay_of(box)) == 0o600


def test_a_password_that_is_set_can_be_read_by_nobody_else(box: Box) -> None:
    ok(box.run("pymail", "config", "set", "relayhost", "[smtp.isp.example]:587"))
    name = "smtp_sasl_password_maps"
    ok(box.run("pymail", "config", "set", name, '{ "smtp.isp.example" = "me" }'))
    assert mode(overlay_of(box)) == 0o644
    ok(box.run("pymail", "config", "set", name, '{ "smtp.isp.example" = "me:secret" }'))
    assert mode(overlay_of(box)) == 0o600


def test_it_is_said_where_users_cannot_read_what_was_set(machine: Machine) -> None:
    machine.config("")
    file = CONFIG.parent / "conf.d/90-pymail.toml"
    ok(machine.run("root", "pymail", "config", "set", "home_mailbox", ".maildir/"))
    done = machine.run(
        *("root", "pymail", "config", "set", "smtp_sasl_password_maps"),
        '{ "smtp.isp.example" = "me:secret" }',
    )
    assert done.returncode == 0
    assert done.stderr.decode() == (
        f"pymail: warning: users cannot read {file}, and ignore it: keep passwords in another"
        " file, see pymail.toml(5)\n"
    )
    (line,) = ok(machine.run("alice", "pymail", "config", "home_mailbox"))
    assert line == 'home_mailbox = "Maildir/"  # default'


def test_passwords_are_not_shown(box: Box) -> None:
    box.config(SECRETS + "'localhost' = 'me'\n")
    shown = '{ "[smtp.isp.example]:587" = "me:...", "localhost" = "me" }'
    for words in (["-n"], ["smtp_sasl_password_maps"]):
        (line,) = ok(box.run("pymail", "config", *words))
        assert line == f"smtp_sasl_password_maps = {shown}  # {box.config_file}, line 1"
    assert "secret" not in "\n".join(ok(box.run("pymail", "config")))
    given = {"PYMAIL_SMTP_SASL_PASSWORD_MAPS": '{ "[a]:587" = "me:secret" }'}
    (line,) = ok(box.run("pymail", "config", "smtp_sasl_password_maps", env=given))
    assert '"me:..."' in line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[fetch.isp]\npassword = secret\n", 'line 2: a text stands in quotes: password = "..."'),
        ("smtp_sasl_password_maps = 'me:secret'\n", '"..." is not the path of a file'),
    ],
)
def test_a_password_that_stands_there_as_it_must_not_is_in_no_error(
    box: Box, text: str, words: str
) -> None:
    box.config(text)
    told = refused(box.run("pymail", "config"), 78)
    assert words in told
    assert "secret" not in told


# --- queue ----------------------------------------------------------------------------------


def queue(box: Box) -> list[str]:
    return [qid for qid, _ in Spool(str(box.spool)).entries()]


def test_a_message_is_shown_with_what_happened_to_it(box: Box) -> None:
    box.config('default_transport = "retry:not today"\n')
    box.send(b"Subject: \x1b[31mred\n\nevil \x9b2J \xe2\x80\xae text\n", "x@example.org", box.user)
    box.flush()
    (qid,) = queue(box)
    done = box.run("pymail", "queue", "show", qid)
    text = "\n".join(ok(done))
    assert f"Queue-ID: {qid} (waiting)" in text
    assert f"Sender: <{box.user}>" in text
    assert "Recipient: <x@example.org> (waiting, tried)" in text
    assert "deferred 4.0.0 not today" in text
    assert f"Recipient: <{box.user}> (delivered)" in text
    assert "Subject: ?[31mred" in text
    assert not any(c in done.stdout.decode() for c in "\x1b\x9b\u202e")
    assert "Subject" not in "\n".join(ok(box.run("pymail", "queue", "show", "-e", qid)))
    assert ok(box.run("pymail", "queue", "show", "-m", qid))[0] == "Subject: ?[31mred"
    raw = box.run("pymail", "queue", "show", "--raw", qid)
    assert raw.stdout == b"Subject: \x1b[31mred\n\nevil \x9b2J \xe2\x80\xae text\n"


def test_a_message_to_thousands_is_shown_in_a_moment(box: Box) -> None:
    box.send(LETTER, *(f"r{n}@example.org" for n in range(2000)))
    (qid,) = queue(box)
    active = take(Spool(str(box.spool)), qid)
    for words in ("first", "second"):
        for n in range(2000):
            active.note(Attempt(0, n, "deferred", "4.0.0", "there", f"{words} try of r{n}"))
    began = time.process_time()
    lines = queued.about(active, "waiting")
    assert time.process_time() - began < 5  # squared it was ten
    active.close()
    at = lines.index("Recipient: <r1999@example.org> (waiting)")
    assert [line.partition(" 4.0.0 ")[2] for line in lines[at + 1 :]] == [
        "first try of r1999",
        "second try of r1999",
    ]


def test_the_queue_is_listed_as_mailq_does(box: Box) -> None:
    box.send(LETTER)
    assert box.run("pymail", "queue", "list").stdout == box.run("mailq").stdout
    assert box.run("pymail", "queue", "list", "-j").stdout == box.run("mailq", "-j").stdout


def test_a_held_message_stays_until_it_is_released(box: Box) -> None:
    box.send(LETTER)
    (qid,) = queue(box)
    assert ok(box.run("pymail", "queue", "hold", qid)) == [f"{qid}: placed on hold"]
    assert f"{qid}!" in box.run("mailq").stdout.decode()
    assert "on hold" in ok(box.run("pymail", "queue", "show", qid))[0]
    box.flush()
    box.flush("-a")
    assert box.maildir() == []
    done = box.run("pymail", "queue", "hold", qid)
    assert (done.returncode, done.stdout) == (65, b"")
    assert done.stderr == f"pymail: cannot hold {qid}: it is held already\n".encode()
    assert ok(box.run("pymail", "queue", "release", qid)) == [f"{qid}: released from hold"]
    assert b"it is not held" in box.run("pymail", "queue", "release", qid).stderr
    box.flush()
    assert len(box.maildir()) == 1
    assert queue(box) == []


def test_a_message_that_is_tried_and_has_to_wait_is_kept(box: Box) -> None:
    box.config('default_transport = "retry:not today"\n')
    box.send(LETTER, "x@example.org")
    (qid,) = queue(box)
    done = box.run("pymail", "queue", "try", qid)
    assert (done.returncode, done.stdout) == (75, b"")
    assert done.stderr == b"pymail: cannot deliver to x@example.org now: not today\n"
    box.config("nonsense = 1\n")
    done = box.run("pymail", "queue", "try", qid)
    assert done.returncode == 78
    assert b"pymail: cannot deliver now: flush ended with status 78\n" in done.stderr
    box.run("pymail", "queue", "hold", qid)
    done = box.run("pymail", "queue", "try", qid)
    assert done.returncode == 65
    assert f"pymail: cannot try {qid}: it is on hold (pymail queue release {qid})" in str(done)
    assert queue(box) == [qid]


def test_a_message_is_tried(box: Box) -> None:
    box.config('default_transport = "error:no"\n')
    box.send(LETTER)
    box.send(LETTER, "x@example.org")
    here, there = queue(box)
    ok(box.run("pymail", "queue", "try", here))
    assert len(box.maildir()) == 1
    done = box.run("pymail", "queue", "try", there)
    assert (done.returncode, done.stderr) == (69, b"pymail: cannot deliver to x@example.org: no\n")
    done = box.run("pymail", "queue", "try", here)
    assert done.returncode == 65
    assert done.stderr == f"pymail: cannot try {here}: no such message in the queue\n".encode()
    assert box.run("pymail", "queue", "try", "XX").returncode == 64


def test_what_was_delivered_before_a_hold_is_not_delivered_again(box: Box) -> None:
    box.config('default_transport = "retry:not today"\n')
    box.send(LETTER, box.user, "x@example.org")
    box.flush()
    box.run("pymail", "queue", "hold", "ALL")
    box.run("pymail", "queue", "release", "ALL")
    box.flush("-a")
    assert len(box.maildir()) == 1


def test_a_requeued_message_is_due_at_once(box: Box) -> None:
    box.config('default_transport = "retry:not today"\n')
    box.send(LETTER, "x@example.org")
    box.flush()
    (qid,) = queue(box)
    box.config('default_transport = "discard:"\n')
    box.flush()
    assert queue(box) == [qid]
    assert ok(box.run("pymail", "queue", "requeue", qid)) == [f"{qid}: requeued"]
    box.flush()
    assert queue(box) == []


def test_a_held_message_may_be_requeued(box: Box) -> None:
    box.send(LETTER)
    box.run("pymail", "queue", "hold", "ALL")
    assert len(ok(box.run("pymail", "queue", "requeue", "ALL"))) == 1
    box.flush()
    assert len(box.maildir()) == 1


def test_messages_are_deleted_by_name_or_all(box: Box) -> None:
    for _ in range(3):
        box.send(LETTER)
    first, *others = queue(box)
    assert ok(box.run("pymail", "queue", "delete", first, first)) == [f"{first}: removed"]
    assert queue(box) == others
    assert sorted(ok(box.run("pymail", "queue", "delete", "ALL"))) == [
        f"{qid}: removed" for qid in others
    ]
    assert queue(box) == []
    assert ok(box.run("pymail", "queue", "delete", "ALL")) == []
    box.flush()
    assert box.maildir() == []
    log = (box.spool / "log").read_text()
    assert "pymail/postsuper[" in log
    assert f"{first}: removed" in log


def test_what_is_not_there_or_no_id_is_told(box: Box) -> None:
    box.send(LETTER)
    (qid,) = queue(box)
    gone = qid[:-2] + "zz"
    done = box.run("pymail", "queue", "delete", gone, qid)
    assert done.returncode == 65
    assert f"cannot delete {gone}: no such message in the queue" in done.stderr.decode()
    assert done.stdout.decode() == f"{qid}: removed\n"
    assert "no such message" in refused(box.run("pymail", "queue", "show", gone), 65)
    for name in ("../../etc/passwd", "all", "x", f"{qid}.damaged"):
        assert "is no queue id" in refused(box.run("pymail", "queue", "show", name), 64)
        assert "is no queue id" in refused(box.run("pymail", "queue", "delete", name), 64)


def test_all_is_offered_only_where_it_may_be_said(box: Box) -> None:
    box.send(b"")
    for verb in ("show", "try"):
        said = refused(box.run("pymail", "queue", verb, "ALL"), 64)
        assert said.endswith("ALL is no queue id: name one as mailq shows it\n")
    said = refused(box.run("pymail", "queue", "hold", "ALL", box.queue()[0]), 64)
    assert said.endswith("ALL is no queue id: name ids as mailq shows them, or only ALL\n")


def test_a_message_in_other_hands_is_left_alone(box: Box) -> None:
    box.send(LETTER)
    (qid,) = queue(box)
    active = take(Spool(str(box.spool)), qid)
    assert active is not None
    for verb in ("hold", "release", "delete", "requeue"):
        done = box.run("pymail", "queue", verb, qid)
        assert done.returncode == 65
        assert b"flush works on it" in done.stderr
    assert "(active)" in ok(box.run("pymail", "queue", "show", qid))[0]
    assert active.due != NEVER
    active.close()
    assert len(ok(box.run("pymail", "queue", "delete", qid))) == 1


def test_a_damaged_message_is_told_and_kept(box: Box) -> None:
    box.send(LETTER)
    (qid,) = queue(box)
    file = box.spool / "queue" / qid
    file.write_bytes(file.read_bytes()[:-5])
    assert "damaged" in refused(box.run("pymail", "queue", "show", qid), 65)
    done = box.run("pymail", "queue", "hold", qid)
    assert (done.returncode, done.stderr) == (
        65, f"pymail: cannot hold {qid}: damaged queue file\n".encode()
    )  # fmt: skip
    assert file.exists()


def test_root_takes_what_users_have_sent_and_users_may_not_touch_the_queue(
    machine: Machine,
) -> None:
    machine.send("alice", LETTER, "bob")
    for verb in ("hold", "release", "delete", "requeue"):
        assert "only root may" in refused(machine.run("alice", "pymail", "queue", verb, "ALL"), 77)
    assert machine.queue() == []
    (line,) = ok(machine.run("root", "pymail", "queue", "hold", "ALL"))
    qid = line.partition(":")[0]
    assert machine.queue() == [qid]
    assert "User: alice (uid 1001)" in ok(machine.run("root", "pymail", "queue", "show", qid))
    assert "only root may" in refused(machine.run("alice", "pymail", "queue", "show", qid), 77)
    machine.flush()
    assert machine.mail("bob") == []
    ok(machine.run("root", "pymail", "queue", "release", "ALL"))
    machine.flush()
    assert len(machine.mail("bob")) == 1


def test_a_queue_that_cannot_be_used_is_told(machine: Machine) -> None:
    (SPOOL / "queue").rmdir()
    told = refused(machine.run("root", "pymail", "queue", "delete", "ALL"), 75)
    assert "cannot use /var/spool/pymail/queue: No such file" in told


# --- explain --------------------------------------------------------------------------------


def test_a_route_is_told_step_by_step_with_file_and_line(box: Box) -> None:
    box.aliases(f"# comment\nops: list\nlist: {box.user},\n  |/bin/true, nosuch, a@b.c\n")
    done = box.run("pymail", "explain", "ops")
    assert done.returncode == 67
    text = done.stdout.decode()
    aliases = box.config_file.parent / "aliases"
    assert f"ops is an alias ({aliases}, line 2)" in text
    assert f"list is an alias ({aliases}, line 3)" in text
    assert f"=> Maildir {box.home}/Maildir/, as {box.user}" in text
    assert "=> command /bin/true" in text
    assert '=> bounced 5.1.1 (unknown user: "nosuch")' in text
    assert "b.c is not in mydestination: default_transport = error:" in text
    assert text.count(f"list is an alias ({aliases}, line 3)") == 1


def test_explain_tells_what_flush_then_does(box: Box) -> None:
    box.config('recipient_delimiter = "+"\n')
    (box.home / ".forward+x").write_text(f"/{box.root}/there\n")
    done = box.run("pymail", "explain", f"{box.user}+x")
    assert f"=> mbox file /{box.root}/there" in done.stdout.decode()
    box.send(LETTER, f"{box.user}+x")
    box.flush()
    assert b"The text." in (box.root / "there").read_bytes()


def test_a_route_is_told_to_programs_as_json(box: Box) -> None:
    box.aliases(f"ops: {box.user}\n")
    (line,) = ok(box.run("pymail", "explain", "-j", "Ops <ops>"))
    route = json.loads(line)
    assert route["recipient"].startswith("ops@")
    assert route["status"] == "sent"
    (target,) = route["targets"]
    assert (target["kind"], target["user"]) == ("maildir", box.user)
    assert target["argument"] == f"{box.home}/Maildir/"


def test_addresses_are_taken_as_a_list_and_bad_ones_refused(box: Box) -> None:
    assert len(box.run("pymail", "explain", "-j", "a, b", "c").stdout.splitlines()) == 3
    assert "bad address syntax" in refused(box.run("pymail", "explain", "a@b@c"), 65)
    assert "empty address" in refused(box.run("pymail", "explain", ""), 65)
    assert "Missing argument" in refused(box.run("pymail", "explain"), 64)


def test_statuses_tell_what_becomes_of_the_mail(box: Box) -> None:
    box.aliases("wait: :defer: tomorrow\nfail: :fail: no\nhole: :blackhole:\n")
    assert box.run("pymail", "explain", "wait").returncode == 75
    assert box.run("pymail", "explain", "fail").returncode == 67
    assert box.run("pymail", "explain", "wait", "fail", "wait").returncode == 67
    assert box.run("pymail", "explain", "hole", box.user).returncode == 0


def test_control_characters_in_aliases_do_not_reach_the_terminal(box: Box) -> None:
    (box.config_file.parent / "aliases").write_text('a: "|echo \x1b[2J"\nb: :fail: \x1b[2J\n')
    done = box.run("pymail", "explain", "a", "b")
    assert b"\x1b" not in done.stdout + done.stderr


def test_sendmail_bv_answers_in_sendmails_words(box: Box) -> None:
    box.aliases(f"ops: {box.user}, |/bin/true\nhole: :blackhole:\nwait: :defer: tomorrow\n")
    done = box.run("sendmail", "-bv", "ops")
    assert done.returncode == 0
    lines = done.stdout.decode().splitlines()
    assert lines[0].endswith(f"... deliverable: mailer local, user {box.user}")
    assert "deliverable: mailer prog, user /bin/true" in lines[1]
    done = box.run("sendmail", "-bv", "nosuch")
    assert done.returncode == 67
    assert b"... User unknown" in done.stdout
    assert b"deliverable" in box.run("sendmail", "-bv", "hole").stdout
    assert box.run("sendmail", "-bv", "wait").returncode == 75
    assert b"not deliverable" in box.run("sendmail", "-bv", "x@example.org").stdout


def test_a_forward_that_is_not_obeyed_is_told(machine: Machine) -> None:
    machine.write("bob", ".forward", "carol\n", mode=0o666)
    text = machine.run("root", "pymail", "explain", "bob").stdout.decode()
    assert "note: /home/bob/.forward is not obeyed: anybody can write to it" in text
    assert "=> Maildir /home/bob/Maildir/, as bob" in text


def test_a_user_is_not_shown_the_forward_of_another(machine: Machine) -> None:
    machine.write("bob", ".forward", "secret@example.org\n", mode=0o600)
    done = machine.run("alice", "pymail", "explain", "bob")
    text = done.stdout.decode()
    assert "secret" not in text
    assert "note: bob's .forward is not in this" in text
    assert done.returncode == 0
    assert b"secret@example.org" in machine.run("bob", "pymail", "explain", "bob").stdout
    assert b"secret@example.org" in machine.run("root", "pymail", "explain", "bob").stdout


# --- the face ---------------------------------------------------------------------------------


def test_help_and_version(box: Box) -> None:
    assert ok(box.run("pymail", "--version"))[0].startswith("pymail ")
    assert ok(box.run("pymail", "-V"))[0].startswith("pymail ")
    for words in ([], ["config"], ["config", "set"], ["queue"], ["queue", "show"], ["explain"]):
        assert "Usage: pymail" in ok(box.run("pymail", *words, "--help"))[0]


def test_a_locale_without_the_character_is_no_mistake(box: Box) -> None:
    (box.config_file.parent / "aliases").write_text("a: jörg@example.org\n")
    done = box.run("pymail", "explain", "a", env={"LC_ALL": "C", "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 67
    assert b"j" in done.stdout


def test_closed_descriptors_are_no_mistake(box: Box) -> None:
    from harness import argv

    command = " ".join(map(str, argv("pymail", "config")))
    done = subprocess.run(["sh", "-c", f"{command} <&- >&- 2>&-"], env=box.env, check=False)
    assert done.returncode == 0


def test_an_unknown_command_is_refused_in_one_line(box: Box) -> None:
    assert "No such command" in refused(box.run("pymail", "frobnicate"), 64)
    assert "No such option" in refused(box.run("pymail", "check", "--frobnicate"), 64)


def test_without_a_command_it_is_told_which_there_are(box: Box) -> None:
    done = box.run("pymail")
    assert (done.returncode, done.stdout) == (64, b"")
    assert done.stderr.startswith(b"Usage: pymail ")
    assert b"\n  setup " in done.stderr


def test_a_reader_that_goes_away_is_no_error(box: Box) -> None:
    from harness import argv

    running = subprocess.Popen(
        argv("pymail", "config"), env=box.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert running.stdout is not None
    running.stdout.close()
    assert running.stderr is not None
    assert running.stderr.read() == b""
    running.stderr.close()
    assert running.wait(60) == 0


def test_the_spool_of_the_machine_is_the_systems(machine: Machine) -> None:
    assert Spool(str(SPOOL)).system
    assert ok(machine.run("root", "pymail", "queue", "delete", "ALL")) == []
