"""The .forward: whom it names, where it is, and when it is not obeyed."""

import json
import os
import stat

import pytest
from harness import corpus

from pymail import forward
from pymail.forward import LIMIT

REGULAR = stat.S_IFREG


def kinds(text: str) -> list[tuple[str, str]]:
    return [(item.kind, item.value) for item in forward.parse(text, "/home/alice")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bob", [("address", "bob")]),
        ("bob\r\n", [("address", "bob")]),
        ("bob\ncarol, dave\n", [("address", "bob"), ("address", "carol"), ("address", "dave")]),
        ("# only a comment\n\n  # and another\n", []),
        ("", []),
        ("\\alice, bob\n", [("final", "alice"), ("address", "bob")]),
        ('"\\alice"\n', [("final", "alice")]),
        ("~/Maildir3/\n", [("file", "/home/alice/Maildir3/")]),
        ('"~/a b"\n', [("file", "/home/alice/a b")]),
        ("/tmp/box\n", [("file", "/tmp/box")]),
        ("./Maildir2/\n", [("address", "./Maildir2/")]),
        ('"|exit 75"\n', [("command", "exit 75")]),
        ("|cat > /tmp/out\n", [("command", "cat"), ("file", "/tmp/out")]),
        ("Bob <bob>\n|cat\n", [("address", "bob"), ("command", "cat")]),
        (":include:/home/alice/list\n", [("include", "/home/alice/list")]),
        ("bob # trailing\n", [("address", "bob"), ("address", "#"), ("address", "trailing")]),
    ],
)
def test_each_line_names_members(text: str, expected: list[tuple[str, str]]) -> None:
    assert kinds(text) == expected


def test_the_corpus_is_understood_as_postfix_does() -> None:
    marks = {"file": "delivered to file:", "command": "delivered to command:"}
    for case in map(json.loads, (corpus() / "forward.jsonl").read_text().splitlines()):
        (observed,) = case["observed"].values()
        items = forward.parse(case["forward"])
        for item in items:
            if item.kind in marks and "status=bounced" not in observed:
                assert f"{marks[item.kind]} {item.value}" in observed, case["id"]
            elif item.kind in {"address", "final"}:
                assert item.value.partition("@")[0] in observed, case["id"]
        assert bool(items) == (case["id"] != "forward-empty")


VALUES = {"home": "/home/alice", "user": "alice", "recipient_delimiter": "+"}
DEFAULT = ("$home/.forward$recipient_delimiter$extension", "$home/.forward")


def test_the_file_of_the_extension_comes_first() -> None:
    values = {**VALUES, "extension": "list"}
    assert forward.paths(DEFAULT, values) == ["/home/alice/.forward+list", "/home/alice/.forward"]


def test_without_an_extension_its_file_is_not_looked_for() -> None:
    assert forward.paths(DEFAULT, VALUES) == ["/home/alice/.forward"]
    assert forward.paths(DEFAULT, {**VALUES, "extension": ""}) == ["/home/alice/.forward"]


@pytest.mark.parametrize("extension", ["../../bob/x", "a/b", "\0"])
def test_an_extension_does_not_lead_elsewhere(extension: str) -> None:
    assert forward.paths(DEFAULT, {**VALUES, "extension": extension}) == ["/home/alice/.forward"]


def test_a_path_may_be_anywhere_and_is_not_looked_for_twice() -> None:
    paths = ("/etc/forward/${user}", "$home/.forward", "$(home)/.forward", "$home/x$unknown")
    assert forward.paths(paths, VALUES) == [
        "/etc/forward/alice",
        "/home/alice/.forward",
        "/home/alice/x",
    ]


def status(mode: int, uid: int, gid: int = 100, size: int = 0) -> os.stat_result:
    return os.stat_result((mode, 1, 1, 1, uid, gid, size, 0, 0, 0))


@pytest.mark.parametrize(
    ("about", "why"),
    [
        (status(REGULAR | 0o644, 1000), ""),
        (status(REGULAR | 0o600, 0), ""),
        (status(REGULAR | 0o644, 1001), "its owner is uid 1001"),
        (status(REGULAR | 0o646, 1000), "anybody can write to it"),
        (status(REGULAR | 0o664, 1000), "the group 100 can write to it"),
        (status(REGULAR | 0o664, 1000, 1000), ""),
        (status(REGULAR | 0o644, 1000, size=LIMIT), ""),
        (status(REGULAR | 0o644, 1000, size=LIMIT + 1), "larger than 65536 bytes"),
        (status(stat.S_IFIFO | 0o600, 1000), "not a file"),
        (status(stat.S_IFDIR | 0o700, 1000), "not a file"),
    ],
)
def test_which_file_is_obeyed_for_a_user_with_a_group_of_the_own(
    about: os.stat_result, why: str
) -> None:
    assert forward.unsafe(about, 1000, private=1000) == why


def test_without_a_group_of_the_own_no_group_may_write() -> None:
    assert "group 1000" in forward.unsafe(status(REGULAR | 0o664, 1000, 1000), 1000)


@pytest.mark.parametrize(
    ("mode", "owner", "gid", "why"),
    [
        (0o755, 1000, 1000, ""),
        (0o755, 0, 0, ""),
        (0o775, 1000, 1000, ""),
        (0o775, 1000, 100, "the home: the group 100 can write to it"),
        (0o777, 1000, 1000, "the home: anybody can write to it"),
        (0o755, 1001, 1000, "the home's owner is uid 1001"),
    ],
)
def test_which_home_is_trusted(mode: int, owner: int, gid: int, why: str) -> None:
    about = status(stat.S_IFDIR | mode, owner, gid)
    assert forward.unsafe_home(about, 1000, private=1000) == why
