"""mail as a program: what it sends, what it refuses, what it leaves behind."""

import fcntl
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import PATH, ROOT, Box, argv, needs
from machine import Machine
from queued import Queued, only, queued
from typist import Terminal

from pymail import escapes

HELLO = "заголовок"
TEXT = "текст письма\n"


def mail(box: Box, *args: str | bytes, stdin: bytes = b"body\n", **env: str) -> Queued:
    """Send a message that must be accepted, in silence."""
    done = box.run("mail", "-n", *args, stdin=stdin, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    return queued(box.spool)[-1]


def refused(box: Box, *args: str | bytes, stdin: bytes = b"body\n", **env: str) -> tuple[int, str]:
    """Send a message that must be refused, in one line, with nothing left behind."""
    before = sorted(box.home.rglob("*"))
    done = box.run("mail", "-n", *args, stdin=stdin, env=env)
    assert queued(box.spool) == []
    assert done.stdout == b""
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"mail: ")
    assert sorted(box.home.rglob("*")) == before
    return done.returncode, done.stderr.decode()


def rc(box: Box, text: str) -> None:
    (box.home / ".mailrc").write_text(text)


# --- text in any language -------------------------------------------------------------------


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8", "ru_RU.UTF-8", "ru_RU.KOI8-R", ""])
def test_russian_utf8_goes_out_right_in_every_locale(box: Box, locale: str) -> None:
    message = mail(
        box,
        "-s",
        HELLO.encode(),
        "-c",
        "Вася <v@example.org>".encode(),
        "-a",
        "X-Where: нигде".encode(),
        "user",
        stdin=TEXT.encode(),
        LC_ALL=locale,
    )
    assert message.head.isascii()
    assert message.mime["subject"] == HELLO
    assert message.mime["cc"] == "Вася <v@example.org>"
    assert message.mime["x-where"] == "нигде"
    assert message.mime.get_content_charset() == "utf-8"
    assert message.mime["content-transfer-encoding"] == "8bit"
    assert message.body == TEXT.encode()
    assert message.envelope.body == "8BITMIME"


@pytest.mark.parametrize("variable", ["LC_ALL", "LC_CTYPE", "LANG"])
def test_koi8_in_its_locale_is_labelled_so_and_names_are_understood(
    box: Box, variable: str
) -> None:
    name = "отчёт.txt".encode("koi8-r")
    Path(os.fsdecode(os.fsencode(box.home) + b"/" + name)).write_bytes("да\n".encode("koi8-r"))
    message = mail(
        box,
        "-s",
        HELLO.encode("koi8-r"),
        "-A",
        name,
        "user",
        stdin=TEXT.encode("koi8-r"),
        **{variable: "ru_RU.KOI8-R"},
    )
    assert message.mime["subject"] == HELLO
    assert message.text == TEXT
    assert message.mime.get_body().get_content_charset() == "koi8-r"
    (attached,) = message.mime.iter_attachments()
    assert attached.get_filename() == "отчёт.txt"
    assert attached.get_content() == "да\n"


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_bytes_that_are_no_utf8_are_latin1(box: Box, locale: str) -> None:
    message = mail(box, "-s", b"caf\xe9", "user", stdin=b"caf\xe9\n", LC_ALL=locale)
    assert message.mime["subject"] == "café"
    assert message.mime.get_content_charset() == "iso-8859-1"
    assert message.body == b"caf\xe9\n"


def test_ttycharset_says_what_the_text_is_in(box: Box) -> None:
    message = mail(box, "-S", "ttycharset=koi8-r", "user", stdin=TEXT.encode("koi8-r"))
    assert message.text == TEXT


def test_plain_ascii_is_labelled_so(box: Box) -> None:
    message = mail(box, "-s", "subj", "user")
    assert message.head == (
        "To: user\nSubject: subj\nMIME-Version: 1.0\n"
        "Content-Type: text/plain; charset=us-ascii\nContent-Transfer-Encoding: 7bit\n"
    )
    assert message.envelope.body == ""


@pytest.mark.parametrize(
    "body",
    [
        b"a\0b\n",
        b"10%\r20%\rdone\n",
        b"x" * 5000 + b"\n",
        "ы".encode() * 1000 + b"\n",
        b"trailing \n\t\n=3D\n.\n..\nFrom me\n" + b"y" * 999 + b"\n",
    ],
)
def test_text_that_mail_cannot_carry_is_quoted_and_arrives_whole(box: Box, body: bytes) -> None:
    message = mail(box, "user", stdin=body)
    assert message.mime["content-transfer-encoding"] == "quoted-printable"
    assert max(map(len, message.body.split(b"\n"))) <= 76
    assert message.mime.get_payload(decode=True) == body


def test_a_text_from_windows_loses_its_carriage_returns_and_gains_a_final_newline(box: Box) -> None:
    assert mail(box, "user", stdin=b"one\r\ntwo").body == b"one\ntwo\n"


