"""sendmail as its callers know it: options, statuses, what it refuses, what it survives."""

import errno
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Box, argv, missing, needs_root
from queued import only, queued

from pymail.spool import DEFAULT_SIZE_LIMIT

LETTER = b"Subject: s\n\nbody\n"


def refused(box: Box, *args: str, status: int, words: str, stdin: bytes = LETTER) -> None:
    """Run sendmail; it must refuse in one line and leave nothing."""
    done = box.run("sendmail", *args, stdin=stdin)
    assert (done.returncode, done.stdout) == (status, b""), done.stderr
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1 and lines[0].startswith("sendmail: ")
    assert words in lines[0]
    assert box.queue() == []


# Options


@pytest.mark.parametrize(
    "args",
    [
        *("-m", "-n", "-s", "-c", "-x", "-U", "-om", "-omF", "-o7", "-oem", "-oep", "-or0s"),
        *("-oT5d", "-oX1", "-oL0", "-oQ/tmp", "-ov", "-o i", "-em", "-e m", "-Ac", "-Am", "-A c"),
        *("-OTimeout.queuereturn=1d", "-O DeliveryMode=q", "-O NoSuch=1", "-BFOO", "-B 8BITMIME"),
        *("-N bogus", "-N never,failure", "-R bogus", "-h 3", "-h3", "-p ESMTP:host", "-pX:y"),
        *("-L tag", "-Ltag", "-X /no/such/log", "-C /no/such.cf", "-C/no/such", "-D /no/such/dbg"),
        *("-d0.1", "-d", "-MrSMTP", "-M x", "-T5d", "-T", "-J", "-E", "-J/no/such", "-bm", "-b m"),
        *("-i", "-oi", "-oee", "-oeq", "-oew", "-odq", "-odd", "-U -v", "--", "-im", "-mi"),
    ],
)
def test_what_changes_nothing_here_is_accepted(box, args):
    done = box.run("sendmail", *args.split(), "bob@example.org", stdin=LETTER)
    assert (done.returncode, done.stderr) == (0, b"")
    message = only(box.spool)
    assert (message.envelope.recipients, message.data) == (["bob@example.org"], LETTER)


def test_an_option_may_have_an_empty_argument(box):
    box.send(LETTER, "-O", "", "-F", "", "-f", "", "bob")
    envelope = only(box.spool).envelope
    assert (envelope.full_name, envelope.sender) == ("", "")


