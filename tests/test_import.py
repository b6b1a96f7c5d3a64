"""Configurations of fetchmail and getmail as ours, beside what fetchmail itself reads in them."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from harness import Box, needs
from hypothesis import given
from hypothesis import strategies as st

from pymail.importer import Machine, MistakeError, fetchmail, getmail

NOWHERE = Machine(lambda _: None, "box.example")

FETCHMAILRC = r"""
# my mail
set daemon 300
set logfile /var/log/fetchmail.log
defaults proto imap
poll imap.isp.example protocol IMAP port 993 timeout 30:
   user "me@isp.example" there with password 'se "cret' is alice here ssl sslcertck keep
   folder INBOX,"Lists" limit 100000
   user bob password x is bob here ssl nokeep mda "procmail -d %T"
skip pop.old.example proto pop3 auth cram-md5 user joe pass 'y' no keep
poll pop.drop.example via 10.0.0.1 proto pop3 envelope "X-Original-To"
   localdomains home.example office.example no dns:
   user drop pass z to * here ssl no sslcertck fetchall preconnect "echo hi"
"""
GETMAILRC = """
[retriever]
type = SimpleIMAPSSLRetriever
server = imap.isp.example
username = me
password_command = ("pass", "show", "my mail")
mailboxes = ("INBOX", "Lists")
[destination]
type = MDA_external
path = /usr/bin/procmail
arguments = ("-f", "%(sender)")
[filter-1]
type = Filter_external
path = /usr/bin/spamc
[options]
delete = true
delete_after = 7
max_message_size = 100000
message_log = ~/.getmail/log
"""


def converted(box: Box, kind: str, text: str) -> tuple[dict[str, dict[str, object]], list[str]]:
    file = box.home / "rc"
    file.write_text(text)
    done = box.run("pymail", "import", kind, str(file))
    assert done.returncode == 0, done.stderr
    out = done.stdout.decode()
    # It is a configuration that pymail takes as it stands.
    box.config(out)
    assert box.run("pymail", "fetch", "--list").returncode == 0
    return tomllib.loads(out)["fetch"], [x for x in out.splitlines() if x.startswith("# ")]


def test_a_fetchmailrc_becomes_accounts(box: Box):
    accounts, notes = converted(box, "fetchmailrc", FETCHMAILRC)
    assert accounts["imap.isp.example"] == {
        "server": "imap.isp.example",
        "protocol": "imap",
        "port": 993,
        "user": "me@isp.example",
        "password": 'se "cret',
        "tls_wrappermode": True,
        "folders": ["INBOX", "Lists"],
        "size_limit": 100000,
        "to": "alice",
    }
    assert accounts["imap.isp.example-2"]["mda"] == "procmail -d %T"
    assert accounts["imap.isp.example-2"]["after_fetch"] == "delete"
    assert accounts["pop.old.example"]["sasl_mechanism_filter"] == ["cram-md5"]
    drop = accounts["pop.drop.example"]
    assert drop["server"] == "10.0.0.1"
    assert drop["envelope_header"] == "X-Original-To"
    assert drop["domains"] == ["home.example", "office.example"]
    assert drop["tls_security_level"] == "encrypt"
    assert "to" not in drop
    text = "\n".join(notes)
    for words in ("set daemon 300", "set logfile", "preconnect echo hi", "skip", "chmod 600"):
        assert words in text


def dumped(tmp_path: Path, text: str) -> list[dict[str, Any]]:
    """Return the servers that fetchmail itself reads in a configuration."""
    file = tmp_path / "rc"
    file.write_text(text)
    file.chmod(0o600)
    done = subprocess.run(
        ["fetchmail", "-f", file, "--configdump"],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=True,
        text=True,
    )
    dump = re.search(r"^fetchmailrc = (\{.*\})", done.stdout, re.MULTILINE | re.DOTALL)
    assert dump
    plain = re.sub(r"#.*", "", dump[1]).replace("TRUE", "1").replace("FALSE", "0")
    servers: list[dict[str, Any]] = ast.literal_eval(plain)["servers"]
    return servers


def test_fetchmail_reads_the_same_in_it(tmp_path: Path):
    needs("fetchmail")
    servers = dumped(tmp_path, FETCHMAILRC)
    theirs = [(server, user) for server in servers for user in server["users"]]
    ours = list(fetchmail.read(FETCHMAILRC, NOWHERE).accounts.values())
    assert len(ours) == len(theirs)
    for account, (server, user) in zip(ours, theirs, strict=True):
        assert account["server"] == (server["via"] or server["pollname"])
        assert str(account["protocol"]).upper() == server["protocol"]
        assert account.get("port") == (int(server["service"]) if server["service"] else None)
        assert account["user"] == user["remote"]
        assert account["password"] == user["password"]
        assert account["tls_wrappermode"] == bool(user["ssl"])
        assert account.get("mda") == user["mda"]
        assert (account.get("after_fetch") != "delete") == bool(user["keep"])
        assert account.get("folders", []) == user["mailboxes"]
        assert account.get("size_limit", 0) == user["limit"]


SET = """
set logfile=/var/log/fm.log
set idfile = poll set pidfile= "/run/fm.pid"
set postmaster me set syslog
set no bouncemail set invisible
SET DAEMON 300
poll x proto imap user u pass p
"""


def test_global_options_are_told_however_they_are_written(tmp_path: Path):
    found = fetchmail.read(SET, NOWHERE)
    assert list(found.accounts) == ["x"]
    assert [line for line in found.lost if line.lower().startswith("set")] == [
        "set logfile = /var/log/fm.log",
        "set idfile = poll",
        "set pidfile = /run/fm.pid",
        "set postmaster me",
        "set syslog",
        "set no bouncemail",
        "set invisible",
        "set DAEMON 300: run pymail fetch from cron or a timer",
    ]
    needs("fetchmail")
    assert [server["pollname"] for server in dumped(tmp_path, SET.lower())] == ["x"]


ODD = r"""
defaults proto imap user "dd" is joe here keep
poll a user u pass 'a\"b\x41\101\n' smtphost relay.example
poll b user u pass "a\"b\x41\101" no keep fetchall
poll c user u pass 'it\'s' no keep mda "/usr/sbin/sendmail -i -f %F %T"
poll d proto pop3 envelope 1 "Delivered-To" localdomains c.org user u pass p is * here
poll e pass z
poll g proto pop3 no envelope no dns localdomains c.org user u pass p is * here
"""


def test_odd_words_of_fetchmail_mean_what_they_mean_there(tmp_path: Path):
    needs("fetchmail")
    found = fetchmail.read(ODD, NOWHERE)
    servers = dumped(tmp_path, ODD)
    for server in servers:
        ours = found.accounts[server["pollname"]]
        theirs = server["users"][0]
        assert ours["user"] == theirs["remote"]
        assert ours["password"] == theirs["password"]
        assert ours.get("envelope_header") == (
            server["envelope"] if "*" in theirs["localnames"] else None
        )
        assert ("after_fetch" in ours) != bool(theirs["keep"])
    assert len(servers) == 6
    assert found.accounts["c"]["mda"] == '/usr/sbin/sendmail -i -f "$SENDER" %T'
    told = "\n".join(found.lost + found.notes)
    assert "[fetch.d]: envelope skip 1" in told
    # Nothing says any more who a message is for.
    assert "[fetch.g]: several users and no envelope: set envelope_header" in told
    assert "[fetch.d]: several users" not in told
    assert "[fetch.a]: smtphost relay.example: mail is delivered on this machine" in told
    assert "[fetch.c]: fetchmail left alone what was seen already" in told
    assert "[fetch.b]: fetchmail left" not in told
    assert "[fetch.e]: fetchmail's own record (.fetchids) is not read" in told


@pytest.mark.parametrize(
    ("header", "told"),
    [("", "set envelope_header and domains"), ("envelope_recipient = X-To:1", "set domains")],
)
def test_a_mailbox_of_many_users_of_getmail_is_not_one_users_in_silence(
    box: Box, header: str, told: str
):
    kind = "MultidropSDPSRetriever" if not header else "MultidropPOP3SSLRetriever"
    text = (
        f"[retriever]\ntype = {kind}\nserver = pop.example\nusername = u\npassword = p\n{header}\n"
    )
    (box.root / "rc").write_text(text)
    done = box.run("pymail", "import", "getmailrc", str(box.root / "rc"))
    assert done.returncode == 0, done.stderr
    assert told in done.stdout.decode()


def test_what_stands_for_sender_and_recipient_in_getmail_does_so_here():
    text = """
