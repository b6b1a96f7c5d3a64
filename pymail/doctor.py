"""What a person would look at when mail does not come or go: found, and the remedy.

First this machine (check.py), then the way out: the relay, with its login, as cron would use it; or
for mail that goes directly, its deliverability.
"""

import shlex
from collections.abc import Iterator

from pymail import check, config, deliverability, login, network, nexthop, standing
from pymail.config import Config
from pymail.errors import MailError, PermError, TempError, UsageError
from pymail.finding import Finding
from pymail.spool import Spool


def examine(spool: Spool, now: int, address: str = "") -> Iterator[Finding]:
    """Yield what was found; `address` is how others see this machine, "" to find out.

    UsageError where that is no address.
    """
    try:
        address = address and standing.canonical(address)
    except ValueError:
        words = f"cannot look at {address}: it is no address of the Internet, such as 192.0.2.1"
        raise UsageError(words) from None
    local = check.check(spool, now)
    for found in local:
        yield Finding("local", "error" if found.fatal else "warning", found.text, found.remedy)
    if not local:
        yield Finding("local", "ok", "spool, aliases, cron or timer, disk")
    try:
        settings = config.here(spool.path)
    except MailError:
        return  # told already
    if settings.relayhost:
        for hop in nexthop.parse_all(", ".join(settings.relayhost)):
            yield of_relay(hop, settings)
    elif settings.default_transport.partition(":")[0] in ("smtp", "relay"):
        yield from deliverability.look(settings, spool, address)
    else:
        remedy = 'pymail setup you@example.org, or set default_transport = "smtp"'
        yield Finding("outside", "note", "mail for other domains does not leave", remedy)


def of_relay(hop: nexthop.NextHop, settings: Config) -> Finding:
    """Look whether a relay takes us, with the login that there is."""
    try:
        known = dict(login.known(settings)).get(hop.shown)
    except MailError as error:
        return Finding("relay", "error", str(error))  # it says what to do
    try:
        if known:
            login.prove(hop)
            return Finding("relay", "ok", f"{hop.shown} takes {known.user}, also from cron")
        login.attempt(hop, None, settings)
    except MailError as error:
        return Finding("relay", "error", str(error), _remedy(error, hop))
    return Finding("relay", "ok", f"{hop.shown} answers; there is no login for it")


def _remedy(error: MailError, hop: nexthop.NextHop) -> str:
    if isinstance(error, PermError):
        return f"pymail login {shlex.quote(hop.host)}"
    if not network.online() and hop.host not in network.addresses():
        return "connect this machine to a network"
    return "see relayhost" if isinstance(error, TempError) else ""