@pytest.mark.parametrize(
    "args",
    [
        *("-Z", "-k", "-1", "-?", "-Qreason", "-XV", "-XV-=", "--frobnicate", "--", "-i", "-iZ"),
        *("-bd", "-bD", "-bl", "-bt", "-bz", "-bX", "-be", "-bP", "-b", "-qp5m", "-qQ", "-"),
        *("-f", "-F", "-r", "-h", "-B", "-N", "-R", "-V", "-O", "-X", "-L", "-p", "-C", "-o"),
    ],
)
def test_what_would_be_misunderstood_is_a_usage_error_and_nothing_is_read(box, args):
    reader, writer = os.pipe()  # nobody writes: who reads hangs
    extra = ["bob"] if args in {"-Z", "-k", "-1", "-?", "-XV", "-XV-=", "--frobnicate"} else []
    with subprocess.Popen(
        argv("sendmail", args, *extra),
        env=box.env,
        stdin=reader,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        out, err = process.communicate(timeout=20)
    os.close(reader)
    os.close(writer)
    assert (process.returncode, out) == (64, b"")
    assert err.startswith(b"sendmail: ") and err.count(b"\n") == 1
    assert box.queue() == []


@pytest.mark.parametrize(
    ("args", "dot", "recipients"),
    [
        (["-ti"], False, ["alice"]),
        (["-it"], False, ["alice"]),
        (["-tif", "x@y"], False, ["alice"]),
        (["-ifx@y", "bob"], False, ["bob"]),
        (["-t"], True, ["alice"]),
        (["-t", "bob"], True, ["bob", "alice"]),
        (["-ot"], True, ["alice"]),
    ],
)
def test_options_may_stand_in_one_word(box, args, dot, recipients):
    box.send(b"To: alice\n\nx\n.\ny\n", *args)
    message = only(box.spool)
    assert message.envelope.recipients == recipients
    assert message.body == (b"x\n" if dot else b"x\n.\ny\n")
    assert message.envelope.sender == ("x@y" if any("f" in arg for arg in args) else None)


def test_options_end_at_the_first_operand(box):
    box.send(LETTER, "bob@example.org", "-f", "c@example.org", "-t")
    message = only(box.spool).envelope
    assert (message.recipients, message.sender) == (
        ["bob@example.org", "-f", "c@example.org", "-t"],
        None,
    )


def test_a_recipient_may_begin_with_a_dash_behind_two(box):
    box.send(LETTER, "--", "-x@example.org")
    assert only(box.spool).envelope.recipients == ["-x@example.org"]


@pytest.mark.parametrize(
    ("given_", "sender"),
    [
        ("joe@example.org", "joe@example.org"),
        ("<joe@example.org>", "joe@example.org"),
        ("Joe Doe <joe@example.org>", "joe@example.org"),
        ("joe@example.org (Joe)", "joe@example.org"),
        ("joe", "joe"),
        ("", ""),
        ("<>", ""),
        (" <> ", ""),
        ("MAILER-DAEMON", ""),
        ("<mailer-daemon>", ""),
        ("Mailer <MAILER-DAEMON> (x)", ""),
        ("\tjoe@example.org\t", "joe@example.org"),
        ("Joe\n <joe@example.org>\n", "joe@example.org"),
        ("J\u00a0D <joe@example.org>", "joe@example.org"),
        ("J\udcf6 <joe@example.org>", "joe@example.org"),
        ("jörg@example.org", "jörg@example.org"),
        ('"a b"@example.org', "a b@example.org"),
    ],
)
@pytest.mark.parametrize("option", ["-f", "-r"])
def test_the_envelope_sender_is_the_address_alone(box, option, given_, sender):
    box.send(LETTER, option, given_, "bob")
    assert only(box.spool).envelope.sender == sender


def test_the_last_sender_counts(box):
    box.send(LETTER, "-f", "a@x", "-r", "b@x", "bob")
    assert only(box.spool).envelope.sender == "b@x"


@pytest.mark.parametrize(
    "bad", ["a@x, b@x", "a@x\nb", "a\x1b@x", "a@b@c", "\x7f", "@", "j\udcf6@x"]
)
def test_a_sender_that_is_not_one_address_is_refused(box, bad):
    refused(box, "-f", bad, "bob", status=64, words="cannot use sender")


def test_dsn_wishes_are_kept(box):
    box.send(LETTER, "-N", "success, failure", "-R", "FULL", "-V", "ID7", "-B8bitmime", "a", "b")
    envelope = only(box.spool).envelope
    assert (envelope.notify, envelope.ret) == (["SUCCESS,FAILURE"] * 2, "FULL")
    assert (envelope.envid, envelope.body) == ("ID7", "8BITMIME")


def test_wishes_that_make_no_sense_are_forgotten(box):
    box.send(LETTER, "-N", "never,delay", "-R", "some", "-V", "a\tb", "-B", "9BIT", "a")
    envelope = only(box.spool).envelope
    assert (envelope.notify, envelope.ret, envelope.envid, envelope.body) == ([""], "", "", "")


def test_never_and_headers_only_are_wishes_too(box):
    box.send(LETTER, "-N", "Never", "-R", "hdrs", "-B7BIT", "a")
    envelope = only(box.spool).envelope
    assert (envelope.notify, envelope.ret, envelope.body) == (["NEVER"], "HDRS", "7BIT")


def test_mail_of_a_gateway_is_marked(box):
    box.send(LETTER, "-G", "bob")
    assert only(box.spool).envelope.kind == "raw"


@pytest.mark.parametrize(
    ("args", "env", "name"),
    [
        ([], {}, None),
        (["-F", "Full Name"], {"NAME": "Other"}, "Full Name"),
        (["-FFull Name"], {}, "Full Name"),
        ([], {"NAME": "From Env"}, "From Env"),
        (["-F", ""], {"NAME": "Other"}, ""),
        (["-F", "two\nlines\x1b"], {}, "two lines "),
        (["-F", "Jörg"], {}, "Jörg"),
        (["-F", "A\x85\x7f\u00a0\u200d\u3000B"], {}, "A  \u00a0\u200d\u3000B"),
    ],
)
def test_the_full_name_is_that_of_the_option_or_of_name(box, args, env, name):
    done = box.run("sendmail", *args, "bob", stdin=LETTER, env=env)
    assert done.returncode == 0
    assert only(box.spool).envelope.full_name == name


def test_bytes_that_are_no_utf_8_survive(box):
    done = box.run("sendmail", b"-F", b"J\xf6rg", b"j\xf6rg@example.org", stdin=LETTER)
    assert (done.returncode, done.stderr) == (0, b"")
    envelope = only(box.spool).envelope
    assert (envelope.full_name, envelope.recipients) == ("J\udcf6rg", ["j\udcf6rg@example.org"])


@pytest.mark.parametrize(
    "name",
    [b"J\xf6rg", "Иван Петров".encode("koi8-r"), "A\u00a0B\u200d\u3000C".encode(), b"\xc2\xc1"],
)
@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "en_US.ISO-8859-1"])
def test_a_full_name_is_in_from_to_the_byte(box, name, locale):
    for args, env in ((["-F", name], {}), ([], {"NAME": os.fsdecode(name)})):
        done = box.run("sendmail", *args, box.user, stdin=LETTER, env={"LC_ALL": locale, **env})
        assert (done.returncode, done.stderr) == (0, b"")
    box.run("flush")
    authors = [line for mail in box.maildir() for line in mail.split(b"\n") if line[:5] == b"From:"]
    assert len(authors) == 2
    assert all(line.startswith(b"From: " + name + b" <") for line in authors)


