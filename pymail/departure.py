"""How a message leaves the machine: its addresses outside, login, TLS, and servers.

What flush would do is found out with what flush uses, and told; nothing is sent, and no secret
is shown.
"""

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pymail import child, hosts, nexthop, tls
from pymail.config import Config
from pymail.errors import MailError
from pymail.identity import Identity
from pymail.keys import Found, Key, Lookup
from pymail.nexthop import NextHop
from pymail.rewrite import Rewriting
from pymail.route import Target
from pymail.secret import Logins
from pymail.transport import Login

PATIENCE = 60
"""Seconds that name servers may take."""

_LEVELS = {
    "none": "no TLS",
    "may": "TLS where it is offered",
    "encrypt": "always TLS, whoever answers",
    "fingerprint": "always TLS, with a certificate that is known",
}


class Hop(NamedTuple):
    """A next hop: who we are there, and how much TLS is wanted, in words; `servers` if asked."""

    shown: str
    login: str
    tls: str
    servers: tuple[str, ...] = ()


class Departure(NamedTuple):
    """How a message leaves: its envelope, what was rewritten there and why, its next hops."""

    sender: str
    recipient: str
    changes: tuple[str, ...]
    hops: tuple[Hop, ...]

    @property
    def lines(self) -> list[str]:
        """All of it, for people."""
        out = list(self.changes)
        for hop in self.hops:
            out.append(f"{hop.shown}: {hop.login}; {hop.tls}")
            out += [f"{hop.shown}: {server}" for server in hop.servers]
        return out


class Departures:
    """Tells of the departures that a configuration leads to.

    `home` is that of the one user in user mode; with `net`, name servers are asked.
    """

    def __init__(self, config: Config, lookup: Lookup, home: str, *, net: bool) -> None:
        self._config = config
        self._lookup = lookup
        self._logins = Logins(config, home)
        self._net = net
        self._why: list[str] = []
        self._rewriting = Rewriting(config, self._noted)

    def sender(self, sender: str) -> str:
        """Return a qualified sender as every transport sees it."""
        return self._rewriting.sender(sender)

    def of(self, target: Target, sender: str) -> Departure:
        """Return how mail from `sender`, qualified, leaves for a target of kind "smtp"."""
        changes: list[str] = []
        origin = target.sender if target.sender and sender else sender
        inside = self._written("sender", origin, self._rewriting.sender, changes)
        outside = self._written("sender", inside, self._rewriting.outgoing, changes)
        recipient = self._written("recipient", target.recipient, self._rewriting.outgoing, changes)
        fallback = ", ".join(self._config.smtp_fallback_relay)
        hops = (*nexthop.parse_all(target.argument), *nexthop.parse_all(fallback))
        found = tuple(self._hop(hop, inside, target.user) for hop in dict.fromkeys(hops))
        return Departure(outside, recipient, tuple(changes), found)

    def _written(
        self, what: str, before: str, rewrite: Callable[[str], str], changes: list[str]
    ) -> str:
        """Return an address rewritten; note the change and what it is due to."""
        self._why.clear()
        after = rewrite(before)
        if after != before:
            why = "; ".join(self._why)
            why = why or f"masquerade_domains ({self._config.source('masquerade_domains')})"
            changes.append(f"{what} {before} is written {after}: {why}")
        return after

    def _noted(self, setting: str, wanted: Iterator[Key]) -> Found | None:
        found = self._lookup(setting, wanted)
        if found:
            self._why.append(f"{found.key} is in {setting}: {found.value} ({found.place})")
        return found

    def _hop(self, hop: NextHop, sender: str, user: Identity | None) -> Hop:
        login, who = None, ""
        try:
            if self._logins.any:
                login = self._logins.find(hop, sender)
        except MailError as error:
            who = f"login unknown: {error}"
        who = who or (f"login {login.user} ({login.source})" if login else "no login")
        servers = tuple(self._servers(hop, login, user)) if self._net else ()
        return Hop(hop.shown, who, self._secured(hop, login, hop.host, hop.port), servers)

    def _servers(self, hop: NextHop, login: Login | None, user: Identity | None) -> list[str]:
        """Return the servers of a next hop in words; root asks by somebody else."""
        if user is None or os.geteuid() != 0:
            return self._resolved(hop, login)
        try:
            return child.ask(user, lambda: self._resolved(hop, login), PATIENCE)
        except OSError as error:
            return [f"servers unknown: {error.strerror}"]

    def _resolved(self, hop: NextHop, login: Login | None) -> list[str]:
        try:
            found = hosts.servers(hop, self._config)
        except hosts.UnresolvedError as error:
            outcome = error.outcome
            return [f"{outcome.status} {outcome.dsn} ({outcome.words})"]
        return [
            f"{each.name}[{each.address}]:{each.port}"
            + (f", {self._secured(hop, login, each.name, each.port, each.sts)}" if each.sts else "")
            for each in found
        ]

    def _secured(
        self, hop: NextHop, login: Login | None, host: str, port: int, sts: tuple[str, ...] = ()
    ) -> str:
        config = self._config
        try:
            policy = tls.policy(config, hop, host, port, login=login is not None, sts=sts)
        except tls.UntrustedError as error:
            return str(error)
        names = " and for ".join(" or ".join(names) for names in policy.names)
        words = _LEVELS.get(policy.level, f"always TLS, with a certificate for {names}")
        source = "MTA-STS" if sts else config.source("smtp_tls_security_level")
        wrapped = ", from the first byte" if policy.wrapped else ""
        return f"{words}{wrapped} ({policy.level}, {source})"
