"""The files of a configuration: which there are, whether they can be trusted, what they set.

config.toml         written by hand
conf.d/*.toml       over it, in the order of their names
conf.d/90-pymail.toml   written by `pymail config set` (overlay.py)
"""

import os
import re
import stat
from collections.abc import Mapping

from pymail.errors import ConfigError
from pymail.settings import elements, shown

LIMIT = 1 << 20
"""Bytes that a configuration file may have."""

CRON = "cron"
"""The table in which settings of this name may stand: [cron] fold is cron_fold."""

_FLAGS = {"yes": "true", "true": "true", "no": "false", "false": "false"}

_head = re.compile(r"""\s*\[\s*([\w-]+)\s*\.\s*(?:"([^"]+)"|'([^']+)'|([\w-]+))\s*\]""").match
_row = re.compile(r"\s*[\"']?([\w-]+)[\"']?\s*=").match

Given = dict[str, tuple[object, str]]
"""A raw value by name, each with its place: "FILE, line N"."""


class Rows(dict[str, object]):
    """A table [NAME.NAME] of a file: `place` is where it begins, `places` where each row is."""

    def __init__(self, rows: Mapping[str, object], place: str, places: Mapping[str, str]) -> None:
        super().__init__(rows)
        self.place = place
        self.places = places


def files(path: str) -> list[str]:
    """Return the files of the configuration at `path` that exist, the later over the earlier."""
    folder = overlays(path)
    try:
        _refuse_unsafe(folder, os.stat(folder))
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        names = []
    except OSError as error:
        raise _unreadable(folder, error) from error
    try:
        os.lstat(path)
        found = [path]
    except (FileNotFoundError, NotADirectoryError):
        found = []
    except OSError as error:  # not "no configuration": mail would bounce that is to be relayed
        raise _unreadable(path, error) from error
    return found + [f"{folder}/{name}" for name in names if _counts(name)]


def overlays(path: str) -> str:
    """Return the directory of the files that lie over `path`."""
    return os.path.join(os.path.dirname(path), "conf.d")


def read(file: str) -> Given:
    """Return what a file sets.  ConfigError if it cannot be read, or root cannot trust it."""
    data = trusted(file, LIMIT)
    try:
        return parse(data.decode("utf-8-sig"), file)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"cannot read {file}, line {line}: not UTF-8") from None


def trusted(file: str, limit: int) -> bytes:
    """Return what a file has that is obeyed.  ConfigError as read(), or over `limit` bytes."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with open(fd, "rb") as stream:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) and not stat.S_ISCHR(status.st_mode):
                raise ConfigError(f"cannot read {file}: not a file")
            _refuse_unsafe(file, status)
            data = stream.read(limit + 1)
    except OSError as error:
        raise _unreadable(file, error) from error
    if len(data) > limit:
        raise ConfigError(f"cannot read {file}: larger than {limit} bytes")
    return data


def parse(text: str, file: str) -> Given:
    """Return what the text of a file sets.  ConfigError if it is no TOML."""
    import tomllib  # noqa: PLC0415 -- 12 ms that a machine without a configuration saves

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"(?:Invalid value|newline).* \(at line (\d+)", str(error))
        hint = _hint(text.split("\n")[int(at[1]) - 1]) if at else ""
        if at and hint:
            raise ConfigError(f"cannot read {file}, line {at[1]}: {hint}") from None
        words = re.sub(r" \(at (.*)\)", r", \1", str(error))
        raise ConfigError(f"cannot read {file}: {words}") from None
    lines = _lines(text)

    def place(name: str) -> str:
        return f"{file}, line {lines[name]}" if name in lines else file

    found: Given = {}
    for name, value in table.items():
        if name == CRON and isinstance(value, dict):
            found |= {f"{CRON}_{key}": (each, place(key)) for key, each in value.items()}
        else:
            found[name] = value, place(name)
    for (name, each), (first, rows) in _tables(text).items():
        tables = table.get(name)
        if isinstance(tables, dict) and isinstance(tables.get(each), dict):
            places = {key: f"{file}, line {number}" for key, number in rows.items()}
            tables[each] = Rows(tables[each], f"{file}, line {first}", places)
    return found


def unsafe(status: os.stat_result, uid: int) -> str:
    """Say why a file that decides what `uid` runs cannot be trusted, or return ""."""
    if status.st_uid not in {0, uid}:
        return f"its owner is uid {status.st_uid}"
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        return "anybody can write to it"
    if status.st_mode & stat.S_IWGRP and status.st_gid != 0:
        return f"the group {status.st_gid} can write to it"
    return ""


def _counts(name: str) -> bool:
    return name.endswith(".toml") and not name.startswith(".")


def _refuse_unsafe(file: str, status: os.stat_result) -> None:
    """Refuse, as root, a file or directory that somebody else may change."""
    why = unsafe(status, 0) if os.geteuid() == 0 else ""
    if why and not stat.S_ISCHR(status.st_mode):
        raise ConfigError(f"cannot use {file}: {why}, and root would obey it")


def _unreadable(file: str, error: OSError) -> ConfigError:
    return ConfigError(f"cannot read {file}: {error.strerror}")


def _hint(line: str) -> str:
    """Say how TOML has a line whose value is written as in main.cf, "" where it is not."""
    match = re.fullmatch(r"\s*([\w-]+)\s*=\s*([^\s\"'#][^\"'#]*?)\s*(?:#.*)?", line)
    if match is None:
        return ""
    name, value = match[1], match[2]
    if value.lower() in _FLAGS:
        return f"a flag is true or false: {name} = {_FLAGS[value.lower()]}"
    if value[0] == "[" and "," in value:
        members = tuple(elements(value.strip("[]")))
        return f"the texts of a list stand in quotes: {name} = {shown(members)}"
    if name == "password":  # it is mailed by cron
        value = "..."
    return f"a text stands in quotes: {name} = {shown(value)}"


def _lines(text: str) -> dict[str, int]:
    """Return the line at which each name is set; a text of several lines may mislead it."""
    found: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r"\s*\[*\s*[\"']?([\w-]+)[\"']?\s*[=.\]]", line)
        if match:
            found.setdefault(match[1], number)
    return found


def _tables(text: str) -> dict[tuple[str, str], tuple[int, dict[str, int]]]:
    """Return the line of each head [NAME.NAME], and that of each name below it, as _lines()."""
    found: dict[tuple[str, str], tuple[int, dict[str, int]]] = {}
    rows: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        head = _head(line)
        row = _row(line)
        if head:
            rows = {}
            found.setdefault((head[1], head[2] or head[3] or head[4]), (number, rows))
        elif line.lstrip().startswith("["):
            rows = {}  # of another table
        elif row:
            rows.setdefault(row[1], number)
    return found
