"""Aliases: every form of a line, every mistake, and the index that is not believed wrongly."""

import json
import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import corpus
from hypothesis import given
from hypothesis import strategies as st

from pymail import aliascheck, aliases, aliasindex, members
from pymail.errors import ConfigError, DataError, TempError
from pymail.members import Item, parse_rhs, scan


def kinds(text: str) -> list[tuple[str, str]]:
    return [(item.kind, item.value) for item in parse_rhs(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("alice", ["alice"]),
        (" alice , bob@example.org\r", ["alice", "bob@example.org"]),
        ("alice; bob", ["alice", "bob"]),
        ("alice bob", ["alice", "bob"]),
        ("alice,\n\tbob\n   carol", ["alice", "bob", "carol"]),
        ("alice,", ["alice"]),
        (",, ;alice;;", ["alice"]),
        ("ALICE", ["ALICE"]),
        ("jörg@example.org", ["jörg@example.org"]),
        ("alice (the great), bob", ["alice", "bob"]),
        ("(a (nested) comment) alice", ["alice"]),
        ("Some Body <carol@example.org>", ["carol@example.org"]),
        ('"Body, Some" <carol@example.org>', ["carol@example.org"]),
        ("Some / Body <carol@example.org>, bob", ["carol@example.org", "bob"]),
        ('"alice", "john doe"@example.org', ["alice", "john doe@example.org"]),
        ('"/a b"@example.org', ["/a b@example.org"]),
        ('"\\"q\\""@example.org', ['"q"@example.org']),
        ('"|x" <alice>', ["alice"]),
        ("<@a.example,@b.example:c@d.example>", ["c@d.example"]),
        ("user@[IPv6:::1], bob", ["user@[IPv6:::1]", "bob"]),
        ("grp: alice, bob;", ["alice", "bob"]),
        ("alice # not a comment", ["alice", "#", "not", "a", "comment"]),
        ("./Maildir2/", ["./Maildir2/"]),
        ("", []),
        ('""', []),
        ("(nothing)", []),
        (" ;, ", []),
    ],
)
def test_addresses_are_found_as_in_a_header(text: str, expected: list[str]) -> None:
    assert kinds(text) == [("address", value) for value in expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\\alice, bob", [("final", "alice"), ("address", "bob")]),
        ('"\\alice"', [("final", "alice")]),
        ('\\"john doe"', [("final", "john doe")]),
        ("\\alice@example.org", [("final", "alice@example.org")]),
        ('"|/bin/cat > /tmp/out"', [("command", "/bin/cat > /tmp/out")]),
        ('|"/bin/cat > /tmp/out"', [("command", "/bin/cat > /tmp/out")]),
        ("|/bin/true", [("command", "/bin/true")]),
        ("|cat > /tmp/out", [("command", "cat"), ("file", "/tmp/out")]),
        ("| cmd > /tmp/out", [("command", "cmd"), ("file", "/tmp/out")]),
        ("|cmd\\ x", [("command", "cmd x")]),
        ('"|a \\"b c\\" \\\\d"', [("command", 'a "b c" \\d')]),
        ("\"|IFS=' ' && exec x -f- || exit 75 #me\"",
         [("command", "IFS=' ' && exec x -f- || exit 75 #me")]),
        ("alice |cmd, /f;bob", [("address", "alice"), ("command", "cmd"), ("file", "/f"),
                                ("address", "bob")]),
        ("/tmp/file", [("file", "/tmp/file")]),
        ("/tmp/file (a comment)", [("file", "/tmp/file")]),
        ('"/tmp/a file"', [("file", "/tmp/a file")]),
        ('/tmp/"a file"', [("file", "/tmp/a file")]),
        ("/var/mail/box/", [("file", "/var/mail/box/")]),
        ("/dev/null", [("file", "/dev/null")]),
        ("~/Maildir3/", [("file", "~/Maildir3/")]),
        ('"~/a b"', [("file", "~/a b")]),
        (":include:/etc/list", [("include", "/etc/list")]),
        (":Include: /etc/list, bob", [("include", "/etc/list"), ("address", "bob")]),
        ('":include:/etc/a list"', [("include", "/etc/a list")]),
        (':include:"/etc/a list"', [("include", "/etc/a list")]),
        (":fail: go, away; now", [("fail", "go, away; now")]),
        (":fail: a\n bob", [("fail", "a"), ("address", "bob")]),
        ('":fail: go, away", bob', [("fail", "go, away"), ("address", "bob")]),
        (":defer: later", [("defer", "later")]),
        (":blackhole:", [("blackhole", "")]),
        (":blackhole:, bob", [("blackhole", ""), ("address", "bob")]),
        (":unknown:", [("fail", "5.1.1 unknown user")]),
        ('g: "|cmd x", bob;', [("command", "cmd x"), ("address", "bob")]),
        ("g:|cmd;", [("command", "cmd")]),
    ],
)  # fmt: skip
def test_a_mark_makes_a_member_more_than_an_address(
    text: str, expected: list[tuple[str, str]]
) -> None:
    assert kinds(text) == expected


