"""What is remembered of the destinations of outbound mail, from one run to the next.

A destination that did not answer rests: its mail waits without being tried.  One that refused
our login is left alone until the login is another, somebody asks for it by name, or a long time
has passed: a provider locks accounts that knock again and again.

QUEUE/.sites is JSON, replaced as a whole; one that cannot be read is as good as none.
"""

import hashlib
import json
import os
from typing import NamedTuple

from pymail import durable
from pymail.outcome import Outcome
from pymail.transport import Login

Failed = tuple[str, str, Outcome]
"""Key and reason of a destination that is left alone, and what becomes of its mail."""

Logins = tuple[tuple[str, Login], ...]
"""Next hops, as they are shown, and who we are there."""

DEAD, LOGIN, OFFLINE = "dead", "login", "offline"
MOST = 10000
LIMIT = 1 << 22
"""Bytes of the file."""

LOGIN_REST, MOST_LOGIN_REST = 3600, 86400
"""Seconds after which a refused login is tried once more; doubled each time."""


class Site(NamedTuple):
    """One destination that is left alone `until` then, after a rest of `rest` seconds.

    `proof` tells whether the login that was refused is still the same.
    """

    why: str
    until: int
    rest: int
    dsn: str
    words: str
    proof: str = ""

    @property
    def outcome(self) -> Outcome:
        """What becomes of mail for it: a login of ours that is wrong never bounces anything."""
        status = {DEAD: "deferred", LOGIN: "kept", OFFLINE: "offline"}[self.why]
        return Outcome(status, self.dsn, self.words)


class Sites:
    """The destinations that are left alone; shortest and longest rest are Postfix's back-off."""

    def __init__(self, queue: str, shortest: int, longest: int) -> None:
        self._path = f"{queue}/.sites"
        self._shortest = shortest
        self._longest = longest
        self._sites = _read(self._path)
        self._changed: set[str] = set()

    def resting(self, key: str, now: int, proof: str = "") -> Site | None:
        """Return the destination if it is to be left alone now."""
        site = self._sites.get(key)
        if site is None or (site.why == LOGIN and site.proof != proof):
            return None
        # A rest that ends later than any rest lasts comes from a clock that was wrong.
        return site if now < site.until <= now + 2 * max(site.rest, 1) else None

    def fail(self, key: str, why: str, outcome: Outcome, now: int, proof: str = "") -> None:
        """Remember that a destination did not answer, or refused the login."""
        before = self._sites.get(key)
        again = before is not None and before.why == why and before.proof == proof
        least, most = self._shortest, self._longest
        if why == LOGIN:
            least, most = LOGIN_REST, MOST_LOGIN_REST
        rest = min(2 * before.rest, most) if before is not None and again else least
        rest = 0 if why == OFFLINE else rest
        self._sites[key] = Site(why, now + rest, rest, outcome.dsn, outcome.words, proof)
        self._changed.add(key)

    def known(self, key: str) -> Site:
        """Return what is remembered of a destination that has failed."""
        return self._sites[key]

    def well(self, key: str) -> None:
        """Forget what was wrong with a destination: it has answered."""
        if self._sites.pop(key, None) is not None:
            self._changed.add(key)

    def save(self) -> None:
        """Write down what changed; what other runs wrote meanwhile stays."""
        if not self._changed:
            return
        sites = _read(self._path)
        for key in self._changed:
            sites.pop(key, None)
            if key in self._sites and self._sites[key].why != OFFLINE:
                sites[key] = self._sites[key]
        self._changed = set()
        latest = sorted(sites.items(), key=lambda item: -item[1].until)[:MOST]
        text = json.dumps({key: site._asdict() for key, site in latest}, ensure_ascii=True)
        _write(self._path, text)


def key_of(argument: str, logins: Logins) -> str:
    """Return what tells a destination from others: its next hops, and who we are there."""
    users = ",".join(login.user for _, login in logins)
    return f"{argument} {users}".rstrip()


def proof_of(user: str, password: str, command: str) -> str:
    """Return what tells a login from another one, and does not give it away."""
    data = f"{user}\0{password}\0{command}".encode("utf-8", "surrogateescape")
    return hashlib.scrypt(data, salt=b"pymail.sites", n=1 << 12, r=8, p=1, dklen=16).hex()


def _read(path: str) -> dict[str, Site]:
    try:
        with open(path, encoding="ascii") as file:
            table = json.loads(file.read(LIMIT))
        return {str(key): _site(row) for key, row in table.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _site(row: dict[str, object]) -> Site:
    until, rest = row["until"], row["rest"]
    if row["why"] not in (DEAD, LOGIN) or not isinstance(until, int) or not isinstance(rest, int):
        raise ValueError(row)
    why, dsn, words, proof = (str(row[name]) for name in ("why", "dsn", "words", "proof"))
    return Site(why, until, rest, dsn, words, proof)


def _write(path: str, text: str) -> None:
    """Replace the file; it is no loss if the power fails before it is on the disk."""
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(temporary, "w", encoding="ascii") as file:
            file.write(text)
        durable.put(temporary, path)
    except OSError:
        return  # no room to remember anything: the next run finds out by itself
