"""What programs have in common that send everything to one relay.  Pure."""

import shlex
from collections.abc import Iterator
from typing import NamedTuple

from pymail.importer import Imported
from pymail.nexthop import NextHop

SUBMISSIONS = 465
_SYSTEM = ("", "system", "/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-bundle.crt")


class Relay(NamedTuple):
    """A relay, how it is spoken to, and who we are there.

    level    of smtp_tls_security_level; "" is ours, which verifies where there is a login
    command  prints the password
    """

    host: str
    port: int
    user: str = ""
    password: str = ""
    command: str = ""
    level: str = ""
    wrapped: bool = False
    authorities: str = ""
    mechanism: str = ""

    @property
    def hop(self) -> str:
        """The next hop, as relayhost has it."""
        return NextHop(self.host, self.port, mx=False).shown

    @property
    def login(self) -> str:
        """The value in smtp_sasl_password_maps."""
        return f"{self.user}:{self.password}" if self.password else self.user

    @property
    def manners(self) -> dict[str, object]:
        """The settings that say how it is spoken to: they hold for every relay."""
        found: dict[str, object] = {}
        if self.level:
            found["smtp_tls_security_level"] = self.level
        if self.wrapped and self.port != SUBMISSIONS:
            found["smtp_tls_wrappermode"] = True
        if self.authorities not in _SYSTEM:
            found["smtp_tls_CAfile"] = self.authorities
        if self.mechanism:
            found["smtp_sasl_mechanism_filter"] = [self.mechanism.lower()]
        if self.command:
            found["password_command"] = self.command
        return found


def relay(result: Imported, relays: list[Relay]) -> None:
    """Let mail for elsewhere go to the first of the relays that can be reached."""
    if any(each.user and each.level in ("", "may") for each in relays):
        result.notes.append(
            "the login goes over verified TLS only; a relay without TLS needs"
            ' smtp_tls_security_level = "none" and smtp_sasl_security_options = "noanonymous"'
        )
    if len({each.level for each in relays}) > 1 and all(_is_usual(each) for each in relays):
        relays = [each._replace(level="") for each in relays]
    if relays:
        result.settings["relayhost"] = [each.hop for each in relays]
        result.settings.update(relays[0].manners)
    for each in relays:
        if each.user:
            result.logins[each.hop] = each.login
        result.lost.extend(_differing(relays[0], each))


def _differing(first: Relay, other: Relay) -> Iterator[str]:
    """Yield how another relay would be spoken to otherwise than the first."""
    ours, theirs = first.manners, other.manners
    for name, value in theirs.items():
        if ours.get(name) != value:
            yield f"{other.hop}: {name} = {value}: one value holds for all relays"
    for name, value in ours.items():
        if name not in theirs:
            yield f"{other.hop}: no {name}: {first.hop} has {value}, one value holds for all relays"


def _is_usual(each: Relay) -> bool:
    """Say whether no level of TLS is that of the relay: secure where there is a login, else may."""
    return not each.level or (each.level == "secure" and bool(each.user))


def senders(result: Imported, written: dict[str, str]) -> None:
    """Write senders anew, and nobody else, in mail that goes to the relay whoever it is for.

    smtp_generic_maps would write recipients too, and what is for a user goes to the author then.
    """
    result.settings["sender_canonical_maps"] = written


def forward(result: Imported, first: Relay) -> None:
    """Let mail for users of this machine go there as well, as it did.

    Where no alias is to be found for them, nobody is local: neither root nor who is no user.
    """
    if not result.aliases and not result.settings.get("alias_maps"):
        result.settings["mydestination"] = []
        result.notes.append(
            "mail for users of this machine goes to the relay, as it did: without mydestination"
            " = [] it is in ~/Maildir/"
        )
        return
    result.settings["mailbox_transport"] = f"smtp:{first.hop}"
    result.notes.append(
        "mail for users of this machine goes to the relay, as it did: without mailbox_transport"
        " it is in ~/Maildir/"
    )


def endpoint(text: str, port: int) -> tuple[str, int]:
    """Return host and port of "host" or "host:port"; `port` where there is none that counts.

    An IPv6 address may be in brackets, and has no port where it is in none.
    """
    text = text.strip()
    if text.startswith("["):
        host, _, number = text[1:].partition("]")
    elif text.count(":") > 1:
        host, number = text, ""
    else:
        host, _, number = text.partition(":")
    number = number.removeprefix(":")
    return host, int(number) if number.isdecimal() else port


def words(line: str) -> list[str]:
    """Return the words of a line with the shell's quotes, as they stand where a quote is open."""
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return line.split()
