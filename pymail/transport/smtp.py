"""One connection to one SMTP server (RFC 5321): greeting, TLS, login, then messages.

What the server says becomes the outcome of each recipient; what it offers is all that is used.
What was said before TLS counts no more behind it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from pymail import tls
from pymail.config import Config
from pymail.dkim import Signer
from pymail.names import helo_name
from pymail.nexthop import NextHop
from pymail.replies import Reply
from pymail.transport import Delivery, Login, Outcome
from pymail.transport.auth import log_in
from pymail.transport.connect import call
from pymail.transport.hello import Offers, offers
from pymail.transport.transaction import Following, Transactions
from pymail.transport.tunnel import Tunnel
from pymail.transport.wire import LostError, Wire


class Server(NamedTuple):
    """Where to connect to, and for whom.

    name     of the host, or the address itself
    address  IPv4 or IPv6
    hop      the next hop it serves: what certificates and logins are bound to
    sts      the MX patterns of an MTA-STS policy that is enforced
    """

    name: str
    address: str
    port: int
    hop: NextHop
    sts: tuple[str, ...] = ()


class _HandshakeError(LostError):
    """TLS did not come about; where it need not, the server may do without."""


class Session:
    """A connection that is ready for messages when it is made.

    LostError, then or later, ends it; its outcome holds for who has none yet.
    """

    def __init__(
        self,
        server: Server,
        config: Config,
        login: Login | None = None,
        before: Callable[[], object] = lambda: None,
    ) -> None:
        """Connect, and log in where there is a login; `before` as for Transactions."""
        self.relay = f"{server.name}[{server.address}]:{server.port}"
        self._server = server
        self._config = config
        self._login = login
        try:
            policy = self._policy()
            try:
                wire, offered = self._open(policy)
            except _HandshakeError:
                if policy.required or login:
                    raise
                # As Postfix does: better heard by somebody than not sent at all.
                wire, offered = self._open(tls.Policy("none"))
        except LostError as lost:
            lost.outcome = lost.outcome._replace(relay=self.relay)
            raise
        self._wire = wire
        # A relay that knows us signs by itself.
        direct = server.hop.mx and login is None
        signer = (Signer(config.dkim_directory) or None) if direct else None
        self._transactions = Transactions(wire, offered, config, self.relay, signer, before)

    def transact(
        self, group: Sequence[Delivery], following: Following = list
    ) -> Iterator[tuple[int, Outcome]]:
        """Send one message to the recipients of `group`; yield what becomes of each.

        `following` as for Transactions.
        """
        whole = False
        try:
            for delivery, outcome in self._transactions.run(group, following):
                yield delivery.number, outcome
            whole = True
        except LostError as lost:
            lost.outcome = lost.outcome._replace(relay=self.relay)
            raise
        finally:
            if not whole:
                self._wire.close()

    def quit(self) -> None:
        """Part in peace; what the server says to that matters to nobody."""
        try:
            if not self._transactions.ahead:  # else it would be the first line of a message
                self._wire.write(b"QUIT\r\n", "QUIT", self._config.smtp_quit_timeout)
        except LostError:
            pass
        finally:
            self._wire.close()

    def _policy(self) -> tls.Policy:
        server, login = self._server, self._login is not None
        try:
            return tls.policy(
                self._config, server.hop, server.name, server.port, login=login, sts=server.sts
            )
        except tls.UntrustedError as error:
            raise LostError("4.7.5", str(error)) from None

    def _open(self, policy: tls.Policy) -> tuple[Wire, Offers]:
        """Connect, greet, secure and log in."""
        config, server = self._config, self._server
        v6 = ":" in server.address
        source = config.smtp_bind_address6 if v6 else config.smtp_bind_address
        wire = call(server.name, server.address, server.port, source, config.smtp_connect_timeout)
        try:
            if policy.wrapped:
                self._secure(wire, policy)
            _welcome(wire, wire.reply("greeting", config.smtp_helo_timeout))
            offered = self._hello(wire)
            if policy.level != "none" and not policy.wrapped:
                offered = self._start_tls(wire, offered, policy)
            if self._login:
                log_in(wire, offered, config, self._login, secret=wire.secured)
        except BaseException:
            wire.close()
            raise
        return wire, offered

    def _hello(self, wire: Wire) -> Offers:
        """Say hello; return what is offered."""
        name, limit = self._name(wire), self._config.smtp_helo_timeout
        wire.write(b"EHLO " + name + b"\r\n", "EHLO", limit)
        reply = wire.reply("EHLO", limit)
        if reply.good:
            return offers(reply, self._config.smtp_discard_ehlo_keywords)
        wire.write(b"HELO " + name + b"\r\n", "HELO", limit)
        _welcome(wire, wire.reply("HELO", limit))
        return Offers()

    def _name(self, wire: Wire) -> bytes:
        """Return who we say we are."""
        return helo_name(self._config, wire.here, direct=self._server.hop.mx).encode()

    def _start_tls(self, wire: Wire, offered: Offers, policy: tls.Policy) -> Offers:
        """Ask for TLS; return what is offered then.  Where it must be and cannot be, part."""
        limit = self._config.smtp_starttls_timeout
        if not offered.starttls:
            if policy.required:
                words = f"TLS is required, but was not offered by host {wire.name}"
                raise LostError("4.7.4", words)
            return offered
        wire.write(b"STARTTLS\r\n", "STARTTLS", limit)
        reply = wire.reply("STARTTLS", limit)
        if not wire.idle:
            # CVE-2011-0411: somebody answers ahead what is to be asked in secret.
            words = f"host {wire.name} said more before TLS than it was asked for"
            raise LostError("4.7.0", words)
        if reply.good:
            self._secure(wire, policy)
            return self._hello(wire)
        if policy.required:
            words = f"TLS is required, but host {wire.name} refused to start TLS: {reply.words}"
            raise LostError(f"4{reply.dsn[1:]}", words, reply=reply.words)
        return offered

    def _secure(self, wire: Wire, policy: tls.Policy) -> None:
        """Do the handshake of TLS, and see that the server is the right one."""
        config = self._config
        try:
            tunnel = Tunnel(config, policy, self._server.name)
        except OSError as error:
            place = config.smtp_tls_CAfile or config.smtp_tls_CApath
            words = f"cannot read the authorities in {place}: {error.strerror}"
            raise LostError("4.3.5", words, status="kept") from None
        try:
            wire.secure(tunnel, config.smtp_starttls_timeout)
        except tls.UntrustedError as error:
            raise LostError("4.7.5", f"cannot trust {wire.name}: {error}") from None
        except LostError as lost:
            raise _HandshakeError("4.7.5", f"cannot start TLS: {lost}") from None
        except OSError as error:
            words = f"cannot start TLS with {wire.name}: {error.strerror}"
            raise _HandshakeError("4.7.5", words) from None


def _welcome(wire: Wire, reply: Reply) -> None:
    # Never a bounce: a server that talks to nobody is no verdict on a message.
    if not reply.good:
        words = f"host {wire.name} refused to talk to me: {reply.words}"
        raise LostError(f"4{reply.dsn[1:]}", words, reply=reply.words)
