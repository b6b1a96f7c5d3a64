"""The envelope as bytes: what goes in comes out, and nothing can be slipped in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymail.envelope import Envelope, decode, encode
from pymail.errors import DataError

TEXT = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), max_size=20)
FIELDS = Envelope.__slots__


def facts(envelope: Envelope) -> dict[str, object]:
    return {name: getattr(envelope, name) for name in FIELDS}


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=5),
    st.none() | TEXT,
    st.none() | TEXT,
    st.tuples(TEXT, TEXT, TEXT, TEXT),
)
def test_an_envelope_survives_being_written_and_read(uid, recipients, sender, name, words):
    body, ret, envid, kind = words
    envelope = Envelope(
        uid,
        [r for r, _, _ in recipients],
        sender=sender,
        full_name=name,
        body=body,
        ret=ret,
        envid=envid,
        kind=kind,
        notify=[n for _, n, _ in recipients],
        orcpt=[o for _, _, o in recipients],
    )
    data = encode(envelope)
    assert facts(decode(data, len(recipients))) == facts(envelope)


def test_bytes_that_are_no_utf_8_survive_too():
    envelope = Envelope(1, ["j\udcf6rg@example.org"], full_name="J\udcf6rg")
    again = decode(encode(envelope), 1)
    assert (again.recipients, again.full_name) == (["j\udcf6rg@example.org"], "J\udcf6rg")


def test_the_null_sender_is_not_the_missing_sender():
    null, missing = Envelope(1, ["a"], sender=""), Envelope(1, ["a"])
    assert decode(encode(null), 1).sender == ""
    assert decode(encode(missing), 1).sender is None


@pytest.mark.parametrize("bad", ["\0", "\r", "\n"])
@pytest.mark.parametrize("field", ["sender", "full_name", "body", "ret", "envid", "kind"])
def test_no_field_can_hold_what_would_begin_another(bad, field):
    with pytest.raises(DataError, match="control character"):
        encode(Envelope(1, ["alice"], **{field: f"x{bad}y"}))


@pytest.mark.parametrize("bad", ["\0", "\r", "\n"])
def test_no_recipient_can_either(bad):
    with pytest.raises(DataError):
        encode(Envelope(1, [f"alice{bad}bob"]))
    with pytest.raises(DataError):
        encode(Envelope(1, ["alice"], orcpt=[f"rfc822;a{bad}b"]))


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"", 1),
        (b"1000\0\0\0\0\0\0\0alice\0\0", 1),
        (b"1000\0\0\0\0\0\0\0alice\0\0\0", 2),
        (b"1000\0\0\0\0\0\0\0alice\0\0\0more", 1),
        (b"root\0\0\0\0\0\0\0alice\0\0\0", 1),
        (b"\xc2\xb2\0\0\0\0\0\0\0alice\0\0\0", 1),
    ],
)
def test_what_is_no_envelope_is_refused(data, count):
    with pytest.raises(DataError):
        decode(data, count)


@given(st.binary(max_size=80), st.integers(0, 4))
def test_garbage_is_an_envelope_or_refused(data, count):
    try:
        envelope = decode(data, count)
    except DataError:
        return
    assert len(envelope.recipients) == len(envelope.notify) == len(envelope.orcpt) == count
