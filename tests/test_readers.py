"""What pymail delivers is read by mutt, by Dovecot, by mblaze and by Python, byte for byte."""

import base64
import imaplib
import json
import mailbox
import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import PATH, corpus, letters, needs
from machine import Machine

PYTHON_LETTER = b"""\
Subject: =?utf-8?b?0J/RgNC40LLQtdGC?=
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="=_x"

preamble
--=_x
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

\xd1\x82\xd0\xb5\xd0\xba\xd1\x81\xd1\x82 \xd0\xbf\xd0\xb8\xd1\x81\xd1\x8c\xd0\xbc\xd0\xb0

--=_x
Content-Type: application/octet-stream
Content-Transfer-Encoding: base64
Content-Disposition: attachment; filename*=utf-8''%D1%84%D0%B0%D0%B9%D0%BB

AAECAwQFBgcICQ==
--=_x--
epilogue
"""

# name: the message as it is handed to sendmail -i
MADE = {
    "plain": b"Subject: plain\n\none\ntwo\n",
    "no body": b"Subject: no body\n\n",
    "no newline": b"Subject: no newline\n\nends here",
    "blank lines": b"Subject: blank lines\n\n\n\n  x \n\t\n\n\n",
    "utf-8": "Subject: заголовок\nFrom: Алиса <alice>\n\nтекст письма\n".encode(),
    "koi8-r": b"Subject: koi8\n\n" + "текст письма\n".encode("koi8-r"),
    "all bytes": b"Subject: bytes\n\n" + bytes(range(256)) + b"\n" + bytes(range(255, -1, -1)),
    "crlf": b"Subject: crlf\r\nX-Long: a\r\n b\r\n\r\none\r\n\r\ntwo\r\n",
    "mixed ends": b"Subject: mixed\r\nX-Y: z\n\none\r\ntwo\nthree\r\r\nfour\rfive\n",
    "nul": b"Subject: nul\n\nbefore\0after\n\0\n\0\0\0",
    "from": b"Subject: from\n\nFrom here\n>From there\n\nFrom bob@x Mon Nov 23 03:04:05 2026\n",
    "dots": b"Subject: dots\n\n.\n..\n.x\n\n.\n",
    "long line": b"Subject: long\n\n" + b"x" * 200_000 + b"\ny" + b"z" * 998 + b"\n",
    "many fields": b"".join(b"X-Field-%d: %d\n" % (n, n) for n in range(1500)) + b"\nbody\n",
    "mime": PYTHON_LETTER,
    "folded": b"Subject: a\n  folded\n\tsubject\nX-Empty:\nX-Blank: \n \n\nbody\n",
    "10 MiB": b"Subject: big\n\n" + b"".join(b"%075d\n" % n for n in range(137_971)),
}


def observed() -> dict[str, bytes]:
    """Return messages that real programs hand to sendmail."""
    found = {}
    source = corpus() / "submissions.jsonl"
    for line in source.read_text().splitlines() if source.exists() else []:
        case = json.loads(line)
        data = case.get("stdin", "").encode()
        if "stdin_b64" in case:
            data = base64.b64decode(case["stdin_b64"])
        whole = data.replace(b"\r\n", b"\n")
        if re.match(rb"[!-9;-~]+:", data) and b"\n\n" in whole and case["group"] == "callers":
            found[case["id"]] = data
    return found


def kept(data: bytes) -> bytes:
    """Return the body as it must be found: LF line ends, a lone CR as a blank."""
    whole = re.sub(rb"\r+\n", b"\n", data).replace(b"\r", b" ")
    body = whole.partition(b"\n\n")[2]
    return body if body.endswith(b"\n") or not body else body + b"\n"


@dataclass(frozen=True)
class Delivered:
    """The machine, and the body of each letter that alice has got, by its X-Case."""

    machine: Machine
    sent: dict[str, bytes]


@pytest.fixture(scope="module")
def delivered(factory: Callable[[], Machine]) -> Delivered:
    """Deliver all letters to alice."""
    machine = factory()
    machine.config("message_size_limit = 20971520\n")
    machine.send("bob", b"", "carol")
    machine.flush()  # this tells sendmail, which reads no configuration, of the limit
    sent = {}
    for number, (name, data) in enumerate({**MADE, **observed()}.items()):
        sent[str(number)] = kept(data)
        line_end = b"\r\n" if name == "crlf" else b"\n"
        message = b"X-Case: %d" % number + line_end + data
        machine.send("bob", message, "-i", "-f", "bob", "alice")
    machine.flush()
    assert machine.queue() == []
    assert len(machine.mail("alice")) == len(sent)
    return Delivered(machine, sent)


def split(data: bytes) -> tuple[str, bytes]:
    """Return the number of the case and the body of a message."""
    header, _, body = data.partition(b"\n\n")
    case = re.search(rb"^X-Case: (\d+)$", header, re.MULTILINE)
    assert case is not None, header
    return case[1].decode(), body


