"""pymail fetch from a real Dovecot: every way in, every destination, and nothing twice."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from authority import Authority
from harness import Box, argv, measured, needs
from machine import Machine
from mailstores import PASSWORD, USER, Store, dovecot, mailutils
from relays import free_port
from tokens import GOOD, introspection

from pymail import secret
from pymail.account import accounts

WAYS = ["imap", "imaps", "imap+starttls", "pop3", "pop3s", "pop3+starttls"]
LETTERS = [
    b"From: a@x.org\nSubject: one\n\ntext\n",
    "From: b@x.org\nSubject: письмо\n\nкои8 \u0000 текст\n".encode("koi8-r", "replace"),
    b"Subject: dots\n\n.\n..\n...x\n.\n",
    b"Subject: binary\n\n\x00\xff\x80 a lone \r in it\nFrom here\n" + b"x" * 5000 + b"\nend",
    b"no header at all\n",
    b"Subject: empty\n\n",
]


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def store(tmp_path: Path, authority: Authority) -> Iterator[Store]:
    with dovecot(tmp_path / "dovecot", authority.pem("good", "127.0.0.1", "localhost")) as server:
        yield server


@pytest.fixture
def account(box: Box, store: Store, authority: Authority):
    def configured(way: str, *lines: str, password: str = PASSWORD) -> None:
        name, _, start = way.partition("+")
        wrapped = name.endswith("s")
        level = "secure" if wrapped or start else "none"
        text = [
            f"smtp_tls_CAfile = '{authority.file}'",
            "[fetch.isp]",
            f"protocol = '{name.removesuffix('s')}'",
            "server = 'localhost'",
            f"port = {store.ports[name]}",
            f"user = '{USER}'",
            f"password = '{password}'",
            f"tls_security_level = '{level}'",
            f"tls_wrappermode = {str(wrapped).lower()}",
            *lines,
        ]
        box.config("".join(f"{line}\n" for line in text))
        box.config_file.chmod(0o600)

    return configured


def served(letter: bytes, way: str) -> bytes:
    """Return a letter as Dovecot serves it: in IMAP no NUL (RFC 3501 4.3), in POP3 whole lines."""
    if way.startswith("imap"):
        return letter.replace(b"\0", b"\x80")
    return letter if letter.endswith(b"\n") else letter + b"\n"


def inbox(box: Box, name: str = "Maildir") -> list[bytes]:
    return sorted(path.read_bytes() for path in (box.home / name).glob("new/*"))


@pytest.mark.parametrize("way", WAYS)
def test_mail_comes_as_it_lies_on_the_server_and_once(box: Box, store: Store, account, way):
    account(way, "maildir = '~/Maildir'")
    store.put(*LETTERS)
    done = box.run("pymail", "fetch", "-v")
    assert (done.returncode, done.stderr) == (0, b"")
    served_ = sorted(served(each, way) for each in LETTERS)
    assert inbox(box) == served_
    assert box.run("pymail", "fetch", "-v").stdout == b"isp: 0 fetched, 0 bytes\n"
    store.put(b"Subject: new\n\ntext\n")
    assert box.run("pymail", "fetch").stdout == b""
    assert inbox(box) == sorted([*served_, b"Subject: new\n\ntext\n"])
    assert len(store.letters()) == len(LETTERS) + 1


@pytest.mark.parametrize("kind", ["imap", "pop3"])
def test_another_server_gives_its_mail_too(box: Box, tmp_path: Path, kind: str):
    letters = [LETTERS[0], LETTERS[2], b"Subject: big\n\n" + b"x" * 70 * 40_000 + b"\n"]
    with mailutils(tmp_path / "mailutils") as server:
        box.config(
            f"[fetch.other]\nprotocol = '{kind}'\nserver = 'localhost'\n"
            f"port = {server.ports[kind]}\nuser = '{USER}@{server.domain}'\n"
            f"password = '{server.password}'\ntls_security_level = 'none'\n"
            "maildir = '~/Maildir'\nafter_fetch = 'delete'\n"
            "sasl_mechanism_filter = 'plain login'\n"  # of the others it has only the names
        )
        box.config_file.chmod(0o600)
        server.put(*letters)
        done = box.run("pymail", "fetch", "-v")
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.startswith(b"other: 3 fetched")
        assert box.run("pymail", "fetch", "-v").stdout == b"other: 0 fetched, 0 bytes\n"
        assert server.box.read_bytes() == b""
    bodies = sorted(each.partition(b"\n\n")[2] for each in inbox(box))
    assert bodies == sorted(each.partition(b"\n\n")[2] for each in letters)


def numbers(letters: list[bytes]) -> Counter[int]:
    return Counter(int(re.search(rb"^Subject: (\d+)$", text, re.MULTILINE)[1]) for text in letters)


@pytest.mark.parametrize("destination", ["maildir", "queue"])
@pytest.mark.parametrize("way", ["imaps", "pop3s"])
def test_killed_at_random_every_message_comes_once(
    box: Box,
    store: Store,
    account,
    way: str,
    destination: str,
    whole: bool,  # noqa: FBT001
):
    count, kills = (1000, 20) if whole else (150, 6)
    line = "maildir = '~/Maildir'" if destination == "maildir" else ""
    account(way, line, "after_fetch = 'delete'")
    text = b"".join(bytes([n]) * 20 + b"\n" for n in range(128, 256))
    letters = [b"Subject: %d\n\n" % n + text for n in range(count)]
    began = time.monotonic()
    assert box.run("pymail", "fetch").returncode == 0
    empty = time.monotonic() - began
    chance = random.Random(1)
    cut_short = 0
    for number in range(kills):
        store.put(*letters[number * count // kills : (number + 1) * count // kills])
        process = subprocess.Popen(argv("pymail", "fetch"), env=box.env, stderr=subprocess.PIPE)
        try:
            process.wait(empty * chance.uniform(0.6, 1.2))
        except subprocess.TimeoutExpired:
            process.kill()
        _, said = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), said
        cut_short += process.returncode != 0
    print(f"{cut_short} of {kills} killed before their end")
    deadline = time.monotonic() + 60
    while store.letters() and time.monotonic() < deadline:
        done = box.run("pymail", "fetch")  # Dovecot may still hold a mailbox of the dead
        assert done.returncode in (0, 75, 77), done.stderr
    if destination == "queue":
        box.flush()
        found = [path.read_bytes() for path in (box.home / "Maildir").glob("new/*")]
        assert numbers(found) == dict.fromkeys(range(count), 1)
        assert sorted(each.partition(b"\n\n")[2] for each in found) == [text] * count
    else:
        assert inbox(box) == sorted(letters)
    assert not list((box.home / "Maildir" / "tmp").iterdir())
    assert box.queue() == []


def test_mail_for_a_user_goes_the_way_of_local_mail(box: Box, store: Store, account):
    account("imaps")
    (box.home / ".forward").write_text(f"|cat > {box.home}/got\n")
    store.put(LETTERS[0])
    assert box.run("pymail", "fetch").returncode == 0
    (queued,) = box.run("mailq", "-j").stdout.splitlines()
    assert json.loads(queued)["sender"] in ("", "MAILER-DAEMON")
    box.flush()
    assert LETTERS[0] in (box.home / "got").read_bytes()


@pytest.mark.parametrize("way", ["imaps", "pop3s"])
def test_a_program_gets_each_message_until_it_says_yes(box: Box, store: Store, account, way):
    filter_ = box.home / "filter"
    filter_.write_text(f"#!/bin/sh\ncat >> {box.home}/got; exit $(cat {box.home}/status)\n")
    filter_.chmod(0o755)
    account(way, f"mda = '{filter_} %T'", "after_fetch = 'delete'")
    store.put(LETTERS[0])
    (box.home / "status").write_text("75")
    done = box.run("pymail", "fetch")
    assert done.stdout.startswith(b"isp: message ")
    assert b"cannot fetch all of isp: messages that stay on the server: 1" in done.stderr
    again = box.run("pymail", "fetch")
    assert (again.stdout, again.stderr) == (b"", b"")  # cron was told
    assert (done.returncode, again.returncode) == (75, 75)
    assert len(store.letters()) == 1
    (box.home / "status").write_text("0")
    assert box.run("pymail", "fetch", "-v").stdout == b"isp: 1 fetched, 33 bytes\n"
    assert store.letters() == []
    assert (box.home / "got").read_bytes().count(LETTERS[0]) == 3


@pytest.mark.parametrize(
    ("command", "comes", "words"),
    [
        ("sed s/one/two/", LETTERS[0].replace(b"one", b"two"), ""),
        ("cat > /dev/null", LETTERS[0], ""),
        ("exit 99", None, ""),
        ("echo rubbish; echo why >&2; exit 3", LETTERS[0], "filter failed with status 3: why"),
        ("kill -9 $$", LETTERS[0], "filter failed with status -9"),
        ("yes", LETTERS[0], "filter failed with status"),
        ("no-such-program", LETTERS[0], "filter failed with status 127"),
    ],
)
def test_a_filter_changes_a_message_or_stops_it_or_is_not_there(
    box: Box, store: Store, account, command: str, comes: bytes | None, words: str
):
    account("imaps", "maildir = '~/Maildir'", f"filter = '{command}'", "after_fetch = 'delete'")
    store.put(LETTERS[0])
    done = box.run("pymail", "fetch")
    assert done.returncode == 0
    assert inbox(box) == [comes] * (comes is not None)
    assert words in done.stdout.decode()
    assert bool(done.stdout) == bool(words)
    assert store.letters() == []


def test_bogofilter_marks_what_is_fetched(box: Box, store: Store, account):
    needs("bogofilter")
    (box.home / "bogo").mkdir()
    for kind, words in (("-s", b"buy pills now"), ("-n", b"text of a friend")):
        learn = ["bogofilter", "-d", str(box.home / "bogo"), kind]
        subprocess.run(learn, input=b"Subject: x\n\n" + words + b"\n", env=box.env, check=True)
    account("imaps", "maildir = '~/Maildir'", f"filter = 'bogofilter -d {box.home}/bogo -p -e'")
    store.put(LETTERS[0])
    done = box.run("pymail", "fetch")
    assert (done.returncode, done.stdout) == (0, b"")
    (letter,) = inbox(box)
    assert b"\nX-Bogosity: " in letter
    assert letter.endswith(b"\n\ntext\n")


def test_procmail_and_maildrop_sort_what_is_fetched(box: Box, store: Store, account):
    needs("procmail", "maildrop")
    for name in ("Lists", "Other"):
        for part in ("cur", "new", "tmp"):
            (box.home / name / part).mkdir(parents=True)
    rules = box.home / "procmailrc"
    rules.write_text(f"DEFAULT={box.home}/Other/\n:0\n* ^Subject: one\n{box.home}/Lists/\n")
    account("imaps", f"mda = 'procmail {rules}'", "after_fetch = 'delete'")
    store.put(LETTERS[0], LETTERS[2])
    assert box.run("pymail", "fetch", "-v").stdout.startswith(b"isp: 2 fetched")
    assert [each.endswith(b"\n\ntext\n") for each in inbox(box, "Lists")] == [True]
    assert len(inbox(box, "Other")) == 1
    other = box.home / "mailfilter"
    other.write_text(
        f"if (/^Subject: one/)\n{{\n  to {box.home}/Lists/\n}}\nto {box.home}/Other/\n"
    )
    other.chmod(0o600)
    account("imaps", f"mda = 'maildrop {other}'", "after_fetch = 'delete'")
    store.put(LETTERS[0], LETTERS[2])
    assert box.run("pymail", "fetch", "-v").stdout.startswith(b"isp: 2 fetched")
    assert (len(inbox(box, "Lists")), len(inbox(box, "Other"))) == (2, 2)


def test_messages_are_kept_flagged_moved_or_deleted(box: Box, store: Store, account):
    account("imaps", "maildir = '~/Maildir'", "after_fetch = 'seen'")
    store.put(*LETTERS[:2])
    assert box.run("pymail", "fetch").returncode == 0
    assert store.flags() == ["S", "S"]
    account("imaps", "maildir = '~/Maildir'", "after_fetch = 'move Архив'")
    store.put(folder="&BBAEQARFBDgEMg-")
    assert box.run("pymail", "fetch").returncode == 0
    assert store.letters() == []
    assert len(list((store.root / "mail" / USER / ".&BBAEQARFBDgEMg-").glob("cur/*"))) == 2
    assert len(inbox(box)) == 2


@pytest.mark.parametrize("way", ["imaps", "pop3s"])
def test_what_is_kept_is_deleted_when_it_is_old(box: Box, store: Store, account, way):
    account(way, "maildir = '~/Maildir'", "delete_after = '1d'")
    store.put(*LETTERS[:3])
    assert box.run("pymail", "fetch").returncode == 0
    assert len(store.letters()) == 3
    record = box.spool / "fetch" / "isp"
    whose, first, *rest = record.read_text().splitlines()
    record.write_text("\n".join([whose, f"1000 {first.split()[1]}", *rest, ""]))
    assert box.run("pymail", "fetch").returncode == 0
    assert len(store.letters()) == 2
    assert len(inbox(box)) == 3


def test_copies_of_a_message_that_the_server_cannot_tell_apart_come_once(
    box: Box, tmp_path: Path, authority: Authority
):
    # Here it makes the same UIDL for all messages, as others do for the same bytes.
    pem = authority.pem("good", "localhost")
    with dovecot(tmp_path / "d", pem, "pop3_uidl_format = %v") as server:
        server.put(LETTERS[0], LETTERS[0])
        box.config(
            f"smtp_tls_CAfile = '{authority.file}'\n[fetch.isp]\nprotocol = 'pop3'\n"
            f"server = 'localhost'\nport = {server.ports['pop3s']}\nuser = '{USER}'\n"
            f"password = '{PASSWORD}'\nmaildir = '~/Maildir'\nafter_fetch = 'delete'\n"
        )
        box.config_file.chmod(0o600)
        for _ in range(2):
            done = box.run("pymail", "fetch")
            assert (done.returncode, done.stderr) == (0, b"")
        assert server.letters() == []
    assert inbox(box) == [LETTERS[0]]


def test_what_is_large_comes_in_parts_as_it_was_and_fills_no_memory(
    box: Box, store: Store, account
):
    account("imaps", "maildir = '~/Maildir'")
    large = b"Subject: large\n\n" + b"".join(b"%079d\n" % n for n in range(660_000))
    letters = [LETTERS[0], large, LETTERS[2]]
    store.put(*letters)
    # A process between, since what this one holds would count as its child's.
    watch = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
        " print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, "-c", watch, *argv("pymail", "fetch")]
    done = subprocess.run(command, env=measured(box.env), capture_output=True, check=True)
    assert inbox(box) == sorted(served(each, "imap") for each in letters)
    assert int(done.stdout) < 80_000, f"{int(done.stdout)} KiB for {len(large)} bytes"


def test_a_large_message_stays_where_it_is(box: Box, store: Store, account):
    account("pop3s", "maildir = '~/Maildir'", "size_limit = 1000", "after_fetch = 'delete'")
    store.put(LETTERS[0], LETTERS[3])
    done = box.run("pymail", "fetch")
    assert done.stdout.startswith(b"isp: left on the server: a message of 50")
    assert store.letters() == [LETTERS[3]]
    # Cron mails what is printed: once a day for the same messages, at once for others.
    assert box.run("pymail", "fetch").stdout == b""
    assert box.run("pymail", "fetch", "-v").stdout == done.stdout + b"isp: 0 fetched, 0 bytes\n"
    store.put(LETTERS[3] + b"more\n")
    again = box.run("pymail", "fetch").stdout
    assert again.count(b"left on the server") == 2
    assert box.run("pymail", "fetch").stdout == b""


def test_the_inbox_is_one_however_it_is_written(box: Box, store: Store, account):
    store.put(LETTERS[0])
    for folders in ("['INBOX', 'inbox']", "'Inbox'"):
        account("imaps", "maildir = '~/Maildir'", f"folders = {folders}")
        assert box.run("pymail", "fetch").returncode == 0
    assert inbox(box) == [LETTERS[0]]


def test_several_folders_are_looked_into(box: Box, store: Store, account):
    account("imaps", "maildir = '~/Maildir'", "folders = ['INBOX', 'Рассылки']")
    store.put(LETTERS[0])
    store.put(LETTERS[2], folder="&BCAEMARBBEEESwQ7BDoEOA-")
    assert box.run("pymail", "fetch", "isp").returncode == 0
    assert box.run("pymail", "fetch", "isp").returncode == 0
    assert inbox(box) == sorted([LETTERS[0], LETTERS[2]])


def test_a_box_for_many_goes_to_those_that_its_header_names(box: Box, store: Store, account):
    account("imaps", "envelope_header = 'X-Original-To'", "domains = ['home.example']")
    store.put(
        b"X-Original-To: ann@home.example\nSubject: s\n\nx\n",
        b"X-Original-To: ann@elsewhere.example\nSubject: s\n\nx\n",
        b'X-Original-To: "eve@elsewhere.example"@home.example\nSubject: s\n\nx\n',
        b"X-Original-To: Bob@HOME.example\nX-Original-To: ann@home.example\n\nx\n",
    )
    assert box.run("pymail", "fetch").returncode == 0
    lines = [json.loads(line) for line in box.run("mailq", "-j").stdout.splitlines()]
    found = sorted(sorted(r["address"] for r in line["recipients"]) for line in lines)
    names = [[address.partition("@")[0] for address in each] for each in found]
    assert names == sorted([["ann"], [box.user], [box.user], ["Bob", "ann"]])


@pytest.mark.parametrize("kind", ["imap", "pop3"])
@pytest.mark.parametrize("mechanism", ["xoauth2", "oauthbearer"])
def test_a_token_logs_in_and_a_stale_one_is_told(
    box: Box, tmp_path: Path, authority: Authority, kind: str, mechanism: str
):
    (tmp_path / "token").write_text(GOOD)
    with introspection(USER) as url:
        (tmp_path / "oauth2").write_text(
            f"introspection_mode = get\nintrospection_url = {url}\n"
            "username_attribute = email\nactive_attribute = active\nactive_value = true\n"
        )
        tokens = (
            "auth_mechanisms = plain xoauth2 oauthbearer",
            (
                f"passdb {{\n driver = oauth2\n mechanisms = xoauth2 oauthbearer\n"
                f" args = {tmp_path}/oauth2\n}}"
            ),
        )
        with dovecot(tmp_path / "d", authority.pem("good", "localhost"), *tokens) as server:
            box.config(
                f"smtp_tls_CAfile = '{authority.file}'\n[fetch.isp]\nprotocol = '{kind}'\n"
                f"server = 'localhost'\nport = {server.ports[kind + 's']}\nuser = '{USER}'\n"
                f"password_command = 'cat {tmp_path}/token'\nmaildir = '~/Maildir'\n"
                f"sasl_mechanism_filter = ['{mechanism}']\n"
            )
            server.put(LETTERS[0])
            done = box.run("pymail", "fetch", "-v")
            assert done.stdout.startswith(b"isp: 1 fetched"), done.stderr.decode() + server.log()
            (tmp_path / "token").write_text("stale-token-of-yesterday")
            done = box.run("pymail", "fetch", "-v")
    assert done.returncode == 77
    assert b"the token is refused: " in done.stderr
    assert b"stale-token" not in done.stderr
    assert inbox(box) == [LETTERS[0]]


def test_a_wrong_password_is_told_and_not_the_password(box: Box, store: Store, account):
    for way in ("imaps", "pop3s"):
        account(way, password="top-secret-word")
        for _ in range(5):  # on a busy machine Dovecot may not know yet
            done = box.run("pymail", "fetch", "-v")
            if b"[SYS/TEMP]" not in done.stderr:
                break
        assert done.returncode == 77, store.log()
        assert b"cannot log in at localhost[127.0.0.1] as joe" in done.stderr
        assert b"top-secret-word" not in done.stderr
        assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("way", WAYS[1:3] + WAYS[4:])
def test_a_server_that_cannot_be_trusted_hears_no_password(
    box: Box, store: Store, account, way: str, tmp_path: Path
):
    account(way)
    other = Authority(tmp_path)
    text = box.config_file.read_text()
    box.config(re.sub("smtp_tls_CAfile = .*", f"smtp_tls_CAfile = '{other.file}'", text))
    done = box.run("pymail", "fetch")
    assert done.returncode == 75
    assert b"cannot trust localhost" in done.stderr
    assert "Login" not in store.log()


def test_a_password_that_others_may_read_is_refused(box: Box, store: Store, account):
    account("imaps")
    box.config_file.chmod(0o644)
    done = box.run("pymail", "fetch")
    assert done.returncode == 78
    assert b"others may read it: chmod 600" in done.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"password abcd efgh ijkl mnop", b"near line 2: a password with blanks"),
        (b'efgh password "abcd"', b"near line 2: a password with blanks"),
        (b'password "abcd efgh', b"localhost"),
    ],
)
def test_of_a_netrc_with_a_mistake_the_line_is_told_and_no_password(
    box: Box, line: bytes, words: bytes
):
    box.config(f"[fetch.isp]\nserver = 'localhost'\nport = {free_port()}\nuser = 'me'\n")
    (box.home / ".netrc").write_bytes(b"machine localhost login me\n " + line + b"\n")
    (box.home / ".netrc").chmod(0o600)
    done = box.run("pymail", "fetch")
    assert words in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert b"abcd" not in done.stderr
    assert b"efgh" not in done.stderr


def test_where_systemd_hands_over_nothing_no_password_is_looked_for_in_the_root_directory(
    monkeypatch: pytest.MonkeyPatch,
):
    (account,) = accounts({"isp": {"server": "localhost", "user": "me"}}, "config.toml").values()
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(secret, "open", lambda path, **_: pytest.fail(path), raising=False)
    assert secret.of_account(account, "").source == "[fetch.isp]: no password found"


def test_what_keeps_several_accounts_from_being_fetched_is_said_once(box: Box):
    table = "[fetch.{}]\nserver = 'localhost'\nuser = 'x'\npassword = 'secret'\n".format
    box.config("".join(map(table, "abc")))
    box.config_file.chmod(0o644)
    first, second, asked = (box.run("pymail", "fetch", *args) for args in ((), (), ("-v",)))
    assert [done.returncode for done in (first, second, asked)] == [78, 78, 78]
    assert first.stderr.count(b"others may read it") == 1
    assert (second.stderr, asked.stderr) == (b"", first.stderr)


@pytest.mark.parametrize("to", ["", "maildir = '~/Maildir'\n"])
def test_cron_hears_once_a_day_that_a_server_is_away(box: Box, to: str):
    box.config(
        f"[fetch.isp]\nserver = 'localhost'\nuser = 'x'\nport = {free_port()}\n"
        f"password_command = 'echo secret'\n{to}"
    )
    first, second, asked = (box.run("pymail", "fetch", *args) for args in ((), (), ("-v",)))
    assert [done.returncode for done in (first, second, asked)] == [75, 75, 75]
    assert b"Connection refused" in first.stderr
    assert second.stderr == b""
    assert asked.stderr == first.stderr


@pytest.mark.parametrize("user", ["root", "alice"])
def test_cron_of_a_machine_for_all_hears_it_once_a_day_too(machine: Machine, user: str):
    machine.config(
        f"[fetch.isp]\nserver = 'localhost'\nuser = 'x'\nport = {free_port()}\n"
        "password_command = 'echo secret'\nto = 'alice'\n"
    )
    first, second = (machine.run(user, "pymail", "fetch") for _ in range(2))
    assert (first.returncode, second.returncode) == (75, 75)
    assert b"Connection refused" in first.stderr
    assert second.stderr == b""


def test_a_dry_run_only_counts(box: Box, store: Store, account):
    account("imaps", "after_fetch = 'delete'")
    store.put(*LETTERS)
    assert box.run("pymail", "fetch", "--list").stdout == b"isp\n"
    assert box.run("pymail", "fetch", "-n").stdout == b"isp: 6 to fetch\n"
    assert len(store.letters()) == 6
    assert box.queue() == []


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("server = 'x'", "user is missing"),
        (
            "server = 'x'\nuser = 'y'\nfolder = 'z'",
            "unknown setting folder (did you mean folders?)",
        ),
        (
            "server = 'x'\nuser = 'y'\nmda = 'z'\nmaildir = '/a'",
            "maildir and mda exclude each other",
        ),
        ("server = 'x'\nuser = 'y'\nprotocol = 'imap4'", 'protocol "imap4" is not imap or pop3'),
        ("server = 'x'\nuser = 'y'\nprotocol = 'pop3'\nafter_fetch = 'seen'", "with POP3"),
        (
            "server = 'x'\nuser = 'y'\nfolders = ['a', 'INBOX']\nafter_fetch = 'move inbox'",
            "what after_fetch moves to INBOX would be fetched from there again",
        ),
    ],
)
def test_a_mistake_in_an_account_is_named(box: Box, lines: str, words: str):
    box.config(f"[fetch.isp]\n{lines}\n")
    done = box.run("pymail", "fetch")
    assert done.returncode == 78
    assert "[fetch.isp]: " in done.stderr.decode()
    assert words in done.stderr.decode()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[fetch.a]\nserver = 'x'\nuser = 'y'\n\n[fetch.'b.c']\nserver = 'x'\nprt = 1\n", 7),
        ("[fetch.a]\nserver = 'x'\nuser = 'y'\n\n[ fetch . b ]\nuser = 'x'\nprt = 1\n", 7),
        ("[fetch.a]\nserver = 'x'\nuser = 'y'\nport = '1'\n", 4),
        ("[fetch.a]\nserver = 'x'\nuser = 'y'\nmda = 'a'\nmaildir = '/a'\n", 4),
        ("[fetch.a]\nserver = 'x'\nuser = 'y'\nprotocol = 'pop3'\nafter_fetch = 'seen'\n", 5),
        ("[fetch.a]\nserver = 'x'\nuser = 'y'\n[fetch.b]\nserver = 'x'\n", 4),
        ("x = 1\nfetch.a = { server = 'x' }\n", 2),
    ],
)
def test_a_mistake_in_an_account_is_told_with_its_line(box: Box, text: str, line: int):
    box.config(text.removeprefix("x = 1"))
    done = box.run("pymail", "fetch")
    assert done.returncode == 78
    assert f"{box.config_file}, line {line}: [fetch." in done.stderr.decode()


def test_a_mistake_in_an_account_is_told_with_its_file(box: Box):
    box.config("[fetch.a]\nserver = 'x'\nuser = 'y'\nprt = 1\n")
    more = box.config_file.parent / "conf.d" / "50-more.toml"
    more.parent.mkdir()
    more.write_text("[fetch.b]\nserver = 'x'\nuser = 'y'\n")
    done = box.run("pymail", "fetch")
    assert f"{box.config_file}, line 4: [fetch.a]: unknown setting prt" in done.stderr.decode()


@pytest.mark.parametrize("name", ["..", "a/b", ".a", "-v", "", "a b", "a\\n", "x" * 61])
def test_an_account_has_a_name_that_a_file_can_have(box: Box, name: str):
    box.config(f'[fetch."{name}"]\nserver = "x"\nuser = "y"\n')
    done = box.run("pymail", "fetch")
    assert done.returncode == 78
    shown = name.replace("\\n", "?")
    assert f"[fetch.{shown}]: begin the name with a letter or digit" in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    assert not box.spool.exists()


def test_two_fetches_of_an_account_do_not_meet(box: Box, store: Store, account):
    begun, go_on = box.home / "begun", box.home / "go on"
    wait = f'touch {begun}; while ! test -e "{go_on}"; do sleep 0.1; done; cat >/dev/null'
    account("imaps", f"mda = '''{wait}'''")
    store.put(LETTERS[0])
    first = subprocess.Popen(argv("pymail", "fetch"), env=box.env)
    deadline = time.monotonic() + 60
    while not begun.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    done = box.run("pymail", "fetch")
    go_on.touch()
    assert first.wait(60) == 0
    assert done.returncode == 75
    assert b"another fetch of it is running" in done.stderr


def test_root_has_the_mail_fetched_by_who_gets_it(
    machine: Machine, store: Store, authority: Authority
):
    trusted = Path("/etc/ssl/fetch-ca.pem")
    trusted.write_bytes(authority.file.read_bytes())
    machine.config(
        f"smtp_tls_CAfile = '{trusted}'\n[fetch.isp]\nserver = 'localhost'\nuser = '{USER}'\n"
        f"port = {store.ports['imaps']}\nto = 'alice'\npassword = '{PASSWORD}'\n"
        "after_fetch = 'delete'\n"
    )
    Path("/etc/pymail/config.toml").chmod(0o600)
    store.put(*LETTERS[:3])
    done = machine.run("root", "pymail", "fetch", "-v")
    assert done.stdout == b"isp: 3 fetched, %d bytes\n" % sum(map(len, LETTERS[:3]))
    assert store.letters() == []
    machine.flush()
    home = machine.home("alice")
    found = list((home / "Maildir" / "new").iterdir())
    assert {path.stat().st_uid for path in found} == {home.stat().st_uid}
    bodies = sorted(path.read_bytes().partition(b"\n\n")[2] for path in found)
    assert bodies == sorted(served(x, "imaps").partition(b"\n\n")[2] for x in LETTERS[:3])
    record = home / ".local/state/pymail/fetch/isp"
    assert record.stat().st_uid == home.stat().st_uid
    whose, *lines = record.read_text().splitlines()
    assert (whose, len(lines)) == (f"# imap localhost {USER}", 3)


def test_root_fetches_nothing_for_nobody_or_for_root(machine: Machine):
    for to in ("", "to = 'root'\n", "to = 'nosuch'\n"):
        machine.config(f"[fetch.isp]\nserver = 'localhost'\nuser = 'x'\n{to}")
        done = machine.run("root", "pymail", "fetch", "-v")
        assert done.returncode == 78
        assert b"set `to` to the user who gets the mail" in done.stderr


def test_dovecot_lda_takes_what_a_user_fetches(
    machine: Machine, store: Store, authority: Authority
):
    trusted = Path("/etc/ssl/fetch-ca.pem")
    trusted.write_bytes(authority.file.read_bytes())
    home = machine.home("alice")
    conf = machine.write(
        "alice",
        "lda.conf",
        f"log_path = {home}/lda.log\nssl = no\nmail_location = maildir:{home}/lda\n"
        f"base_dir = {home}/run\nstats_writer_socket_path =\n",
    )
    text = (
        f"smtp_tls_CAfile = '{trusted}'\n[fetch.isp]\nserver = 'localhost'\nuser = '{USER}'\n"
        f"port = {store.ports['imaps']}\npassword = '{PASSWORD}'\nafter_fetch = 'delete'\n"
        f"mda = '/usr/lib/dovecot/dovecot-lda -c {conf}'\n"
    )
    machine.write("alice", ".config/pymail/config.toml", text, 0o600)
    store.put(LETTERS[0])
    assert machine.run("alice", "pymail", "fetch", "-v").stdout == b"isp: 1 fetched, 33 bytes\n"
    (letter,) = (path.read_bytes() for path in (home / "lda" / "new").iterdir())
    assert letter.endswith(LETTERS[0])


def test_mail_is_not_fetched_into_a_directory_that_cannot_be_found_again(
    machine: Machine, store: Store, authority: Authority
):
    """Somebody else has made alice's drop directory: a crash would leave mail where none looks."""
    trusted = Path("/etc/ssl/fetch-ca.pem")
    trusted.write_bytes(authority.file.read_bytes())
    machine.config(
        f"smtp_tls_CAfile = '{trusted}'\n[fetch.isp]\nserver = 'localhost'\nuser = '{USER}'\n"
        f"port = {store.ports['imaps']}\nto = 'alice'\npassword = '{PASSWORD}'\n"
        "after_fetch = 'delete'\n"
    )
    Path("/etc/pymail/config.toml").chmod(0o600)
    squatted = machine.spool / "drop" / f"u{machine.home('alice').stat().st_uid}"
    squatted.mkdir()
    os.chown(squatted, machine.home("bob").stat().st_uid, -1)
    store.put(LETTERS[0])
    assert machine.run("root", "pymail", "fetch", "-v").returncode == 75
    assert store.letters() == [LETTERS[0]]
    machine.flush()
    assert machine.run("root", "pymail", "fetch", "-v").returncode == 0
    machine.flush()
    assert len(machine.mail("alice")) == 1
    assert store.letters() == []