def test_help_and_version_are_told(box):
    for option, start in (("--help", b"usage: sendmail "), ("--version", b"pymail ")):
        done = box.run("sendmail", option)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.startswith(start)


def test_verbose_tells_the_queue_id_on_standard_output(box):
    done = box.run("sendmail", "-v", "bob", stdin=LETTER)
    (qid,) = box.queue()
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{qid}: queued\n".encode(), b"")


# Other programs behind it


def test_bs_takes_no_recipients_of_its_own(box):
    refused(box, "-bs", "bob", status=64, words="-bs")
    refused(box, "-bs", "-t", status=64, words="-bs")


def test_bp_is_mailq(box):
    assert box.run("sendmail", "-bp").stdout == b"Mail queue is empty\n"
    assert box.run("sendmail", "-bp", "-v").stdout == b"Mail queue is empty\n"


@pytest.mark.parametrize("args", [["-bi"], ["-I"], ["-bi", "-oA{file}"], ["-bi", "-oA", "{file}"]])
def test_bi_is_newaliases(box, args):
    box.aliases("boss: alice\n")
    file = str(box.config_file.parent / "aliases")
    Path(file).write_text("boss: alice\nbroken\n")
    done = box.run("sendmail", *(arg.format(file=file) for arg in args))
    assert b"line 2" in done.stderr


def test_bv_explains_and_sends_nothing(box):
    done = box.run("sendmail", "-bv", box.user)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"deliverable: mailer local" in done.stdout
    assert box.run("sendmail", "-bv", "nobody-of-that-name").returncode == 67
    assert box.queue() == []


@pytest.mark.parametrize("mode", ["-bh", "-bH"])
def test_the_host_status_is_empty(box, mode):
    done = box.run("sendmail", mode)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("option", ["-q", "-qf", "-q15m", "-q0", "-v -q"])
def test_q_runs_the_queue(box, option):
    box.send(LETTER)
    done = box.run("sendmail", *option.split())
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(box.maildir()) == 1
    assert bool(done.stdout) == ("-v" in option)


def test_q_selects_by_id_recipient_and_sender(box):
    box.send(b"Subject: one\n\n", "-f", "joe@example.org", box.user)
    box.send(b"Subject: two\n\n", "-f", "sue@example.org", f"{box.user}@localhost")
    ids = box.queue()
    assert box.run("sendmail", "-qIABCDEF").returncode == 0
    assert box.run("sendmail", "-qRlocalhosT").returncode == 0
    assert [b"two" in message for message in box.maildir()] == [True]
    assert box.run("sendmail", "-qSnobody").returncode == 0
    assert box.queue() == ids[:1]
    assert box.run("sendmail", "-qSJoe@").returncode == 0
    assert len(box.maildir()) == 2
    box.send(b"Subject: three\n\n")
    assert box.run("sendmail", f"-qI{box.queue()[0]}").returncode == 0
    assert len(box.maildir()) == 3