@pytest.mark.parametrize(
    "text",
    ["a@b@c", "[x]", '"unterminated', "error:5.7.1:nope", ":bogus: x", ":include:list",
     ":include:", "|", '"|"', "/", "\\", "\\a@b@c", "a\x00b", '"|a\x00b"', '"/a\nb"',
     '":blackhole: x"', "/a\x1b[31m"],
)  # fmt: skip
def test_what_cannot_be_understood_fails_for_good_and_does_nothing_else(text: str) -> None:
    assert [item.kind for item in scan(text)] == ["invalid"]
    (item,) = parse_rhs(text)
    assert item.kind == "fail"
    assert item.value.startswith("5.1.3 ")


def test_one_bad_member_leaves_the_others() -> None:
    assert [item.kind for item in parse_rhs("alice, a@b@c, bob")] == ["address", "fail", "address"]


@given(st.text(alphabet='ab@."\\|/:;,<>()[] \t\n#~', max_size=40))
def test_no_text_stops_the_parser(text: str) -> None:
    for item in scan(text):
        assert item.kind in {"address", "final", "command", "file", "include", "fail", "defer",
                             "blackhole", "invalid"}  # fmt: skip
        assert "\n" not in item.value or item.kind == "invalid"


@given(st.text(alphabet="aB9.+-_=@, \t\r", max_size=30).filter(members.is_plain))
def test_the_short_way_for_plain_addresses_agrees_with_the_long_one(text: str) -> None:
    assert scan(text) == list(members._items(text))


@pytest.mark.parametrize("unit", ["|a ", "a |b ", '"', "a<b ", "(", "a@b@c ", '|a"b" ', "a:", "\\"])
def test_hostile_text_takes_no_more_than_a_moment(unit: str) -> None:
    text = unit * (65536 // len(unit))
    before = time.process_time()
    assert sum(len(item.value) for item in scan(text)) < 10 * len(text)
    assert time.process_time() - before < 5


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "aliases"


def load(file: Path) -> aliases.Aliases:
    return aliases.load([str(file)], str(file.parent))


def addresses(table: aliases.Aliases, key: str) -> list[str]:
    entry = table.lookup(key)
    return [item.value for item in entry.items] if entry else []


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("Root: alice\n", "root", ["alice"]),
        ("root: alice\n", "ROOT", ["alice"]),
        ('"quoted name": alice\n', "quoted name", ["alice"]),
        ('"a\\"b" : alice\n', 'a"b', ["alice"]),
        ("nospace:bob\n", "nospace", ["bob"]),
        ("spacecolon : bob\n", "spacecolon", ["bob"]),
        ("tab:\tbob\n", "tab", ["bob"]),
        ("plus+ext: bob\n", "plus+ext", ["bob"]),
        ("Jörg: bob\n", "jörg", ["bob"]),
        ("a: b\n\n# c\n \t\n#d\n\tc,\n  d\ne: f\n", "a", ["b", "c", "d"]),
        ("a: b\n # an indented comment\n c\n", "a", ["b", "c"]),
        ("a: b\r\n c\r\n", "a", ["b", "c"]),
        ("a: b", "a", ["b"]),
        ("a:\n b\n", "a", ["b"]),
        ("dup: alice\ndup: bob\n", "dup", ["alice"]),
        ("empty:\n", "empty", []),
        ('empty: ""\n', "empty", []),
        ("a@b: c\n", "a@b", []),
        (" a: b\n", "a", []),
        ("a b\n", "a", []),
        ("a b: c\n", "a", []),
        ("incl :include:/x\n", "incl", []),
        ("other: x\n", "a", []),
    ],
)
def test_an_alias_is_looked_up(file: Path, text: str, key: str, expected: list[str]) -> None:
    file.write_text(text)
    assert addresses(load(file), key) == expected


