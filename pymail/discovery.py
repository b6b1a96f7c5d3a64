"""Find where a provider takes mail from its customers: who says it, and in which order.

The table of providers, autoconfig files, the provider of the domain's mail exchanger, SRV records.
"""

import ssl
import threading
from collections.abc import Sequence
from contextlib import closing
from urllib.parse import urlsplit

from pymail import names, provider
from pymail.config import Config
from pymail.errors import DataError, UsageError
from pymail.provider import Submission

PATIENCE = 10
"""Seconds that a web server may take."""

_SERVICES = ("_submissions._tcp", "_submission._tcp")
_SRV_WORDS = 4


def submission(address: str, config: Config) -> Submission:
    """Return where and as whom the mail of an address is handed in.

    UsageError where it is no address, DataError where nobody says it.
    """
    local, at, written = address.rpartition("@")
    domain = names.ascii_name(written)
    if not local or not at or not domain or not address.isprintable() or " " in address:
        raise UsageError(f"cannot set up {address}: it is not the address of a mailbox")
    found = (
        provider.known(domain, address)
        or _autoconfigured(domain, address, config)
        or _exchanged(domain, address)
        or _served(domain, address)
    )
    if found is None:
        raise DataError(
            f"cannot find the mail server of {domain}: name it: pymail setup --relay HOST:PORT"
            f" {address}"
        )
    return found


def _autoconfigured(domain: str, address: str, config: Config) -> Submission | None:
    for place in provider.places(domain, address):
        data = _fetched(place, config)
        found = provider.autoconfigured(data, address, place.partition("?")[0])
        if found:
            return found
    return None


def _exchanged(domain: str, address: str) -> Submission | None:
    records = names.ask(domain, "MX", names.deadline()).records
    hosts = sorted((int(r.split()[0]), r.split()[1]) for r in records if len(r.split()) == 2)
    return next((f for _, host in hosts if (f := provider.exchanged(host, address))), None)


def _served(domain: str, address: str) -> Submission | None:
    for service in _SERVICES:
        name = f"{service}.{domain}"
        for host, port in _ranked(names.ask(name, "SRV", names.deadline()).records):
            if found := provider.served(host, port, address, name):
                return found
    return None


def _ranked(records: Sequence[str]) -> list[tuple[str, int]]:
    """Return host and port of SRV records, the best first (RFC 2782): by priority, by weight."""
    split = (record.split() for record in records)
    good = [words for words in split if len(words) == _SRV_WORDS and "".join(words[:3]).isdecimal()]
    good.sort(key=lambda words: (int(words[0]), -int(words[1])))
    return [(words[3], int(words[2])) for words in good]


def _fetched(place: str, config: Config) -> bytes:
    """Return what is at an address, nothing where that does not come in time.

    The thread is left behind: a server that sends a byte a second holds nobody up.
    """
    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.append(_got(place, config)), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return got[0] if got else b""


def _got(place: str, config: Config) -> bytes:
    import http.client  # noqa: PLC0415 -- start-up

    parts = urlsplit(place)
    try:
        context = ssl.create_default_context(
            cafile=config.smtp_tls_CAfile or None, capath=config.smtp_tls_CApath or None
        )
        there = http.client.HTTPSConnection(parts.netloc, timeout=PATIENCE, context=context)
        with closing(there):
            there.request("GET", f"{parts.path}?{parts.query}".rstrip("?"))
            response = there.getresponse()
            # A redirect may lead to anybody: a login will follow.
            return response.read(provider.LIMIT) if response.status == http.client.OK else b""
    except (OSError, http.client.HTTPException, ValueError):
        return b""
