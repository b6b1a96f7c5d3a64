"""Local delivery on a whole machine: who gets what, as whom, and what Postfix did with the same.

The corpus has, for each alias and .forward, what Postfix's local(8) logged and left on the disk.
Here the same files are put in place, a letter is sent by the real sendmail, and the real flush
has to come to the same recipients, statuses, words, mailboxes and files.
"""

import itertools
import json
import os
import re
import stat
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from harness import PATH, Letter, argv, corpus, letters, measured, needs, needs_root
from machine import USERS, Machine
from peers import dovecot

from pymail import config as configuration
from pymail import world
from pymail.identity import Identity, lookup

LOCAL = """
myhostname = "box.example.net"
recipient_delimiter = "+"
default_transport = "retry:4.3.2 deferred transport"
"""
LETTER = b"Subject: one\n\nbody\n"
SAID = re.compile(
    r"to=<(?P<to>.*?)>,(?: orig_to=<.*?>,)?(?: relay=.*?, delay=.*?, delays=.*?,)?"
    r" dsn=(?P<dsn>[\d.]+), status=(?P<status>\w+) \((?P<words>.*?)\)(?=\||$)"
)


# The corpus


@dataclass(frozen=True)
class Seen:
    """What became of a letter: outcomes, letters a user, files with mode and owner."""

    outcomes: Counter[tuple[str, str, str, str]]
    letters: dict[str, int]
    files: dict[str, str]


def cases(name: str) -> list[dict[str, Any]]:
    lines = (corpus() / name).read_text().splitlines()
    return [json.loads(line) for line in lines if line.strip()]


ALIASES, *ALIAS_CASES = cases("aliases.jsonl")
FORWARD_CASES = cases("forward.jsonl")
EXIM = re.compile(r":(fail|defer|blackhole):")


def postfix(case: dict[str, Any]) -> str:
    """Return what Postfix did in a case, "" where nobody looked."""
    seen = case.get("observed") or {}
    return next((text for name, text in seen.items() if re.match(r"postfix.*local", name)), "")


def expected(text: str) -> Seen:
    """Read `1 alice, 2 bob, to=<...>, dsn=..., status=... (words)|to=<...|  ls -l of files`."""
    head, *said = re.split(r"(?=\bto=<)", text, maxsplit=1)
    letters = {user: int(count) for count, user in re.findall(r"(\d+) (\w+), ", head)}
    events, _, rest = "".join(said).rpartition("|")
    files = {}
    listed = r"(?:([-bcdlps][-rwxsStT]{9})\S* \d+ (\w+) \w+ .*? )?(/\S.*?)(?=\s{2,}|$)"
    for mode, owner, path in re.findall(listed, rest):
        files[path.strip()] = f"{mode} {owner}".strip()
    return Seen(outcomes(events), letters, files)


def outcomes(text: str) -> Counter[tuple[str, str, str, str]]:
    """Count what is said of last hops; an expansion on the way is no outcome."""
    found: Counter[tuple[str, str, str, str]] = Counter()
    for said in SAID.finditer(text):
        if not said["words"].startswith("forwarded as"):
            # Whether an address that had to be quoted is shown so is a matter of taste.
            to = re.sub(r'^"(.*)"@', r"\1@", said["to"]).lower()
            found[(to, said["dsn"], said["status"], said["words"])] += 1
    return found


def run(machine: Machine, recipient: str, sender: str) -> Seen:
    """Send a letter, flush, and look."""
    machine.send("erin", LETTER, "-f", sender, "--", recipient)
    said = machine.flush("-v").stdout.decode()
    letters = {login: len(machine.mail(login)) for login, _, _ in USERS if machine.mail(login)}
    return Seen(outcomes("|".join(said.splitlines())), letters, {})


def agree(machine: Machine, got: Seen, want: Seen) -> None:
    assert got.letters == want.letters
    assert got.outcomes == want.outcomes
    for path, about in want.files.items():
        status = os.stat(path)
        if about:
            mode, owner = about.split()
            assert stat.filemode(status.st_mode) == mode, path
            assert Path(path).owner() == owner, path


def clear(want: Seen) -> None:
    for path in want.files:
        if path.startswith("/tmp/"):
            Path(path).unlink(missing_ok=True)


