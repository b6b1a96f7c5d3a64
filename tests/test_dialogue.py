"""sendmail -bs: SMTP on standard input, as its callers speak it."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import MEASURE, ROOT, Box, argv
from hypothesis import given, settings
from hypothesis import strategies as st

from pymail import esmtp
from pymail.dialogue import MOST_LINE, _Body
from pymail.entry import read
from pymail.envelope import Envelope
from pymail.spool import Spool

EHLO = b"EHLO localhost\r\n"
START = EHLO + b"MAIL FROM:<a@x.org>\r\nRCPT TO:<b@x.org>\r\nDATA\r\n"
LETTER = b"Subject: s\r\n\r\nbody\r\n.\r\n"
QUIT = b"QUIT\r\n"


@dataclass
class Talk:
    """What came of a dialogue: last lines of the replies, and the messages queued."""

    status: int
    replies: list[str]
    errors: bytes
    queued: list[tuple[Envelope, bytes]]

    @property
    def codes(self) -> list[int]:
        return [int(reply[:3]) for reply in self.replies]


def queued(spool: Path) -> list[tuple[Envelope, bytes]]:
    found = []
    for qid, _ in Spool(str(spool)).entries():
        path = spool / "queue" / qid
        head = read(str(path), qid).head
        found.append((head.envelope, path.read_bytes()[head.body : head.tail]))
    return found


def talk(box: Box, said: bytes, *options: str) -> Talk:
    done = box.run("sendmail", "-bs", *options, stdin=said)
    assert done.stdout.endswith(b"\r\n") or done.returncode
    lines = done.stdout.decode().split("\r\n")[:-1]
    replies = [line for line in lines if line[3:4] != "-"]
    return Talk(done.returncode, replies, done.stderr, queued(box.spool))


def test_a_message_is_queued(box):
    got = talk(box, START + LETTER + QUIT)
    assert (got.status, got.errors) == (0, b"")
    assert got.codes == [220, 250, 250, 250, 354, 250, 221]
    ((envelope, message),) = got.queued
    assert message == b"Subject: s\n\nbody\n"
    assert (envelope.sender, envelope.recipients) == ("a@x.org", ["b@x.org"])
    assert (envelope.uid, envelope.full_name) == (os.geteuid(), "")
    assert got.replies[5] == f"250 2.0.0 Ok: queued as {box.queue()[0]}"


def test_the_host_names_itself_and_its_extensions(box):
    done = box.run("sendmail", "-bs", stdin=EHLO + QUIT)
    host = os.uname().nodename
    assert done.stdout.decode().split("\r\n") == [
        f"220 {host} ESMTP pymail",
        f"250-{host}",
        "250-PIPELINING",
        "250-SIZE 10240000",
        "250-VRFY",
        "250-ENHANCEDSTATUSCODES",
        "250-8BITMIME",
        "250-DSN",
        "250 SMTPUTF8",
        "221 2.0.0 Bye",
        "",
    ]


def test_several_messages_go_through_one_session(box):
    second = (
        b"MAIL FROM:<>\r\nRCPT TO:<c@x.org>\r\nRCPT TO:<d@x.org>\r\nDATA\r\nTo: c\r\n\r\n2\r\n.\r\n"
    )
    got = talk(box, START + LETTER + second + QUIT)
    assert got.codes == [220, 250, 250, 250, 354, 250, 250, 250, 250, 354, 250, 221]
    assert [(e.sender, e.recipients, m) for e, m in got.queued] == [
        ("a@x.org", ["b@x.org"], b"Subject: s\n\nbody\n"),
        ("", ["c@x.org", "d@x.org"], b"To: c\n\n2\n"),
    ]


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (b"a\r\n..b\r\n...\r\n.c\r\n.\r\n", b"a\n.b\n..\nc\n"),
        (b"a\n.\n", b"a\n"),
        (b".\r\n", b""),
        (b"..\r\n.\r\n", b".\n"),
        (b"\r\n.\r\n", b"\n"),
        (b"a\rb\r\n.\r\n", b"a b\n"),
        (b"a\r\r\n.\r\n", b"a\n"),
        (b"a\0b\xff\r\n.\r\n", b"a\0b\xff\n"),
        (b". \r\n.\r\n", b" \n"),
        (b"Bcc: z\r\nTo: q\r\n\r\n.\r\n", b"Bcc: z\nTo: q\n\n"),
    ],
)
def test_a_message_is_stored_as_given(box, sent, stored):
    got = talk(box, START + sent + QUIT)
    assert got.codes == [220, 250, 250, 250, 354, 250, 221]
    assert [message for _, message in got.queued] == [stored]


@pytest.mark.parametrize("end", [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r\n.\r\n"])
def test_every_lone_dot_ends_the_message_once(box, end):
    got = talk(box, START + b"one" + end + b"two" + end + QUIT)
    assert got.codes == [220, 250, 250, 250, 354, 250, 500, 500, 221]
    assert [message for _, message in got.queued] == [b"one\n"]


@pytest.mark.parametrize("cut", [b"", b"Subject: x\r\n", b"a\r\n.", b"a\r\n.\r", b"a", b"a\r\n.."])
def test_the_end_of_input_within_a_message_queues_nothing(box, cut):
    got = talk(box, START + cut)
    assert (got.status, got.errors, got.queued) == (0, b"", [])
    assert got.codes == [220, 250, 250, 250, 354]
    assert box.queue() == []


@pytest.mark.parametrize(
    ("said", "codes"),
    [
        (b"", [220]),
        (b"QUIT", [220]),
        (b"QUIT\n", [220, 221]),
        (b"quit x\r\nNOOP\r\n", [220, 221]),
        (EHLO, [220, 250]),
        (EHLO + b"MAIL FROM:<a@x.org>\r\nRCPT TO:<b@x.org>\r\n", [220, 250, 250, 250]),
    ],
)
def test_a_session_may_end_anywhere(box, said, codes):
    got = talk(box, said)
    assert (got.status, got.codes, got.errors, got.queued) == (0, codes, b"", [])


# As Postfix 3.7.11 replies, observed.
@pytest.mark.parametrize(
    ("command", "code"),
    [
        (b"", 500),
        (b"FOO", 500),
        (b"\0", 500),
        (b"N\xc3\x96OP", 500),
        (b"LHLO x", 500),
        (b"A" * (MOST_LINE + 1), 500),
        (b"NOOP " + b"A" * 100_000, 500),
        (b"  NOOP  ", 250),
        (b"noop x", 250),
        (b"RSET", 250),
        (b"RSET x", 501),
        (b"VRFY", 501),
        (b"VRFY alice", 252),
        (b"EXPN list", 500),
        (b"HELP", 500),
        (b"TURN", 500),
        (b"STARTTLS", 502),
        (b"AUTH PLAIN", 503),
        (b"ETRN x", 458),
        (b"EHLO", 501),
        (b"HELO", 501),
        (b"HELO x", 250),
        (b"EHLO [127.0.0.1]", 250),
        (b"MAIL", 501),
        (b"MAIL FROM", 501),
        (b"MAIL FROM:", 501),
        (b"MAIL TO:<x>", 501),
        (b"MAIL FROM:<a b@x.org>", 501),
        (b"MAIL FROM:<a@x.org", 501),
        (b"MAIL FROM:<a@x.org>x", 501),
        (b"MAIL FROM:<a@x.org,b@x.org>", 501),
        (b"MAIL FROM:<a\x1b@x.org>", 501),
        (b"MAIL FROM:<@x.org>", 501),
        (b"MAIL FROM:<>", 250),
        (b"MAIL FROM: <a@x.org>", 250),
        (b"MAIL FROM:a@x.org", 250),
        (b"mail from:<a@x.org> ", 250),
        (b"MAIL FROM:<a@x.org> SIZE=100", 250),
        (b"MAIL FROM:<a@x.org> SIZE=10240000", 250),
        (b"MAIL FROM:<a@x.org> SIZE=10240001", 552),
        (b"MAIL FROM:<a@x.org> SIZE=x", 501),
        (b"MAIL FROM:<a@x.org> SIZE=" + b"9" * 5000, 500),
        (b"MAIL FROM:<a@x.org> SIZE=" + b"9" * 21, 501),
        (b"MAIL FROM:<a@x.org> BODY=8bitmime", 250),
        (b"MAIL FROM:<a@x.org> BODY=FOO", 501),
        (b"MAIL FROM:<a@x.org> BODY=7BIT BODY=8BITMIME", 501),
        (b"MAIL FROM:<a@x.org> RET=hdrs", 250),
        (b"MAIL FROM:<a@x.org> RET=x", 501),
        (b"MAIL FROM:<a@x.org> ENVID=a+2", 501),
        (b"MAIL FROM:<a@x.org> ENVID=", 501),
        (b"MAIL FROM:<a@x.org> SMTPUTF8", 250),
        (b"MAIL FROM:<a@x.org> SMTPUTF8=1", 555),
        (b"MAIL FROM:<a@x.org> AUTH=<>", 250),
        (b"MAIL FROM:<a@x.org> FOO=BAR", 555),
        (b"RCPT TO:<b@x.org>", 503),
        (b"DATA", 503),
        (b"DATA x", 501),
    ],
)
def test_a_command_outside_of_a_transaction(box, command, code):
    got = talk(box, command + b"\r\n" + QUIT)
    assert got.codes == [220, code, 221]


@pytest.mark.parametrize(
    ("start", "codes"),
    [
        (b"MAIL FROM:<a@b@c>\r\nRCPT TO:<b@x.org>\r\nDATA\r\n", [501, 503, 503]),
        (b"MAIL FROM:<a@x.org>\r\nRCPT TO:<b@>\r\nDATA\r\n", [250, 501, 554]),
        (b"MAIL FROM:<a@x.org>\r\nRCPT TO:<b@x.org>\r\n", [250, 250]),
    ],
)
def test_the_lines_of_a_message_without_data_are_no_commands(box, start, codes):
    got = talk(box, start + b"Subject: s\r\n\r\n" + START + LETTER + QUIT)
    assert (got.status, got.codes, got.errors) == (0, [220, *codes, 221], b"")
    assert got.replies[-1] == "221 2.7.0 Error: I can break rules, too. Goodbye."
    assert got.queued == []


@pytest.mark.parametrize(
    "line",
    [
        *(b"Subject:s", b" Subject: s", b"Subject:\ts", b"MAIL:", b"X-\xc3\x96: s", b":"),
        *(b"References: " + b"<a@b> " * 1000, b"http://x", b"GET / HTTP/1.1", b"post /"),
    ],
)
def test_what_is_a_field_or_http_ends_the_session(box, line):
    assert talk(box, EHLO + line + b"\r\n" + QUIT + b"NOOP\r\n").codes == [220, 250, 221]


@pytest.mark.parametrize("line", [b"Subject : s", b"FOO a: b", b"NOOP\tx:"])
def test_a_colon_elsewhere_is_no_field(box, line):
    assert talk(box, line + b"\r\nNOOP\r\n" + QUIT).codes == [220, 500, 250, 221]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (b"RCPT", 501),
        (b"RCPT TO", 501),
        (b"RCPT TO:", 501),
        (b"RCPT FROM:<x>", 501),
        (b"RCPT TO:<>", 501),
        (b"RCPT TO:<a b@x.org>", 501),
        (b"RCPT TO:<h@>", 501),
        (b'RCPT TO:<"h@x.org>', 501),
        (b"RCPT TO:<postmaster>", 250),
        (b'RCPT TO:<"c d\\">"@x.org>', 250),
        (b"RCPT TO:<f@[1.2.3.4]>", 250),
        (b"RCPT TO:b@x.org", 250),
        (b"RCPT TO:<b@x.org> NOTIFY=SUCCESS,delay", 250),
        (b"RCPT TO:<b@x.org> NOTIFY=FOO", 501),
        (b"RCPT TO:<b@x.org> NOTIFY=", 501),
        (b"RCPT TO:<b@x.org> NOTIFY=NEVER,FAILURE", 501),
        (b"RCPT TO:<b@x.org> ORCPT=bad", 501),
        (b"RCPT TO:<b@x.org> ORCPT=rfc822;", 501),
        (b"RCPT TO:<b@x.org> ORCPT=rfc822;a+0Ab", 501),
        (b"RCPT TO:<b@x.org> ORCPT=rfc822;a NOTIFY=NEVER", 250),
        (b"RCPT TO:<b@x.org> FOO", 555),
        (b"MAIL FROM:<c@x.org>", 503),
        (b"DATA", 554),
    ],
)
def test_a_command_within_a_transaction(box, command, code):
    got = talk(box, b"MAIL FROM:<a@x.org>\r\n" + command + b"\r\n" + QUIT)
    assert got.codes == [220, 250, code, 221]
    assert got.queued == []


def test_a_refused_recipient_leaves_the_others(box):
    said = START.replace(b"DATA", b"RCPT TO:<>\r\nRCPT TO:<c@x.org>\r\nDATA")
    got = talk(box, said + LETTER + QUIT)
    assert got.codes == [220, 250, 250, 250, 501, 250, 354, 250, 221]
    assert got.queued[0][0].recipients == ["b@x.org", "c@x.org"]


@pytest.mark.parametrize("reset", [b"RSET", b"EHLO y", b"HELO y"])
def test_a_transaction_can_be_dropped(box, reset):
    got = talk(box, START.replace(b"DATA", reset + b"\r\nDATA") + QUIT)
    assert got.codes == [220, 250, 250, 250, 250, 503, 221]
    assert got.queued == []


def test_a_second_sender_is_refused_and_the_first_stays(box):
    got = talk(box, START.replace(b"RCPT", b"MAIL FROM:<z@x.org>\r\nRCPT") + LETTER + QUIT)
    assert got.queued[0][0].sender == "a@x.org"


def test_wishes_for_reports_reach_the_envelope(box):
    said = (
        b"MAIL FROM:<a@x.org> SMTPUTF8 SIZE=100 RET=HDRS ENVID=a+20b BODY=8BITMIME\r\n"
        b"RCPT TO:<b@x.org> NOTIFY=success,DELAY ORCPT=rfc822;c+2Bd@x.org\r\n"
        b"RCPT TO:<d@x.org> NOTIFY=NEVER\r\nRCPT TO:<e@x.org>\r\nDATA\r\n"
    )
    ((envelope, _),) = talk(box, said + LETTER + QUIT).queued
    assert (envelope.ret, envelope.envid, envelope.body) == ("HDRS", "a b", "8BITMIME+UTF8")
    assert envelope.notify == ["SUCCESS,DELAY", "NEVER", ""]
    assert envelope.orcpt == ["rfc822;c+d@x.org", "", ""]


def test_addresses_are_stored_in_internal_form(box):
    said = (
        b'MAIL FROM:<"a b"@x.org>\r\nRCPT TO:<"c d"@x.org>\r\nRCPT TO:<@r.org:e@x.org>\r\n'
        b"RCPT TO:<g@x.org.>\r\nRCPT TO:<|cmd>\r\nRCPT TO:</file>\r\n"
        b"RCPT TO:<j\xc3\xb6rg@x.org>\r\n"
        b"RCPT TO:<j\xf6rg@x.org>\r\nRCPT TO:<b@x.org>\r\nRCPT TO:<B@X.org>\r\nDATA\r\n"
    )
    ((envelope, _),) = talk(box, said + LETTER + QUIT).queued
    assert envelope.sender == "a b@x.org"
    assert envelope.recipients == [
        "c d@x.org",
        "e@x.org",
        "g@x.org",
        "|cmd",
        "/file",
        "jörg@x.org",
        "j\udcf6rg@x.org",
        "b@x.org",
    ]


@pytest.mark.parametrize("sender", [b"<>", b"<MAILER-DAEMON>", b"mailer-daemon"])
def test_the_null_sender_has_a_name(box, sender):
    ((envelope, _),) = talk(box, START.replace(b"<a@x.org>", sender) + LETTER + QUIT).queued
    assert envelope.sender == ""


def test_lines_may_end_in_bare_lf(box):
    got = talk(box, (START + b"Subject: 1\r\n\r\none\r\n.two\r\n.\r\n" + QUIT).replace(b"\r", b""))
    assert [message for _, message in got.queued] == [b"Subject: 1\n\none\ntwo\n"]
    assert got.codes[-1] == 221


def test_a_client_that_waits_for_each_reply_gets_it(box):
    with subprocess.Popen(
        argv("sendmail", "-bs"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=box.env,
        bufsize=0,
    ) as process:
        assert process.stdout.readline().startswith(b"220 ")
        for line in (START + LETTER).splitlines(keepends=True)[1:4]:
            process.stdin.write(line[:-1])
            time.sleep(0.05)  # CR and LF apart
            process.stdin.write(line[-1:])
            assert process.stdout.readline()[:3] in (b"250", b"354")
        for byte in LETTER:  # in the smallest pieces
            process.stdin.write(bytes((byte,)))
        assert process.stdout.readline().startswith(b"250 2.0.0 Ok: queued as ")
        assert len(box.queue()) == 1  # before anything else is said
        process.stdin.close()
        assert process.wait() == 0


def test_python_can_send_through_it(box, tmp_path):
    """Python's own SMTP client speaks to it over a socket."""
    import smtplib
    import socket

    near, far = socket.socketpair()
    process = subprocess.Popen(argv("sendmail", "-bs"), stdin=far, stdout=far, env=box.env)
    far.close()
    client = smtplib.SMTP()
    client.sock = near
    client.file = None
    assert client.getreply()[0] == 220
    client.sendmail("a@x.org", ["b@x.org"], b"Subject: s\r\n\r\n.hi\r\n", ["BODY=8BITMIME"])
    client.quit()
    assert process.wait() == 0
    assert [message for _, message in queued(box.spool)] == [b"Subject: s\n\n.hi\n"]


