"""~/.mailrc: the variables and aliases of mail.

The file has one command a line; a backslash at the end of a line continues it, "#" begins a
comment.  Known are `set`, `unset`, `alias` (also `group`), `unalias`, `alternates`, `ignore`
(also `discard`), `retain`, `source` and `if ... else ... endif`, and their abbreviations.
Everything else is for other programs that read the file, and is passed over.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pymail import charset
from pymail.branches import Branches

_COMMANDS = {
    "alias": 1,
    "alternates": 3,
    "group": 1,
    "set": 2,
    "unset": 3,
    "unalias": 4,
    "discard": 2,
    "ignore": 2,
    "retain": 3,
    "source": 2,
    "if": 1,
    "else": 2,
    "endif": 2,
}
"""The commands, and the shortest abbreviation of each."""

_CONTROLS = {"n": "\n", "t": "\t"}

_DEPTH = 10
"""At so many files that source one another the innermost is left out."""

_SIZE = 1 << 20
"""Bytes that are read of a file."""


@dataclass(slots=True)
class Mailrc:
    """What the start-up files say.

    home      what "~" stands for
    terminal  what `if terminal` asks
    sends     what `if send` asks; else mail is read
    local     the codec of the locale, for text that is not UTF-8
    others    addresses that are the user's too (`alternates`)
    ignored   names of header fields that are not shown, in lower case
    retained  those that alone are shown, where there are any
    """

    home: str
    terminal: bool = False
    sends: bool = True
    local: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, list[str]] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    ignored: set[str] = field(default_factory=set)
    retained: list[str] = field(default_factory=list)

    def read(self, path: str, depth: int = 0) -> None:
        """Obey the commands of a file.  Raise OSError where it cannot be read."""
        with open(path, "rb") as file:
            text = charset.decode(file.read(_SIZE), self.local)
        self.obey(text, depth)

    def obey(self, text: str, depth: int = 0) -> None:
        """Obey the commands in `text`, which may be several lines."""
        branches = Branches()
        for line in text.replace("\\\n", " ").splitlines():
            name, args = _command(line)
            if name == "if":
                branches.begin(holds=self.holds(args))
            elif name == "else":
                branches.turn()
            elif name == "endif":
                branches.end()
            elif branches:
                self._obey(name, args, depth)

    def assign(self, arg: str) -> None:
        """Obey one argument of `set`: name=value, name, or noname."""
        name, equals, value = arg.partition("=")
        if not equals and name.startswith("no"):
            self.variables.pop(name[2:], None)
        elif name:
            self.variables[name] = value

    def value(self, name: str, env: Mapping[str, str]) -> str:
        """Return a variable of mail, else of the environment, else ""."""
        return self.variables.get(name) or env.get(name, "")

    def path(self, name: str, env: Mapping[str, str], default: str) -> str:
        """Return the path in a variable, with "~/" and a "+" for the folder directory expanded."""
        return self.expand(self.value(name, env) or default)

    def expand(self, path: str) -> str:
        """Return the path with "~/" at its beginning expanded, and "+" for $folder."""
        if path.startswith("+") and len(path) > 1:
            folder = self.expand(self.variables.get("folder") or "~/")
            return os.path.join(self.home, folder, path[1:])
        return self.home + path[1:] if path == "~" or path.startswith("~/") else path

    def holds(self, args: list[str]) -> bool | None:
        """Say whether the condition of an `if` holds; None for one that is not known."""
        word = args[0].lower() if args else "?"
        known = {"send": self.sends, "receive": not self.sends, "terminal": self.terminal}
        return next((value for name, value in known.items() if name.startswith(word)), None)

    def _obey(self, name: str, args: list[str], depth: int) -> None:
        if name == "set":
            for arg in args:
                self.assign(arg)
        elif name in {"unset", "unalias"}:
            known: dict[str, Any] = self.variables if name == "unset" else self.aliases
            for arg in args:
                known.pop(arg, None)
        elif name in {"alias", "group"} and len(args) > 1:
            self.aliases.setdefault(args[0], []).extend(args[1:])
        elif name == "source" and args and depth < _DEPTH:
            self._source(args[0], depth)
        else:
            self._add(name, args)

    def _add(self, name: str, args: list[str]) -> None:
        """Obey a command that makes a list longer."""
        if name == "alternates":
            self.others += args
        elif name == "retain":
            self.retained += [arg.lower() for arg in args]
        elif name in {"discard", "ignore"}:
            self.ignored |= {arg.lower() for arg in args}

    def _source(self, path: str, depth: int) -> None:
        try:
            self.read(self.expand(path), depth + 1)
        except OSError:
            # A file of other machines that share this ~/.mailrc.
            return


def start(mailrc: Mailrc, env: Mapping[str, str], *, system: bool) -> str:
    """Obey /etc/mail.rc (where `system` says so) and $MAILRC or ~/.mailrc.

    Return "" or why the user's own file could not be read; that there is none is no reason.
    """
    if system:
        with contextlib.suppress(OSError):  # the user can do nothing about that file
            mailrc.read("/etc/mail.rc")
    path = mailrc.expand(env.get("MAILRC") or "~/.mailrc")
    try:
        mailrc.read(path)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"cannot read {path}: {error.strerror}"
    return ""


def _command(line: str) -> tuple[str, list[str]]:
    """Return the full name of the command on a line ("" for an unknown one) and its arguments."""
    name, *args = [*_words(line)] or [""]
    for command, shortest in _COMMANDS.items():
        if command.startswith(name) and len(name) >= shortest:
            return command, args
    return "", args


def _words(line: str) -> Iterator[str]:
    r"""Return the words of a line.

    Quotes keep blanks; a backslash keeps the next character, but for \n and \t in quotes.
    """
    word = ""
    quote = ""
    inside = False
    chars = iter(line)
    for char in chars:
        if char == "\\" and quote != "'":
            after = next(chars, "")
            word += _CONTROLS.get(after, after) if quote else after
            inside = True
        elif char == quote:
            quote = ""
        elif not quote and char in "\"'":
            quote = char
            inside = True
        elif quote or not char.isspace():
            if char == "#" and not inside:
                return
            word += char
            inside = True
        elif inside:
            yield word
            word, inside = "", False
    if inside:
        yield word