@pytest.mark.parametrize("case", ALIAS_CASES, ids=lambda case: case["id"])
def test_an_alias_leads_where_postfix_led_it(machine, case):
    entry = case.get("entry") or ""
    want = expected(postfix(case))
    machine.config(LOCAL)
    Path("/etc/aliases").write_text(ALIASES["aliases_text"])
    for path, text in ALIASES["include_file"].items():
        Path(path).write_text(text)
    clear(want)
    got = run(machine, case["rcpt"], "bob@example.org")
    word = EXIM.search(entry)
    if word:  # Postfix takes these words of Exim's for users; ours are as Exim has them
        status = {"fail": "bounced", "defer": "deferred", "blackhole": "sent"}[word[1]]
        mine = [s for (to, _, s, _) in got.outcomes if to.startswith(case["rcpt"])]
        assert (got.letters, mine) == ({}, [status])
    elif postfix(case):
        agree(machine, got, want)
    else:  # nobody knows better than that it ends and loses nothing
        assert got.outcomes


@pytest.mark.parametrize("case", FORWARD_CASES, ids=lambda case: case["id"])
def test_a_forward_file_does_what_it_did_under_postfix(machine, case):
    want = expected(postfix(case))
    user = case["rcpt"].partition("+")[0]
    machine.config(LOCAL)
    clear(want)
    name = case.get("file", "~/.forward").removeprefix("~/")
    text = case["forward"]
    if text is not None:
        machine.write(user, name, text, int(case.get("mode") or "644", 8))
    for path, content in (case.get("include_file") or {}).items():
        Path(path).write_text(content)
    got = run(machine, case["rcpt"], case.get("envelope_sender") or "bob@example.org")
    agree(machine, got, want)


# Whose everything is


def only(letters: list[Letter]) -> Letter:
    (letter,) = letters
    return letter


def test_a_letter_belongs_to_its_reader_alone(machine):
    machine.send("alice", LETTER, "bob")
    machine.flush()
    letter = only(machine.mail("bob"))
    assert (letter.uid, letter.gid, letter.mode) == (1002, 1002, 0o600)
    for place in (machine.home("bob") / "Maildir", *(machine.home("bob") / "Maildir").iterdir()):
        about = place.stat()
        assert (about.st_uid, about.st_gid, stat.S_IMODE(about.st_mode)) == (1002, 1002, 0o700)


def test_it_says_whose_it_was_and_for_whom(machine):
    machine.aliases("root: alice\nboss: bob\n")
    machine.send("alice", b"To: boss\nBcc: carol\nSubject: s\n\nFrom here\n", "-t")
    machine.flush()
    letter = only(machine.mail("bob"))
    assert letter.head.splitlines()[:3] == [
        b"Return-Path: <alice@example.net>",
        b"X-Original-To: boss@example.net",
        b"Delivered-To: bob@example.net",
    ]
    assert letter.values("From") == ["Alice Liddell <alice@example.net>"]
    assert letter.values("To") == ["boss@example.net"]
    assert letter.values("Bcc") == []
    assert letter.body == b"From here\n"
    assert only(machine.mail("carol")).values("X-Original-To") == ["carol@example.net"]


def test_nothing_of_roots_lies_in_a_home(machine):
    machine.write("carol", ".forward", '\\carol, ~/mbox, ~/other/\n"|cat > out"\n')
    machine.send("root", LETTER, "carol", "bob")
    machine.flush()
    found = [p for user in ("bob", "carol") for p in machine.home(user).rglob("*")]
    assert len(found) > 10
    assert {p.stat().st_uid for p in found} == {1002, 1003}


def test_mail_for_root_goes_to_its_alias(machine):
    machine.send("bob", LETTER, "root")
    machine.send("bob", LETTER, "postmaster")
    machine.flush()
    assert len(machine.mail("alice")) == 2
    assert not Path("/root/Maildir").exists()


def test_without_an_alias_root_user_gets_it_else_it_is_kept_and_shown(machine):
    machine.aliases("nobody-needs-this: bob\n")
    machine.send("bob", LETTER, "root")
    machine.flush()
    assert b"set an alias for root, or root_user" in machine.run("root", "mailq").stdout
    machine.config('root_user = "carol"\n')
    machine.flush("-a")
    assert len(machine.mail("carol")) == 1
    assert not Path("/root/Maildir").exists()


