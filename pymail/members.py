r"""The right side of an alias, a line of a .forward, a line of an :include: file: its members.

    alice, bob@example.org      addresses, with names, comments and groups as in a header
    \alice                      alice's mailbox, no further alias and no .forward
    "|command arguments"        a command; without quotes it ends at the first blank
    /file  "/file with space"   an mbox file, or with a final / a Maildir; ~/file in a .forward
    :include:/file              the members in that file
    :fail: text  :defer: text  :blackhole:

Commas, semicolons and blanks separate, as in Postfix; one too many does no harm.  Pure.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from pymail import address

_ATOM = r"[A-Za-z0-9_+=-]+(?:\.[A-Za-z0-9_+=-]+)*"
_MAILBOX = rf"{_ATOM}(?:@{_ATOM})?"
PLAIN = rf"{_MAILBOX}(?:[ \t]*,[ \t]*{_MAILBOX})*"
"""A pattern for the right sides that nearly all aliases have: a list of plain addresses."""

NAME_LIMIT = 200
"""Characters that are looked at to tell a name from a member."""

_ADDRESS_LIMIT = 2000

_plain = re.compile(rf"[ \t]*{PLAIN}[ \t\r]*").fullmatch
_between = re.compile(r"[\s,;>]+").match
_quoted = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL).match
_run = re.compile(r'(?:[^\s,;("\\]|\\.|"(?:[^"\\]|\\.)*")+', re.DOTALL).match
_part = re.compile(r'"((?:[^"\\]|\\.)*)"|((?:[^"\\]|\\.)+)', re.DOTALL)
_word = re.compile(r":([A-Za-z]+):[ \t]*").match
_is_marked = re.compile(r'[|/:]|~/|\\[^"\\]').match
_starts_marked = re.compile(r'"?(?:[|/\\]|~/|:[A-Za-z]+:)').match


class Item(NamedTuple):
    """One member: kind is address, final, command, file, include, fail, defer or blackhole.

    `value` is an address in internal form as written (unqualified), a command for the shell, a
    path, or the words of :fail: and :defer:.
    """

    kind: str
    value: str


def parse_rhs(text: str) -> list[Item]:
    """Return the members in their order.  One that cannot be understood fails with 5.1.3."""
    return [
        Item("fail", f"5.1.3 bad address: {item.value}") if item.kind == "invalid" else item
        for item in scan(text)
    ]


def parse_lines(text: str) -> list[Item]:
    """Return the members in a file of them: each line by itself, # at its start a comment."""
    found: list[Item] = []
    for line in text.split("\n"):
        if line.lstrip()[:1] not in {"", "#"}:
            found += parse_rhs(line)
    return found


def scan(text: str) -> list[Item]:
    """Return the members; one that cannot be understood has the kind "invalid"."""
    if is_plain(text):
        return [Item("address", word.strip()) for word in text.split(",")]
    return [_sound(item) for item in _items(text)]


def is_plain(text: str) -> bool:
    """Say whether a right side is nothing but a list of plain addresses."""
    return _plain(text) is not None


def _sound(item: Item) -> Item:
    """Refuse what no command line, path or address may have."""
    relative = item.kind == "include" and not item.value.startswith("/")
    bare = item.kind in {"command", "file"} and not item.value.strip("/ \t")
    if relative or bare or not address.is_safe(item.value.replace("\t", " ")):
        mark = {"command": "|", "include": ":include:"}.get(item.kind, "")
        return Item("invalid", mark + item.value)
    return item


def _items(text: str) -> Iterator[Item]:
    at = 0
    while (at := _start(text, at)) < len(text):
        quoted = _quoted(text, at)
        if text[at] == '"' and quoted is None:
            yield Item("invalid", text[at:].strip())
            return
        if quoted and _is_marked(quoted[1]) and not _is_word(text, quoted.end()):
            yield _marked(quoted[1])
            at = quoted.end()
        elif not quoted and _starts_marked(text, at):
            item, at = _unquoted(text, at)
            yield item
        else:
            end = _addresses_end(text, at)
            yield from _addresses(text[at:end])
            at = end


def _is_word(text: str, end: int) -> bool:
    """Say whether the quoted string before `end` is part of an address: "a b"@c, "a b" <c>."""
    return text[end : end + 1] in {"@", "."} or text[_blanks(text, end) :][:1] == "<"


