"""What a caller pipes in becomes LF lines; without -i a lone dot ends it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymail.stream import Intake

TRICKY = st.lists(
    st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n", b"\r\r\n", b"..", b"\r\n.\r\n", b"\0"]),
    max_size=20,
).map(b"".join)


def whole(data: bytes, *, dot: bool = False) -> bytes:
    intake = Intake(dot=dot)
    return intake.feed(data) + intake.finish()


def meant(data: bytes, *, dot: bool) -> bytes:
    """Say the same in the plainest way."""
    lines = data.split(b"\n")
    last = lines.pop()
    if last.rstrip(b"\r"):
        lines.append(last)
    out = []
    for line in lines:
        clean = line.rstrip(b"\r")
        if dot and clean == b".":
            break
        out.append(clean.replace(b"\r", b" "))
    return b"".join(line + b"\n" for line in out)


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        (b"a\nb\n", b"a\nb\n"),
        (b"a\r\nb\r\n", b"a\nb\n"),
        (b"a\r\r\nb\n", b"a\nb\n"),
        (b"a\rb\n", b"a b\n"),
        (b"\ra\n", b" a\n"),
        (b"no end", b"no end\n"),
        (b"no end\r", b"no end\n"),
        (b"", b""),
        (b"\n", b"\n"),
        (b"a\0b\n", b"a\0b\n"),
        (b"a\r\n.\r\nb\r\n", b"a\n.\nb\n"),
    ],
)
def test_line_ends_become_lf_and_a_lone_cr_a_blank(given_, kept):
    assert whole(given_) == kept


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        (b"a\n.\nb\n", b"a\n"),
        (b".\nb\n", b""),
        (b".", b""),
        (b"a\n.", b"a\n"),
        (b"a\r\n.\r\nb\r\n", b"a\n"),
        (b"a\n. \nb\n", b"a\n. \nb\n"),
        (b"a\n..\nb\n", b"a\n..\nb\n"),
        (b".a\n", b".a\n"),
        (b"a\n.\r", b"a\n"),
    ],
)
def test_a_line_of_one_dot_ends_the_message_where_it_may(given_, kept):
    assert whole(given_, dot=True) == kept


def test_nothing_is_taken_after_the_end():
    intake = Intake(dot=True)
    assert intake.feed(b"a\n.\nb\n") == b"a\n"
    assert intake.ended
    assert (intake.feed(b"c\n"), intake.finish()) == (b"", b"")


def test_a_flood_of_cr_is_not_held_in_memory():
    intake = Intake(dot=False)
    out = intake.feed(b"\r" * ((1 << 20) + 1))
    assert len(intake._held) == 0
    assert out == b""  # they stood before nothing yet; a line end may have followed


@given(TRICKY, st.booleans())
def test_the_message_is_what_the_plain_rule_says(data, dot):
    assert whole(data, dot=dot) == meant(data, dot=dot)


@given(TRICKY, st.booleans(), st.data())
def test_where_the_pieces_were_cut_does_not_matter(data, dot, draw):
    intake = Intake(dot=dot)
    out = b""
    rest = data
    while rest:
        size = draw.draw(st.integers(1, len(rest)))
        out += intake.feed(rest[:size])
        rest = rest[size:]
    assert out + intake.finish() == whole(data, dot=dot)


@given(st.binary(max_size=200), st.booleans())
def test_no_cr_is_left_and_the_last_line_is_whole(data, dot):
    out = whole(data, dot=dot)
    assert b"\r" not in out
    assert not out or out.endswith(b"\n")
