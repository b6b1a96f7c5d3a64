"""Canonical, masquerade and generic rewriting, as in Postfix."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymail import address, message
from pymail import config as configuration
from pymail.maps import Map
from pymail.message import ADDRESSES_LIMIT, Field
from pymail.rewrite import Rewriting

BASE = 'myhostname = "laptop.home.example"\nmyorigin = "laptop"\nrecipient_delimiter = "+"\n'


def rewriting(place: Path, text: str) -> Rewriting:
    file = place / "config.toml"
    file.write_text(BASE + text)
    loaded = configuration.load(
        str(file), hostname="laptop.home.example", mailname="", aliases="/etc/aliases"
    )
    maps: dict[str, Map] = {}

    def lookup(setting, keys):
        return maps.setdefault(setting, Map(getattr(loaded, setting))).first(keys)

    return Rewriting(loaded, lookup)


def fields(text: bytes) -> list[Field]:
    return message.split(text)[0]


@pytest.mark.parametrize(
    ("table", "before", "after"),
    [
        ("'root@laptop' = 'me@isp.example'", "root@laptop", "me@isp.example"),
        ("'ROOT@Laptop' = 'me@isp.example'", "root@laptop", "me@isp.example"),
        ("'root' = 'me@isp.example'", "root@laptop", "me@isp.example"),
        ("'root' = 'me@isp.example'", "root@elsewhere.example", "root@elsewhere.example"),
        ("'@laptop' = 'me@isp.example'", "bob+x@laptop", "me@isp.example"),
        ("'@laptop' = '@isp.example'", "bob+x@laptop", "bob+x@isp.example"),
        ("'bob@laptop' = 'me@isp.example'", "bob+x@laptop", "me@isp.example"),
        ("'bob@laptop' = '@isp.example'", "bob+x@laptop", "bob@isp.example"),
        ("'bob@laptop' = 'b'", "bob@laptop", "b@laptop"),
        ("'bob@laptop' = '\"b c\"@isp.example'", "bob@laptop", "b c@isp.example"),
        ("'bob@laptop' = 'b@isp.example, c@isp.example'", "bob@laptop", "b@isp.example"),
        ("'bob@laptop' = '@@'", "bob@laptop", "bob@laptop"),
        ("'bob@laptop' = 'a@b@c'", "bob@laptop", "bob@laptop"),
        ("'\"b c\"@laptop' = 'me@isp.example'", "b c@laptop", "me@isp.example"),
        ("'a@laptop' = 'b@laptop'\n'b@laptop' = 'c@laptop'", "a@laptop", "b@laptop"),
        ("'bob@laptop' = 'b'", "", ""),
    ],
)
def test_generic_maps_name_an_address_that_the_world_knows(tmp_path, table, before, after) -> None:
    rules = rewriting(tmp_path, f"[smtp_generic_maps]\n{table}\n")
    assert rules.outgoing(before) == after
    assert rules.sender(before) == before


def test_canonical_senders_keep_their_extension_and_change_for_everybody(tmp_path) -> None:
    rules = rewriting(tmp_path, "[sender_canonical_maps]\n'bob' = 'robert@home.example'\n")
    assert rules.sender("bob+x@laptop") == "robert+x@home.example"
    assert rules.outgoing("bob@laptop") == "bob@laptop"
    header = fields(b"From: bob@laptop\nTo: bob@laptop\n\n")
    assert message.join(rules.header(header)) == b"From: robert@home.example\nTo: bob@laptop\n"


def test_canonical_senders_are_looked_up_again_until_nothing_changes(tmp_path) -> None:
    rules = rewriting(
        tmp_path,
        "[sender_canonical_maps]\n'a' = 'b'\n'b@laptop' = 'c@d.example'\n"
        "'@d.example' = '@e.example'\n'round' = 'about'\n'about' = 'round'\n",
    )
    assert rules.sender("a@laptop") == "c@e.example"
    assert rules.sender("round@laptop") in ("round@laptop", "about@laptop")


def test_patterns_rewrite_whole_addresses(tmp_path) -> None:
    file = tmp_path / "generic"
    file.write_text("/^(.*)@laptop$/ $1.laptop@isp.example\n")
    rules = rewriting(tmp_path, f"smtp_generic_maps = 'regexp:{file}'\n")
    assert rules.outgoing("bob+x@laptop") == "bob+x.laptop@isp.example"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("joe@host.home.example", "joe@home.example"),
        ("joe@home.example", "joe@home.example"),
        ("joe@Home.Example", "joe@Home.Example"),
        ("joe@a.keep.home.example", "joe@a.keep.home.example"),
        ("Root@host.home.example", "Root@host.home.example"),
        ("joe@nothome.example", "joe@nothome.example"),
    ],
)
def test_masquerading_cuts_subdomains_off(tmp_path, before, after) -> None:
    rules = rewriting(
        tmp_path,
        'masquerade_domains = ["!keep.home.example", "home.example"]\n'
        'masquerade_exceptions = ["root"]\n',
    )
    assert rules.sender(before) == after
    header = fields(f"To: x <{before}>\n\n".encode())
    assert message.join(rules.header(header)) == f"To: x <{after}>\n".encode()


def test_only_fields_with_addresses_change_and_folds_stay_where_nothing_does(tmp_path) -> None:
    rules = rewriting(tmp_path, "[smtp_generic_maps]\n'@laptop' = 'me@isp.example'\n")
    header = fields(
        b"Subject: root@laptop\nFrom: root (Cron Daemon) <root@laptop>\n"
        b"To: joe@x.example,\n ann@y.example\nX-From: root@laptop\n\n"
    )
    assert message.join(rules.outgoing_header(header)) == (
        b"Subject: root@laptop\nFrom: root (Cron Daemon) <me@isp.example>\n"
        b"To: joe@x.example,\n ann@y.example\nX-From: root@laptop\n"
    )


@given(data=st.binary(max_size=200))
def test_no_header_grows_a_line_by_being_rewritten(tmp_path_factory, data: bytes) -> None:
    rules = anything(tmp_path_factory.mktemp("etc"))
    value = data.replace(b"\n", b" ").replace(b"\r", b" ")
    for out in (*rules.header([Field(b"from", b"From:" + value)]),
                *rules.outgoing_header([Field(b"to", b"To:" + value)])):  # fmt: skip
        assert b"\n" not in out.raw
        assert out.raw.startswith((b"From:", b"To:"))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("Subject", "X-From", "Received", "From", "To", "Resent-Cc")),
            st.text('abc@<>(),:;"\\ .é', max_size=40),
        ),
        max_size=6,
    )
)
def test_other_fields_and_their_order_stay_as_they_are(tmp_path_factory, header) -> None:
    rules = anything(tmp_path_factory.mktemp("etc"))
    text = "".join(f"{name}: {value}\n" for name, value in header).encode()
    before = fields(text + b"\n")
    after = rules.outgoing_header(rules.header(before))
    assert [field.name for field in after] == [field.name for field in before]
    for old, new in zip(before, after, strict=True):
        if old.name in (b"subject", b"x-from", b"received"):
            assert new.raw == old.raw


@given(
    local=st.text(min_size=1, max_size=20).filter(str.isprintable),
    name=st.text('abc ,@<>"(é', max_size=10),
)
def test_an_address_in_a_header_is_rewritten_as_in_the_envelope(
    tmp_path_factory, local: str, name: str
) -> None:
    rules = anything(tmp_path_factory.mktemp("etc"))
    inside = f"{local}@laptop"
    value = f"From: {address.phrase(name)} <{address.quote(inside)}>".encode()
    (out,) = rules.outgoing_header([Field(b"from", value)])
    (found,) = address.mailboxes(out.value.decode())
    assert found == (rules.outgoing(inside), True)


def test_what_comes_after_very_many_addresses_stays_as_it_is(tmp_path: Path) -> None:
    fields = [Field(b"to", b"To: " + b"a@b, " * (ADDRESSES_LIMIT // 5)), Field(b"cc", b"Cc: a@b")]
    raws = [field.raw for field in anything(tmp_path).header(fields)]
    assert raws == [field.raw for field in fields]


def anything(place: Path) -> Rewriting:
    return rewriting(
        place,
        "masquerade_domains = ['b', 'c']\n"
        "[smtp_generic_maps]\n'@laptop' = '@isp.example'\n'a' = 'A b@isp.example'\n"
        "'b@c' = '\"x y\"@isp.example'\n[sender_canonical_maps]\n'a@b' = 'c'\n",
    )
