"""Reports: what a person and a program read in them."""

from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymail.advice import cure
from pymail.bounce import DELAYED, FAILED, RELAYED, SUCCEEDED, Failure, Returned, report
from pymail.message import date

NOW = 1795000000
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def returned(**facts) -> Returned:
    usual = {
        "qid": "0QID0",
        "sender": "alice@example.net",
        "arrived": NOW - 100,
        "envid": "",
        "header": b"From: alice@example.net\nSubject: hello\n",
        "body": None,
        "expires": NOW + 100,
    }
    return Returned(**{**usual, **facts})


def parsed(
    action: str, *failures: Failure, message: Returned | None = None, to: str = "alice@example.net"
) -> EmailMessage:
    data = report(
        action, failures, message or returned(), to=to, host="box.example.net", qid="0NEW0", now=NOW
    )
    assert b"\r" not in data
    got = message_from_bytes(data, policy=policy.default)
    assert isinstance(got, EmailMessage)
    assert not got.defects
    return got


def status(got: EmailMessage) -> list[dict[str, str]]:
    """Return the groups of fields in the report for programs."""
    part = list(got.iter_parts())[1]
    if part.get_content_type() == "message/global-delivery-status":
        (inner,) = part.get_payload()  # Python takes it for a message
        groups = inner.as_bytes().decode().strip().split("\n\n")
        return [dict(line.split(": ", 1) for line in group.split("\n")) for group in groups]
    assert part.get_content_type() == "message/delivery-status"
    return [{k: str(v) for k, v in group.items()} for group in part.get_payload()]


ONE = Failure("bob@example.net", "boss@example.net", "5.1.1", 'unknown user: "bob"')


def test_a_report_is_what_rfc_3464_says():
    got = parsed(FAILED, ONE)
    assert got.get_content_type() == "multipart/report"
    assert got["Content-Type"].params["report-type"] == "delivery-status"
    assert [part.get_content_type() for part in got.iter_parts()] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]
    assert got["From"] == "MAILER-DAEMON@box.example.net (Mail Delivery System)" or (
        got["From"].addresses[0].addr_spec == "MAILER-DAEMON@box.example.net"
    )
    assert got["To"] == "alice@example.net"
    assert got["Auto-Submitted"] == "auto-replied"  # RFC 3834 2: nobody answers it
    assert got["Date"].datetime.timestamp() == NOW
    assert got["Message-Id"] == "<0NEW0@box.example.net>"
    assert got["Subject"] == "Undelivered Mail Returned to Sender"


def test_an_address_is_spelled_as_rfc_5321_has_it():
    got = parsed(FAILED, ONE._replace(recipient="a b@example.net", original='"@example.net'))
    (_, recipient) = status(got)
    assert recipient["Final-Recipient"] == 'rfc822; "a b"@example.net'
    assert recipient["Original-Recipient"] == 'rfc822;"\\""@example.net'
    text = next(got.iter_parts()).get_content()
    assert '<"a b"@example.net> (expanded from <"\\""@example.net>): ' in text


@pytest.mark.parametrize(
    ("action", "body", "words", "named"),
    [
        (FAILED, None, "its header is attached", "Undelivered Message Headers"),
        (FAILED, b"x\n", "its whole text is attached", "Undelivered Message"),
        (SUCCEEDED, None, "was delivered", "Message Headers"),
    ],
)
def test_what_is_attached_is_called_what_it_is(action, body, words, named):
    text, _, original = parsed(action, ONE, message=returned(body=body)).iter_parts()
    assert words in text.get_content()
    assert original["Content-Description"] == named


def test_the_fields_for_programs_tell_everything():
    about, recipient = status(parsed(FAILED, ONE, message=returned(envid="E=1")))
    assert about["Reporting-MTA"] == "dns; box.example.net"
    assert about["Original-Envelope-Id"] == "E=1"
    assert about["Arrival-Date"] == date(NOW - 100)
    assert recipient == {
        "Final-Recipient": "rfc822; bob@example.net",
        "Original-Recipient": "rfc822;boss@example.net",
        "Action": "failed",
        "Status": "5.1.1",
        "Diagnostic-Code": 'x-pymail; unknown user: "bob"',
    }


def test_the_original_recipient_is_the_one_that_the_sender_gave():
    failure = Failure("bob@x", "boss@x", "5.0.0", "no", "rfc822;other+40x")
    assert status(parsed(FAILED, failure))[1]["Original-Recipient"] == "rfc822;other+40x"


def test_one_report_has_all_failures():
    other = Failure("carol@example.net", "carol@example.net", "5.7.1", "restricted")
    got = parsed(FAILED, ONE, other)
    assert [group.get("Status") for group in status(got)] == [None, "5.1.1", "5.7.1"]
    text = next(got.iter_parts()).get_content()
    assert '<bob@example.net> (expanded from <boss@example.net>): unknown user: "bob"' in text
    assert "<carol@example.net>: restricted" in text
    assert "box.example.net" in text


def test_the_header_comes_back_and_the_body_only_where_it_was_asked_for():
    parts = list(parsed(FAILED, ONE).iter_parts())
    assert parts[2].get_content() == "From: alice@example.net\nSubject: hello\n"
    whole = parsed(FAILED, ONE, message=returned(body=b"the body\n"))
    parts = list(whole.iter_parts())
    assert parts[2].get_content_type() == "message/rfc822"
    inner = parts[2].get_payload(0)
    assert (inner["Subject"], inner.get_payload()) == ("hello", "the body\n")