def how_to(machine: Machine) -> None:
    """Send and deliver the letter of the how-to, under the locale of cron."""
    done = machine.run(
        "bob",
        "sh",
        "-c",
        'echo "текст письма" | "$@" -s "заголовок" alice',
        "sh",
        *argv("mail"),
        env={"PATH": PATH, "LC_ALL": "C"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    machine.flush()


def test_mutt_shows_the_letter_of_the_how_to(machine: Machine) -> None:
    needs("mutt")
    how_to(machine)
    machine.write(
        "alice",
        ".muttrc",
        "set folder=/home/alice charset=utf-8 wait_key=no pipe_decode=yes quit=yes\n"
        'push "<pipe-message>cat >/home/alice/shown<enter><exit>"\n',
    )
    command = ["/usr/bin/setpriv", "--reuid=alice", "--regid=alice", "--init-groups", "mutt"]
    command += ["-F", "/home/alice/.muttrc", "-f", "/home/alice/Maildir"]
    env = {"PATH": PATH, "TERM": "vt100", "HOME": "/home/alice", "LANG": "C.UTF-8"}
    assert Terminal(command, env, Path("/")).end() == 0
    shown = Path("/home/alice/shown").read_text()
    assert f"\nSubject: {HELLO}\n" in shown
    assert '\nFrom: "Bob (the) Builder" <bob@example.net>\n' in shown
    assert shown.endswith(f"\n\n{TEXT}")


def test_dovecot_finds_the_words_of_the_letter_of_the_how_to(machine: Machine) -> None:
    needs("/usr/lib/dovecot/imap")
    how_to(machine)
    Path("/etc/dovecot/how-to.conf").write_text(
        "mail_location = maildir:/home/%u/Maildir\nlog_path = /home/%u/dovecot.log\nssl = no\n"
        "passdb {\n  driver = static\n  args = nopassword=y\n}\n"
        "userdb {\n  driver = passwd\n}\n"
    )
    Path("/run/dovecot").mkdir(exist_ok=True)
    subject, text = HELLO.upper().encode(), TEXT.strip().encode()
    done = subprocess.run(
        ["/usr/lib/dovecot/imap", "-c", "/etc/dovecot/how-to.conf"],
        input=b"a SELECT INBOX\r\n"
        b"b SEARCH CHARSET UTF-8 SUBJECT {%d+}\r\n%s BODY {%d+}\r\n%s\r\n"
        b"c FETCH 1 BODYSTRUCTURE\r\nd LOGOUT\r\n" % (len(subject), subject, len(text), text),
        capture_output=True,
        env={"PATH": PATH, "USER": "alice", "HOME": "/home/alice"},
        user=1001,
        group=1001,
        extra_groups=[],
        cwd="/home/alice",
        check=False,
    )
    assert b"\r\n* SEARCH 1\r\n" in done.stdout
    assert b'("text" "plain" ("charset" "utf-8") NIL NIL "8bit" ' in done.stdout


# --- the command line ---------------------------------------------------------------------------


def test_a_comma_behind_a_bracket_may_be_missing(box: Box) -> None:
    message = mail(box, "-c", "<c@x>\td@x", "Al <a@x> b@x")
    assert message.envelope.recipients == ["a@x", "b@x", "c@x", "d@x"]


def test_recipients_may_be_lists_names_and_groups_in_one_argument(box: Box) -> None:
    message = mail(
        box,
        'a b@example.org, "Doe, J" <jd@example.org>; team: c, Иван <i@example.org>;',
        "A@EXAMPLE.ORG a",
        "",
        "-b",
        "hidden",
    )
    assert message.envelope.recipients == [
        "a",
        "b@example.org",
        "jd@example.org",
        "c",
        "i@example.org",
        "A@EXAMPLE.ORG",
        "hidden",
    ]
    assert message.mime["to"] == (
        'a, b@example.org, "Doe, J" <jd@example.org>, c, Иван <i@example.org>, A@EXAMPLE.ORG'
    )
    assert b"hidden" not in message.data
    assert message.head.isascii()


@pytest.mark.parametrize(
    "recipient",
    [
        "|cat > pwn",
        '"|touch pwn"',
        "/tmp/pwn",
        "./pwn",
        "../pwn",
        "~/pwn",
        "+pwn",
        "dir/pwn",
        "Nice Name <|touch pwn>",
        ":include:/etc/passwd",
    ],
)
@pytest.mark.parametrize("option", ["", "-c", "-b", "-t", "alias"])
def test_files_and_commands_are_no_recipients(box: Box, recipient: str, option: str) -> None:
    if option == "-t":
        before = f"To: alice, {recipient}\n\nbody\n".encode()
        done = box.run("mail", "-n", "-t", stdin=before)
        assert done.returncode == 65
        assert queued(box.spool) == []
        assert {path.name for path in box.home.iterdir()} == {"dead.letter"}
        return
    if option == "alias":
        quoted = recipient.replace("\\", "\\\\").replace('"', '\\"')
        rc(box, f'alias them alice "{quoted}"\n')
    args = {"": [recipient], "alias": ["them"]}.get(option, [option, recipient])
    status, words = refused(box, "alice", *args)
    assert status == 65
    assert "is refused" in words


@pytest.mark.parametrize(
    ("args", "status"),
    [
        (["-s", "x"], 64),
        ([" "], 64),
        (["-Z", "a"], 64),
        (["--frobnicate", "a"], 64),
        (["-"], 64),
        (["--version=1", "a"], 64),
        (["-s"], 64),
        (["--subject"], 64),
        (["-R", "a"], 64),
        (["-a", "nonsense", "a"], 64),
        (["-A", "missing", "a"], 66),
        (["-A", ".", "a"], 66),
        (["-a", "/nowhere/x", "a"], 64),
        (["a@b@c"], 65),
        (["-r", "a@b@c", "a"], 65),
        (["-r", "(nobody)", "a"], 65),
        (["-t"], 64),
        (["-f", "a", "b"], 64),
        (["-f", "-u", "a"], 64),
        (["-u", "a", "b"], 64),
        (["-e", "a"], 64),
        (["-f", "missing"], 66),
        (["-q", "/proc/self/mem", "a"], 66),
        (["-A", "/proc/self/mem", "a"], 66),
        (["-u", "no-such-user"], 67),
    ],
)
def test_what_makes_no_sense_is_refused(box: Box, args: list[str], status: int) -> None:
    assert refused(box, *args, stdin=b"")[0] == status


def test_options_may_be_bundled_attached_long_and_behind_the_recipients(box: Box) -> None:
    message = mail(box, "-Ensone", "a", "--append=X-A: 1", "--subject", "two", "-bc", "--", "-x@y")
    assert message.envelope.recipients == ["a", "-x@y", "c"]
    assert message.mime["subject"] == "two"
    assert message.mime["x-a"] == "1"


def test_a_line_end_cannot_smuggle_in_a_header(box: Box) -> None:
    message = mail(
        box, "-s", "a\nBcc: evil@example.org", "-a", "X-A: 1\r\nBcc: evil@example.org", "user\n"
    )
    assert message.envelope.recipients == ["user"]
    assert message.mime["bcc"] is None
    assert message.mime["subject"] == "a Bcc: evil@example.org"


def test_headers_of_the_user_replace_ours(box: Box) -> None:
    mime = ["MIME-Version: 1.0", "Content-type: text/plain; charset=UTF-8"]
    mime += ["Content-transfer-encoding: 8bit", "From: Иван <i@example.org>", "Subject: three"]
    args = [word for header in mime for word in ("-a", header.encode())]
    message = mail(box, "-s", "one", "-a", "Subject: two", *args, "user", stdin=TEXT.encode())
    assert message.head == (
        "From: =?utf-8?b?0JjQstCw0L0=?= <i@example.org>\nTo: user\nSubject: three\n"
        "MIME-Version: 1.0\nContent-type: text/plain; charset=UTF-8\n"
        "Content-transfer-encoding: 8bit\n"
    )
    assert message.envelope.sender is None


def test_recipients_in_headers_of_the_user_are_recipients(box: Box) -> None:
    message = mail(box, "-a", "To: a", "-a", "Cc: b, c", "-a", "Bcc: d")
    assert message.envelope.recipients == ["a", "b", "c", "d"]
    assert message.mime["cc"] == "b, c"
    assert message.mime["bcc"] is None


@pytest.mark.parametrize("args", [["-a", "Content-Type: text/html"], ["-M", "text/html"]])
def test_a_type_of_the_user_gets_the_character_set_it_lacks(box: Box, args: list[str]) -> None:
    message = mail(box, *args, "user", stdin="<p>да".encode())
    assert message.mime["content-type"] == 'text/html; charset="utf-8"'
    assert "Content-Type: text/html; charset=utf-8\n" in message.head


def test_a_body_that_is_no_text_is_base64(box: Box) -> None:
    data = bytes(range(256)) * 10
    message = mail(box, "-M", "application/pdf", "user", stdin=data)
    assert message.mime.get_content_type() == "application/pdf"
    assert message.mime.get_payload(decode=True) == data


def test_a_multipart_of_the_user_is_left_alone(box: Box) -> None:
    body = '--x\nContent-Type: text/plain; charset="utf-8"\n\nда\n--x--\n'.encode()
    kind = 'Content-Type: multipart/mixed; boundary="x"'
    message = mail(box, "-a", kind, "user", stdin=body)
    assert message.body == body
    assert message.mime["content-transfer-encoding"] == "8bit"


def test_minus_m_minus_q_and_minus_e_take_an_argument_only_where_it_fits(box: Box) -> None:
    (box.home / "quote").write_text("from the file\n")
    assert mail(box, "-q", "quote", "-M", "-q", "user").body == b"from the file\nbody\n"
    assert mail(box, "-E", "set escape", "-E", "user").envelope.recipients == ["user"]
    assert mail(box, "-M", "user").mime.get_content_type() == "text/plain"


def test_the_sender_is_in_from_and_envelope(box: Box) -> None:
    message = mail(box, "-r", "Монитор <m@example.org>".encode(), "user")
    assert message.envelope.sender == "m@example.org"
    assert message.mime["from"] == "Монитор <m@example.org>"
    message = mail(box, "-S", "from=s@example.org", "user")
    assert (message.envelope.sender, message.mime["from"]) == ("s@example.org", "s@example.org")
    message = mail(box, "-r", "<>", "user")
    assert (message.envelope.sender, message.mime["from"]) == ("", None)
    message = mail(box, "-r", "", "user", NAME="Full Name")
    assert (message.envelope.sender, message.mime["from"]) == (None, None)
    assert message.envelope.full_name == "Full Name"


@pytest.mark.parametrize("sender", ["bad@@", "@", "a b@@"])
def test_a_sender_that_is_no_address_is_not_called_a_recipient(box: Box, sender: str) -> None:
    told = f"mail: cannot send as {sender}: not an address\n"
    for args in (["-r", sender], ["-S", f"from={sender}"]):
        assert refused(box, *args, "root") == (65, told)


def test_an_empty_body_is_sent_unless_told_otherwise(box: Box) -> None:
    assert mail(box, "-s", "x", "user", stdin=b"").body == b""
    done = box.run("mail", "-n", "-E", "-s", "x", "user", stdin=b"")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert len(queued(box.spool)) == 1
    (box.home / "a").write_text("x")
    mail(box, "-E", "-A", "a", "user", stdin=b"")
    assert len(queued(box.spool)) == 2


def test_a_domain_in_utf8_asks_for_nothing(box: Box) -> None:
    message = mail(box, "bob@bücher.example".encode(), LC_ALL="C")
    assert "UTF8" not in message.envelope.body
    assert "bob@bücher.example" in message.data.decode()


def test_an_address_in_utf8_asks_for_smtputf8(box: Box) -> None:
    message = mail(box, "почта@пример.рф".encode(), LC_ALL="C")
    assert message.envelope.recipients == ["почта@пример.рф"]
    assert message.envelope.body == "8BITMIME+UTF8"
    assert "To: почта@пример.рф\n".encode() in message.data


def test_a_template_brings_its_header_and_loses_its_bcc(box: Box) -> None:
    template = (
        "From me Mon Nov 23 2026\nTo: a,\n b\nBcc: c\nSubject: привет\nX-A: 1\n"
        "\tfolded\nFrom: Иван <i@x>\nMIME-Version: 1.0\n\nтекст\n"
    )
    message = mail(box, "-t", "d", stdin=template.encode(), LC_ALL="C")
    assert sorted(message.envelope.recipients) == ["a", "b", "c", "d"]
    assert message.mime["to"] == "d, a, b"
    assert message.mime["subject"] == "привет"
    assert message.mime["from"] == "Иван <i@x>"
    assert "X-A: 1\n\tfolded\n" in message.head
    assert message.head.count("MIME-Version") == 1
    assert message.mime["bcc"] is None
    assert message.body == "текст\n".encode()


def test_a_failure_of_the_null_sender_is_reported_to_postmaster(box: Box) -> None:
    mail(box, "-r", "<>", "-s", "lost", "no-such-user")
    box.flush()
    (report,) = box.maildir()
    assert b"\nSubject: Postmaster Copy: " in report
    assert b"\nSubject: lost\n" in report


def test_the_command_line_counts_more_than_the_template_and_recipients_add_up(box: Box) -> None:
    template = b"To: a\nCc: c\nSubject: theirs\nReply-To: r\n\nx\n"
    message = mail(box, "-t", "-s", "mine", "-c", "d", "b", stdin=template)
    assert sorted(message.envelope.recipients) == ["a", "b", "c", "d"]
    assert message.mime["subject"] == "mine"
    assert message.mime["reply-to"] == "r"


def test_debug_shows_the_message_and_sends_nothing(box: Box) -> None:
    done = box.run("mail", "-n", "-d", "-s", "x\x1b[2J", "a", stdin=b"b\x1b]0;evil\x07\n")
    assert done.returncode == 0
    assert b"To: a\n" in done.stdout
    assert b"\x1b" not in done.stdout
    assert queued(box.spool) == []


def test_verbose_says_the_queue_id(box: Box) -> None:
    done = box.run("mail", "-n", "-v", "a", stdin=b"")
    assert done.stdout.decode() == f"{box.queue()[0]}: queued\n"
    done = box.run("sh", "-c", '"$@" > /dev/full', "sh", *argv("mail", "-n", "-v", "a"))
    assert (done.returncode, done.stderr, len(box.queue())) == (0, b"", 2), "the mail is safe"


def test_a_letter_is_kept_where_nobody_hears_its_escapes(box: Box) -> None:
    mail = shlex.join(map(str, argv("mail", "-n", "-~", "a")))
    script = f"(sleep 1; printf 'one\n~p\ntwo\n') | {mail} | true; exit ${{PIPESTATUS[1]}}"
    done = box.run("bash", "-c", script)
    told = f"mail: cannot write output: nobody reads it; the letter is in {box.home}/dead.letter\n"
    assert (done.returncode, done.stderr.decode(), box.queue()) == (74, told, [])
    assert b"\n\none\n" in (box.home / "dead.letter").read_bytes()


def test_a_letter_is_kept_whatever_stops_it(box: Box) -> None:
    code = (
        "import sys; sys.argv = ['mail', '-n', *sys.argv[1:], 'a']; from pymail import inlet; "
        "from pymail.cli.mail import main; inlet.queue = lambda *_: 1 / 0; main()"
    )
    run = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"]
    done = box.run(*run, stdin=b"one\n")
    assert (done.returncode, b"ZeroDivisionError" in done.stderr) == (1, True)
    assert b"\n\none\n" in (box.home / "dead.letter").read_bytes()
    shown = shlex.join([*run, "-d"])
    box.run("sh", "-c", f"sleep 0.3; echo two | {shown} | true")
    assert b"two" not in (box.home / "dead.letter").read_bytes(), "it was not to be sent"


# --- attachments -----------------------------------------------------------------------------


def test_attachments_arrive_to_the_byte_under_their_names(box: Box) -> None:
    files = {
        "отчёт за ноябрь, окончательный, исправленный (2).pdf": bytes(range(256)) * 400,
        'q"uote;.txt': "да без конца строки".encode(),
        "dos.txt": b"one\r\ntwo\r\n",
        "README": b"plain\n",
        "latin": b"\xe9\n",
        "long.csv": b"x" * 2000,
        "empty": b"",
        "backup.tar.gz": b"\x1f\x8b\0",
        "letter.eml": b"Subject: x\n\nbody\n",
        "bad.eml": b"Subject: x\n\n\xff\0\n",
    }
    kinds = {
        "README": "text/plain",
        "latin": "application/octet-stream",
        "backup.tar.gz": "application/gzip",
        "letter.eml": "message/rfc822",
        "bad.eml": "application/octet-stream",
        "long.csv": "text/csv",
    }
    for name, data in files.items():
        (box.home / name).write_bytes(data)
    args = [word for name in files for word in ("-A", name.encode())]
    message = mail(box, *args, "user", LC_ALL="C")
    found = {}
    for part in message.mime.iter_attachments():
        name = part.get_filename()
        kind = part.get_content_type()
        assert kinds.get(name, kind) == kind
        whole = kind == "message/rfc822"
        payload = part.get_payload(0).as_bytes() if whole else part.get_payload(decode=True)
        found[name] = payload
    assert found == files
    assert message.text == "body\n"
    assert message.head.isascii()
    assert max(map(len, message.data.split(b"\n"))) <= 998


def test_minus_a_is_a_header_or_a_file(box: Box) -> None:
    (box.home / "X-A: 1").write_text("a file with a strange name")
    (box.home / "notes").write_text("text\n")
    message = mail(box, "-a", "X-A: 1", "-a", "notes", "-a", "X-B:2", "user")
    assert message.mime["x-a"] == "1"
    assert message.mime["x-b"] == "2"
    assert [p.get_filename() for p in message.mime.iter_attachments()] == ["notes"]


# --- ~/.mailrc -----------------------------------------------------------------------------------


def test_aliases_are_expanded(box: Box) -> None:
    rc(box, 'alias team al "Y Z <y@example.org>" other\nalias al alice bob@example.org\n')
    message = mail(box, "team", "-c", "al", "\\team", "A <al>")
    assert message.envelope.recipients == [
        "alice",
        "bob@example.org",
        "y@example.org",
        "other",
        "team",
        "al",
    ]
    assert message.mime["to"] == (
        "alice, bob@example.org, Y Z <y@example.org>, other, team, A <al>"
    )


def test_aliases_that_go_round_are_refused_and_an_alias_may_name_itself(box: Box) -> None:
    rc(box, "alias a b\nalias b c\nalias c a\nalias self self x\n")
    assert refused(box, "a")[0] == 65
    assert mail(box, "self").envelope.recipients == ["self", "x"]


def test_who_writes_to_a_group_gets_no_copy_unless_wanted(box: Box) -> None:
    rc(box, f"alias all {box.user} alice\nalias me {box.user}\n")
    assert mail(box, "all").envelope.recipients == ["alice"]
    assert mail(box, "me").envelope.recipients == [box.user]
    assert mail(box, "-S", "metoo", "all").envelope.recipients == [box.user, "alice"]


def test_variables_of_mailrc_set_header_fields(box: Box) -> None:
    rc(box, 'set from="Иван <i@x>" replyto=r@x autocc=c@x autobcc=b@x\n')
    message = mail(box, "user")
    assert message.mime["from"] == "Иван <i@x>"
    assert message.mime["reply-to"] == "r@x"
    assert message.mime["cc"] == "c@x"
    assert message.envelope.recipients == ["user", "c@x", "b@x"]
    assert mail(box, "user", MAILRC="/dev/null", REPLYTO="e@x").mime["reply-to"] == "e@x"


def test_mailrc_of_the_environment_goes_before_that_of_the_home(box: Box) -> None:
    rc(box, "alias x home\n")
    (box.home / "other").write_text("alias x other\n")
    assert mail(box, "x").envelope.recipients == ["home"]
    assert mail(box, "x", MAILRC="~/other").envelope.recipients == ["other"]


def test_a_mailrc_that_cannot_be_read_is_said_and_the_mail_goes_out(box: Box) -> None:
    done = box.run("mail", "-n", "user", stdin=b"x\n", env={"MAILRC": str(box.home)})
    assert done.returncode == 0
    assert done.stderr.decode() == f"mail: cannot read {box.home}: Is a directory\n"
    assert only(box.spool).body == b"x\n"


# --- copies and failures -----------------------------------------------------------------------


def test_a_copy_of_what_was_sent_is_kept_where_record_says(box: Box) -> None:
    mail(box, "-S", "record=~/sent", "-b", "hidden", "user", stdin=b"From me\n")
    sent = (box.home / "sent").read_text()
    assert sent.startswith(f"From {box.user} ")
    assert "\nBcc: hidden\n" in sent
    assert sent.endswith("\n\n>From me\n\n")
    assert (box.home / "sent").stat().st_mode & 0o777 == 0o600
    (box.home / "Sent" / "cur").mkdir(parents=True)
    mail(box, "-S", "folder=Sent", "-S", "record=+", "user")
    mail(box, "-S", "folder=~", "-S", "record=+Sent", "user")
    (copy,) = (box.home / "Sent" / "cur").iterdir()
    assert copy.name.endswith(":2,S")
    assert copy.read_bytes().startswith(b"Date: ")


def test_record_by_name_goes_to_the_current_directory_and_not_through_a_link(box: Box) -> None:
    mail(box, "-F", "alice@example.org")
    assert (box.home / "alice").read_text().endswith("\n\nbody\n\n")
    victim = box.home / "victim"
    victim.write_text("")
    (box.home / "bob").symlink_to(victim)
    done = box.run("mail", "-n", "-F", "bob", stdin=b"x\n")
    assert (done.returncode, done.stderr.count(b"\n")) == (0, 1)
    assert b"sent, but cannot keep a copy in ./bob" in done.stderr
    assert victim.read_text() == ""
    assert len(queued(box.spool)) == 2


def test_a_message_that_cannot_be_queued_is_in_dead_letter_and_can_be_sent_again(box: Box) -> None:
    box.spool.parent.mkdir(exist_ok=True)
    box.spool.write_text("in the way")
    args = ["-s", "привет", "-b", "hidden", "-A", "a", "user"]
    (box.home / "a").write_text("attached\n")
    done = box.run("mail", "-n", *args, stdin=b"From me\nbody\n")
    letter = box.home / "dead.letter"
    assert done.returncode == 75
    assert done.stderr.endswith(f"; the letter is in {letter}\n".encode())
    assert done.stderr.count(b"\n") == 1
    assert letter.stat().st_mode & 0o777 == 0o600
    box.spool.unlink()
    message = mail(box, "-t", stdin=letter.read_bytes())
    assert message.envelope.recipients == ["user", "hidden"]
    assert message.mime["subject"] == "привет"
    assert message.text == ">From me\nbody\n"
    assert [p.get_content() for p in message.mime.iter_attachments()] == ["attached\n"]
    assert b"hidden" not in message.data


def test_dead_letter_is_where_it_is_wanted_or_not_at_all(box: Box) -> None:
    box.spool.write_text("in the way")
    box.run("mail", "-n", "user", stdin=b"x\n", env={"DEAD": str(box.home / "dead")})
    assert (box.home / "dead").read_text().endswith("\n\nx\n\n")
    done = box.run("mail", "-n", "-S", "nosave", "user", stdin=b"x\n")
    assert (done.returncode, b"; the letter is in" in done.stderr) == (75, False)
    done = box.run("mail", "-n", "user", stdin=b"x\n", env={"DEAD": "/nowhere/x"})
    assert done.returncode == 75
    assert done.stderr.count(b"\n") == 2
    assert not (box.home / "dead.letter").exists()


def test_a_message_that_is_too_big_is_refused(box: Box) -> None:
    box.spool.mkdir()
    (box.spool / "message_size_limit").write_text("1000\n")
    done = box.run("mail", "-n", "user", stdin=b"x\n" * 600)
    assert done.returncode == 69
    assert queued(box.spool) == []
    assert (box.home / "dead.letter").exists()


def short_of_memory(box: Box, *args: str, stdin: str) -> "subprocess.CompletedProcess[bytes]":
    """Run mail with 600 MB of memory, and a file of 2 GB that takes no place."""
    with (box.home / "huge").open("wb") as file:
        file.truncate(2 << 30)
    script = f'ulimit -v 600000; "$@" < {stdin}'
    return box.run("sh", "-c", script, "sh", *argv("mail", "-n", *args, "user"))


ENDLESS = [
    ("message", [], "huge"),
    ("message", [], "/dev/zero"),
    ("message", ["-t"], "huge"),
    ("message", ["-q", ".mailrc"], "huge"),
    ("huge", ["-q", "huge"], "/dev/null"),
    ("huge", ["-A", "huge"], "/dev/null"),
    ("/dev/zero", ["-A", "/dev/zero"], "/dev/null"),
    ("/dev/stdin", ["-A", "/dev/stdin"], "huge"),
]


@pytest.mark.parametrize(("name", "args", "stdin"), ENDLESS)
def test_what_has_no_end_is_too_big(box: Box, name: str, args: list[str], stdin: str) -> None:
    rc(box, "text\n")
    done = short_of_memory(box, *args, stdin=stdin)
    told = f"mail: cannot send {name}: too big, over 10240000 bytes (message_size_limit)\n"
    assert (done.returncode, done.stderr.decode()) == (69, told)
    assert queued(box.spool) == []
    assert not (box.home / "dead.letter").exists(), "half a letter is none"


@pytest.mark.parametrize(("args", "stdin"), [([], "huge"), (["-A", "huge"], "/dev/null")])
def test_without_a_limit_it_is_memory_that_ends(box: Box, args: list[str], stdin: str) -> None:
    box.spool.mkdir()
    (box.spool / "message_size_limit").write_text("0\n")
    done = short_of_memory(box, *args, stdin=stdin)
    assert (done.returncode, done.stderr) == (71, b"mail: out of memory\n")
    assert queued(box.spool) == []


def test_attachments_count_together(box: Box) -> None:
    box.spool.mkdir()
    (box.spool / "message_size_limit").write_text("1000\n")
    (box.home / "half").write_text("x\n" * 300)
    assert refused(box, "-A", "half", "-A", "half", "user")[0] == 69


def test_an_escape_reads_no_file_without_end(box: Box) -> None:
    done = box.run("mail", "-n", "-~", "user", stdin=b"~r /dev/zero\n~@ /dev/zero\ntext\n")
    assert done.stdout.count(b"cannot send /dev/zero: too big, over 10240000 bytes") == 2
    assert (done.returncode, only(box.spool).body) == (0, b"text\n")


def test_a_fifo_and_standard_input_can_be_attached(box: Box) -> None:
    script = '"$@" -A /dev/stdin -A fifo user < .mailrc & printf two > fifo; wait $!'
    rc(box, "one")
    os.mkfifo(box.home / "fifo")
    done = box.run("sh", "-c", script, "sh", *argv("mail", "-n"))
    assert (done.returncode, done.stderr) == (0, b"")
    found = [(a.get_filename(), a.get_content()) for a in only(box.spool).mime.iter_attachments()]
    assert found == [("stdin", "one"), ("fifo", "two")]


@pytest.mark.parametrize("options", [(), ("-~",), ("-I",)])
def test_a_closed_input_is_no_empty_message(box: Box, options: tuple[str, ...]) -> None:
    done = box.run("sh", "-c", '"$@" <&-', "sh", *argv("mail", "-n", *options, "user"))
    assert (done.returncode, done.stderr.count(b"\n")) == (66, 1)
    assert queued(box.spool) == []


def test_a_read_that_fails_is_not_the_end_of_the_message(box: Box) -> None:
    done = box.run("sh", "-c", '"$@" </proc/self/mem', "sh", *argv("mail", "-n", "user"))
    assert done.returncode == 75
    assert done.stderr.decode() == (
        "mail: cannot read message from standard input: Input/output error\n"
    )
    assert queued(box.spool) == []


def taken(process: "subprocess.Popen[bytes]") -> None:
    """Wait until a program has read all that is in the pipe to it."""
    assert process.stdin is not None
    process.stdin.flush()
    left = b"\1\0\0\0"
    while left != bytes(4):
        left = fcntl.ioctl(process.stdin.fileno(), termios.FIONREAD, bytes(4))
        time.sleep(0.01)


def test_a_pipe_that_is_interrupted_queues_nothing(box: Box) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with subprocess.Popen(
            argv("mail", "-n", "user"), stdin=subprocess.PIPE, env=box.env, cwd=box.home
        ) as process:
            assert process.stdin is not None
            process.stdin.write(b"half")
            taken(process)
            process.send_signal(number)
            assert process.wait(10) != 0
    assert queued(box.spool) == []


def test_minus_i_survives_an_interrupt(box: Box) -> None:
    with subprocess.Popen(
        argv("mail", "-n", "-i", "user"), stdin=subprocess.PIPE, env=box.env, cwd=box.home
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b"half\n")
        taken(process)
        process.send_signal(signal.SIGINT)
        process.stdin.close()
        assert process.wait(10) == 0
    assert only(box.spool).body == b"half\n"


# --- at a terminal --------------------------------------------------------------------------------


@pytest.fixture
def person(box: Box):
    """Start mail at a terminal."""

    def start(*args: str, **env: str) -> Terminal:
        # cat shows what an editor would be given.
        return Terminal(argv("mail", "-n", *args), {**box.env, "TERM": "dumb", **env}, box.home)

    return start


def test_a_person_is_asked_for_a_subject_and_ends_with_a_dot(box: Box, person) -> None:
    here = person("user")
    here.wait("Subject: ")
    here.type("заголовок\n")
    here.type("текст\n")
    here.type(".\n")
    here.wait("EOT")
    assert here.end() == 0
    message = only(box.spool)
    assert message.mime["subject"] == HELLO
    assert message.body == "текст\n".encode()


def test_a_person_may_end_with_the_end_of_file(box: Box, person) -> None:
    here = person("-s", "x", "user")
    here.type("one\n\x04")
    here.wait("EOT")
    assert here.end() == 0
    here = person("-s", "x", "user")
    here.type("unfinished\x04\x04")
    assert here.end() == 0
    assert [m.body for m in queued(box.spool)] == [b"one\n", b"unfinished\n"]


def test_variables_decide_how_a_message_ends(box: Box, person) -> None:
    here = person("-s", "x", "-S", "nodot", "-S", "ignoreeof", "-S", "askcc", "user")
    here.type(".\n\x04")
    here.wait('Use "."')
    here.type("~.\n")
    here.wait("Cc: ")
    here.type("carol\n")
    assert here.end() == 0
    message = only(box.spool)
    assert message.body == b".\n"
    assert message.mime["cc"] == "carol"


def test_no_question_for_a_subject_where_noask_is_set(box: Box, person) -> None:
    rc(box, "set noask\n")
    here = person("user")
    here.type("x\n.\n")
    assert here.end() == 0
    assert b"Subject" not in here.shown


def test_two_interrupts_give_up_and_keep_the_letter(box: Box, person) -> None:
    here = person("-s", "x", "user")
    here.type("one\n~p\n")
    here.wait("(continue)")
    here.type("half\x03")
    here.wait("one more to kill letter)")
    here.type("two\n~p\n")
    here.wait("(continue)")
    here.type("\x03")
    here.wait("one more to kill letter)")
    here.type("\x03")
    assert here.end() == 1
    assert queued(box.spool) == []
    assert (box.home / "dead.letter").read_text().endswith("\n\none\ntwo\n\n")


def test_an_interrupt_at_the_subject_gives_up(box: Box, person) -> None:
    here = person("user")
    here.wait("Subject: ")
    here.type("\x03")
    assert here.end() == 1
    assert queued(box.spool) == []


def test_an_interrupt_at_the_last_question_gives_up_and_keeps_the_letter(box: Box, person) -> None:
    here = person("-s", "x", "-S", "askbcc", "user")
    here.type("text\n.\n")
    here.wait("Bcc: ")
    here.type("\x03")
    assert here.end() == 1
    assert (box.home / "dead.letter").read_text().endswith("\n\ntext\n\n")


def test_minus_i_answers_interrupts_with_an_at_sign(box: Box, person) -> None:
    here = person("-i", "-s", "x", "user")
    here.type("one\n~p\n")
    here.wait("(continue)")
    here.type("\x03")
    here.wait("@")
    here.type("two\n.\n")
    assert here.end() == 0
    assert only(box.spool).body == b"one\ntwo\n"


def test_a_terminal_that_goes_away_leaves_a_dead_letter(box: Box, person) -> None:
    here = person("-s", "x", "user")
    here.type("kept\n")
    here.wait("kept")
    here.type("~p\n")
    here.wait("(continue)")
    assert here.hang_up() == 1
    assert (box.home / "dead.letter").read_text().endswith("\n\nkept\n\n")


def test_q_keeps_the_letter_and_x_does_not(box: Box, person) -> None:
    here = person("-s", "x", "user")
    here.type("gone\n~x\n")
    assert here.end() == 1
    assert not (box.home / "dead.letter").exists()
    here = person("-s", "x", "user")
    here.type("kept\n~q\n")
    assert here.end() == 1
    assert (box.home / "dead.letter").read_text().endswith("\n\nkept\n\n")
    assert queued(box.spool) == []


def test_escapes_change_the_header(box: Box, person) -> None:
    rc(box, "alias team a@x b@x\n")
    here = person("-s", "old", "user")
    here.type("~t team\n~c Вася <v@x>\n~b hidden\n~s новый\n~t |pwn\n")
    here.wait("mail to commands is refused")
    here.type("~p\n")
    shown = here.wait("(continue)").decode()
    assert "To: user, a@x, b@x\r\nCc: Вася <v@x>\r\nBcc: hidden\r\nSubject: новый\r\n" in shown
    here.type("~h\n")
    for prompt, answer in (("To [", "other"), ("Cc [", "-"), ("Bcc [", ""), ("Subject [", "")):
        here.wait(prompt)
        here.wait("]: ")
        here.type(f"{answer}\n")
    here.type(".\n")
    assert here.end() == 0
    message = only(box.spool)
    assert message.envelope.recipients == ["other", "hidden"]
    assert message.mime["subject"] == "новый"
    assert message.mime["cc"] is None


def test_escapes_bring_in_text(box: Box, person) -> None:
    rc(box, 'set sign="-- \\nme" Sign=Me folder=~/box\n')
    (box.home / "file").write_bytes(b"from a file\r\nno end")
    (box.home / "dead.letter").write_text("dead\n")
    (box.home / "box").mkdir()
    (box.home / "box" / "f").write_text("in folder\n")
    here = person("-s", "x", "user")
    here.type("~~tilde\n~r file\n")
    here.wait('"file" 2/19')
    here.type("~< +f\n~r !echo output\n~d\n~a\n~A\n~i HOME\n~i nothing\n")
    here.wait("no variable nothing")
    here.type("~r missing\n")
    here.wait("missing: No such file or directory")
    here.type("~r\n")
    here.wait("no file name given")
    here.type("~r !exit 3\n")
    here.wait("exit status 3")
    here.type("~.\n")
    assert here.end() == 0
    home = str(box.home)
    assert only(box.spool).body.decode() == (
        f"~tilde\nfrom a file\nno end\nin folder\noutput\ndead\n-- \nme\nMe\n{home}\n"
    )


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "ru_RU.KOI8-R"])
def test_a_variable_is_inserted_in_whatever_character_set_it_is(box: Box, locale: str) -> None:
    script = "FOO=$(printf '\\317') exec \"$@\""
    run = ["sh", "-c", script, "sh", *argv("mail", "-n", "-~", "-S", "BAR=да", "a")]
    done = box.run(*run, stdin=b"text\n~i FOO\n~i BAR\n", env={"LC_ALL": locale})
    assert (done.returncode, done.stderr) == (0, b"")
    foo = "о" if locale.endswith("KOI8-R") else "Ï"
    assert only(box.spool).body.decode() == f"text\n{foo}\nда\n"


