"""SPF (RFC 7208): whether a domain says that mail from an address may be its own.  Pure.

DNS is asked through a function of who asks.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

Ask = Callable[[str, str], tuple[tuple[str, ...], str]]
"""The records of a name and a kind, and "", "absent" or "silent"."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MOST_LOOKUPS = 10
MOST_VOID = 2
MOST_EXCHANGERS = 10
"""RFC 7208 4.6.4."""

_VERDICTS = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}
_TERM = re.compile(r"([-+~?]?)([A-Za-z][\w.-]*)(?::([^/]*))?((?:/[0-9/]+)?)\Z")
_MODIFIER = re.compile(r"([A-Za-z][\w.-]*)=(.*)\Z")
_MACRO = re.compile(r"%(?:\{([slodiphcrtv])([0-9]*)(r?)([-.+,/_=]*)\}|([%_-]))", re.IGNORECASE)
_CIDR = re.compile(r"(?:/([0-9]{1,2}))?(?://([0-9]{1,3}))?\Z")
_LITERAL = {"%": "%", "_": " ", "-": "%20"}


class Result(NamedTuple):
    """What a check came to: pass, fail, softfail, neutral, none, temperror or permerror.

    `why` is the term that decided, or what is wrong; `lookups` is how many of the ten look-ups
    were used; `record` is that of the domain itself.
    """

    verdict: str
    why: str
    lookups: int
    record: str


class _Trouble(Exception):  # noqa: N818  (a verdict, not an error)
    def __init__(self, verdict: str, why: str) -> None:
        super().__init__(why)
        self.verdict = verdict


def check(address: str, sender: str, helo: str, ask: Ask) -> Result:
    """Return what the domain of `sender` says of mail from an IP address."""
    return _Check(ipaddress.ip_address(address), sender, helo, ask).result()


def with_address(record: str, address: str) -> str:
    """Return a record that allows an address too; "" makes a new one."""
    kind = "ip6" if ":" in address else "ip4"
    if not record:
        return f"v=spf1 {kind}:{address} -all"
    first, _, rest = record.partition(" ")
    return f"{first} {kind}:{address} {rest}".rstrip()