def test_a_delay_says_until_when():
    got = parsed(DELAYED, Failure("bob@x", "bob@x", "4.4.1", "no answer"))
    assert got["Subject"] == "Delayed Mail (still being retried)"
    assert status(got)[1]["Action"] == "delayed"
    assert status(got)[1]["Will-Retry-Until"] == date(NOW + 100)
    assert f"given up on {date(NOW + 100)}" in next(got.iter_parts()).get_content()
    endless = parsed(DELAYED, ONE, message=returned(expires=0))
    assert "Will-Retry-Until" not in status(endless)[1]
    assert "given up" not in next(endless.iter_parts()).get_content()


def test_a_success_is_told_as_such():
    got = parsed(SUCCEEDED, Failure("bob@x", "bob@x", "2.0.0", "delivered"))
    assert got["Subject"] == "Successful Mail Delivery Report"
    assert (status(got)[1]["Action"], status(got)[1]["Status"]) == ("delivered", "2.0.0")


def test_a_report_that_cannot_be_delivered_is_a_copy_for_postmaster():
    got = parsed(FAILED, ONE, message=returned(sender=""), to="postmaster@x")
    assert got["Subject"] == "Postmaster Copy: Undelivered Mail"


def test_a_strange_sender_is_quoted():
    assert parsed(FAILED, ONE, to="a b@example.net")["To"].addresses[0].username == "a b"


@given(TEXT, TEXT, TEXT, TEXT, st.binary(max_size=50))
def test_nothing_from_outside_can_add_a_field_or_a_part(recipient, original, words, envid, body):
    failure = Failure(recipient, original, "5.0.0", words)
    got = parsed(FAILED, failure, message=returned(envid=envid, body=body.replace(b"\r", b"\n")))
    groups = status(got)
    assert len(groups) == 2
    assert set(groups[1]) == {
        "Final-Recipient",
        "Original-Recipient",
        "Action",
        "Status",
        "Diagnostic-Code",
    }
    text = next(got.iter_parts()).get_content()
    if not cure(words):
        plain = Failure("a", "b", "5.0.0", "no")
        usual = next(parsed(FAILED, plain).iter_parts()).get_content()
        assert text.count("\n") == usual.count("\n")
    assert len(list(got.iter_parts())) == 3


@pytest.mark.parametrize("action", [FAILED, DELAYED, SUCCEEDED, RELAYED])
def test_the_same_report_is_the_same_bytes(action):
    facts = {"to": "a@b", "host": "h", "qid": "q", "now": NOW}
    assert report(action, [ONE], returned(), **facts) == report(action, [ONE], returned(), **facts)


def test_a_refusal_by_another_server_names_it_with_its_words_and_the_cure():
    reply = "550 5.1.1 <nobody@example.org>: Recipient address rejected: User unknown"
    words = f"host mx.example.org[192.0.2.1] said: {reply} (in reply to RCPT TO command)"
    failure = Failure(
        "nobody@example.org",
        "nobody@example.org",
        "5.1.1",
        words,
        relay="mx.example.org[192.0.2.1]:25",
        reply=reply,
        tried=NOW - 10,
    )
    got = parsed(FAILED, failure)
    fields = status(got)[1]
    assert fields["Remote-MTA"] == "dns; mx.example.org"
    assert fields["Diagnostic-Code"] == f"smtp; {reply}"
    text = next(got.iter_parts()).get_content()
    assert words in text
    before = text.partition("<nobody@example.org>")[0]
    assert cure(reply) in " ".join(before.split())  # what to do comes first
    assert fields["Last-Attempt-Date"] == date(NOW - 10)


def test_addresses_in_other_letters_are_told_as_rfc_6533_wants():
    got = parsed(FAILED, Failure("иван@пример.example", "иван@пример.example", "5.6.7", "no"))
    part = list(got.iter_parts())[1]
    assert part.get_content_type() == "message/global-delivery-status"
    assert part["Content-Transfer-Encoding"] == "8bit"
    assert status(got)[1]["Final-Recipient"] == "utf-8; иван@пример.example"
    assert status(got)[1]["Original-Recipient"] == "utf-8;иван@пример.example"
    sender = parsed(FAILED, ONE, message=returned(sender="иван@пример.example"))
    about, recipient = status(sender)
    assert about["X-Pymail-Sender"] == "utf-8; иван@пример.example"
    assert recipient["Final-Recipient"] == "rfc822; bob@example.net"


def test_the_part_for_programs_is_ascii_whatever_a_server_says():
    failure = Failure("bob@x", "bob@x", "5.7.1", "нет", reply="550 5.7.1 нет", relay="x[::1]:25")
    got = parsed(FAILED, failure)
    assert status(got)[1]["Diagnostic-Code"] == "smtp; 550 5.7.1 ???"
    assert "<bob@x>: нет" in next(got.iter_parts()).get_content()


def test_what_was_handed_to_a_server_without_reports_is_relayed():
    got = parsed(RELAYED, Failure("bob@x", "bob@x", "2.0.0", "250 ok"))
    assert status(got)[1]["Action"] == "relayed"
