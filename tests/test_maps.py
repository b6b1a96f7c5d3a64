"""Lookup tables: rows, Postfix's text files, patterns."""

from pathlib import Path

import pytest

from pymail import keys
from pymail.errors import ConfigError
from pymail.maps import Map
from pymail.settings import Table


def test_rows_come_before_files_and_case_does_not_count(tmp_path: Path) -> None:
    file = tmp_path / "transport"
    file.write_text("# a comment\nExample.ORG smtp:[a]\n\nexample.net\tsmtp:[b]\n   :26\n")
    table = Map(Table((("EXAMPLE.org", "smtp:[row]"),), (str(file),)))
    assert table.get("example.ORG") == "smtp:[row]"
    assert table.get("example.net") == "smtp:[b] :26"
    assert table.get("example.com") is None


def test_the_first_of_two_lines_with_one_key_counts(tmp_path: Path) -> None:
    file = tmp_path / "map"
    file.write_text("a 1\na 2\n")
    assert Map(Table((), (str(file),))).get("A") == "1"


def test_patterns_are_tried_in_order_and_fill_their_values(tmp_path: Path) -> None:
    file = tmp_path / "generic"
    file.write_text("/^(.*)@laptop$/ $1.${1}.$(1)@isp.example $$\n/^BIG@/i exact\n!/@/ bare\n")
    table = Map(Table((), (f"regexp:{file}",)))
    assert table.get("me@LAPTOP") == "me.me.me@isp.example $"
    assert table.get("big@x") is None
    assert table.get("word") == "bare"


@pytest.mark.parametrize(
    ("text", "words"),
    [("alone\n", "line 1: a key without a value"), ("x 1\n y\nlonely\n", "line 3: a key without")],
)
def test_a_line_that_says_nothing_is_a_mistake(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "map"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        Map(Table((), (str(file),))).get("a")


def test_a_pattern_that_is_none_is_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "map"
    for text in ("/(/ x\n", "pattern x\n"):
        file.write_text(text)
        with pytest.raises(ConfigError, match=r"map, line 1"):
            Map(Table((), (f"pcre:{file}",))).get("a")


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="cannot read /nonexistent/map: No such file"):
        Map(Table((), ("/nonexistent/map",))).get("a")


def test_a_hundred_thousand_lines_are_read_once(tmp_path: Path) -> None:
    file = tmp_path / "map"
    file.write_text("".join(f"user{n}@example.org {n}@example.net\n" for n in range(100_000)))
    table = Map(Table((), (str(file),)))
    assert table.first(keys.sender_keys("user99999@example.org", "")) == (
        "user99999@example.org",
        "99999@example.net",
    )
    file.unlink()
    assert table.get("user1@example.org") == "1@example.net"
