"""~/.mailrc: what is obeyed, what is passed over."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymail import mailrc
from pymail.mailrc import Mailrc


def obeyed(text: str, *, terminal: bool = False) -> Mailrc:
    found = Mailrc(home="/home/me", terminal=terminal)
    found.obey(text)
    return found


def test_variables_are_set_and_unset() -> None:
    found = obeyed(
        "set ask dot=\n"
        'set from="Me <me@x>" x=a\\ b y=\'a "b" \\\\\' sign="a\\nb\\tc\\"d"\n'
        "set gone1 gone2 gone3\nunset gone1 nothing\nset nogone2\nunse gone3\nset\nset =x\n"
    )
    assert found.variables == {
        "ask": "",
        "dot": "",
        "from": "Me <me@x>",
        "x": "a b",
        "y": 'a "b" \\\\',
        "sign": 'a\nb\tc"d',
    }


def test_aliases_are_collected_and_taken_away() -> None:
    found = obeyed(
        'alias team alice "Y Z <y@x>"\ngroup team bob\na al ice\ng g1 x\nalias\n'
        "alias old x\nunalias old nothing\nalias long one \\\n  two\n"
    )
    assert found.aliases == {
        "team": ["alice", "Y Z <y@x>", "bob"],
        "al": ["ice"],
        "g1": ["x"],
        "long": ["one", "two"],
    }


def test_what_is_not_known_is_passed_over() -> None:
    found = obeyed(
        "# set a\nset b # set c\n  ignore Received\nretain date\ncolour x\naccount y {\n}\n"
        "s file\nunterminated 'quote\n\\\nset d=#e\n"
    )
    assert found.variables == {"b": "", "d": "#e"}
    assert found.aliases == {}


@pytest.mark.parametrize(
    ("condition", "terminal", "first", "second"),
    [
        ("s", False, True, False),
        ("send", False, True, False),
        ("r", False, False, True),
        ("receive", False, False, True),
        ("t", True, True, False),
        ("terminal", False, False, True),
    ],
)
def test_conditions(condition: str, *, terminal: bool, first: bool, second: bool) -> None:
    text = f"if {condition}\nset a\nif r\nset never\nendif\nelse\nset b\nendif\nset c\n"
    wanted = {"c"} | ({"a"} if first else set()) | ({"b"} if second else set())
    assert obeyed(text, terminal=terminal).variables.keys() == wanted


def test_a_condition_that_is_not_known_has_no_branch() -> None:
    found = obeyed("if $x == y\nset a\nelse\nset b\nendif\nelse\nendif\nset c\n")
    assert found.variables.keys() == {"c"}


def test_paths_may_begin_with_the_home_and_the_folder() -> None:
    found = obeyed("set folder=mail\n")
    paths = {p: found.expand(p) for p in ("~", "~/x", "~bob/x", "+x", "+", "/x", "x")}
    assert paths == {
        "~": "/home/me",
        "~/x": "/home/me/x",
        "~bob/x": "~bob/x",
        "+x": "/home/me/mail/x",
        "+": "+",
        "/x": "/x",
        "x": "x",
    }
    assert found.path("DEAD", {"DEAD": "~/d"}, "~/dead.letter") == "/home/me/d"
    assert found.path("DEAD", {}, "~/dead.letter") == "/home/me/dead.letter"


def test_files_source_one_another_and_come_to_an_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("set a\nsource ~/b\nsource ~/missing\nset after\n")
    (tmp_path / "b").write_text("set b\nsource ~/a\nalias x y\n")
    found = Mailrc(home=str(tmp_path))
    found.read(str(tmp_path / "a"))
    assert found.variables.keys() == {"a", "b", "after"}


def test_a_file_is_read_in_the_character_set_it_is_in(tmp_path: Path) -> None:
    for name in ("utf-8", "koi8-r"):
        (tmp_path / ".mailrc").write_bytes('set from="Я <i@x>"\n'.encode(name))
        found = Mailrc(home=str(tmp_path), local="koi8-r")
        assert mailrc.start(found, {}, system=False) == ""
        assert found.variables == {"from": "Я <i@x>"}


def test_a_file_that_is_not_there_is_nothing_to_speak_of(tmp_path: Path) -> None:
    found = Mailrc(home=str(tmp_path))
    assert mailrc.start(found, {}, system=False) == ""
    assert mailrc.start(found, {"MAILRC": "/dev/null/x"}, system=False) == ""
    assert mailrc.start(found, {"MAILRC": str(tmp_path)}, system=False).startswith("cannot read")


@given(st.text())
def test_any_text_is_obeyed_or_passed_over(text: str) -> None:
    obeyed(text)
    obeyed(f"if s\nset a\\\n{text}\nalias {text}\nset {text}")
