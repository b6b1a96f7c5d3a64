"""SASL mechanisms (RFC 4422): what to answer to a server that wants to know who we are.  Pure.

SCRAM-SHA-256, SCRAM-SHA-1 (RFC 5802, 7677), CRAM-MD5 (RFC 2195), PLAIN (RFC 4616), LOGIN; and,
only where they are asked for by name, XOAUTH2 and OAUTHBEARER (RFC 7628), whose password is a
token.  The strongest that both sides know is taken.  What goes over the wire in base64, and how
a protocol says it, is the protocol's matter.
"""

import hashlib
import hmac
import json
import os
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

LEAST_ROUNDS, MOST_ROUNDS = 4096, 1_000_000
"""Iterations that a server may ask for: fewer protect nothing, more are an attack on our time."""

_PLAINTEXT = frozenset(("PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"))
_DICTIONARY = _PLAINTEXT | {"CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"}
_MUTUAL = frozenset(("SCRAM-SHA-1", "SCRAM-SHA-256"))
_BEARER = frozenset(("XOAUTH2", "OAUTHBEARER"))


class RefusedError(Exception):
    """The server did not prove who it is, or says what is no challenge; str() says which."""


HIDDEN = "..."
_LONG = 8
"""Letters of a word that is taken for a piece of a secret."""


class Secrets:
    """What was said in a login and is to be in no error, though a server repeat it."""

    def __init__(self, password: str) -> None:
        """Begin with the password."""
        self._texts: list[str] = []
        self.add(password)

    def add(self, text: str) -> None:
        """Hide a text from now on."""
        if text:
            self._texts.append(text)

    def clean(self, words: str) -> str:
        """Return words of a server without what it repeats, whole or cut off."""
        for text in self._texts:
            words = words.replace(text, HIDDEN)
        return " ".join(
            HIDDEN if len(word) >= _LONG and any(word in text for text in self._texts) else word
            for word in words.split(" ")
        )


class Mechanism(Protocol):
    """One login under way.

    `first` is what is said unasked, None where the server begins; `answer` returns the reply to
    a challenge; `finish` hears what the server says with its success; `fault` is the server's
    word for what is wrong with a token.  RefusedError.
    """

    name: str
    first: bytes | None
    fault: str

    def answer(self, challenge: bytes) -> bytes:
        """Return the reply to a challenge."""
        ...

    def finish(self, data: bytes) -> None:
        """Hear what came with the server's yes."""
        ...


def choose(
    offered: Sequence[str],
    user: str,
    password: str,
    *,
    options: Collection[str],
    only: Collection[str] = (),
) -> Mechanism | None:
    """Return the strongest mechanism that is offered and allowed, None where there is none.

    `options` are the words of smtp_sasl_security_options, `only` those of
    smtp_sasl_mechanism_filter; the empty one allows all but the bearers of tokens.
    """
    known = {name.upper() for name in offered}
    wanted = {name.upper() for name in only} or set(MECHANISMS) - _BEARER
    for name, make in MECHANISMS.items():
        if name in known and name in wanted and not _forbidden(name, options):
            return make(user, password)
    return None


def _forbidden(name: str, options: Collection[str]) -> bool:
    return (
        ("noplaintext" in options and name in _PLAINTEXT)
        or ("nodictionary" in options and name in _DICTIONARY)
        or ("noactive" in options and name in _DICTIONARY)
        or ("mutual_auth" in options and name not in _MUTUAL)
    )


class Plain:
    """PLAIN: everything at once."""

    name = "PLAIN"
    fault = ""

    def __init__(self, user: str, password: str) -> None:
        self.first: bytes | None = b"\0" + _bytes(user) + b"\0" + _bytes(password)

    def answer(self, challenge: bytes) -> bytes:
        """Refuse to say more."""
        raise RefusedError(f"PLAIN has no challenge, got {len(challenge)} bytes")

    def finish(self, data: bytes) -> None:
        """Hear nothing of use."""


class Login:
    """LOGIN: the name, then the password, whatever the server calls them."""

    name = "LOGIN"
    fault = ""

    def __init__(self, user: str, password: str) -> None:
        self.first: bytes | None = None
        self._answers = [_bytes(user), _bytes(password)]

    def answer(self, challenge: bytes) -> bytes:
        """Return what comes next."""
        if not self._answers:
            raise RefusedError(f"LOGIN asks a third time, with {len(challenge)} bytes")
        return self._answers.pop(0)

    def finish(self, data: bytes) -> None:
        """Hear nothing of use."""


class CramMd5:
    """CRAM-MD5: the challenge, signed with the password."""

    name = "CRAM-MD5"
    fault = ""

    def __init__(self, user: str, password: str) -> None:
        self.first: bytes | None = None
        self._user, self._password = _bytes(user), _bytes(password)

    def answer(self, challenge: bytes) -> bytes:
        """Return name and signature."""
        return self._user + b" " + hmac.new(self._password, challenge, "md5").hexdigest().encode()

    def finish(self, data: bytes) -> None:
        """Hear nothing of use."""