def _start(text: str, at: int) -> int:
    """Return where the next member starts: behind separators and comments."""
    while at < len(text):
        match = _between(text, at)
        if match:
            at = match.end()
        elif text[at] == "(":
            at = _comment_end(text, at)
        else:
            break
    return at


def _unquoted(text: str, at: int) -> tuple[Item, int]:
    """Return the marked member at `at`, and where it ends."""
    word = _word(text, at)
    if word and word[1].lower() != "include":
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        if word[1].lower() == "blackhole":
            end = word.end()
        return _marked(text[at:end]), end
    begin = word.end() if word else at
    if text[at] in "|\\":
        begin = _blanks(text, at + 1)
    run = _run(text, begin)
    end = run.end() if run else begin
    if text[at] == "\\":
        return _final(text[begin:end]), end
    value = "".join(
        _unescaped(part[2] if part[1] is None else part[1])
        for part in _part.finditer(text, begin, end)
    )
    if text[at] == "|":
        return Item("command", value), end
    return Item("include" if word else "file", value), end


def _marked(raw: str) -> Item:
    """Return the member that a whole text is, be it quoted or of the kind :word: text."""
    value = _unescaped(raw)
    word = _word(value)
    if raw.startswith("\\"):
        item = _final(raw[1:])
    elif raw.startswith("|"):
        item = Item("command", value[1:].strip())
    elif word is None:
        item = Item("file", value) if value[0] in "/~" else Item("invalid", value)
    else:
        item = _special(word[1].lower(), value[word.end() :].strip(), value)
    return item


def _special(word: str, rest: str, whole: str) -> Item:
    if word in {"include", "fail", "defer"} or (word == "blackhole" and not rest):
        return Item(word, rest)
    if word == "unknown":
        return Item("fail", rest or "5.1.1 unknown user")
    return Item("invalid", whole.strip())


def _final(text: str) -> Item:
    found = address.mailboxes(text)
    if len(found) != 1 or not found[0][1]:
        return Item("invalid", f"\\{text}")
    return Item("final", found[0][0])


def _addresses(text: str) -> Iterator[Item]:
    # "error:5.7.1:nope" is no group in a group but another program's syntax.
    if _colons(text) > 1:
        yield Item("invalid", text.strip())
        return
    for mailbox, valid in address.mailboxes(text):
        yield Item("address" if valid else "invalid", mailbox)


def _addresses_end(text: str, at: int) -> int:
    """Return where the addresses at `at` end: at a comma, or before a marked member."""
    begin = at
    while at < len(text):
        c = text[at]
        if c in ",;":
            return at
        if at > begin and _may_start(text, at) and not _name_goes_on(text, at):
            return at
        at = _step(text, at)
    return at


def _may_start(text: str, at: int) -> bool:
    """Say whether a marked member may start at `at`: behind a blank, or in a group."""
    before = text[at - 1]
    return bool(_starts_marked(text, at)) and (
        before in " \t\r\n" or (before == ":" and text[at] in '"|\\')
    )


def _name_goes_on(text: str, at: int) -> bool:
    """Say whether what looks like a start is part of a name: Some / Body <some@body>."""
    end = min(len(text), at + NAME_LIMIT)  # without it, hostile text would take hours
    if text.find("<", at, end) < 0:
        return False
    while at < end and text[at] not in ",;<\n":
        at = _step(text, at)
    return text[at : at + 1] == "<"


def _step(text: str, at: int) -> int:
    """Return the end of the character, quoted string, comment, <...> or [...] at `at`."""
    c = text[at]
    if c == '"':
        match = _quoted(text, at)
        return match.end() if match else len(text)
    if c == "(":
        return _comment_end(text, at)
    if c in "<[":
        # No address is longer; without a bound, hostile text would take minutes.
        end = text.find(">" if c == "<" else "]", at, at + _ADDRESS_LIMIT)
        return end + 1 if end > 0 else at + 1
    return at + (2 if c == "\\" else 1)


def _colons(text: str) -> int:
    count = at = 0
    while at < len(text):
        count += text[at] == ":"
        at = _step(text, at)
    return count


def _comment_end(text: str, at: int) -> int:
    depth = 0
    while at < len(text):
        c = text[at]
        at += 2 if c == "\\" else 1
        depth += (c == "(") - (c == ")")
        if not depth:
            return at
    return len(text)


def _blanks(text: str, at: int) -> int:
    while text[at : at + 1] in {" ", "\t"}:
        at += 1
    return at


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
