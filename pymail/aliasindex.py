"""The index of a large aliases file: SQLite, written by newaliases, read one key at a time.

Table `source`: one row, the format's version and the size, mtime in nanoseconds and inode of
the text it was made from.  Table `aliases`: the aliases in the order of their folded names,
sixteen in a row, each as name, line and right side as in the text, NUL-separated; the row's key
is its first name.  A row an alias would take three times as long to write.

The text is the truth: an index that does not fit it exactly, or cannot be read, is not there.
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
TOGETHER = 16
TICK = 20_000_000
"""Nanoseconds in which a file may change twice without a new mtime."""

_TABLES = """
    CREATE TABLE source (version INTEGER, size INTEGER, mtime INTEGER, inode INTEGER);
    CREATE TABLE aliases (first BLOB PRIMARY KEY, some BLOB) WITHOUT ROWID;
"""


class Index:
    """A fresh index, open."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, key: str) -> tuple[int, str]:
        """Return line and right side of a folded name, line 0 if it is not there.

        DataError if the index is damaged.
        """
        name = _bytes(key)
        try:
            row = self._connection.execute(
                "SELECT some FROM aliases WHERE first <= ? ORDER BY first DESC LIMIT 1", (name,)
            ).fetchone()
        except sqlite3.Error as error:
            raise DataError(f"cannot read the index of the aliases: {error}") from None
        words = row[0].split(b"\0") if row else []
        for at in range(0, len(words) - 2, 3):
            if words[at] == name:
                return int(words[at + 1]), words[at + 2].decode("utf-8", "surrogateescape")
        return 0, ""


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
    rows = [(name, line, rhs) for name, (line, rhs) in table.items()]
    rows.sort(key=lambda row: _bytes(row[0]))
    parts = [rows[at : at + TOGETHER] for at in range(0, len(rows), TOGETHER)]
    chunks = [
        (_bytes(part[0][0]), _bytes("\0".join([f"{row[0]}\0{row[1]}\0{row[2]}" for row in part])))
        for part in parts
    ]
    try:
        _sweep(place)
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        connection = sqlite3.connect(temporary, isolation_level=None)
        connection.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA page_size = 8192;"
            + _TABLES
        )
        connection.execute("BEGIN")
        connection.execute("INSERT INTO source VALUES (?, ?, ?, ?)", _identity(status))
        connection.executemany("INSERT INTO aliases VALUES (?, ?)", chunks)
        connection.execute("COMMIT")
        connection.close()
        _sync(temporary)
        os.replace(temporary, place)
        _sync(index_dir)
    except (OSError, sqlite3.Error) as error:
        _unlink(temporary)
        raise TempError(f"cannot write {place}: {error}") from error


def _sweep(place: str) -> None:
    """Remove what a newaliases that was killed has left of its index."""
    folder, name = os.path.split(place)
    for each in os.listdir(folder):
        pid = each.removeprefix(f"{name}.")
        if pid == each or not pid.isdecimal():
            continue
        if pid == str(os.getpid()) or not os.path.exists(f"/proc/{pid}"):
            _unlink(f"{folder}/{each}")


def remove(index_dir: str, file: str) -> None:
    """Remove the index of an aliases file, if there is one."""
    _unlink(path(index_dir, file))


def settle(status: os.stat_result) -> None:
    """Wait until a change of the text would show in its mtime."""
    if 0 <= time.time_ns() - status.st_mtime_ns < TICK:
        time.sleep(TICK / 1e9)


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return VERSION, status.st_size, status.st_mtime_ns, status.st_ino


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


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
