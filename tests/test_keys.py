"""The keys under which an address is looked for."""

from pymail import keys


def test_an_address_is_looked_for_as_in_postfix() -> None:
    assert list(keys.address_keys("me+x@box", "+")) == [
        "me+x@box",
        "me@box",
        "me+x",
        "me",
        "@box",
    ]
    assert list(keys.sender_keys("me@box", "+")) == ["me@box", "@box"]
    assert list(keys.transport_keys("me+x@a.example.org", "+")) == [
        "me+x@a.example.org",
        "me@a.example.org",
        "a.example.org",
        ".example.org",
        ".org",
        "*",
    ]
