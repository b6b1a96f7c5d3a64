"""Look-up tables: what Postfix's own postmap finds in a file, a Map finds."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import needs, needs_root
from hypothesis import given
from hypothesis import strategies as st

from pymail import patterns
from pymail.errors import ConfigError
from pymail.keys import Found, Key
from pymail.maps import Map
from pymail.patterns import PatternError
from pymail.settings import Table

TEXT = """\
# a comment
Key@Example.org   one  two \t
key2\tv2

# a comment in the middle
   goes on
   # a comment that is no continuation
  still
key2 second
"a b"@x.org quoted
"a \\" b"@x.org quote in quotes
b\\ c@x escaped
unbalanced" is passed over
nothing
alias: like an alias
   \t
@example.net @example.org
carriage return\r
Ünicode@example.org ünicode
last without line end"""

KEYS = [
    *("key@example.org", "KEY@EXAMPLE.ORG", "key2", '"a b"@x.org', '"a \\" b"@x.org', "b\\ c@x"),
    *('unbalanced"', "unbalanced", "nothing", "alias:", "alias", "@example.net", "carriage"),
    *("ünicode@example.org", "last", "goes", "#", "absent"),
]

REGEXP = """\
# first come those that only one key has
/^root@(.*)$/  me@$1
/^a(b)?c$/ x${1}y$(1)z$$
/^case$/i exactly
|^pipe|  the delimiter is free
/q\\/z/ a slash
   goes on
