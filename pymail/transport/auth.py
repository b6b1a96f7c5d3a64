"""The dialogue of AUTH (RFC 4954): who we are, said only where it may be heard."""

import base64

from pymail import sasl
from pymail.config import Config
from pymail.errors import printable
from pymail.replies import Reply
from pymail.transport import Login
from pymail.transport.hello import Offers
from pymail.transport.wire import LostError, Wire

MOST_LINE = 512
"""Bytes of a command; a longer first response has a line of its own (RFC 4954 4)."""

MOST_CHALLENGES = 8
MOST_FAULT = 80
"""Letters of what a server calls the fault of a token."""


def log_in(wire: Wire, offers: Offers, config: Config, login: Login, *, secret: bool) -> None:
    """Log in; `secret` says whether nobody else hears it.  LostError where that fails."""
    if not offers.auth:
        raise LostError("4.7.0", f"cannot log in to host {wire.name}: it offers no AUTH")
    allowed = "smtp_sasl_tls_security_options" if secret else "smtp_sasl_security_options"
    options, only = getattr(config, allowed), config.smtp_sasl_mechanism_filter
    mechanism = sasl.choose(offers.auth, login.user, login.password, options=options, only=only)
    if mechanism is None:
        offered = printable(" ".join(offers.auth))[:MOST_LINE]
        words = f"cannot log in to host {wire.name}: {allowed} allows none of {offered}"
        raise LostError("4.7.0", words)
    _Dialogue(wire, mechanism, login, config.smtp_mail_timeout).run()


class _Dialogue:
    """One attempt; what a server repeats of our secrets is in no error."""

    def __init__(self, wire: Wire, mechanism: sasl.Mechanism, login: Login, limit: int) -> None:
        self._wire = wire
        self._mechanism = mechanism
        self._limit = limit
        self._secrets = sasl.Secrets(login.password)

    def run(self) -> None:
        """Say who we are, and answer what is asked."""
        reply = self._begin()
        try:
            for _ in range(MOST_CHALLENGES):
                if reply.code != 334:
                    break
                reply = self._answer(self._mechanism.answer(_challenge(reply)))
            if reply.good:  # RFC 4954 4 has 235; as in Postfix, any other will do
                self._mechanism.finish(_challenge(reply))
                return
        except sasl.RefusedError as error:
            words = f"cannot log in to host {self._wire.name}: {self._secrets.clean(str(error))}"
            raise LostError("4.7.8", words, "login") from None
        words, fault = self._secrets.clean(reply.words), ""
        if self._mechanism.fault:
            fault = self._secrets.clean(printable(self._mechanism.fault))[:MOST_FAULT]
            fault = f" (the token is refused: {fault})"
        raise LostError(
            f"4{reply.dsn[1:]}",
            f"SASL authentication failed{fault}; server {self._wire.name} said: {words}",
            "login" if reply.code // 100 == 5 else "host",
            reply=words,
        )

    def _begin(self) -> Reply:
        command = f"AUTH {self._mechanism.name}".encode()
        first = self._mechanism.first
        if first is None:
            return self._ask(command)
        coded = self._coded(first) or b"="  # RFC 4954 4: empty, but there
        if len(command) + len(coded) + 3 <= MOST_LINE:
            return self._ask(command + b" " + coded)
        reply = self._ask(command)
        return self._ask(coded) if reply.code == 334 else reply

    def _answer(self, response: bytes) -> Reply:
        return self._ask(self._coded(response))

    def _coded(self, response: bytes) -> bytes:
        coded = base64.b64encode(response)
        self._secrets.add(coded.decode())
        return coded

    def _ask(self, line: bytes) -> Reply:
        self._wire.write(line + b"\r\n", "AUTH", self._limit)
        try:
            return self._wire.reply("AUTH", self._limit)
        except LostError as lost:
            clean, outcome = self._secrets.clean, lost.outcome
            words, reply = clean(outcome.words), clean(outcome.reply)
            raise LostError(outcome.dsn, words, reply=reply) from None


def _challenge(reply: Reply) -> bytes:
    """Return what a reply has for the mechanism; a prompt in words is taken as it is."""
    text = "".join(reply.texts)
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:  # binascii's is one; letters beyond ASCII are another
        return text.encode()