[retriever]
type = SimpleIMAPSSLRetriever
server = imap.x.org
username = u
mailboxes = ALL
[destination]
type = MDA_external
path = /usr/lib/dovecot/deliver
arguments = ("-f", "%(sender)", "-d", "%(local)", "-x", "%(other)")
"""
    found = getmail.read(text, NOWHERE)
    account = found.accounts["imap.x.org"]
    assert account["mda"] == "/usr/lib/dovecot/deliver -f \"$SENDER\" -d %T -x ''"
    assert "folders" not in account
    told = "\n".join(found.lost)
    assert "mailboxes = ALL: name them in folders" in told
    assert "'%(other)' in the command of the destination" in told


@pytest.mark.parametrize(
    ("server", "name"), [(".x.org", "x.org"), ("", "account"), ("h" * 70, "h" * 50)]
)
def test_an_account_gets_a_name_that_it_may_have(server: str, name: str):
    text = f"[retriever]\ntype = SimpleIMAPRetriever\nserver = {server}\n"
    assert list(getmail.read(text, NOWHERE).accounts) == [name]


@pytest.mark.parametrize(
    ("given", "statuses"),
    [
        ("exitcodes_drop = (1, 300)", {0: 0, 1: 99, 2: 70, 99: 70}),
        ("exitcodes_keep = ('0', '3')", {0: 0, 3: 0, 99: 99, 100: 99, 5: 70}),
        ("exitcodes_keep = 1\nexitcodes_drop = (0,)", {0: 99, 1: 0, 99: 70}),
        ("exitcodes_drop = ()", {0: 0, 99: 70, 100: 70}),
        ("", {0: 0, 99: 99, 100: 100}),
    ],
)
def test_a_filter_of_getmail_ends_as_it_did(given: str, statuses: dict[int, int]):
    text = f"""
