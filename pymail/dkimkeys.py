"""The keys of DKIM (RFC 6376, RFC 8463): files, and the DNS records that belong to them.

DKIM_DIRECTORY/DOMAIN/SELECTOR.pem      a private key; only its owner and a group may read it
"""

import base64
import os
import re
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

from pymail.errors import ConfigError, DataError, MailError, TempError

RSA, ED25519 = "rsa", "ed25519"

EXTRA = (
    "install dkimpy: apt install python3-dkim for the package of Debian,"
    " else pip install dkimpy in pymail's virtual environment"
)

_RSA_PEM = b"-----BEGIN RSA PRIVATE KEY-----"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")

_STRING = 255
"""Bytes of one string of a TXT record."""

_MOST = 1 << 16
"""Bytes of a file with a key."""


class Key(NamedTuple):
    """A private key: of which domain, and where."""

    domain: str
    selector: str
    path: str


class Private(NamedTuple):
    """What signs: a key as dkimpy wants it."""

    key: Key
    kind: str
    secret: bytes


def is_name(text: str) -> bool:
    """Say whether a text can be a name in DNS, and part of a path."""
    return bool(_NAME.fullmatch(text)) and ".." not in text


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


def create(directory: str, domain: str, selector: str, bits: int, group: int) -> Key:
    """Make a key, readable to its owner and `group` (-1 for nobody else).  MailError.

    It is an RSA key with that many bits; 0 stands for Ed25519.
    """
    for name in (domain, selector):
        if not is_name(name):
            raise DataError(f"cannot make a key: {name} is no name in DNS")
    pem = _made(bits)
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
    _, _, serialization = _cryptography()
    try:
        with open(key.path, "rb") as file:
            public = _loaded(key, file.read(_MOST)).public_key()
    except OSError as error:
        raise TempError(f"cannot read {key.path}: {error.strerror}") from None
    formats = serialization.PublicFormat
    if _kind(public) == ED25519:
        data = public.public_bytes(serialization.Encoding.Raw, formats.Raw)
    else:
        data = public.public_bytes(serialization.Encoding.DER, formats.SubjectPublicKeyInfo)
    value = f"v=DKIM1; k={_kind(public)}; p={base64.b64encode(data).decode()}"
    strings = " ".join(f'"{part}"' for part in textwrap.wrap(value, _STRING))
    return f"{key.selector}._domainkey.{key.domain}. IN TXT ( {strings} )"


def is_open(key: Key) -> bool:
    """Say whether others may read a key.  OSError."""
    return bool(os.stat(key.path).st_mode & 0o007)


def private(key: Key) -> Private:
    """Return a key as dkimpy wants it.  OSError, MailError."""
    if is_open(key):
        raise ConfigError(f"cannot sign with {key.path}: others may read it: chmod 640")
    with open(key.path, "rb") as file:
        pem = file.read(_MOST)
    if pem.lstrip().startswith(_RSA_PEM):
        return Private(key, RSA, pem)
    loaded = _loaded(key, pem)
    kind = _kind(loaded)
    return Private(key, kind, base64.b64encode(_seed(loaded)) if kind == ED25519 else pem)


def _made(bits: int) -> bytes:
    """Return a new private key as PEM."""
    rsa, ed25519, serialization = _cryptography()
    formats = serialization.PrivateFormat
    if bits:
        private = rsa.generate_private_key(public_exponent=65537, key_size=bits)
        form = formats.TraditionalOpenSSL
    else:
        private, form = ed25519.Ed25519PrivateKey.generate(), formats.PKCS8
    pem: bytes = private.private_bytes(
        serialization.Encoding.PEM, form, serialization.NoEncryption()
    )
    return pem


def _loaded(key: Key, pem: bytes) -> Any:  # noqa: ANN401  (of an extra)
    _, _, serialization = _cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415

    try:
        loaded = serialization.load_pem_private_key(pem, None)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"cannot use {key.path}: {error}") from None
    if not _kind(loaded):
        raise ConfigError(f"cannot use {key.path}: it is neither RSA nor Ed25519")
    return loaded


def _kind(key: Any) -> str:  # noqa: ANN401
    """Return of which kind a private or public key is, "" for none that signs mail."""
    rsa, ed25519, _ = _cryptography()
    if isinstance(key, (rsa.RSAPrivateKey, rsa.RSAPublicKey)):
        return RSA
    if isinstance(key, (ed25519.Ed25519PrivateKey, ed25519.Ed25519PublicKey)):
        return ED25519
    return ""


def _seed(key: Any) -> bytes:  # noqa: ANN401
    _, _, serialization = _cryptography()
    seed: bytes = key.private_bytes(
        serialization.Encoding.Raw,
        serialization.PrivateFormat.Raw,
        serialization.NoEncryption(),
    )
    return seed


def _cryptography() -> tuple[Any, Any, Any]:
    """Return modules of an extra.  MailError where it is not installed."""
    try:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ed25519, rsa  # noqa: PLC0415
    except ImportError:
        raise MailError(f"cannot work with keys: {EXTRA}") from None
    return rsa, ed25519, serialization
