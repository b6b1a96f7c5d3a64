"""pymail fetch from servers that are odd, broken or hostile: nothing is lost by it, or doubled."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from authority import Authority
from harness import Box, argv
from machine import CONFIG, Machine
from oddstores import Imap, Pop, Say, serving

MAILDIR = "maildir = '~/Maildir'"
DELETE = "after_fetch = 'delete'"


def account(protocol: str, port: int, *lines: str) -> str:
    text = [
        "[fetch.isp]",
        f"protocol = '{protocol}'\nserver = '127.0.0.1'\nport = {port}",
        "user = 'u'\npassword = 'p'\ntls_security_level = 'none'",
        *lines,
    ]
    return "".join(f"{line}\n" for line in text)


def configure(box: Box, protocol: str, port: int, *lines: str) -> None:
    box.config(account(protocol, port, *lines))
    box.config_file.chmod(0o600)


def fetch(box: Box, status: int = 0) -> str:
    """Fetch; return what was said."""
    done = box.run("pymail", "fetch", "-v")
    said = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == status, said
    return said


def subjects(box: Box) -> list[str]:
    texts = [path.read_text("latin-1") for path in (box.home / "Maildir/new").iterdir()]
    return sorted(found[1] for text in texts if (found := re.match(r"Subject: (.*)", text)))


def letter(subject: str) -> bytes:
    return f"Subject: {subject}\r\n\r\ntext".encode()


def test_a_uidl_that_is_given_again_is_another_message(box: Box) -> None:
    server = Pop(("1", letter("one")), ("2", letter("two")))
    with serving(server) as port:
        configure(box, "pop3", port, MAILDIR, DELETE)
        fetch(box)
        assert server.mail == []
        server.mail = [("1", letter("new"))]  # as long as the first
        assert "1 fetched" in fetch(box)
        assert server.mail == []
        fetch(box)
    assert subjects(box) == ["new", "one", "two"]


class Hasty(Pop):
    """Deletes at once what it is asked to delete, and hangs up."""

    def __call__(self, lines: Iterator[str], say: Say) -> None:
        """Talk."""

        def until_one_is_gone() -> Iterator[str]:
            for line in lines:
                if line.startswith("DELE "):
                    del self.mail[int(line.split()[1]) - 1]
                    return
                yield line

        super().__call__(until_one_is_gone(), say)


def test_a_uidl_is_that_of_another_message_also_where_nobody_heard_of_the_deletion(
    box: Box,
) -> None:
    server = Hasty(("1", letter("one")))
    with serving(server) as port:
        configure(box, "pop3", port, MAILDIR, DELETE)
        fetch(box, 75)
        assert server.mail == []
        server.mail = [("1", letter("new"))]
        fetch(box, 75)
    assert subjects(box) == ["new", "one"]


def test_a_server_that_deletes_nothing_gives_nothing_twice(box: Box) -> None:
    mail = [("1", letter("one")), ("2", letter("two"))]
    server = Pop(*mail)
    with serving(server) as port:
        configure(box, "pop3", port, MAILDIR, DELETE)
        for fetched in (2, 0, 0):
            assert f"{fetched} fetched" in fetch(box)
            server.mail = list(mail)
    assert subjects(box) == ["one", "two"]


def test_what_a_server_does_not_delete_is_told_and_neither_fetched_again_nor_lost(
    box: Box,
) -> None:
    server = Pop(*((name, letter(name)) for name in ("one", "two", "three")))
    server.refusals = {"DELE 2": "-ERR cannot be deleted\x1b[2J", "DELE 1": "-ERR another one"}
    told = "pymail: cannot fetch all of isp: cannot remove messages: "
    with serving(server) as port:
        configure(box, "pop3", port, MAILDIR, DELETE)
        assert fetch(box, 75) == f"isp: 3 fetched, 59 bytes\n{told}-ERR another one\n"
        assert [name for name, _ in server.mail] == ["one", "two"]
        sent, server.refusals = server.sent, {"DELE 1": "-ERR cannot be deleted\x1b[2J"}
        said = fetch(box, 75)
        assert said == f"isp: 0 fetched, 0 bytes\n{told}-ERR cannot be deleted?[2J\n"
        assert server.sent == sent
        server.refusals = {}
        assert fetch(box) == "isp: 0 fetched, 0 bytes\n"
        assert (server.mail, server.sent) == ([], sent)
        server.mail = [("two", letter("with the name of another"))]
        assert "1 fetched" in fetch(box)
    assert subjects(box) == ["one", "three", "two", "with the name of another"]


def test_a_server_that_refuses_to_part_gives_nothing_twice(box: Box) -> None:
    server = Pop(("1", letter("one")), ("2", letter("two")))
    server.refusals = {"QUIT": "-ERR [SYS/TEMP] some deleted messages not removed"}
    with serving(server) as port:
        configure(box, "pop3", port, MAILDIR, DELETE)
        for fetched in (2, 0):
            said = fetch(box, 75)
            assert f"{fetched} fetched" in said
            assert "cannot remove messages: -ERR [SYS/TEMP] some deleted messages" in said
        server.refusals = {}
        assert "0 fetched" in fetch(box)
        assert server.mail == []
        server.mail = [("1", letter("three"))]
        server.refusals = {"QUIT": "-ERR"}
        configure(box, "pop3", port, MAILDIR)
        assert "1 fetched" in fetch(box)  # there was nothing to delete
    assert subjects(box) == ["one", "three", "two"]


@pytest.mark.parametrize(
    "words", ["message 1 already deleted", "Message is deleted.", "[SYS/PERM] No such message"]
)
def test_a_message_that_is_gone_already_need_not_be_deleted(box: Box, words: str) -> None:
    server = Pop(("1", letter("one")))
    server.refusals = {"DELE 1": f"-ERR {words}"}
    with serving(server) as port:
        configure(box, "pop3", port, MAILDIR, DELETE)
        assert "1 fetched" in fetch(box)
        server.mail = [("1", letter("new"))]
        assert "1 fetched" in fetch(box)
    assert subjects(box) == ["new", "one"]


def test_two_messages_with_one_uidl_are_two_and_copies_are_one(box: Box) -> None:
    server = Pop(("x", letter("one")), ("x", letter("other")), ("x", letter("one")))
    with serving(server) as port:
        configure(box, "pop3", port, MAILDIR)
        assert "2 fetched" in fetch(box)
        assert "0 fetched" in fetch(box)
        configure(box, "pop3", port, MAILDIR, DELETE)
        assert "0 fetched" in fetch(box)
    assert server.mail == []
    assert subjects(box) == ["one", "other"]


@pytest.mark.parametrize("nothing", ["NIL", '""', "{0}\r\n"])
def test_nothing_is_no_message_and_is_not_deleted(box: Box, nothing: str) -> None:
    def odd(say: Say, tag: str, line: str) -> bool:
        if "BODY.PEEK" in line and "2" in line.split()[2]:
            say("* 1 FETCH (UID 1 BODY[] {3}\r\nabc)" if ":" in line else "* 1 EXISTS")
            say(f"* 2 FETCH (UID 2 BODY[] {nothing})\r\n{tag} OK done")
            return True
        return False

    server = Imap({"INBOX": {1: letter("one"), 2: letter("two")}}, odd)
    with serving(server) as port:
        configure(box, "imap", port, MAILDIR, DELETE)
        said = fetch(box, 75)
    assert list(server.folders["INBOX"]) == [2]
    assert "1 fetched, 3 bytes" in said
    assert "message INBOX:7:2: " in said


def test_an_empty_message_of_pop3_is_left_as_well(box: Box) -> None:
    class Empty(Pop):
        def __call__(self, lines, say) -> None:
            super().__call__(
                lines, lambda said: say("+OK\r\n." if b"Subject" in _bytes(said) else said)
            )

    server = Empty(("1", letter("one")))
    with serving(server) as port:
        configure(box, "pop3", port, MAILDIR, DELETE)
        assert "gives nothing of its" in fetch(box, 75)
    assert len(server.mail) == 1


def _bytes(said: bytes | str) -> bytes:
    return said if isinstance(said, bytes) else said.encode()


def test_a_message_without_a_size_is_fetched(box: Box) -> None:
    def odd(say: Say, tag: str, line: str) -> bool:
        if "SIZE" in line:
            say(f"* 1 FETCH (UID 1)\r\n{tag} OK done")
        return "SIZE" in line

    with serving(Imap({"INBOX": {1: letter("one")}}, odd)) as port:
        configure(box, "imap", port, MAILDIR)
        fetch(box)
    assert subjects(box) == ["one"]


def test_commands_stay_short_enough_for_any_server(box: Box) -> None:
    mail = {uid: letter(str(uid)) for uid in range(1_000_000, 1_004_000, 4)}
    server = Imap({"INBOX": mail})
    with serving(server) as port:
        configure(box, "imap", port, MAILDIR)
        fetch(box)
        configure(box, "imap", port, MAILDIR, DELETE)
        fetch(box)
    assert mail == {}
    assert max(map(len, server.said)) < 1200


def test_a_folder_that_is_not_there_keeps_back_no_other(box: Box) -> None:
    with serving(Imap({"INBOX": {1: letter("one")}})) as port:
        configure(box, "imap", port, MAILDIR, "folders = ['Gone', 'INBOX']")
        said = fetch(box, 75)
    assert "cannot fetch all of isp: cannot open folder Gone: NO there is no such mailbox" in said
    assert "1 fetched" in said
    assert subjects(box) == ["one"]


def test_what_cannot_be_moved_keeps_back_no_new_mail(box: Box) -> None:
    def odd(say: Say, tag: str, line: str) -> bool:
        if "MOVE" in line:
            say(f"{tag} NO [TRYCREATE] there is no such folder")
        return "MOVE" in line

    server = Imap({"INBOX": {1: letter("one")}}, odd)
    with serving(server) as port:
        configure(box, "imap", port, MAILDIR, "after_fetch = 'move Done'")
        for _ in range(2):
            said = fetch(box, 75)
            assert "cannot move messages to folder Done: NO [TRYCREATE] there is no such" in said
            assert "folder; create it there, or name another in after_fetch\n" in said
            server.folders["INBOX"][2] = letter("two")
    assert subjects(box) == ["one", "two"]


class Old(Imap):
    """Before UIDPLUS: EXPUNGE takes all that is marked, whoever has marked it."""

    able = ""


def test_what_others_have_marked_is_not_expunged_along_with_ours(box: Box) -> None:
    mail = {1: letter("one"), 2: letter("draft of a friend"), 3: letter("three")}
    server = Old({"INBOX": mail})
    with serving(server) as port:
        configure(box, "imap", port, MAILDIR, DELETE)
        fetch(box)
        assert mail == {}
        mail |= {4: letter("four"), 5: b"x" * 5000, 6: letter("six")}
        server.deleted = {5}
        configure(box, "imap", port, MAILDIR, DELETE, "size_limit = 1000")
        said = fetch(box, 75)
        assert "messages that others have marked as deleted are in folder INBOX" in said
        assert "expunge it with another program" in said
        assert set(mail) == {4, 5, 6}
        del mail[5]
        assert "0 fetched" in fetch(box)
    assert mail == {}
    assert len(subjects(box)) == 5


@pytest.mark.parametrize(
    ("able", "command", "words"),
    [
        ("", "UID STORE", "cannot flag messages: NO not now"),
        ("", "UID SEARCH", "cannot look for deleted messages in folder INBOX: NO not now"),
        ("", "EXPUNGE", "cannot remove messages from folder INBOX: NO not now"),
        ("UIDPLUS", "UID EXPUNGE", "cannot remove messages from folder INBOX: NO not now"),
    ],
)
def test_what_is_not_deleted_is_told_and_deleted_the_next_time(
    box: Box, able: str, command: str, words: str
) -> None:
    refusals = [1]

    def odd(say: Say, tag: str, line: str) -> bool:
        if line.startswith(command) and refusals and refusals.pop():
            say(f"{tag} NO not now")
            return True
        return False

    server = Imap({"INBOX": {1: letter("one")}}, odd)
    server.able = able
    with serving(server) as port:
        configure(box, "imap", port, MAILDIR, DELETE)
        assert words in fetch(box, 75)
        assert list(server.folders["INBOX"]) == [1]
        assert "0 fetched" in fetch(box)
    assert server.folders["INBOX"] == {}
    assert subjects(box) == ["one"]


@pytest.mark.parametrize("able", ["", "UIDPLUS"])
def test_what_is_moved_by_a_copy_is_copied_once(box: Box, able: str) -> None:
    mail, done = {uid: letter(str(uid)) for uid in range(1, 5)}, {}
    died = []

    def odd(say: Say, tag: str, line: str) -> bool:
        if "EXPUNGE" in line and not died:
            died.append(line)
            raise OSError
        return False

    server = Imap({"INBOX": mail, "Done": done}, odd)
    server.able = able
    with serving(server) as port:
        configure(box, "imap", port, MAILDIR, "after_fetch = 'move Done'")
        fetch(box, 75)
        assert (len(mail), len(done)) == (4, 4)
        fetch(box)
        assert (mail, len(done)) == ({}, 4)
        mail |= {8: letter("8"), 9: b"x" * 5000}
        server.deleted = {9}
        configure(box, "imap", port, MAILDIR, "after_fetch = 'move Done'", "size_limit = 1000")
        fetch(box, 0 if able else 75)
    assert sorted(mail) == ([9] if able else [8, 9])
    assert len(done) == (5 if able else 4)


class Known(Imap):
    """It knows who calls."""

    greeting = "PREAUTH you are u"


@pytest.mark.parametrize("level", ["none", "encrypt"])
def test_a_server_that_knows_us_already_is_asked_for_no_login(
    box: Box, level: str, tmp_path: Path
) -> None:
    server = Known({"INBOX": {1: letter("one")}})
    tls = Authority(tmp_path).context("good", "localhost") if level == "encrypt" else None
    with serving(server, tls) as port:
        configure(box, "imap", port, MAILDIR)
        text = box.config_file.read_text().replace("'none'", f"'{level}'")
        box.config_file.write_text(text)
        fetch(box)
        assert not any("LOGIN" in line or "AUTH" in line for line in server.said)
    assert subjects(box) == ["one"]


def test_a_server_that_knows_us_before_tls_is_left(box: Box) -> None:
    with serving(Known({"INBOX": {1: letter("one")}})) as port:
        configure(box, "imap", port, MAILDIR, "tls_wrappermode = false")
        text = box.config_file.read_text().replace("'none'", "'encrypt'")
        box.config_file.write_text(text)
        assert "leaves no room for TLS" in fetch(box, 75)
    assert not (box.home / "Maildir/new").exists() or subjects(box) == []


def handshake(kind: int, body: bytes) -> bytes:
    """Return a message of a TLS 1.2 handshake, in records."""
    message = bytes([kind]) + len(body).to_bytes(3, "big") + body
    pieces = (message[n : n + 16384] for n in range(0, len(message), 16384))
    return b"".join(b"\x16\x03\x03" + len(x).to_bytes(2, "big") + x for x in pieces)


HELLO = handshake(2, b"\x03\x03" + bytes(33) + b"\xc0\x2f\x00\x00\x05\xff\x01\x00\x01\x00")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (HELLO + handshake(11, bytes(10_000_000)), "excessive message size"),
        (HELLO + handshake(11, b"\0\0\x09\0\0\x06" + b"\xff" * 6), "asn1"),
        (b"* OK hello\r\n" * 1000, "wrong version number"),
    ],
)
def test_a_server_that_speaks_no_tls_that_can_be_is_left(box: Box, said: bytes, words: str) -> None:
    sent: list[int] = []

    def talk(_: Iterator[str], say: Say) -> None:
        for start in range(0, len(said), 1 << 16):
            say(said[start : start + (1 << 16)])
            sent.append(start)

    with serving(talk) as port:
        configure(box, "imap", port, MAILDIR, "tls_wrappermode = true")
        box.config_file.write_text(box.config_file.read_text().replace("'none'", "'encrypt'"))
        told = fetch(box, 75)
    assert re.search(f"cannot start TLS with 127.0.0.1: .*{words}", told), told


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_what_is_said_between_starttls_and_tls_counts_for_nothing(box: Box, protocol: str) -> None:
    heard: list[str] = []

    def talk(lines: Iterator[str], say: Say) -> None:
        yes = "a2 OK" if protocol == "imap" else "+OK"
        say("* OK hello" if protocol == "imap" else "+OK hello")
        for line in lines:
            heard.append(line)
            if "TLS" in line:
                say(f"{yes} begin")
                time.sleep(0.2)  # behind what was heard together with the answer
                say("a3 OK logged in\r\n* CAPABILITY IMAP4rev1\r\n+OK")
                return
            say("a1 OK" if protocol == "imap" else "+OK\r\n.")

    with serving(talk) as port:
        configure(box, protocol, port, MAILDIR, "tls_wrappermode = false")
        box.config_file.write_text(box.config_file.read_text().replace("'none'", "'encrypt'"))
        said = fetch(box, 75)
    assert "cannot start TLS with 127.0.0.1: wrong version number" in said
    assert not any("USER" in line or "LOGIN" in line for line in heard)


def test_a_program_has_no_more_time_than_any_command(box: Box) -> None:
    server = Pop(("1", letter("one")))
    with serving(server) as port:
        configure(box, "pop3", port, "mda = 'sleep 50'", DELETE)
        box.config_file.write_text("command_time_limit = 1\n" + box.config_file.read_text())
        before = time.monotonic()
        assert 'message 1: Command time limit exceeded: "sleep 50"' in fetch(box, 75)
    assert time.monotonic() - before < 20
    assert len(server.mail) == 1


def test_another_account_in_the_same_table_loses_nothing(box: Box) -> None:
    """Both servers count from 1: what has the number of a fetched one is not taken for it."""
    with serving(Imap({"INBOX": {1: letter("one"), 2: letter("two")}})) as port:
        configure(box, "imap", port, MAILDIR)
        fetch(box)
    other = Imap({"INBOX": {1: letter("other"), 2: letter("two of another")}})
    with serving(other) as port:
        configure(box, "imap", port, MAILDIR, DELETE)
        text = box.config_file.read_text().replace("user = 'u'", "user = 'v'")
        box.config_file.write_text(text)
        assert "2 fetched" in fetch(box)
    assert other.folders["INBOX"] == {}
    assert subjects(box) == ["one", "other", "two", "two of another"]


def test_a_message_over_which_the_server_hangs_up_keeps_back_no_other(box: Box) -> None:
    def odd(say: Say, _: str, line: str) -> bool:
        if "BODY.PEEK" in line and any(uid in line for uid in ("6", "5:7")):
            if "5:7" in line:
                text = letter("five")
                say(b"* 1 FETCH (UID 5 BODY[] {%d}\r\n%b)" % (len(text), text))
            say("* BYE internal error")
            raise OSError
        return False

    server = Imap({"INBOX": {5: letter("five"), 6: letter("six"), 7: letter("seven")}}, odd)
    with serving(server) as port:
        configure(box, "imap", port, MAILDIR)
        said = fetch(box, 75)
        assert "message INBOX:7:6: " in said
        assert subjects(box) == ["five", "seven"]
        fetch(box, 75)
    assert subjects(box) == ["five", "seven"]


def broken(say: Say, _: str, line: str) -> bool:
    """Hang up where a second folder is asked for."""
    del say
    if "Lists" in line:
        raise OSError
    return False


FILTERED = ["folders = ['INBOX', 'Lists']", "filter = 'echo why >&2; exit 3'", MAILDIR]


def told_of_filter_and_server(done: "subprocess.CompletedProcess[bytes]") -> None:
    assert done.returncode == 75
    assert done.stdout == b"isp: message INBOX:7:1: filter failed with status 3: why\n"
    assert done.stderr.startswith(b"pymail: cannot fetch isp: ")
    assert done.stderr.count(b"\n") == 1


def test_what_is_told_of_a_message_is_told_though_the_server_hangs_up_behind_it(box: Box) -> None:
    with serving(Imap({"INBOX": {1: letter("one")}}, broken)) as port:
        configure(box, "imap", port, *FILTERED)
        told_of_filter_and_server(box.run("pymail", "fetch"))


def test_it_is_told_where_root_has_it_fetched_too(machine: Machine) -> None:
    with serving(Imap({"INBOX": {1: letter("one")}}, broken)) as port:
        machine.config(account("imap", port, *FILTERED, "to = 'alice'"))
        CONFIG.chmod(0o600)
        told_of_filter_and_server(machine.run("root", "pymail", "fetch"))


@pytest.mark.parametrize("size", [2000, 3_000_000])
@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_a_message_that_is_larger_than_its_server_says_stays_there(
    box: Box, protocol: str, size: int
) -> None:
    large = letter("large") + b"\r\n" + (b"x" * 98 + b"\r\n") * (size // 100)
    mail = {1: letter("one"), 2: large, 3: letter("three"), 4: large, 5: letter("five")}
    server: Imap | Pop = Imap({"INBOX": mail})
    if protocol == "pop3":
        server = Pop(*((f"u{uid}", text) for uid, text in mail.items()))
    server.size = 10
    with serving(server) as port:
        configure(box, protocol, port, MAILDIR, DELETE, "size_limit = 1000")
        for fetched in (3, 0):
            said = fetch(box)
            assert f"{fetched} fetched" in said
            assert said.count("left on the server: a message of more than 1000 bytes") == 2
    left = mail if isinstance(server, Imap) else dict(server.mail)
    assert list(left.values()) == [large, large]
    assert subjects(box) == ["five", "one", "three"]


def test_a_server_all_of_whose_messages_are_larger_than_it_says_is_left(box: Box) -> None:
    large = letter("large") + b"\r\n" + b"x" * 3_000_000
    server = Pop(*((f"u{n}", large) for n in range(30)))
    server.size = 10
    with serving(server) as port:
        configure(box, "pop3", port, MAILDIR, "size_limit = 1000")
        *left, said = fetch(box, 75).splitlines()
    assert left == 10 * ["isp: left on the server: a message of more than 1000 bytes (size_limit)"]
    assert said.startswith("pymail: cannot fetch isp: host 127.0.0.1")
    assert "a message has no end" in said
    assert server.sent <= 11 * len(large)
    assert subjects(box) == []


def test_a_program_gets_one_message_twice_at_most(box: Box) -> None:
    server = Pop(*((str(n), letter(str(n))) for n in range(40)))
    script = box.home / "take"
    script.write_text(f"#!/bin/sh\nsed -n 's/^Subject: //p' >> {box.home}/got; sleep 0.05\n")
    script.chmod(0o755)
    with serving(server) as port:
        configure(box, "pop3", port, f"mda = '{script}'", DELETE)
        process = subprocess.Popen(argv("pymail", "fetch"), env=box.env)
        deadline = time.monotonic() + 60
        got = box.home / "got"
        while not got.exists() or len(got.read_text().split()) < 10:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        fetch(box)
    numbers = got.read_text().split()
    assert set(numbers) == {str(n) for n in range(40)}
    assert len(numbers) <= 41


def test_the_sender_does_not_choose_who_reads(box: Box) -> None:
    text = (
        b"X-Original-To: joe@home.example\r\nX-Original-To: ann@home.example\r\n"
        b"Received: from x by mx\r\nX-Original-To: boss@home.example\r\nSubject: s\r\n\r\nx"
    )
    other = (
        b"Received: from x by mx\r\nX-Original-To: bob@home.example\r\n"
        b"X-Original-To: boss@home.example\r\nSubject: s\r\n\r\nx"
    )
    with serving(Pop(("1", text), ("2", other))) as port:
        configure(
            box, "pop3", port, "envelope_header = 'X-Original-To'", "domains = ['home.example']"
        )
        fetch(box)
    lines = box.run("mailq", "-j").stdout.decode()
    assert "boss" not in lines
    for user in ("joe", "ann", "bob"):
        assert f'"{user}' in lines


def test_to_count_makes_no_mailbox(box: Box) -> None:
    with serving(Pop(("1", letter("one")))) as port:
        configure(box, "pop3", port, MAILDIR)
        done = box.run("pymail", "fetch", "-n")
    assert b"1 to fetch" in done.stdout
    assert not (box.home / "Maildir").exists()