def test_a_command_of_an_alias_runs_as_nobody_with_nothing_of_roots(machine, tmp_path):
    out = Path("/tmp/alias-out")
    out.unlink(missing_ok=True)
    machine.aliases(f'x: "|(id -u; id -G; pwd; umask; env; ls /proc/self/fd) > {out}"\n')
    machine.send("bob", LETTER, "x+ext")
    machine.config(LOCAL)
    machine.flush()
    uid, groups, cwd, umask, *rest = out.read_text().splitlines()
    assert (uid, groups, cwd, umask) == ("65534", "65534", "/", "0077")
    assert sorted(line for line in rest if line.isdigit())[:3] == ["0", "1", "2"]
    env = dict(line.split("=", 1) for line in rest if "=" in line)
    for name in ("PWD", "SHLVL", "_", "OLDPWD"):
        env.pop(name, None)  # the shell's own
    assert env == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C",
        "HOME": "/nonexistent",
        "SHELL": "/usr/sbin/nologin",
        "USER": "nobody",
        "LOGNAME": "nobody",
        "SENDER": "bob@example.net",
        "RECIPIENT": "x+ext@example.net",
        "ORIGINAL_RECIPIENT": "x+ext@example.net",
        "LOCAL": "x+ext",
        "DOMAIN": "example.net",
        "EXTENSION": "ext",
    }
    assert (out.stat().st_uid, stat.S_IMODE(out.stat().st_mode)) == (65534, 0o600)


def test_a_file_of_an_alias_is_written_as_nobody(machine):
    place = Path("/var/log/lists")
    place.mkdir(exist_ok=True)
    os.chown(place, 65534, 65534)
    machine.aliases(f"x: {place}/box, {place}/dir/, /root/box\n")
    for _ in range(2):
        machine.send("bob", b"Subject: s\n\nFrom here\n", "x")
    machine.flush()
    box = place / "box"
    data = box.read_bytes()
    assert data.count(b"\nFrom bob@example.net  ") == 1 and data.startswith(
        b"From bob@example.net  "
    )
    assert data.count(b"\n>From here\n") == 2
    assert (box.stat().st_uid, stat.S_IMODE(box.stat().st_mode)) == (65534, 0o600)
    assert {p.stat().st_uid for p in (place / "dir" / "new").iterdir()} == {65534}
    assert not Path("/root/box").exists()


@pytest.mark.parametrize("text", ['"|cat > /tmp/no"', "/tmp/no"])
def test_commands_and_files_may_be_forbidden(machine, text):
    Path("/tmp/no").unlink(missing_ok=True)
    machine.config("allow_mail_to_commands = []\nallow_mail_to_files = []\n")
    machine.aliases(f"root: alice\nx: {text}\n")
    machine.write("carol", ".forward", f"{text}\n")
    machine.send("bob", LETTER, "x", "carol")
    out = machine.flush("-v").stdout
    assert out.count(b"dsn=5.7.1, status=bounced (mail to ") == 2
    assert not Path("/tmp/no").exists()


# Include files


def included(machine: Machine, text: str, mode: int = 0o644, owner: int = 0) -> str:
    path = Path("/etc/list")
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(mode)
    os.chown(path, owner, owner)
    Path("/etc/aliases").write_text("root: alice\nlist: :include:/etc/list\n")
    machine.config('allow_mail_to_commands = ["alias", "forward", "include"]\n')
    machine.send("bob", LETTER, "list")
    return machine.flush("-v").stdout.decode()


def test_an_include_file_names_members_one_or_more_a_line(machine):
    included(machine, "# the list\nalice\n\n  bob, carol (C)\nDave <dave>\n")
    assert [len(machine.mail(u)) for u in ("alice", "bob", "carol", "dave")] == [1, 1, 1, 1]


def test_one_that_others_can_write_to_is_not_obeyed(machine):
    out = included(machine, "alice\n", mode=0o666)
    assert "status=deferred" in out and machine.mail("alice") == []


def test_a_list_of_a_user_may_name_people_but_no_commands(machine):
    Path("/tmp/no").unlink(missing_ok=True)
    included(machine, 'alice\n"|cat > /tmp/no"\n', owner=1003)
    assert len(machine.mail("alice")) == 1
    assert not Path("/tmp/no").exists()


def test_a_users_forward_cannot_read_what_the_user_cannot(machine):
    Path("/etc/secret-list").write_text("secret@example.org\n")
    Path("/etc/secret-list").chmod(0o600)
    machine.config(LOCAL)
    machine.write("carol", ".forward", ":include:/etc/secret-list\n")
    machine.send("bob", LETTER, "carol")
    out = machine.flush("-v").stdout
    assert b"secret@" not in out and b"Permission denied" in out


