"""From a next hop to the servers to try: MX, A and AAAA records, the machine's own hosts file.

What DNS says decides (RFC 5321 5.1): no such domain is final, no answer is a reason to wait,
and without a network nothing is known at all.  A domain's exchangers may not lead back to us;
what the administrator wrote in brackets may, and is looked up as every program of the machine
does.
"""

import functools
import ipaddress
import random
import socket
from collections.abc import Iterator
from itertools import chain, groupby, islice, zip_longest
from typing import TYPE_CHECKING

from pymail import network
from pymail.config import Config
from pymail.nexthop import PORT, NextHop
from pymail.outcome import Outcome, bounced, deferred, offline
from pymail.transport.smtp import Server

if TYPE_CHECKING:
    from dns.resolver import Answer, Resolver

LIFETIME = 20
"""Seconds that one look-up may take, all tries and all name servers together."""

MOST_EXCHANGERS = 50
MOST_ADDRESSES = 20
"""Of one host."""

_NOT_FOUND = "Host or domain name not found. Name service error for name={} type={}: {}"


class UnresolvedError(Exception):
    """A next hop has no server; `outcome` is that of all its mail."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.words)
        self.outcome = outcome


def servers(hop: NextHop, config: Config) -> list[Server]:
    """Return the servers of a next hop in the order to try.  Raise UnresolvedError."""
    if hop.literal:
        return [Server(hop.host, hop.host, hop.port, hop)]
    if not hop.mx:
        return [Server(hop.host, each, hop.port, hop) for each in _of_machine(hop, config)]
    return list(islice(_exchanged(hop, config), config.smtp_mx_address_limit or None))


def _exchanged(hop: NextHop, config: Config) -> Iterator[Server]:
    """Yield the servers of a domain's exchangers, the best first."""
    exchangers = _without_us(hop, _exchangers(hop), config)
    failures: list[Outcome] = []
    found = 0
    for name in exchangers:
        try:
            addresses = _in_turn(_addresses(name, config))
        except UnresolvedError as error:
            failures.append(error.outcome)
            continue
        for address in addresses:
            found += 1
            yield Server(name, address, hop.port, hop)
    if not found:
        # One that may be found later is worth waiting for.
        waiting = [each for each in failures if each.status != "bounced"]
        raise UnresolvedError((waiting or failures)[0])


def _exchangers(hop: NextHop) -> list[tuple[int, str]]:
    """Return (preference, name) of the exchangers of a domain, those alike in random order."""
    domain = _ascii(hop.host)
    answer = _ask(domain, "MX")
    records = [(r.preference, r.exchange.to_text(omit_final_dot=True)) for r in answer or ()]
    if not records:
        return [(0, domain)]  # RFC 5321 5.1: the domain is its own exchanger
    if len(records) == 1 and records[0][1] in ("", "."):
        words = f"Domain {hop.host} does not accept mail (nullMX)"
        raise UnresolvedError(bounced("5.1.10", words))
    random.shuffle(records)
    return sorted(records, key=lambda record: record[0])[:MOST_EXCHANGERS]


def _without_us(hop: NextHop, exchangers: list[tuple[int, str]], config: Config) -> list[str]:
    """Return the names that are better than our own.  Raise UnresolvedError for none."""
    us = {config.myhostname.lower()}
    kept: list[str] = []
    for _, group in groupby(exchangers, key=lambda record: record[0]):
        names = [name for _, name in group]
        if hop.port == PORT and any(_leads_here(name, us, config) for name in names):
            break  # we are the exchanger: those no better than we are send it to us
        kept += names
    if not kept:
        words = f"mail for {hop.host} loops back to myself"
        raise UnresolvedError(bounced("5.4.6", words))
    return kept


def _leads_here(name: str, us: set[str], config: Config) -> bool:
    if name.lower() in us:
        return True
    try:
        return not network.addresses().isdisjoint(_addresses(name, config))
    except UnresolvedError:
        return False