def test_q_of_an_ordinary_user_leaves_the_systems_queue_to_root(machine):
    machine.send("alice", LETTER, "bob")
    for option in ("-q", "-qRbob"):
        done = machine.run("alice", "sendmail", option)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert machine.mail("bob") == []


# Recipients


def test_without_recipients_nothing_is_read(box):
    refused(box, status=64, words="no recipients")
    refused(box, "", status=64, words="no recipients")


@pytest.mark.parametrize(
    "header", [b"Subject: s\n\n", b"To:\n\n", b"To: <>\n\n", b"To: x:;\n\n", b""]
)
def test_a_header_without_recipients_is_an_error(box, header):
    refused(box, "-t", stdin=header, status=64, words="no recipient addresses found")


@pytest.mark.parametrize("bad", ["a@b@c", '"open', "@x", "a@[x"])
def test_a_recipient_that_is_no_address_is_refused(box, bad):
    refused(box, "--", bad, status=65, words="not an address")
    refused(box, "-t", stdin=f"To: {bad}\n\n".encode(), status=65, words="not an address")


def test_beside_a_good_one_it_is_kept_to_be_bounced(box):
    box.send(LETTER, "bob", "a@b@c")
    assert only(box.spool).envelope.recipients == ["bob", "a@b@c"]


@pytest.mark.parametrize("bad", ["a\x1b[2J@x", "a\x7f", "a\nb", "a\rb@x", "a\x85b@x"])
def test_a_recipient_with_a_control_character_is_refused(box, bad):
    refused(box, "--", bad, status=65, words="control character")


def test_in_a_header_control_characters_become_harmless(box):
    box.send(b'To: bob, "a\x1bb"@example.org\n\n', "-t")
    assert only(box.spool).envelope.recipients == ["bob", "a\ufffdb@example.org"]


def test_one_argument_may_hold_a_list(box):
    box.send(LETTER, "a@x, B <b@x>", "c, (nobody) d")
    assert only(box.spool).envelope.recipients == ["a@x", "b@x", "c", "d"]


def test_a_comma_behind_a_bracket_may_be_missing(box):
    box.send(b"To: Bob <b@x>\n c@x\nCc: <d@x> and others\n\n", "-t", "A <a@x> (A) e@x")
    assert only(box.spool).envelope.recipients == ["a@x", "e@x", "b@x", "c@x", "d@x"]


@pytest.mark.parametrize("name", ["\n  Cc", "\n \tBcc", "\rCc", " team", "", "\n Cc (Carol)"])
def test_an_address_before_a_colon_is_no_name_of_a_group(box, name):
    box.send(f"To: a@x{name}: b@x\n\n".encode(), "-t", f"c@x{name}: d@x".replace("\r", "\n "))
    assert only(box.spool).envelope.recipients == ["c@x", "d@x", "a@x", "b@x"]


def test_a_folded_argument_is_a_list_too(box):
    box.send(LETTER, "a@x,\n b@x,\r\n\tc@x")
    assert only(box.spool).envelope.recipients == ["a@x", "b@x", "c@x"]


def test_each_recipient_gets_it_once(box):
    box.send(b"To: Bob@x\nCc: bob@X, carol\n\n", "-t", "bob@x")
    assert only(box.spool).envelope.recipients == ["bob@x", "carol"]


def test_recipients_of_a_resent_message_are_the_new_ones(box):
    box.send(b"To: old\nResent-To: new\nResent-Bcc: also\n\n", "-t")
    assert only(box.spool).envelope.recipients == ["new", "also"]


def test_a_long_header_is_searched_to_its_end(box):
    header = b"X: " + b"y" * 900 + b"\n"
    box.send(header * 300 + b"To: bob\n\nbody\n", "-t")
    message = only(box.spool)
    assert (message.envelope.recipients, message.data.count(header)) == (["bob"], 300)


