"""Recipients as people write them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymail.errors import DataError
from pymail.recipients import Book, Mailbox, parse, resolve, unique


def shown(text: str) -> list[str]:
    return [box.shown for box in parse(text)]


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ("", []),
        (" , ;, ", []),
        ("alice", ["alice"]),
        ("alice bob@example.org", ["alice", "bob@example.org"]),
        ("a,b;c", ["a", "b", "c"]),
        ('"Doe, J" <jd@x>', ['"Doe, J" <jd@x>']),
        ("Al Ice <alice@x>, bob", ["Al Ice <alice@x>", "bob"]),
        ("team: a@x, B <b@x>; c", ["a@x", "B <b@x>", "c"]),
        ("undisclosed-recipients:;", []),
        ("<>", []),
        ("x@y (The (old) \\) boss)", ['"The (old) ) boss" <x@y>']),
        ('(c1) "A \\"B\\"" C (c2) <x@y>', ['"A \\"B\\" C" <x@y>']),
        ("<@a,@b:c@d>", ["c@d"]),
        ('"john doe"@x', ['"john doe"@x']),
        ('A <"b, c"@x>', ['A <"b, c"@x>']),
        ("a@[192.0.2.1], b", ["a@[192.0.2.1]", "b"]),
        ("J. Random <a@b>", ['"J. Random" <a@b>']),
        ("(unclosed a", []),
        ("<b@x> carol@x", ["b@x", "carol@x"]),
        ("a@x\n Cc: b@x", ["a@x", "b@x"]),
        ("Al <a@x> Cc: b@x", ["Al <a@x>", "b@x"]),
        ("a@x: b@x:", ["a@x", "b@x"]),
        ('"a@x": b@x;', ["b@x"]),
        ("A/B: b@x;", ["b@x"]),
        ("Bob <b@x>carol@x, d", ["b@x", "carol@x", "d"]),
    ],
)
def test_lists_names_comments_and_groups(text: str, boxes: list[str]) -> None:
    assert shown(text) == boxes


@pytest.mark.parametrize("text", ["a@b@c", "@x", '"unclosed <a@b>', "a@", "a@b, c@d@e"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="not an address"):
        parse(text)


@given(st.text(alphabet='ab@,;:<>()[]"\\ |/.\n\x1bя', max_size=40))
def test_any_text_is_a_list_or_is_refused(text: str) -> None:
    book = Book({"a": ["b", text], "b": ["a"]}, "me")
    try:
        boxes = resolve(text, book)
    except DataError:
        return
    for box in boxes:
        assert box.address
        assert not box.address.startswith(("|", "/"))
        assert "\n" not in box.text


@given(
    st.dictionaries(
        st.sampled_from("abcdefgh"), st.lists(st.sampled_from("abcdefghxyz"), max_size=8)
    )
)
def test_any_aliases_come_to_an_end(aliases: dict[str, list[str]]) -> None:
    try:
        assert resolve("a, b c", Book(aliases))
    except DataError as error:
        told = str(error)
        assert "go round" in told


def test_a_bomb_of_aliases_is_a_short_list() -> None:
    aliases = {f"a{i}": [f"a{i + 1}"] * 50 for i in range(50)}
    assert unique(resolve("a0", Book(aliases))) == [Mailbox("", "a50")]


def test_aliases_that_are_too_deep_are_refused() -> None:
    aliases = {f"a{i}": [f"a{i + 1}"] for i in range(5000)}
    with pytest.raises(DataError, match="deep"):
        resolve("a0", Book(aliases))
    assert resolve("a4950", Book(aliases)) == [Mailbox("", "a5000")]


@pytest.mark.parametrize("piece", ["(", "<", "[", '"', "\\", "<@", "(()", '("', "a,", "a<b", "(a)"])
def test_a_text_of_any_length_is_read_in_linear_time(piece: str) -> None:
    with contextlib.suppress(DataError):
        resolve(piece * 50000, Book())


def test_only_bare_names_are_aliases() -> None:
    book = Book({"a": ["b@x"], "a@x": ["c"]})
    found = resolve("a, \\a, N <a>, a@y", book)
    assert [box.shown for box in found] == ["b@x", "a", "N <a>", "a@y"]


def test_a_mailbox_is_sent_to_once() -> None:
    boxes = [Mailbox("A", "a@x"), Mailbox("", "b"), Mailbox("", "A@X")]
    assert unique(boxes) == boxes[:2]