@pytest.mark.parametrize(("privs", "becomes"), [("nobody", "sent"), ("no-such-user", "deferred")])
def test_a_list_of_a_user_who_is_gone_is_read_as_nobody(machine, privs, becomes):
    place = Path("/var/lists")
    place.mkdir(exist_ok=True)
    place.chmod(0o755)
    os.chown(place, 4242, 4242)
    (place / "list").write_text("alice\n")
    os.chown(place / "list", 4242, 4242)
    machine.aliases("root: alice\nlist: :include:/var/lists/list\n")
    machine.config(f'default_privs = "{privs}"\n')
    machine.send("bob", LETTER, "list")
    assert f"status={becomes} (" in machine.flush("-v").stdout.decode()
    assert len(machine.mail("alice")) == (becomes == "sent")


def test_a_list_that_is_too_large_is_not_read(machine):
    out = included(machine, "# x\n" * 300_000 + "alice\n")
    assert "larger than" in out and machine.mail("alice") == []


# Lists


def test_a_list_with_an_owner_has_that_sender(machine):
    machine.aliases("root: alice\nlist: bob, nobody-of-that-name\nowner-list: carol\n")
    machine.send("dave", LETTER, "list")
    machine.flush()
    assert only(machine.mail("bob")).values("Return-Path") == ["<owner-list@example.net>"]
    assert only(machine.mail("carol")).values("Subject") == ["Undelivered Mail Returned to Sender"]
    assert machine.mail("dave") == []


def test_a_member_twice_gets_it_once(machine):
    machine.aliases("root: alice\nlist: bob, BOB, two\ntwo: bob\n")
    machine.send("dave", LETTER, "list", "two", "bob")
    machine.flush()
    assert len(machine.mail("bob")) == 1


def test_a_bomb_of_aliases_is_bounced_whole(machine):
    members = ", ".join(f"m{n}@example.org" for n in range(1001))
    machine.aliases(f"root: alice\nbomb: {members}\nlist: {members.partition(', ')[2]}\n")
    machine.config(LOCAL)
    machine.send("bob", LETTER, "bomb")
    out = machine.flush("-v").stdout
    assert b"dsn=5.4.6, status=bounced (bomb@example.net expands to more than 1000" in out
    assert len(machine.mail("bob")) == 1
    machine.send("bob", LETTER, "list")
    assert machine.flush("-v").stdout.count(b"status=deferred") == 1000


# Extensions, loops


def test_an_extension_is_the_users_and_leads_to_its_forward(machine):
    machine.config(LOCAL)
    machine.write("alice", ".forward+work", "bob\n")
    machine.write("alice", ".forward", "carol\n")
    for recipient in ("alice+work", "alice+other", "alice"):
        machine.send("dave", LETTER, recipient)
    machine.flush()
    assert (len(machine.mail("bob")), len(machine.mail("carol"))) == (1, 2)


def test_a_user_with_an_extension_gets_the_mail_and_the_whole_address(machine):
    machine.config(LOCAL)
    machine.send("dave", LETTER, "alice+list")
    machine.flush()
    assert only(machine.mail("alice")).values("Delivered-To") == ["alice+list@example.net"]


def test_a_letter_that_has_been_here_is_returned(machine):
    machine.write("alice", ".forward", '"|/usr/sbin/sendmail -i -f $SENDER alice"\n')
    machine.send("bob", LETTER, "alice")
    for _ in range(5):
        machine.flush()
    report = only(machine.mail("bob"))
    assert b"mail forwarding loop for alice@example.net" in report.data
    assert machine.queue() == []


def test_a_letter_whose_report_would_go_round_as_well_is_kept(machine):
    machine.write("alice", ".forward", '"|/usr/sbin/sendmail -i alice"\n')
    machine.aliases("root: alice\n")
    machine.send("bob", LETTER, "alice")
    out = machine.flush("-v").stdout
    (qid,) = machine.queue()
    assert b"mail forwarding loop for alice@example.net, its sender; kept in the queue" in out
    assert qid.encode() in machine.run("root", "mailq").stdout
    machine.flush()
    assert machine.queue() == [qid]


def test_another_place_of_that_name_in_it_is_no_loop(machine):
    machine.send("bob", b"Delivered-To: alice@example.org\nDelivered-To: xalice\n\n", "alice")
    machine.flush()
    assert len(machine.mail("alice")) == 1


@pytest.mark.parametrize(("hops", "arrives"), [(50, True), (51, False)])
def test_a_letter_that_has_come_through_too_many_hands_is_returned(machine, hops, arrives):
    machine.send("bob", b"Received: by x\n" * hops + LETTER, "alice")
    machine.flush()
    assert len(machine.mail("alice")) == arrives
    if not arrives:
        assert b"too many hops" in only(machine.mail("bob")).data


