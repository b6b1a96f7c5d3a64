"""The recipes of pymail.toml(5), taken from its text and run with the real programs."""

import re
from pathlib import Path

from harness import ROOT, Letter, needs
from machine import Machine

PAGE = (ROOT / "man" / "pymail.toml.5").read_text()
RECIPES = re.findall(
    r"\n\.Bd -literal -offset indent\n((?:mailbox_command|filter) = .*)\n\.Ed", PAGE
)
LETTER = b"Subject: sorted\n\nbody\n"


def recipe(program: str) -> str:
    (line,) = (each for each in RECIPES if program in each)
    return f"{line}\n"


def delivered(machine: Machine, maildir: str) -> Letter:
    """Return the one letter of bob's, sent and delivered with the configuration as it is."""
    machine.send("alice", LETTER, "bob")
    out = machine.flush("-v").stdout
    assert b"status=sent" in out and b"not filtered" not in out
    (letter,) = machine.mail("bob", maildir)
    assert (letter.uid, letter.values("Subject")) == (1002, ["sorted"])
    assert letter.data.endswith(b"\n\nbody\n")
    assert machine.queue() == []
    return letter


def test_each_recipe_stands_in_the_manual_once():
    assert len(RECIPES) == 4


def test_procmail_sorts_local_mail(machine):
    needs("procmail")
    machine.write("bob", ".procmailrc", "MAILDIR=$HOME\n:0\n* ^Subject: sorted\nLists/\n")
    machine.config(recipe("procmail"))
    delivered(machine, "Lists")


def test_maildrop_sorts_local_mail(machine):
    needs("maildrop", "maildirmake.maildrop")
    assert machine.run("bob", "maildirmake.maildrop", "/home/bob/Lists").returncode == 0
    rules = 'if (/^Subject: sorted/)\n{\n  to "$HOME/Lists"\n}\n'
    machine.write("bob", ".mailfilter", rules, 0o600)
    machine.config(recipe("maildrop"))
    delivered(machine, "Lists")


def test_dovecot_lda_sorts_local_mail(machine):
    needs("/usr/lib/dovecot/dovecot-lda")
    place = Path("/etc/dovecot/dovecot.conf")
    was = place.read_bytes() if place.exists() else None
    place.parent.mkdir(exist_ok=True)
    place.write_text(
        "ssl = no\nmail_location = maildir:~/Lists\nlog_path = /dev/stderr\n"
        "postmaster_address = postmaster@example.net\nstats_writer_socket_path =\n"
    )
    try:
        machine.config(recipe("dovecot-lda"))
        delivered(machine, "Lists")
    finally:
        if was is None:
            place.unlink()
        else:
            place.write_bytes(was)


def test_bogofilter_marks_local_mail(machine):
    needs("bogofilter")
    learn = "printf 'Subject: x\\n\\ntext of a friend\\n' | bogofilter -n"
    assert machine.run("bob", "sh", "-c", learn).returncode == 0
    machine.config(recipe("bogofilter"))
    assert delivered(machine, "Maildir").values("X-Bogosity")
