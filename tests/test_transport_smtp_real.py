"""SMTP with real servers: aiosmtpd, and Postfix's smtp-sink with its faults."""

import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword
from aiosmtpd.smtp import Session as Peer
from authority import Authority
from dialogues import configured, server
from harness import PATH, needs
from transports import content, delivery, filed

from pymail.outcome import Outcome
from pymail.transport import Login
from pymail.transport.smtp import Session
from pymail.transport.wire import LostError


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


class Inbox:
    """What aiosmtpd gets, and who it knows."""

    def __init__(self) -> None:
        self.messages: list[Envelope] = []
        self.users: list[bytes] = []
        self.options: list[str] = []

    async def handle_RCPT(self, *facts: Any) -> str:  # noqa: N802
        _, _, envelope, recipient, options = facts
        self.options += options
        if recipient.startswith("nobody"):
            return "550 5.1.1 who?"
        envelope.rcpt_tos.append(recipient)
        return "250 2.1.5 ok"

    async def handle_DATA(self, _: SMTP, __: Peer, envelope: Envelope) -> str:  # noqa: N802
        self.messages.append(envelope)
        return f"250 2.0.0 queued as {len(self.messages)}"

    def authenticate(self, _: SMTP, __: Peer, ___: Envelope, ____: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.users.append(data.login)
        return AuthResult(success=data.password == b"secret-of-joe", handled=False)


@contextmanager
def aiosmtpd(inbox: Inbox, context: ssl.SSLContext | None = None, **facts: Any) -> Iterator[int]:
    """Run aiosmtpd; yield its port."""
    controller = Controller(
        inbox,
        hostname="127.0.0.1",
        port=_free_port(),
        tls_context=context,
        authenticator=inbox.authenticate,
        enable_SMTPUTF8=True,
        ready_timeout=60,
        **facts,
    )
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def sent(session: Session, *recipients: str, **facts: Any) -> list[Outcome]:
    """Send one message; return what became of its recipients."""
    batch = [delivery("", number=n, recipient=to, **facts) for n, to in enumerate(recipients)]
    outcomes = dict(session.transact(batch))
    return [outcomes[number] for number in range(len(batch))]


def test_messages_arrive_as_they_are(tmp_path):
    inbox = Inbox()
    body = b".\n..\nFrom here\n\xc3\xa4\n" + b"x" * 900 + b"\n.end\n"
    with aiosmtpd(inbox) as port:
        session = Session(server(port), configured())
        for message in (content(b"A: 1\n", body), filed(tmp_path, b"A: 1\n", body)):
            outcomes = sent(session, "a@x.org", "nobody@x.org", "b@x.org", content=message)
            assert [o.status for o in outcomes] == ["sent", "bounced", "sent"]
        assert outcomes[0].words == "250 2.0.0 queued as 2"
        assert outcomes[0].relay == f"mx.example.net[127.0.0.1]:{port}"
        session.quit()
    for envelope in inbox.messages:
        assert envelope.mail_from == "joe@example.org"
        assert envelope.rcpt_tos == ["a@x.org", "b@x.org"]
        assert envelope.original_content == (b"A: 1\n\n" + body).replace(b"\n", b"\r\n")
        assert "BODY=8BITMIME" in envelope.mail_options


def test_foreign_addresses_arrive():
    inbox = Inbox()
    with aiosmtpd(inbox) as port:
        session = Session(server(port), configured())
        (outcome,) = sent(session, "иван@почта.example", sender="joe@example.org")
        session.quit()
    assert outcome.status == "sent"
    assert inbox.messages[0].rcpt_tos == ["иван@почта.example"]


def test_a_message_that_is_larger_than_the_server_takes_is_not_sent():
    inbox = Inbox()
    with aiosmtpd(inbox, data_size_limit=1000) as port:
        session = Session(server(port), configured())
        big = content(b"A: 1\n", b"x" * 70 + b"\n" * 1000)
        (outcome,) = sent(session, "a@x.org", content=big)
        assert (outcome.status, outcome.dsn) == ("bounced", "5.3.4")
        assert sent(session, "a@x.org")[0].status == "sent"
        session.quit()
    assert len(inbox.messages) == 1


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_login_over_verified_tls_is_taken(authority, mechanism):
    inbox = Inbox()
    context = authority.context("good", "mx.example.net")
    settings = {"smtp_tls_CAfile": str(authority.file), "smtp_sasl_mechanism_filter": [mechanism]}
    with aiosmtpd(inbox, context, require_starttls=True, auth_required=True) as port:
        there, config = server(port), configured(**settings)
        session = Session(there, config, Login("joe", "secret-of-joe"))
        assert sent(session, "a@x.org")[0].status == "sent"
        session.quit()
        with pytest.raises(LostError) as caught:
            Session(there, config, Login("joe", "wrong"))
    assert caught.value.kind == "login"
    assert "said: 535 5.7.8" in caught.value.outcome.words
    assert inbox.users == [b"joe", b"joe"]


def test_many_messages_go_over_one_encrypted_connection(authority):
    inbox = Inbox()
    context = authority.context("good", "mx.example.net")
    settings = {"smtp_tls_CAfile": str(authority.file), "smtp_tls_security_level": "secure"}
    body = b"x" * 70 + b"\n"
    with aiosmtpd(inbox, context, require_starttls=True) as port:
        session = Session(server(port), configured(**settings))
        for number in range(50):
            message = content(b"A: %d\n" % number, body * (1 if number % 10 else 5000))
            assert sent(session, "a@x.org", content=message)[0].status == "sent"
        session.quit()
    got = [len(envelope.original_content) for envelope in inbox.messages]
    assert len(got) == 50
    assert max(got) > 350_000


LOST = {"lost host deferred"}
FAULTS = {
    # Option and argument of smtp-sink(1), the fate of each message there.
    "none": ((), {"sent"}),
    "hard-mail": (("-f", "mail"), {"bounced"}),
    "hard-rcpt": (("-f", "rcpt"), {"bounced"}),
    "hard-data": (("-f", "data"), {"bounced"}),
    "hard-dot": (("-f", "."), {"bounced"}),
    "soft-mail": (("-r", "mail"), {"deferred"}),
    "soft-rcpt": (("-r", "rcpt"), {"deferred"}),
    "soft-data": (("-r", "data"), {"deferred"}),
    "soft-dot": (("-r", "."), {"deferred"}),
    "hang-up-mail": (("-q", "mail"), LOST),
    "hang-up-rcpt": (("-q", "rcpt"), LOST),
    "hang-up-data": (("-q", "data"), LOST),
    "hang-up-dot": (("-q", "."), LOST),
    "close-mail": (("-Q", "mail"), LOST),
    "close-rcpt": (("-Q", "rcpt"), LOST),
    "close-data": (("-Q", "data"), LOST),
    "close-dot": (("-Q", "."), LOST),
    "refuse-ehlo": (("-f", "ehlo"), {"sent"}),
    "refuse-both": (("-f", "ehlo,helo"), LOST),
    "hang-up-at-once": (("-q", "connect"), LOST),
    "refuse-at-once": (("-f", "connect"), LOST),
    "hang-up-in-the-message": (("-A", "0"), {"bounced", *LOST}),
    "no-pipelining": (("-p",), {"sent"}),
    "no-esmtp": (("-e",), {"sent"}),
    "no-eight-bits": (("-8",), {"sent"}),
    "no-status-codes": (("-E",), {"sent"}),
    "no-dsn": (("-N",), {"sent"}),
    "small-window": (("-T", "512"), {"sent"}),
    "few-messages": (("-M", "5"), {"sent", *LOST}),
    "slow": (("-w", "1"), {"sent"}),
}


@contextmanager
def smtp_sink(*options: str) -> Iterator[int]:
    """Run Postfix's smtp-sink; yield its port."""
    needs("smtp-sink")
    port = _free_port()
    program = shutil.which("smtp-sink", path=PATH)
    user = ("-u", "nobody") if os.getuid() == 0 else ()
    process = subprocess.Popen([str(program), *user, *options, f"127.0.0.1:{port}", "100"])
    try:
        for _ in range(600):
            assert process.poll() is None
            with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def fates(port: int, count: int) -> list[str]:
    """Send messages one by one, with a new connection where one is lost; return their fates."""
    found: list[str] = []
    session: Session | None = None
    for _ in range(count):
        try:
            session = session or Session(server(port), configured())
            (outcome,) = sent(session, "alice@example.net")
            found.append(outcome.status)
        except LostError as lost:
            found.append(f"lost {lost.kind} {lost.outcome.status}")
            session = None
    if session:
        session.quit()
    return found


@pytest.mark.parametrize("fault", FAULTS)
def test_every_message_to_smtp_sink_has_one_fate(fault):
    options, expected = FAULTS[fault]
    with smtp_sink(*options) as port:
        found = fates(port, 3 if fault == "slow" else 40)
    assert set(found) == expected
