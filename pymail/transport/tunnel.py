"""TLS with one server, through memory: the bytes are carried by the wire (wire.py)."""

import errno
import functools
import ssl

from pymail.config import Config
from pymail.tls import Policy, UntrustedError, check, is_address, to_ascii

_PIECE = 1 << 16


class Tunnel:
    """What wire.Tunnel asks for: TLS, with the certificate that the policy wants."""

    def __init__(self, config: Config, policy: Policy, host: str) -> None:
        self._policy = policy
        chained = bool(policy.names)
        context = _context(config.smtp_tls_CAfile, config.smtp_tls_CApath, chained=chained)
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ended = False
        # An address is no name for SNI (RFC 6066 3), and DNS has names that are none either.
        name = None if is_address(host) else to_ascii(host)
        try:
            self._tls = context.wrap_bio(self._came, self._goes, server_hostname=name)
        except (TypeError, ValueError):
            self._tls = context.wrap_bio(self._came, self._goes)

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
        certificate = self._tls.getpeercert() or {}
        der = self._tls.getpeercert(binary_form=True) or b""
        check(self._policy, certificate, der)
        return self._goes.read(), True

    def rest(self) -> bytes:
        """Return the alert that tells a server why its certificate does not do."""
        return self._goes.read()

    def seal(self, data: bytes) -> bytes:
        """Return `data` encrypted."""
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise OSError(errno.EPROTO, _reason(error)) from None
        return self._goes.read()

    def unseal(self, data: bytes) -> bytes:
        """Return what was encrypted in `data`, and before, as far as it is complete."""
        if self._ended and data:  # it would be kept, and never be read
            raise OSError(errno.EPROTO, "it talks on behind the end of TLS")
        self._came.write(data)
        pieces = []
        try:
            while piece := self._tls.read(_PIECE):
                pieces.append(piece)
            self._ended = True  # what comes after the last word is the end of the connection
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            raise OSError(errno.EPROTO, _reason(error)) from None
        return b"".join(pieces)


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
    context.check_hostname = False  # one name, where we may have several; see tls.check()
    context.verify_mode = ssl.CERT_REQUIRED if chained else ssl.CERT_NONE
    return context


def _reason(error: ssl.SSLError) -> str:
    """Return OpenSSL's reason as words: "wrong version number"."""
    return (error.reason or str(error)).replace("_", " ").lower()
