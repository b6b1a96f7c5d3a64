"""A queue for one destination: its next hop, its servers, and what a run has learnt of them."""

import threading
import time
from collections import deque

from pymail import hosts, nexthop, secret
from pymail.config import Config
from pymail.errors import MailError
from pymail.nexthop import NextHop
from pymail.outcome import Outcome, deferred
from pymail.transport import Delivery, Login
from pymail.transport.smtp import Server
from pymail.transport.wire import LostError

FIRST_CONNECTIONS = 2
SLOW = 0.005
"""Seconds that a message takes from which on a further connection is worth having."""

IDLE = 2
"""Seconds that a connection is kept for the next message."""

MOST_STRIKES = 2
"""Connections that a server did not take, one after another, before the others come first."""

_FINAL = ("5.1.10", "5.4.6")
"""A domain takes no mail (RFC 7505), or its mail is ours: another way leads nowhere, or round."""


class HopQueue:
    """A queue for one next hop with one login, and what is known of it."""

    def __init__(self, key: str, first: Delivery, config: Config, cache: str) -> None:
        self.key = key
        self.config = config
        self.losses = 0
        self._cache = cache
        self._logins = dict(first.logins)
        self._hops = nexthop.parse_all(first.argument)
        self._domain = nexthop.lower(first.recipient.rpartition("@")[2])
        self._changed = threading.Condition()
        self._queue: deque[Delivery] = deque()
        self._failure: Outcome | None = None
        self._closing = False
        self._connections = self._idle = 0
        self._allowed = FIRST_CONNECTIONS
        self._finding = threading.Lock()
        self._servers: list[Server] | None = None
        self._alive: set[Server] = set()
        self._strikes: dict[Server, int] = {}
        self._pause = config.smtp_destination_rate_delay or config.default_destination_rate_delay
        self._next = 0.0
        most = (
            config.smtp_destination_concurrency_limit
            or config.default_destination_concurrency_limit
        )
        self._most = 1 if self._pause else most
        self._together = (
            config.smtp_destination_recipient_limit or config.default_destination_recipient_limit
        )

    def add(self, delivery: Delivery) -> Outcome | None:
        """Put a delivery into the queue; return its outcome where the destination has failed."""
        with self._changed:
            if self._failure is None:
                self._queue.append(delivery)
                self._changed.notify()
            return self._failure

    def grows(self) -> bool:
        """Say whether a further connection is to be made; it then counts as made."""
        with self._changed:
            if len(self._queue) <= self._idle:
                return False
            if self._connections >= min(self._allowed, self._most):
                return False
            self._connections += 1
            return True

    def take(self) -> list[Delivery]:
        """Return the recipients of the next message; nothing ends the connection."""
        with self._changed:
            if not self._queue and not self._closing and not self._failure:
                self._idle += 1
                self._changed.wait(IDLE)
                self._idle -= 1
            group = self._grouped()
            if not group:
                self._connections -= 1
        if group and self._pause:
            time.sleep(max(self._next - time.monotonic(), 0))
            self._next = time.monotonic() + self._pause
        return group

    def following(self) -> list[Delivery]:
        """Return the recipients of a message that can go right behind another, if there is one."""
        with self._changed:
            # Who has nothing to do is sooner at it.
            return [] if self._pause or len(self._queue) <= self._idle else self._grouped()

    def _grouped(self) -> list[Delivery]:
        group: list[Delivery] = []
        while self._queue and len(group) < self._together and _joins(group, self._queue[0]):
            group.append(self._queue.popleft())
        return group

    def took(self, seconds: float) -> None:
        """Hear how long a message took that was answered for: slow ones go side by side."""
        self.losses = 0
        if seconds > SLOW:
            self._allowed += 1

    @property
    def failure(self) -> Outcome | None:
        """What becomes of mail for it, where it is left alone."""
        return self._failure

    @property
    def closing(self) -> bool:
        """Whether no more message is to be begun."""
        return self._closing

    def fail(self, outcome: Outcome) -> list[Delivery]:
        """Leave the destination alone; return what was waiting for it."""
        with self._changed:
            self._failure = outcome
            return self._emptied()

    def close(self) -> None:
        """Begin no more message."""
        with self._changed:
            self._closing = True
            self._emptied()

    def _emptied(self) -> list[Delivery]:
        waiting = list(self._queue)
        self._queue.clear()
        self._changed.notify_all()
        return waiting

    def servers(self) -> list[Server]:
        """Return the servers to try, best first.  Raise UnresolvedError where there is none."""
        with self._finding:
            if self._servers is None:
                self._servers = self._found()
            return self._servers

    def owns(self, server: Server) -> bool:
        """Say whether a server is one of the destination itself, not a fallback."""
        return server.hop in self._hops

    @property
    def falls_back(self) -> bool:
        """Whether there is another way for what the destination does not take from us."""
        return bool(self.config.smtp_fallback_relay)

    def answered(self, server: Server, *, well: bool) -> None:
        """Hear how a server received us: one that does not is tried last for the rest of the run.

        One that did before may have too many connections for once.
        """
        with self._finding:
            strikes = self._strikes[server] = 0 if well else self._strikes.get(server, 0) + 1
            if well:
                self._alive.add(server)
            elif server not in self._alive or strikes >= MOST_STRIKES:
                self._servers = sorted(self._servers or [], key=lambda each: each == server)

    def _found(self) -> list[Server]:
        found: list[Server] = []
        fallback = nexthop.parse_all(", ".join(self.config.smtp_fallback_relay))
        failures: list[hosts.UnresolvedError] = []
        for hop in (*self._hops, *fallback):
            try:
                found += hosts.servers(hop, self.config, self._cache)
            except hosts.UnresolvedError as error:
                bounces = error.outcome.status == "bounced" and hop in self._hops
                if bounces and hop.host != self._domain:
                    failures.append(_mistaken(hop, error.outcome))
                elif bounces and error.outcome.dsn in _FINAL:
                    raise
                else:
                    failures.append(error)
        if failures and not found:
            # A fallback relay that cannot be found now may take it later.
            raise next((each for each in failures if _waits(each)), failures[0])
        return found

    def login(self, hop: NextHop) -> Login | None:
        """Return who we are to the servers of a next hop.  LostError without a password."""
        with self._finding:
            login = self._logins.get(hop.shown)
            if login is None:
                return None
            try:
                self._logins[hop.shown] = secret.reveal(login, hop)
            except MailError as error:
                raise LostError("4.7.0", str(error), status="kept") from None
            return self._logins[hop.shown]


def _joins(group: list[Delivery], delivery: Delivery) -> bool:
    """Say whether a delivery can share the transaction of a group."""
    if not group:
        return True
    first = group[0]
    one, other = first.content._replace(fd=0), delivery.content._replace(fd=0)
    return (first.qid, first.sender) == (delivery.qid, delivery.sender) and one == other


def _waits(error: hosts.UnresolvedError) -> bool:
    return error.outcome.status != "bounced"


def _mistaken(hop: NextHop, outcome: Outcome) -> hosts.UnresolvedError:
    """Return what becomes of mail whose next hop, which somebody wrote, does not exist."""
    words = f"{outcome.words}: correct the next hop {hop.shown} (transport_maps)"
    return hosts.UnresolvedError(deferred(f"4{outcome.dsn[1:]}", words))