def test_an_extension_that_no_file_can_have_is_the_users_all_the_same(machine):
    machine.config(LOCAL)
    machine.write("alice", ".forward", "bob\n")
    machine.send("dave", LETTER, f"alice+{'x' * 300}")
    machine.flush()
    assert len(machine.mail("bob")) == 1


def test_what_is_remembered_of_names_is_bounded(machine):
    here = world.open_machine(configuration.here(str(machine.spool)), str(machine.spool))
    for n in range(2 * world.MOST_REMEMBERED):
        assert here.alias(f"no-such-{n}") is None
    assert len(here._entries) <= world.MOST_REMEMBERED


def test_a_forward_that_fails_while_it_is_read_keeps_the_mail(machine, monkeypatch):
    alice = lookup("alice")
    assert alice is not None
    machine.write("alice", ".forward", "bob\n")

    class Broken:
        def __init__(self, *_: object) -> None:
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def read(self, _: int) -> bytes:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(world, "open", Broken, raising=False)
    found = world.read_forward(alice, ["/home/alice/.forward"])
    assert found[2] == "cannot read /home/alice/.forward: Input/output error"


# Homes


def test_a_home_that_is_missing_keeps_the_mail_until_it_is_there(machine):
    home = machine.home("bob")
    home.rename("/home/bob.away")
    machine.send("alice", LETTER, "bob", "carol")
    machine.flush()
    assert len(machine.mail("carol")) == 1
    assert b"/home/bob" in machine.run("root", "mailq").stdout
    assert not home.exists()
    Path("/home/bob.away").rename(home)
    machine.flush("-a")
    assert len(machine.mail("bob")) == 1
    assert len(machine.mail("carol")) == 1


OBEYED, PASSED_OVER = True, False


@pytest.mark.parametrize(
    ("owner", "mode", "verdict"),
    [
        (1001, 0o600, OBEYED),
        (1001, 0o644, OBEYED),
        (1001, 0o664, OBEYED),  # alice's own group has no other member
        (1001, 0o646, PASSED_OVER),
        (1001, 0o666, PASSED_OVER),
        (0, 0o644, OBEYED),
        (1002, 0o644, PASSED_OVER),
    ],
)
def test_a_forward_is_obeyed_only_where_nobody_else_wrote_it(machine, owner, mode, verdict):
    path = machine.write("alice", ".forward", "bob\n", mode)
    os.chown(path, owner, 1001)
    machine.send("carol", LETTER, "alice")
    machine.flush()
    assert (len(machine.mail("bob")), len(machine.mail("alice"))) == (verdict, not verdict)


@pytest.mark.parametrize(
    ("mode", "verdict"), [(0o755, OBEYED), (0o775, OBEYED), (0o777, PASSED_OVER)]
)
def test_nor_in_a_home_that_others_can_write_to(machine, mode, verdict):
    machine.write("alice", ".forward", "bob\n")
    machine.home("alice").chmod(mode)
    machine.send("carol", LETTER, "alice")
    machine.flush()
    assert (len(machine.mail("bob")), len(machine.mail("alice"))) == (verdict, not verdict)


def test_a_forward_that_is_a_fifo_a_device_or_too_large_hangs_nothing(machine):
    home = machine.home("alice")
    os.mkfifo(home / ".forward")
    machine.write("bob", ".forward", "carol\n" + "# long\n" * 10_000)
    (machine.home("dave") / ".forward").symlink_to("/dev/zero")
    machine.send("carol", LETTER, "alice", "bob", "dave")
    machine.flush()
    assert [len(machine.mail(u)) for u in ("alice", "bob", "dave", "carol")] == [1, 1, 1, 0]


def test_a_forward_that_cannot_be_read_keeps_the_mail(machine):
    machine.write("alice", ".forward", "bob\n", 0o000)
    machine.send("carol", LETTER, "alice")
    machine.flush()
    assert machine.queue() != []
    (machine.home("alice") / ".forward").chmod(0o644)
    machine.flush("-a")
    assert len(machine.mail("bob")) == 1