/^x[[:digit:]]+[]y]$/ a class
/^w\\w\\W$/ escapes
if /^foo/
/^foobar$/ bar
if !/baz/
/(.)$/ ends in $1
endif
/./ baz
endif
!/example|odd/ no example
! /odd/ not odd
/tab/\ta tab
/\\[odd/ open
/^odd[\\]$/ a backslash in brackets is itself
/odd$/ first
/odd$/ never
"""

LOOKED_UP = [
    *("root@x.org", "ROOT@X.ORG", "ac", "abc", "ABC", "case", "CASE", "pipe", "q/z", "x12y"),
    *("x12]", "xy", "wa-", "w--", "foobar", "foox", "foobaz", "FOO", "any", "an example"),
    *("an odd tab", "[odd", "odd\\", "odd"),
]


@pytest.fixture
def postmap(tmp_path) -> Callable[[str, Path, str], str | None]:
    """Ask Postfix what stands behind a key in a file of that kind."""
    needs("postmap")
    (tmp_path / "main.cf").write_text("compatibility_level = 3.6\nmyhostname = box.example\n")

    def query(kind: str, file: Path, key: str) -> str | None:
        argv = ["postmap", "-c", str(tmp_path), "-q", key, f"{kind}:{file}"]
        done = subprocess.run(argv, capture_output=True, check=False)
        return done.stdout.decode().removesuffix("\n") if done.returncode == 0 else None

    return query


def get(table: Map, key: str) -> str | None:
    found = table.first([Key(key)])
    return None if found is None else found.value


def file_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "map"
    path.write_bytes(text.encode())
    return path


def test_a_text_file_means_what_it_means_to_postmap(tmp_path, postmap) -> None:
    file = file_of(tmp_path, TEXT)
    table = Map(Table(files=(str(file),)))
    found = {key: get(table, key) for key in KEYS}
    assert found == {key: postmap("texthash", file, key) for key in KEYS}
    assert sum(value is not None for value in found.values()) == 11


@pytest.mark.parametrize("kind", ["regexp", "pcre"])
def test_a_file_of_patterns_means_what_it_means_to_postmap(kind, tmp_path, postmap) -> None:
    text = REGEXP if kind == "regexp" else REGEXP.replace("[\\]", "[\\\\]")
    file = file_of(tmp_path, text)
    if kind == "pcre" and postmap(kind, file, "case") is None:
        pytest.skip("this Postfix has no pcre maps")
    table = Map(Table(files=(f"{kind}:{file}",)))
    found = {key: get(table, key) for key in LOOKED_UP}
    assert found == {key: postmap(kind, file, key) for key in LOOKED_UP}


def test_a_find_says_the_line(tmp_path) -> None:
    text = file_of(tmp_path, TEXT)
    table = Map(Table(files=(str(text),)), "config.toml, line 3")
    assert table.first([Key("KEY2")]) == Found("KEY2", "v2   goes on  still", f"{text}, line 3")
    text.write_text("# x\n\n/(a)/\n b$1\n")
    table = Map(Table(files=(f"regexp:{text}",)))
    assert table.first([Key("xax")]) == Found("xax", "ba", f"{text}, line 3")


def test_rows_come_first_then_the_files_in_order(tmp_path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("a 1\nb 1\n")
    two.write_text("a 2\nb 2\nc 2\n")
    table = Map(Table((("A", "row"), ("a", "late")), (str(one), str(two))), "there")
    assert [get(table, key) for key in "abcd"] == ["row", "1", "2", None]
    assert table.first([Key("none"), Key("a"), Key("c")]) == Found("a", "row", "there")


def test_patterns_are_for_the_whole_key(tmp_path) -> None:
    file = file_of(tmp_path, "/example/ found\n")
    table = Map(Table(files=(f"regexp:{file}",)))
    assert table.first([Key("example.org")]) is not None
    assert table.first([Key("example.org", part=True)]) is None


def test_a_long_key_matches_no_pattern(tmp_path) -> None:
    file = file_of(tmp_path, "/./ found\n!/x/ found\n")
    table = Map(Table(files=(f"regexp:{file}",)))
    assert get(table, "a" * patterns.MOST) == "found"
    assert get(table, "a" * (patterns.MOST + 1)) is None


def test_no_foreign_letter_passes_for_one_of_ours(tmp_path) -> None:
    file = file_of(tmp_path, "/^kiss$/ found\n")
    table = Map(Table(files=(f"pcre:{file}",)))
    assert get(table, "KISS") == "found"
    assert get(table, "\u212ai\u017fs") is None


def test_lines_that_mean_nothing_are_told(tmp_path) -> None:
    file = file_of(tmp_path, '  lost\na 1\nb\na 2\nc" x\n')
    assert Map(Table(files=(str(file),))).mistakes == [
        f"{file}, line 1: starts with a blank, and nothing is before it that could go on",
        f"{file}, line 3: has a key and nothing behind it",
        f"{file}, line 4: a is there already",
        f"{file}, line 5: has a quote that is not closed",
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("word x", "no pattern between two / is here"),
        ("!", "no pattern between two / is here"),
        ("/open x", "no / ends the pattern"),
        ("/a(/ x", "bad pattern: "),
        ("/a/q x", "flag q is not known here"),
        ("/a/x x", "flag x is not known here"),
        ("/[[:foo:]]/ x", "bad pattern: no class [:foo:]"),
        ("/a/ $1", "$1 in the result: the pattern has 0 groups"),
        ("!/(a)/ $1", "$1 in the result: the pattern has 0 groups"),
        ("/(a)/ $0", "$0 in the result: the pattern has 1 groups"),
        ("/(a)/ $x", "$x in the result is no group: a $ itself is $$"),
        ("/(a)/ a $", "$ in the result is no group: a $ itself is $$"),
        ("if /a/", "if without endif"),
        ("endif", "endif without if"),
        ("if", "no pattern between two / is here"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_with_its_line(line, words, tmp_path) -> None:
    file = file_of(tmp_path, f"# x\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        Map(Table(files=(f"regexp:{file}",)))
    assert str(caught.value).startswith(f"cannot use {file}, line 2: {words}")


def test_the_flags_of_pcre_are_known(tmp_path) -> None:
    file = file_of(tmp_path, "/b/A anchored\n/c # c/x extended\n/D/i exactly\n/e\\z/msEX end\n")
    table = Map(Table(files=(f"pcre:{file}",)))
    assert [get(table, key) for key in ("b", "ab", "xC", "d", "xe", "ex")] == [
        *("anchored", None, "extended", None, "end", None)
    ]


def test_a_file_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(ConfigError, match=f"cannot read {tmp_path}/none: No such file"):
        Map(Table(files=(f"{tmp_path}/none",)))
    with pytest.raises(ConfigError, match=f"cannot (use|read) {tmp_path}"):
        Map(Table(files=(str(tmp_path),)))


def test_a_file_that_others_can_write_to_is_not_obeyed_by_root(tmp_path) -> None:
    needs_root()
    file = file_of(tmp_path, "a b\n")
    file.chmod(0o646)
    for name in (str(file), f"regexp:{file}"):
        with pytest.raises(ConfigError, match=f"cannot use {file}: anybody can write to it"):
            Map(Table(files=(name,)))
    file.chmod(0o644)
    os.chown(file, 1001, 1001)
    with pytest.raises(ConfigError, match=f"cannot use {file}: its owner is uid 1001"):
        Map(Table(files=(str(file),)))


def test_a_path_may_have_a_colon(tmp_path) -> None:
    (tmp_path / "a:b").write_text("a b\n")
    assert get(Map(Table(files=(f"{tmp_path}/a:b",))), "a") == "b"


def test_a_hundred_thousand_lines_are_read_in_a_moment(tmp_path) -> None:
    lines = (f"user{n}@example.org\tother{n}@example.net\n" for n in range(100_000))
    file = file_of(tmp_path, "".join(lines))
    started = time.process_time()
    table = Map(Table(files=(str(file),)))
    file.unlink()
    assert get(table, "USER99999@example.org") == "other99999@example.net"
    assert time.process_time() - started < 5


@given(st.text(alphabet='ab"\\ \t\n\r#@:é\0', max_size=60))
def test_any_text_is_a_table(tmp_path_factory, text) -> None:
    file = tmp_path_factory.getbasetemp() / "any"
    file.write_bytes(text.encode())
    file.chmod(0o600)
    table = Map(Table(files=(str(file),)))
    for line in text.splitlines():
        found = table.first([Key(line.partition(" ")[0])])
        assert found is None or (found.value.strip() and "\n" not in found.value)


@given(st.text(alphabet="ab/!$1{}()[]:^*+?|\\ if", max_size=30), st.text(max_size=20))
def test_any_pattern_is_used_or_refused(text, key) -> None:
    for kind in ("regexp", "pcre"):
        try:
            rules = patterns.parse([(1, text)], kind)
        except PatternError:
            continue
        patterns.find(rules, key)
