"""Postfix's main.cf (postconf(5)): logical lines, and `$name` with its conditions.  Pure.

A line that begins with a blank goes on with the one before; what has no value is empty.

    $name ${name} $(name)            the value of name
    ${name?text} ${name:text}        text where name has a value, where it has none
    ${name?{text}:{text}}            the one or the other
    ${{text} == {text} ? {text} : {text}}
"""

import operator
import re
from collections.abc import Callable
from typing import Any, NamedTuple

_DEEPEST = 50
_CLOSE = {"{": "}", "(": ")"}
_NAMED = re.compile(r"([\w-]+)\s*(?:([?:])(.*))?\Z", re.DOTALL)
_WORD = re.compile(r"\w*", re.ASCII)
_ROW = re.compile(r'((?:"(?:[^"\\]|\\.)*"|[^\s"])+)\s*(.*)')
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Parameter(NamedTuple):
    """The value of a parameter as it is written, and the line at which it begins."""

    value: str
    line: int


def parameters(text: str) -> tuple[dict[str, Parameter], list[str]]:
    """Return the parameters by name, the last of each, and what cannot be understood."""
    found: dict[str, Parameter] = {}
    bad: list[str] = []
    for number, line in logical(text):
        name, equals, value = line.partition("=")
        if equals and re.fullmatch(r"[\w.-]+\s*", name):
            found[name.strip()] = Parameter(" ".join(value.split("\n")).strip(), number)
        else:
            bad.append(f"line {number}: {' '.join(line.split())}")
    return found, bad


class Expansion:
    """What names stand for: `value` returns that of a name, as it is written.

    A plain `$name` stays as `${name}` where `keep` wants it.
    """

    def __init__(self, value: Callable[[str], str], keep: Callable[[str], bool]) -> None:
        self._value = value
        self._keep = keep
        self._deep = 0

    def text(self, text: str, *, whole: bool = False) -> str:
        """Return a text with what each name in it stands for; `whole`: with none left.

        ValueError where it cannot be understood, or has no end.
        """
        if self._deep > _DEEPEST:
            message = "stands for itself"
            raise ValueError(message)
        self._deep += 1
        try:
            return self._expanded(text, whole=whole)
        finally:
            self._deep -= 1

    def _expanded(self, text: str, *, whole: bool) -> str:
        pieces: list[str] = []
        at = 0
        while (dollar := text.find("$", at)) >= 0:
            pieces.append(text[at:dollar])
            at = dollar + 1
            if text[at : at + 1] == "$":
                pieces.append("$$")
                at += 1
            elif text[at : at + 1] in _CLOSE:
                end = _end(text, at)
                pieces.append(self._reference(text[at + 1 : end], whole=whole))
                at = end + 1
            else:
                word = _WORD.match(text, at)
                name = word[0] if word else ""
                pieces.append(self._plain(name, whole=whole))
                at += len(name)
        return "".join((*pieces, text[at:]))

    def _plain(self, name: str, *, whole: bool) -> str:
        if self._keep(name) and not whole:
            return f"${{{name}}}"
        return self.text(self._value(name), whole=whole)

    def _reference(self, inside: str, *, whole: bool) -> str:
        """Return what `${inside}` stands for."""
        if inside.startswith("{"):
            return self.text(self._compared(inside), whole=whole)
        named = _NAMED.match(inside)
        if not named:
            message = f"has ${{{inside}}}, which is no name"
            raise ValueError(message)
        name, mark, rest = named.groups()
        if not mark:
            return self._plain(name, whole=whole)
        first, other = _branches(rest)
        given = bool(self.text(self._value(name), whole=True))
        return self.text(first if given == (mark == "?") else other, whole=whole)

    def _compared(self, inside: str) -> str:
        """Return the branch that a comparison chooses."""
        end = _end(inside, 0)
        left, rest = inside[1:end], inside[end + 1 :].lstrip()
        sign = re.match(r"[=!<>]=?", rest)
        rest = rest[sign.end() :].lstrip() if sign else ""
        if sign is None or sign[0] not in _COMPARISONS or not rest.startswith("{"):
            message = f"has ${{{inside}}}, which cannot be understood"
            raise ValueError(message)
        end = _end(rest, 0)
        right, rest = rest[1:end], rest[end + 1 :].strip()
        if not rest.startswith("?"):
            message = f"has ${{{inside}}}, which has no branches"
            raise ValueError(message)
        first, other = _branches(rest[1:])
        one, two = (self.text(text, whole=True).strip() for text in (left, right))
        numbers = one.isdecimal() and two.isdecimal()
        holds = _COMPARISONS[sign[0]]
        return first if (holds(int(one), int(two)) if numbers else holds(one, two)) else other


def logical(text: str) -> list[tuple[int, str]]:
    """Return the logical lines, each with the number of the first of its lines."""
    lines: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace() and lines:
            begun, before = lines[-1]
            lines[-1] = begun, f"{before}\n{line.strip()}"
        else:
            lines.append((number, line.rstrip()))
    return lines


def rows(text: str, *, bare: bool = False) -> dict[str, str]:
    """Return the rows of a table of postmap(1), the first of each key; `bare`: keys alone too."""
    found: dict[str, str] = {}
    for _, line in logical(text):
        row = _ROW.match(" ".join(line.split("\n")))
        if row and (row[2] or bare):
            found.setdefault(row[1], row[2].strip())
    return found


def inline(text: str) -> dict[str, str]:
    """Return the rows of an inline: table, `{{key = value}, ...}` or `{key = value}`.

    ValueError where it has no end.
    """
    found: dict[str, str] = {}
    inside = text.strip()[1:-1].strip()
    while inside:
        braced = inside.startswith("{")
        end = _end(inside, 0) if braced else len(inside.split(",")[0])
        key, _, value = inside[braced:end].partition("=")
        found.setdefault(key.strip(), value.strip())
        inside = inside[end + braced :].lstrip(", \t\n")
    return found


def _branches(text: str) -> tuple[str, str]:
    """Return the two texts of `{text}:{text}`; plain text is the first of them."""
    text = text.strip()
    if not text.startswith("{"):
        return text, ""
    end = _end(text, 0)
    first, rest = text[1:end].strip(), text[end + 1 :].strip()
    if rest.startswith(":"):
        rest = rest[1:].strip()
        return first, rest[1:-1].strip() if rest.startswith("{") and rest.endswith("}") else rest
    return first, ""


def _end(text: str, at: int) -> int:
    """Return where the bracket that opens at `at` is closed."""
    open_, close = text[at], _CLOSE[text[at]]
    deep = 0
    for place in range(at, len(text)):
        deep += (text[place] == open_) - (text[place] == close)
        if not deep:
            return place
    message = f'has a "{open_}" that is not closed'
    raise ValueError(message)
