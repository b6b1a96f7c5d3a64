"""Old configurations as ours: what can be carried over, and what cannot."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Self

__all__ = ["Imported", "Machine", "MistakeError", "Word", "named"]


class MistakeError(Exception):
    """A configuration cannot be understood; `line` is where, 0 where that is in no one line."""

    def __init__(self, words: str, line: int = 0) -> None:
        """Take what is wrong, without the name of the file."""
        super().__init__(words)
        self.line = line


class Word(str):
    """A text of a configuration, and the line in which it begins."""

    __slots__ = ("line",)
    line: int

    def __new__(cls, text: str, line: int) -> Self:
        """Take the text and its line."""
        word = super().__new__(cls, text)
        word.line = line
        return word


class Machine(NamedTuple):
    """What an importer has to know of this machine.

    read    returns what is in a file that a configuration names, or that lies beside it; None
            where it cannot be read
    origin  the domain of addresses that have none
    users   the names of all users
    """

    read: Callable[[str], str | None]
    origin: str
    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Imported:
    """What is carried over, and what is not.

    settings  ours, by name
    accounts  tables [fetch.NAME] by name
    logins    "user:password" by next hop or sender, as in smtp_sasl_password_maps
    aliases   members by name
    lost      what is in none of these, and why
    notes     what is another here, for a person to know
    """

    settings: dict[str, object] = field(default_factory=dict)
    accounts: dict[str, dict[str, object]] = field(default_factory=dict)
    logins: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


_MOST_NAME = 50


def named(accounts: dict[str, dict[str, object]], name: str) -> str:
    """Return a name for a further account: `name`, or with a number behind it."""
    plain = "".join(c if c.isalnum() or c in "_.@+-" else "-" for c in name)
    plain = plain.lstrip(".@+-")[:_MOST_NAME] or "account"
    number = 1
    found = plain
    while found in accounts:
        number += 1
        found = f"{plain}-{number}"
    return found
