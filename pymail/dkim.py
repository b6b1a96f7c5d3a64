"""DKIM (RFC 6376): keys, their DNS records, and signatures, by dkimpy (the extra "dkim").

    DKIM_DIRECTORY/DOMAIN/SELECTOR.pem      the private keys of a domain; the newest one signs

A message that goes directly to its recipient's server is signed with the key of the domain in
its From, after everything that changes it.  A relay with a login signs by itself.
"""

import os
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pymail import address, message
from pymail.errors import ConfigError, DataError, MailError, TempError

_SIGNED = tuple(
    b"from sender reply-to subject date message-id to cc mime-version content-type"
    b" content-transfer-encoding in-reply-to references".split()
)
_ONCE = frozenset((b"from", b"to", b"cc", b"subject", b"date", b"reply-to", b"message-id"))
"""Signed once more than they stand there: nobody can add another one (RFC 6376 8.15)."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_STRING = 255
"""Bytes of one string of a TXT record."""

EXTRA = "install pymail with its extra: pip install 'pymail[dkim]'"


@dataclass(frozen=True, slots=True)
class Key:
    """A private key: of which domain, and where."""

    domain: str
    selector: str
    path: str


class Signer:
    """Signs with the keys of a directory; each is read once."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._keys: dict[str, tuple[Key, bytes] | None] = {}

    def __bool__(self) -> bool:
        """Say whether there is any key to sign with."""
        try:
            return next(keys(self._directory), None) is not None
        except OSError:
            return True  # signature() says what is wrong

    def signature(self, text: bytes) -> bytes:
        """Return the signature field of a message (LF line ends), nothing where it has no key.

        MailError where the key cannot be used: unsigned mail would be refused elsewhere.
        """
        domain = author_domain(text)
        if not domain:
            return b""
        if domain not in self._keys:
            self._keys[domain] = self._read(domain)
        found = self._keys[domain]
        return _signed(text, *found) if found else b""

    def _read(self, domain: str) -> tuple[Key, bytes] | None:
        try:
            known = list(keys(self._directory, domain))
        except OSError as error:
            raise TempError(f"cannot read {self._directory}: {error.strerror}") from None
        if not known:
            return None
        key = known[0]
        try:
            status = os.stat(key.path)
            if status.st_mode & 0o007:
                raise ConfigError(f"cannot sign with {key.path}: others may read it: chmod 640")
            with open(key.path, "rb") as file:
                return key, file.read(1 << 16)
        except OSError as error:
            raise TempError(f"cannot read {key.path}: {error.strerror}") from None


def keys(directory: str, domain: str = "") -> Iterator[Key]:
    """Yield the keys of a domain, or of all, the newest first.  OSError."""
    try:
        domains = [domain] if domain else sorted(os.listdir(directory))
        for each in domains:
            found = [name for name in os.listdir(f"{directory}/{each}") if name.endswith(".pem")]
            paths = [f"{directory}/{each}/{name}" for name in found]
            for path in sorted(paths, key=lambda path: (-os.stat(path).st_mtime_ns, path)):
                yield Key(each, os.path.basename(path).removesuffix(".pem"), path)
    except (FileNotFoundError, NotADirectoryError):
        return


def author_domain(text: bytes) -> str:
    """Return the domain of the one author of a message, in lower case; "" for no or several."""
    fields, _ = message.split(text)
    values = message.values(fields, b"from")
    if len(values) != 1:
        return ""
    found = address.mailboxes(values[0].decode("utf-8", "surrogateescape"))
    domains = {address.split(mailbox)[1].lower() for mailbox, valid in found if valid}
    domain = domains.pop() if len(domains) == 1 else ""
    return domain if _NAME.fullmatch(domain) and ".." not in domain else ""


def create(directory: str, domain: str, selector: str, bits: int, group: int) -> Key:
    """Make a key, readable to its owner and `group` (-1 for nobody else).  MailError."""
    for name in (domain, selector):
        if not _NAME.fullmatch(name) or ".." in name:
            raise DataError(f"cannot make a key: {name} is no name in DNS")
    rsa, serialization = _cryptography()
    private = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    key = Key(domain.lower(), selector, f"{directory}/{domain.lower()}/{selector}.pem")
    try:
        os.makedirs(os.path.dirname(key.path), mode=0o755, exist_ok=True)
        fd = os.open(key.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(pem)
            if group >= 0:
                os.fchown(fd, -1, group)
                os.fchmod(fd, 0o640)
    except FileExistsError:
        raise DataError(f"cannot make a key: {key.path} is there already") from None
    except OSError as error:
        raise TempError(f"cannot write {key.path}: {error.strerror}") from None
    return key


def record(key: Key) -> str:
    """Return the DNS record of a key, ready for a zone file.  MailError."""
    _, serialization = _cryptography()
    try:
        with open(key.path, "rb") as file:
            private = serialization.load_pem_private_key(file.read(), None)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {key.path}: {error}") from None
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    value = "v=DKIM1; k=rsa; p=" + "".join(public.decode().split("\n")[1:-2])
    strings = " ".join(f'"{part}"' for part in textwrap.wrap(value, _STRING))
    return f"{key.selector}._domainkey.{key.domain}. IN TXT ( {strings} )"


def _signed(text: bytes, key: Key, pem: bytes) -> bytes:
    try:
        import dkim  # noqa: PLC0415  (an extra)
    except ImportError:
        raise ConfigError(f"cannot sign with {key.path}: {EXTRA}") from None
    fields, _ = message.split(text)
    present = [field.name for field in fields]
    names = [name for name in _SIGNED for _ in range(present.count(name) + (name in _ONCE))]
    try:
        signature: bytes = dkim.sign(
            text,
            key.selector.encode(),
            key.domain.encode(),
            pem,
            canonicalize=(b"relaxed", b"relaxed"),
            include_headers=names,
            linesep=b"\n",
        )
    except (dkim.DKIMException, ValueError) as error:
        raise ConfigError(f"cannot sign with {key.path}: {error}") from None
    return signature


def _cryptography() -> tuple[Any, Any]:
    """Return modules of an extra.  MailError where it is not installed."""
    try:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415
    except ImportError:
        raise MailError(f"cannot work with keys: {EXTRA}") from None
    return rsa, serialization