[retriever]
type = SimpleIMAPSSLRetriever
server = x.org
[filter-1]
type = Filter_external
path = /bin/sh
arguments = ("-c", "exit $STATUS", "%(sender)")
ignore_stderr = true
{given}
"""
    found = getmail.read(text, NOWHERE)
    command = found.accounts["x.org"]["filter"]
    ran = {
        n: subprocess.run(["sh", "-c", command], check=False, env={"STATUS": str(n)})
        for n in statuses
    }
    assert {n: done.returncode for n, done in ran.items()} == statuses
    assert ("100 too" in str(found.notes)) == (given == "")
    assert found.lost == ["[fetch.x.org]: '%(sender)' in the command of the filter"]


def test_a_getmailrc_becomes_an_account(box: Box):
    accounts, notes = converted(box, "getmailrc", GETMAILRC)
    assert accounts == {
        "imap.isp.example": {
            "server": "imap.isp.example",
            "protocol": "imap",
            "user": "me",
            "password_command": "pass show 'my mail'",
            "folders": ["INBOX", "Lists"],
            "after_fetch": "delete",
            "delete_after": "7d",
            "size_limit": 100000,
            "filter": "/usr/bin/spamc",
            "mda": '/usr/bin/procmail -f "$SENDER"',
        }
    }
    assert "# not carried over: [fetch.imap.isp.example]: [options] message_log" in "\n".join(notes)


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("fetchmailrc", "poll x user 'y", ", line 1: a quote has no end"),
        ("fetchmailrc", "# x\n\nhello", ", line 3: hello is no word of fetchmailrc"),
        ("fetchmailrc", "poll x\n keep what", ", line 2: what is no word of fetchmailrc"),
        ("fetchmailrc", "poll x\n pass", ", line 2: pass has no value"),
        ("fetchmailrc", "\npoll", ", line 2: poll names no server"),
        ("fetchmailrc", "set syslog", ": nothing in it can be carried over; set syslog"),
        ("fetchmailrc", "", ": it is empty"),
        ("fetchmailrc", "# all out\n", ": nothing in it can be carried over"),
        ("getmailrc", "# x\nhello", ", line 2: it stands before the first [section]"),
        ("getmailrc", "[retriever]\nhello\n", ", line 2: neither [section] nor name = value"),
        ("getmailrc", "[a]\n[b]\n[a]\n", ", line 3: [a] is there already"),
        ("getmailrc", "[a]\nx = 1\nX = 2\n", ", line 3: x is there already"),
        ("getmailrc", "[options]\n", ": there is no [retriever]"),
        ("getmailrc", "[retriever]\ntype = X\n", ", line 2: unknown type of retriever: X"),
        ("getmailrc", "\0" * 9, ": it is not a text"),
        (
            "getmailrc",
            "[retriever]\ntype = SimpleIMAPRetriever\nserver = x\n\nMailboxes: (1\n",
            ", line 5: (1 is no tuple",
        ),
        (
            "getmailrc",
            (
                "[retriever]\ntype = SimpleIMAPRetriever\nserver = x\n"
                "[filter-1]\ntype = Filter_external\nexitcodes_keep = ('many',)\n"
            ),
            ", line 6: ('many',) are no exit statuses",
        ),
    ],
)
def test_what_is_no_such_file_is_told(box: Box, kind: str, text: str, words: str):
    (box.home / "rc").write_text(text)
    done = box.run("pymail", "import", kind, str(box.home / "rc"))
    assert done.returncode == 65
    assert done.stderr.decode() == f"pymail: cannot import {box.home}/rc{words}\n"


WORDS = sorted({"poll", "user", "is", "set", "no", "=", "'", '"', "x", "1", "\n", "#", "defaults"})
FILES = st.one_of(
    st.text(), st.lists(st.sampled_from([*WORDS, "pass", "keep", "folder"])).map(" ".join)
)


@given(text=FILES)
def test_any_text_is_read_or_refused(text: str):
    for read in (fetchmail.read, getmail.read):
        try:
            found = read(text, NOWHERE)
        except MistakeError:
            continue
        assert all(isinstance(name, str) for name in found.accounts)
