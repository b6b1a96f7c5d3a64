"""Which messages a person means, and which command."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymail import mailverbs, messagelist
from pymail.errors import DataError
from pymail.messagelist import Known

BOX = [
    Known("alice@x.org", "Disk full", new=True),
    Known("bob@y.org", "Отчёт", read=True),
    Known("Alice@z.org", "re: disk", flagged=True),
    Known("eve@x.org", "spam", deleted=True),
    Known("bob@y.org", "last", read=True, replied=True),
]


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("", [2]),
        (".", [2]),
        ("3", [3]),
        ("1-3", [1, 2, 3]),
        ("2-$", [2, 3, 5]),
        ("^-.", [1, 2]),
        ("*", [1, 2, 3, 5]),
        ("^", [1]),
        ("$", [5]),
        ("+", [3]),
        ("-", [1]),
        ("alice", [1, 3]),
        ("ALICE@X.ORG", [1]),
        ("/disk", [1, 3]),
        ("/отч", [2]),
        (":n", [1]),
        (":o", [2, 3, 5]),
        (":r", [2, 5]),
        (":u", [1, 3]),
        (":f", [3]),
        (":a", [5]),
        (":d", [4]),
        ("1 bob", [1, 2, 5]),
        ("bob :a", [5]),
        (":n :f", [1, 3]),
    ],
)
def test_a_list_means_these_messages(words: str, meant: list[int]) -> None:
    assert messagelist.select(words.split(), BOX, 2) == meant


@pytest.mark.parametrize(
    "words", ["0", "6", "9999999999999", "4", "nobody", "/nothing", ":q", "5-9", "3-2", "1 :f"]
)
def test_a_list_that_means_nothing_is_an_error(words: str) -> None:
    with pytest.raises(DataError):
        messagelist.select(words.split(), BOX, 2)


def test_only_what_is_deleted_can_be_taken_back() -> None:
    assert messagelist.select(["*"], BOX, 4, deleted=True) == [4]
    assert messagelist.select([], BOX, 4, deleted=True) == [4]
    with pytest.raises(DataError):
        messagelist.select(["2"], BOX, 2, deleted=True)


def test_there_is_nothing_before_the_first_and_behind_the_last() -> None:
    for words, at in (("-", 1), ("+", 5), (".", 0)):
        with pytest.raises(DataError):
            messagelist.select([words], BOX, at)
    assert messagelist.following(BOX, 3, 1) == 5
    assert messagelist.following(BOX, 5, 1) == 0


@given(st.lists(st.text(max_size=12), max_size=4), st.integers(0, 5))
def test_any_words_mean_messages_or_are_an_error(words: list[str], current: int) -> None:
    try:
        found = messagelist.select(words, BOX, current)
    except DataError:
        return
    assert found
    assert found == sorted(set(found))
    assert all(1 <= at <= 5 for at in found)


@pytest.mark.parametrize(
    ("line", "verb", "rest"),
    [
        ("", "next", ""),
        ("5", "next", "5"),
        ("/word", "next", "/word"),
        ("p1-3", "print", "1-3"),
        ("d *", "delete", "*"),
        ("di x", "discard", "x"),
        ("i r", "if", "r"),
        ("de", "delete", ""),
        ("f", "from", ""),
        ("F", "Followup", ""),
        ("fo", "followup", ""),
        ("folders", "folders", ""),
        ("R2", "Reply", "2"),
        ("r", "reply", ""),
        ("T", "Type", ""),
        ("x", "xit", ""),
        ("ex", "exit", ""),
        ("e", "edit", ""),
        ("u", "undelete", ""),
        ("uns a", "unset", "a"),
        ("se a=1", "set", "a=1"),
        ("z", "z", ""),
        ("z-", "z", "-"),
        ("z+", "z", "+"),
        ("+", "+", ""),
        ("-2", "-", "2"),
        ("=", "=", ""),
        ("! ls", "shell", "ls"),
        ("| wc", "pipe", "wc"),
        ("?", "help", ""),
        ("# x", "#", "x"),
        ("nonsense", "", ""),
    ],
)
def test_a_line_is_this_command(line: str, verb: str, rest: str) -> None:
    command = mailverbs.command(line)
    assert command.verb == verb
    assert not verb or command.rest == rest


@pytest.mark.parametrize(
    ("text", "words", "file"),
    [
        ("", [], ""),
        ("3", ["3"], ""),
        (":n", [":n"], ""),
        ("box", [], "box"),
        ("1-2 box", ["1-2"], "box"),
        ("1 'a b'", ["1"], "a b"),
        (r"* a\ b", ["*"], "a b"),
    ],
)
def test_the_last_word_is_a_file_unless_it_can_only_be_a_list(text, words, file) -> None:
    assert mailverbs.last(text) == (words, file)


@pytest.mark.parametrize(
    ("text", "words", "command"),
    [
        ("wc -l", [], "wc -l"),
        ("1-2 wc -l", ["1-2"], "wc -l"),
        ("* 'sort | uniq'", ["*"], "sort | uniq"),
        ("/bin/cat", [], "/bin/cat"),
        ("'a' 'b'", [], "'a' 'b'"),
        ("", [], ""),
    ],
)
def test_what_is_piped_is_a_list_and_a_command(text, words, command) -> None:
    assert mailverbs.piped(text) == (words, command)


@given(st.text(max_size=60))
def test_any_line_can_be_taken_apart(line: str) -> None:
    mailverbs.command(line)
    mailverbs.last(line)
    mailverbs.piped(line)
