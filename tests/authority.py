"""A throw-away certificate authority, and the certificates of servers good and bad."""

import datetime as dt
import hashlib
import ssl
import warnings
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

PAST = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)


class Authority:
    """Issues certificates; `file` is what clients trust."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self._stranger = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.file = place / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))
        self._certificates: dict[tuple[str, tuple[str, ...]], trustme.LeafCert] = {}
        self._contexts: dict[tuple[str, ...], ssl.SSLContext] = {}

    def context(self, kind: str, *names: str) -> ssl.SSLContext:
        """Return what a server of these names needs.

        kind is good, expired, strange (of an authority that nobody trusts) or old (it speaks
        no TLS that is newer than 1.1).
        """
        if (kind, *names) not in self._contexts:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._certificate(kind, names).configure_cert(context)
            if kind == "old":
                context.set_ciphers("ALL:@SECLEVEL=0")
                with warnings.catch_warnings(action="ignore"):
                    context.minimum_version = ssl.TLSVersion.TLSv1
                    context.maximum_version = ssl.TLSVersion.TLSv1_1
            self._contexts[kind, *names] = context
        return self._contexts[kind, *names]

    def pem(self, kind: str, *names: str) -> Path:
        """Return a file with the key and the certificate of a server of these names."""
        path = self._place / f"{kind}-{'-'.join(names).replace('*', 'any')}.pem"
        self._certificate(kind, names).private_key_and_cert_chain_pem.write_to_path(str(path))
        return path

    def der(self, kind: str, *names: str) -> bytes:
        """Return a certificate as it goes over the wire."""
        return self._x509(kind, names).public_bytes(serialization.Encoding.DER)

    def fingerprints(self, kind: str, *names: str, digest: str = "sha256") -> list[str]:
        """Return the fingerprints of a certificate and of its key."""
        key = self._x509(kind, names).public_key()
        info = serialization.PublicFormat.SubjectPublicKeyInfo
        parts = self.der(kind, *names), key.public_bytes(serialization.Encoding.DER, info)
        return [hashlib.new(digest, part).hexdigest() for part in parts]

    def _x509(self, kind: str, names: tuple[str, ...]) -> x509.Certificate:
        pems = self._certificate(kind, names).cert_chain_pems
        return x509.load_pem_x509_certificate(pems[0].bytes())

    def _certificate(self, kind: str, names: tuple[str, ...]) -> trustme.LeafCert:
        if (kind, names) not in self._certificates:
            ca = self._stranger if kind == "strange" else self._ca
            until = PAST + dt.timedelta(days=1) if kind == "expired" else None
            issued = ca.issue_cert(*names, not_before=PAST, not_after=until)
            self._certificates[kind, names] = issued
        return self._certificates[kind, names]