class Scram:
    """SCRAM: neither side tells the password, both prove that they know it."""

    name = "SCRAM-SHA-256"
    fault = ""
    digest = "sha256"

    def __init__(self, user: str, password: str, nonce: str = "") -> None:
        self._password = _bytes(_prepared(password))
        self._nonce = (nonce or b64encode(os.urandom(18)).decode()).encode()
        name = _prepared(user).replace("=", "=3D").replace(",", "=2C")
        self._bare = b"n=" + _bytes(name) + b",r=" + self._nonce
        self.first: bytes | None = b"n,," + self._bare
        self._signature = b""
        self._proven = False

    def answer(self, challenge: bytes) -> bytes:
        """Return our proof; then, to the server's own, nothing."""
        if self._signature:
            self._verify(challenge)
            return b""
        nonce, salt, rounds = self._asked(challenge)
        salted = hashlib.pbkdf2_hmac(self.digest, self._password, salt, rounds)
        key = self._sign(salted, b"Client Key")
        final = b"c=biws,r=" + nonce
        text = self._bare + b"," + challenge + b"," + final
        proof = self._sign(hashlib.new(self.digest, key).digest(), text)
        self._signature = self._sign(self._sign(salted, b"Server Key"), text)
        together = bytes(a ^ b for a, b in zip(key, proof, strict=True))
        return final + b",p=" + b64encode(together)

    def finish(self, data: bytes) -> None:
        """Hear the server's proof, unless it was a challenge before."""
        if not self._proven:
            self._verify(data)

    def _asked(self, challenge: bytes) -> tuple[bytes, bytes, int]:
        fields = _fields(challenge)
        nonce, rounds = fields.get(b"r", b""), fields.get(b"i", b"")
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise RefusedError(f"{self.name}: the server answers another question")
        if not rounds.isdigit() or not LEAST_ROUNDS <= int(rounds[:9]) <= MOST_ROUNDS:
            raise RefusedError(f"{self.name}: the server asks for a strange number of rounds")
        try:
            return nonce, b64decode(fields.get(b"s", b""), validate=True), int(rounds[:9])
        except ValueError:
            raise RefusedError(f"{self.name}: the server's salt is no base64") from None

    def _verify(self, data: bytes) -> None:
        said = _fields(data).get(b"v", b"")
        if not self._signature or not hmac.compare_digest(said, b64encode(self._signature)):
            raise RefusedError(f"{self.name}: the server does not know the password itself")
        self._proven = True

    def _sign(self, key: bytes, text: bytes) -> bytes:
        return hmac.digest(key, text, self.digest)


class ScramSha1(Scram):
    """SCRAM with SHA-1."""

    name = "SCRAM-SHA-1"
    digest = "sha1"


class OAuthBearer:
    """OAUTHBEARER: a token; an error comes as a challenge and is answered before the no."""

    name = "OAUTHBEARER"

    def __init__(self, user: str, password: str) -> None:
        name = user.replace("=", "=3D").replace(",", "=2C")
        self.fault = ""
        self.first: bytes | None = _bytes(f"n,a={name},\1auth=Bearer {password}\1\1")

    def answer(self, challenge: bytes) -> bytes:
        """Take the error; the protocol's own words about it follow."""
        self.fault = _fault(challenge)
        return b"\1"

    def finish(self, data: bytes) -> None:
        """Hear nothing of use."""


class XOAuth2:
    """XOAUTH2: Google's and Microsoft's, older than the standard."""

    name = "XOAUTH2"

    def __init__(self, user: str, password: str) -> None:
        self.fault = ""
        self.first: bytes | None = _bytes(f"user={user}\1auth=Bearer {password}\1\1")

    def answer(self, challenge: bytes) -> bytes:
        """Take the error; the protocol's own words about it follow."""
        self.fault = _fault(challenge)
        return b""

    def finish(self, data: bytes) -> None:
        """Hear nothing of use."""


MECHANISMS: dict[str, Callable[[str, str], Mechanism]] = {
    "OAUTHBEARER": OAuthBearer,
    "XOAUTH2": XOAuth2,
    "SCRAM-SHA-256": Scram,
    "SCRAM-SHA-1": ScramSha1,
    "CRAM-MD5": CramMd5,
    "PLAIN": Plain,
    "LOGIN": Login,
}
"""By name, the strongest first; tokens before them, since they are only taken when named."""


def _fault(challenge: bytes) -> str:
    """Return the status in a report of an error, which RefusedError says is no JSON object."""
    try:
        report = json.loads(challenge)
    except (ValueError, RecursionError):
        report = None
    if not isinstance(report, dict):
        raise RefusedError("the server's report of an error is no JSON object")
    return str(report.get("status", "no reason given"))


def _fields(data: bytes) -> dict[bytes, bytes]:
    pairs = (field.partition(b"=") for field in data.split(b","))
    return {name: value for name, _, value in pairs}


def _prepared(text: str) -> str:
    """Return a name or password as SASLprep (RFC 4013) has it, in what matters in practice."""
    return unicodedata.normalize("NFKC", text.replace("\u00ad", "").replace("\u00a0", " "))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
