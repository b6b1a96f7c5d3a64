"""DKIM (RFC 6376): signatures of mail, by dkimpy (the extra "dkim").

A message that goes directly to its recipient's server is signed with the key of the domain in
its From, after everything that changes it.  A relay with a login signs by itself.  The newest
key signs, and where there are RSA and Ed25519 keys the newest of each, since not everybody
knows Ed25519 (RFC 8463).
"""

import importlib.util

from pymail import address, dkimkeys, message
from pymail.dkimkeys import ED25519, EXTRA, RSA, Private
from pymail.errors import ConfigError, TempError

_SIGNED = tuple(
    b"from sender reply-to subject date message-id to cc mime-version content-type"
    b" content-transfer-encoding in-reply-to references".split()
)
_ONCE = frozenset((b"from", b"to", b"cc", b"subject", b"date", b"reply-to", b"message-id"))
"""Signed once more than they stand there: nobody can add another one (RFC 6376 8.15)."""


class Signer:
    """Signs with the keys of a directory; each is read once."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._keys: dict[str, list[Private]] = {}

    def __bool__(self) -> bool:
        """Say whether there is any key to sign with."""
        try:
            return next(dkimkeys.keys(self._directory), None) is not None
        except OSError:
            return True  # signature() says what is wrong

    def signature(self, text: bytes) -> bytes:
        """Return the signature fields of a message (LF line ends), nothing where it has no key.

        MailError where a key cannot be used: unsigned mail would be refused elsewhere.
        """
        domain = author_domain(text)
        if not domain:
            return b""
        if domain not in self._keys:
            self._keys[domain] = self._read(domain)
        return b"".join([_signed(text, private) for private in self._keys[domain]])

    def _read(self, domain: str) -> list[Private]:
        found: dict[str, Private] = {}
        try:
            for key in dkimkeys.keys(self._directory, domain):
                private = dkimkeys.private(key)
                found.setdefault(private.kind, private)
        except OSError as error:
            place = error.filename or self._directory
            raise TempError(f"cannot read {place}: {error.strerror}") from None
        return [found[kind] for kind in (RSA, ED25519) if kind in found]


def author_domain(text: bytes) -> str:
    """Return the domain of the one author of a message, in lower case; "" for no or several."""
    fields, _ = message.split(text)
    values = message.values(fields, b"from")
    if len(values) != 1:
        return ""
    found = address.mailboxes(values[0].decode("utf-8", "surrogateescape"))
    domains = {address.split(mailbox)[1].lower() for mailbox, valid in found if valid}
    domain = domains.pop() if len(domains) == 1 else ""
    return domain if dkimkeys.is_name(domain) else ""


def is_installed() -> bool:
    """Say whether there is what signs."""
    return importlib.util.find_spec("dkim") is not None


def _signed(text: bytes, private: Private) -> bytes:
    key = private.key
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
            private.secret,
            canonicalize=(b"relaxed", b"relaxed"),
            signature_algorithm=f"{private.kind}-sha256".encode(),
            include_headers=names,
            linesep=b"\n",
        )
    except ImportError:  # dkimpy does Ed25519 by PyNaCl
        raise ConfigError(f"cannot sign with {key.path}: {EXTRA}") from None
    except (dkim.DKIMException, ValueError) as error:
        raise ConfigError(f"cannot sign with {key.path}: {error}") from None
    return signature
