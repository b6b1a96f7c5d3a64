"""Lookup tables: rows of the configuration, and Postfix's own text files.

    # a comment; empty lines count as comments
    key value, which may have blanks
        and goes on where a line starts with a blank
    "key with blank"@example.org value

That is the text that postmap reads; no index is made or needed, 100,000 lines are read in less
than half a second.  Keys have no case, and the first of two counts.  A file of kind regexp or
pcre has patterns (`patterns.py`).
"""

import re
from collections.abc import Iterable, Iterator
from typing import Protocol

from pymail import address, configfile
from pymail.errors import ConfigError
from pymail.keys import Found, Key
from pymail.settings import Table

LIMIT = 1 << 26
"""Bytes of a file."""

_PATTERNED = ("regexp", "pcre")

# One match a line; nearly all lines are of the first kind, and are parted in C.
_lines = re.compile(
    r'([^\s"\\#][^\s"\\]*)[ \t]+([^\n]*\S)[ \t\r]*\n(?![ \t\r\n#])|(.*\n|.+)'
).findall
_parted = re.compile(r'((?:[^\s"\\]|\\.|"(?:[^"\\]|\\.)*")+)(?:\s+(\S.*))?', re.DOTALL).fullmatch


class _File(Protocol):
    mistakes: list[str]

    def find(self, key: Key) -> Found | None: ...


class Map:
    """One setting's table, its files read once.

    Raise ConfigError where one is missing, cannot be read, or is one that root would obey and
    somebody else may write to.  `source` is the place of the rows.
    """

    def __init__(self, table: Table, source: str = "") -> None:
        self._source = source
        self._rows: dict[str, str] = {}
        for key, value in table.rows:
            self._rows.setdefault(address.fold(key), value)
        self._files = [_open(name) for name in table.files]

    def __bool__(self) -> bool:
        """Say whether anything can be found."""
        return bool(self._rows or self._files)

    @property
    def mistakes(self) -> list[str]:
        """Lines of the files that are passed over, as by Postfix: "FILE, line N: reason"."""
        return [mistake for file in self._files for mistake in file.mistakes]

    def first(self, keys: Iterable[Key]) -> Found | None:
        """Return what the first of the keys stands for that is in the table, whatever its case."""
        for key in keys if self else ():
            found = self._find(key)
            if found is not None:
                return found
        return None

    def _find(self, key: Key) -> Found | None:
        value = self._rows.get(address.fold(key.text))
        if value is not None:
            return Found(key.text, value, self._source)
        for file in self._files:
            found = file.find(key)
            if found is not None:
                return found
        return None


class _Text:
    """A file of keys and values."""

    def __init__(self, path: str, text: str) -> None:
        self.mistakes: list[str] = []
        self._path = path
        self._rows: dict[str, tuple[int, str]] = {}
        for number, key, value in self._entries(text):
            if self._rows.setdefault(key.lower(), (number, value))[0] != number:
                self.mistakes.append(f"{path}, line {number}: {key} is there already")

    def find(self, key: Key) -> Found | None:
        """Return what the key stands for."""
        number, value = self._rows.get(address.fold(key.text), (0, ""))
        return Found(key.text, value, f"{self._path}, line {number}") if number else None

    def _entries(self, text: str) -> Iterator[tuple[int, str, str]]:
        for number, key, value, other in _logical(text):
            if key:
                yield number, key, value
                continue
            match = _parted(other)
            if match and match[2]:
                yield number, match[1], match[2]
            else:
                why = _mistake(other)
                self.mistakes.append(f"{self._path}, line {number}: {why}")


class _Patterns:
    """A file of patterns."""

    def __init__(self, path: str, text: str, kind: str) -> None:
        from pymail import patterns  # noqa: PLC0415 -- start-up

        self.mistakes: list[str] = []
        self._path = path
        lines = (
            (number, other or f"{key} {value}") for number, key, value, other in _logical(text)
        )
        try:
            self._rules = patterns.parse(lines, kind)
        except patterns.PatternError as error:
            raise ConfigError(f"cannot use {path}, line {error.line}: {error}") from None

    def find(self, key: Key) -> Found | None:
        """Return what the first pattern that matches makes of the key."""
        from pymail import patterns  # noqa: PLC0415 -- start-up

        number, value = (0, "") if key.part else patterns.find(self._rules, key.text)
        return Found(key.text, value, f"{self._path}, line {number}") if number else None


def _open(name: str) -> _File:
    kind, _, path = name.partition(":")
    path = path if kind in _PATTERNED else name
    data = configfile.trusted(path, LIMIT).replace(b"\0", b"\x01")
    text = data.decode("utf-8", "surrogateescape")
    return _Patterns(path, text, kind) if kind in _PATTERNED else _Text(path, text)


def _logical(text: str) -> Iterator[tuple[int, str, str, str]]:
    """Yield each logical line with the number of its first line.

    As (line, key, value, "") where it is of the kind that nearly all are, else as (line, "", "",
    the whole).  Comments and empty lines do not end a logical line.
    """
    start = 0
    whole = ""
    for number, (key, value, other) in enumerate(_lines(text), 1):
        line = other.rstrip()
        if not key and (not line or line.lstrip()[0] == "#"):
            continue
        if not key and line[0].isspace() and start:
            whole += line
            continue
        if start:
            yield start, "", "", whole
        start = 0
        if key:
            yield number, key, value, ""
        else:
            start, whole = number, line
    if start:
        yield start, "", "", whole


def _mistake(line: str) -> str:
    if line[0].isspace():
        return "starts with a blank, and nothing is before it that could go on"
    if '"' in line and not _parted(line):
        return "has a quote that is not closed"
    return "has a key and nothing behind it"
