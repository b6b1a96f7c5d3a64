"""Which messages a person means: the message lists of POSIX mailx.  Pure.

    n        the message of that number       user     those whom `user` sent
    .        the current one                  /text    those with `text` in the subject
    ^ $      the first, the last              :c       those that are n new, o old, r read,
    + -      the one behind, before                    u unread, d deleted, f flagged,
    n-m      all between                               a replied to
    *        all

Words add up; a :c beside others keeps of them what is such.  Messages marked for deletion count
for `undelete` and `hold` only.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pymail.errors import DataError

_RANGE = re.compile(r"([0-9]+|[.^$])(?:-([0-9]+|[.^$]))?")

MARK = re.compile(r"[0-9]+(?:-(?:[0-9]+|[.^$]))?|[.^](?:-(?:[0-9]+|[.^$]))?|[$*+-]|:[a-z]")
"""What is a message list and can be nothing else: no command, file or name looks like it."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is asked of a message."""

    address: str
    subject: str
    new: bool = False
    read: bool = False
    replied: bool = False
    flagged: bool = False
    deleted: bool = False


_KINDS: dict[str, Callable[[Known], bool]] = {
    "n": lambda m: m.new,
    "o": lambda m: not m.new,
    "r": lambda m: m.read,
    "u": lambda m: not m.read,
    "d": lambda m: m.deleted,
    "f": lambda m: m.flagged,
    "a": lambda m: m.replied,
}


@dataclass(frozen=True, slots=True)
class _Among:
    """The messages, numbered from 1, and those of them that count."""

    messages: Sequence[Known]
    current: int
    deleted: bool | None

    def number(self, text: str) -> int:
        """Return the number that one end of a range means."""
        named = {
            ".": self.current,
            "^": self.step(0, 1),
            "$": self.step(len(self.messages) + 1, -1),
        }
        at = named[text] if text in named else int(text[:9])
        if not 0 < at <= len(self.messages):
            raise DataError(f"no message {text}")
        return at

    def step(self, at: int, by: int) -> int:
        """Return the next message that counts, 0 for none."""
        at += by
        while 0 < at <= len(self.messages) and not self.counts(at):
            at += by
        return at if 0 < at <= len(self.messages) else 0

    def counts(self, at: int) -> bool:
        """Say whether a message may be meant."""
        return self.deleted is None or self.messages[at - 1].deleted == self.deleted

    def all(self, holds: Callable[[Known], bool]) -> list[int]:
        """Return every message that counts and for which `holds` does."""
        pairs = enumerate(self.messages, 1)
        return [at for at, known in pairs if self.counts(at) and holds(known)]


def select(
    words: Sequence[str], messages: Sequence[Known], current: int, *, deleted: bool | None = False
) -> list[int]:
    """Return the numbers of the messages that `words` mean, in order; the current one for none.

    `current` is 0 where there is none.  With `deleted` those marked for deletion count, else
    the others; all count with None.  Raise DataError where nothing is meant.
    """
    among = _Among(messages, current, deleted)
    kinds = [word for word in words if word.startswith(":")]
    others = [word for word in words if not word.startswith(":")]
    if ":d" in kinds:
        among = _Among(messages, current, deleted=True)
    found = {at for word in others for at in _one(word, among)}
    for word in kinds:
        if word[1:] not in _KINDS:
            raise DataError(f"{word} is no kind of message: one of :n :o :r :u :d :f :a")
    if kinds:
        such = {at for word in kinds for at in among.all(_KINDS[word[1:]])}
        found = found & such if others else such
    elif not others:
        found = set(_one(".", among))
    if not found:
        raise DataError(f"no message is {' '.join(words)}")
    return sorted(found)


def following(messages: Sequence[Known], current: int, by: int) -> int:
    """Return the next message (by 1) or the one before (by -1) that is not deleted, 0 for none."""
    return _Among(messages, current, deleted=False).step(current, by)


def _one(word: str, among: _Among) -> list[int]:
    """Return what one word means, but for :c."""
    if word == "*":
        return among.all(lambda _: True)
    if word in {"+", "-"}:
        at = among.step(among.current, 1 if word == "+" else -1)
        if not at:
            raise DataError("no message there")
        return [at]
    if word.startswith("/"):
        wanted = word[1:].casefold()
        return among.all(lambda m: wanted in m.subject.casefold())
    match = _RANGE.fullmatch(word)
    if match is None:
        wanted = word.casefold()
        return among.all(lambda m: _is_from(wanted, m.address.casefold()))
    first = among.number(match[1])
    last = among.number(match[2]) if match[2] else first
    if not match[2] and not among.counts(first):
        raise DataError(f"message {first} is {'not ' if among.deleted else ''}deleted")
    return [at for at in range(first, last + 1) if among.counts(at)]


def _is_from(wanted: str, address: str) -> bool:
    return wanted in {address, address.partition("@")[0]}