class _Check:
    def __init__(self, address: Address, sender: str, helo: str, ask: Ask) -> None:
        self._address = address
        self._local, _, self._domain = sender.rpartition("@")
        self._helo = helo
        self._ask = ask
        self._lookups = self._void = 0
        self._record = ""

    def result(self) -> Result:
        try:
            verdict, why = self._evaluated(self._domain, top=True)
        except _Trouble as trouble:
            verdict, why = trouble.verdict, str(trouble)
        return Result(verdict, why, self._lookups, self._record)

    def _evaluated(self, domain: str, *, top: bool = False) -> tuple[str, str]:
        record = self._published(domain)
        if top:
            self._record = record
        if not record:
            return "none", f"{domain} has no SPF record"
        redirect = ""
        for term in record.split()[1:]:
            modifier = _MODIFIER.match(term)
            if modifier:
                redirect = modifier[2] if modifier[1].lower() == "redirect" else redirect
                continue
            found = _TERM.match(term)
            if not found:
                raise _Trouble("permerror", f"{domain}: {term} cannot be understood")
            if self._matches(found, domain, term):
                return _VERDICTS[found[1] or "+"], f"{term} of {domain}"
        if redirect:
            self._count()
            target = self._expanded(redirect, domain)
            verdict, why = self._evaluated(target)
            if verdict == "none":
                raise _Trouble("permerror", f"redirect={target}: there is no SPF record")
            return verdict, why
        return "neutral", f"no term of {domain} fits"

    def _published(self, domain: str) -> str:
        records, fault = self._ask(domain, "TXT")
        if fault == "silent":
            raise _Trouble("temperror", f"nobody answers for {domain}")
        found = [r for r in records if r.lower() == "v=spf1" or r.lower().startswith("v=spf1 ")]
        if len(found) > 1:
            raise _Trouble("permerror", f"{domain} has {len(found)} SPF records")
        return found[0] if found else ""

    def _matches(self, found: "re.Match[str]", domain: str, term: str) -> bool:
        name, spec, cidr = found[2].lower(), found[3], found[4]
        if name == "all":
            return True
        if name in ("ip4", "ip6"):
            return self._is_in(f"{spec or ''}{cidr}", term)
        if name not in ("include", "a", "mx", "ptr", "exists"):
            raise _Trouble("permerror", f"{domain}: there is no {name}")
        if name in ("include", "exists") and not spec:
            raise _Trouble("permerror", f"{domain}: {term} names no domain")
        self._count()
        target = self._expanded(spec, domain) if spec else domain
        if name == "include":
            return self._included(target)
        if name == "exists":
            return bool(self._records(target, "A"))
        if name == "ptr":
            return any(each == target or each.endswith(f".{target}") for each in self._names())
        hosts = [target] if name == "a" else list(self._exchangers(target))
        return any(self._near(each, cidr, term) for host in hosts for each in self._addresses(host))

    def _included(self, target: str) -> bool:
        verdict, why = self._evaluated(target)
        if verdict == "none":
            raise _Trouble("permerror", f"include:{target}: {why}")
        return verdict == "pass"

    def _is_in(self, text: str, term: str) -> bool:
        try:
            return self._address in ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise _Trouble("permerror", f"{term} is no network") from None

    def _near(self, address: str, cidr: str, term: str) -> bool:
        bits = _CIDR.match(cidr)
        if not bits:
            raise _Trouble("permerror", f"{term} has no prefix length")
        length = bits[2] if ":" in address else bits[1]
        return self._is_in(f"{address}/{length}" if length else address, term)

    def _exchangers(self, target: str) -> Iterator[str]:
        records = self._records(target, "MX")
        if len(records) > MOST_EXCHANGERS:
            raise _Trouble("permerror", f"{target} has more than {MOST_EXCHANGERS} MX records")
        for record in records:
            yield record.split()[-1].rstrip(".")

    def _addresses(self, host: str) -> tuple[str, ...]:
        return self._records(host, "AAAA" if self._address.version == 6 else "A")

    def _names(self) -> Iterator[str]:
        for name in self._records(self._address.reverse_pointer, "PTR")[:MOST_EXCHANGERS]:
            if str(self._address) in self._addresses(name.rstrip(".")):
                yield name.rstrip(".").lower()

    def _records(self, name: str, kind: str) -> tuple[str, ...]:
        records, fault = self._ask(name, kind)
        if fault == "silent":
            raise _Trouble("temperror", f"nobody answers for {name}")
        if not records:
            self._void += 1
            if self._void > MOST_VOID:
                raise _Trouble("permerror", f"more than {MOST_VOID} look-ups find nothing")
        return records

    def _count(self) -> None:
        self._lookups += 1
        if self._lookups > MOST_LOOKUPS:
            raise _Trouble("permerror", f"more than {MOST_LOOKUPS} look-ups")

    def _expanded(self, text: str, domain: str) -> str:
        """Return a domain with its macros replaced (RFC 7208 7)."""

        def value(found: "re.Match[str]") -> str:
            if found[5]:
                return _LITERAL[found[5]]
            whole = {
                "s": f"{self._local or 'postmaster'}@{self._domain}",
                "l": self._local or "postmaster",
                "o": self._domain,
                "d": domain,
                "i": _dotted(self._address),
                "h": self._helo,
                "v": "in-addr" if self._address.version == 4 else "ip6",
            }.get(found[1].lower(), "unknown")
            parts = re.split(f"[{re.escape(found[4] or '.')}]", whole)
            parts = parts[::-1] if found[3] else parts
            return ".".join(parts[-int(found[2]) :] if found[2] and int(found[2]) else parts)

        return _MACRO.sub(value, text).rstrip(".").lower()


def _dotted(address: Address) -> str:
    if address.version == 4:
        return str(address)
    return ".".join(address.exploded.replace(":", ""))
