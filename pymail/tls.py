"""TLS with other servers: how much of it is wanted, and whether a certificate is the right one.

none         never
may          where it is offered; it hides mail from those who only listen
encrypt      always, with anybody
fingerprint  always, with the owner of one of some known certificates
verify       always, with a certificate of a trusted authority for the host's name
secure       the same for the next hop's name, which no forged DNS answer can change

A certificate's names are those in its subjectAltName; the common name counts no more
(RFC 9525).  Pure: who does the handshake is transport/tunnel.py.
"""

import hashlib
import ipaddress
from collections.abc import Mapping
from typing import Any, NamedTuple

from pymail import idn
from pymail.config import Config
from pymail.errors import printable
from pymail.nexthop import NextHop

SMTPS = 465
"""The port where TLS begins with the first byte (RFC 8314)."""

_MOST_NAMES = 5
_CHAINED = ("verify", "secure")


class UntrustedError(Exception):
    """The server is not the one that mail may be given to; str() says why."""


class Policy(NamedTuple):
    """What is asked of a connection.

    level    one of the above
    wrapped  TLS from the first byte, no STARTTLS
    names    for each set of them, the certificate must have one; ".example.org" is any name
             below example.org
    prints   fingerprints, made by `digest`, one of which it must have at level fingerprint
    """

    level: str
    wrapped: bool = False
    names: tuple[tuple[str, ...], ...] = ()
    prints: frozenset[str] = frozenset()
    digest: str = ""

    @property
    def required(self) -> bool:
        """Whether nothing may be said without TLS."""
        return self.level not in ("none", "may")


def policy(
    config: Config, hop: NextHop, host: str, port: int, *, login: bool, sts: tuple[str, ...] = ()
) -> Policy:
    """Return what is asked of the server `host` of a next hop.

    `sts` are the patterns of an MTA-STS policy that is enforced (RFC 8461 4): `host` must be
    one of them, its certificate be for it, whatever the settings say.  UntrustedError.
    """
    level = config.smtp_tls_security_level or ("secure" if login else "may")
    wrapped = config.smtp_tls_wrappermode or port == SMTPS
    if wrapped and level in ("none", "may"):
        level = "encrypt"
    names = []
    if level == "verify":
        names.append(_names(config.smtp_tls_verify_cert_match, hop, host))
    if level == "secure":
        names.append(_names(config.smtp_tls_secure_cert_match, hop, host))
    if sts:
        if not any(_matches(pattern.lower(), to_ascii(host)) for pattern in sts):
            raise UntrustedError(f"{host} is no server of the MTA-STS policy of {hop.host}")
        names.append((to_ascii(host),))
        level = level if level in (*_CHAINED, "fingerprint") else "verify"
    if level != "fingerprint":
        return Policy(level, wrapped, tuple(names))
    prints = frozenset(map(_bare, config.smtp_tls_fingerprint_cert_match))
    return Policy(level, wrapped, tuple(names), prints, config.smtp_tls_fingerprint_digest)


def check(policy: Policy, certificate: Mapping[str, Any], der: bytes) -> None:
    """Raise UntrustedError unless a certificate is the right one.

    `certificate` is what ssl makes of it where a trusted authority has signed it, `der` itself.
    """
    if policy.level == "fingerprint":
        known = fingerprints(der, policy.digest)
        if policy.prints.isdisjoint(known):
            setting = "smtp_tls_fingerprint_cert_match"
            raise UntrustedError(f"its fingerprint {known[0]} is not in {setting}")
    have = _certified(certificate)
    for wanted in policy.names:
        if not any(_certifies(name, want) for name in have for want in wanted):
            shown = printable(", ".join(have[:_MOST_NAMES])) or "no name"
            raise UntrustedError(f"its certificate is for {shown}, not for {' or '.join(wanted)}")


def to_ascii(host: str) -> str:
    """Return a name as certificates and SNI have it."""
    return idn.to_ascii(host.rstrip(".")).lower() or host.lower()


def is_address(text: str) -> bool:
    """Say whether a host is an address, not a name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def fingerprints(certificate: bytes, digest: str) -> list[str]:
    """Return the fingerprints of a certificate and, where it can be read, of its public key."""
    parts = [certificate]
    try:
        parts.append(_public_key(certificate))
    except (IndexError, ValueError):
        pass  # the certificate itself is still known
    return [hashlib.new(digest, part).hexdigest() for part in parts]


def _names(words: tuple[str, ...], hop: NextHop, host: str) -> tuple[str, ...]:
    """Return the names that a list such as smtp_tls_secure_cert_match means for this server."""
    meanings = {"hostname": to_ascii(host), "nexthop": to_ascii(hop.host)}
    if not hop.literal:
        meanings["dot-nexthop"] = f".{to_ascii(hop.host)}"
    names = [meanings.get(word, "" if word == "dot-nexthop" else word.lower()) for word in words]
    return tuple(name for name in names if name)


def _certified(certificate: Mapping[str, Any]) -> list[str]:
    """Return the names and addresses that a verified certificate is for."""
    pairs = certificate.get("subjectAltName", ())
    return [value.lower() for kind, value in pairs if kind in ("DNS", "IP Address")]


def _certifies(name: str, wanted: str) -> bool:
    """Say whether a certificate's name is the one, or one of those, that is wanted."""
    if wanted.startswith("."):
        return name.endswith(wanted) and len(name) > len(wanted)
    if is_address(wanted):
        return is_address(name) and ipaddress.ip_address(name) == ipaddress.ip_address(wanted)
    return _matches(name, wanted)


def _matches(pattern: str, host: str) -> bool:
    """Say whether `host` is the name `pattern`, where "*." stands for one label (RFC 9525 6.3)."""
    if not pattern.startswith("*."):
        return pattern.rstrip(".") == host.rstrip(".")
    label, dot, parent = host.rstrip(".").partition(".")
    return bool(label and dot) and "." in parent and pattern[2:] == parent


def _bare(fingerprint: str) -> str:
    return fingerprint.replace(":", "").lower()


def _public_key(certificate: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of a certificate (RFC 5280 4.1), in DER.

    It is the sixth element of the signed part, the seventh where a version comes first.
    """
    start, _ = _inside(certificate, 0)
    at, _ = _inside(certificate, start)
    skip = 6 if certificate[at] == 0xA0 else 5
    for _ in range(skip):
        _, at = _inside(certificate, at)
    _, end = _inside(certificate, at)
    return certificate[at:end]


def _inside(der: bytes, at: int) -> tuple[int, int]:
    """Return where the content of the element at `at` starts and ends."""
    length, start = der[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length = int.from_bytes(der[start : start + count], "big")
        start += count
    if start + length > len(der):
        raise ValueError("cut off")
    return start, start + length