def test_escapes_run_editors_and_commands(box: Box, person) -> None:
    here = person("-s", "x", "user", VISUAL="sed -i s/one/two/", EDITOR="sed -i s/two/three/")
    here.type("one\n~v\n")
    here.wait("(continue)")
    here.type("~e\n")
    here.wait("(continue)")
    here.type("~| tr a-z A-Z\n")
    here.wait("(continue)")
    here.type("~| false\n")
    here.wait("exit status 1; the text is unchanged")
    here.type("~| true\n")
    here.wait("no output; the text is unchanged")
    here.type("~|\n")
    here.wait("no command given")
    here.type("~! echo hello there; touch made\n")
    here.wait("hello there\r\n")
    here.wait("!")
    here.type("~w copy\n")
    here.wait('"copy" 1/6')
    here.type("~w copy\n")
    here.wait("copy: File exists")
    here.type("~?\n")
    here.wait("this help")
    here.type("~z\n")
    here.wait("unknown escape")
    here.type(".\n")
    assert here.end() == 0
    assert only(box.spool).body == b"THREE\n"
    assert (box.home / "made").exists()
    assert (box.home / "copy").read_text() == "THREE\n"


def test_an_editor_that_fails_leaves_the_text_but_what_it_has_written_counts(
    box: Box, person
) -> None:
    slip = 'slip() { echo more >> "$1"; return 1; }; slip'  # as ed
    here = person("-s", "x", "user", VISUAL="sh -c ': > \"$0\"; exit 3'", EDITOR=slip)
    here.type("one\n~v\n")
    here.wait("exit status 3; the message is unchanged")
    here.type("~e\n")
    here.wait("(continue)")
    here.type(".\n")
    assert here.end() == 0
    assert only(box.spool).body == b"one\nmore\n"


