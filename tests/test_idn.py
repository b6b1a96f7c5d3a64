"""Domain names in other letters, as UTS 46 has them without transitional processing."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymail.idn import to_ascii


@pytest.mark.parametrize(
    ("domain", "coded"),
    [
        ("faß.de", "xn--fa-hia.de"),
        ("FAẞ.de", "xn--fa-hia.de"),
        ("Königsgäßchen.de", "xn--knigsgchen-b4a3dun.de"),
        ("straße\u3002ＤＥ", "xn--strae-oqa.de"),
        ("ﬁß.de", "xn--fi-hia.de"),
        ("e\u0301ß.de", "xn--zcat.de"),
        ("βόλος.com", "xn--nxasmm1c.com"),
        ("ΒΌΛΟΣ.com", "xn--nxasmq6b.com"),
        ("نامه\u200cای.com", "xn--mgba3gch31f060k.com"),
        ("ශ්\u200dරී.com", "xn--10cl1a0b660p.com"),
        ("Пример.РФ", "xn--e1afmkfd.xn--p1ai"),
        ("Example.ORG.", "Example.ORG."),
    ],
)
def test_a_letter_of_its_own_is_no_other_in_disguise(domain: str, coded: str) -> None:
    assert to_ascii(domain) == coded


@pytest.mark.parametrize(
    "domain",
    ["a..b", "a..ß", "ß" * 60 + ".de", "я" * 60 + ".de", "a" * 64, "aßא.de", "ß\ue000", "ß\udcff"],
)
def test_what_is_no_domain_has_no_form(domain: str) -> None:
    assert to_ascii(domain) == ""


@pytest.mark.parametrize("letter", ["＞", "\u3000", "＠", "；", "\0", "\r"])
def test_no_letter_becomes_one_that_ends_an_address(letter: str) -> None:
    for name in ("я", "ß", "a"):
        if not (name + letter).isascii():
            assert to_ascii(f"{name}{letter}.org") == ""


@given(st.text(st.characters(exclude_characters="ßẞς\u200c\u200d"), max_size=20))
def test_all_other_names_are_coded_as_python_does(domain: str) -> None:
    try:
        coded = domain.encode("idna").decode()
    except UnicodeError:
        coded = ""
    if domain.isascii() or re.fullmatch(r"[\w.-]*", coded, re.ASCII):
        assert to_ascii(domain) == coded
