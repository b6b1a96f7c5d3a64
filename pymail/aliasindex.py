"""The index of a large aliases file: SQLite, written by newaliases, read one key at a time.

Table `source`: one row, the format's version and the size, mtime in nanoseconds and inode of
the text it was made from.  Table `alias`: folded name, line, right side as in the text.  The
text is the truth: an index that does not fit it exactly, or cannot be read, is not there.
"""

import contextlib
import os
import sqlite3
import stat
import time
import urllib.parse
from collections.abc import Mapping

from pymail.errors import DataError, TempError

VERSION = 1
TICK = 20_000_000
"""Nanoseconds in which a file may change twice without a new mtime."""

_TABLES = """
    CREATE TABLE source (version INTEGER, size INTEGER, mtime INTEGER, inode INTEGER);
    CREATE TABLE alias (name TEXT PRIMARY KEY, line INTEGER, rhs TEXT) WITHOUT ROWID;
"""


class Index:
    """A fresh index, open."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, key: str) -> tuple[int, str]:
        """Return line and right side of a folded name, line 0 if it is not there.

        DataError if the index is damaged.
        """
        try:
            row = self._connection.execute(
                "SELECT line, rhs FROM alias WHERE name = ?", (_stored(key),)
            ).fetchone()
        except sqlite3.Error as error:
            raise DataError(f"cannot read the index of the aliases: {error}") from None
        return (int(row[0]), _loaded(row[1])) if row else (0, "")


def path(index_dir: str, file: str) -> str:
    """Return where the index of an aliases file is."""
    return f"{index_dir}/aliases{urllib.parse.quote(file, safe='').replace('%2F', '-')}.index"


def fresh(index_dir: str, file: str, status: os.stat_result) -> Index | None:
    """Open the index that was made from the text of this status; None if there is none."""
    place = path(index_dir, file)
    try:
        about = os.lstat(place)
    except OSError:
        return None
    trusted = about.st_uid in {0, os.geteuid()} and not about.st_mode & 0o022
    if not stat.S_ISREG(about.st_mode) or not trusted:
        return None
    try:
        connection = sqlite3.connect(
            f"file:{urllib.parse.quote(place)}?mode=ro&immutable=1", uri=True, isolation_level=None
        )
        made_from = connection.execute("SELECT * FROM source").fetchall()
    except sqlite3.Error:
        return None
    return Index(connection) if made_from == [_identity(status)] else None


def write(
    index_dir: str, file: str, status: os.stat_result, table: Mapping[str, tuple[int, str]]
) -> None:
    """Write the index of a text with this status; it is there whole or not at all."""
    place = path(index_dir, file)
    temporary = f"{place}.{os.getpid()}"
    # In the order of the names the tree grows at its end only, which is twice as fast.
    rows = ((_stored(name), line, _stored(rhs)) for name, (line, rhs) in sorted(table.items()))
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        connection = sqlite3.connect(temporary, isolation_level=None)
        connection.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA page_size = 8192;"
            + _TABLES
        )
        connection.execute("BEGIN")
        connection.execute("INSERT INTO source VALUES (?, ?, ?, ?)", _identity(status))
        connection.executemany("INSERT INTO alias VALUES (?, ?, ?)", rows)
        connection.execute("COMMIT")
        connection.close()
        _sync(temporary)
        os.replace(temporary, place)
        _sync(index_dir)
    except (OSError, sqlite3.Error) as error:
        _unlink(temporary)
        raise TempError(f"cannot write {place}: {error}") from error


def remove(index_dir: str, file: str) -> None:
    """Remove the index of an aliases file, if there is one."""
    _unlink(path(index_dir, file))


def settle(status: os.stat_result) -> None:
    """Wait until a change of the text would show in its mtime."""
    if 0 <= time.time_ns() - status.st_mtime_ns < TICK:
        time.sleep(TICK / 1e9)


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return VERSION, status.st_size, status.st_mtime_ns, status.st_ino


def _stored(text: str) -> str | bytes:
    """Return what SQLite can hold of a text with bytes that are no UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape")


def _loaded(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def _sync(place: str) -> None:
    fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unlink(place: str) -> None:
    # It may not be there, or the directory not be ours: an old index is not used anyway.
    with contextlib.suppress(OSError):
        os.unlink(place)
