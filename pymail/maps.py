"""Lookup tables: rows of the configuration, and Postfix's own text files.

key value               a file as postmap reads it: "#" comments, continuation lines; keys
                        are folded to lower case
/pattern/flags value    regexp:, pcre: files; $1 ${1} $(1) stand for what a group matched,
                        "!" before the pattern means what does not match
"""

import re
from collections.abc import Iterator

from pymail import configfile
from pymail.address import fold
from pymail.errors import ConfigError
from pymail.settings import Table

LIMIT = 1 << 26
"""Bytes of a file."""

MOST_KEY = 1000
"""Characters of a key that a pattern is tried on; no address is longer."""

_rule = re.compile(r"(!?)([^\w\s])(.*?)(?<!\\)\2([a-zA-Z]*)\s+(.+)\Z").match
_group = re.compile(r"\$(?:\$|(\d)|\{(\d)\}|\((\d)\))").sub


class Map:
    """What a setting of kind "map" holds; files are read when something is first looked for."""

    def __init__(self, table: Table) -> None:
        self._rows = {fold(key): value for key, value in table.rows}
        self._files = table.files
        self._parts: list[_Keys | _Patterns] | None = None

    def __bool__(self) -> bool:
        """Say whether anything can be found."""
        return bool(self._rows or self._files)

    def get(self, key: str) -> str | None:
        """Return the value of a key.  ConfigError names a file that cannot be used."""
        found = self._rows.get(fold(key))
        if found is not None or not self._files:
            return found
        if self._parts is None:
            self._parts = [_read(file) for file in self._files]
        for part in self._parts:
            found = part.get(fold(key))
            if found is not None:
                return found
        return None

    def first(self, keys: Iterator[str]) -> tuple[str, str] | None:
        """Return the first key that has a value, with the value."""
        if self:
            for key in keys:
                found = self.get(key)
                if found is not None:
                    return key, found
        return None


class _Keys:
    """A file of keys and values."""

    def __init__(self, lines: Iterator[tuple[int, str]], file: str) -> None:
        self._values: dict[str, str] = {}
        for number, line in lines:
            key, *value = line.split(None, 1)
            if not value:
                raise ConfigError(f"cannot use {file}, line {number}: a key without a value")
            self._values.setdefault(fold(key), value[0])  # the first counts, as in postmap

    def get(self, key: str) -> str | None:
        return self._values.get(key)


class _Patterns:
    """A file of regular expressions, tried in order."""

    def __init__(self, lines: Iterator[tuple[int, str]], file: str) -> None:
        self._rules: list[tuple[bool, re.Pattern[str], str]] = []
        for number, line in lines:
            found = _rule(line)
            if not found:
                raise ConfigError(f"cannot use {file}, line {number}: not /pattern/ value")
            negated, _, pattern, flags, value = found.groups()
            # Case does not count unless the flag "i" says so, as in Postfix.
            case = re.IGNORECASE if flags.count("i") % 2 == 0 else 0
            try:
                self._rules.append((bool(negated), re.compile(pattern, case), value))
            except re.error as error:
                raise ConfigError(f"cannot use {file}, line {number}: {error}") from None

    def get(self, key: str) -> str | None:
        if len(key) > MOST_KEY:
            return None
        for negated, pattern, value in self._rules:
            found = pattern.search(key)
            if bool(found) != negated:
                return _filled(value, found)
        return None


def _filled(value: str, found: re.Match[str] | None) -> str:
    def group(reference: re.Match[str]) -> str:
        number = reference[1] or reference[2] or reference[3]
        if not number:
            return "$"
        try:
            return (found[int(number)] if found else None) or ""
        except IndexError:
            return ""

    return _group(group, value)


def _read(file: str) -> _Keys | _Patterns:
    kind, colon, path = file.partition(":")
    path = path if colon else file
    lines = _logical(configfile.trusted(path, LIMIT).decode("utf-8", "surrogateescape"))
    return _Patterns(lines, path) if colon and kind in ("regexp", "pcre") else _Keys(lines, path)


def _logical(text: str) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that says something, continuations joined."""
    begun, line = 0, ""
    for number, raw in enumerate(text.split("\n"), 1):
        if not raw.strip() or raw.lstrip().startswith("#"):
            continue
        if raw[0] in " \t" and line:
            line += " " + raw.strip()
            continue
        if line:
            yield begun, line
        begun, line = number, raw.strip()
    if line:
        yield begun, line
