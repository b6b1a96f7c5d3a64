"""Tables of patterns, as Postfix's regexp_table(5) and pcre_table(5) write them.  Pure.

/pattern/flags result      the result where the pattern is found in the key; $1 is its group 1
!/pattern/flags result     ... where it is not found
if /pattern/flags          what follows, up to endif, counts only where this is found
endif

Patterns are Python's: those of regexp tables are translated, those of pcre tables are nearly
the same.  Where several ways to match exist, groups hold what Perl would find.  How long a
pattern takes is the business of whoever wrote it; keys have a bounded length.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

MOST = 1024
"""Characters of a key; a longer one matches nothing."""

_FLAGS = {
    "regexp": {"i": re.IGNORECASE, "m": re.MULTILINE},
    "pcre": {
        "i": re.IGNORECASE,
        "m": re.MULTILINE,
        "s": re.DOTALL,
        "x": re.VERBOSE,
        "E": re.NOFLAG,  # about a final line end, which no key has
        "X": re.NOFLAG,
    },
}
_DEFAULT = {"regexp": re.IGNORECASE, "pcre": re.IGNORECASE | re.DOTALL}

_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": r"\x21-\x7e",
    "lower": "a-z",
    "print": r"\x20-\x7e",
    "punct": r"\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e",
    "space": r"\s",
    "upper": "A-Z",
    "word": r"\w",
    "xdigit": "0-9A-Fa-f",
}

_bracket = re.compile(r"\[\^?\]?(?:\[:\^?\w+:\]|\[[.=].*?[.=]\]|[^\]])*\]", re.DOTALL).match
_pcre_bracket = re.compile(r"\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]", re.DOTALL).match
_class = re.compile(r"\[:(\^?)(\w+):\]").match
_reference = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\}|\((\w+)\))?")
_condition = re.compile(r"if(?![0-9A-Za-z])\s*(.*)", re.DOTALL | re.IGNORECASE).fullmatch
_end = re.compile(r"endif(?![0-9A-Za-z]).*", re.DOTALL | re.IGNORECASE).fullmatch


class PatternError(Exception):
    """A line of a table of patterns that cannot be used."""

    def __init__(self, line: int, words: str) -> None:
        super().__init__(words)
        self.line = line


class Rule(NamedTuple):
    """One line; `end` is where to go on when a condition fails, 0 for a line with a result."""

    line: int
    pattern: "re.Pattern[str]"
    wanted: bool
    result: str
    end: int = 0


def parse(lines: Iterable[tuple[int, str]], kind: str) -> list[Rule]:
    """Return the rules in these logical lines of a table of kind "regexp" or "pcre".

    Raise PatternError with the number of the line.
    """
    rules: list[Rule] = []
    opened: list[int] = []
    for number, text in lines:
        if _end(text):
            _close(number, rules, opened)
            continue
        condition = _condition(text)
        if condition:
            opened.append(len(rules))
        try:
            rules.append(_rule(number, condition[1] if condition else text, kind))
        except ValueError as error:
            raise PatternError(number, str(error)) from None
    if opened:
        raise PatternError(rules[opened[-1]].line, "if without endif")
    return rules


def find(rules: Sequence[Rule], key: str) -> tuple[int, str]:
    """Return line and result of the first rule that `key` matches; line 0 for none."""
    if len(key) > MOST:
        return 0, ""
    at = 0
    while at < len(rules):
        rule = rules[at]
        match = rule.pattern.search(key)
        found = (match is not None) == rule.wanted
        if rule.end:
            at = at + 1 if found else rule.end
        elif found:
            return rule.line, _filled(rule.result, match)
        else:
            at += 1
    return 0, ""


def _close(number: int, rules: list[Rule], opened: list[int]) -> None:
    if not opened:
        raise PatternError(number, "endif without if")
    at = opened.pop()
    rule = rules[at]
    rules[at] = Rule(rule.line, rule.pattern, rule.wanted, "", len(rules))


def _rule(number: int, text: str, kind: str) -> Rule:
    bare = text.lstrip("!").lstrip()
    wanted = (len(text) - len(text.lstrip("!"))) % 2 == 0
    if not bare or bare[0].isalnum():
        raise ValueError("no pattern between two / is here")
    source, rest = _parted(bare)
    flags = rest.split(None, 1)[0] if rest and not rest[0].isspace() else ""
    result = rest[len(flags) :].strip()
    pattern = _compiled(source, flags, kind)
    _check(result, pattern.groups if wanted else 0)
    return Rule(number, pattern, wanted, result)


def _parted(text: str) -> tuple[str, str]:
    """Part "/pattern/rest" at the delimiter that ends the pattern."""
    at = 1
    while at < len(text) and text[at] != text[0]:
        at += 2 if text[at] == "\\" else 1
    if at >= len(text):
        raise ValueError(f"no {text[0]} ends the pattern")
    return text[1:at], text[at + 1 :]


def _compiled(source: str, letters: str, kind: str) -> "re.Pattern[str]":
    flags = _DEFAULT[kind]
    for letter in letters:
        if letter == "A" and kind == "pcre":
            source = rf"\A(?:{source})"
        elif letter in _FLAGS[kind]:
            flags ^= _FLAGS[kind][letter]
        else:
            raise ValueError(f"flag {letter} is not known here")
    try:
        # ASCII: no foreign letter is the same as one of ours in another case.
        return re.compile(_translated(source, kind), flags | re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"bad pattern: {error}") from None


def _translated(source: str, kind: str) -> str:
    """Return a pattern as Python writes it."""
    out: list[str] = []
    at = 0
    while at < len(source):
        match = (_bracket if kind == "regexp" else _pcre_bracket)(source, at)
        if source[at] == "[" and match:
            out.append(_set(match[0], kind))
            at = match.end()
        elif source[at] == "\\":
            out.append(_escape(source[at : at + 2], kind))
            at += 2
        else:
            out.append(source[at])
            at += 1
    return "".join(out)


def _escape(pair: str, kind: str) -> str:
    if kind == "pcre":
        return {r"\z": r"\Z", r"\Z": r"\Z", r"\h": r"[ \t]"}.get(pair, pair)
    if pair in (r"\<", r"\>"):
        return r"\b"
    return pair[1:] if pair[1:].isalpha() and pair[1:] not in "wWsSbB" else pair


def _set(text: str, kind: str) -> str:
    """Return a bracket expression with the classes of POSIX written out."""
    head = text[:2] if text.startswith("[^") else "["
    out, at, end = [head], len(head), len(text) - 1
    while at < end:
        named = _class(text, at)
        if named:
            out.append(_named(named[1], named[2]))
            at = named.end()
        elif text[at] == "\\" and kind == "pcre":
            out.append(text[at : at + 2])
            at += 2
        else:
            # "&&", "||" and "~~" may get a meaning in Python; "[" warns of one.
            out.append("\\" + text[at] if text[at] in r"\[]&|~" else text[at])
            at += 1
    return "".join(out) + "]"


def _named(negated: str, name: str) -> str:
    if negated or name not in _CLASSES:
        raise ValueError(f"bad pattern: no class [:{negated}{name}:]")
    return _CLASSES[name]


def _check(result: str, groups: int) -> None:
    for match in _reference.finditer(result):
        name = match[2] or match[3] or match[4]
        if match[1]:
            continue
        if not name or not name.isdecimal():
            raise ValueError(f"{match[0]} in the result is no group: a $ itself is $$")
        if not 0 < int(name) <= groups:
            raise ValueError(f"{match[0]} in the result: the pattern has {groups} groups")


def _filled(result: str, match: "re.Match[str] | None") -> str:
    def value(reference: "re.Match[str]") -> str:
        name = reference[2] or reference[3] or reference[4]
        if match is None or not name:
            return "$"
        return match[int(name)] or ""

    return _reference.sub(value, result)
