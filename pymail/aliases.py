"""The aliases file: its lines, what a name stands for, and every mistake in it.

    # a comment, at the start of a line only
    name: member, member,
        member on a line that goes on, because it starts with a blank
    "name with blank": member

The text is always the truth.  For a large file `newaliases` writes an index beside the spool
(`aliasindex.py`); where it is missing or older than the text, the text is read.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pymail import address
from pymail.errors import ConfigError, DataError, TempError
from pymail.members import PLAIN, Item, parse_lines, parse_rhs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pymail.aliasindex import Index

LIMIT = 64 << 20
"""Bytes that an aliases file may have."""

INDEXED = 64 << 10
"""Bytes from which on an aliases file gets an index."""

# One match a line.  With the short way for plain addresses, all in C, 100,000 aliases take a
# third of the time.
_lines = re.compile(
    rf"([A-Za-z0-9_+.-]+)[ \t]*:[ \t]*({PLAIN})[ \t]*\r?\n(?![ \t\r\n#])|(.*\n|.+)"
).findall
_definition = re.compile(
    r'(?:"((?:[^"\\\n]|\\.)*)"|([^\s:"@(),;<>]+))[ \t]*:(?!include:)(.*)', re.DOTALL
).match


class Entry(NamedTuple):
    """What a name stands for, and where that is written."""

    items: tuple[Item, ...]
    file: str
    line: int


class Aliases:
    """The aliases of several files; an earlier file counts before a later one."""

    def __init__(self, tables: "dict[str, Whole | Index]") -> None:
        self._tables = tables

    def lookup(self, key: str) -> Entry | None:
        """Return what `key` stands for, whatever its case; None if it is no alias."""
        key = address.fold(key)
        for file in self._tables:
            line, rhs = self._find(file, key)
            items = tuple(parse_rhs(rhs)) if line else ()
            if items:
                return Entry(items, file, line)
        return None

    def _find(self, file: str, key: str) -> tuple[int, str]:
        try:
            return self._tables[file].find(key)
        except DataError:  # a damaged index
            self._tables[file] = Whole(read(file)[0])
            return self._tables[file].find(key)


class Whole:
    """A table of all the aliases in a text; the first of two with one name counts."""

    def __init__(self, text: str) -> None:
        self._found: dict[str, tuple[int, str]] = {}
        for line, key, rhs, other in logical(text):
            if key:
                self._found.setdefault(key.lower(), (line, rhs))
                continue
            name, rhs_text, mistake = definition(other)
            if not mistake:
                self._found.setdefault(name, (line, rhs_text))

    def find(self, key: str) -> tuple[int, str]:
        """Return line and right side; line 0 if it is not there."""
        return self._found.get(key, (0, ""))


def load(paths: Iterable[str], index_dir: str) -> Aliases:
    """Open the aliases files; one that is not there has no aliases.

    `index_dir` is where newaliases writes its indexes.  ConfigError if somebody else may write
    to a file; TempError if it cannot be read: then nothing is known of any name, and mail must
    wait.
    """
    return Aliases({path: _table(path, index_dir) for path in paths})


def _table(path: str, index_dir: str) -> "Whole | Index":
    text, status = read(path, INDEXED)
    if status is None or status.st_size <= INDEXED:
        return Whole(text)
    from pymail import aliasindex  # noqa: PLC0415 -- sqlite3 only where there is an index

    return aliasindex.fresh(index_dir, path, status) or Whole(read(path)[0])


def read(path: str, limit: int = LIMIT) -> tuple[str, os.stat_result | None]:
    """Return the text of an aliases file, up to `limit` bytes, and its status (None: no file)."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError):
        return "", None
    except OSError as error:
        raise TempError(f"cannot read {path}: {error.strerror}") from error
    try:
        status = os.fstat(fd)
        why = unsafe(status, os.geteuid())
        if why:
            raise ConfigError(f"cannot use {path}: {why}")
        # NUL means nothing here, and in the index it stands between the words.
        data = _bytes(fd, limit).replace(b"\0", b"\x01")
        return data.decode("utf-8", "surrogateescape"), status
    except OSError as error:
        raise TempError(f"cannot read {path}: {error.strerror}") from error
    finally:
        os.close(fd)


def _bytes(fd: int, limit: int) -> bytes:
    parts: list[bytes] = []
    while limit > 0 and (part := os.read(fd, min(limit, 1 << 20))):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)


def logical(text: str) -> Iterator[tuple[int, str, str, str]]:
    """Yield each alias with the number of its first line.

    As (line, name, plain addresses, "") where it is of the kind that nearly all are, else as
    (line, "", "", its lines), for definition().  Comments in it are left out, each leaving an
    empty line, so that lines can be counted; they do not end an alias.
    """
    start = 0
    lines: list[str] = []
    for number, (key, rhs, other) in enumerate(_lines(text), 1):
        line = other.rstrip("\n")
        if not key and line[:1] in {"", " ", "\t", "\r", "#"}:
            if not line.strip() or line.lstrip()[0] == "#":
                lines.append("")
            elif start:
                lines.append(line)
            else:
                yield number, "", "", line
            continue
        if start:
            yield start, "", "", "\n".join(lines)
        if key:
            start = 0
            yield number, key, rhs, ""
        else:
            start, lines = number, [line]
    if start:
        yield start, "", "", "\n".join(lines)


def definition(text: str) -> tuple[str, str, str]:
    """Return (folded name, right side, "") of an alias's lines, or ("", "", the mistake)."""
    match = _definition(text)
    if match is None:
        return "", "", _mistake(text)
    name = match[2] if match[1] is None else re.sub(r"\\(.)", r"\1", match[1])
    return address.fold(name), match[3], ""


def unsafe(status: os.stat_result, uid: int) -> str:
    """Say why `uid` cannot trust an aliases file of this status, or return ""."""
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISCHR(status.st_mode):
        return "not a file"
    if status.st_uid not in {0, uid}:
        return f"its owner is uid {status.st_uid}, not root"
    if status.st_mode & 0o022 and not stat.S_ISCHR(status.st_mode):
        return "others can write to it"
    return f"larger than {LIMIT} bytes" if status.st_size > LIMIT else ""


def unsafe_include(status: os.stat_result) -> str:
    """Say why nobody can trust an :include: file of this status, or return ""."""
    if not stat.S_ISREG(status.st_mode):
        return "not a file"
    return "others can write to it" if status.st_mode & 0o022 else ""


def members(text: str) -> list[Item]:
    """Return the members in an :include: file: any number a line, and # comments."""
    return parse_lines(text)


def _mistake(text: str) -> str:
    """Say what is wrong with lines that define no alias."""
    if text[:1] in {" ", "\t"}:
        return "line starts with a blank, and no alias is before it"
    text = text.strip()
    name = text.partition(":")[0].strip()
    if ":" not in text or re.match(r"\S+\s+:include:", text):
        return f"missing ':' after the name {name.split()[0]}"
    if not name:
        return "missing name before ':'"
    if "@" in name:
        return f"name must be local: {name}"
    return f'"{name}" is no name (one with a blank or a special character stands in quotes)'
