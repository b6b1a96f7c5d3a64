"""Every mistake in an aliases file, with its line; and its index, from the same pass."""

import os
import re
import stat
from typing import NamedTuple

from pymail import aliases
from pymail.errors import MailError
from pymail.members import Item, scan

_key_like = re.compile(r"[ \t]+([A-Za-z0-9_+.-]+)[ \t]*:(?![A-Za-z]+:)").match


class Mistake(NamedTuple):
    """A mistake at a line (0: of the whole file); `fatal` if it makes an alias unusable."""

    file: str
    line: int
    text: str
    fatal: bool

    def __str__(self) -> str:
        place = f"{self.file}, line {self.line}" if self.line else self.file
        return f"{place}: {self.text}"


def check(path: str) -> list[Mistake]:
    """Return every mistake in an aliases file, in the order of its lines."""
    return Examined(path).mistakes


class Examined:
    """An aliases file read as a whole: its table, its mistakes, its status (None: no file)."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.table: dict[str, tuple[int, str]] = {}
        self.mistakes: list[Mistake] = []
        self.status: os.stat_result | None = None
        try:
            text, self.status = aliases.read(path)
        except MailError as error:
            self._found(0, str(error).partition(": ")[2], fatal=True)
            return
        table = self.table
        for line, key, plain, other in aliases.logical(text):
            name, rhs, mistake = (key.lower(), plain, "") if key else aliases.definition(other)
            if mistake:
                self._found(line, mistake, fatal=True)
            elif name in table:
                self._found(
                    line, f"duplicate alias {name}: the one on line {table[name][0]} counts"
                )
            else:
                table[name] = (line, rhs)
                if not key:
                    self._examine(line, name, rhs)
        self.mistakes.sort(key=lambda mistake: mistake.line)

    def index(self, index_dir: str) -> None:
        """Write the index of this file, or remove it where the file is small."""
        from pymail import aliasindex  # noqa: PLC0415 -- sqlite3 only where there is an index

        if self.status is not None and self.status.st_size > aliases.INDEXED:
            aliasindex.write(index_dir, self.path, self.status, self.table)
        else:
            aliasindex.remove(index_dir, self.path)

    def _found(self, line: int, text: str, *, fatal: bool = False) -> None:
        self.mistakes.append(Mistake(self.path, line, text, fatal))

    def _examine(self, line: int, name: str, rhs: str) -> None:
        for offset, part in enumerate(rhs.split("\n")):
            match = _key_like(part) if offset else None
            if match:
                words = f'"{match[1]}:" starts with a blank, so it is part of the alias {name}'
                self._found(line + offset, words)
        items = scan(rhs)
        if not items:
            self._found(line, f"missing value for the alias {name}", fatal=True)
        if Item("address", "#") in items:
            self._found(line, f"{name}: # starts a comment only at the start of a line")
        for item in items:
            words = _mistake(item)
            if words:
                self._found(line, f"{name}: {words}", fatal=True)


def _mistake(item: Item) -> str:
    if item.kind == "invalid":
        return f"cannot understand {item.value}"
    if item.kind == "file" and item.value.startswith("~"):
        return f"{item.value} is in nobody's home: write the whole path"
    if item.kind == "include":
        return _include_mistake(item.value)
    return ""


def _include_mistake(file: str) -> str:
    try:
        status = os.stat(file)
    except PermissionError:
        return ""  # whoever may not look cannot tell
    except OSError as error:
        return f"cannot read {file}: {error.strerror}"
    why = aliases.unsafe_include(status)
    return f"cannot use {file}: {why}" if why and not stat.S_ISCHR(status.st_mode) else ""
