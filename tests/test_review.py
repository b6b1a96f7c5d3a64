"""What a hostile or unlucky user can do to others' mail: found by reading, kept as tests."""

import errno
import json
import os
import shlex
import subprocess
import time
from binascii import crc32
from contextlib import nullcontext
from pathlib import Path

import pytest
from harness import Box, argv, missing, needs
from machine import Machine

from pymail import child, config, pickup, userstatus, world
from pymail.entry import unpack
from pymail.envelope import Envelope, encode
from pymail.identity import Identity
from pymail.job import _seconds
from pymail.queuefile import MAGIC, TODO, make_id
from pymail.spool import Spool

LETTER = b"Subject: hello\n\nIt works.\n"


def everything(machine: Machine, user: str) -> bytes:
    """Return all that a user has got."""
    return b"".join(letter.data for letter in machine.mail(user))


def test_a_forward_cannot_have_root_read_a_secret(machine: Machine) -> None:
    """An include file that a .forward names is read with the rights of its owner."""
    secret = Path("/etc/secret.db")
    secret.write_text("root:$6$topsecret:1:2\nhunter2\n")
    secret.chmod(0o600)
    machine.write("alice", ".forward", ":include:/etc/secret.db\n")
    machine.send("bob", LETTER, "alice")
    machine.flush()
    secret.unlink()
    told = machine.run("bob", "mailq").stdout + everything(machine, "bob")
    assert b"topsecret" not in told
    assert b"hunter2" not in told


@pytest.mark.parametrize("path", ["//etc/passwd", "///etc//passwd"])
def test_a_forward_with_two_slashes_does_not_hang_the_run(machine: Machine, path: str) -> None:
    """A path may begin with two slashes."""
    machine.write("alice", ".forward", f":include:{path}\n")
    machine.send("alice", LETTER, "alice")
    machine.send("alice", LETTER, "bob")
    machine.run("root", "flush", timeout=20)
    assert len(machine.mail("bob")) == 1


def test_a_forward_that_multiplies_does_not_hang_the_run(machine: Machine) -> None:
    """An include file that includes itself many times is given up early."""
    path = machine.write("alice", "list", ":include:/home/alice/list\n" * 50)
    machine.write("alice", ".forward", f":include:{path}\n")
    machine.send("alice", LETTER, "alice")
    machine.send("alice", LETTER, "bob")
    machine.run("root", "flush", timeout=20)
    assert len(machine.mail("bob")) == 1


# Queue files that no sendmail has written


def forge(
    recipients: list[str],
    *,
    sender: str | None = None,
    body: bytes = LETTER,
    tail: bytes = b"",
    change: tuple[bytes, bytes] = (b"", b""),
) -> str:
    """Put a queue file of alice's with a right checksum into her drop directory; return its id."""
    envelope = encode(Envelope(1001, recipients, sender=sender)).replace(*change)
    now = time.time_ns() // 1000
    before = b"%b%06x %08x %012x " % (MAGIC, len(recipients), len(envelope), len(body))
    after = b" %014x   \n" % now
    crc = crc32(after, crc32(before, crc32(body, crc32(envelope))))
    marks = b"-00" + TODO * len(recipients) + b"\n"
    drop = Path("/var/spool/pymail/drop/u1001")
    drop.mkdir(mode=0o700, exist_ok=True)
    os.chown(drop, 1001, 1001)
    path = drop / make_id(now, os.urandom(5), 1001)
    path.write_bytes(before + b"%08x" % crc + after + marks + envelope + body + tail)
    os.chown(path, 1001, 1001)
    return path.name


def harmless(machine: Machine, cpu: int = 120, memory: int = 250) -> None:
    """Flush, and see that somebody else's letter came; `memory` in MiB."""
    machine.send("carol", LETTER, "bob")
    limit = f"--as={memory << 20}"
    done = machine.run("root", "prlimit", limit, f"--cpu={cpu}", "flush", cwd="/", timeout=280)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(machine.mail("bob")) == 1
    listed = machine.run("root", "mailq")
    assert (listed.returncode, listed.stderr) == (0, b"")


DIGITS = b"9" * 5000


def test_a_forged_history_stops_nobody(machine: Machine) -> None:
    """A number that int() refuses is no number."""
    forge(["nosuch"], tail=DIGITS + b"\t0\tsent\t2.0.0\tx\ty\n0\t" + DIGITS + b"\tsent\t\t\t\n")
    harmless(machine)


def test_a_forged_uid_stops_nobody(machine: Machine) -> None:
    """The same in the envelope."""
    forge(["nosuch"], change=(b"1001\0", DIGITS + b"\0"))
    harmless(machine)


def test_a_sender_of_two_lines_stops_nobody_and_forges_no_header(machine: Machine) -> None:
    """The report on such a letter cannot be queued, and its Return-Path would be two fields."""
    forge(["nosuch", "alice"], sender="aXb", change=(b"aXb", b"a\nX-Forged: b"))
    harmless(machine)
    assert b"X-Forged" not in everything(machine, "alice")