def test_an_interrupt_belongs_to_the_command_that_runs(box: Box, person) -> None:
    here = person("-s", "x", "user", SHELL="/bin/sh")
    here.type("one\n~! echo ready; sleep 30\n")
    here.wait("ready")
    here.wait("ready")
    here.type("\x03")
    here.wait("!")
    here.type("two\n.\n")
    assert here.end() == 0
    assert only(box.spool).body == b"one\ntwo\n"


def test_files_are_attached_by_an_escape(box: Box, person) -> None:
    (box.home / "a").write_text("1\n")
    (box.home / "b").write_text("2\n")
    here = person("-s", "x", "user")
    here.type("~@ a missing\n")
    here.wait("missing: No such file")
    here.type("~@\n")
    here.wait("Attach: ")
    here.type("b\n~p\n")
    here.wait("Attached: b (2 bytes)")
    here.type(".\n")
    assert here.end() == 0
    assert [p.get_filename() for p in only(box.spool).mime.iter_attachments()] == ["a", "b"]


def test_escapes_may_be_changed_and_turned_off(box: Box, person) -> None:
    here = person("-s", "x", "-S", "escape=!", "user")
    here.type("~s no\n!s yes\n!: set escape\n!s text\n.\n")
    assert here.end() == 0
    message = only(box.spool)
    assert message.mime["subject"] == "yes"
    assert message.body == b"~s no\n!s text\n"