SLOW = re.compile("()()(.*\n|.+)").findall
LINES = st.text(alphabet='ab:"\\,#| \t\r\n@', max_size=60)


@given(LINES)
def test_the_short_way_for_plain_lines_agrees_with_the_long_one(text: str) -> None:
    def found(lines: Callable[[str], list[tuple[str, str, str]]]) -> list[tuple[object, ...]]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(aliases, "_lines", lines)
            result: list[tuple[object, ...]] = []
            for line, key, rhs, other in aliases.logical(text):
                name, value, mistake = (key.lower(), rhs, "") if key else aliases.definition(other)
                result.append((line, name, parse_rhs(value), mistake))
        return result

    assert found(aliases._lines) == found(SLOW)


@given(LINES)
def test_no_text_stops_the_check(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / f"aliases-{os.getpid()}"
    file.write_text(text, newline="")
    for mistake in aliascheck.check(str(file)):
        assert 1 <= mistake.line <= text.count("\n") + 1


def test_an_entry_says_where_it_stands(file: Path) -> None:
    file.write_text("# c\n\na: b\n  c\nd: e\n")
    entry = load(file).lookup("d")
    assert entry == aliases.Entry((Item("address", "e"),), str(file), 5)


def test_the_first_file_with_the_alias_counts(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("a: one\nempty:\n")
    two.write_text("a: two\nb: two\nempty: two\n")
    table = aliases.load([str(tmp_path / "none"), str(one), str(two)], str(tmp_path))
    assert (addresses(table, "a"), addresses(table, "b")) == (["one"], ["two"])
    assert addresses(table, "empty") == ["two"]


def test_bytes_that_are_no_text_survive(file: Path) -> None:
    file.write_bytes(b'caf\xe9: "|echo \xe9"\n')
    entry = load(file).lookup("caf\udce9")
    assert entry
    assert entry.items[0].value.encode(errors="surrogateescape") == b"echo \xe9"


def test_a_file_that_cannot_be_read_makes_mail_wait(file: Path, tmp_path: Path) -> None:
    file.symlink_to(file)
    with pytest.raises(TempError, match="cannot read"):
        load(file)
    with pytest.raises(ConfigError, match="not a file"):
        load(tmp_path)


def test_a_fifo_is_refused_and_not_waited_for(file: Path) -> None:
    os.mkfifo(file)
    with pytest.raises(ConfigError, match="not a file"):
        load(file)


def status(mode: int, uid: int, gid: int = 0, size: int = 0) -> os.stat_result:
    return os.stat_result((mode, 1, 1, 1, uid, gid, size, 0, 0, 0))


REGULAR = stat.S_IFREG


@pytest.mark.parametrize(
    ("mode", "owner", "why"),
    [
        (REGULAR | 0o644, 0, ""),
        (REGULAR | 0o600, 0, ""),
        (REGULAR | 0o664, 0, "others can write to it"),
        (REGULAR | 0o646, 0, "others can write to it"),
        (REGULAR | 0o644, 1000, "its owner is uid 1000, not root"),
        (stat.S_IFCHR | 0o666, 0, ""),
        (stat.S_IFDIR | 0o755, 0, "not a file"),
        (stat.S_IFIFO | 0o644, 0, "not a file"),
    ],
)
def test_whose_aliases_root_trusts(mode: int, owner: int, why: str) -> None:
    assert aliases.unsafe(status(mode, owner), 0) == why


def test_a_file_too_large_to_read_is_refused_and_not_cut() -> None:
    assert "larger than" in aliases.unsafe(status(REGULAR | 0o644, 0, size=aliases.LIMIT + 1), 0)


def test_a_user_trusts_the_own_aliases_and_roots() -> None:
    assert aliases.unsafe(status(REGULAR | 0o644, 1000), 1000) == ""
    assert aliases.unsafe(status(REGULAR | 0o644, 0), 1000) == ""
    assert aliases.unsafe(status(REGULAR | 0o644, 1001), 1000) != ""


def test_whose_lists_are_trusted_and_whose_may_act() -> None:
    assert aliases.unsafe_include(status(REGULAR | 0o644, 1000)) == ""
    assert aliases.unsafe_include(status(REGULAR | 0o664, 0)) == "others can write to it"
    assert aliases.unsafe_include(status(stat.S_IFIFO | 0o644, 0)) == "not a file"


def test_a_list_file_has_members_on_every_line() -> None:
    text = '# list comment\nalice\nbob, carol\n\n  "erin"\nDave X <dave@example.org>\r\n #no\n'
    values = [item.value for item in aliases.members(text)]
    assert values == ["alice", "bob", "carol", "erin", "dave@example.org"]


@pytest.mark.parametrize(
    ("text", "line", "words", "fatal"),
    [
        ("a: b\nempty:\n", 2, "missing value for the alias empty", True),
        ('a: ""\n', 1, "missing value for the alias a", True),
        ("a: b\na: c\n", 2, "duplicate alias a: the one on line 1 counts", False),
        ("A: b\n#\na: c\n", 3, "duplicate alias a: the one on line 1 counts", False),
        ("u@example.net: b\n", 1, "name must be local: u@example.net", True),
        ("a: a@b@c\n", 1, "a: cannot understand a@b@c", True),
        ("a: b\n\n  c: d\n", 3, '"c:" starts with a blank, so it is part of the alias a', False),
        ("a b\n", 1, "missing ':' after the name a", True),
        ("\n  a: b\n", 2, "line starts with a blank, and no alias is before it", True),
        ("incl :include:/x\n", 1, "missing ':' after the name incl", True),
        (": b\n", 1, "missing name before ':'", True),
        ("a b: c\n", 1, '"a b" is no name', True),
        ("a: b # c\n", 1, "a: # starts a comment only at the start of a line", False),
        ("a: ~/box\n", 1, "a: ~/box is in nobody's home: write the whole path", True),
        ("a: :include:/no/such\n", 1, "a: cannot read /no/such: No such file", True),
        ("a: :include:/etc\n", 1, "a: cannot use /etc: not a file", True),
        ("a: :include:rel\n", 1, "a: cannot understand :include:rel", True),
    ],
)
def test_every_mistake_is_told_with_its_line(
    file: Path, text: str, line: int, words: str, *, fatal: bool
) -> None:
    file.write_text(text)
    mistakes = aliascheck.check(str(file))
    assert [(m.line, m.fatal) for m in mistakes] == [(line, fatal)]
    assert words in mistakes[0].text
    assert str(mistakes[0]) == f"{file}, line {line}: {mistakes[0].text}"


def test_a_list_that_others_may_write_to_is_a_mistake(file: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("a\n")
    (tmp_path / "list").chmod(0o666)
    file.write_text(f"a: :include:{tmp_path}/list\nb: :include:/dev/null\n")
    assert [m.text for m in aliascheck.check(str(file))] == [
        f"a: cannot use {tmp_path}/list: others can write to it"
    ]


def test_a_file_that_cannot_be_trusted_is_one_mistake(file: Path) -> None:
    file.write_text("a: b\n")
    file.chmod(0o666)
    (mistake,) = aliascheck.check(str(file))
    assert str(mistake) == f"{file}: others can write to it"
    assert mistake.fatal


def test_a_file_without_mistakes_has_none(file: Path) -> None:
    file.write_text('a: b\n  # c\n\n c\nd: "|x", :fail: no\n\n')
    assert aliascheck.check(str(file)) == []


def test_the_corpus_file_is_understood_as_postfix_does(file: Path, tmp_path: Path) -> None:
    first, *cases = map(json.loads, (corpus() / "aliases.jsonl").read_text().splitlines())
    file.write_text(first["aliases_text"])
    warned = {m.line for m in aliascheck.check(str(file)) if "cannot read" not in m.text}
    assert warned >= {32, 35, 38}
    table = load(file)
    for case in cases:
        observed = case["observed"].get("postfix 3.7.11 local(8)", "")
        assert (table.lookup(case["rcpt"]) is None) == (
            "unknown user" in observed or case["rcpt"] == "alice+zzz"
        ), case["id"]


def large(file: Path, count: int = 4000) -> None:
    file.write_text("".join(f"user{n}: mailbox{n}@example.org\n" for n in range(count)))


def test_a_large_file_gets_an_index_and_a_lookup_does_not_read_the_text(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large(file)
    with file.open("a") as handle:
        handle.write(
            '"Quoted ü": \\\n"\\caf\udcff", "|x"\n'.encode(errors="surrogateescape").decode(
                "latin-1"
            )
        )
    aliascheck.Examined(str(file)).index(str(file.parent))
    monkeypatch.setattr(aliases, "Whole", lambda _: pytest.fail("the text was read"))
    table = load(file)
    assert addresses(table, "User3999") == ["mailbox3999@example.org"]
    entry = table.lookup("user1")
    assert entry
    assert (entry.file, entry.line) == (str(file), 2)
    assert table.lookup("nobody") is None


def test_the_index_and_the_text_say_the_same(file: Path) -> None:
    large(file)
    data = file.read_bytes()
    file.write_bytes(data + b'User1: late\n\xff\xe9: "|\xff",\n \xc3\xbc\n' + b"M: a,\n\n#\n b\n")
    before = load(file)
    aliascheck.Examined(str(file)).index(str(file.parent))
    after = load(file)
    for key in ("user1", "\udcff\udce9", "m", "user3999", "x"):
        assert before.lookup(key) == after.lookup(key)


@pytest.mark.parametrize(
    "change", ["size", "mtime", "inode", "owner", "mode", "version", "garbage"]
)
def test_an_index_that_does_not_fit_is_not_used(file: Path, change: str) -> None:
    large(file)
    file.write_text(file.read_text() + "late: old\n")
    aliascheck.Examined(str(file)).index(str(file.parent))
    place = Path(aliasindex.path(str(file.parent), str(file)))
    about = file.stat()
    new = file.read_text().replace("late: old", "late: new")
    if change == "size":
        new += "# more\n"
    if change == "inode":
        file.rename(file.with_name("was"))
    file.write_text(new)
    if change != "mtime":
        os.utime(file, ns=(about.st_mtime_ns, about.st_mtime_ns))
    if change == "owner":
        if os.geteuid() != 0:
            pytest.skip("needs root")
        os.chown(place, 1234, -1)
    elif change == "mode":
        place.chmod(0o666)
    elif change == "version":
        import sqlite3

        with sqlite3.connect(place) as connection:
            connection.execute("UPDATE source SET version = 99")
        connection.close()
    elif change == "garbage":
        place.write_bytes(b"not a database" * 1000)
    assert addresses(load(file), "late") == ["new"]


def test_an_index_damaged_in_the_middle_falls_back_to_the_text(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large(file)
    aliascheck.Examined(str(file)).index(str(file.parent))

    def damaged(self: aliasindex.Index, key: str) -> tuple[int, str]:
        raise DataError("damaged")

    monkeypatch.setattr(aliasindex.Index, "find", damaged)
    assert addresses(load(file), "user7") == ["mailbox7@example.org"]


def test_a_lookup_in_a_damaged_index_says_so(file: Path) -> None:
    large(file)
    aliascheck.Examined(str(file)).index(str(file.parent))
    place = Path(aliasindex.path(str(file.parent), str(file)))
    data = bytearray(place.read_bytes())
    data[3 * 8192 :] = b"\xff" * (len(data) - 3 * 8192)
    place.write_bytes(data)
    index = aliasindex.fresh(str(file.parent), str(file), file.stat())
    assert index
    with pytest.raises(DataError, match="cannot read the index"):
        [index.find(f"user{n}") for n in range(4000)]
    assert addresses(load(file), "user7") == ["mailbox7@example.org"]


def test_a_file_that_became_small_loses_its_index(file: Path) -> None:
    large(file)
    aliascheck.Examined(str(file)).index(str(file.parent))
    place = Path(aliasindex.path(str(file.parent), str(file)))
    assert stat.S_IMODE(place.stat().st_mode) & 0o022 == 0
    file.write_text("a: b\n")
    aliascheck.Examined(str(file)).index(str(file.parent))
    assert not place.exists()


def test_an_index_that_cannot_be_written_leaves_the_old_one(file: Path, tmp_path: Path) -> None:
    large(file)
    with pytest.raises(TempError, match="cannot write"):
        aliascheck.Examined(str(file)).index(str(tmp_path / "none"))
    Path(aliasindex.path(str(tmp_path), str(file))).mkdir()
    with pytest.raises(TempError, match="cannot write"):
        aliascheck.Examined(str(file)).index(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == sorted(
        ["aliases", os.path.basename(aliasindex.path("", str(file)))]
    )
    assert addresses(load(file), "user7") == ["mailbox7@example.org"]


def test_a_change_within_one_tick_of_the_clock_is_waited_out(file: Path) -> None:
    file.write_text("a: b\n")
    aliasindex.settle(file.stat())
    assert time.time_ns() - file.stat().st_mtime_ns >= aliasindex.TICK
