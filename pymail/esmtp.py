"""The arguments of MAIL and RCPT (RFC 5321 4.1.2, RFC 3461).  Pure.

Whatever is wrong is a RefusalError whose text is the reply.
"""

from pymail.address import is_safe, specs
from pymail.errors import printable

_HEX = frozenset("0123456789ABCDEF")


class RefusalError(Exception):
    """A command cannot be done; str() is the reply."""


def path(argument: str, keyword: str, syntax: str) -> tuple[str, dict[str, str]]:
    """Return the address of MAIL or RCPT and its parameters (RFC 5321 4.1.2), keys in capitals."""
    if argument[: len(keyword)].upper() != keyword:
        raise RefusalError(syntax)
    argument = argument[len(keyword) :].lstrip(" ")
    end = _path_end(argument)
    mailbox, rest = argument[:end], argument[end:]
    if not mailbox or (rest and not rest.startswith(" ")):
        raise RefusalError(syntax)
    parameters: dict[str, str] = {}
    for word in rest.split():
        key, _, value = word.partition("=")
        if key.upper() in parameters:
            raise RefusalError(f"501 5.5.4 Error: two {printable(key)} parameters")
        parameters[key.upper()] = value
    return mailbox, parameters


def _path_end(text: str) -> int:
    """Return where an address ends: behind its ">", or at a blank; neither counts in quotes."""
    angle = text.startswith("<")
    quoted = False
    at = 0
    while at < len(text):
        c = text[at]
        if c == "\\":
            at += 1
        elif c == '"':
            quoted = not quoted
        elif not quoted and c == ">" and angle:
            return at + 1
        elif not quoted and c == " ":
            return 0 if angle else at
        at += 1
    return 0 if angle else len(text)


def address(text: str, refusal: str) -> str:
    """Return an address, with its brackets or without, in internal form."""
    found = specs(text)
    if len(found) != 1 or not found[0].valid or not found[0].local or not is_safe(text):
        raise RefusalError(refusal)
    return found[0].address


def one_of(value: str, words: tuple[str, ...], key: str) -> str:
    """Return the value of a parameter that is one of some words, in capitals."""
    if value.upper() not in words:
        raise RefusalError(f"501 5.5.4 Error: bad {key} parameter")
    return value.upper()


def notify(value: str) -> str:
    """Return the NOTIFY parameter in capitals (RFC 3461 4.1)."""
    words = value.upper().split(",")
    if words != ["NEVER"] and not all(word in ("SUCCESS", "FAILURE", "DELAY") for word in words):
        raise RefusalError("501 5.5.4 Error: bad NOTIFY parameter")
    return ",".join(words)


def original(value: str) -> str:
    """Return the ORCPT parameter (RFC 3461 4.2), its address decoded."""
    kind, _, recipient = value.partition(";")
    if not kind or not recipient:
        raise RefusalError("501 5.5.4 Error: bad ORCPT parameter")
    return f"{plain(kind, 'ORCPT')};{plain(recipient, 'ORCPT')}"


def plain(xtext: str, name: str) -> str:
    """Return what an xtext stands for (RFC 3461 4): "+" begins two hexadecimal digits."""
    head, *coded = xtext.split("+")
    data = head.encode("utf-8", "surrogateescape")
    for piece in coded:
        if not (len(piece) > 1 and set(piece[:2]) <= _HEX):
            raise RefusalError(f"501 5.5.4 Error: bad {name} parameter")
        data += bytes((int(piece[:2], 16),)) + piece[2:].encode("utf-8", "surrogateescape")
    text = data.decode("utf-8", "surrogateescape")
    if not text or not is_safe(text):
        raise RefusalError(f"501 5.5.4 Error: bad {name} parameter")
    return text
