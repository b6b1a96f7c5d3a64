"""The keys under which an address is looked for."""

from collections.abc import Iterable

from pymail import keys
from pymail.keys import Key


def texts(found: Iterable[Key]) -> list[str]:
    return [key.text for key in found]


def test_an_address_is_looked_for_as_in_postfix() -> None:
    ours = texts(keys.address_keys("me+x@box", "+", ours=True))
    assert ours == ["me+x@box", "me@box", "me+x", "me", "@box"]
    others = texts(keys.address_keys("me+x@box", "+", ours=False))
    assert others == ["me+x@box", "me@box", "@box"]
    assert texts(keys.address_keys("me+x@box", "", ours=True)) == ["me+x@box", "me+x", "@box"]


def test_a_sender_is_looked_for_by_address_and_domain() -> None:
    assert texts(keys.sender_keys("me@box", "+")) == ["me@box", "@box"]
    assert texts(keys.sender_keys("", "+")) == ["<>"]


def test_a_recipient_is_looked_for_by_address_domain_and_parents() -> None:
    assert texts(keys.transport_keys("me+x@a.example.org", "+")) == [
        "me+x@a.example.org",
        "me@a.example.org",
        "a.example.org",
        ".example.org",
        ".org",
        "*",
    ]


def test_only_the_whole_address_is_for_patterns() -> None:
    for found in (
        keys.transport_keys("me+x@a.example.org", "+"),
        keys.address_keys("me+x@a.example.org", "+", ours=True),
    ):
        assert [key.text for key in found if not key.part] == ["me+x@a.example.org"]


def test_a_name_with_blanks_is_looked_for_in_quotes_first() -> None:
    assert texts(keys.address_keys("john doe@box", "+", ours=True)) == [
        *('"john doe"@box', "john doe@box", '"john doe"', "john doe", "@box")
    ]