def _addresses(name: str, config: Config) -> list[str]:
    """Return the addresses of an exchanger, IPv6 first.  Raise UnresolvedError for none."""
    found: list[str] = []
    failure: UnresolvedError | None = None
    for kind in ("AAAA", "A"):
        if not _wanted(kind, config):
            continue
        try:
            answer = _ask(name, kind)
        except UnresolvedError as error:
            failure = error
            continue
        found += [record.address for record in answer or ()][:MOST_ADDRESSES]
    good = [each for each in found if _is_remote(each)]
    if good:
        return good
    if found:
        words = f"{name} has no address that another machine can have: {found[0]}"
        raise UnresolvedError(bounced("5.4.4", words))
    if failure:
        raise failure
    raise UnresolvedError(bounced("5.4.4", _NOT_FOUND.format(name, "A", "No address")))


def _is_remote(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return not (address.is_loopback or address.is_unspecified or address.is_multicast)


def _in_turn(addresses: list[str]) -> Iterator[str]:
    """Yield IPv6 and IPv4 in turn: where one of them is dead, the other is not far."""
    v6 = [each for each in addresses if ":" in each]
    v4 = [each for each in addresses if ":" not in each]
    random.shuffle(v6)
    random.shuffle(v4)
    return (each for each in chain(*zip_longest(v6, v4)) if each)


def _ask(name: str, kind: str) -> "Answer | None":
    """Return the records of a name, None where it has none of that kind.

    Raise UnresolvedError where the name does not exist, or nobody answers.
    """
    import dns.exception  # noqa: PLC0415  (80 ms that a relay by address does not need)
    import dns.resolver  # noqa: PLC0415

    try:
        answer = _resolver().resolve(name, kind, lifetime=LIFETIME, search=False)
    except dns.resolver.NoResolverConfiguration:
        raise UnresolvedError(_later("no name server in /etc/resolv.conf")) from None
    except dns.resolver.NoAnswer:
        return None
    except dns.resolver.NXDOMAIN:
        words = _NOT_FOUND.format(name, kind, "Host not found")
        raise UnresolvedError(bounced("5.4.4", words)) from None
    except (dns.resolver.NoNameservers, dns.exception.Timeout, OSError):
        words = _NOT_FOUND.format(name, kind, "Host not found, try again")
        raise UnresolvedError(_later(words)) from None
    except dns.exception.DNSException as error:
        words = _NOT_FOUND.format(name, kind, type(error).__name__)
        raise UnresolvedError(bounced("5.1.2", words)) from None  # no name that can exist
    return answer


@functools.cache
def _resolver() -> "Resolver":
    import dns.resolver  # noqa: PLC0415

    resolver = dns.resolver.Resolver()
    # An exchanger is looked at twice: whether it is us, and where it is.
    resolver.cache = dns.resolver.LRUCache()
    return resolver


def _of_machine(hop: NextHop, config: Config) -> list[str]:
    """Return the addresses of a host that was named by the administrator: /etc/hosts counts.

    A name that does not exist is a mistake in a setting, and no reason to return all mail.
    """
    try:
        found = socket.getaddrinfo(hop.host, hop.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        words = getattr(error, "strerror", None) or "no name of a host"
        raise UnresolvedError(_later(f"cannot find host {hop.host}: {words}")) from None
    addresses = [str(place[4][0]) for place in found]
    wanted = [a for a in addresses if _wanted("AAAA" if ":" in a else "A", config)]
    if not wanted:
        words = f"host {hop.host} has only addresses that inet_protocols leaves out"
        raise UnresolvedError(deferred("4.4.4", words))
    return list(dict.fromkeys(wanted))[:MOST_ADDRESSES]


def _later(words: str) -> Outcome:
    """Return the outcome of a look-up that failed: without a network it could not do else."""
    if not network.online():
        return offline(f"no network: {words}")
    return deferred("4.4.3", words)


def _wanted(kind: str, config: Config) -> bool:
    protocol = {"A": "ipv4", "AAAA": "ipv6"}[kind]
    return not {"all", protocol}.isdisjoint(config.inet_protocols)


def _ascii(domain: str) -> str:
    """Return a domain as DNS has it (RFC 5890).  Raise UnresolvedError where it has no form."""
    try:
        return domain.encode("idna").decode()
    except UnicodeError:
        words = _NOT_FOUND.format(domain, "MX", "no name that can exist")
        raise UnresolvedError(bounced("5.1.2", words)) from None
