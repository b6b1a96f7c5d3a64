"""What comes back of mail for elsewhere: reports of failure, delay and success (RFC 3461, 3464)."""

import email
import os
import re
import time
from email.message import Message

import pytest
from harness import Box, Letter, letters, needs
from machine import Machine
from relays import Relay, free_port, relay
from test_readers import terminal

LETTER = "Subject: отчёт\nTo: joe@example.org\n\nтекст\n".encode()
REFUSAL = (
    "550 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org PBL"
)


def sent(box: Box, server: Relay, *args: str) -> list[Message]:
    """Send to joe through the server, with DSN wishes in `args`; return what came back."""
    box.config(f"relayhost = '{server.hop}'\n")
    box.send(LETTER, *args, "joe@example.org")
    box.flush()
    assert box.queue() == []
    return [email.message_from_bytes(data) for data in box.maildir()]


def fields(report: Message) -> dict[str, str]:
    """Return the fields of the one recipient, for programs."""
    groups = report.get_payload(1).get_payload()
    return {**dict(groups[0]), **dict(groups[1])}


def test_a_refusal_comes_back_with_cause_and_cure_before_the_words_of_the_server(box: Box) -> None:
    with relay(refuse={"joe@example.org": REFUSAL}) as server:
        (report,) = sent(box, server, "-V", "E=1")
    told = fields(report)
    assert (told["Action"], told["Status"]) == ("failed", "5.7.1")
    assert told["Final-Recipient"] == "rfc822; joe@example.org"
    assert told["Remote-MTA"] == "dns; 127.0.0.1"
    assert told["Diagnostic-Code"] == f"smtp; {REFUSAL}"
    assert told["Original-Envelope-Id"] == "E=1"
    assert "Last-Attempt-Date" in told
    text = " ".join(report.get_payload(0).get_payload(decode=True).decode().split())
    assert re.search(f"set relayhost .*<joe@example.org>: host .* said: {re.escape(REFUSAL)}", text)
    assert "отчёт" in report.get_payload(2).get_payload(decode=True).decode()
    assert "текст" not in report.as_string()


def test_the_whole_message_comes_back_where_that_was_asked_for(box: Box) -> None:
    with relay(verdict=REFUSAL) as server:
        (report,) = sent(box, server, "-R", "full")
    (inner,) = report.get_payload(2).get_payload()
    assert inner.get_payload(decode=True).decode() == "текст\n"


@pytest.mark.parametrize("wish", ["never", "success", "delay"])
def test_nothing_comes_back_of_a_failure_that_nobody_wants_to_hear_of(box: Box, wish: str) -> None:
    with relay(verdict=REFUSAL) as server:
        assert sent(box, server, "-N", wish) == []


def test_a_server_without_reports_of_success_is_told_as_such(box: Box) -> None:
    with relay() as server:
        (report,) = sent(box, server, "-N", "success")
    told = fields(report)
    assert (told["Action"], told["Status"]) == ("relayed", "2.0.0")
    assert told["Remote-MTA"] == "dns; 127.0.0.1"
    assert told["Diagnostic-Code"] == "smtp; 250 2.0.0 queued as TEST"


def test_nobody_is_told_of_a_success_without_asking(box: Box) -> None:
    with relay() as server:
        assert sent(box, server) == []
        assert sent(box, server, "-N", "failure,delay") == []


def test_a_delay_is_told_once_with_its_cure_and_its_end(box: Box) -> None:
    with relay(verdict="451 4.7.1 Greylisted, come back later") as server:
        box.config(f"relayhost = '{server.hop}'\ndelay_warning_time = 1\n")
        box.send(LETTER, "joe@example.org")
        time.sleep(1.1)
        box.flush()
        box.flush("-a")
    (report,) = map(email.message_from_bytes, box.maildir())
    told = fields(report)
    assert (told["Action"], told["Status"]) == ("delayed", "4.7.1")
    assert "Will-Retry-Until" in told
    assert "greylisting" in report.get_payload(0).get_payload(decode=True).decode()


def test_the_cure_stands_in_mailq(box: Box) -> None:
    box.config(f"relayhost = '[127.0.0.1]:{free_port()}'\n")
    box.send(LETTER, "joe@example.org")
    box.flush()
    shown = " ".join(box.run("mailq").stdout.decode().split())
    assert "Connection refused -- No mail server listens there" in shown


MUTTRC = """\
set mbox_type=Maildir confirmcreate=no confirmappend=no delete=no quit=yes wait_key=no
set folder=/home/alice header_cache='' pipe_decode=yes charset=utf-8
push "<pipe-message>cat >/home/alice/shown<enter><exit>"
"""


def test_mutt_shows_a_report_as_a_person_should_read_it(machine: Machine) -> None:
    needs("mutt")
    with relay(refuse={"joe@example.org": REFUSAL}) as server:
        machine.config(f"relayhost = '{server.hop}'\n")
        machine.send("alice", LETTER, "joe@example.org")
        machine.flush()
    letter: Letter
    (letter,) = letters(machine.home("alice") / "Maildir")
    assert b"multipart/report" in letter.head
    machine.write("alice", ".muttrc", MUTTRC)
    shown = machine.home("alice") / "shown"
    command = ("mutt", "-F", "/home/alice/.muttrc", "-f", "/home/alice/Maildir")
    terminal(
        machine, "alice", *command, until=lambda: shown.exists() and os.path.getsize(shown) > 0
    )
    text = shown.read_text()
    assert "could not be delivered" in text
    assert "set relayhost" in " ".join(text.split())
    assert "Final-Recipient: rfc822; joe@example.org" in text
    assert "отчёт" in text
