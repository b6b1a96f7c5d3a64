"""A throw-away certificate authority, and the certificates of servers good and bad."""

import datetime as dt
import ssl
import warnings
from pathlib import Path

import trustme

PAST = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)


class Authority:
    """Issues certificates; `file` is what clients trust."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self._stranger = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.file = place / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))
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
        if not path.exists():
            self._certificate(kind, names).private_key_and_cert_chain_pem.write_to_path(str(path))
        return path

    def _certificate(self, kind: str, names: tuple[str, ...]) -> trustme.LeafCert:
        ca = self._stranger if kind == "strange" else self._ca
        until = PAST + dt.timedelta(days=1) if kind == "expired" else None
        return ca.issue_cert(*names, not_before=PAST, not_after=until)