def test_what_is_shown_cannot_steer_the_terminal(box: Box, person) -> None:
    (box.home / "evil").write_bytes(b"\x1b]0;title\x07\xe2\x80\xae\xc2\x9b2J\n")
    here = person("-s", "x", "user")
    here.type("~r evil\n~p\n")
    shown = here.wait("(continue)")
    assert b"\x1b" not in shown
    assert b"\xc2\x9b" not in shown
    assert b"\xe2\x80\xae" not in shown
    here.type(".\n")
    assert here.end() == 0


@pytest.mark.parametrize("option", ["-~", "-I"])
def test_escapes_in_a_pipe_are_obeyed_only_where_asked_for(box: Box, option: str) -> None:
    script = b"~s changed\n~! touch made\nbody\n"
    assert mail(box, "-s", "x", "user", stdin=script).body == script
    assert not (box.home / "made").exists()
    done = box.run("mail", "-n", option, "-s", "x", "user", stdin=script)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (box.home / "made").exists()
    message = queued(box.spool)[-1]
    assert (message.mime["subject"], message.body) == ("changed", b"body\n")


def test_an_empty_letter_of_a_person_is_sent_with_a_word(box: Box, person) -> None:
    here = person("-s", "x", "user")
    here.type(".\n")
    here.wait("Null message body; hope that's ok")
    assert here.end() == 0
    assert only(box.spool).body == b""