def test_a_sender_too_long_for_a_report_stops_nobody(machine: Machine) -> None:
    """The envelope of the report would be larger than any envelope may be."""
    forge(["nosuch"], sender="a" * ((1 << 22) - 40))
    harmless(machine, memory=400)


def test_a_size_below_zero_is_damage(machine: Machine) -> None:
    """The message would end before it begins."""
    name = forge(["alice"], body=b"", change=(b"", b""))
    path = Path("/var/spool/pymail/drop/u1001", name)
    data = path.read_bytes()
    path.write_bytes(data[:24] + b"-%011x" % 5 + data[36:])
    harmless(machine)
    assert f"{name}.damaged" in machine.queue()


def test_a_header_of_half_a_million_folds_is_read_at_once(machine: Machine) -> None:
    """Joining them one by one takes ten seconds."""
    forge(["alice"], body=b"X: y\n" + b" \n" * 500000 + b"\nbody\n")
    harmless(machine, cpu=20)
    (letter,) = machine.mail("alice")
    assert letter.body == b"body\n"


def test_a_long_header_for_many_files_is_in_memory_once(machine: Machine) -> None:
    """Each of 900 targets once had a copy of the header."""
    files = "".join(f"/home/alice/f{number}\n" for number in range(900))
    machine.write("alice", ".forward", files)
    forge(["alice"], body=b"X: " + b"y" * 900000 + b"\n\nbody\n")
    harmless(machine)
    assert len(list(Path("/home/alice").glob("f*"))) == 900


def test_many_recipients_of_many_members_are_done_in_parts(machine: Machine) -> None:
    """Two thousand times oneself, and each of them nine hundred others."""
    machine.write("alice", ".forward", "".join(f"x{number}@a.example\n" for number in range(900)))
    forge(["alice"] * 2000)
    harmless(machine)


def test_hostile_include_files_are_read_quickly(machine: Machine) -> None:
    """Brackets that never close, in as many files as a .forward can name."""
    lines = []
    for number in range(1000):
        machine.write("alice", f"list{number}", "a " + "<" * 60000 + "\n" if number < 20 else "x\n")
        lines.append(f":include:/home/alice/list{number}\n")
    machine.write("alice", ".forward", "".join(lines))
    machine.send("alice", LETTER, "alice")
    harmless(machine, cpu=60)


def test_a_large_include_file_of_a_user_is_not_read(machine: Machine) -> None:
    """What a .forward names may not be larger than a .forward."""
    machine.write("alice", "list", "a " + "<" * 1000000 + "\n")
    machine.write("alice", ".forward", ":include:/home/alice/list\n")
    machine.send("alice", LETTER, "alice")
    harmless(machine, cpu=30)
    assert b"larger than 65536 bytes" in machine.run("root", "mailq").stdout


def test_a_user_who_stops_each_agent_is_waited_for_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every extension has a .forward of its own to ask for, and each took twenty seconds."""
    asked = []

    def stopped(user: Identity, *_: object) -> list[str]:
        asked.append(user.name)
        raise OSError(errno.ETIMEDOUT, "no answer")

    monkeypatch.setattr(child, "ask", stopped)
    here = world.open_machine(config.here(str(machine.spool)), str(machine.spool))
    for name in ("alice", "alice", "bob", "alice"):
        user = here.user(name)
        assert user is not None
        assert "no answer" in here.forward(user, f"{len(asked)}").trouble
    assert asked == ["alice", "bob"]


def test_what_users_are_told_of_the_queue_is_bounded(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred messages with envelopes of four megabytes were in memory at once."""
    names = [forge(["x" * 1000]) for _ in range(6)]
    spool = Spool(str(machine.spool))
    pickup.adopt(spool, pytest.fail)
    monkeypatch.setattr(userstatus, "LIMIT", 3000)
    userstatus.tell(spool)
    told = Path("/var/spool/pymail/drop/u1001/.status").read_bytes()
    assert [entry.qid for entry in unpack(told)] == names[:3]


@pytest.mark.parametrize("held", [False, True])
def test_a_history_that_a_user_has_written_is_cut_off(machine: Machine, *, held: bool) -> None:
    """It would fill the memory of the run; whether the file is copied makes no difference."""
    name = forge(["alice"], tail=b"1\t0\tsent\t2.0.0\tx\ty\n")
    path = Path("/var/spool/pymail/drop/u1001", name)
    size = path.stat().st_size
    with path.open("r+b") if held else nullcontext():
        assert pickup.adopt(Spool(str(machine.spool)), pytest.fail) == [name]
    taken = machine.spool / "queue" / name
    assert taken.read_bytes().endswith(LETTER)
    assert taken.stat().st_size == size - len(b"1\t0\tsent\t2.0.0\tx\ty\n")


