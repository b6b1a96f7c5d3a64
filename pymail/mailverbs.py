"""The commands of mail's reading side, and how a line with one is taken apart.  Pure."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from pymail import messagelist

VERBS = {
    "alias": "a",
    "alternates": "alt",
    "cd": "cd",
    "chdir": "ch",
    "copy": "c",
    "Copy": "C",
    "delete": "d",
    "detach": "det",
    "discard": "di",
    "dp": "dp",
    "dt": "dt",
    "echo": "ec",
    "edit": "e",
    "else": "el",
    "endif": "en",
    "exit": "ex",
    "file": "fi",
    "flag": "fl",
    "folder": "fold",
    "folders": "folders",
    "followup": "fo",
    "Followup": "F",
    "forward": "forw",
    "from": "f",
    "group": "g",
    "headers": "h",
    "help": "hel",
    "hold": "ho",
    "if": "i",
    "ignore": "ig",
    "list": "l",
    "mail": "m",
    "mbox": "mb",
    "next": "n",
    "pipe": "pi",
    "preserve": "pre",
    "print": "p",
    "Print": "P",
    "quit": "q",
    "reply": "r",
    "Reply": "R",
    "respond": "resp",
    "Respond": "Resp",
    "retain": "ret",
    "save": "s",
    "Save": "S",
    "set": "se",
    "shell": "sh",
    "size": "si",
    "source": "so",
    "top": "to",
    "touch": "tou",
    "type": "t",
    "Type": "T",
    "unalias": "una",
    "undelete": "u",
    "unflag": "unf",
    "unread": "unr",
    "unset": "uns",
    "visual": "v",
    "write": "w",
    "xit": "x",
    "z": "z",
}
"""The commands, and the shortest abbreviation of each, as POSIX has them."""

_SIGNS = {"!": "shell", "|": "pipe", "?": "help", "=": "=", "#": "#", "+": "+", "-": "-"}
_NAME = re.compile(r"[A-Za-z]+")
_WORD = re.compile(r"""((?:"(?:\\.|[^"\\])*"?|'[^']*'?|\\.|[^\s"'\\])+)""")


class Command(NamedTuple):
    """A line: the verb in full, "" for one that is not known, and what follows it."""

    verb: str
    rest: str


def command(line: str) -> Command:
    """Return the command on a line; one that begins with a message list goes to the first of it."""
    line = line.strip()
    if not line:
        return Command("next", "")
    if line[0] in "z=" and line[1:].strip() in {"", "+", "-"}:
        return Command(line[0], line[1:].strip())
    if line[0] in _SIGNS:
        return Command(_SIGNS[line[0]], line[1:].strip())
    name = _NAME.match(line)
    if name is None:
        return Command("next", line)
    return Command(_verb(name[0]), line[name.end() :].strip())


def words(text: str) -> list[str]:
    """Return the words of a line; quotes and backslashes keep blanks, and are gone."""
    return [_bare(found) for found in _WORD.findall(text)]


def last(text: str) -> tuple[list[str], str]:
    """Return the message list and the last word, which is a file ("" where there is none).

    One word alone is a message list where it can be nothing else.
    """
    found = words(text)
    if not found or (len(found) == 1 and messagelist.MARK.fullmatch(found[0])):
        return found, ""
    return found[:-1], found[-1]


def piped(text: str) -> tuple[list[str], str]:
    """Return the message list and the shell command behind it.

    The command is the rest of the line; quotes around the whole of it go.
    """
    chosen: list[str] = []
    while (found := _WORD.match(text)) and messagelist.MARK.fullmatch(found[1]):
        chosen.append(found[1])
        text = text[found.end() :].lstrip()
    quoted = text[:1] in {'"', "'"} and text.find(text[0], 1) == len(text) - 1
    return chosen, text[1:-1] if quoted else text


def _verb(name: str) -> str:
    for verb, shortest in VERBS.items():
        if verb.startswith(name) and len(name) >= len(shortest):
            return verb
    return ""


def _bare(word: str) -> str:
    return "".join(_letters(word))


def _letters(word: str) -> Iterator[str]:
    quote = ""
    chars = iter(word)
    for char in chars:
        if char == "\\" and quote != "'":
            yield next(chars, "")
        elif char == quote:
            quote = ""
        elif not quote and char in "\"'":
            quote = char
        else:
            yield char