def test_a_person_who_takes_all_recipients_away_keeps_the_letter(box: Box, person) -> None:
    here = person("-s", "x", "user")
    here.type("text\n~h\n")
    for answer in ("-", "", "", ""):
        here.wait(": ")
        here.type(f"{answer}\n")
    here.type(".\n")
    assert here.end() == 64
    assert (box.home / "dead.letter").read_text().endswith("\n\ntext\n\n")


# --- looking for mail ----------------------------------------------------------------------------


LETTER = (
    "From: =?utf-8?b?0JjQstCw0L0=?= <i@x>\nDate: Mon, 23 Nov 2026 01:36:12 +0000\n"
    "Subject: =?utf-8?q?=1B]0;x=07?= a\n\nbody\n"
)


def deliver(maildir: Path, name: str = "new/1.a.b", text: str = LETTER) -> None:
    for folder in ("tmp", "new", "cur"):
        (maildir / folder).mkdir(parents=True, exist_ok=True)
    (maildir / name).write_text(text)


def look(box: Box, *args: str, **env: str) -> tuple[int, str, str]:
    done = box.run("mail", "-n", *args, env=env)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_minus_e_says_whether_there_is_mail(box: Box) -> None:
    assert look(box, "-e") == (1, "", "")
    assert look(box, "-e", "-u", "no-such-user") == (1, "", "")
    assert look(box, "-e", "-f", "missing") == (1, "", "")
    (box.home / "Maildir" / "new").mkdir(parents=True)
    assert look(box, "-e") == (1, "", "")
    deliver(box.home / "Maildir", "cur/1.a.b:2,S")
    assert look(box, "-e") == (0, "", "")
    deliver(box.home / "other")
    assert look(box, "-e", "-f", "other") == (0, "", "")
    (box.home / "mbox").write_text(f"From x Mon\n{LETTER}\n")
    assert look(box, "-e", "-f") == (0, "", "")