def test_damaged_files_count_among_what_a_user_may_have_queued(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are never deleted, so they must not come without end."""
    monkeypatch.setattr(pickup, "MOST_QUEUED", 2)
    for _ in range(2):
        forge(["alice"], change=(b"1001\0", b"10x1\0"))
    machine.flush()
    forge(["alice"])
    warnings: list[str] = []
    assert pickup.adopt(Spool(str(machine.spool)), warnings.append) == []
    assert warnings == ["cannot take more mail of uid 1001: 2 are queued"]


# Smaller things


def test_a_relative_spool_is_made_where_we_are(box: Box) -> None:
    """The search for what is missing of its path ended at "/", which is no part of it."""
    done = box.run("sendmail", "alice", stdin=LETTER, env={"PYMAIL_SPOOL": "deep/spool"}, timeout=9)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(list(box.home.glob("deep/spool/queue/*"))) == 1


def test_an_extension_longer_than_a_file_name_is_delivered(box: Box) -> None:
    """There can be no .forward of that name, so it is no trouble either."""
    box.config('recipient_delimiter = "+"\n')
    box.send(LETTER, f"{box.user}+{'x' * 300}")
    box.flush()
    assert (len(box.maildir()), box.queue()) == (1, [])


def test_a_delay_is_logged_without_an_exponent(box: Box) -> None:
    """Postfix writes delay=1234, and so do all who read its log expect it."""
    assert list(map(_seconds, (0, 0.001, 0.0449, 0.35, 3.21, 9.99, 123.4, 432000.0))) == [
        *("0", "0", "0.04", "0.35", "3.2", "10", "123", "432000")
    ]


def test_a_run_ends_in_its_time_though_commands_are_slow(box: Box) -> None:
    """What waits for a slow command waits for the next run, not for the command."""
    box.config('run_time_limit = "2s"\nmailbox_command = "sleep 1"\n')
    for _ in range(40):
        box.send(LETTER)
    begun = time.monotonic()
    box.flush()
    assert time.monotonic() - begun < 10
    assert 20 < len(box.queue()) < 40
    assert b"run_time_limit" in box.run("mailq").stdout


@pytest.fixture(scope="session")
def poor(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment whose character set has not all letters."""
    needs("localedef")
    place = tmp_path_factory.mktemp("locales")
    made = ["localedef", "-i", "ru_RU", "-f", "KOI8-R", str(place / "ru_RU.KOI8-R")]
    if subprocess.run(made, capture_output=True, check=False).returncode > 1:
        missing("the sources of the locale ru_RU.KOI8-R")
    return {"LOCPATH": str(place), "LC_ALL": "ru_RU.KOI8-R"}


def test_letters_that_a_locale_has_not_stop_nothing(box: Box, poor: dict[str, str]) -> None:
    """A recipient of one user's choice ended root's mailq, and a run in the middle."""
    box.send(LETTER, "日本@example.org", box.user)
    shown = box.run("mailq", env=poor)
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert b"??@example.org" in shown.stdout
    listed = json.loads(box.run("mailq", "-j", env=poor).stdout)
    assert listed["recipients"][0]["address"] == "日本@example.org"
    verified = box.run("sendmail", "-bv", "日本@example.org", env=poor)
    assert (verified.returncode, verified.stderr) == (67, b"")
    done = box.run("flush", "-v", env=poor)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (len(box.maildir()), box.queue()) == (2, [])


def test_a_run_goes_on_when_nobody_listens_any_more(box: Box) -> None:
    """`flush -v | head -1` must not break off deliveries: a command would run twice."""
    for _ in range(3):
        box.send(LETTER, box.user, "nosuch")
    for stdout in ("| true", "> /dev/full"):
        box.run("sh", "-c", f"{shlex.join(map(str, argv('flush', '-v', '-a')))} {stdout}")
    assert box.queue() == []


def test_check_finds_no_fault_in_a_spool_that_sendmail_has_made(box: Box) -> None:
    """It asked to open the directory to everybody."""
    box.send(LETTER)
    box.flush()
    assert b"chmod" not in box.run("pymail", "check").stdout


def test_a_command_without_its_subcommand_shows_them_in_lines(box: Box) -> None:
    """The lines of the help were one line with question marks."""
    done = box.run("pymail", "queue")
    assert done.returncode == 64
    assert b"\n  hold  " in done.stderr


@pytest.mark.parametrize("change", ['myorigin = "other.example"\n', 'home_mailbox = ".maildir/"\n'])
def test_nobody_gets_a_second_copy_after_a_change_of_names(machine: Machine, change: str) -> None:
    """One member of an alias waits; the host is called otherwise when it is tried again."""
    base = 'mydestination = ["$myhostname", "example.net", "other.example"]\n'
    machine.config(base)
    machine.aliases("team: alice, bob\n")
    home = machine.home("bob")
    home.rename("/home/away")
    machine.send("carol", LETTER, "team")
    machine.flush()
    assert len(machine.mail("alice")) == 1
    Path("/home/away").rename(home)
    machine.config(base + change)
    machine.flush("-a")
    assert machine.queue() == []
    copies = [*machine.mail("alice"), *machine.mail("alice", ".maildir")]
    assert len(copies) == 1
    assert len([*machine.mail("bob"), *machine.mail("bob", ".maildir")]) == 1
