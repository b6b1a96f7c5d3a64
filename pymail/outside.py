"""Which transport mail takes that leaves the machine, and what its next hop is.  Pure.

As in Postfix's trivial-rewrite(8): transport_maps, then a next hop in default_transport, then
sender_dependent_relayhost_maps, then relayhost, then the domain of the recipient.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pymail import keys, nexthop
from pymail.address import split
from pymail.config import Config

Lookup = Callable[[str, Iterator[str]], tuple[str, str] | None]
"""From the name of a setting and keys, the first key that is in that table, and its value."""

KINDS = ("smtp", "lmtp", "local", "error", "retry", "discard", "hold")


@dataclass(frozen=True, slots=True)
class Choice:
    """A transport; `argument` is a list of next hops, or words; `steps` tell how it was found."""

    kind: str
    argument: str
    steps: tuple[str, ...]


def mapped(config: Config, lookup: Lookup, recipient: str) -> Choice | None:
    """Return what transport_maps says of a recipient, None where it says nothing."""
    if not config.transport_maps:
        return None
    found = lookup("transport_maps", keys.transport_keys(recipient, config.recipient_delimiter))
    if found is None:
        return None
    key, value = found
    step = f"{key} is in transport_maps: {value} ({config.source('transport_maps')})"
    kind, colon, argument = value.partition(":")
    if not colon or not kind:
        default, _, _ = config.default_transport.partition(":")
        kind = kind or _relaying(default)
    return _choice(kind, argument, recipient, (step,))


def unmapped(config: Config, lookup: Lookup, recipient: str, sender: str) -> Choice:
    """Return the transport of a recipient of another domain that is in no table."""
    setting = config.default_transport
    domain = split(recipient)[1]
    step = (
        f"{domain} is not in mydestination: default_transport = {setting}"
        f" ({config.source('default_transport')})"
    )
    kind, _, argument = setting.partition(":")
    if argument or _relaying(kind) != "smtp" or kind not in ("smtp", "relay"):
        return _choice(kind, argument, recipient, (step,))
    hops, why = _relay(config, lookup, sender)
    return _choice(kind, hops, recipient, (step, *why))


def _relay(config: Config, lookup: Lookup, sender: str) -> tuple[str, tuple[str, ...]]:
    """Return the relay for a sender, "" for none, with the step that tells of it."""
    name = "sender_dependent_relayhost_maps"
    if getattr(config, name):
        found = lookup(name, keys.sender_keys(sender, config.recipient_delimiter))
        if found and found[1].upper() != "DUNNO":
            return found[1], (f"{found[0]} is in {name}: {found[1]} ({config.source(name)})",)
    hops = ", ".join(config.relayhost)
    if not hops:
        return "", ()
    return hops, (f"relayhost = {hops} ({config.source('relayhost')})",)


def _choice(kind: str, argument: str, recipient: str, steps: tuple[str, ...]) -> Choice:
    kind = "smtp" if kind == "relay" else kind
    if kind not in KINDS:
        words = f"5.3.5 unknown transport {kind}: use one of {', '.join(KINDS)}"
        return Choice("retry", words, steps)
    if kind == "smtp":
        argument = argument or split(recipient)[1].lower()
        try:
            nexthop.parse_all(argument)
        except ValueError as error:
            return Choice("error", f"5.1.2 cannot send to {recipient}: {error}", steps)
    return Choice(kind, argument, steps)


def _relaying(kind: str) -> str:
    """Return the transport that a table means where it names a next hop only."""
    return kind if kind in ("smtp", "relay", "lmtp") else "smtp"