def test_a_message_over_the_limit_is_refused_after_its_end(box):
    box.spool.mkdir()
    (box.spool / "message_size_limit").write_text("1000\n")
    big = b"x\r\n" * 200_000
    got = talk(box, START + big + b".\r\n" + START[len(EHLO) :] + LETTER + QUIT)
    assert got.codes == [220, 250, 250, 250, 354, 552, 250, 250, 354, 250, 221]
    assert [message for _, message in got.queued] == [b"Subject: s\n\nbody\n"]


def test_without_a_limit_none_is_announced(box):
    box.spool.mkdir()
    (box.spool / "message_size_limit").write_text("0\n")
    got = box.run("sendmail", "-bs", stdin=EHLO + QUIT).stdout
    assert b"\r\n250-SIZE\r\n" in got
    assert talk(box, b"MAIL FROM:<a@x.org> SIZE=99999999999\r\n" + QUIT).codes == [220, 250, 221]


def test_a_spool_that_cannot_be_written_is_a_temporary_failure(box):
    box.spool.write_text("in the way")
    done = box.run("sendmail", "-bs", stdin=START + LETTER + b"NOOP\r\n" + QUIT)
    replies = [line for line in done.stdout.split(b"\r\n") if line[3:4] == b" "]
    assert [reply[:3] for reply in replies[4:]] == [b"354", b"451", b"250", b"221"]
    assert b"cannot queue message" in replies[5]
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_disk_that_fills_up_is_a_temporary_failure_and_leaves_nothing(box, tmp_path):
    box.run("sendmail", "-bs", stdin=QUIT)
    big = START + b"x" * 100 + b"\r\nyy" * 300_000 + b"\r\n.\r\n" + QUIT
    import resource

    done = subprocess.run(
        argv("sendmail", "-bs"),
        input=big,
        capture_output=True,
        env=box.env,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000)),
    )
    codes = [line[:3] for line in done.stdout.split(b"\r\n") if line[3:4] == b" "]
    assert codes == [b"220", b"250", b"250", b"250", b"354", b"451", b"221"]
    assert (done.returncode, box.queue()) == (0, [])


