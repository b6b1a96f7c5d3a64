"""The dialogue of SASL with a server that has mail for us: AUTH (RFC 5034), AUTHENTICATE."""

import base64
import binascii
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pymail import sasl
from pymail.errors import printable
from pymail.transport import Login
from pymail.transport.wire import LostError

MOST_CHALLENGES = 8
_PLAIN = ("PLAIN", "LOGIN")


@contextmanager
def guarded(login: Login) -> Iterator[sasl.Secrets]:
    """Let no error of a login have in it what the server repeats of what it was told."""
    secrets = sasl.Secrets(login.password)
    try:
        yield secrets
    except LostError as lost:
        words = secrets.clean(lost.outcome.words)
        raise LostError(lost.outcome.dsn, words, lost.kind) from None


def choose(
    host: str, offered: Sequence[str], login: Login, only: Sequence[str]
) -> sasl.Mechanism | None:
    """Return the mechanism to log in with, None for the protocol's own command: LOGIN, USER.

    LostError where none of those that may be used is offered.
    """
    found = sasl.choose(offered, login.user, login.password, options=(), only=only)
    if found is None and only and not any(name.upper() in _PLAIN for name in only):
        raise LostError("4.7.0", f"host {host} offers none of the logins {', '.join(only)}")
    return found


def prove(
    host: str,
    mechanism: sasl.Mechanism,
    secrets: sasl.Secrets,
    ask: Callable[[str | None], tuple[bytes | None, bool]],
) -> bool:
    """Go through a mechanism; say whether the server took it.

    ask(None) begins; ask(line) answers.  It returns the challenge, None at the end, and whether
    that was a yes.  LostError where the server does not know the password itself.
    """
    first = mechanism.first
    try:
        challenge, good = ask(None)
        for _ in range(MOST_CHALLENGES):
            if challenge is None:
                break
            answer = mechanism.answer(_decoded(challenge)) if first is None else first
            first = None
            coded = base64.b64encode(answer).decode()
            secrets.add(coded)
            challenge, good = ask(coded)
        if good:
            mechanism.finish(b"")
    except sasl.RefusedError as error:
        raise LostError("4.7.8", f"cannot log in at {host}: {error}", "login") from None
    return good and challenge is None


def refused(host: str, login: Login, said: str, *, fault: str = "", later: bool) -> LostError:
    """Return the error of a login that was refused."""
    if fault:
        said = f"the token is refused: {printable(fault)[:80]}; {said}"
    words = f"cannot log in at {host} as {login.user}: {said}"
    return LostError("4.7.8", words, "host" if later else "login")


def _decoded(challenge: bytes) -> bytes:
    try:
        return base64.b64decode(challenge, validate=True)
    except binascii.Error:
        return challenge
