"""The recipes of pymail.toml(5), taken from its text and run with the real programs."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from harness import ROOT, Letter, needs
from machine import Machine
from oddstores import Pop, serving

PAGE = (ROOT / "man" / "pymail.toml.5").read_text()
RECIPES = re.findall(
    r"\n\.Bd -literal -offset indent\n((?:mailbox_command|mda|filter) = .*)\n\.Ed", PAGE
)
LETTER = b"Subject: sorted\n\nbody\n"


def recipe(setting: str, program: str) -> str:
    (line,) = (each for each in RECIPES if each.startswith(setting) and program in each)
    return f"{line}\n"


def delivered(machine: Machine, line: str, maildir: str) -> Letter:
    """Return the one letter of bob's, sent and delivered with a recipe."""
    machine.config(line)
    machine.send("alice", LETTER, "bob")
    out = machine.flush("-v").stdout
    assert b"status=sent" in out and b"not filtered" not in out
    assert machine.queue() == []
    (letter,) = machine.mail("bob", maildir)
    return letter


def fetched(machine: Machine, line: str, maildir: str) -> Letter:
    """Return the one letter of bob's, fetched by him with a recipe."""
    server = Pop(("1", LETTER.replace(b"\n", b"\r\n").removesuffix(b"\r\n")))
    with serving(server) as port:
        account = (
            f"[fetch.isp]\nprotocol = 'pop3'\nserver = '127.0.0.1'\nport = {port}\nuser = 'u'\n"
            f"password = 'p'\ntls_security_level = 'none'\nafter_fetch = 'delete'\n{line}"
        )
        machine.write("bob", ".config/pymail/config.toml", account, 0o600)
        done = machine.run("bob", "pymail", "fetch", "-v")
        assert done.stdout == b"isp: 1 fetched, %d bytes\n" % len(LETTER), done.stderr
    assert server.mail == []
    (letter,) = machine.mail("bob", maildir)
    return letter


WAYS = [("mailbox_command", delivered), ("mda", fetched)]
Way = Callable[[Machine, str, str], Letter]


def check(letter: Letter) -> None:
    assert (letter.uid, letter.values("Subject")) == (1002, ["sorted"])
    assert letter.data.endswith(b"\n\nbody\n")


def test_each_recipe_stands_in_the_manual_once():
    assert len(RECIPES) == 8


@pytest.mark.parametrize(("setting", "got"), WAYS)
def test_procmail_sorts_mail(machine, setting: str, got: Way):
    needs("procmail")
    machine.write("bob", ".procmailrc", "MAILDIR=$HOME\n:0\n* ^Subject: sorted\nLists/\n")
    check(got(machine, recipe(setting, "procmail"), "Lists"))


@pytest.mark.parametrize(("setting", "got"), WAYS)
def test_maildrop_sorts_mail(machine, setting: str, got: Way):
    needs("maildrop", "maildirmake.maildrop")
    assert machine.run("bob", "maildirmake.maildrop", "/home/bob/Lists").returncode == 0
    rules = 'if (/^Subject: sorted/)\n{\n  to "$HOME/Lists"\n}\n'
    machine.write("bob", ".mailfilter", rules, 0o600)
    check(got(machine, recipe(setting, "maildrop"), "Lists"))


@pytest.fixture
def dovecot_conf() -> Iterator[None]:
    """Put a configuration of Dovecot where dovecot-lda looks for it."""
    needs("/usr/lib/dovecot/dovecot-lda")
    place = Path("/etc/dovecot/dovecot.conf")
    was = place.read_bytes() if place.exists() else None
    place.parent.mkdir(exist_ok=True)
    place.write_text(
        "ssl = no\nmail_location = maildir:~/Lists\nlog_path = /dev/stderr\n"
        "postmaster_address = postmaster@example.net\nstats_writer_socket_path =\n"
    )
    yield
    if was is None:
        place.unlink()
    else:
        place.write_bytes(was)


@pytest.mark.parametrize(("setting", "got"), WAYS)
def test_dovecot_lda_sorts_mail(machine, dovecot_conf, setting: str, got: Way):
    check(got(machine, recipe(setting, "dovecot-lda"), "Lists"))


@pytest.mark.parametrize("got", [delivered, fetched])
def test_bogofilter_marks_mail(machine, got: Way):
    needs("bogofilter")
    learn = "printf 'Subject: x\\n\\ntext of a friend\\n' | bogofilter -n"
    assert machine.run("bob", "sh", "-c", learn).returncode == 0
    line = recipe("filter", "bogofilter")
    line += "maildir = '~/Maildir'\n" if got is fetched else ""
    letter = got(machine, line, "Maildir")
    check(letter)
    assert letter.values("X-Bogosity")


@contextmanager
def spamd() -> Iterator[None]:
    """Answer spamc as spamd does, which is too large for a test: the message comes back marked."""
    with socket.create_server(("127.0.0.1", 783)) as listener:

        def work() -> None:
            with suppress(OSError):
                while True:
                    there, _ = listener.accept()
                    with there, there.makefile("rb") as file:
                        lines = list(iter(file.readline, b"\r\n"))
                        assert lines[0].startswith(b"PROCESS SPAMC/")
                        size = next(int(line[15:]) for line in lines if b"ontent-length" in line)
                        text = b"X-Spam-Status: No\n" + file.read(size)
                        head = b"SPAMD/1.1 0 EX_OK\r\nContent-length: %d\r\n" % len(text)
                        there.sendall(head + b"Spam: False ; 0.1 / 5.0\r\n\r\n" + text)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(20)


def test_spamc_marks_mail(machine):
    needs("spamc")
    line = recipe("filter", "spamc")
    with spamd():
        letter = delivered(machine, line, "Maildir")
        check(letter)
        assert letter.values("X-Spam-Status") == ["No"]
        letter.path.unlink()
        letter = fetched(machine, f"{line}maildir = '~/Maildir'\n", "Maildir")
        check(letter)
        assert letter.values("X-Spam-Status") == ["No"]
