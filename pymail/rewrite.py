"""How addresses are written anew: canonical, masquerade and generic rewriting.  Pure.

As in Postfix's ADDRESS_REWRITING_README:

    sender_canonical_maps, masquerade_domains   every message, also one that stays here
    smtp_generic_maps                           what leaves the machine by SMTP, and only there

A value "@domain" keeps the user; one without a domain gets myorigin.
"""

from collections.abc import Callable, Sequence

from pymail import address, keys
from pymail.config import Config
from pymail.keys import Lookup
from pymail.message import ADDRESSES_LIMIT, Field

MOST_TURNS = 10
"""Canonical addresses are looked up again until nothing changes, as in Postfix, but no longer."""

_SENDERS = frozenset(
    f"{prefix}{name}".encode()
    for prefix in ("", "resent-")
    for name in ("from", "sender", "reply-to")
) | {
    b"errors-to",
    b"return-receipt-to",
    b"disposition-notification-to",
    b"mail-followup-to",
}
_RECIPIENTS = frozenset(
    f"{prefix}{name}".encode() for prefix in ("", "resent-") for name in ("to", "cc")
) | {b"apparently-to"}


class Rewriting:
    """The rewriting that a configuration asks for; `lookup` finds keys in its tables."""

    def __init__(self, config: Config, lookup: Lookup) -> None:
        self._config = config
        self._lookup = lookup
        self._ours = {name.lower() for name in (config.myorigin, *config.mydestination)}
        self._exceptions = {name.lower() for name in config.masquerade_exceptions}
        self._inside = bool(config.sender_canonical_maps or config.masquerade_domains)

    def sender(self, text: str) -> str:
        """Return a sender as it is known from here on; the null sender stays what it is."""
        if not text or not self._inside:
            return text
        return self._masqueraded(self._canonical(text))

    def header(self, fields: Sequence[Field]) -> list[Field]:
        """Return a header whose addresses are written so."""
        if not self._inside:
            return list(fields)
        fields = _each(fields, _SENDERS, self.sender)
        return _each(fields, _RECIPIENTS, self._masqueraded)

    def outgoing(self, text: str) -> str:
        """Return an address as the world outside is to see it."""
        if not text or not self._config.smtp_generic_maps:
            return text
        return self._mapped("smtp_generic_maps", text, propagate=False)

    def outgoing_header(self, fields: Sequence[Field]) -> list[Field]:
        """Return a header whose addresses are written so."""
        if not self._config.smtp_generic_maps:
            return list(fields)
        return _each(fields, _SENDERS | _RECIPIENTS, self.outgoing)

    def _canonical(self, text: str) -> str:
        for _ in range(MOST_TURNS):
            before, text = text, self._mapped("sender_canonical_maps", text, propagate=True)
            if text == before:
                break
        return text

    def _mapped(self, setting: str, text: str, *, propagate: bool) -> str:
        """Return what a table says of a qualified address, or the address."""
        delimiters = self._config.recipient_delimiter
        local, domain = address.split(text)
        ours = domain.lower() in self._ours
        found = self._lookup(setting, keys.address_keys(text, delimiters, ours=ours))
        if found is None:
            return text
        base, extension = keys.parted(local, delimiters)
        bare = (base, address.quote(base), f"{base}@{domain}", address.quote(f"{base}@{domain}"))
        if not extension or found.key not in bare:
            return self._meant(found.value, local) or text
        # What the extension was taken off for is found without it, and gets it back, or not.
        value = self._meant(found.value, base)
        if value and propagate:
            user, at, rest = value.rpartition("@")
            return f"{user}{extension}{at}{rest}"
        return value or text

    def _meant(self, value: str, local: str) -> str:
        """Return the address that a value stands for, "" for none; "@domain" keeps the user."""
        keeps = value.startswith("@")
        named = address.mailboxes(f"user{value}" if keeps else value)[:1]
        if not named or not named[0][1] or not address.is_safe(value):
            return ""
        if keeps:
            return f"{local}@{address.split(named[0][0])[1]}"
        return address.qualify(named[0][0], self._config.myorigin)

    def _masqueraded(self, text: str) -> str:
        """Return an address without the subdomains that nobody outside is to see."""
        local, domain = address.split(text)
        if local.lower() in self._exceptions:
            return text
        folded = domain.lower()
        for entry in self._config.masquerade_domains:
            parent = entry.removeprefix("!").lower()
            if folded == parent:
                return text
            if folded.endswith(f".{parent}"):
                return text if entry.startswith("!") else f"{local}@{parent}"
        return text


def _each(
    fields: Sequence[Field], names: frozenset[bytes], rewrite: Callable[[str], str]
) -> list[Field]:
    out = []
    room = ADDRESSES_LIMIT
    for field in fields:
        raw = field.raw
        if field.name in names:
            head, colon, value = raw.partition(b":")
            room -= len(value)
            if room >= 0:
                raw = head + colon + address.rewrite_header(value, rewrite)
        out.append(Field(field.name, raw))
    return out