def test_a_commit_that_fails_is_a_temporary_failure_and_leaves_nothing(box):
    box.run("sendmail", "-bs", stdin=QUIT)
    import resource

    done = subprocess.run(
        argv("sendmail", "-bs"),
        input=START + LETTER + QUIT,
        capture_output=True,
        env={name: value for name, value in box.env.items() if name not in MEASURE},
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (9, 9)),
    )
    assert b"\r\n451 4.3.0 Error: cannot queue message: " in done.stdout
    assert done.stdout.endswith(b"\r\n221 2.0.0 Bye\r\n")
    assert (done.returncode, box.queue()) == (0, [])


def test_a_connection_that_is_reset_is_a_temporary_failure(box):
    """The end of the input is one thing, its failure another."""
    import socket
    import struct

    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    near.sendall(START + b"half\r\n")
    with subprocess.Popen(
        argv("sendmail", "-bs"),
        stdin=far,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=box.env,
    ) as process:
        far.close()
        while not process.stdout.readline().startswith(b"354"):
            pass
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        near.close()
        errors = process.stderr.read()
    assert (process.returncode, box.queue()) == (75, [])
    assert errors == b"sendmail: cannot read from standard input: Connection reset by peer\n"


def test_twenty_errors_in_a_row_end_the_session(box):
    got = talk(box, b"X\r\n" * 25 + QUIT)
    assert got.codes == [220, *[500] * 20, 421]
    assert got.status == 0
    mixed = talk(box, (b"X\r\n" * 19 + b"NOOP\r\n") * 3 + QUIT)
    assert mixed.codes[-1] == 221


