"""Which transport mail takes, and what its next hop is when it leaves the machine.  Pure.

As in Postfix's trivial-rewrite(8): transport_maps, then a next hop in default_transport, then
sender_dependent_relayhost_maps, then relayhost, then the domain of the recipient.
"""

from typing import NamedTuple

from pymail import keys, nexthop
from pymail.address import split
from pymail.config import Config
from pymail.keys import Lookup

KINDS = ("smtp", "lmtp", "local", "error", "retry", "discard", "hold")

_RELAYS = "sender_dependent_relayhost_maps"


class Choice(NamedTuple):
    """A transport; `argument` is a list of next hops, or words; `steps` tell how it was found."""

    kind: str
    argument: str
    steps: tuple[str, ...]


def choose(config: Config, lookup: Lookup, recipient: str, sender: str, *, ours: bool) -> Choice:
    """Return the transport of a recipient, whose domain is one of ours or is not.

    A line of transport_maps may name a transport only, which goes to the domain of the
    recipient, or a next hop only, or nothing (":"), which means "as without this table".
    """
    found = None
    if config.transport_maps:
        wanted = keys.transport_keys(recipient, config.recipient_delimiter)
        found = lookup("transport_maps", wanted)
    kind, _, argument = found.value.partition(":") if found else ("", "", "")
    kind, argument = kind.strip(), argument.strip()
    if kind:
        choice = _choice(kind, argument, recipient)
    else:
        choice = Choice("local", "", ()) if ours else _usual(config, lookup, recipient, sender)
        if argument and not ours:
            kind = choice.kind if choice.kind in ("smtp", "lmtp") else "smtp"
            choice = _choice(kind, argument, recipient)
    if found is None:
        return choice
    step = f"{found.key} is in transport_maps: {found.value} ({found.place})"
    return choice._replace(steps=(step, *choice.steps))


def _usual(config: Config, lookup: Lookup, recipient: str, sender: str) -> Choice:
    """Return the transport of a recipient of another domain that is in no table."""
    setting = config.default_transport
    domain = split(recipient)[1]
    step = (
        f"{domain} is not in mydestination: default_transport = {setting}"
        f" ({config.source('default_transport')})"
    )
    kind, _, argument = setting.partition(":")
    if argument or kind not in ("smtp", "relay"):
        return _choice(kind, argument, recipient, step)
    hops, why = _relay(config, lookup, sender)
    return _choice(kind, hops, recipient, step, why or f"no relayhost: to the servers of {domain}")


def _relay(config: Config, lookup: Lookup, sender: str) -> tuple[str, str]:
    """Return the relay for a sender, and where it is written; "" for none."""
    if config.sender_dependent_relayhost_maps:
        found = lookup(_RELAYS, keys.sender_keys(sender, config.recipient_delimiter))
        if found and found.value.upper() != "DUNNO":
            return found.value, f"{found.key} is in {_RELAYS}: {found.value} ({found.place})"
    hops = ", ".join(config.relayhost)
    return hops, f"relayhost = {hops} ({config.source('relayhost')})" if hops else ""


def _choice(kind: str, argument: str, recipient: str, *steps: str) -> Choice:
    """Return a transport that can be used; a mistake in a setting returns nobody's mail."""
    kind = "smtp" if kind == "relay" else kind
    words = ""
    if kind not in KINDS:
        words = f"unknown transport {kind}: use one of {', '.join(KINDS)}"
    elif kind == "lmtp" and not argument:
        words = "no place behind lmtp:"
    elif kind == "smtp":
        trouble = _trouble(argument)
        if trouble:
            words = f"cannot send to {recipient}: {trouble}"
        elif not argument:
            return _direct(recipient, steps)
    if words:
        return Choice("retry", f"4.3.5 {words}", steps)
    return Choice(kind, argument, steps)


def _direct(recipient: str, steps: tuple[str, ...]) -> Choice:
    domain = split(recipient)[1].lower()
    trouble = _trouble(domain)
    if trouble:
        return Choice("error", f"5.1.2 cannot send to {recipient}: {trouble}", steps)
    if _is_here(domain):
        return Choice("error", f"5.4.6 mail for {recipient} loops back to this machine", steps)
    return Choice("smtp", domain, steps)


def _is_here(domain: str) -> bool:
    """Say whether a domain is an address that is this machine on every machine."""
    hop = nexthop.parse(domain)
    if not hop.literal:
        return False
    import ipaddress  # noqa: PLC0415 -- start-up

    place = ipaddress.ip_address(hop.host)
    return place.is_loopback or place.is_unspecified


def _trouble(hops: str) -> str:
    """Say why a list of next hops is none, or return ""."""
    try:
        nexthop.parse_all(hops)
    except ValueError as error:
        return str(error)
    return ""