def test_a_maildir_that_is_a_link_leads_only_where_its_user_may_write(machine):
    (machine.home("alice") / "Maildir").symlink_to("/root/Maildir")
    (machine.home("bob") / "Maildir").symlink_to("/home/carol")
    machine.home("carol").chmod(0o755)
    machine.send("dave", LETTER, "alice", "bob", "erin")
    machine.flush()
    assert not Path("/root/Maildir").exists()
    assert not (machine.home("carol") / "new").exists()
    assert len(machine.mail("erin")) == 1
    assert machine.queue() != []


def test_a_user_without_a_name_has_mail_too(tmp_path):
    """A container may run as any number."""
    needs_root()
    tmp_path.chmod(0o777)
    for above in tmp_path.parents:
        if above.stat().st_mode & 0o001 == 0:
            above.chmod(above.stat().st_mode | 0o001)
    env = {"PATH": PATH, "HOME": str(tmp_path), "PYMAIL_SPOOL": str(tmp_path / "spool")}
    env |= {"PYMAIL_CONFIG": str(tmp_path / "config.toml")}
    run = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
    for program in (["sendmail", "uid54321"], ["flush"]):
        done = subprocess.run(
            [*run, *argv(*program)],
            input=LETTER,
            env=measured(env),
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    letter = only(letters(tmp_path / "Maildir"))
    assert (letter.uid, letter.gid) == (54321, 54321)
    assert letter.values("From")[0].startswith("uid54321@")


# Mailboxes


@pytest.mark.parametrize("name", ["Maildir/", ".maildir/", "Mail/inbox/"])
def test_home_mailbox_may_be_any_maildir(machine, name):
    machine.config(f'home_mailbox = "{name}"\n')
    machine.send("alice", LETTER, "bob")
    machine.flush()
    assert len(machine.mail("bob", name)) == 1


def test_a_forward_may_name_a_maildir_in_a_directory_that_is_missing(machine):
    machine.write("bob", ".forward", "~/Mail/lists/in/\n")
    machine.send("alice", LETTER, "bob")
    machine.flush()
    assert len(machine.mail("bob", "Mail/lists/in")) == 1
    for made in ("Mail", "Mail/lists"):
        about = (machine.home("bob") / made).stat()
        assert (about.st_uid, stat.S_IMODE(about.st_mode)) == (1002, 0o700)


@pytest.mark.parametrize("name", ["Mailbox", "mbox"])
def test_home_mailbox_may_be_an_mbox(machine, name):
    machine.config(f'home_mailbox = "{name}"\n')
    for _ in range(2):
        machine.send("alice", LETTER, "bob")
    machine.flush()
    path = machine.home("bob") / name
    assert path.read_bytes().count(b"From alice@example.net  ") == 2
    assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (1002, 0o600)


def test_procmail_as_mailbox_command_files_by_the_users_own_rules(machine):
    needs("procmail")
    machine.config(LOCAL + 'mailbox_command = "/usr/bin/procmail -a \\"$EXTENSION\\""\n')
    machine.write(
        "bob",
        ".procmailrc",
        "MAILDIR=$HOME\nDEFAULT=$HOME/Maildir/\n:0\n* ^Subject: filed\nlists/\n"
        "EXT=$1\n:0 c\n* ^Subject: note\n| echo $EXT $LOGNAME $HOME > said\n",
    )
    for subject in ("filed", "note", "other"):
        machine.send("alice", f"Subject: {subject}\n\nbody\n".encode(), "bob+ext")
    machine.flush()
    assert only(machine.mail("bob", "lists")).values("Subject") == ["filed"]
    assert len(machine.mail("bob")) == 2
    assert {m.uid for m in machine.mail("bob")} == {1002}
    assert (machine.home("bob") / "said").read_text() == "ext bob /home/bob\n"


def test_maildrop_as_mailbox_command_files_and_refuses(machine):
    needs("maildrop", "maildirmake.maildrop")
    machine.config('mailbox_command = "/usr/bin/maildrop"\n')
    for user in ("alice", "bob"):
        done = machine.run(user, "maildirmake.maildrop", f"/home/{user}/Maildir")
        assert done.returncode == 0, done.stderr
    machine.write("alice", ".mailfilter", 'to "$HOME/Maildir"\n', 0o600)
    machine.write(
        "bob",
        ".mailfilter",
        'if (/^Subject: refuse/)\n{\n  echo "no thanks"\n  EXITCODE=77\n  exit\n}\n'
        'if (/^Subject: later/)\n{\n  EXITCODE=75\n  exit\n}\nto "$HOME/Maildir"\n',
        0o600,
    )
    for subject in ("keep", "refuse", "later"):
        machine.send("alice", f"Subject: {subject}\n\nbody\n".encode(), "bob")
    machine.flush()
    assert only(machine.mail("bob")).values("Subject") == ["keep"]
    assert b"Status: 5.7.0" in only(machine.mail("alice")).data
    listing = machine.run("root", "mailq").stdout
    assert b"temporary failure" in listing and b"in 1 Request." in listing


@pytest.mark.parametrize(
    ("status", "dsn", "becomes"),
    [
        (0, "2.0.0", "sent"),
        (1, "5.3.0", "bounced"),
        (64, "5.3.0", "bounced"),
        (67, "5.1.1", "bounced"),
        (69, "5.3.0", "bounced"),
        (71, "4.3.0", "deferred"),
        (73, "5.2.0", "bounced"),
        (75, "4.3.0", "deferred"),
        (77, "5.7.0", "bounced"),
        (78, "5.3.5", "bounced"),
        (99, "5.3.0", "bounced"),
    ],
)
def test_the_exit_status_of_the_mailbox_command_decides(machine, status, dsn, becomes):
    machine.config(f'mailbox_command = "exit {status}"\n')
    machine.send("root", LETTER, "-f", "<>", "bob")
    out = machine.flush("-v").stdout.decode()
    assert f"dsn={dsn}, status={becomes} (" in out.splitlines()[0]


def test_the_mailbox_command_sees_what_postfix_shows(machine):
    machine.config(LOCAL + 'mailbox_command = "env > $HOME/env"\n')
    machine.aliases("root: alice\nboss: bob+x\n")
    machine.send("alice", LETTER, "-f", "joe@example.org", "boss")
    machine.flush()
    lines = (machine.home("bob") / "env").read_text().splitlines()
    env = dict(line.split("=", 1) for line in lines)
    for name in ("PWD", "SHLVL", "_", "OLDPWD"):
        env.pop(name, None)
    assert env == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C",
        "HOME": "/home/bob",
        "SHELL": "/bin/bash",
        "USER": "bob",
        "LOGNAME": "bob",
        "SENDER": "joe@example.org",
        "RECIPIENT": "bob+x@example.net",
        "ORIGINAL_RECIPIENT": "boss@example.net",
        "LOCAL": "bob+x",
        "DOMAIN": "example.net",
        "EXTENSION": "x",
    }


