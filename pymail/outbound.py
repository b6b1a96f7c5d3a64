"""The parent's side of outbound mail: who waits for which destination, and who may go.

A destination that has not answered yet in this run gets a few messages only; the others wait
as mere names, unlocked, so that a dead one with thousands of messages costs a live one nothing.
What is known to be of no use (it did not answer, it refused our login) is not even tried.
"""

import os
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from pymail import sites
from pymail.config import Config
from pymail.identity import Identity
from pymail.outcome import Outcome
from pymail.sites import Failed, Logins, Sites, key_of
from pymail.transport import Delivery

if TYPE_CHECKING:
    from pymail.courier import Courier

WINDOW = 20
"""Messages in hand for a destination that has not answered yet."""

GRACE = 660
"""Seconds after the end of a run's time in which a message on its way may still be answered."""


class Outbound:
    """What a run knows of the destinations it sends to."""

    def __init__(self, config: Config, queue: str, deadline: float, *, asked: bool) -> None:
        """Begin a run; `asked` says that somebody wants mail tried, whatever is remembered."""
        self._config = config
        self._cache = f"{os.path.dirname(queue)}/cache"
        self._sites = Sites(queue, config.minimal_backoff_time, config.maximal_backoff_time)
        self._until, self._deadline = deadline, deadline + GRACE
        self._asked = asked
        self._failed: dict[str, Outcome] = {}
        self._proofs: dict[str, str] = {}
        self._in_hand: dict[str, int] = {}
        self._alive: set[str] = set()
        self._waiting: dict[str, deque[str]] = {}
        self.courier: Courier | None = None

    def key(self, argument: str, logins: Logins) -> str:
        """Return the name of a destination."""
        key = key_of(argument, logins)
        if key not in self._proofs:
            proofs = [sites.proof_of(x.user, x.password, x.command) for _, x in logins]
            self._proofs[key] = ",".join(proofs)
        return key

    def verdict(self, key: str) -> Outcome | None:
        """Return what becomes of mail for a destination without trying, None where it may go."""
        if key not in self._failed and not self._asked:
            site = self._sites.resting(key, int(time.time()), self._proofs[key])
            if site:
                self._failed[key] = site.outcome
        return self._failed.get(key)

    def crowded(self, keys: Collection[str]) -> str:
        """Return a destination among `keys` that has no room for a further message, or ""."""
        return next((key for key in keys if not self._has_room(key)), "")

    def wait(self, key: str, qid: str) -> None:
        """Let a message wait until a destination has room."""
        self._waiting.setdefault(key, deque()).append(qid)

    @property
    def waits(self) -> bool:
        """Whether a message waits for room."""
        return bool(self._waiting)

    def ready(self) -> Iterator[str]:
        """Yield messages that waited and may be taken now."""
        for key in list(self._waiting):
            queue = self._waiting[key]
            while queue and (key in self._failed or self._has_room(key)):
                yield queue.popleft()
            if not queue:
                del self._waiting[key]

    def forget_waiting(self) -> None:
        """Leave those that wait to the next run."""
        self._waiting.clear()

    def take(self, delivery: Delivery) -> None:
        """Count a delivery as one in hand."""
        key = key_of(delivery.argument, delivery.logins)
        self._in_hand[key] = self._in_hand.get(key, 0) + 1

    def post(self, user: Identity, batch: Sequence[Delivery]) -> None:
        """Hand deliveries to the courier.  OSError where none can be started."""
        from pymail.courier import Courier  # noqa: PLC0415  (TLS, which local mail does not need)

        if self.courier is None or not self.courier.alive:
            self.courier = Courier(user, self._config, _made(self._cache, user), self._until)
        self.courier.deadline = self._deadline
        self.courier.post(batch)

    def answered(self, delivery: Delivery, outcome: Outcome) -> None:
        """Hear what became of a delivery."""
        key = key_of(delivery.argument, delivery.logins)
        self._in_hand[key] -= 1
        if outcome.reply and key not in self._failed:
            self._alive.add(key)
            self._sites.well(key)

    def failed(self, failures: Sequence[Failed]) -> None:
        """Hear which destinations are left alone."""
        for key, why, outcome in failures:
            if key in self._proofs and key not in self._failed:
                self._sites.fail(key, why, outcome, int(time.time()), self._proofs[key])
                site = self._sites.known(key)
                self._failed[key] = site.outcome
                self._alive.discard(key)

    def abandon(self) -> None:
        """Stop the courier: what it sends from here on would be sent again."""
        if self.courier and self.courier.alive and self.courier.pending:
            self.courier.kill()

    def close(self) -> None:
        """End the run: the courier goes, what was learned is kept."""
        if self.courier:
            self.courier.close()
        self._sites.save()

    def _has_room(self, key: str) -> bool:
        return key in self._alive or self._in_hand.get(key, 0) < WINDOW


def _made(cache: str, user: Identity) -> str:
    """Make the directory where the courier keeps what it learns, "" where that cannot be."""
    try:
        if not os.path.isdir(cache):
            os.mkdir(cache, 0o700)
        if os.getuid() == 0:
            os.chown(cache, user.uid, user.gid, follow_symlinks=False)
    except OSError:
        return ""
    return cache
