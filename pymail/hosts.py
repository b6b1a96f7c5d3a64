"""From a next hop to the servers to try: MX, A and AAAA records, the machine's own hosts file.

What DNS says decides (RFC 5321 5.1): no such domain is final, no answer is a reason to wait,
and without a network nothing is known at all.  A domain's exchangers may not lead back to us;
what the administrator wrote in brackets may, and is looked up as every program of the machine
does.  A mistake of the administrator's returns nobody's mail.
"""

import ipaddress
import random
import socket
import time
from collections.abc import Mapping, Sequence
from itertools import chain, groupby, zip_longest
from typing import NamedTuple

from pymail import mtasts, names, network, nexthop
from pymail.config import Config
from pymail.names import Answer
from pymail.nexthop import PORT, NextHop
from pymail.outcome import Outcome, bounced, deferred, offline
from pymail.transport.smtp import Server

MOST_EXCHANGERS = 50
MOST_ADDRESSES = 20
"""Of one host."""

_NOT_FOUND = "Host or domain name not found. Name service error for name={} type={}: {}"
_ALL = frozenset(("ipv4", "ipv6"))
_NOWHERE = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"),
        *("::/127", "::ffff:0:0/96", "fe80::/10", "ff00::/8"),
    )
)
"""Addresses that no server elsewhere has: this machine, the link, everybody."""


class UnresolvedError(Exception):
    """A next hop has no server; `outcome` is that of all its mail."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.words)
        self.outcome = outcome


class _Exchanger(NamedTuple):
    """A host, its addresses, and where it has none the outcome that is the reason."""

    name: str
    addresses: tuple[str, ...] = ()
    failure: Outcome | None = None


def servers(hop: NextHop, config: Config, cache: str = "") -> list[Server]:
    """Return the servers of a next hop in the order to try.  Raise UnresolvedError.

    `cache` is the directory where MTA-STS policies are kept, "" for none.
    """
    try:
        if hop.mx:
            return _exchanged(hop, config, cache)
        found = [hop.host] if hop.literal else _of_machine(hop)
        return [Server(hop.host, each, hop.port, hop) for each in _wanted(hop, found, config)]
    except UnresolvedError as error:
        outcome = error.outcome
        if outcome.status == "deferred" and outcome.dsn == "4.4.3" and not network.online():
            raise UnresolvedError(offline(f"offline: {outcome.words}")) from None
        if outcome.status == "bounced" and _is_ordered(hop, config):
            outcome = deferred(f"4{outcome.dsn[1:]}", outcome.words)
        raise UnresolvedError(outcome) from None


def _is_ordered(hop: NextHop, config: Config) -> bool:
    """Say whether the administrator wrote a next hop; else it is a recipient's domain."""
    own = (*config.relayhost, *config.smtp_fallback_relay)
    return not hop.mx or hop.port != PORT or hop in nexthop.parse_all(", ".join(own))


def _of_machine(hop: NextHop) -> list[str]:
    """Return the addresses of a host as any program of this machine has them."""
    try:
        found = socket.getaddrinfo(
            names.ascii_name(hop.host) or hop.host, hop.port, type=socket.SOCK_STREAM
        )
    except socket.gaierror as error:
        dsn = "4.4.3" if error.errno == socket.EAI_AGAIN else "4.4.4"
        words = f"cannot find host {hop.host}: {error.strerror}"
        raise UnresolvedError(deferred(dsn, words)) from None
    except (OSError, UnicodeError):
        words = f"cannot find host {hop.host}: no name that can exist"
        raise UnresolvedError(deferred("4.4.4", words)) from None
    return list(dict.fromkeys(str(place[4][0]) for place in found))[:MOST_ADDRESSES]


def _wanted(hop: NextHop, addresses: Sequence[str], config: Config) -> list[str]:
    """Return the addresses that inet_protocols allows."""
    protocols = _protocols(config)
    wanted = [each for each in addresses if _family(each) in protocols]
    if not wanted:
        words = f"host {hop.host} has only addresses that inet_protocols leaves out"
        raise UnresolvedError(deferred("4.4.4", words))
    return wanted


def _exchanged(hop: NextHop, config: Config, cache: str) -> list[Server]:
    """Return the servers of a domain's exchangers, the best first."""
    domain = names.ascii_name(hop.host)
    if not domain:
        words = _NOT_FOUND.format(hop.host, "MX", "no name that can exist")
        raise UnresolvedError(bounced("5.1.2", words))
    obeys = config.smtp_tls_mta_sts and not _is_ordered(hop, config)
    asked = [(domain, "MX"), *([mtasts.question(domain)] if obeys else [])]
    records = _exchangers(hop, domain, names.ask_all(asked, names.deadline())[0])
    patterns = mtasts.policy(domain, config, cache, int(time.time())) if obeys else ()
    if patterns:
        records = [record for record in records if mtasts.matches(record[1], patterns)]
        if not records:
            words = f"no mail exchanger of {hop.host} is one that its MTA-STS policy allows"
            raise UnresolvedError(deferred("4.7.5", words))
    places = _places(hop, records, config, names.deadline())
    return [Server(name, address, hop.port, hop, patterns) for name, address in places]