def test_mail_is_where_the_environment_and_the_configuration_say(box: Box) -> None:
    deliver(box.home / "there")
    assert look(box, "-e") == (1, "", "")
    assert look(box, "-e", MAIL=f"maildir:{box.home}/there") == (0, "", "")
    box.config('home_mailbox = "there/"\n')
    assert look(box, "-e") == (0, "", "")
    box.config("this is not TOML\n")
    assert look(box, "-e") == (1, "", "")


@pytest.fixture
def spool_mail(machine: Machine) -> Iterator[None]:
    """Let /var/spool/mail be there, a link as on Debian."""
    link = Path("/var/spool/mail")
    link.symlink_to("/var/mail")
    yield
    link.unlink()


@pytest.mark.usefixtures("spool_mail")
@pytest.mark.parametrize("mail", ["/var/mail/alice", "/var/spool/mail/alice", "/var/mail//alice/"])
def test_the_mail_of_another_server_hides_no_new_mail(machine: Machine, mail: str) -> None:
    env = {"MAIL": mail}
    old = Path("/var/mail/alice")
    if mail.endswith("/"):
        deliver(old)
    else:
        old.write_text(f"From x Mon\n{LETTER}\n")
    shutil.chown(old, "alice")
    assert b"<i@x>" in machine.run("alice", "mail", "-N", stdin=b"p\nx\n", env=env).stdout
    machine.send("root", b"Subject: new\n\nx\n", "alice")
    machine.flush()
    done = machine.run("alice", "mail", "-H", env=env)
    assert done.stdout.endswith(b" new\n")
    assert done.stderr.decode() == f"mail: {mail} has mail too: mail -f {mail}\n"
    done = machine.run("alice", "pymail", "list", env=env)
    assert done.stdout.endswith(b" new\n")
    assert done.stderr.decode() == f"pymail: {mail} has mail too: pymail list -f {mail}\n"
    silent = (["pymail", "list", "-j"], ["mail", "-e"], ["mail", "-H", "-f", mail], ["mail", "-N"])
    for program, *args in silent:
        done = machine.run("alice", program, *args, env=env)
        assert (done.returncode, done.stderr) == (0, b""), (program, args)