def test_the_command_of_a_forward_sees_the_extension_of_a_list_member(machine):
    machine.config(LOCAL)
    machine.aliases("root: alice\nlist: bob+q\n")
    machine.write("bob", ".forward", '"|echo E=$EXTENSION L=$LOCAL R=$RECIPIENT; exit 1"\n')
    machine.send("alice", LETTER, "list")
    assert b"output: E=q L=bob+q R=bob+q@example.net" in machine.flush("-v").stdout


def test_the_sender_chooses_no_file_or_branch_by_capitals(machine):
    machine.config(LOCAL)
    said = '"|echo E=$EXTENSION L=$LOCAL D=$DOMAIN R=$RECIPIENT; exit 1"\n'
    machine.write("bob", ".forward+work", said)
    machine.send("alice", LETTER, "Bob+WORK@Box.Example.NET")
    out = machine.flush("-v").stdout
    assert b"E=work L=bob+work D=box.example.net R=Bob+WORK@Box.Example.NET" in out


def test_an_address_never_reaches_a_shell(machine):
    machine.config(LOCAL + 'mailbox_command = "sh -c \\"echo $SENDER $EXTENSION $LOCAL\\" > out"\n')
    evil = "bob+$(touch${IFS}/tmp/pwned)`id`;id|id&x"
    Path("/tmp/pwned").unlink(missing_ok=True)
    machine.send("alice", LETTER, "-f", '"a;touch$IFS/tmp/pwned"@example.org', "--", f'"{evil}"')
    machine.flush()
    assert not Path("/tmp/pwned").exists()
    assert (machine.home("bob") / "out").exists()