def _exchangers(hop: NextHop, domain: str, answer: Answer) -> list[tuple[int, str]]:
    """Return (preference, name) of the exchangers of a domain, those alike in random order."""
    if answer.fault:
        dsn = "5.1.2" if answer.fault == "absent" else "4.4.3"
        words = _NOT_FOUND.format(hop.host, "MX", answer.words)
        raise UnresolvedError((bounced if dsn[0] == "5" else deferred)(dsn, words))
    pairs = [record.partition(" ") for record in answer.records]
    records = [(int(preference), name.lower()) for preference, _, name in pairs if name]
    if pairs and not records:
        words = f"Domain {hop.host} does not accept mail (nullMX)"  # RFC 7505
        raise UnresolvedError(bounced("5.1.10", words))
    random.shuffle(records)
    records.sort(key=lambda record: record[0])
    return records[:MOST_EXCHANGERS] or [(0, domain)]  # RFC 5321 5.1: its own exchanger


def _places(
    hop: NextHop, records: Sequence[tuple[int, str]], config: Config, until: float
) -> list[tuple[str, str]]:
    """Return name and address of the servers to try.  Raise UnresolvedError for none."""
    most = config.smtp_mx_address_limit
    ways = network.families() or _ALL
    found: list[tuple[str, str]] = []
    distant: list[tuple[str, str]] = []
    failures: list[Outcome] = []
    for _, group in groupby(records, key=lambda record: record[0]):
        hosts = _looked_up([name for _, name in group], config, until)
        if hop.port == PORT and _is_us(hosts, config):
            if not found and not distant:
                failures = [_loop(hop, failures)]
            break  # those no better than we are would send it to us
        failures += [host.failure for host in hosts if host.failure]
        for place in _in_turn(hosts):
            (found if _family(place[1]) in ways else distant).append(place)
        if most and len(found) >= most:
            break
    if not found and not distant:
        # One that may be found later is worth waiting for.
        waiting = [each for each in failures if each.status != "bounced"]
        raise UnresolvedError((waiting or failures)[0])
    return (found or distant)[: most or None]


def _loop(hop: NextHop, better: Sequence[Outcome]) -> Outcome:
    """Return what becomes of mail of which we are the best exchanger that can be found."""
    if better:
        return deferred("4.4.4", f"unable to find primary relay for {hop.host}")
    words = f"mail for {hop.host} loops back to myself: is it to be in mydestination?"
    return bounced("5.4.6", words)


def _is_us(hosts: Sequence[_Exchanger], config: Config) -> bool:
    us, ours = config.myhostname.lower(), network.addresses()
    return any(host.name == us or not ours.isdisjoint(host.addresses) for host in hosts)


def _looked_up(hosts: Sequence[str], config: Config, until: float) -> list[_Exchanger]:
    """Return the exchangers of these names with their addresses."""
    kinds = ["AAAA" if family == "ipv6" else "A" for family in sorted(_protocols(config))]
    asked = [(name, kind) for name in hosts if not _family(name) for kind in kinds]
    answers = dict(zip(asked, names.ask_all(asked, until), strict=True))
    return [
        _exchanger(name, {kind: answers[name, kind] for kind in kinds if (name, kind) in answers})
        for name in hosts
    ]


def _exchanger(name: str, answers: Mapping[str, Answer]) -> _Exchanger:
    """Return an exchanger; `answers` are by kind, none for a name that is an address."""
    found = [each for answer in answers.values() for each in answer.records[:MOST_ADDRESSES]]
    if not answers:
        found = [name]  # forbidden (RFC 5321 5.1), and yet seen
    good = tuple(each for each in found if _is_remote(each))
    if good:
        return _Exchanger(name, good)
    if found:
        words = f"{name} has no address that another machine can have: {found[0]}"
        return _Exchanger(name, failure=bounced("5.4.4", words))
    # "silent" is more than "absent", and that more than nothing.
    kind, answer = max(answers.items(), key=lambda item: item[1].fault)
    words = _NOT_FOUND.format(name, kind, answer.words)
    if answer.fault == "silent":
        return _Exchanger(name, failure=deferred("4.4.3", words))
    return _Exchanger(name, failure=bounced("5.4.4", words))


def _is_remote(text: str) -> bool:
    """Say whether an address can be that of another machine, wherever it is."""
    address = ipaddress.ip_address(text)
    return not any(address in nowhere for nowhere in _NOWHERE)


def _in_turn(hosts: Sequence[_Exchanger]) -> list[tuple[str, str]]:
    """Return the addresses of exchangers that are alike, at random, IPv6 and IPv4 in turn.

    Where one of the two is dead, the other is not far.
    """
    places = [(host.name, address) for host in hosts for address in host.addresses]
    random.shuffle(places)
    rows = [[place for place in places if _family(place[1]) == family] for family in _ALL]
    random.shuffle(rows)
    return [place for place in chain(*zip_longest(*rows)) if place]


def _protocols(config: Config) -> frozenset[str]:
    chosen = frozenset(config.inet_protocols)
    return _ALL if "all" in chosen else chosen & _ALL


def _family(text: str) -> str:
    """Return the protocol of an address, "" for what is none."""
    try:
        return f"ipv{ipaddress.ip_address(text).version}"
    except ValueError:
        return ""
