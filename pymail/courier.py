"""The child process that speaks SMTP: it is mail_owner, never root, and lives as long as a run.

It takes deliveries as they come, whatever it is doing with others.  Each destination has a
queue of its own (hopqueue.py) and a few connections (carrier.py), each served by a thread; a
destination that does not answer holds up nobody else.  What it says is in report.py.
"""

import json
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Sequence

from pymail.agent import Agent, receive, with_files
from pymail.carrier import Carrier
from pymail.child import become
from pymail.config import Config
from pymail.errors import printable
from pymail.hopqueue import IDLE, HopQueue
from pymail.identity import Identity
from pymail.outcome import Outcome
from pymail.report import Report
from pymail.sites import DEAD, LOGIN, OFFLINE, Failed, key_of
from pymail.transport import Delivery

DESCRIPTORS = 4096
"""Large messages come as such."""

MOST_CONNECTIONS = 100

_WORDS = 4096
_FIELDS = 7
_STATUSES = ("sent", "deferred", "bounced", "kept", "offline")
_REASONS = (DEAD, LOGIN, OFFLINE)


class Courier(Agent):
    """The parent's end: deliveries go in at any time, outcomes and failures come out."""

    def __init__(self, user: Identity, config: Config, cache: str, until: float) -> None:
        """Start the child; in the directory `cache` it keeps what it learns.

        From `until` on, on the monotonic clock, it begins no more message.
        """
        self._failures: list[Failed] = []
        super().__init__(user, lambda channel: _serve(channel, user, config, cache, until))

    def post(self, batch: Sequence[Delivery]) -> None:
        """Give the child more to do."""
        self.pending |= {delivery.number for delivery in batch}
        self.give(pickle.dumps(list(batch), pickle.HIGHEST_PROTOCOL), batch)

    def dismiss(self) -> None:
        """Take leave of the child: where nobody does, it has lost its parent."""
        self.give(pickle.dumps([]), ())
        super().dismiss()

    def failures(self) -> list[Failed]:
        """Return the destinations that were left alone since the last call."""
        failures, self._failures = self._failures, []
        return failures

    def _parse(self, line: bytes) -> tuple[int, Outcome] | None:
        try:
            fields = json.loads(line)
        except ValueError:
            return super()._parse(line)  # its last words
        if not isinstance(fields, list) or len(fields) < 5:
            return None
        texts = [printable(str(field))[:_WORDS] for field in fields]
        if fields[0] == "failed" and texts[2] in _REASONS:
            outcome = Outcome("deferred", texts[3], texts[4])
            self._failures.append((str(fields[1]), texts[2], outcome))
        number = fields[0]
        if len(fields) != _FIELDS or not isinstance(number, int) or number not in self.pending:
            return None
        if texts[1] not in _STATUSES:
            return None
        self.pending.discard(number)
        status, dsn, words, relay, reply = texts[1:6]
        return number, Outcome(status, dsn, words, relay, reply, passed=fields[6] is True)


class _Crew:
    """The destinations, and the threads that serve them."""

    def __init__(self, report: Report, config: Config, cache: str, until: float) -> None:
        self._report = report
        self._config = config
        self._cache = cache
        self._until = until
        self._destinations: dict[str, HopQueue] = {}
        self._room = threading.Semaphore(MOST_CONNECTIONS)
        self._threads: list[threading.Thread] = []

    def take(self, batch: Sequence[Delivery]) -> None:
        """Queue deliveries; all of them before any goes, so that they can go together."""
        touched = {}
        late: list[tuple[Delivery, Outcome]] = []
        self._report.hold(batch)
        for delivery in batch:
            key = key_of(delivery.argument, delivery.logins)
            to = self._destinations.get(key)
            if to is None:
                to = self._destinations[key] = HopQueue(key, delivery, self._config, self._cache)
            failure = to.add(delivery)
            if failure:
                late.append((delivery, failure))
            else:
                touched[key] = to
        if late:
            self._start(self._report.outcomes, late)
        for to in touched.values():
            self._grow(to)

    def close(self) -> None:
        """Begin nothing any more; connections are ended as long as that takes no time."""
        for to in self._destinations.values():
            to.close()
        until = time.monotonic() + IDLE
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0))

    def _grow(self, to: HopQueue) -> None:
        if not self._room.acquire(blocking=False):
            return
        if to.grows():
            self._start(self._serve, to)
        else:
            self._room.release()

    def _start(self, work: Callable[..., None], *what: object) -> None:
        thread = threading.Thread(target=work, args=what, daemon=True)
        self._threads = [each for each in self._threads if each.is_alive()] + [thread]
        thread.start()

    def _serve(self, to: HopQueue) -> None:
        carrier = Carrier(to, self._report)
        try:
            while group := carrier.next():
                if time.monotonic() > self._until:
                    carrier.leave(group)
                    continue
                began = time.monotonic()
                if carrier.carry(group):
                    to.took(time.monotonic() - began)
                    self._grow(to)
            carrier.end()
        except BaseException as error:
            self._report.last_words(error)
            raise
        finally:
            self._room.release()
        for each in list(self._destinations.values()):
            self._grow(each)  # whoever had no room


def _serve(
    channel: socket.socket, user: Identity, config: Config, cache: str, until: float
) -> None:
    """Be the child: take deliveries until the parent has no more."""
    become(user, DESCRIPTORS)
    crew = _Crew(Report(channel), config, cache, until)
    while batch := _received(channel):
        crew.take(batch)
    if batch is None:
        os._exit(0)  # no leave was taken: the parent is dead, as for check()
    crew.close()


def _received(channel: socket.socket) -> list[Delivery] | None:
    """Return the next batch, an empty one at the end, None where the parent is gone."""
    size = receive(channel, 8)
    if not size:
        return None
    data = receive(channel, int.from_bytes(size, "big"))
    return with_files(channel, pickle.loads(data))  # noqa: S301  (from root)
