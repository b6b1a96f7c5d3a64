"""What those who take mail look at when it comes straight from this machine.

Our name, our address and its reverse name, SPF, DKIM, DMARC, block lists.  The remedies for DNS are
records, ready to be pasted.
"""

import os
import re
import socket
from collections.abc import Generator, Iterator

from pymail import dkimkeys, dmarc, explain, hosts, names, nexthop, spf, standing, world
from pymail.config import Config
from pymail.errors import MailError
from pymail.finding import Finding
from pymail.rewrite import Rewriting
from pymail.spool import Spool
from pymail.transport.connect import call
from pymail.transport.wire import LostError

WITNESSES = ("gmail.com", "mail.ru")
"""Domains whose servers are asked whether they can be reached."""

CONNECT_TIME = 10
_ELSEWHERE = {"ipv4": "192.0.2.1", "ipv6": "2001:db8::1"}
"""Addresses that no machine has (RFC 5737, RFC 3849): packets to others leave where they would."""


def look(settings: Config, spool: Spool, address: str) -> Iterator[Finding]:
    """Yield what was found; `address` is how others see this machine, "" to find out."""
    address = address or next(_outer_addresses(settings), "")
    if not address:  # which proves nothing
        yield Finding(
            "address", "error", "there is no way out", "connect this machine to a network"
        )
        return
    yield _port_25(settings)
    if not standing.public(address):
        words = f"this machine has the private address {address}"
        remedy = "pymail doctor --address ADDRESS, as others see it"
        yield Finding("address", "error", words, remedy)
        yield _dynamic(["its own address is not known"], settings)
        return
    domain = _domain(settings, spool)
    helo = names.helo_name(settings, address, direct=True)
    reasons: list[str] = []
    yield _of_helo(helo, address)
    yield from _of_reverse(helo, address, reasons)
    passed = yield from _of_spf(domain, helo, address)
    signed = yield from _of_dkim(domain, settings)
    yield from _of_dmarc(domain, authentic=passed or signed)
    yield from _of_lists(address, reasons)
    if reasons:
        yield _dynamic(reasons, settings)


def _port_25(settings: Config) -> Finding:
    trouble, remedy = "no name server answers", ""
    for domain in WITNESSES:
        try:
            server = hosts.servers(nexthop.parse(domain), settings)[0]
        except hosts.UnresolvedError as error:
            trouble = error.outcome.words
            remedy = remedy or "see to it that name servers answer: /etc/resolv.conf names them"
            continue
        try:
            source = _bound(settings, server.address)
            call(server.name, server.address, 25, source, CONNECT_TIME).close()
        except LostError as error:
            trouble = str(error)
            remedy = "ask the provider to open port 25 outwards, or send through a relay"
            continue
        return Finding("port 25", "ok", f"{server.name} answers")
    return Finding("port 25", "error", trouble, remedy)


def _outer_addresses(settings: Config) -> Iterator[str]:
    """Yield the addresses that this machine has where packets leave it."""
    for protocol, elsewhere in _ELSEWHERE.items():
        if {"all", protocol}.isdisjoint(settings.inet_protocols):
            continue
        family = socket.AF_INET6 if ":" in elsewhere else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((elsewhere, 53))
                yield _bound(settings, elsewhere) or str(probe.getsockname()[0])
        except OSError:
            continue  # no way there


def _bound(settings: Config, address: str) -> str:
    """Return the address that connections to another are to come from, "" for any."""
    return settings.smtp_bind_address6 if ":" in address else settings.smtp_bind_address


def _domain(settings: Config, spool: Spool) -> str:
    """Return the domain that others see in our senders."""
    lookup = explain.Limited(world.open_machine(settings, spool.path), os.geteuid()).lookup
    sender = Rewriting(settings, lookup).outgoing(f"postmaster@{settings.myorigin}")
    return sender.rpartition("@")[2].lower()


def _of_helo(helo: str, address: str) -> Finding:
    kind = "AAAA" if ":" in address else "A"
    if helo.startswith("["):
        remedy = (
            f'smtp_helo_name = "mail.example.org", and in DNS: mail.example.org. {kind} {address}'
        )
        return Finding("hello", "error", f"we say {helo}, which is no name", remedy)
    if address in _ask(helo, kind)[0]:
        return Finding("hello", "ok", f"we say {helo}, which is {address}")
    words = f"we say {helo}, which is not {address}"
    return Finding("hello", "error", words, f"{helo}. IN {kind} {address}")


