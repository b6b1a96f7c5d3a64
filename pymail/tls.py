"""TLS with other servers: how much of it is wanted, and whether a certificate is the right one.

none         never
may          where it is offered; it hides mail from those who only listen
encrypt      always, with anybody
fingerprint  always, with the owner of one of some known certificates
verify       always, with a certificate of a trusted authority for the host's name
secure       the same for the next hop's name, which no forged DNS answer can change

A certificate's names are those in its subjectAltName; the common name counts no more
(RFC 9525).  TLS is at least 1.2 and talks through memory: sockets are the wire's (wire.py).
"""

import errno
import functools
import hashlib
import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pymail.config import Config
from pymail.errors import printable
from pymail.nexthop import NextHop

SMTPS = 465
"""The port where TLS begins with the first byte (RFC 8314)."""

_MOST_NAMES = 5
_CHAINED = ("verify", "secure")
_PIECE = 1 << 16


class UntrustedError(Exception):
    """The server is not the one that mail may be given to; str() says why."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is asked of a connection.

    level    one of the above
    wrapped  TLS from the first byte, no STARTTLS
    names    for each set of them, the certificate must have one; ".example.org" is any name
             below example.org
    """

    level: str
    wrapped: bool = False
    names: tuple[tuple[str, ...], ...] = ()

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
        if not any(_matches(pattern.lower(), _ascii(host)) for pattern in sts):
            raise UntrustedError(f"{host} is no server of the MTA-STS policy of {hop.host}")
        names.append((_ascii(host),))
        level = level if level in (*_CHAINED, "fingerprint") else "verify"
    return Policy(level, wrapped, tuple(names))


class Tunnel:
    """TLS with one server, over bytes that somebody else carries (see wire.Tunnel)."""

    def __init__(self, config: Config, policy: Policy, host: str) -> None:
        self._policy = policy
        self._prints = {_bare(text) for text in config.smtp_tls_fingerprint_cert_match}
        self._digest = config.smtp_tls_fingerprint_digest
        chained = bool(policy.names)
        context = _context(config.smtp_tls_CAfile, config.smtp_tls_CApath, chained=chained)
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        # An address is no name for SNI (RFC 6066 3).
        name = None if _is_address(host) else _ascii(host)
        self._tls = context.wrap_bio(self._came, self._goes, server_hostname=name)

    def shake(self, data: bytes) -> tuple[bytes, bool]:
        """Go on with the handshake.  OSError, or UntrustedError where the server is another."""
        self._came.write(data)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return self._goes.read(), False
        except ssl.SSLCertVerificationError as error:
            raise UntrustedError(f"its certificate: {error.verify_message}") from None
        except ssl.SSLError as error:
            raise OSError(errno.EPROTO, _reason(error)) from None
        self._check()
        return self._goes.read(), True

    def seal(self, data: bytes) -> bytes:
        """Return `data` encrypted."""
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise OSError(errno.EPROTO, _reason(error)) from None
        return self._goes.read()

    def unseal(self, data: bytes) -> bytes:
        """Return what was encrypted in `data`, and before, as far as it is complete."""
        self._came.write(data)
        pieces = []
        try:
            while piece := self._tls.read(_PIECE):
                pieces.append(piece)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass  # what comes after the last word is the end of the connection
        except ssl.SSLError as error:
            raise OSError(errno.EPROTO, _reason(error)) from None
        return b"".join(pieces)

    def _check(self) -> None:
        """Raise UntrustedError unless the server has the certificate that is asked for."""
        if self._policy.level == "fingerprint":
            known = fingerprints(self._tls.getpeercert(binary_form=True) or b"", self._digest)
            if self._prints.isdisjoint(known):
                raise UntrustedError(
                    f"its fingerprint {known[0]} is not in smtp_tls_fingerprint_cert_match"
                )
        if self._policy.names:
            have = _certified(self._tls.getpeercert() or {})
            for wanted in self._policy.names:
                if not any(_certifies(name, want) for name in have for want in wanted):
                    shown = ", ".join(have[:_MOST_NAMES]) or "no name"
                    raise UntrustedError(
                        f"its certificate is for {printable(shown)}, not for {' or '.join(wanted)}"
                    )


def fingerprints(certificate: bytes, digest: str) -> list[str]:
    """Return the fingerprints of a certificate and, where it can be read, of its public key."""
    parts = [certificate]
    try:
        parts.append(_public_key(certificate))
    except (IndexError, ValueError):
        pass  # the certificate itself is still known
    return [hashlib.new(digest, part).hexdigest() for part in parts]


@functools.lru_cache(maxsize=8)
def _context(file: str, path: str, *, chained: bool) -> ssl.SSLContext:
    """Return what connections share.  OSError where the authorities cannot be read."""
    if chained:
        context = ssl.create_default_context(cafile=file or None, capath=path or None)
        # Python 3.13 refuses what home-made authorities leave out; OpenSSL and Postfix do not.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # one name, where we may have several; see Tunnel._check()
    context.verify_mode = ssl.CERT_REQUIRED if chained else ssl.CERT_NONE
    return context


def _names(words: tuple[str, ...], hop: NextHop, host: str) -> tuple[str, ...]:
    """Return the names that a list such as smtp_tls_secure_cert_match means for this server."""
    meanings = {"hostname": _ascii(host), "nexthop": _ascii(hop.host)}
    if not hop.literal:
        meanings["dot-nexthop"] = f".{_ascii(hop.host)}"
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
    if _is_address(wanted):
        return _is_address(name) and ipaddress.ip_address(name) == ipaddress.ip_address(wanted)
    return _matches(name, wanted)


def _matches(pattern: str, host: str) -> bool:
    """Say whether `host` is the name `pattern`, where "*." stands for one label (RFC 9525 6.3)."""
    if not pattern.startswith("*."):
        return pattern.rstrip(".") == host.rstrip(".")
    label, dot, parent = host.rstrip(".").partition(".")
    return bool(label and dot) and "." in parent and pattern[2:] == parent


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _ascii(host: str) -> str:
    """Return a name as certificates and SNI have it."""
    try:
        return host.lower().rstrip(".").encode("idna").decode()
    except UnicodeError:
        return host.lower()


def _bare(fingerprint: str) -> str:
    return fingerprint.replace(":", "").lower()


def _reason(error: ssl.SSLError) -> str:
    """Return OpenSSL's reason as words: "wrong version number"."""
    return (error.reason or str(error)).replace("_", " ").lower()


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
