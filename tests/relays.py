"""Mail servers that tests send to: real ones of aiosmtpd, in threads of this process."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword


@dataclass
class Taken:
    """A message that a server has taken."""

    sender: str
    recipients: list[str]
    data: bytes
    user: str
    options: list[str]


@dataclass
class Relay:
    """What a server is to do, and what it has done.

    refuse   by recipient, the reply to RCPT
    verdict  the reply to a message
    users    who may log in, with passwords
    lacks    extensions that it does not have
    most     sessions at a time, 0 for any number
    """

    refuse: dict[str, str] = field(default_factory=dict)
    verdict: str = "250 2.0.0 queued as TEST"
    users: dict[str, str] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    most: int = 0
    here: list[Any] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    connections: int = 0
    logins: int = 0
    port: int = 0

    @property
    def hop(self) -> str:
        """The next hop that leads here."""
        return f"[127.0.0.1]:{self.port}"

    async def handle_CONNECT(self, *_: Any) -> None:  # noqa: N802
        """Count a connection."""

    async def handle_EHLO(  # noqa: N802
        self, server: Any, session: Any, _envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        """Count a session; offer what there is to offer."""
        self.connections += 1
        self.here = [one for one in self.here if one.transport and not one.transport.is_closing()]
        if self.most and len(self.here) >= self.most:
            return ["421 4.7.0 too many connections"]
        self.here.append(server)
        session.host_name = hostname
        return [line for line in responses if line[4:].split()[0] not in self.lacks]

    async def handle_RCPT(  # noqa: N802
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: list[str]
    ) -> str:
        """Take or refuse a recipient."""
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """Take or refuse a message."""
        if self.verdict.startswith("2"):
            user = session.auth_data.login.decode() if session.auth_data else ""
            self.taken.append(
                Taken(
                    envelope.mail_from,
                    list(envelope.rcpt_tos),
                    envelope.content,
                    user,
                    list(envelope.mail_options),
                )
            )
        return self.verdict

    def authenticate(self, _server: Any, _session: Any, _e: Any, _m: str, data: Any) -> AuthResult:
        """Check a login."""
        self.logins += 1
        good = isinstance(data, LoginPassword) and (
            self.users.get(data.login.decode()) == data.password.decode()
        )
        return AuthResult(success=good, handled=False, auth_data=data)


@contextlib.contextmanager
def relay(
    tls: ssl.SSLContext | None = None, *, wrapped: bool = False, **facts: Any
) -> Iterator[Relay]:
    """Run a server on a port of its own."""
    here = Relay(**facts)
    options: dict[str, Any] = {"auth_required": bool(here.users) and not wrapped}
    if here.users:
        options["authenticator"] = here.authenticate
        options["auth_require_tls"] = tls is not None and not wrapped
    if tls and not wrapped:
        options |= {"tls_context": tls, "require_starttls": False}
    controller = Controller(
        here,
        hostname="127.0.0.1",
        port=0,
        ssl_context=tls if wrapped else None,
        enable_SMTPUTF8=True,
        **options,
    )
    controller.port = here.port = free_port()
    controller.start()
    try:
        yield here
    finally:
        controller.stop()


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """Run a server that accepts connections and never says a word; yield its next hop."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        over = threading.Event()
        heard: list[socket.socket] = []

        def work() -> None:
            while not over.is_set():
                with contextlib.suppress(OSError):
                    heard.append(listener.accept()[0])

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield f"[127.0.0.1]:{listener.getsockname()[1]}"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            for each in heard:
                each.close()
