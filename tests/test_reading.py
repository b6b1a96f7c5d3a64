"""mail, reading: every command at a terminal, and beside mutt and Dovecot."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest
from harness import PATH, ROOT, Box, Letter, argv, letters, needs
from mailstores import USER, dovecot
from typist import Terminal

from pymail import console, mailverbs, readverbs
from pymail import inbox as mailbox
from pymail.errors import MailError
from pymail.folder import Change
from pymail.holder import holder

RUSSIAN = "Отчёт о работе за неделю"
HOSTILE = (
    b"From: =?utf-8?q?a=1B=5B31m?= <a\x9b1m@x>\nTo: \x1b]0;owned\x07\n"
    b"Subject: \x1b[2J=?utf-8?b?G1s1bQ==?= \xe2\x80\xae evil\n\n"
    b"one\x1b[31mred\x1b]52;c;aGk=\x07 \xc2\x9b5m \x9bm\x08\x0c\0 two\n"
)


def put(box: Box, name: str, text: bytes | str, flags: str | None = None) -> Path:
    """Put a message into the inbox: into new/, or with flags into cur/; later ones are younger."""
    for folder in ("cur", "new", "tmp"):
        (box.home / "Maildir" / folder).mkdir(parents=True, exist_ok=True)
    place = f"new/{name}" if flags is None else f"cur/{name}:2,{flags}"
    path = box.home / "Maildir" / place
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    at = 1_790_000_000 + len(names(box))
    os.utime(path, (at, at))
    return path


def names(box: Box) -> list[str]:
    """Return what is in new/ and cur/."""
    place = box.home / "Maildir"
    return sorted(str(path.relative_to(place)) for path in place.glob("[cn]*/*"))


def letter(who: str, subject: str, body: str = "text", *fields: str) -> str:
    head = [f"From: {who}", f"Subject: {subject}", *fields]
    return "\n".join([*head, "", body, ""])


@pytest.fixture
def inbox(box: Box) -> Box:
    """An inbox: 1 read, from alice; 2 old, from bob; 3 and 4 new, from Alice and eve."""
    put(box, "a", letter("alice@x", "first", "body one"), "S")
    put(box, "b", letter("Bob <bob@y>", "second thing", "body two"), "")
    put(box, "c", letter("Alice <alice@z>", "third", "body three"))
    put(box, "d", letter("eve@x", "fourth thing", "body four"))
    return box


@pytest.fixture
def person(inbox: Box):
    """Start mail at a terminal of 80 columns and 24 lines."""

    def start(*args: str, **env: str) -> Terminal:
        here = {**inbox.env, "TERM": "dumb", "PAGER": "cat", **env}
        return Terminal(argv("mail", "-n", *args), here, inbox.home)

    return start


@pytest.fixture
def session(person) -> Callable[..., str]:
    """Type commands, one when the prompt is there; return what was shown from the first on."""

    def run(*lines: str, status: int = 0, args: tuple[str, ...] = (), **env: str) -> str:
        here = person(*args, **env)
        out = b""
        for line in lines:
            out += here.wait("? ")
            here.type(f"{line}\n")
        assert here.end() == status, here.shown
        return here.shown.decode().replace("\r\n", "\n")

    return run


def script(
    box: Box, *lines: str, args: tuple[str, ...] = ()
) -> "subprocess.CompletedProcess[bytes]":
    """Give commands on standard input."""
    stdin = "".join(f"{line}\n" for line in lines).encode()
    return box.run("mail", "-n", "-N", *args, stdin=stdin)


def said(box: Box, *lines: str, args: tuple[str, ...] = ()) -> str:
    done = script(box, *lines, args=args)
    assert done.stderr == b""
    return done.stdout.decode()


# --- going and showing ---------------------------------------------------------------------------


def test_the_listing_begins_at_the_first_new_message(inbox: Box, session) -> None:
    out = session("x")
    assert '"' + f'{inbox.home}/Maildir/": 4 messages, 2 new, 1 unread\n' in out
    rows = [(line[:2], line.split()[-1]) for line in out.splitlines()[1:5]]
    assert rows == [("  ", "first"), (" O", "thing"), (">N", "third"), (" N", "thing")]
    assert "messages" not in session("x", args=("-N",))
    assert "messages" not in session("x", args=("-S", "noheader"))


def test_enter_and_n_show_the_next_and_it_is_read(inbox: Box, session) -> None:
    out = session("", "n", "n", "q", status=0)
    assert out.index("body three") < out.index("body four") < out.index("at the end")
    assert names(inbox) == ["cur/a:2,S", "cur/b:2,", "cur/c:2,S", "cur/d:2,S"]


def test_p_and_t_show_messages_of_a_list(inbox: Box, session) -> None:
    out = session("p 1-2", "t bob", "type /THING", "4", "x")
    assert re.findall(r"body \w+", out) == [
        f"body {n}" for n in ["one", "two", "two", "two", "four", "four"]
    ]
    assert "Message 1:\nFrom: alice@x\nSubject: first\n\nbody one\n" in out
    assert "new/c" in names(inbox)


def test_the_whole_header_is_shown_when_asked_for(box: Box) -> None:
    put(box, "a", letter("a@x", "s", "b", "X-Odd: yes", "Received: by x"))
    assert "X-Odd" not in said(box, "p", "x")
    assert "X-Odd: yes\nReceived: by x\n" in said(box, "P", "x")
    assert "X-Odd" in said(box, "Type 1", "x")


def test_fields_may_be_chosen(box: Box) -> None:
    put(box, "a", letter("a@x", "s", "b", "X-Odd: yes", "To: t"))
    assert "Message 1:\nFrom: a@x\nSubject: s\n\nb\n" in said(box, "ignore To", "p", "x")
    out = said(box, "discard from", "retain X-Odd subject х", "p", "Type", "x")
    assert "Message 1:\nX-Odd: yes\nSubject: s\n\nb\n" in out
    assert "\nFrom: a@x\nSubject: s\nX-Odd: yes\n" in out


def test_plus_and_minus_go_on_and_back(session) -> None:
    out = session("+", "-", "-2", "+", "x")
    assert re.findall(r"body \w+", out) == ["body four", "body three", "body one", "body two"]
    assert "at the beginning" in session("-9", "x")


def test_h_f_and_z_list(inbox: Box, session) -> None:
    out = session("set screen=2", "h 1", "z", "z", "z-", "f :n", "from *", "=", "x")
    blocks = [re.findall(r"^.. +(\d) ", block, re.MULTILINE) for block in out.split("? ")]
    pages = [[], ["1", "2"], ["3", "4"], [], ["1", "2"], ["3", "4"], list("1234")]
    assert blocks[1:9] == [*pages, []], out
    assert "on the last page" in out


def test_size_top_and_echo(session) -> None:
    out = session("si 1", "set toplines=1", "top 2", "echo a 'b  c' ~", "list", "?", "x")
    assert "\n1: 39\n" in out
    assert "Message 2:\nFrom: Bob <bob@y>\n? " in out
    assert "\na b  c /" in out
    assert "undelete unflag" in out
    assert "quit, q" in out


def test_long_mail_goes_through_the_pager(inbox: Box, session) -> None:
    put(inbox, "e", letter("l@x", "long", "\n".join(f"line {n}" for n in range(60))))
    out = session("p 5", "p 1", "x", PAGER="sed 's/^line/LINE/'")
    assert out.count("LINE ") == 60
    assert "body one" in out
    out = session(
        "set crt=2", "p 1", "set PAGER='tr a-z A-Z'", "p 1", "x", PAGER="sed s/body/BODY/"
    )
    assert "BODY one" in out
    assert "SUBJECT: FIRST" in out
    out = session("p 5", "p 1", "x", PAGER="true")
    assert "body one" in out


def test_the_pager_is_less_where_nothing_names_one_and_may_be_left_early(
    inbox: Box, session
) -> None:
    put(inbox, "e", letter("l@x", "long", "\n".join(f"line {n} {'x' * 70}" for n in range(3000))))
    assert "LINE" not in session("p 5", "p 1", "x", PAGER="head -1")
    (inbox.home / "less").write_text("#!/bin/sh\nsed 's/^line/LESS/;9q'\n")
    (inbox.home / "less").chmod(0o755)
    out = session("p 5", "p 1", "x", PAGER="", PATH=f"{inbox.home}:{PATH}")
    assert "LESS 0" in out
    assert "LESS 9" not in out
    assert "body one" in out


# --- marking, leaving ----------------------------------------------------------------------------


def test_q_deletes_and_x_does_not(inbox: Box, session) -> None:
    before = names(inbox)
    session("d 1-2", "p 3", "x")
    assert names(inbox) == before
    session("d 1-2", "dp", "u 2", "q")
    assert names(inbox) == ["cur/b:2,", "cur/d:2,S"]


def test_a_deleted_message_is_there_only_for_undelete(session) -> None:
    out = session("d 2", "p 2", "f *", "f :d", "u", "u 1", "u 2", "f 2", "x", status=0)
    assert "message 2 is deleted" in out
    assert "D   2 " in out
    assert "message 1 is not deleted" in out


def test_dp_on_the_last_says_that_there_is_no_more(inbox: Box, session) -> None:
    assert "no more messages" in session("d 1-3", "dt", "x")


def test_flags_are_set_and_taken_away(inbox: Box, session) -> None:
    session("flag 1 2", "unr 1", "p 4", "q")
    assert names(inbox) == ["cur/a:2,F", "cur/b:2,F", "cur/c:2,", "cur/d:2,S"]
    out = session("f :f", "unflag *", "q")
    assert re.findall(r"^.(.)   (\d)", out.split("? ")[1], re.MULTILINE) == [("O", "1"), ("O", "2")]
    assert names(inbox) == ["cur/a:2,", "cur/b:2,", "cur/c:2,", "cur/d:2,S"]


def test_the_end_of_the_input_is_q_and_a_lost_terminal_is_x(inbox: Box, person) -> None:
    here = person()
    here.wait("? ")
    here.type("d 1\n")
    here.wait("? ")
    assert here.hang_up() != 0
    assert "cur/a:2,S" in names(inbox)
    here = person("-S", "ignoreeof")
    here.wait("? ")
    here.type("d 1\n")
    here.wait("? ")
    here.type("\x04")
    here.wait('Use "quit"')
    here.type("unset ignoreeof\n")
    here.wait("? ")
    here.type("\x04")
    assert here.end() == 0
    assert "cur/a:2,S" not in names(inbox)


def test_an_interrupt_ends_nothing(person) -> None:
    here = person()
    here.wait("? ")
    here.type("pri")
    here.type("\x03")
    here.wait("Interrupt")
    here.wait("? ")
    here.type("p 1\n")
    here.wait("body one")
    here.type("x\n")
    assert here.end() == 0


def test_what_comes_meanwhile_is_told_and_can_be_read(inbox: Box, person) -> None:
    here = person()
    here.wait("? ")
    put(inbox, "e", letter("late@x", "late", "body late"))
    here.type("d 1\n")
    here.wait("New mail has arrived.")
    here.type("p $\n")
    here.wait("body late")
    here.type("q\n")
    assert here.end() == 0
    assert names(inbox) == ["cur/b:2,", "cur/c:2,", "cur/d:2,", "cur/e:2,S"]


def test_minus_r_changes_nothing(inbox: Box) -> None:
    before = names(inbox)
    said(inbox, "d *", "q", args=("-R",))
    assert names(inbox) == before


def test_another_mailbox_may_be_opened(inbox: Box, session) -> None:
    (inbox.home / "mbox").write_text(f"From a Mon Nov 23 00:00:00 2026\n{letter('m@x', 'boxed')}\n")
    out = session("d 1", "file mbox", "f *", "p", "fold", "file /nowhere", "q")
    assert '"mbox": 1 message, 1 new' in out
    assert "cannot open /nowhere: No such file or directory" in out
    assert "cur/a:2,S" not in names(inbox)
    assert b"\nStatus: RO\n" in (inbox.home / "mbox").read_bytes()
    assert "boxed" in said(inbox, "p", "d", "q", args=("-f",))
    assert (inbox.home / "mbox").read_bytes() == b""
    done = script(inbox, args=("-f", "mbox"))
    assert (done.returncode, done.stderr) == (1, b"mail: no mail in mbox\n")


def test_another_directory_is_no_other_mailbox(inbox: Box) -> None:
    mbox = "".join(f"From a Mon Nov 23 00:00:00 2026\n{letter('m@x', s)}\n" for s in ("one", "two"))
    (inbox.home / "sub").mkdir()
    for place in ("box", "sub/box"):
        (inbox.home / place).write_text(mbox)
    done = script(inbox, "cd sub", "p 1", "d 2", "file %", "file #", "p 1", args=("-f", "box"))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"Subject: one") == 2
    assert (inbox.home / "sub/box").read_text() == mbox
    assert b"Subject: two" not in (inbox.home / "box").read_bytes()
    # One that was left before is found again, too.
    out = said(inbox, "file box", "cd sub", "file #", "cd /", "file #", "p 1", "d 1")
    assert "Subject: one" in out
    assert (inbox.home / "box").read_bytes() == b""
    assert (inbox.home / "sub/box").read_text() == mbox


def test_a_mailbox_that_cannot_be_changed_is_left_with_x(machine) -> None:
    machine.send("root", b"Subject: one\n\nx\n", "alice")
    machine.flush()
    place = Path("/home/alice/Maildir")
    for folder in (place, place / "new", place / "cur"):
        folder.chmod(0o755)
    (kept,) = machine.mail("alice")
    kept.path.chmod(0o644)
    done = machine.run("bob", "mail", "-n", "-N", "-f", str(place), stdin=b"d\nq\n")
    assert done.returncode == 75
    assert b"cannot change /home/alice/Maildir: Permission denied; x ends without" in done.stdout
    done = machine.run("bob", "mail", "-n", "-N", "-f", str(place), stdin=b"p\nx\n")
    assert (done.returncode, b"Subject: one" in done.stdout) == (0, True)
    done = machine.run("bob", "mail", "-n", "-R", "-f", str(place), stdin=b"d\nq\n")
    assert done.returncode == 0
    assert [each.path for each in machine.mail("alice")] == [kept.path]
    kept.path.chmod(0o600)
    done = machine.run("bob", "mail", "-n", "-f", str(place), stdin=b"p\nx\n")
    assert done.stderr + done.stdout != b""
    machine.write("alice", "box", "no mbox\n")
    done = machine.run("alice", "mail", "-n", "-f", "/home/alice/box")
    assert (done.returncode, done.stderr.count(b"\n")) == (66, 1)


def test_a_mailbox_may_be_empty_or_vanish(inbox: Box, person) -> None:
    for name in ("cur", "new"):
        (inbox.home / "empty" / name).mkdir(parents=True)
    out = said(inbox, "file empty", "fold", "p", "h", "n", "f", "z", "x")
    assert '"empty": 0 messages\n' in out
    assert out.count("no messages\n") == 2
    here = person()
    here.wait("? ")
    for path in sorted((inbox.home / "Maildir").glob("*/*")):
        path.unlink()
    here.type("p 1\n")
    here.wait("cannot read message a: another program has removed it")
    here.type("flag *\n")
    here.wait("? ")
    here.type("q\n")
    assert here.end() == 0


def test_what_was_left_alone_is_told(inbox: Box, person) -> None:
    here = person()
    here.wait("? ")
    here.type("d 1 2\n")
    here.wait("? ")
    other = inbox.home / "other"
    other.write_text("Subject: precious\n\n")
    other.rename(inbox.home / "Maildir/cur/a:2,S")
    here.type("q\n")
    here.wait("message a is another one by now; left alone")
    assert here.end() == 75
    assert (inbox.home / "Maildir/cur/a:2,S").read_text() == "Subject: precious\n\n"
    assert names(inbox) == ["cur/a:2,S", "cur/c:2,", "cur/d:2,"], "the rest was done"


@pytest.mark.parametrize(("after", "status"), [(["file %"], 75), (["file %", "f 1"], 0), ([], 75)])
def test_what_was_left_alone_counts_in_the_status(
    inbox: Box, after: list[str], status: int
) -> None:
    exchange = "! printf 'Subject: precious\\n\\n' > o; mv o Maildir/cur/a:2,S"
    done = script(inbox, "d 1", exchange, *after)
    assert done.stdout.count(b"message a is another one by now; left alone\n") == 1
    assert done.returncode == status
    assert "cur/a:2,S" in names(inbox)


# --- files and programs --------------------------------------------------------------------------


def test_s_saves_and_deletes_and_c_copies(inbox: Box) -> None:
    out = said(inbox, "c 1 kept", "s 1 2 kept", "s 3", "q")
    assert '"kept" 1 message, 39 bytes\n"kept" 2 messages, ' in out
    assert names(inbox) == ["cur/d:2,"]
    text = (inbox.home / "kept").read_text()
    assert re.findall("Subject: (.*)", text) == ["first", "first", "second thing"]
    assert "\nSubject: third\n" in (inbox.home / "mbox").read_text()
    said(inbox, "set keepsave", "s * saved/", "q")
    assert names(inbox) == ["cur/d:2,"]


def test_what_is_saved_survives_a_power_cut_by_its_name_too(inbox: Box) -> None:
    needs("strace")
    (inbox.home / "md").mkdir()
    trace = inbox.home / "trace"
    watch = ("-f", "-qq", "-y", "-e", "trace=fsync,unlinkat", "-o", str(trace))
    commands = b"s 1 saved\ns 2 md\nq\n"
    done = inbox.run("strace", *watch, *argv("mail", "-n", "-N"), stdin=commands)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(names(inbox)) == 2
    synced = trace.read_text().partition("unlinkat(")[0]  # then the inbox loses them
    for place in ("saved", "", "md/cur", "md"):
        assert f"<{inbox.home / place!s}>" in synced, place


def test_what_cannot_be_saved_is_not_deleted(inbox: Box) -> None:
    out = said(inbox, "s 1 /nowhere/x", "q")
    assert "/nowhere/x: No such file or directory" in out
    assert "cur/a:2,S" in names(inbox)


def test_what_is_locked_is_not_saved_to_and_nothing_is_deleted(inbox: Box) -> None:
    path = inbox.home / "kept"
    with path.open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        done = script(inbox, "s 1 kept")
    assert (done.returncode, done.stdout) == (
        75,
        b"cannot write kept: the file is locked; try again later\n",
    )
    assert len(names(inbox)) == 4
    assert path.read_bytes() == b""


def test_what_is_saved_behind_half_a_letter_is_a_letter(inbox: Box) -> None:
    (inbox.home / "kept").write_text("From a@x now\nSubject: half\n\nbody without end")
    said(inbox, "s 1 kept", "q")
    out = inbox.run("mail", "-n", "-H", "-f", "kept").stdout.decode()
    assert [line.split()[-1] for line in out.splitlines()] == ["half", "first"]


def test_a_maildir_may_be_saved_to(inbox: Box) -> None:
    (inbox.home / "Old").mkdir()
    said(inbox, "set folder=~", "s 1 +Old", "q")
    (kept,) = letters(inbox.home / "Old")
    assert kept.body == b"body one\n"


def test_a_slash_at_the_end_makes_a_maildir_where_nothing_is(inbox: Box) -> None:
    (inbox.home / "file").write_text("x")
    out = said(inbox, "s 1 ~/mdir/", "c 2 mdir/", "s 3 no/mdir/", "s 3 file/", "q")
    kept = [letter.body for letter in letters(inbox.home / "mdir")]
    assert kept == [b"body one\n", b"body two\n"]
    assert "cannot write no/mdir/: No such file or directory\n" in out
    assert "cannot write file/: File exists\n" in out
    assert (inbox.home / "file").read_text() == "x"
    assert len(names(inbox)) == 3


def test_what_cannot_be_written_is_named(inbox: Box) -> None:
    (inbox.home / "full").symlink_to("/dev/full")
    out = said(inbox, "s 1 full", "w 2 ~/full", "q")
    reason = "No space left on device\n"
    assert out == f"cannot write full: {reason}cannot write {inbox.home}/full: {reason}"
    assert len(names(inbox)) == 4


def test_a_directory_of_other_files_is_made_no_maildir(inbox: Box) -> None:
    (inbox.home / "Documents").mkdir()
    (inbox.home / "Documents" / "plan.txt").write_text("x")
    out = said(inbox, "s 1 Documents", "q")
    assert "Documents: Is a directory" in out
    assert os.listdir(inbox.home / "Documents") == ["plan.txt"]
    assert len(names(inbox)) == 4, "what was not saved is not deleted"


def test_w_writes_the_text_decoded(box: Box) -> None:
    made = EmailMessage()
    made["From"] = "a@x"
    made.set_content(RUSSIAN, charset="koi8-r")
    made.add_attachment(b"\0", maintype="a", subtype="b", filename="f")
    put(box, "a", made.as_bytes())
    assert '"out" 1/' in said(box, "w 1 out", "q")
    assert (box.home / "out").read_text() == RUSSIAN + "\n"
    assert "write to which file?" in said(box, "w", "x")


def test_html_of_a_megabyte_is_whole_wherever_it_goes(box: Box) -> None:
    rows = [f"row {number}" for number in range(100_000)]
    put(box, "a", "Content-Type: text/html\n\n" + "".join(f"<p>{row}" for row in rows))
    said(box, "w 1 out", "q")
    written = (box.home / "out").read_text()
    shown = json.loads(box.run("pymail", "show", "-j", "1").stdout)["text"]
    displayed = box.run("pymail", "show", "1").stdout.decode()
    for text in (written, shown, displayed):
        assert [line for line in text.splitlines() if line] == rows


def test_detach_saves_attachments_and_never_elsewhere(box: Box) -> None:
    made = EmailMessage()
    made.set_content("text")
    for name in ("../evil", ".profile", "отчёт.pdf", "отчёт.pdf"):
        made.add_attachment(name.encode(), maintype="a", subtype="b", filename=name)
    put(box, "a", made.as_bytes())
    put(box, "b", letter("a@x", "none"))
    (box.home / "in").mkdir()
    (box.home / "in" / "evil").write_text("mine")
    out = said(box, "det * in", "det", "det 1 nowhere", "x")
    assert '"in/evil-1"' in out
    assert "Message 2 has no attachments." in out
    assert "detach into which directory?" in out
    assert "nowhere: No such file or directory" in out
    saved = {path.name: path.read_text() for path in (box.home / "in").iterdir()}
    assert saved == {
        "evil": "mine",
        "evil-1": "../evil",
        "profile": ".profile",
        "отчёт.pdf": "отчёт.pdf",
        "отчёт-1.pdf": "отчёт.pdf",
    }
    assert not (box.home / "evil").exists()


def test_a_pipe_gets_messages_as_they_came_and_its_output_is_safe(inbox: Box, session) -> None:
    put(inbox, "e", HOSTILE)
    out = session("| 1-2 wc -l", 'pipe 5 "cat"', "| 1 false", "set cmd='grep body'", "| 1", "x")
    assert "\n8\n" in out
    assert "\x1b" not in out
    assert "one?[31mred" in out
    assert "false: exit status 1" in out
    assert "body one" in out
    assert "pipe to which command?" in session("unset cmd", "|", "x")


def test_a_command_of_the_shell_is_run(session) -> None:
    out = session("!echo $((6*7))", "sh echo hi", "cd /", "!pwd", "x")
    assert "\n42\n!\n" in out
    assert "\nhi\n!\n" in out
    assert "\n/\n!\n" in out


def test_messages_may_be_edited(inbox: Box, session) -> None:
    editor = "sed -i s/one/ONE/"
    out = session("e 1", "p 1", "v 2", "x", EDITOR=editor, VISUAL="false")
    assert "body ONE" in out
    assert "false: exit status 1; the message is unchanged" in out
    assert (inbox.home / "Maildir/cur/a:2,S").read_text().endswith("body one\n")
    slip = 'slip() { sed -i s/two/TWO/ "$1"; return 1; }; slip'  # as ed
    assert "body TWO" in session("e 2", "p 2", "x", EDITOR=slip)
    session("e 1", "flag 1", "q", EDITOR=editor)
    bodies = {kept.body: kept.path.name for kept in letters(inbox.home / "Maildir")}
    assert bodies[b"body ONE\n"].endswith(":2,FS")
    assert b"body one\n" not in bodies
    assert len(bodies) == 4


def test_settings_may_be_changed(inbox: Box) -> None:
    (inbox.home / "rc").write_text("set fromrc\nif receive\nset receiving\nendif\n")
    out = said(
        inbox, "set x=1 y", "so rc", "set", "unset x", "set", "alias a b@c", "alias", "alias q"
    )
    first, second = out.split("fromrc\n")[1:3]
    assert 'x="1"' in first
    assert "receiving" in first
    assert 'x="1"' not in second.partition("a: ")[0].partition("\n")[0]
    assert "a: b@c\n" in out
    assert "q: no alias\n" in out


def test_variables_of_posix_change_what_commands_do(inbox: Box, session) -> None:
    out = session("set autoprint", "d 1", "u 1", "x")
    assert "Message 2:" in out and "body two" in out
    assert "Message 1:" in out and "body one" in out
    out = session("pipe 1-2 'tr \\\\f F'", "set page", "pipe 1-2 'tr \\\\f F'", "x")
    assert out.count("F\n") + out.count("F? ") + out.count("FFrom") == 2
    put(inbox, "e", letter("alice@x", "s", "q", "To: list@x"))
    out = session("set flipr", "r 5\nx\n.", "unset flipr", "R 5\nx\n.", "x")
    assert out.count("To: alice@x\nSubject: Re: s\n") == 2
    out = session("set flipr", "R 5\nx\n.", "x")
    assert "To: alice@x, list@x\n" in out


def test_mail_of_the_user_is_listed_by_who_got_it(inbox: Box, session) -> None:
    put(inbox, "e", letter(f"{inbox.user}@localhost", "mine", "q", "To: list@x"))
    put(inbox, "f", letter("also.me@x", "other", "q", "To: =?utf-8?b?0L/RgNC4?= <p@x>"))
    out = session("alternates also.me@x", "set showto", "f *", "x")
    rows = dict(re.findall(r"^.. +(\d) (.{18})", out.rpartition("f *")[2], re.MULTILINE))
    assert {number: who.strip() for number, who in rows.items()} == {
        "1": "alice@x",
        "2": "Bob",
        "3": "Alice",
        "4": "eve@x",
        "5": "To list@x",
        "6": "To при <p@x>",
    }


def test_the_line_about_the_mailbox_may_be_left_out(inbox: Box) -> None:
    (inbox.home / ".mailrc").write_text("set quiet\n")
    done = inbox.run("mail", "-n", stdin=b"x\n")
    assert b"4 messages" not in done.stdout and b"alice@x" in done.stdout
    (inbox.home / ".mailrc").write_text("")
    assert b"4 messages" in inbox.run("mail", "-n", stdin=b"x\n").stdout


def test_mbox_moves_at_the_end_and_hold_lets_stay(inbox: Box, session) -> None:
    session("mbox 1 2", "d 3", "mbox 4", "hold 2 3", "x")
    assert not (inbox.home / "mbox").exists()
    assert len(names(inbox)) == 4
    out = session("mbox 1 2 4", "d 3", "ho 2 3", "f *", "q", args=("-N",))
    assert "M   1 alice@x" in out and "M   4 eve@x" in out
    assert "O   2 Bob" in out and "N   3 Alice" in out
    text = (inbox.home / "mbox").read_text()
    assert re.findall("^Subject: (.*)$", text, re.MULTILINE) == ["first", "fourth thing"]
    assert names(inbox) == ["cur/b:2,", "cur/c:2,"]


def test_mbox_of_what_cannot_be_added_to_keeps_all(inbox: Box) -> None:
    args = ("-S", "MBOX=/dev/full")
    out = said(inbox, "mbox 1", "q", "x", args=args)
    assert "cannot add to /dev/full: No space left on device; x ends without\n" in out
    assert len(names(inbox)) == 4


def test_the_mailbox_of_mbox_moves_nothing_to_itself(inbox: Box) -> None:
    said(inbox, "c 1-2")
    before = (inbox.home / "mbox").read_bytes()
    said(inbox, "mbox *", "q", args=("-f",))
    after = re.sub(
        rb"^(X-)?Status: .*\n", b"", (inbox.home / "mbox").read_bytes(), flags=re.MULTILINE
    )
    assert after == before


def test_touch_counts_as_read(inbox: Box, session) -> None:
    session("touch 3", "q")
    assert "cur/c:2,S" in names(inbox)


def test_save_and_copy_may_be_called_as_the_author(inbox: Box, session) -> None:
    put(inbox, "e", letter("<../../.evil@x>", "s", "q"))
    put(inbox, "f", letter("src@x", "s", "q"))
    put(inbox, "g", letter("...@x", "s", "q"))
    put(inbox, "h", letter("link@x", "s", "q"))
    (inbox.home / "src").mkdir()
    (inbox.home / "link").symlink_to("mbox")
    out = session("Copy 1 3", "Save 2", "S 5", "C 6", "C 7", "C 8", "q")
    assert '"./alice" 2 messages' in out
    assert "./src is no mailbox: save to another" in out
    assert "./link is no mailbox: save to another" in out
    assert "message 7 names no author that a file can be called by" in out
    files = {path.name for path in inbox.home.iterdir() if path.is_file()}
    assert {"alice", "bob", "evil"} <= files
    assert (inbox.home / "alice").read_text().count("\nSubject: ") == 2
    assert list((inbox.home / "src").iterdir()) == []
    assert not any("/b:" in name or name.endswith("/e") for name in names(inbox))
    (inbox.home / "Mail").mkdir()
    session("S 1", "x", args=("-S", "folder=Mail", "-S", "outfolder"))
    assert "body one" in (inbox.home / "Mail/alice").read_text()


def test_folders_are_listed(inbox: Box, session) -> None:
    (inbox.home / "Mail").mkdir()
    (inbox.home / "Mail/friends").touch()
    out = session("folders", "set folder=Mail", "folders", "set LISTER='ls -Q'", "folders", "x")
    assert "set folder to the directory of your mailboxes first\n" in out
    assert "\nfriends\n" in out
    assert '\n"friends"\n' in out
    assert "exit status" in session("folders", "x", args=("-S", "folder=none"))


def test_mailboxes_have_short_names(inbox: Box, session) -> None:
    said(inbox, "c 1-2")
    out = session("file #", "file &", "d 1", "file #", "d 1", "file %", "file %nobody-here", "q")
    shown = re.findall(r'^"(.*)": (\d) messages?', out, re.MULTILINE)
    assert "no mailbox was read before this one" in out
    home = str(inbox.home)
    assert shown == [
        (f"{home}/Maildir/", "4"),
        (f"{home}/mbox", "2"),
        (f"{home}/Maildir/", "4"),
        (f"{home}/Maildir/", "3"),
    ]
    assert "unknown user nobody-here" in out


def test_conditions_hold_at_the_prompt_too(inbox: Box, session) -> None:
    out = session(
        *("if r", "echo reading", "if t", "echo ter''minal", "else", "echo ne''ver", "endif"),
        *("else", "echo ne''ver", "endif", "endif", "else", "if what", "echo ne''ver", "else"),
        *("echo ne''ver", "en", "echo after", "x"),
    )
    shown = [line for line in out.splitlines() if not line.startswith(("?", '"'))]
    assert {"reading", "terminal", "after"} <= set(shown)
    assert "never" not in shown
    assert "endif without if" in shown and "else without if" in shown
    assert "what is no condition: nothing is obeyed up to endif" in shown
    done = script(inbox, "d 1", "if", "if s", "x")
    assert done.stdout.startswith(b"if what? s (sending)") and done.returncode == 0
    assert len(names(inbox)) == 3, "the end of the input is quit, whatever is open"


def test_source_obeys_every_command_of_a_file(inbox: Box, session) -> None:
    (inbox.home / "one").write_text(
        "# a comment\n\nif r\ndelete 1\nelse\ndelete 2\nendif\nif s\ncopy \\\n 3 away\n"
    )
    (inbox.home / "two").write_text("source two\necho here\nx\necho never\n")
    out = session("source", "source one", "so none", "f *", "so two", args=("-N",))
    assert "source which file?" in out
    assert "none: No such file or directory" in out
    assert "O   2 Bob" in out and " alice@x " not in out
    assert "10 files source one another" in out
    assert out.splitlines().count("here") == 1
    assert "never" not in out
    assert not (inbox.home / "away").exists()
    assert len(names(inbox)) == 4


def test_lists_are_shown_where_nothing_is_added(inbox: Box, session) -> None:
    lines = ["alt me@x me@y", "alt", "ignore date To", "ig", "di cc", "di", "ret From", "ret", "x"]
    out = session(*lines)
    for words in ("me@x me@y", "date to", "cc date to", "from"):
        assert f"\n{words}\n" in out


def test_what_is_no_command_is_said_and_counts_in_the_status(inbox: Box) -> None:
    done = script(inbox, "bogus", "hold 1", "# comment", "p nobody")
    assert done.stdout == b"bogus is no command here; ? lists them\nno message is nobody\n"
    assert done.returncode == 65
    done = script(inbox, "p 9", "x")
    assert (done.returncode, done.stdout) == (0, b"no message 9\n"), "x is the last command"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("p 99", 65),
        ("bogus", 64),
        ("pipe 1 false", 74),
        ("s 1 /dev/full", 74),
        ("w 1 nowhere/out", 74),
        ("p 1", 0),
        ("", 0),
    ],
)
def test_the_end_of_the_input_leaves_the_status_of_the_last_command(
    inbox: Box, line: str, status: int
) -> None:
    assert script(inbox, "d 2", line).returncode == status
    assert len(names(inbox)) == 3, "the mailbox is changed all the same"
    assert script(inbox, line, "q").returncode == 0, "quit is the last command"
    assert script(inbox, line, "h").returncode == 0


def test_an_end_that_cannot_change_the_mailbox_has_a_status_of_its_own(inbox: Box) -> None:
    done = script(inbox, "mbox 1", "p 99", args=("-S", "MBOX=/dev/full"))
    assert (done.returncode, len(names(inbox))) == (75, 4)


def test_an_input_that_cannot_be_read_is_not_the_end(inbox: Box) -> None:
    for closed, why in (("<&-", "Bad file descriptor"), ("</proc/self/mem", "Input/output error")):
        done = inbox.run("sh", "-c", f'"$@" {closed}', "sh", *argv("mail", "-n", "-N"))
        said = f"mail: cannot read standard input: {why}\n"
        assert (done.returncode, done.stderr.decode()) == (66, said)
    assert "new/c" in names(inbox), "nothing has changed"


def test_a_slip_of_the_hand_ends_no_session(inbox: Box, person) -> None:
    slips = [f"{verb} x\0y" for verb in ("source", "file", "cd", "!", "s 1", "w 1", "pipe 1")]
    # A backslash with nothing behind it is a word with nothing in it.
    done = said(inbox, "d 1", *slips, "file \\", "source \\", "p 2")
    assert done.count("no command has a NUL in it\n") == len(slips)
    assert "file which mailbox?\nsource which file?\n" in done
    assert "body two" in done
    assert "cur/a:2,S" not in names(inbox), "the end of the input is quit"
    here = person()
    here.wait("? ")
    here.type("m bob\n")
    here.wait("Subject: ")
    here.type("one\0two\nkept\n")  # Ctrl-Space
    for escape in ("~r a\0b", "~! a\0b", "~w a\0b", "~| a\0b", "~@ a\0b"):
        here.type(f"{escape}\n")
        here.wait("no escape has a NUL in it")
    here.type(".\n")
    here.wait("? ")
    here.type("x\n")
    assert here.end() == 0
    letter = sent(inbox)
    assert (letter.values("subject"), letter.body) == (["onetwo"], b"kept\n")


# --- answering -----------------------------------------------------------------------------------


def sent(box: Box) -> Letter:
    """Return the only message in the queue, and empty it."""
    (qid,) = box.queue()
    data = box.run("pymail", "queue", "show", "--raw", qid).stdout
    assert box.run("pymail", "queue", "delete", qid).returncode == 0
    return Letter(box.spool, data, 0, 0, 0)


def test_r_answers_everybody_and_the_message_counts_as_answered(inbox: Box, session) -> None:
    fields = (f"To: {inbox.user}@localhost, list@x", "Cc: carol@x, ALICE@x", "Message-ID: <1@x>")
    fields += ("References: <0@x>\n <-1@x>", "Reply-To: =?koi8-r?B?4czJ08E=?= <alice@x>")
    put(inbox, "e", letter("alice@other", "=?utf-8?b?0L/RgNC4?=", "question", *fields))
    out = session("r 5\nan answer\n~m\n.", "q")
    assert "To: Алиса <alice@x>, list@x\nCc: carol@x\nSubject: Re: при\n" in out
    answer = sent(inbox)
    assert answer.values("In-Reply-To") == ["<1@x>"]
    assert answer.values("References") == ["<0@x> <-1@x> <1@x>"]
    assert answer.values("To")[0].endswith("<alice@x>, list@x")
    assert answer.values("Cc") == ["carol@x"]
    assert answer.body.decode().startswith("an answer\n\tFrom: alice@other\n")
    assert "\tquestion\n" in answer.body.decode()
    assert "cur/e:2,RS" in names(inbox)


def test_capital_r_answers_the_author_only(inbox: Box, session) -> None:
    put(inbox, "e", letter("alice@x", "Re: s", "q", "To: list@x", "Cc: carol@x"))
    put(inbox, "f", letter("x@x", "s", "q", "X-Odd: 1"))
    out = session("R 5\nx\n~f 1\n~F 6\n~M 6\n.", "q")
    assert "To: alice@x\nSubject: Re: s\n" in out
    answer = sent(inbox)
    assert (answer.values("To"), answer.values("Cc")) == (["alice@x"], [])
    assert answer.values("In-Reply-To") == []
    assert answer.body.startswith(b"x\nFrom: alice@x\nSubject: first\n\nbody one\n")
    assert b"\nX-Odd: 1\n" in answer.body and b"\n\tX-Odd: 1\n" in answer.body


def test_capital_r_answers_the_authors_of_several_at_once(inbox: Box, session) -> None:
    out = session("R 1 2 3 1\nx\n.", "q")
    assert "To: alice@x, Bob <bob@y>, Alice <alice@z>\nSubject: Re: first\n" in out
    assert sent(inbox).values("To") == ["alice@x, Bob <bob@y>, Alice <alice@z>"]
    assert names(inbox) == ["cur/a:2,RS", "cur/b:2,RS", "cur/c:2,RS", "cur/d:2,"]


def test_followup_keeps_a_copy_that_is_called_as_the_author(inbox: Box, session) -> None:
    put(inbox, "e", letter("bob@x", "s", "q", "To: list@x", "Cc: carol@x"))
    session("fo 5\nto all\n.", "q", args=("-S", "record=~/sent"))
    answer = sent(inbox)
    assert (answer.values("To"), answer.values("Cc")) == (["bob@x, list@x"], ["carol@x"])
    session("F 2 1\nto two\n.", "q")
    assert sent(inbox).values("To") == ["alice@x, Bob <bob@y>"]
    assert (inbox.home / "bob").read_text().count("\nto all\n") == 1
    assert (inbox.home / "alice").read_text().count("\nto two\n") == 1
    assert not (inbox.home / "sent").exists()


def test_an_answer_that_is_given_up_is_none(inbox: Box, session) -> None:
    out = session("r 1\ntext\n~x", "r 1\ntext\n~q", "q")
    assert out.count("The message is given up.") == 2
    assert inbox.queue() == []
    assert "cur/a:2,S" in names(inbox)
    assert (inbox.home / "dead.letter").exists()


def test_nobody_is_answered_where_the_message_asks_for_a_command(inbox: Box, session) -> None:
    put(inbox, "e", letter("|touch${IFS}/tmp/x", "s", "q"))
    put(inbox, "f", letter("/etc/passwd", "s", "q", "Reply-To: +folder"))
    out = session("R 5", "R 6", "x")
    assert out.count("cannot reply: the message names no author with an address") == 2


def test_m_writes_and_forward_passes_on(inbox: Box, session) -> None:
    out = session("m", "m alice\nHello\ntext\n.", "forw", "q")
    assert "mail to whom?" in out
    assert "forward to whom?" in out
    message = sent(inbox)
    assert (message.values("Subject"), message.body) == (["Hello"], b"text\n")
    session("forw 2 bob\nsee\n.", "q")
    message = sent(inbox)
    assert message.values("Subject") == ["Fwd: second thing"]
    assert message.values("To") == ["bob"]
    assert b"\nContent-Type: message/rfc822\n" in message.data
    assert b"\n\nbody two\n" in message.data
    assert "cur/b:2,PS" in names(inbox)


def test_an_answer_goes_round_the_addresses_of_the_user(inbox: Box) -> None:
    (inbox.home / "rc").write_text("alternates me@work\n")
    to = "To: me@work, odd@x, |touch x, bad@@x, me@home, list@x"
    put(inbox, "e", letter("eve@x", "s", "q", to, "Cc: ,,;broken <a"))
    args = ("-S", "from=Me <me@home>", "-S", "noask")
    out = said(inbox, "source rc", "alternates |bad", "r 5", "x", ".", "x", args=args)
    assert "To: eve@x, odd@x, list@x\n" in out
    inbox.config("not TOML")
    out = said(inbox, "r 5", "~x", "x", args=args)
    assert "To: eve@x, me@work, odd@x, list@x\n" in out


def test_a_thread_that_is_long_keeps_its_ends(inbox: Box) -> None:
    refs = "References: " + "\n ".join(f"<{n}@x>" for n in range(100))
    put(inbox, "e", letter("eve@x", "s", "q", "Message-ID: <me@x>", refs))
    said(inbox, "r 5", "x", ".", "x")
    chain = sent(inbox).values("References")[0].split()
    assert (len(chain), chain[0], chain[1], chain[-1]) == (20, "<0@x>", "<82@x>", "<me@x>")


def test_a_script_may_answer(inbox: Box) -> None:
    said(inbox, "R 1", "scripted", ".", "q")
    assert sent(inbox).body == b"scripted\n"


# --- what is shown -------------------------------------------------------------------------------


@pytest.mark.parametrize("charset", ["koi8-r", "windows-1251", "utf-8"])
@pytest.mark.parametrize("declared", [True, False])
def test_russian_is_read_right_at_a_terminal(box: Box, charset: str, *, declared: bool) -> None:
    head = f"From: Иван <i@x>\nSubject: {RUSSIAN}\n"
    head += f"Content-Type: text/plain; charset={charset}\n" if declared else ""
    put(box, "a", f"{head}\n{RUSSIAN}: текст письма\n".encode(charset))
    here = Terminal(argv("mail", "-n"), {**box.env, "TERM": "dumb"}, box.home)
    here.wait(f"Иван               {'':16}")
    here.wait(RUSSIAN)
    here.wait("? ")
    here.type("p\n")
    here.wait("From: Иван <i@x>")
    here.wait(f"Subject: {RUSSIAN}")
    here.wait(f"{RUSSIAN}: текст письма")
    here.type("x\n")
    assert here.end() == 0


def test_no_escape_sequence_reaches_the_terminal(box: Box, person) -> None:
    put(box, "h", HOSTILE)
    part = b"Content-Type: text/html\nX-\x1b[1m: \x1b[1m\n\n<p>&#27;[2J &#x9b;m \x1b[31m\n"
    put(box, "i", part)
    put(box, "j", b'Content-Type: a/b; name="\x1b[2J"\nSubject: =?utf-8?q?=1B=5B2J?=\n\n\x1b\n')
    here = person("-S", "crt=1")
    for line in ("f *", "p *", "P *", "top *", "r 5", "~p", "~m 5-$", "~x", "| 5-$ cat", "x"):
        here.type(f"{line}\n")
    assert here.end() == 0
    controls = {byte for byte in here.shown if byte < 32 or byte == 127}
    assert controls <= set(b"\r\n\t"), controls
    text = here.shown.decode()
    assert not re.search("[\x80-\x9f\u202a-\u202e\u2066-\u2069]", text)
    assert "one?[31mred" in text


def test_html_goes_through_the_filter_of_the_user(box: Box) -> None:
    put(box, "a", b"Content-Type: text/html; charset=koi8-r\n\n" + "<p>Да".encode("koi8-r"))
    assert "\nДа\n" in said(box, "p", "x")
    assert "\n<P>Да\n" in said(box, "set html_filter='tr p P'", "p", "x")
    out = said(box, "set html_filter=false", "p", "x")
    assert "false: exit status 1; shown without it\n" in out
    assert "\nДа\n" in out


def test_a_filter_that_does_not_end_is_given_up(monkeypatch) -> None:
    monkeypatch.setattr("pymail.console._PATIENCE", 0.2)
    with pytest.raises(MailError, match="sleep 9: no end after"):
        console.filtered("<p>", "sleep 9")


def test_a_terminal_in_koi8_gets_koi8(box: Box) -> None:
    put(box, "a", letter("a@x", "s", RUSSIAN))
    done = box.run(
        "mail", "-n", stdin="p /nothing\np\nx\n".encode("koi8-r"), env={"LC_ALL": "ru_RU.KOI8-R"}
    )
    assert RUSSIAN.encode("koi8-r") in done.stdout


# --- beside others -------------------------------------------------------------------------------


def test_the_inbox_of_another_user_must_be_theirs(machine) -> None:
    machine.send("root", b"Subject: for alice\n\nx\n", "alice")
    machine.flush()
    done = machine.run("root", "mail", "-n", "-u", "alice", stdin=b"p\nq\n")
    assert b"for alice" in done.stdout
    (kept,) = machine.mail("alice")
    assert kept.path.name.endswith(":2,S")
    assert kept.uid == Path("/home/alice").stat().st_uid
    Path("/home/bob/Maildir").symlink_to("/home/alice/Maildir")
    for mode, status in ((0o700, 66), (0o755, 77)):  # root reads with bob's rights
        for path in (Path("/home/alice/Maildir"), *Path("/home/alice/Maildir").iterdir()):
            path.chmod(mode)
        done = machine.run("root", "mail", "-n", "-u", "bob", stdin=b"d *\nq\n")
        assert (done.returncode, done.stdout) == (status, b""), done
    assert len(machine.mail("alice")) == 1
    assert machine.run("root", "mail", "-n", "-u", "nobody-here").returncode == 67


def as_user(user: str, script: str) -> None:
    """Do what that user may do in the own home."""
    done = subprocess.run(
        ["runuser", "-u", user, "--", "sh", "-ec", script], cwd=f"/home/{user}", check=False
    )
    assert done.returncode == 0


def secrets(place: str = "/home/secrets") -> Path:
    """Make a directory that only root may look into, and ordinary files in it."""
    for name in ("shadow", "sudoers"):
        path = Path(place, name)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_text("From: root\nSubject: secret\n\nx:y\n")
        path.chmod(0o600)
    return Path(place)


ALICES = (("-u", "alice"), ("-f", "/home/alice/Maildir"))
TREES = ("ln -s {} Maildir/new; mkdir Maildir/cur", "ln -s {} Maildir/cur; mkdir Maildir/new")


@pytest.mark.parametrize("said", [b"q\n", b"1\nd *\nq\n", b"s * /root/kept\nq\n"])
@pytest.mark.parametrize("args", ALICES, ids=["user", "file"])
@pytest.mark.parametrize("tree", TREES, ids=["new", "cur"])
def test_root_moves_and_deletes_nothing_that_a_users_maildir_leads_to(
    machine, tree: str, args: tuple[str, str], said: bytes
) -> None:
    place = secrets()
    as_user("alice", f"mkdir Maildir; {tree.format(place)}; mkdir Maildir/tmp")
    for text in (said, b"x\n"):
        done = machine.run("root", "mail", "-n", *args, stdin=text)
        assert b"secret" not in done.stdout, done
    assert sorted(os.listdir(place)) == ["shadow", "sudoers"]
    assert machine.run("root", "mail", "-n", "-H", *args).stdout == b""
    assert b"secret" not in machine.run("root", "pymail", "list", *args).stdout


def test_root_moves_no_letter_of_one_user_to_another(machine) -> None:
    machine.send("carol", b"Subject: for bob\n\nx\n", "bob")
    machine.flush()
    script = "mkdir -p Maildir/cur Maildir/tmp; ln -s /home/bob/Maildir/new Maildir/new"
    as_user("alice", script)
    for args in ALICES:
        machine.run("root", "mail", "-n", *args, stdin=b"q\n")
    assert os.listdir("/home/alice/Maildir/cur") == []
    assert len(machine.mail("bob")) == 1


def test_root_keeps_to_a_users_rights_whatever_is_exchanged_meanwhile(machine) -> None:
    place = secrets()
    as_user("alice", "mkdir -p Maildir/cur Maildir/new Maildir/tmp; echo x > Maildir/new/shadow")
    swap = "mv /home/alice/Maildir /home/alice/M && mkdir -p /home/alice/Maildir/cur &&"
    swap += f" ln -s {place} /home/alice/Maildir/new && chown -hR alice /home/alice/Maildir"
    said = f"d *\n! {swap}\nfile /home/alice/Maildir\nd *\nq\n".encode()
    machine.run("root", "mail", "-n", "-u", "alice", stdin=said)
    assert sorted(os.listdir(place)) == ["shadow", "sudoers"]


def test_root_writes_no_file_that_a_users_mbox_leads_to(machine) -> None:
    place = secrets()
    (place / "box").write_text("From a@x Mon Nov 23 00:00:00 2026\nSubject: secret\n\nx\n")
    as_user("alice", f"ln -s {place}/box box; ln -s {place} Maildir; mkfifo fifo")
    for args in (("-f", "/home/alice/box"), ("-f", "/home/alice/fifo"), ("-u", "alice")):
        for said in (b"d *\nq\n", b"s * /root/kept\nq\n"):
            done = machine.run("root", "mail", "-n", *args, stdin=said, timeout=20)
            assert done.returncode in (1, 66), done
            assert b"secret" not in done.stdout
    assert "secret" in (place / "box").read_text()
    done = machine.run("root", "mail", "-n", "-f", "/home/alice/box")
    assert done.stderr == b"mail: cannot open /home/alice/box: Permission denied (as alice)\n"


def test_root_answers_saves_and_changes_in_the_mailbox_of_a_user(machine) -> None:
    for name in ("one", "two", "three"):
        machine.send("bob", f"Subject: {name}\n\nbody\xff of {name}\n".encode("latin-1"), "alice")
    machine.flush()
    machine.write("root", "edit.sh", "echo edited > $1")
    said = b"""set EDITOR='sh /root/edit.sh'
