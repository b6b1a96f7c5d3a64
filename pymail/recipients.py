"""What a person writes as recipients: lists, names, groups, aliases; and what is refused.

Only /etc/aliases and ~/.forward may name files and commands.  A recipient that looks like one
is refused here: some programs called mail write or run it, and a script may pass on what a
stranger typed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pymail import address, words
from pymail.errors import DataError

_DEPTH = 100
"""At most so deep aliases may stand for aliases."""


class Mailbox(NamedTuple):
    """One recipient or author: a display name ("" for none) and an address in internal form."""

    name: str
    address: str

    @property
    def text(self) -> str:
        """The mailbox as a header field has it, the name in ASCII (RFC 2047)."""
        spec = address.quote(self.address)
        return f"{words.phrase(self.name)} <{spec}>" if self.name else spec

    @property
    def shown(self) -> str:
        """The mailbox as a person reads it."""
        spec = address.quote(self.address)
        return f"{address.phrase(self.name)} <{spec}>" if self.name else spec


@dataclass(slots=True)
class Book:
    """The aliases of ~/.mailrc, and the login name that is left out when one is expanded."""

    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    me: str = ""


def parse(text: str) -> list[Mailbox]:
    """Return the mailboxes of an address list; groups lose their names, "<>" is left out.

    Raise DataError where one is no address.
    """
    return [box for item in _items(text) for box in _mailboxes(item)]


def resolve(text: str, book: Book) -> list[Mailbox]:
    """Return the mailboxes of an address list with the aliases of `book` expanded.

    A backslash before a name keeps it as it is.  Raise DataError where one is no address, a
    file, a command, or where aliases go round in a circle.
    """
    return _resolve(text, book, (), set())


def unique(boxes: Sequence[Mailbox]) -> list[Mailbox]:
    """Return the mailboxes without those whose address came before."""
    first: dict[str, Mailbox] = {}
    for box in boxes:
        first.setdefault(address.fold(box.address), box)
    return list(first.values())


def _resolve(text: str, book: Book, path: tuple[str, ...], done: set[str]) -> list[Mailbox]:
    found: list[Mailbox] = []
    for item in _items(text):
        literal = item.startswith("\\")
        bare = item[1:] if literal else item
        _refuse(bare, bare)
        for box in _mailboxes(bare):
            _refuse(box.address, bare)
            name = box.address
            if literal or box.name or not book.aliases.get(name) or path[-1:] == (name,):
                found.append(box)
            elif name in path:
                circle = " -> ".join((*path[path.index(name) :], name))
                raise DataError(f"cannot send to {name}: the aliases go round: {circle}")
            elif len(path) == _DEPTH:
                raise DataError(f"cannot send to {path[0]}: aliases within aliases, {_DEPTH} deep")
            elif name not in done:
                done.add(name)
                found += _expand(name, book, path, done)
    return found


def _expand(name: str, book: Book, path: tuple[str, ...], done: set[str]) -> list[Mailbox]:
    """Return the members of an alias.

    Whoever writes to a group is not sent a copy (unless `metoo` is set, or nobody else is in it).
    """
    members = [
        box for member in book.aliases[name] for box in _resolve(member, book, (*path, name), done)
    ]
    others = [box for box in members if box.address != book.me]
    return others or members


def _refuse(text: str, item: str) -> None:
    """Raise DataError where `text` is a file or a command, as programs called mail see it."""
    if text.startswith("|"):
        raise DataError(f"cannot send to {item}: mail to commands is refused")
    local = "@" not in text
    if text.startswith(("/", "./", "../", "~/")) or (local and "/" in text.partition("<")[0]):
        raise DataError(f"cannot send to {item}: mail to files is refused")
    if local and text.startswith("+"):
        raise DataError(f"cannot send to {item}: mail to folders is refused")


def _mailboxes(item: str) -> Iterator[Mailbox]:
    """Return what one element of a list holds: words with blanks between are several."""
    specs = [spec for spec in address.specs(item) if spec.local or spec.domain]
    name = _name(item) if len(specs) == 1 else ""
    for spec in specs:
        if not spec.valid or not address.is_safe(spec.address):
            raise DataError(f"cannot send to {item}: not an address")
        yield Mailbox(name, spec.address)


def _items(text: str) -> Iterator[str]:
    """Return the elements of an address list, without commas, semicolons and group names.

    Before ":" there may be addresses, too; which, address.specs() knows.
    """
    item = ""
    addressed = False
    for piece in _pieces(text):
        if piece in {",", ";", ":"}:
            if item.strip() and (addressed or piece != ":"):
                yield item.strip() + piece.strip(",;")
            item, addressed = "", False
        else:
            item += piece
            addressed = addressed or piece == "@" or piece.startswith("<")
    if item.strip():
        yield item.strip()


def _pieces(text: str) -> Iterator[str]:
    """Return single characters, but quoted strings, comments, <...> and [...] in one piece."""
    at = 0
    while at < len(text):
        end = _end(text, at)
        yield text[at:end]
        at = end


def _end(text: str, at: int) -> int:
    """Return where the piece that begins at `at` ends."""
    match text[at]:
        case "\\":
            return at + 2
        case '"':
            return _quote_end(text, at)
        case "(":
            return _comment_end(text, at)
        case "<":
            # A route (RFC 5322 4.4) has commas: <@a,@b:c@d>.
            return _bracket_end(text, at, ">", "<" if text[at + 1 : at + 2] == "@" else "<,;")
        case "[":
            return _bracket_end(text, at, "]", "[<,;")
    return at + 1


def _quote_end(text: str, at: int) -> int:
    """Return where a quoted string ends: at the end of the text if it is not closed."""
    at += 1
    while at < len(text) and text[at] != '"':
        at += 2 if text[at] == "\\" else 1
    return at + 1


def _comment_end(text: str, at: int) -> int:
    depth = 0
    while at < len(text):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 2 if text[at] == "\\" else 1
        if not depth:
            return at
    return at


def _bracket_end(text: str, start: int, close: str, stop: str) -> int:
    """Return where a bracket closes; right behind it, as a character, where it does not."""
    at = start + 1
    while at < len(text) and text[at] not in stop:
        if text[at] == close:
            return at + 1
        at = _quote_end(text, at) if text[at] == '"' else at + 1
    return start + 1


def _name(item: str) -> str:
    """Return the display name of one mailbox: the phrase before "<", else its comment."""
    phrase = ""
    comment = ""
    angle = False
    for piece in _pieces(item):
        if piece.startswith("<"):
            angle = True
        elif piece.startswith("(") and piece.endswith(")"):
            comment = comment or piece[1:-1]
        elif not angle:
            phrase += _unescaped(piece[1:-1]) if piece.startswith('"') else piece
    return " ".join((phrase if angle else _unescaped(comment)).split())


def _unescaped(text: str) -> str:
    out = ""
    chars = iter(text)
    for char in chars:
        out += next(chars, "") if char == "\\" else char
    return out
