"""LMTP: a real Dovecot, and a server that misbehaves in every way."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import needs_root
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import Dovecot, FakeLmtp, dovecot, fake_lmtp
from transports import content, delivery, filed

from pymail.outcome import Outcome, bounced, deferred, kept, sent
from pymail.transport import Content, lmtp, wire
from pymail.transport.data import data_lines

OFFERS = "250-fake\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 1000000"


def run(address: str, *recipients: str, **facts) -> list[Outcome]:
    """Deliver one message to some recipients; return their outcomes in order."""
    batch = [
        delivery(address, number=number, recipient=recipient, **facts)
        for number, recipient in enumerate(recipients or ("alice@example.net",))
    ]
    outcomes = list(lmtp.deliver(batch))
    assert sorted(number for number, _ in outcomes) == list(range(len(batch)))
    return [outcome for _, outcome in sorted(outcomes, key=lambda pair: pair[0])]


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Iterator[Dovecot]:
    needs_root()
    with dovecot(tmp_path_factory.mktemp("d") / "dovecot", "alice", "bob") as server:
        yield server


def test_dovecot_takes_a_message_for_each_recipient(real):
    body = b"Hello\n.dot\n..\n.\nFrom here\n\xc3\xa4 \xff \0\n" + b"x" * 5000 + b"\nno newline"
    message = content(b"Subject: one\n", body)
    outcomes = run(real.address, "alice@x.org", "nobody@x.org", "bob+a@x.org", content=message)
    assert [(o.status, o.dsn) for o in outcomes] == [
        ("sent", "2.0.0"),
        ("bounced", "5.1.1"),
        ("sent", "2.0.0"),
    ]
    assert outcomes[0].words.startswith("250 2.0.0 <alice@x.org> ")
    assert outcomes[0].words.endswith(" Saved")
    assert "in reply to RCPT TO command" in outcomes[1].words
    for user in ("alice", "bob"):
        (letter,) = [text for text in real.letters(user) if b"Subject: one" in text]
        assert letter.partition(b"\n\n")[2] == body + b"\n"


def test_dovecot_takes_many_messages_over_one_connection(real):
    batch = [
        delivery(
            real.address,
            number=number,
            qid=f"Q{number}",
            recipient="alice@x.org" if number % 5 else "nobody@x.org",
            sender="" if number % 2 else "joe@x.org",
            content=content(b"Subject: many\nX-N: %d\n" % number, b"%d\n" % number),
        )
        for number in range(50)
    ]
    outcomes = dict(lmtp.deliver(batch))
    assert [outcomes[n].status for n in range(50)] == ["bounced", *["sent"] * 4] * 10
    letters = [text for text in real.letters("alice") if b"Subject: many" in text]
    assert len(letters) == 40
    connects = (real.root / "log").read_text().count("Connect from")
    run(real.address, "alice@x.org")
    assert (real.root / "log").read_text().count("Connect from") == connects + 1


def test_dovecot_takes_a_message_of_ten_megabytes(real, tmp_path):
    body = b"".join(b"%090d\n" % n for n in range(110_000))
    (outcome,) = run(real.address, "bob@x.org", content=filed(tmp_path, b"Subject: big\n", body))
    assert outcome.status == "sent", outcome
    (letter,) = [text for text in real.letters("bob") if b"Subject: big" in text]
    assert letter.partition(b"\n\n")[2] == body


@pytest.fixture(params=["unix", "inet"])
def place(request, tmp_path) -> Path | None:
    return tmp_path / "socket" if request.param == "unix" else None


@pytest.mark.parametrize("hello", ["250 fake", OFFERS])
def test_a_message_is_sent_in_one_transaction(place, hello):
    with fake_lmtp(place, LHLO=hello) as server:
        outcomes = run(server.address, "alice@x.org", "a b@x.org")
    assert outcomes == [sent("250 2.0.0 saved")] * 2
    ((mail, to, data),) = server.messages
    assert mail.startswith("MAIL FROM:<joe@example.org>")
    assert to == ["RCPT TO:<alice@x.org>", 'RCPT TO:<"a b"@x.org>']
    assert data == b"Subject: s\r\nTo: alice\r\n\r\nFrom here\r\nto there\r\n"
    assert server.commands[-1] == "QUIT"
    assert server.connections == 1


def test_nothing_is_sent_that_was_not_offered(tmp_path):
    eight = content(b"Subject: s\n", b"\xe4\n")
    with fake_lmtp(tmp_path / "s") as server:
        run(server.address, "alice@x.org", content=eight)
        (outcome,) = run(server.address, "jörg@x.org")
    assert server.messages[0][0] == "MAIL FROM:<joe@example.org>"
    assert (outcome.status, outcome.dsn) == ("bounced", "5.6.7")
    assert len(server.messages) == 1


def test_what_was_offered_is_used(tmp_path):
    eight = content(b"Subject: s\n", b"\xe4\n")
    with fake_lmtp(tmp_path / "s", LHLO=OFFERS) as server:
        run(server.address, "jörg@x.org", content=eight, sender="")
        run(server.address, "alice@x.org")
    assert server.messages[0][0] == "MAIL FROM:<> SIZE=17 BODY=8BITMIME SMTPUTF8"
    assert len(server.messages[0][2]) == 17
    assert server.messages[0][1] == ["RCPT TO:<jörg@x.org>"]
    assert server.messages[1][0] == "MAIL FROM:<joe@example.org> SIZE=46"
    assert len(server.messages[1][2]) == 46


@pytest.mark.parametrize("hello", ["250 fake", OFFERS])
def test_each_recipient_has_an_answer_of_its_own(tmp_path, hello):
    def to(_, line):
        return {"b": "550 5.1.1 unknown", "c": "450 4.2.2 full"}.get(line[9], "250 ok")

    def end(_, line):
        return {"d": "452 4.2.2 over quota", "e": "550-5.7.1 a\r\n550 5.7.1 b"}.get(
            line[9], "250 2.1.5 ok"
        )

    with fake_lmtp(tmp_path / "s", LHLO=hello, RCPT=to, END=end) as server:
        outcomes = run(server.address, *(f"{name}@x.org" for name in "abcdef"))
    said = f"host {server.address} said: "
    assert outcomes == [
        sent("250 2.1.5 ok", "2.1.5"),
        bounced("5.1.1", f"{said}550 5.1.1 unknown (in reply to RCPT TO command)"),
        deferred("4.2.2", f"{said}450 4.2.2 full (in reply to RCPT TO command)"),
        deferred("4.2.2", f"{said}452 4.2.2 over quota (in reply to end of DATA command)"),
        bounced("5.7.1", f"{said}550 5.7.1 a b (in reply to end of DATA command)"),
        sent("250 2.1.5 ok", "2.1.5"),
    ]


@pytest.mark.parametrize("hello", ["250 fake", OFFERS])
@pytest.mark.parametrize(
    ("answers", "status", "dsn"),
    [
        ({"MAIL": "550 5.7.1 not you"}, "bounced", "5.7.1"),
        ({"MAIL": "451 later"}, "deferred", "4.0.0"),
        ({"MAIL": "354 what"}, "deferred", "4.5.0"),
        ({"RCPT": "550 no"}, "bounced", "5.0.0"),
        ({"RCPT": "452 5.2.2 wrong class"}, "deferred", "4.0.0"),
        ({"DATA": "554 5.6.0 no"}, "bounced", "5.6.0"),
        ({"DATA": "451 4.3.0 no"}, "deferred", "4.3.0"),
        ({"DATA": "250 what"}, "deferred", "4.5.0"),
        ({"END": "554 5.6.0 bad"}, "bounced", "5.6.0"),
        ({"END": "421 4.3.2 shutting down"}, "deferred", "4.3.2"),
        ({"END": None}, "deferred", "4.4.2"),
        ({"MAIL": None}, "deferred", "4.4.2"),
        ({"RCPT": None}, "deferred", "4.4.2"),
        ({"DATA": None}, "deferred", "4.4.2"),
        ({"LHLO": None}, "deferred", "4.4.2"),
        ({"LHLO": "500 5.5.1 this is SMTP"}, "deferred", "4.3.5"),
        ({"BANNER": "554 5.3.2 no service"}, "deferred", "4.3.5"),
        ({"BANNER": "421 4.3.2 busy"}, "deferred", "4.3.2"),
        ({"BANNER": None}, "deferred", "4.4.2"),
        ({"MAIL": "hello\r\n550 5.7.1 not you"}, "bounced", "5.7.1"),
        ({"MAIL": "100 odd"}, "deferred", "4.5.0"),
        ({"MAIL": "250-a\r\n550 b"}, "bounced", "5.0.0"),
        ({"MAIL": b"250-x\r\n" * 300 + b"550 b\r\n"}, "bounced", "5.0.0"),
        ({"MAIL": b"550 5.7.1 " + b"x" * 100_000 + b"\r\n"}, "bounced", "5.7.1"),
        ({"MAIL": b"250-x\r\n" * 200_000}, "deferred", "4.5.0"),
        ({"MAIL": b"250 " + b"x" * 2_000_000}, "deferred", "4.5.0"),
        ({"MAIL": b"\xff\0\x1b[31m\r\n451 4.3.0 \xff\r\n"}, "deferred", "4.3.0"),
        ({"END": "250-2.0.0 ok\r\nid: 1\r\n251 done"}, "sent", "2.0.0"),
        ({"END": "550 5.1.1 \x1b[31mred"}, "bounced", "5.1.1"),
        ({"END": b"250\r\n"}, "sent", "2.0.0"),
        ({"END": b"250 2.0.0 bare line feed\n"}, "sent", "2.0.0"),
    ],
)
def test_what_a_server_answers_becomes_an_outcome(tmp_path, hello, answers, status, dsn):
    with fake_lmtp(tmp_path / "s", **{"LHLO": hello, **answers}) as server:
        outcomes = run(server.address, "alice@x.org", "bob@x.org")
    assert {(o.status, o.dsn) for o in outcomes} == {(status, dsn)}
    assert all(o.words.isprintable() and len(o.words) < 1500 for o in outcomes)


def test_a_server_that_wants_a_message_for_nobody_gets_none(tmp_path):
    with fake_lmtp(tmp_path / "s", LHLO=OFFERS, RCPT="550 5.1.1 no", DATA="354 go") as server:
        (outcome,) = run(server.address)
    assert (outcome.status, outcome.dsn) == ("bounced", "5.1.1")
    assert server.messages == []


@pytest.mark.parametrize("hello", ["250 fake", OFFERS])
def test_after_a_failed_transaction_the_next_begins_anew(tmp_path, hello):
    answers = {"MAIL": ["550 no", "250 ok"], "RCPT": ["550 no"] if "PIPE" in hello else []}
    with fake_lmtp(tmp_path / "s", LHLO=hello, **answers) as server:
        batch = [delivery(server.address, number=n, qid=f"Q{n}") for n in range(3)]
        outcomes = dict(lmtp.deliver(batch))
    assert [outcomes[n].status for n in range(3)] == ["bounced", "sent", "sent"]
    assert server.commands.count("RSET") == 1
    assert server.connections == 1


def test_a_server_that_refuses_rset_is_left(tmp_path):
    with fake_lmtp(tmp_path / "s", MAIL=["550 no"], RSET="500 what") as server:
        batch = [delivery(server.address, number=n, qid=f"Q{n}") for n in range(3)]
        outcomes = dict(lmtp.deliver(batch))
    assert [outcomes[n].status for n in range(3)] == ["bounced", "deferred", "sent"]
    assert server.connections == 2


def test_a_lost_connection_defers_one_message_and_the_next_gets_a_new_one(tmp_path):
    with fake_lmtp(tmp_path / "s", END=["250 ok", None, "250 ok", "250 ok"]) as server:
        batch = [delivery(server.address, number=n, qid=f"Q{n}") for n in range(4)]
        outcomes = dict(lmtp.deliver(batch))
    assert [outcomes[n].status for n in range(4)] == ["sent", "deferred", "sent", "sent"]
    assert server.connections == 2


def test_what_was_answered_stays_when_the_connection_is_lost(tmp_path):
    with fake_lmtp(tmp_path / "s", END=["250 ok", "550 5.2.2 full", None]) as server:
        outcomes = run(server.address, "a@x.org", "b@x.org", "c@x.org", "d@x.org")
    assert [o.status for o in outcomes] == ["sent", "bounced", "deferred", "deferred"]


def test_a_destination_that_keeps_failing_is_left_alone(tmp_path):
    with fake_lmtp(tmp_path / "s", MAIL=lambda *_: None) as server:
        batch = [delivery(server.address, number=n, qid=f"Q{n}") for n in range(9)]
        outcomes = dict(lmtp.deliver(batch))
    assert {o.status for o in outcomes.values()} == {"deferred"}
    assert server.connections == lmtp.MOST_FAILURES


def test_many_recipients_are_parted_into_transactions(tmp_path):
    with fake_lmtp(tmp_path / "s", LHLO=OFFERS) as server:
        outcomes = run(server.address, *(f"u{n}@x.org" for n in range(120)))
    assert {o.status for o in outcomes} == {"sent"}
    assert [len(to) for _, to, _ in server.messages] == [50, 50, 20]


def test_recipients_share_a_transaction_though_each_has_a_descriptor(tmp_path):
    text = filed(tmp_path, b"A: 1\n", b"x\n")
    with fake_lmtp(tmp_path / "s") as server:
        batch = [
            delivery(server.address, number=n, content=text._replace(fd=os.dup(text.fd)))
            for n in range(2)
        ]
        assert {o.status for _, o in lmtp.deliver(batch)} == {"sent"}
    assert [len(to) for _, to, _ in server.messages] == [2]


def test_only_the_same_message_shares_a_transaction(tmp_path):
    with fake_lmtp(tmp_path / "s") as server:
        batch = [
            delivery(server.address, number=0, content=Content(b"A: 1\n", b"x\n")),
            delivery(server.address, number=1, content=Content(b"A: 2\n", b"x\n")),
            delivery(server.address, number=2, content=Content(b"A: 2\n", b"x\n")),
            delivery(server.address, number=3, content=Content(b"A: 2\n", b"x\n"), sender="z@x"),
        ]
        assert {o.status for _, o in lmtp.deliver(batch)} == {"sent"}
    assert [len(to) for _, to, _ in server.messages] == [1, 2, 1]


@pytest.mark.parametrize(
    ("address", "dsn"),
    [
        ("unix:/no/such/socket", "4.4.1"),
        ("unix:/tmp", "4.4.1"),
        ("unix:/" + "x" * 200, "4.4.1"),
        ("/no/such/socket", "4.4.1"),
        ("inet:127.0.0.1:1", "4.4.1"),
        ("127.0.0.1:1", "4.4.1"),
        ("[::1]:1", "4.4.1"),
        ("127.0.0.1", "4.4.1"),
        ("", "4.3.5"),
        ("inet:", "4.3.5"),
        ("inet:localhost:lmtp", "4.3.5"),
        ("localhost:99999", "4.3.5"),
        ("[::1", "4.3.5"),
        ("[::1]x", "4.3.5"),
    ],
)
def test_a_server_that_is_not_there_defers(address, dsn):
    start = time.monotonic()
    batch = [delivery(address, number=n, qid=f"Q{n}") for n in range(20)]
    outcomes = dict(lmtp.deliver(batch))
    assert {(o.status, o.dsn) for o in outcomes.values()} == {("deferred", dsn)}
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("verb", ["BANNER", "LHLO", "MAIL", "RCPT", "DATA", "END"])
def test_silence_ends_in_a_time_out(tmp_path, monkeypatch, verb):
    for module, name in ((wire, "REPLY_TIME"), (lmtp, "DONE_TIME")):
        monkeypatch.setattr(module, name, 0.2)
    monkeypatch.setattr(wire.Wire.reply, "__defaults__", (0.2,))
    wait = lambda *_: time.sleep(0.6)  # noqa: E731
    with fake_lmtp(tmp_path / "s", **{verb: wait}) as server:
        (outcome,) = run(server.address)
    assert (outcome.status, outcome.dsn) == ("deferred", "4.4.2")
    assert "timed out" in outcome.words


def test_a_reply_that_comes_byte_by_byte_ends_in_a_time_out(tmp_path, monkeypatch):
    monkeypatch.setattr(wire.Wire.reply, "__defaults__", (0.5,))

    def drip(there: socket.socket, _: str) -> None:
        for _ in range(40):
            there.sendall(b"2")
            time.sleep(0.1)

    start = time.monotonic()
    with fake_lmtp(tmp_path / "s", MAIL=drip) as server:
        (outcome,) = run(server.address)
        assert time.monotonic() - start < 3
    assert (outcome.status, outcome.dsn) == ("deferred", "4.4.2")


def test_a_server_that_stops_reading_ends_in_a_time_out(tmp_path, monkeypatch):
    monkeypatch.setattr(lmtp, "SEND_TIME", 0.3)

    def stop(there: socket.socket, _: str) -> str:
        there.sendall(b"354 go\r\n")
        time.sleep(1)
        return ""

    big = content(b"A: b\n", b"x" * 70 + b"\n" * 4_000_000)
    with fake_lmtp(tmp_path / "s", DATA=stop) as server:
        (outcome,) = run(server.address, content=big)
    assert (outcome.status, outcome.dsn) == ("deferred", "4.4.2")
    assert "message body" in outcome.words


def test_a_server_that_goes_away_in_the_message_defers(tmp_path):
    def drop(there: socket.socket, _: str) -> None:
        there.sendall(b"354 go\r\n")

    big = content(b"A: b\n", b"x" * 70 + b"\n" * 4_000_000)
    with fake_lmtp(tmp_path / "s", DATA=drop) as server:
        (outcome,) = run(server.address, content=big)
    assert (outcome.status, outcome.dsn) == ("deferred", "4.4.2")


def test_a_server_that_does_not_part_in_peace_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(lmtp, "QUIT_TIME", 0.1)
    for answer in (None, "garbage", lambda *_: time.sleep(0.3)):
        with fake_lmtp(tmp_path / f"s{id(answer)}", QUIT=answer) as server:
            assert run(server.address)[0].status == "sent"


@pytest.mark.parametrize("evil", ["a\r\nRSET@x.org", "a\n@x.org", "a\0@x.org", "a\x1b@x.org"])
def test_an_address_cannot_become_a_command(tmp_path, evil):
    with fake_lmtp(tmp_path / "s", LHLO=OFFERS) as server:
        outcomes = run(server.address, evil, "bob@x.org")
        (refused,) = run(server.address, "bob@x.org", sender=evil)
    assert (outcomes[0].status, outcomes[0].dsn) == ("bounced", "5.1.3")
    assert outcomes[1].status == "sent"
    assert (refused.status, refused.dsn) == ("bounced", "5.1.7")
    assert len(server.messages) == 1


def test_brackets_in_an_address_stay_within_its_quotes(tmp_path):
    with fake_lmtp(tmp_path / "s") as server:
        run(server.address, "a> NOTIFY=NEVER@x.org")
    assert server.commands[2] == 'RCPT TO:<"a> NOTIFY=NEVER"@x.org>'


def test_a_queue_file_that_cannot_be_read_sends_no_dot(tmp_path):
    broken = filed(tmp_path, b"A: b\n", b"short\n", claim=1000)
    with fake_lmtp(tmp_path / "s") as server:
        assert run(server.address, content=broken)[0].status == "kept"
    assert server.messages == []


def test_a_queue_file_that_fails_in_the_middle_sends_no_dot(tmp_path, monkeypatch):
    calls = []

    def pieces(self) -> Iterator[bytes]:
        calls.append(self)
        yield b"A: b\n\nhalf\n"
        if len(calls) > 1:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(Content, "pieces", pieces)
    with fake_lmtp(tmp_path / "s") as server:
        outcomes = run(server.address, "a@x.org", "b@x.org")
    words = "cannot read queued message: Input/output error"
    assert outcomes == [kept("4.3.0", words)] * 2
    assert server.messages == []


SMUGGLED = [
    f"{before}.{after}".encode()
    for before in ("\r", "\n", "\r\n")
    for after in ("\r", "\n", "\r\n")
]


@pytest.mark.parametrize("smuggled", SMUGGLED)
def test_nothing_in_a_message_ends_it(tmp_path, smuggled):
    """CVE-2023-51764."""
    evil = content(b"A: b\n", b"x" + smuggled + b"MAIL FROM:<x@y>\r\nRCPT TO:<z@y>\r\nDATA\r\n")
    with fake_lmtp(tmp_path / "s", LHLO=OFFERS) as server:
        assert run(server.address, content=evil)[0].status == "sent"
    assert len(server.messages) == 1
    wire_bytes = server.raw
    assert b"\r\n..\r\n" in wire_bytes
    assert wire_bytes.count(b"\r\n.\r\n") == 1
    assert wire_bytes.count(b"\r") == wire_bytes.count(b"\n") == wire_bytes.count(b"\r\n")


def test_a_lone_cr_in_the_header_begins_no_field(tmp_path):
    evil = content(b"Subject: a\rBcc: b@x.org\r\rbody\r\nTo: c\r\n", b"x\n")
    with fake_lmtp(tmp_path / "s", LHLO=OFFERS) as server:
        run(server.address, content=evil)
    ((_, _, data),) = server.messages
    assert data == b"Subject: a Bcc: b@x.org  body\r\nTo: c\r\n\r\nx\r\n"


class _Pieces(Content):
    """A message in given pieces."""

    def pieces(self) -> Iterator[bytes]:
        at = 0
        for size in self.header:
            yield self.body[at : at + size]
            at += size
        yield self.body[at:]


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b".", b"a"]), max_size=12).map(b"".join),
    st.lists(st.integers(1, 4), max_size=4).map(bytes),
)
@settings(deadline=None)
def test_the_wire_form_does_not_depend_on_the_pieces(body, sizes):
    out = b"".join(data_lines(_Pieces(sizes, body).pieces()))
    lines = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    expected = [b"." + line if line.startswith(b".") else line for line in lines]
    assert out == b"".join(line + b"\r\n" for line in expected)


def test_a_fake_server_is_told_apart_by_its_address(tmp_path):
    with fake_lmtp(tmp_path / "one") as one, fake_lmtp(None) as two:
        batch = [
            delivery(server.address, number=n) for n, server in enumerate((one, two, one, two))
        ]
        assert sorted(n for n, o in lmtp.deliver(batch) if o.status == "sent") == [0, 1, 2, 3]
    server: FakeLmtp
    for server in (one, two):
        assert [len(to) for _, to, _ in server.messages] == [2]