def _of_reverse(helo: str, address: str, reasons: list[str]) -> Iterator[Finding]:
    pointer = standing.reverse(address)
    kind = "AAAA" if ":" in address else "A"
    wanted = f"ask who gave you the address for: {pointer}. IN PTR {helo.strip('[]')}."
    found = [name.rstrip(".") for name in _ask(pointer, "PTR")[0]]
    if not found:
        yield Finding("reverse name", "error", f"{address} has none", wanted)
        return
    confirmed = [name for name in found if address in _ask(name, kind)[0]]
    if not confirmed:
        words = f"{address} is called {found[0]}, which is not {address}"
        yield Finding("reverse name", "error", words, f"{found[0]}. IN {kind} {address}")
        return
    if why := standing.generic(confirmed[0], address):
        reasons.append(why)
        yield Finding("reverse name", "error", f"it looks like that of a customer: {why}", wanted)
    else:
        yield Finding("reverse name", "ok", f"{address} is {confirmed[0]}, and back")


def _of_spf(domain: str, helo: str, address: str) -> Generator[Finding, None, bool]:
    found = spf.check(address, f"postmaster@{domain}", helo, _ask)
    record = f'{domain}. IN TXT "{spf.with_address(found.record, address)}"'
    if found.verdict == "pass":
        words = f"{found.why} ({found.lookups} of {spf.MOST_LOOKUPS} look-ups)"
        yield Finding("SPF", "ok", words)
    elif found.verdict == "permerror":
        yield Finding("SPF", "error", f"{found.why}, so nobody obeys it", "correct the record")
    elif found.verdict == "temperror":
        yield Finding("SPF", "warning", found.why, "look again later")
    else:
        level = "error" if found.verdict == "fail" else "warning"
        yield Finding("SPF", level, f"{found.verdict}: {found.why}", record)
    return found.verdict == "pass"


def _of_dkim(domain: str, settings: Config) -> Generator[Finding, None, bool]:
    try:
        key = next(dkimkeys.keys(settings.dkim_directory, domain), None)
        record = dkimkeys.record(key) if key else ""
    except (OSError, MailError) as error:
        yield Finding("DKIM", "warning", str(error), "run it as root")
        return False
    if key is None:
        words = f"mail of {domain} is not signed"
        yield Finding("DKIM", "warning", words, f"pymail dkim new {domain}")
        return False
    name = f"{key.selector}._domainkey.{domain}"
    wanted = _public_key("".join(re.findall(r'"([^"]*)"', record)))
    texts, _ = _ask(name, "TXT")
    if any(_public_key(text) == wanted for text in texts):
        yield Finding("DKIM", "ok", f"{name} has our key")
        return True
    words = f"{name} has another key than {key.path}" if texts else f"there is no {name}"
    yield Finding("DKIM", "error", words, record)
    return False


def _public_key(text: str) -> str:
    found = re.search(r"(?:^|;)\s*p\s*=\s*([^;]*)", text)
    return re.sub(r"\s", "", found[1]) if found else ""


def _of_dmarc(domain: str, *, authentic: bool) -> Iterator[Finding]:
    policy = dmarc.find(domain, _ask)
    if policy is None:
        remedy = f'_dmarc.{domain}. IN TXT "v=DMARC1; p=none"'
        yield Finding("DMARC", "warning", f"{domain} says nothing", remedy)
    elif authentic:
        words = f"{policy.domain} asks for {policy.wish}; what we send is authentic"
        yield Finding("DMARC", "ok", words)
    else:
        level = "error" if policy.wish in ("reject", "quarantine") else "warning"
        what = f"{policy.domain} asks to {policy.wish} what is not authentic"
        words = f"{what}, and neither SPF nor DKIM says so"
        yield Finding("DMARC", level, words, "correct SPF or DKIM")


def _of_lists(address: str, reasons: list[str]) -> Iterator[Finding]:
    clean: list[str] = []
    for zone in standing.BLOCK_LISTS:
        answers, fault = _ask(standing.question(address, zone), "A")
        verdict = standing.listing(answers)
        if verdict == "policy":
            words = f"{zone} has {address} as one that should send no mail itself"
            reasons.append(words)
            yield Finding("block list", "error", words, "send through a relay")
        elif verdict == "listed":
            remedy = f"find the reason at the site of {zone}, end it, ask to be taken off"
            yield Finding("block list", "error", f"{address} is on {zone}", remedy)
        elif verdict == "refused" or fault == "silent":
            words = f"{zone} does not answer your name server"
            yield Finding("block list", "note", words, "ask it through a name server of your own")
        else:
            clean.append(zone)
    if clean:
        yield Finding("block list", "ok", f"{address} is not on {', '.join(clean)}")


def _dynamic(reasons: list[str], settings: Config) -> Finding:
    """Say what becomes of mail from an address that is given to whoever comes."""
    words = f"direct mail from here will be refused: {'; '.join(reasons)}"
    if settings.smtp_fallback_relay:
        words += f"; what cannot be delivered goes to {', '.join(settings.smtp_fallback_relay)}"
        return Finding("dynamic address", "warning", words)
    remedy = "pymail setup you@provider.example (smtp_fallback_relay keeps direct mail as well)"
    return Finding("dynamic address", "error", words, remedy)


def _ask(name: str, kind: str) -> tuple[tuple[str, ...], str]:
    answer = names.ask(name, kind, names.deadline())
    return answer.records, answer.fault
