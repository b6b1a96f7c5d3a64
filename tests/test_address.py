"""Addresses and address lists: what people write, parsed, quoted, qualified."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pymail.address import (
    fold,
    is_safe,
    mailboxes,
    phrase,
    qualify,
    qualify_header,
    quote,
    rewrite_header,
    specs,
    split,
)
from pymail.recipients import parse

LOCAL = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=["Cc", "Cs"]),
    min_size=1,
    max_size=20,
).filter(lambda text: text.isprintable())
DOMAIN = st.from_regex(r"[a-z0-9]{1,8}(\.[a-z]{1,5}){0,2}", fullmatch=True)
BARE = st.from_regex(r"[a-zA-Z0-9_+-]{1,8}", fullmatch=True)
MESS = st.text(st.sampled_from('ab@.,;:<>()[]"\\ \t\n|/é'), max_size=40)


def only(text: str) -> str:
    ((found, valid),) = mailboxes(text)
    assert valid, text
    return found


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("alice", "alice"),
        ("alice@example.org", "alice@example.org"),
        ("<alice@example.org>", "alice@example.org"),
        ("Alice Liddell <alice@example.org>", "alice@example.org"),
        ('"Liddell, Alice" <alice@example.org>', "alice@example.org"),
        ("alice@example.org (Alice (the) Great)", "alice@example.org"),
        (r"alice@example.org (one \) two)", "alice@example.org"),
        ("alice (an open comment", "alice"),
        ("a . b @ x . org", "a.b@x.org"),
        ('"john doe"@example.org', "john doe@example.org"),
        (r'"a\"b"@example.org', 'a"b@example.org'),
        (r"a\ b@example.org", "a b@example.org"),
        ("user@[192.0.2.1]", "user@[192.0.2.1]"),
        ("<@relay.example,@other.example:user@example.org>", "user@example.org"),
        ("user@example.org.", "user@example.org"),
        ("friends:;, alice", "alice"),
        ("friends: alice;", "alice"),
        ("J. Random Hacker <jrh@example.org>", "jrh@example.org"),
        ("jörg@example.org", "jörg@example.org"),
        ("|/bin/sh", "|/bin/sh"),
        ("/etc/passwd", "/etc/passwd"),
        ('"a\n b"@example.org', "a b@example.org"),
        ("<alice@example.org> trailing words", "alice@example.org"),
    ],
)
def test_one_address_is_understood_however_it_is_dressed(text, meant):
    assert only(text) == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("alice, bob", ["alice", "bob"]),
        ("alice,,bob,", ["alice", "bob"]),
        ("alice bob", ["alice", "bob"]),
        ("alice; bob", ["alice", "bob"]),
        ("alice@x bob@y", ["alice@x", "bob@y"]),
        ("a <a@x>, b@y (b), c", ["a@x", "b@y", "c"]),
        ("friends: a@x, B <b@y>; c@z", ["a@x", "b@y", "c@z"]),
        ("<a@x> <b@y>", ["a@x", "b@y"]),
        ("<a@x, b@y", ["a@x", "b@y"]),
        ("Bob <b@x> carol@x", ["b@x", "carol@x"]),
        ("<b@x> carol@x dave", ["b@x", "carol@x", "dave"]),
        ("Bob <b@x>\n carol@x", ["b@x", "carol@x"]),
        ("Bob <b@x>carol@x", ["b@x", "carol@x"]),
        ("Bob <b@x> (x) carol@x", ["b@x", "carol@x"]),
        ("g: Bob <b@x> carol@x;", ["b@x", "carol@x"]),
        ("Bob <b@x> carol@x, dave@x", ["b@x", "carol@x", "dave@x"]),
        ("Bob <b@x> Carol <carol@x>", ["b@x", "carol@x"]),
        ('Bob <b@x> "at@home"', ["b@x"]),
        ("alice@x <alice@y>", ["alice@y"]),
        ("a@x\n  Cc: b@x\n", ["a@x", "b@x"]),
        ("a@x\n\tBcc: b@x\n Subject: s", ["a@x", "b@x", "s"]),
        ("a c@x b: d@x;", ["a", "c@x", "d@x"]),
        ("a@x:25", ["a@x", "25"]),
        ("a@x:", ["a@x"]),
        ("A <a@x>: b@x", ["a@x", "b@x"]),
        ("A <a@x> Cc: b@x", ["a@x", "b@x"]),
        ("A <a@x> b@x Cc: c@x", ["a@x", "b@x", "c@x"]),
        ('"a@x": b@x;', ["b@x"]),
        ("@relay:a@x", ["a@x"]),
        ("undisclosed-recipients:;", []),
        ("", []),
        (" \t\n", []),
        ("<>", []),
        ("(only a comment)", []),
    ],
)
def test_a_list_is_parted_as_postfix_parts_it(text, meant):
    assert mailboxes(text) == [(each, True) for each in meant]


@pytest.mark.parametrize(
    "text",
    [
        "a@b@c",
        "@example.org",
        "alice@",
        '"never closed',
        "user@[192.0.2.1",
        "[192.0.2.1]",
        'alice@"example.org"',
        r"alice@\(example",
        r"alice@\ example",
        "alice@)",
        '"a@b"',
    ],
)
def test_what_is_no_address_is_returned_but_not_valid(text):
    assert [valid for _, valid in mailboxes(text)] == [False]


def test_the_null_address_is_a_spec_but_no_mailbox():
    assert [(s.local, s.domain, s.valid) for s in specs("<>")] == [("", None, True)]
    assert mailboxes("<>, alice") == [("alice", True)]


def test_an_address_is_parted_at_the_last_at_sign():
    assert split("a@b@example.org") == ("a@b", "example.org")
    assert split("alice") == ("alice", "")
    assert split("") == ("", "")


def test_two_spellings_of_an_address_have_one_folded_form():
    assert fold("Alice@Example.ORG") == fold("alice@example.org")


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Alice Liddell", "Alice Liddell"),
        ("  Alice \n Liddell ", "Alice Liddell"),
        ("Jörg", "Jörg"),
        ("J\udcf6rg\tK", "J\udcf6rg K"),
        ("A\u00a0B\u3000C", "A\u00a0B\u3000C"),
        ("Bob (the) Builder", '"Bob (the) Builder"'),
        ("J. Random Hacker", '"J. Random Hacker"'),
        ('Dave "The Man"', r'"Dave \"The Man\""'),
        ("back\\slash", r'"back\\slash"'),
    ],
)
def test_a_display_name_is_quoted_where_it_must_be(name, written):
    assert phrase(name) == written


@pytest.mark.parametrize("bad", ["\r", "\n", "\0", "\x1b", "\x7f", "\x85", "\x9b"])
def test_control_characters_make_an_address_unsafe(bad):
    assert not is_safe(f"a{bad}b@example.org")


@pytest.mark.parametrize("good", ["alice", "jörg@example.org", "a\u200bb", "raw\udcff@example.org"])
def test_other_characters_do_not(good):
    assert is_safe(good)


def test_only_bare_names_are_qualified():
    assert qualify("alice", "example.net") == "alice@example.net"
    assert qualify("alice@box", "example.net") == "alice@box"
    assert qualify("", "example.net") == ""


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (b" alice", b" alice@o"),
        (b" root (Cron Daemon)", b" root@o (Cron Daemon)"),
        (b' "(Cron Daemon)" <bob>', b' "(Cron Daemon)" <bob@o>'),
        (b" Bob <bob>, carol@x", b" Bob <bob@o>, carol@x"),
        (b" friends: a, b;", b" friends: a@o, b@o;"),
        (b" alice bob", b" alice@o, bob@o"),
        (b" <a> (c)", b" <a@o>(c)"),
        (b" (c), alice", b" (c), alice@o"),
        (b" <@relay:alice>", b" <alice@o>"),
        (b' "alice"', b" alice@o"),
        (b' "a b"', b' "a b"@o'),
        (b" <bob (c)>", b" <bob@o>(c)"),
        (b" a b@x (c) Cc (d): e", b" a@o, b@x (c), Cc (d): e@o"),
        (b" a@x: b", b" a@x, b@o"),
        (b" <a@x>: b", b" <a@x>, b@o"),
    ],
)
def test_bare_names_in_a_header_get_the_origin_and_the_rest_stays(value, written):
    assert qualify_header(value, "o") == written


@pytest.mark.parametrize(
    "value",
    [
        b" alice@example.org",
        b" Alice <alice@example.org>",
        b' "A, B"  <a@x>,\n\tc@y  (d)',
        b" <>",
        b"",
        b" undisclosed-recipients:;",
        b" \xff\xfe <a@x>",
        b' "never closed',
        b" a@b@c",
    ],
)
def test_a_header_where_nothing_is_bare_stays_as_it_was_to_the_byte(value):
    assert qualify_header(value, "o") == value


@given(MESS)
@example("<@")
@example("\\")
@example("<@a,@b")
@example(":<")
def test_no_text_is_too_strange_to_be_parsed(text):
    for found, _ in mailboxes(text):
        assert found
    qualify_header(text.encode(), "example.net")


@given(st.binary(max_size=60))
def test_no_bytes_are_too_strange_to_be_qualified(value):
    qualify_header(value, "example.net")


@given(LOCAL, DOMAIN)
def test_what_is_quoted_means_the_same_when_it_is_read_again(local, domain):
    internal = f"{local}@{domain}"
    assert only(quote(internal)) == internal
    assert only(f"Name <{quote(internal)}>") == internal


@given(LOCAL.filter(lambda text: "@" not in text))
def test_a_bare_name_is_quoted_too(local):
    assert only(quote(local)) == local


@given(st.lists(st.tuples(BARE, st.none() | DOMAIN, st.none() | LOCAL), min_size=1, max_size=4))
def test_qualifying_a_header_qualifies_each_address_and_no_name(parts):
    texts, meant = [], []
    for local, domain, name in parts:
        spec = local if domain is None else f"{local}@{domain}"
        texts.append(spec if name is None else f"{phrase(name)} <{spec}>")
        meant.append((f"{local}@{domain or 'origin.example'}", True))
    value = f" {', '.join(texts)}".encode("utf-8", "surrogateescape")
    written = qualify_header(value, "origin.example")
    assert mailboxes(written.decode("utf-8", "surrogateescape")) == meant
    assert qualify_header(written, "origin.example") == written


PIECES = ["a", "b@c", "@", ".", ",", ";", ":", "<", "(", ")", "[", "]", '"', " ", "\\a", '\\"']


# Words behind "<...>" are part of a header, and not of a list of recipients.
@example(": b@c:")
@example("a[\n ]")
@example("a@[a@]")
@example("a(<] )[")
@example("<()@)\n .<")
@given(st.lists(st.sampled_from([*PIECES, "é", "\n "]), max_size=9).map("".join))
def test_a_qualified_header_has_the_addresses_of_the_old_one(text):
    once = qualify_header(text.encode(), "o.example")
    before = [a for a, ok in mailboxes(text) if ok]
    after = [a for a, ok in mailboxes(once.decode()) if ok]
    assert [qualify(a, "o.example") for a in before] == [qualify(a, "o.example") for a in after]


SEPARATORS = [",", " , ", ";", ":", "; (c)\n ", " Cc: ", "\n  Bcc:", "(x) team (y):", ", A. B.: "]
BLANKS = [" ", "\n ", "\t(c) ", "(c) "]
DRESSES = ["<{}>", "Bob <{}>", '"Doe, J: x" <{}>', "Bob <@relay:{}>", "J. R. (c)\n <{}>(d)"]
BARES = ["{}", "{} (c)", "team: {}", '"x@y": {}']


@given(st.data())
def test_no_address_with_an_at_sign_is_lost_in_a_list(data):
    text, meant, angle = "", [], True
    for at in range(data.draw(st.integers(1, 6))):
        dressed = data.draw(st.booleans())
        # A run before "<" is the display name, whatever is in it.
        glue = SEPARATORS if dressed and not angle else [*SEPARATORS, *BLANKS]
        glue += ["", " and others "] if angle else []
        meant.append(f"u{at}@example.org")
        text += data.draw(st.sampled_from(glue)) if at else ""
        text += data.draw(st.sampled_from(DRESSES if dressed else BARES)).format(meant[-1])
        angle = dressed
    assert set(meant) <= {found for found, valid in mailboxes(text) if valid}
    written = qualify_header(text.encode(), "o.example").decode()
    assert set(meant) <= {found for found, valid in mailboxes(written) if valid}
    assert set(meant) <= {box.address for box in parse(text)}


@given(MESS.map(lambda text: text.replace("\n", "\n\t")))
@example("bob\\\n alice")
@example("\\\n\t,alice")
def test_qualifying_never_ends_the_header(text):
    lines = qualify_header(text.encode(), "o.example").split(b"\n")
    assert all(line[:1] in {b" ", b"\t"} for line in lines[1:])


@given(st.text(max_size=30))
def test_an_unsafe_address_is_one_with_a_control_character(text):
    control = any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text)
    assert is_safe(text) == (not control)


def test_ten_thousand_opened_brackets_are_parsed_in_a_moment():
    for piece in ("<", "(", '"', "[", "\\", "<@", ":", "a ", "a.", '<"(', "(\\)", "@:;", "<>"):
        mailboxes(piece * 10_000)
        qualify_header((piece * 10_000).encode(), "o")


def test_a_comment_is_no_name_of_a_group() -> None:
    assert qualify_header(b" ():a", "o.example") == b' ":a"@o.example ()'


def test_every_address_of_a_header_is_written_anew() -> None:
    def rewrite(text: str) -> str:
        return {"root": "me@isp.example", "bob@box": "bob@isp.example"}.get(text, text)

    value = b' root (Cron Daemon), "B. B." <bob@box>,\n\tgroup: root, joe@x;'
    assert rewrite_header(value, rewrite) == (
        b' me@isp.example (Cron Daemon), "B. B." <bob@isp.example>, group: me@isp.example, joe@x;'
    )
    assert rewrite_header(b" joe@x,\n mary@y", rewrite) == b" joe@x,\n mary@y"


@pytest.mark.parametrize(
    "unit", [":", "a:", "(a)", "<", "@", ".", ",", "a ", "<@a:", "a@b>(c)", "[", '"\\', "a:(c)"]
)
def test_a_hostile_header_is_rewritten_in_a_moment(unit: str) -> None:
    value = (unit * 100_000)[:100_000].encode()
    before = time.process_time()
    rewrite_header(value, str)
    rewrite_header(value + b":" * 50_000, str)
    assert time.process_time() - before < 10