def test_dovecots_lmtp_as_mailbox_transport_takes_the_mail(machine, tmp_path):
    with dovecot(tmp_path / "dovecot", "alice", "bob", "carol") as server:
        machine.config(LOCAL + f'mailbox_transport = "lmtp:{server.address}"\n')
        machine.aliases("root: alice\nlist: bob, carol\n")
        machine.send("alice", b"Subject: s\n\n.\nbody\n", "-i", "list", "erin")
        out = machine.flush("-v").stdout.decode()
        for _ in range(20):  # on a busy machine Dovecot may ask for patience
            if not machine.queue():
                break
            time.sleep(0.5)
            out += machine.flush("-v", "-a").stdout.decode()
        letters = {user: server.letters(user) for user in ("bob", "carol")}
    assert [len(found) for found in letters.values()] == [1, 1], out
    assert letters["bob"][0].endswith(b"\n.\nbody\n")
    assert b"Return-Path: <alice@example.net>" in letters["bob"][0]
    assert out.count(f"relay={server.address}") >= 4  # and the report to alice
    assert "to=<erin@example.net>" in out and "status=bounced" in out
    assert len(letters["bob"]) == 1 and machine.mail("bob") == []


def test_a_server_that_is_away_defers(machine, tmp_path):
    machine.config(f'mailbox_transport = "lmtp:unix:{tmp_path}/nobody"\n')
    machine.send("alice", LETTER, "bob")
    assert b"status=deferred" in machine.flush("-v").stdout
    machine.config("")
    machine.flush("-a")
    assert len(machine.mail("bob")) == 1


# Names


@pytest.mark.parametrize(
    "domain", ["example.net", "BOX.example.net", "localhost", "LocalHost.Example.Net"]
)
def test_every_name_of_the_machine_is_local(machine, domain):
    machine.send("alice", LETTER, f"Bob@{domain}")
    machine.flush()
    assert len(machine.mail("bob")) == 1


def test_a_single_label_is_not_made_local(machine):
    machine.config(LOCAL)
    machine.send("alice", LETTER, "bob@box")
    assert b"to=<bob@box>" in machine.flush("-v").stdout
    assert machine.mail("bob") == []


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        ("alice", "Alice Liddell <alice@example.net>"),
        ("bob", '"Bob (the) Builder" <bob@example.net>'),
        ("carol", "Carol Smith <carol@example.net>"),
        ("dave", '"Dave \\"The Man\\" O\'Neil <x>" <dave@example.net>'),
        ("erin", "erin@example.net"),
        ("jrh", '"J. Random Hacker" <jrh@example.net>'),
        ("root", "root <root@example.net>"),
    ],
)
def test_the_author_is_named_by_the_passwd_entry(machine, user, shown):
    machine.send(user, LETTER, "alice")
    machine.flush()
    assert only(machine.mail("alice")).values("From") == [shown]


def test_large_and_small_letters_for_many_users_arrive_whole(machine):
    noise = [os.urandom(size).translate(None, b"\r\n") for size in (1, 70_000, 3 << 20)]
    bodies = [text + b"\n" for text in noise]
    for body in bodies:
        machine.send("alice", b"Subject: s\n\n" + body, "-i", "bob", "carol", "dave")
    machine.flush()
    for user in ("bob", "carol", "dave"):
        assert {letter.body for letter in machine.mail(user)} == set(bodies)


# One who wants to hold up the others


def test_a_heavy_message_holds_up_nobody_elses_mail(machine):
    go = machine.home("alice") / "go"
    machine.write("alice", ".forward", f'"|while ! test -e {go}; do sleep 0.1; done"\n')
    for _ in range(3):
        machine.send("alice", b"X: " + b"x " * 100_000 + b"\n\n", "alice")
    machine.send("carol", LETTER, "bob")
    with ThreadPoolExecutor() as pool:
        run = pool.submit(machine.flush)
        while not machine.mail("bob") and not run.done():
            time.sleep(0.05)
        early = not run.done()
        go.touch()
        run.result()
    assert early, "bob's letter came only when the command of alice had ended"
    assert machine.queue() == []


def test_a_user_whose_agents_are_slow_is_asked_no_more(machine, monkeypatch):
    seconds = itertools.count(0, 8)  # each look at the clock is 8 seconds after the last
    asked: list[float] = []

    def slow(user: Identity, _: object, patience: float) -> list[str]:
        asked.append(patience)
        if patience <= 1:
            raise TimeoutError(f"no answer of {user.name}")
        return ["0", "", ""]

    here = world.open_machine(configuration.here(str(machine.spool)), str(machine.spool))
    monkeypatch.setattr(world.child, "ask", slow)
    monkeypatch.setattr(world, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    alice, bob = lookup("alice"), lookup("bob")
    found = [here.include(f"/home/alice/{n}", alice) for n in range(5)]
    assert [lines.trouble for lines in found[:3]] == ["", "", ""]
    assert all(lines.trouble for lines in found[3:])
    assert len(asked) == 4
    here.include("/home/bob/1", bob)
    assert asked[4] == asked[0]