@pytest.mark.parametrize(
    "name", ["|/bin/id > /tmp/x", "/etc/passwd", ":include:/etc/passwd", "~/x"]
)
def test_what_looks_like_a_command_or_a_file_is_a_name(box, name):
    box.run("sendmail", "--", name, stdin=LETTER)
    for message in queued(box.spool):
        assert all("@" not in r for r in message.envelope.recipients)
    box.flush()
    assert sorted(os.listdir(box.home)) in ([], ["Maildir"])  # the report to the sender


# Standard input


@pytest.mark.parametrize("fds", ["1>&- 2>&-", "2>&-", "1>&-"])
def test_closed_output_stops_no_mail(box, fds):
    """GNU mail starts sendmail so; the next file opened must not become its output."""
    script = f'exec "$@" {fds}'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *argv("sendmail", "-v", "bob")],
        input=LETTER,
        env=box.env,
        check=False,
        capture_output=True,
    )
    assert done.returncode == 0
    assert only(box.spool).data == LETTER


def test_output_that_cannot_be_written_does_not_deny_the_mail(box):
    full = os.open("/dev/full", os.O_WRONLY)
    done = subprocess.run(
        argv("sendmail", "-v", "bob"), input=LETTER, env=box.env, check=False, stdout=full
    )
    os.close(full)
    assert (done.returncode, len(box.queue())) == (0, 1)


def test_a_closed_input_is_no_empty_message(box):
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *argv("sendmail", "bob")],
        env=box.env,
        check=False,
        capture_output=True,
    )
    assert done.returncode == 66
    assert done.stderr.startswith(b"sendmail: cannot read message from standard input: ")
    assert box.queue() == []


def given_input(box: Box, stdin: int) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        argv("sendmail", "bob"), stdin=stdin, env=box.env, check=False, capture_output=True
    )