def check(found: dict[str, bytes], sent: dict[str, bytes]) -> None:
    assert found.keys() == sent.keys()
    for case, body in sent.items():
        # no assertion rewriting here: a difference of 10 MiB takes minutes to explain
        same = found[case] == body
        assert same, (case, body[:300], found[case][:300])


def test_the_files_hold_what_was_sent(delivered: Delivered) -> None:
    machine, sent = delivered.machine, delivered.sent
    check(dict(split(letter.data) for letter in machine.mail("alice")), sent)


def test_python_reads_every_letter(delivered: Delivered) -> None:
    sent = delivered.sent
    box = mailbox.Maildir(str(delivered.machine.home("alice") / "Maildir"), create=False)
    check(dict(split(box.get_bytes(key)) for key in box.keys()), sent)  # noqa: SIM118
    assert all(box.get_message(key)["X-Case"] for key in box.keys())  # noqa: SIM118


def test_mblaze_reads_every_letter(delivered: Delivered) -> None:
    machine, sent = delivered.machine, delivered.sent
    needs("mlist", "mshow", "mhdr")
    listed = machine.run("alice", "mlist", "/home/alice/Maildir").stdout.split()
    assert len(listed) == len(sent)
    found = {}
    for path in listed:
        case = machine.run("alice", "mhdr", "-h", "x-case", path).stdout.strip().decode()
        shown = machine.run("alice", "mshow", "-n", "-N", "-r", "-h", "x-case", path)
        assert shown.returncode == 0, shown.stderr
        found[case] = shown.stdout.partition(b"\n\n")[2]
    check(found, sent)


def terminal(machine: Machine, user: str, *command: str, until: Callable[[], bool]) -> None:
    """Run a full-screen program on a terminal of its own."""
    child, screen = pty.fork()
    if child == 0:  # pragma: no cover
        os.chdir("/")
        arguments = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *command]
        env = {"PATH": PATH, "TERM": "vt100", "HOME": f"/home/{user}", "LANG": "C.UTF-8"}
        os.execvpe("setpriv", arguments, env)
    end = time.monotonic() + 60
    seen = b""
    try:
        while time.monotonic() < end:
            if select.select([screen], [], [], 0.2)[0]:
                try:
                    seen += os.read(screen, 65536)
                except OSError:
                    break
        assert until(), seen[-2000:]
    finally:
        os.close(screen)
        os.waitpid(child, 0)


def test_mutt_reads_every_letter(delivered: Delivered) -> None:
    machine, sent = delivered.machine, delivered.sent
    needs("mutt")
    machine.write(
        "alice",
        ".muttrc",
        "set mbox_type=Maildir confirmcreate=no confirmappend=no delete=no quit=yes\n"
        "set folder=/home/alice header_cache='' wait_key=no pipe_decode=no weed=no\n"
        'push "<tag-pattern>~A<enter><tag-prefix-cond><copy-message>/home/alice/copies<enter>'
        '<exit>"\n',
    )
    copies = machine.home("alice") / "copies"
    command = ("mutt", "-F", "/home/alice/.muttrc", "-f", "/home/alice/Maildir")
    terminal(machine, "alice", *command, until=lambda: len(letters(copies)) == len(sent))
    check(dict(split(letter.data) for letter in letters(copies)), sent)


DOVECOT = """\
mail_location = maildir:/home/%u/Maildir
log_path = /home/%u/dovecot.log
ssl = no
passdb {
  driver = static
  args = nopassword=y
}
userdb {
  driver = passwd
}
"""


class Preauthenticated(imaplib.IMAP4_stream):
    """The imap program of Dovecot, run by the user it serves."""

    def open(
        self, host: str | None = None, port: int | None = None, timeout: object = None
    ) -> None:
        self.process = subprocess.Popen(
            ["/usr/lib/dovecot/imap", "-c", "/etc/dovecot/trial.conf"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": PATH, "USER": "alice", "HOME": "/home/alice"},
            user=1001,
            group=1001,
            extra_groups=[],
            cwd="/home/alice",
        )
        self.writefile = self.process.stdin
        self.readfile = self.process.stdout


def test_dovecot_serves_every_letter(delivered: Delivered) -> None:
    sent = delivered.sent
    needs("/usr/lib/dovecot/imap")
    Path("/etc/dovecot/trial.conf").write_text(DOVECOT)
    Path("/run/dovecot").mkdir(exist_ok=True)
    client = Preauthenticated("")
    assert client.state == "AUTH"
    status, (count,) = client.select("INBOX")
    assert (status, int(count)) == ("OK", len(sent))
    found = {}
    for number in range(1, len(sent) + 1):
        _, answer = client.fetch(str(number), "(BODY.PEEK[])")
        case, body = split(answer[0][1].replace(b"\r\n", b"\n"))
        found[case] = body
    client.logout()
    # IMAP has no NUL in text (RFC 3501, 4.3.1): Dovecot shows it as 0x80
    check(found, {case: body.replace(b"\0", b"\x80") for case, body in sent.items()})