def test_too_many_recipients_are_put_off(box):
    many = b"".join(b"RCPT TO:<u%d@x.org>\r\n" % n for n in range(50_001))
    got = talk(box, b"MAIL FROM:<>\r\n" + many + b"DATA\r\n" + LETTER + QUIT)
    assert got.codes[-5:] == [250, 452, 354, 250, 221]
    assert len(got.queued[0][0].recipients) == 50_000


def test_options_of_callers_change_nothing(box):
    options = ("-f", "q@q.org", "-F", "Name", "-i", "-oem", "-om")
    ((envelope, _),) = talk(box, START + LETTER + QUIT, *options).queued
    assert (envelope.sender, envelope.full_name) == ("a@x.org", "")


@pytest.mark.parametrize("options", [("b@x.org",), ("-t",)])
def test_recipients_beside_the_dialogue_are_a_usage_error(box, options):
    done = box.run("sendmail", "-bs", *options, stdin=START + LETTER)
    assert (done.returncode, done.stdout, box.queue()) == (64, b"", [])


def test_a_closed_output_ends_the_session_in_peace(box):
    with subprocess.Popen(
        argv("sendmail", "-bs"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=box.env,
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write(EHLO)
        process.stdin.flush()
        assert process.wait() == 0
        assert process.stderr.read() == b""
        process.stdin.close()


def test_an_output_that_cannot_be_written_is_told(box):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            argv("sendmail", "-bs"),
            input=QUIT,
            stdout=full,
            stderr=subprocess.PIPE,
            env=box.env,
            check=False,
        )
    assert (done.returncode, b"cannot write" in done.stderr) == (75, True)


def test_an_input_that_cannot_be_read_is_told(box):
    with open("/dev/null", "wb") as closed:
        done = subprocess.run(
            argv("sendmail", "-bs"), stdin=closed, capture_output=True, env=box.env, check=False
        )
    assert (done.returncode, b"cannot read" in done.stderr) == (66, True)


def test_the_dialogue_imports_only_the_ground():
    code = (
        "import sys, os; before = set(sys.modules); import pymail.dialogue;"
        "print(*sorted(m for m in set(sys.modules) - before if not m.startswith('pymail')))"
    )
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", path + code], capture_output=True, check=True
    )
    assert set(done.stdout.decode().split()) <= {"binascii", "errno", "fcntl", "pwd", "zlib"}


@given(st.lists(st.sampled_from([b".", b"..", b"", b"a", b".b", b"a."]), max_size=8), st.data())
@settings(deadline=None)
def test_the_dots_come_out_whatever_the_pieces(lines, data):
    text = b"".join(line + b"\n" for line in lines)
    stuffed = b"".join((b"." + line if line.startswith(b".") else line) + b"\n" for line in lines)
    stream = stuffed + b".\nQUIT\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    body, out = _Body(), b""
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        if body.ended:
            body.rest += stream[start:end]
        elif end > start:
            out += body.feed(stream[start:end])
    assert (out, body.ended, body.rest) == (text, True, b"QUIT\n")


def test_xtext_is_decoded():
    assert esmtp.plain("a+2Bb+20+C3+B6+3D", "X") == "a+b ö="