def test_a_directory_is_no_message(box, tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    done = given_input(box, fd)
    os.close(fd)
    assert done.returncode != 0  # Python itself refuses to start
    assert box.queue() == []


def test_a_failing_read_is_no_end_of_the_message(box):
    """dma and procmail deliver half a message here; reading one's own memory at 0 is an EIO."""
    fd = os.open("/proc/self/mem", os.O_RDONLY)
    done = given_input(box, fd)
    os.close(fd)
    assert (done.returncode, box.queue()) == (75, [])
    assert b"Input/output error" in done.stderr


def test_a_deleted_file_a_pipe_and_a_socket_are_read(box, tmp_path):
    file = tmp_path / "stdin"
    file.write_bytes(b"skipped" + LETTER)
    fd = os.open(file, os.O_RDONLY)
    file.unlink()
    os.lseek(fd, 7, os.SEEK_SET)
    assert given_input(box, fd).returncode == 0
    os.close(fd)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(LETTER)
        ours.shutdown(socket.SHUT_WR)
        assert given_input(box, theirs.fileno()).returncode == 0
    assert [message.data for message in queued(box.spool)] == [LETTER] * 2


def test_an_empty_message_is_a_message(box):
    box.send(b"", "bob")
    assert only(box.spool).data == b""


def test_a_lone_dot_ends_the_message_and_what_follows_is_not_read(box):
    box.send(b"Subject: s\n\none\n.\ntwo\n", "bob")
    box.send(b"Subject: s\n\none\n.\ntwo\n", "-i", "bob")
    assert [m.body for m in queued(box.spool)] == [b"one\n", b"one\n.\ntwo\n"]


def test_a_dot_in_the_header_ends_it_too(box):
    box.send(b"To: bob\n.\nTo: carol\n\n", "-t")
    assert only(box.spool).envelope.recipients == ["bob"]


def test_bytes_are_stored_as_they_come_but_for_line_ends(box):
    body = bytes(range(256)).replace(b"\r", b"").replace(b"\n", b"") * 40
    box.send(b"Subject: s\r\n\r\n" + body + b"\r\nend", "-i", "bob")
    assert only(box.spool).data == b"Subject: s\n\n" + body + b"\nend\n"


# Environment


def test_an_empty_environment_is_enough(machine):
    """dovecot-lda gives none: no PATH, no HOME, no LANG."""
    done = machine.run("alice", "/usr/sbin/sendmail", "bob", stdin=LETTER, env={})
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    machine.flush()
    (message,) = machine.mail("bob")
    assert message.values("From") == ["Alice Liddell <alice@example.net>"]


def test_the_sender_is_the_uid_and_not_the_environment(machine):
    env = {"HOME": "/root", "USER": "root", "LOGNAME": "root", "PATH": "/usr/bin:/bin"}
    done = machine.run("alice", "/usr/sbin/sendmail", "bob", stdin=LETTER, env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    machine.flush()
    (message,) = machine.mail("bob")
    assert message.values("Return-Path") == ["<alice@example.net>"]


@pytest.mark.parametrize("locale", ["C", "POSIX", "xx_YY.nonsense", "ru_RU.KOI8-R"])
def test_the_locale_changes_no_byte(box, locale):
    done = box.run(
        "sendmail",
        "jörg@example.org".encode(),
        stdin="Subject: é\n\n".encode(),
        env={"LC_ALL": locale},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    message = only(box.spool)
    assert message.envelope.recipients == ["jörg@example.org"]
    assert message.data == "Subject: é\n\n".encode()


def test_a_working_directory_that_is_gone_is_no_error(box, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    code = "import os, sys; os.rmdir(os.getcwd()); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", code, *argv("sendmail", "bob")]
    done = subprocess.run(
        command, input=LETTER, cwd=gone, env=box.env, check=False, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_it_is_called_by_its_other_name_too(machine):
    done = machine.run("alice", "/usr/lib/sendmail", "-i", "bob", stdin=LETTER)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_broken_configuration_stops_no_mail(box):
    box.config("this is [ no toml")
    box.send(LETTER)
    assert box.run("flush").returncode == 78
    box.config("")
    box.flush()
    assert len(box.maildir()) == 1


# Size


def test_a_message_over_the_limit_is_refused_and_leaves_nothing(box):
    limit = DEFAULT_SIZE_LIMIT
    box.send(b"x" * (limit - 1) + b"\n", "-i", "bob")
    (first,) = box.queue()
    done = box.run("sendmail", "-i", "bob", stdin=b"x" * (limit + 1))
    assert (done.returncode, box.queue()) == (69, [first])
    assert f"over {limit} bytes (message_size_limit)".encode() in done.stderr


@pytest.mark.parametrize("args", [["-i", "bob"], ["-t"]])
def test_flush_publishes_the_limit_of_the_configuration(box, args):
    box.config("message_size_limit = 1000\n")
    box.send(LETTER)
    box.flush()
    assert (box.spool / "message_size_limit").read_text() == "1000\n"
    small, large = (b"To: bob\n\n" + b"x" * n + b"\n" for n in (990, 991))
    box.send(small, *args)
    assert len(box.queue()) == 1
    assert box.run("sendmail", *args, stdin=large).returncode == 69
    assert len(box.queue()) == 1


def test_no_limit_is_nought(box):
    box.config("message_size_limit = 0\n")
    box.send(LETTER)
    box.flush()
    box.send(b"x" * (DEFAULT_SIZE_LIMIT + 1), "-i", "bob")


def test_a_message_over_a_limit_that_came_later_is_bounced(box):
    box.send(b"Subject: large\n\n" + b"x" * 2000)
    box.config("message_size_limit = 1000\n")
    box.flush()
    (report,) = box.maildir()
    assert b"Status: 5.3.4" in report


def test_a_large_message_is_not_held_in_memory(box):
    box.config("message_size_limit = 0\n")
    box.send(LETTER)
    box.flush()
    code = (
        "import resource, subprocess, sys\n"
        "p = subprocess.run(sys.argv[1:], stdin=sys.stdin)\n"
        "print(p.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    peaks = []
    for size in (1000, 60_000_000):
        done = box.run(
            sys.executable, "-c", code, *argv("sendmail", "-i", "bob"), stdin=b"x\n" * (size // 2)
        )
        status, peak = done.stdout.split()
        assert status == b"0"
        peaks.append(int(peak))
    assert peaks[1] - peaks[0] < 16 * 1024


# A full disk


@pytest.fixture
def small(tmp_path) -> Iterator[Path]:
    """A file system of 256 KiB and few files."""
    needs_root()
    place = tmp_path / "small"
    place.mkdir()
    option = "size=256k,nr_inodes=12,mode=0755"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", option, "none", place], check=False)
    if mounted.returncode != 0:
        missing("this test needs a mount")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def usage(place: Path) -> tuple[int, int]:
    about = os.statvfs(place)
    return about.f_bfree, about.f_ffree


def test_a_full_disk_is_a_temporary_failure_and_leaves_nothing_behind(box, small):
    env = {"PYMAIL_SPOOL": str(small / "spool")}
    assert box.run("sendmail", "bob", stdin=LETTER, env=env).returncode == 0
    before = usage(small)
    done = box.run("sendmail", "-i", "bob", stdin=b"x" * 300_000, env=env)
    assert (done.returncode, done.stdout) == (75, b"")
    assert b"No space left on device" in done.stderr and b"try again later" in done.stderr
    assert usage(small) == before
    assert box.run("sendmail", "bob", stdin=LETTER, env=env).returncode == 0


def test_so_is_a_disk_without_inodes(box, small):
    env = {"PYMAIL_SPOOL": str(small / "spool")}
    assert box.run("sendmail", "bob", stdin=LETTER, env=env).returncode == 0
    while usage(small)[1]:
        (small / f"file{usage(small)[1]}").write_text("")
    names = os.listdir(small / "spool" / "queue")
    assert box.run("sendmail", "bob", stdin=LETTER, env=env).returncode == 75
    assert os.listdir(small / "spool" / "queue") == names


def test_a_file_size_limit_is_a_temporary_failure(box):
    box.send(b"")
    command = ["/bin/sh", "-c", 'ulimit -f 100; exec "$@"', "sh", *argv("sendmail", "-i", "bob")]
    done = subprocess.run(
        command, input=b"x" * 300_000, env=box.env, check=False, capture_output=True
    )
    assert (done.returncode, len(box.queue())) == (75, 1), done.stderr
    assert os.strerror(errno.EFBIG).encode() in done.stderr


def test_a_spool_that_is_not_there_to_write_to_is_told(machine):
    shutil.rmtree(machine.spool / "queue")
    done = machine.run("root", "sendmail", "bob", stdin=LETTER)
    assert (done.returncode, done.stdout) == (75, b"")
    assert b"/var/spool/pymail/queue" in done.stderr


# Delivery at once


@pytest.mark.parametrize("option", ["-odi", "-ODeliveryMode=interactive", "-O deliverymode=i"])
def test_odi_returns_when_the_mail_is_delivered(box, option):
    box.send(LETTER, *option.split(), box.user)
    assert (len(box.maildir()), box.queue()) == (1, [])


def test_odb_returns_at_once_and_delivers_behind(box):
    box.aliases(f'slow: "|sleep 2; cat > {box.home}/out"\n')
    started = time.monotonic()
    box.send(LETTER, "-odb", "slow")
    assert time.monotonic() - started < 1.9
    for _ in range(100):
        if (box.home / "out").exists() and not box.queue():
            break
        time.sleep(0.1)
    assert (box.home / "out").read_bytes().endswith(b"\n\nbody\n")


def test_odi_delivers_its_own_message_only(box):
    box.send(b"Subject: other\n\n")
    box.send(LETTER, "-odi", box.user)
    assert len(box.maildir()) == 1
    assert len(box.queue()) == 1


def test_a_flush_that_cannot_be_started_is_no_failure_but_told(box):
    command = [
        "/bin/bash",
        "-c",
        'ulimit -u 0; exec "$@"',
        "bash",
        *argv("sendmail", "-odi", "bob"),
    ]
    done = subprocess.run(
        ["setpriv", "--reuid=54321", "--clear-groups", *command],
        input=LETTER,
        env=box.env | {"PYMAIL_SPOOL": "/tmp/pymail-test-54321"},
        check=False,
        capture_output=True,
    )
    try:
        assert done.returncode == 0
        assert done.stderr.startswith(b"sendmail: cannot start flush: Resource temporarily")
        assert len(os.listdir("/tmp/pymail-test-54321/queue")) == 1
    finally:
        shutil.rmtree("/tmp/pymail-test-54321")


def test_odq_only_queues(box):
    box.send(LETTER, "-odb", "-odq", box.user)
    time.sleep(0.5)
    assert (box.maildir(), len(box.queue())) == ([], 1)


def test_delivery_that_fails_is_no_failure_of_the_submission(machine):
    machine.config("broken [")
    done = machine.run("root", "sendmail", "-odi", "bob", stdin=LETTER)
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.startswith(b"flush: cannot read ")
    assert done.stderr.count(b"\n") == 1
    assert len(machine.queue()) == 1


def test_an_ordinary_user_cannot_start_the_systems_flush(machine):
    machine.send("alice", LETTER, "-odi", "bob")
    assert machine.mail("bob") == []
    machine.flush()
    assert len(machine.mail("bob")) == 1


def test_root_can(machine):
    machine.send("root", LETTER, "-odi", "bob")
    assert len(machine.mail("bob")) == 1


# Known attacks on what callers pass (CVE-2016-10033, -10045, -10034, -10074; Exim's -be)

EXPLOITS = [
    ["-t", "-i", "-fattacker@x", "-OQueueDirectory={d}", "-X{d}/shell.php"],
    ["-t", "-i", "-f", '"attacker\\"', "-oQ{d}/", "-X{d}/shell.php", 'some"@email.com'],
    ["-t", "-i", "-fa'", "-oQ{d}/", "-X{d}/shell.php", "'b@x"],
    ["-X", "{d}/shell.php", "-t"],
    ["-t", "-D{d}/shell.php"],
    ["-t", "-D", "{d}/shell.php", "-d0-99.127"],
    ["-C", "/etc/shadow", "-X", "{d}/out", "-t"],
    ["-C/etc/shadow", "-bp"],
    ["-C{d}/evil.cf", "-t"],
    ["-be", "${{run{{/usr/bin/touch {d}/shell.php}}}}", "-t"],
    ["-be", "${{substr{{0}}{{1}}{{$spool_directory}}}}"],
    ["-bt", "-C{d}/evil.cf"],
    ["-oA{d}/shell.php", "-t"],
    ["-bi", "-oA{d}/shell.php"],
    ["-odb", "-OAliasFile={d}/shell.php", "-bi"],
    ["-t", "-L{d}/shell.php"],
    ["-t", "-oX{d}/shell.php", "-os"],
    ["-v", "-d99", "-X{d}/shell.php", "{d}/shell.php"],
    ["-v", "--", "|touch {d}/shell.php"],
    ["-t", "-F", "<?php system($_GET[0]); ?>", "-X{d}/shell.php"],
    ["-bs", "-X{d}/shell.php"],
    ["-t", "-p", "SMTP:{d}/shell.php", "-M{d}/shell.php", "-R{d}/shell.php"],
    ["-bP", "-C{d}/evil.cf"],
    ["-qR", "-X{d}/shell.php"],
]


@pytest.mark.parametrize("line", EXPLOITS, ids=" ".join)
def test_no_known_exploit_makes_a_file_or_shows_one(box, tmp_path, line):
    place = tmp_path / "www"
    place.mkdir()
    secret = "root:SECRET-HASH:1:0"
    (place / "evil.cf").write_text(f"{secret}\nMlocal, P={place}/run\n")
    args = [arg.format(d=place) for arg in line]
    letter = b"To: bob@example.org\nSubject: <?php system($_GET[0]); ?>\n\n<?php echo 1; ?>\n"
    done = box.run("sendmail", *args, stdin=letter, cwd=place)
    assert done.returncode in {0, 64, 65, 66}
    box.run("flush", cwd=place)
    assert os.listdir(place) == ["evil.cf"]
    shown = done.stdout + done.stderr + b"".join(m.data for m in queued(box.spool))
    shown += b"".join(box.maildir())
    assert b"SECRET-HASH" not in shown and b"root:" not in shown
    assert sorted(os.listdir(box.home)) in ([], ["Maildir"])


def test_a_header_in_an_address_stays_an_address(box):
    refused(box, "bob@example.org\nBcc: spam@example.org", status=65, words="control character")
    refused(box, "-f", "a@x\nBcc: b@x", "bob", status=64, words="cannot use sender")
    box.send(b"To: bob@example.org\r\nSubject: s\rBcc: spam@example.org\r\n\r\n", "-t")
    message = only(box.spool)
    assert message.envelope.recipients == ["bob@example.org"]
    assert b"\r" not in message.data
