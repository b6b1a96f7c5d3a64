"""Under which keys an address is looked for in a lookup table, and what is found.  Pure.

The orders are those of transport(5), canonical(5), generic(5) and of sender-dependent tables.
A key is written as in a message, "john doe"@example.org, and where that is not there as the
address means it, john doe@example.org.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from pymail.address import quote, split


class Key(NamedTuple):
    """What to look for; tables of patterns are not asked for a `part` of an address."""

    text: str
    part: bool = False


class Found(NamedTuple):
    """What a key stands for, and where that is written ("FILE, line N")."""

    key: str
    value: str
    place: str


Lookup = Callable[[str, Iterator[Key]], Found | None]
"""From the name of a setting and keys, the first of them that is in that table."""


def address_keys(address: str, delimiters: str, *, ours: bool) -> Iterator[Key]:
    """Yield where an address is looked for: user@domain, user, @domain; first with extension.

    The bare user only where its domain is one of `ours`.
    """
    local, domain = split(address)
    locals_ = dict.fromkeys((local, parted(local, delimiters)[0]))
    for name in locals_:
        yield from _spellings(f"{name}@{domain}", part=name != local)
    if ours:
        for name in locals_:
            yield from _spellings(name, part=True)
    yield Key(f"@{domain}", part=True)


def sender_keys(address: str, delimiters: str) -> Iterator[Key]:
    """Yield where a sender is looked for: user+ext@domain, user@domain, @domain, or "<>"."""
    return address_keys(address, delimiters, ours=False) if address else iter((Key("<>"),))


def transport_keys(address: str, delimiters: str) -> Iterator[Key]:
    """Yield where a recipient is looked for: addresses, domain, .parent domains, "*"."""
    *addresses, _ = address_keys(address, delimiters, ours=False)
    yield from addresses
    parent = split(address)[1]
    yield Key(parent, part=True)
    while "." in parent:
        parent = parent.partition(".")[2]
        yield Key(f".{parent}", part=True)
    yield Key("*", part=True)


def parted(local: str, delimiters: str) -> tuple[str, str]:
    """Return a local part without its extension, and the extension with its delimiter."""
    places = [at for at in (local.find(d, 1) for d in delimiters) if at > 0]
    at = min(places) if places else len(local)
    return local[:at], local[at:]


def _spellings(address: str, *, part: bool) -> Iterator[Key]:
    quoted = quote(address)
    yield Key(quoted, part)
    if quoted != address:
        yield Key(address, part)
