"""Header blocks as bytes: where they end, what goes, what is added."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymail import message
from pymail.message import (
    ADDRESSES_LIMIT,
    HEADER_LIMIT,
    Facts,
    complete,
    date,
    join,
    recipients,
    split,
    values,
)

FACTS = Facts(
    origin="example.net",
    sender="alice@example.net",
    full_name="Alice Liddell",
    message_id="1.2@box",
    arrived=1795000000,
)


def parts(data: bytes) -> tuple[list[bytes], bytes]:
    fields, body = split(data)
    return [field.raw for field in fields], data[body:]


def completed(data: bytes, *, rewrite: bool = True, **facts) -> bytes:
    known = {name: getattr(FACTS, name) for name in Facts.__slots__} | facts
    return join(complete(split(data)[0], Facts(**known), rewrite=rewrite))


def test_the_header_ends_at_the_first_empty_line():
    assert parts(b"A: 1\nB: 2\n\nbody\n") == ([b"A: 1", b"B: 2"], b"body\n")


def test_a_line_that_is_no_field_begins_the_body():
    assert parts(b"A: 1\nnot a field\nB: 2\n") == ([b"A: 1"], b"not a field\nB: 2\n")


@pytest.mark.parametrize("first", [b"no colon", b": no name", b" blank first", b"Bad Name: x"])
def test_where_the_first_line_is_no_field_everything_is_body(first):
    data = first + b"\nSubject: x\n\nbody\n"
    assert parts(data) == ([], data)


@pytest.mark.parametrize("name", [b"J\xc3\xb6rg", b"\x7f", b"a\x1b"])
def test_a_name_of_other_than_printable_ascii_ends_the_header(name):
    assert parts(b"A: 1\n" + name + b": x\n\nbody") == ([b"A: 1"], name + b": x\n\nbody")


def test_folds_are_kept_and_a_line_of_blanks_is_one():
    assert parts(b"A: 1\n\t2\n  \n 3\nB: 4\n\n") == ([b"A: 1\n\t2\n  \n 3", b"B: 4"], b"")


def test_a_blank_before_the_colon_is_dropped():
    fields, _ = split(b"Subject \t: x\n\n")
    assert (fields[0].name, fields[0].raw) == (b"subject", b"Subject: x")


@pytest.mark.parametrize("line", [b"From alice Mon Nov 23\n", b">From alice\n"])
def test_a_mailbox_separator_is_dropped(line):
    assert parts(line + b"A: 1\n\nFrom here\n") == ([b"A: 1"], b"From here\n")


def test_a_separator_without_its_line_end_is_text():
    assert parts(b"From alice") == ([], b"From alice")


def test_a_header_without_a_body_and_without_a_last_line_end():
    assert parts(b"A: 1") == ([b"A: 1"], b"")
    assert parts(b"") == ([], b"")


def test_a_header_that_never_ends_is_cut_at_the_limit():
    line = b"X: " + b"y" * 996 + b"\n"
    data = line * (HEADER_LIMIT // 1000 + 100)
    fields, body = split(data)
    assert HEADER_LIMIT <= body < HEADER_LIMIT + 1000
    assert len(fields) < data.count(b"\n")


def test_what_comes_after_very_many_addresses_stays_as_it_is():
    many = b"To: " + b"a,\n " * (ADDRESSES_LIMIT // 4)
    data = completed(b"Cc: first\n" + many + b"last\nCc: second\n\n")
    assert b"Cc: first@example.net\n" in data
    assert many in data
    assert b"Cc: second\n" in data


def test_fields_are_found_by_name_in_any_case():
    fields, _ = split(b"To: a\nSubject: s\nTO: b\n c\n\n")
    assert values(fields, b"to") == [b" a", b" b\n c"]


def test_recipients_are_those_of_to_cc_and_bcc():
    fields, _ = split(b"To: a\nFrom: x\nCC: b\nbcc: c\n\n")
    assert recipients(fields) == [b" a", b" b", b" c"]


def test_a_resent_message_goes_to_its_resent_recipients_only():
    fields, _ = split(b"To: a\nResent-To: b\nResent-Cc: c\nResent-Bcc: d\n\n")
    assert recipients(fields) == [b" b", b" c", b" d"]


def test_a_resent_message_that_names_nobody_goes_to_the_old_recipients():
    assert recipients(split(b"Resent-From: x\nTo: a\n\n")[0]) == [b" a"]
    assert recipients(split(b"From: x\n\n")[0]) == []


def test_message_id_date_and_from_are_added_behind_the_rest():
    assert completed(b"Subject: s\n\n") == (
        b"Subject: s\n"
        b"Message-Id: <1.2@box>\n"
        b"Date: " + date(1795000000).encode() + b"\n"
        b"From: Alice Liddell <alice@example.net>\n"
    )


@pytest.mark.parametrize("field", [b"Message-ID:", b"Date: yesterday", b"From: nobody@x, @"])
def test_what_is_there_is_kept_even_if_it_is_empty_or_wrong(field):
    got = completed(field + b"\n\n")
    assert got.startswith(field + b"\n")
    name = field.partition(b":")[0].lower()
    assert [line.partition(b":")[0].lower() for line in got.splitlines()].count(name) == 1


def test_a_resent_message_gets_resent_fields_and_no_others():
    got = completed(b"Resent-To: bob@x\nFrom: old@x\n\n").splitlines()
    assert [line.partition(b":")[0] for line in got[2:]] == [
        b"Resent-Message-Id",
        b"Resent-Date",
        b"Resent-From",
    ]


@pytest.mark.parametrize("name", [b"Bcc", b"BCC", b"Resent-Bcc", b"Return-Path", b"Content-Length"])
@pytest.mark.parametrize("rewrite", [True, False])
def test_private_fields_never_leave(name, rewrite):
    got = completed(b"A: 1\n" + name + b": secret@x,\n\tanother@x\n\n", rewrite=rewrite)
    assert b"secret" not in got and b"another" not in got
    assert got.startswith(b"A: 1\n")


def test_mail_of_a_gateway_is_left_alone():
    assert completed(b"From: bob\n\n", rewrite=False) == b"From: bob\n"


@pytest.mark.parametrize(
    "name",
    [
        *("From", "Sender", "Reply-To", "To", "Cc", "Errors-To", "Mail-Followup-To"),
        *("Return-Receipt-To", "Disposition-Notification-To", "Resent-From", "Resent-Sender"),
        *("Resent-Reply-To", "Resent-To", "Resent-Cc", "Apparently-To"),
    ],
)
def test_bare_names_get_the_mail_name(name):
    got = completed(f"{name}: bob\n\n".encode())
    assert f"{name}: bob@example.net\n".encode() in got


def test_other_fields_are_not_touched():
    assert completed(b"X-To: bob\nSubject: bob\n\n").startswith(b"X-To: bob\nSubject: bob\n")


def test_a_nul_in_the_header_becomes_a_question_mark():
    assert completed(b"Subject: a\0b\n\n").startswith(b"Subject: a?b\n")


def test_the_null_sender_is_mailer_daemon():
    assert b"From: MAILER-DAEMON@example.net\n" in completed(b"", sender="")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("", b"From: alice@example.net\n"),
        ("  ", b"From: alice@example.net\n"),
        ("Bob (the) Builder", b'From: "Bob (the) Builder" <alice@example.net>\n'),
        ("J\udcf6rg", b"From: J\xf6rg <alice@example.net>\n"),
    ],
)
def test_the_full_name_is_written_as_a_phrase(name, shown):
    assert shown in completed(b"", full_name=name)


def test_a_strange_sender_is_quoted():
    assert b'<"a b"@example.net>' in completed(b"", sender="a b@example.net")


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        ("UTC0", "Wed, 18 Nov 2026 11:06:40 +0000"),
        ("XST-5:30", "Wed, 18 Nov 2026 16:36:40 +0530"),
        ("NST3:30", "Wed, 18 Nov 2026 07:36:40 -0330"),
    ],
)
def test_the_date_is_local_time_with_its_zone(zone, shown, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        monkeypatch.setattr(message, "_dates", {})  # a process has one zone
        assert date(1795000000) == shown
    finally:
        monkeypatch.undo()
        time.tzset()


LINE = st.binary(max_size=20).map(lambda b: b.replace(b"\n", b" "))


@given(st.lists(LINE, max_size=8))
def test_no_message_loses_a_byte_in_the_split(lines):
    data = b"\n".join(lines)
    fields, body = split(data)
    skipped = 0
    if data.startswith((b"From ", b">From ")):
        skipped = data.find(b"\n") + 1 or len(data)
    header = data[skipped:body]
    # a blank before a colon is all that goes
    raw = b"".join(field.raw + b"\n" for field in fields)
    squeeze = (b" \t\n",)
    assert raw.translate(None, *squeeze) == header.translate(None, *squeeze)
    for field in fields:
        assert field.raw.lower().startswith(field.name + b":")


@given(st.lists(LINE, max_size=8), st.booleans())
def test_a_completed_header_splits_into_the_same_fields_again(lines, rewrite):
    header = complete(split(b"\n".join(lines))[0], FACTS, rewrite=rewrite)
    data = join(header) + b"\nthe body\n"
    if data.startswith((b"From ", b">From ")):
        raise AssertionError(data)
    again, body = split(data)
    assert [f.raw for f in again] == [f.raw for f in header]
    assert data[body:] == b"the body\n"


@given(st.lists(LINE, max_size=8))
def test_completing_a_completed_header_changes_nothing(lines):
    once = complete(split(b"\n".join(lines))[0], FACTS)
    assert join(complete(once, FACTS)) == join(once)