def test_a_mailbox_of_the_users_choice_comes_first(box: Box) -> None:
    for folder in ("Maildir", "own"):
        deliver(box.home / folder, text=f"Subject: {folder}\n\n")
    status, out, told = look(box, "-H", MAIL=f"{box.home}/own")
    assert (status, out.split()[-1]) == (0, "own")
    assert told == f"mail: {box.home}/Maildir/ has mail too: mail -f {box.home}/Maildir/\n"
    status, out, told = look(box, "-H", MAIL=f"{box.home}/./Maildir")
    assert (status, out.split()[-1], told) == (0, "Maildir", "")


def test_a_person_is_shown_where_else_mail_is(box: Box) -> None:
    deliver(box.home / "Maildir")
    deliver(box.home / "my own")
    env = {**box.env, "MAIL": f"{box.home}/my own", "TERM": "dumb"}
    here = Terminal(argv("mail", "-n"), env, box.home)
    here.wait(f"mail: {box.home}/Maildir/ has mail too: mail -f {box.home}/Maildir/\r\n")
    here.wait("? ")
    here.type("x\n")
    assert here.end() == 0


def test_minus_h_lists_a_maildir(box: Box) -> None:
    maildir = box.home / "Maildir"
    deliver(maildir)
    deliver(maildir, "cur/2.a.b:2,S", "From: a@b (Comment)\nDate: nonsense\n\n")
    deliver(maildir, "cur/3.a.b:2,R", "Subject: caf\xe9 =?bad?b?x?=\n\n")
    for at, path in enumerate(["new/1.a.b", "cur/2.a.b:2,S", "cur/3.a.b:2,R"]):
        os.utime(maildir / path, (at, at))
    sizes = [path.stat().st_size for path in sorted(maildir.rglob("*.a.b*"), key=os.path.getmtime)]
    lines = (
        f"N   1 Иван               Mon Nov 23 01:36 {sizes[0]:7} ?]0;x? a\n"
        f"    2 Comment                             {sizes[1]:7}\n"
        f"O   3                                     {sizes[2]:7} café =?bad?b?x?=\n"
    )
    assert look(box, "-H") == (0, lines, "")


def test_minus_h_lists_an_mbox(box: Box) -> None:
    (box.home / "box").write_text(
        "From a@x Mon Nov 23 00:00:00 2026\nFrom: a@x\nSubject: one\n\nbody\nFrom here\n\n"
        "From b@x Mon Nov 23 00:01:00 2026\nFrom: b@x\nSubject: two\nStatus: RO\n\n2\n\n"
        "From c@x Mon Nov 23 00:01:00 2026\nFrom: c@x\nSubject: three\nStatus: O\n\n3\n"
    )
    status, out, err = look(box, "-H", "-f", "box")
    assert (status, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert [(line[0], line[1], line[-1]) for line in lines] == [
        ("N", "1", "one"),
        ("2", "b@x", "two"),
        ("O", "3", "three"),
    ]


@pytest.mark.parametrize(
    ("field", "who"),
    [
        ("=?utf-8?q?Last=2C_First?= <a@b>", "Last, First"),
        ('"=?utf-8?b?0JjQstCw0L0=?=" <a@b>', "Иван"),
        ("root (=?utf-8?q?Cron_D=C3=A6mon?=)", "Cron Dæmon"),
        ("=?utf-8?q?a=1B=5B2Jb?= <a@b>", "a?[2Jb"),
        ("(" * 5000, "(" * 18),
    ],
)
def test_minus_h_names_the_author_whatever_the_name(box: Box, field: str, who: str) -> None:
    deliver(box.home / "Maildir", "new/1.a.b", f"From: {field}\n\n")
    status, out, err = look(box, "-H")
    assert (status, err, out[6:24].rstrip()) == (0, "", who)


def test_no_mail_is_said(box: Box) -> None:
    assert look(box, "-H") == (1, "", f"mail: no mail for {box.user}\n")
    assert look(box) == (1, "", f"mail: no mail for {box.user}\n")
    (box.home / "empty").write_text("")
    assert look(box, "-f", "empty", "-H") == (1, "", "mail: no mail in empty\n")


def test_the_inbox_of_another_user_is_theirs(machine: Machine) -> None:
    machine.send("root", b"Subject: for alice\n\nx\n", "alice")
    machine.flush()
    Path("/home/alice/Maildir").chmod(0o700)
    for user, args, status in (
        ("bob", ["-u", "alice", "-e"], 1),
        ("bob", ["-u", "alice", "-H"], 66),
        ("root", ["-u", "alice", "-e"], 0),
        ("root", ["-u", "alice", "-H"], 0),
        ("alice", ["-e"], 0),
        ("bob", ["-e"], 1),
    ):
        done = machine.run(user, "mail", *args)
        assert done.returncode == status, (user, args, done)
    assert b"for alice" in machine.run("alice", "mail", "-H").stdout


def test_a_user_without_a_name_may_send(machine: Machine) -> None:
    done = subprocess.run(
        argv("mail", "-d", "alice"),
        input=b"x\n",
        capture_output=True,
        env={"PATH": PATH, "HOME": "/"},
        cwd="/",
        user=54321,
        group=54321,
        extra_groups=[],
        check=False,
    )
    assert done.stdout.startswith(b"from 54321 to alice; not sent (-d)\n")


def test_mail_starts_without_what_it_does_not_need(box: Box) -> None:
    code = (
        "import sys; sys.argv = ['mail', 'a']; from pymail.cli.mail import main; main(); "
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
        input=b"x\n",
        capture_output=True,
        env=box.env,
        cwd=box.home,
        check=True,
    )
    loaded = {name.partition(".")[0] for name in done.stdout.decode().split()}
    assert loaded & {"click", "dns", "keyring", "tomli_w"} == set()


# --- documents -----------------------------------------------------------------------------------


def test_every_escape_and_variable_stands_in_the_manual_and_the_help() -> None:
    page = (ROOT / "man" / "mail.1").read_text()
    listed = "".join(line[3:] for line in page.splitlines() if line.startswith(".It Ic ~"))
    for letter in [*escapes._ACTIONS, ".", "q", "x", "~"]:
        assert f"~{letter}" in listed
        assert f"~{letter}" in escapes.HELP or letter == "_"
    sources = [*(ROOT / "pymail").glob("*.py"), ROOT / "pymail" / "cli" / "mail.py"]
    text = "".join(path.read_text() for path in sources)
    used = re.findall(r'(?:is_set|variables\.get|user\.value)\("([\w-]+)"', text)
    used += re.findall(r'"(\w+)" (?:not )?in (?:self\.)?user\.mailrc\.variables', text)
    assert len(used) > 12
    for name in used:
        assert re.search(rf"Va {name}\b", page), name


def test_every_completion_offers_the_same_variables() -> None:
    page = (ROOT / "man" / "mail.1").read_text().partition(".Ss Variables")[2]
    names = set(re.findall(r"\bVa ([\w-]+)", page.partition(".Sh ENVIRONMENT")[0]))
    for path in ("bash/mail", "zsh/_mail", "fish/mail.fish"):
        words = re.findall(r"[\w-]+", (ROOT / "completions" / path).read_text())
        assert names - set(words) == set(), path
