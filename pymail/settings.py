"""What one setting may hold: its kind, its bounds, and how it is written.  Pure.

`config.py` has the table of the settings.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple


class Table:
    """What a lookup table is made of: rows of the configuration itself, then files.

    A file is "/path" in the format of Postfix's text maps, "regexp:/path" or "pcre:/path".
    """

    __slots__ = ("files", "rows")

    def __init__(self, rows: tuple[tuple[str, str], ...] = (), files: tuple[str, ...] = ()) -> None:
        self.rows = rows
        self.files = files

    def __eq__(self, other: object) -> bool:
        """Say whether it is made of the same."""
        return isinstance(other, Table) and (self.rows, self.files) == (other.rows, other.files)

    def __hash__(self) -> int:
        """Go with __eq__."""
        return hash((self.rows, self.files))

    def __bool__(self) -> bool:
        """Say whether anything can be found in it."""
        return bool(self.rows or self.files)


Value = str | int | bool | tuple[str, ...] | Table

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
UNLIMITED = 2**53

_TEXT_FILES = ("hash", "texthash", "lmdb", "cdb", "dbm", "btree")
"""Kinds of Postfix's maps; what is read is always the text that postmap would read."""

_PATTERN_FILES = ("regexp", "pcre")


class Setting(NamedTuple):
    """One row of the table.

    `pattern` is what a text, or each member of a list, must match, and `wanted` says so in
    words. `raw` means that a `$name` in it is for delivery (or for a shell) and is left alone.
    `shown` is the default in words where it depends on the machine.
    """

    kind: str
    default: Value
    words: str
    low: int = 0
    high: int = UNLIMITED
    pattern: str = ""
    wanted: str = ""
    raw: bool = False
    shown: str = ""


def row(kind: str, default: Value, words: str, **more: Any) -> Any:  # noqa: ANN401
    """Declare one setting of a table; Any, because the attribute has a type of its own."""
    return Setting(kind, default, words, **more)


def checked(setting: Setting, value: object) -> Value:
    """Return a TOML value as this setting holds it; ValueError says what is wrong with it."""
    return _CHECKS[setting.kind](setting, value)


def seconds(text: str) -> int:
    """Return the seconds that "5d", "1h", "30m" or "2w" stands for; ValueError."""
    match = re.fullmatch(r"\s*([0-9]+)\s*([smhdw])\s*", text)
    if match is None:
        message = f'"{text}" is no time: write a number of seconds, or "30m", "1h", "5d", "2w"'
        raise ValueError(message)
    return int(match[1]) * UNITS[match[2]]


def elements(text: str) -> list[str]:
    """Split a list as Postfix writes it, at commas and blanks."""
    return [word for word in re.split(r"[,\s]+", text) if word]


def shown(value: Value) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Table) and value.rows:
        return "{ " + ", ".join(f"{_quoted(k)} = {_quoted(v)}" for k, v in value.rows) + " }"
    if isinstance(value, Table):
        value = value.files
    return "[" + ", ".join(_quoted(word) for word in value) + "]"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean X?)` for the nearest known name, or nothing."""
    import difflib  # noqa: PLC0415 -- start-up

    close = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    plain = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped)
    return f'"{plain}"'


def _flag(_setting: Setting, value: object) -> bool:
    if not isinstance(value, bool):
        message = "must be true or false"
        raise ValueError(message)  # noqa: TRY004 -- every refusal of a value is a ValueError
    return value


def _number(setting: Setting, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        message = "must be a number, without quotes"
        raise ValueError(message)  # noqa: TRY004
    if not setting.low <= value <= setting.high:
        message = f"{value} is out of range: {_range(setting)}"
        raise ValueError(message)
    return value


def _time(setting: Setting, value: object) -> int:
    if isinstance(value, str):
        value = seconds(value)
    if isinstance(value, bool) or not isinstance(value, int):
        message = 'must be a time: a number of seconds, or "30m", "1h", "5d", "2w"'
        raise ValueError(message)  # noqa: TRY004
    return _number(setting, value)


def _text(setting: Setting, value: object) -> str:
    if not isinstance(value, str):
        message = "must be a text, in quotes"
        raise ValueError(message)  # noqa: TRY004
    return _matched(setting, value)


def _list(setting: Setting, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = elements(value)
    if not isinstance(value, list | tuple) or not all(isinstance(word, str) for word in value):
        message = "must be a list of texts"
        raise ValueError(message)
    return tuple(dict.fromkeys(_matched(setting, word) for word in value))


def _map(_setting: Setting, value: object) -> Table:
    if isinstance(value, Table):
        return value
    if isinstance(value, dict):
        if not all(isinstance(right, str) and right.isprintable() for right in value.values()):
            message = "must have a text behind each key"
            raise ValueError(message)
        return Table(rows=tuple(value.items()))
    if isinstance(value, str):
        value = elements(value)
    if not isinstance(value, list | tuple) or not all(isinstance(word, str) for word in value):
        message = "must be a table, or a list of files"
        raise ValueError(message)
    return Table(files=tuple(map(_file, value)))


def _file(word: str) -> str:
    found = re.fullmatch(r"(?:(\w+):)?(/[^\s]+)", word)
    if not found or found[1] not in {None, *_TEXT_FILES, *_PATTERN_FILES} or not word.isprintable():
        kinds = ", ".join((*_TEXT_FILES, *_PATTERN_FILES))
        shown = word if re.match(r"(\w+:)?/", word) else "..."  # it may be a login
        message = f'"{shown}" is not the path of a file, alone or behind one of {kinds} and ":"'
        raise ValueError(message)
    return word if found[1] in _PATTERN_FILES else found[2]


def _matched(setting: Setting, text: str) -> str:
    if not text.isprintable():
        message = "has a control character in it"
        raise ValueError(message)
    # Our own defaults are in order; to compile a pattern for each of them costs start-up.
    own = setting.default if isinstance(setting.default, tuple) else (setting.default,)
    if setting.pattern and text not in own and not re.fullmatch(setting.pattern, text):
        message = f'"{text}" is not {setting.wanted}'
        raise ValueError(message)
    return text


def _range(setting: Setting) -> str:
    if setting.high == UNLIMITED:
        return f"at least {setting.low}"
    return f"from {setting.low} to {setting.high}"


_CHECKS: dict[str, Callable[[Setting, object], Value]] = {
    "text": _text,
    "number": _number,
    "time": _time,
    "flag": _flag,
    "list": _list,
    "map": _map,
}