save /one /root/kept
reply /two
an answer
.
edit /three
file /root/kept
file #
cd /
"""
    done = machine.run("root", "mail", "-n", "-u", "alice", stdin=said)
    assert done.returncode == 0, done
    assert b"body\xff of one" in Path("/root/kept").read_bytes()
    two, three = sorted(machine.mail("alice"), key=lambda kept: b"edited" in kept.data)
    assert (two.values("Subject"), two.path.name[-5:]) == (["two"], ":2,RS")
    assert three.data == b"edited\n"
    assert {kept.uid for kept in (two, three)} == {Path("/home/alice").stat().st_uid}
    machine.flush()
    (answer,) = machine.mail("bob")
    assert answer.values("From") == ["root <root@example.net>"]


def test_what_works_on_the_mailbox_of_a_user_may_die(machine) -> None:
    machine.send("bob", b"Subject: one\n\nx\n", "alice")
    machine.flush()
    (path,) = (str(kept.path.parent.parent) for kept in machine.mail("alice"))
    here = mailbox.opened(path, "alice")
    (found,) = here.letters()
    assert b"Subject: one" in here.read(found)
    os.kill(here._pid, signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(MailError, match="as alice has ended; open it again"):
            here.commit([Change(found, delete=True)])
    here.close()
    assert len(machine.mail("alice")) == 1


def test_after_an_interrupt_nothing_is_taken_for_an_answer_to_something_else(machine) -> None:
    machine.send("bob", b"Subject: one\n\nx\n", "alice")
    machine.flush()
    here = mailbox.opened("/home/alice/Maildir")
    (found,) = here.letters()
    os.kill(here._pid, signal.SIGSTOP)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        here.read(found)
    timer.join()
    with pytest.raises(MailError, match="has ended"):
        here.read(found)


@pytest.mark.parametrize(
    ("path", "user"),
    [
        ("/home/alice/Maildir/", "alice"),
        ("/home/alice/none", "alice"),
        ("/home/bob/../alice", "bob"),
        ("/home/byroot", "alice"),
        ("/home/byalice", "alice"),
        ("/etc/../etc//./passwd", ""),
        ("/var/mail/bob", "bob"),
        ("/home/volume/box", "uid4711"),
    ],
)
def test_a_path_is_held_by_the_first_on_it_who_is_not_root(machine, path: str, user: str) -> None:
    Path("/home/byroot").symlink_to("home/../alice/Maildir")
    Path("/home/home").symlink_to("/home/root")
    Path("/home/root").mkdir()
    Path("/home/byalice").symlink_to("/etc")
    os.chown("/home/byalice", 1001, 1001, follow_symlinks=False)
    Path("/var/mail/bob").write_text("")
    shutil.chown("/var/mail/bob", "bob")
    Path("/home/volume").mkdir()
    os.chown("/home/volume", 4711, 4711)
    try:
        found = holder(path)
        assert (found.name if found else "") == user
    finally:
        for name in ("byroot", "home", "byalice"):
            Path("/home", name).unlink()
        for name in ("root", "volume"):
            Path("/home", name).rmdir()


def test_links_without_end_hold_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels"):
        holder(str(tmp_path / "a"))


def test_mutt_and_mail_on_one_maildir_keep_every_message_and_flag(inbox: Box, person) -> None:
    needs("mutt")
    here = person()
    here.wait("? ")
    here.type("flag 1\n")
    here.wait("? ")
    here.type("d 4\n")
    here.wait("? ")
    push = (
        "push '<search>~s first<enter><set-flag>r<search>~s second<enter><delete-message>"
        "<search>~s third<enter><set-flag>!<quit>'"
    )
    settings = (
        "set folder=/",
        "set quit=yes",
        "set delete=yes",
        "set mark_old=yes",
    )
    mutt = ["mutt", "-n", "-F", "/dev/null", "-f", str(inbox.home / "Maildir")]
    mutt += [word for text in (*settings, push) for word in ("-e", text)]
    other = Terminal(["/usr/bin/env", *mutt], {**inbox.env, "TERM": "vt100"}, inbox.home)
    assert other.end() == 0
    during = names(inbox)
    assert "cur/a:2,RS" in during
    assert not any("b" in name[4:5] for name in during)
    assert any(re.match("cur/c:2,.*F", name) for name in during)
    here.type("p 3\n")
    here.wait("body three")
    here.type("q\n")
    assert here.end() == 0
    assert names(inbox) == ["cur/a:2,FRS", "cur/c:2,FS"]


def test_dovecot_and_mail_on_one_maildir_keep_every_message_and_flag(
    tmp_path: Path, box: Box
) -> None:
    from authority import Authority

    pem = Authority(tmp_path).pem("good", "localhost")
    with dovecot(tmp_path / "dovecot", pem) as store:
        store.put(*(letter(f"u{n}@x", f"s{n}", f"body {n}").encode() for n in range(40)))
        place = store.root / "mail" / USER
        wrong: list[str] = []

        def imap() -> None:
            import imaplib

            from mailstores import PASSWORD

            with imaplib.IMAP4("127.0.0.1", store.ports["imap"]) as server:
                server.login(USER, PASSWORD)
                server.select()
                for n in range(1, 41):
                    status, _ = server.store(str(n), "+FLAGS", r"(\Flagged $Label)")
                    if status != "OK":
                        wrong.append(status)

        thread = threading.Thread(target=imap)
        thread.start()
        for n in range(1, 41, 4):
            done = box.run("mail", "-n", "-N", "-f", str(place), stdin=f"p /s{n}\nq\n".encode())
            assert done.returncode == 0, done
        thread.join(60)
        assert wrong == []
        found = letters(place)
        assert sorted(kept.body for kept in found) == sorted(b"body %d\n" % n for n in range(40))
        flags = [kept.path.name.rpartition(":2,")[2] for kept in found]
        assert all("F" in each for each in flags), flags
        assert sum("S" in each for each in flags) >= 10
        assert all(set(each) <= set("FSa") for each in flags)


def test_what_is_no_mailbox_is_refused_at_once(box: Box) -> None:
    os.mkfifo(box.home / "fifo")
    assert box.run("mail", "-e", "-f", "fifo", timeout=20).returncode == 1
    assert box.run("mail", "-f", "fifo", timeout=20).returncode == 1
    (box.home / "dir").mkdir()
    assert box.run("mail", "-f", "dir").returncode == 1


def test_two_readers_at_once_lose_nothing(inbox: Box) -> None:
    for n in range(50):
        put(inbox, f"m{n}", letter("a@x", f"n{n}", f"{n}"))
    everything = {kept.data for kept in letters(inbox.home / "Maildir")}
    processes = [
        subprocess.Popen(argv("mail", "-n", "-N"), env=inbox.env, stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, cwd=inbox.home)
        for _ in range(3)
    ]  # fmt: skip
    for process, line in zip(processes, (b"flag *\n", b"p 5-20\n", b"d /n1\n"), strict=True):
        process.stdin.write(b"=\n" + line)
        process.stdin.flush()
    for process in processes:
        assert process.stdout.readline() == b"3\n", "it has looked into the mailbox"
    for process in processes:
        process.stdin.write(b"q\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0, 0, 0]
    left = letters(inbox.home / "Maildir")
    gone = everything - {kept.data for kept in left}
    assert all(b"Subject: n1" in data for data in gone)
    assert len(gone) == 11
    assert all("F" in kept.path.name.rpartition(":2,")[2] for kept in left)


@pytest.mark.parametrize("deliverer", ["pymail", "procmail"])
def test_an_mbox_is_kept_whole_while_mail_comes(box: Box, deliverer: str) -> None:
    path = box.home / "m"
    one = "From a@x Mon Nov 23 00:00:00 2026\n" + letter("a@x", "old %d", "body") + "\n"
    path.write_text("".join(one % n for n in range(30)))
    box.config('home_mailbox = "m"\n')
    # procmail locks with fcntl alone here, and never looks whether the file is still there.
    (box.home / "rc").write_text(f"MAILDIR={box.home}\n:0\nm\n")
    failed: list[bytes] = []

    def deliver() -> None:
        for n in range(15):
            message = f"From: c@x\nSubject: come {n}\n\nx\n".encode()
            if deliverer == "pymail":
                box.send(message)
                box.flush()
            else:
                message = b"From c@x Mon Nov 23 00:00:00 2026\n" + message  # procmail adds none
                failed.append(box.run("procmail", "-m", str(box.home / "rc"), stdin=message).stderr)

    needs(*({deliverer} - {"pymail"}))
    thread = threading.Thread(target=deliver)
    thread.start()
    for _ in range(10):
        assert script(box, "d 1", "p 2", "q", args=("-f", "m")).returncode == 0
    thread.join(60)
    assert box.queue() == []
    assert not any(failed)
    subjects = re.findall("^Subject: (.*)$", path.read_text(), re.MULTILINE)
    assert [s for s in subjects if s.startswith("old")] == [f"old {n}" for n in range(10, 30)]
    came = [int(s.split()[1]) for s in subjects if s.startswith("come")]
    assert sorted(came) == list(range(15))


def test_every_command_stands_in_the_manual_and_the_help_is_true() -> None:
    needs("mandoc")
    page = subprocess.run(
        ["mandoc", "-Tascii", ROOT / "man/mail.1"], capture_output=True, check=True
    )
    text = re.sub(".\b", "", page.stdout.decode())
    for verb, shortest in mailverbs.VERBS.items():
        rest = verb[len(shortest) :]
        name = f"{shortest}[{rest}]" if rest else shortest
        assert re.search(rf"(?<!\w){re.escape(name)}", text), verb
    assert set(mailverbs.VERBS) == {verb for verb in readverbs._ACTIONS if verb.isalpha()}
    verbs = readverbs.HELP.partition("A list:")[0]
    for word in re.findall(r"^([a-zA-Z]{2,})[ ,]", verbs, re.MULTILINE):
        assert mailverbs.command(word).verb, word


@pytest.mark.parametrize(
    ("lines", "first", "last"),
    [(["?"], "type, print", ":n new"), (["m bob\n~?\n~x"], "~~ text", "~M ~F list")],
)
def test_the_help_fits_a_terminal_of_80_columns_and_24_lines(
    session, lines: list[str], first: str, last: str
) -> None:
    shown = session(*lines, "x", args=("-N", "-S", "noask")).splitlines()
    start, end = (next(at for at, row in enumerate(shown) if word in row) for word in (first, last))
    assert max(len(row) for row in shown[start : end + 1]) < 80
    assert end - start < 22, "the command stands above, and the prompt below"


def test_the_help_goes_through_the_pager_where_it_does_not_fit(session) -> None:
    assert "\nP:type, print" in session("?", "x", LINES="12", PAGER="sed s/^/P:/")


def test_reading_is_not_loaded_by_sending(box: Box) -> None:
    code = (
        "import sys; sys.argv = ['mail', 'a']; from pymail.cli.mail import main; main(); "
        "print(*sys.modules)"
    )
    import sys

    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
        input=b"x\n", capture_output=True, env={**box.env, "PATH": PATH}, cwd=box.home, check=True,
    )  # fmt: skip
    loaded = set(done.stdout.decode().split())
    assert (
        loaded & {"email", "html.parser", "pymail.reading", "pymail.folder", "pymail.config"}
        == set()
    )
