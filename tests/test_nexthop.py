"""Next hops as Postfix writes them."""

import pytest

from pymail import nexthop
from pymail.nexthop import NextHop


@pytest.mark.parametrize(
    ("text", "hop"),
    [
        ("example.org", NextHop("example.org", 25, mx=True)),
        ("Example.ORG.:587", NextHop("example.org", 587, mx=True)),
        ("[mail.example.org]", NextHop("mail.example.org", 25, mx=False)),
        ("[mail.example.org]:submission", NextHop("mail.example.org", 587, mx=False)),
        ("[mail.example.org]:smtps", NextHop("mail.example.org", 465, mx=False)),
        ("ΒΌΛΟΣ.com", NextHop("βόλοσ.com", 25, mx=True)),
        ("[192.0.2.1]:26", NextHop("192.0.2.1", 26, mx=False)),
        ("[2001:db8::1]", NextHop("2001:db8::1", 25, mx=False)),
        ("[IPv6:2001:db8::1]:465", NextHop("2001:db8::1", 465, mx=False)),
    ],
)
def test_every_form_of_postfix_is_understood(text: str, hop: NextHop) -> None:
    assert nexthop.parse(text) == hop


@pytest.mark.parametrize(
    "text", ["", "[", "[]", "[a]b", "[a", "a:0", "a:65536", "a:x", "a b", ":25", "a/b"]
)
def test_what_is_no_next_hop_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no next hop"):
        nexthop.parse(text)


def test_a_list_keeps_its_order() -> None:
    hops = nexthop.parse_all("[a]:587, b c:26")
    assert [hop.shown for hop in hops] == ["[a]:587", "b", "c:26"]


def test_an_address_is_told_from_a_name() -> None:
    assert nexthop.parse("[::1]").literal
    assert not nexthop.parse("[localhost]").literal
