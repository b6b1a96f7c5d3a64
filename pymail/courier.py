"""The child process that speaks SMTP: it is mail_owner, never root, and lives as long as a run.

It takes deliveries as they come, whatever it is doing with others.  Each destination has a
queue of its own and a few connections, each served by a thread; a destination that does not
answer holds up nobody else.  What it says is one JSON array a line:

    [number, status, dsn, words, relay, reply, passed]     what became of a delivery
    ["failed", key, why, dsn, words]                               a destination is left alone
"""

import json
import os
import pickle
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from pymail import hosts, nexthop, secret
from pymail.agent import Agent, receive, with_files
from pymail.child import become
from pymail.config import Config
from pymail.errors import MailError, printable
from pymail.identity import Identity
from pymail.nexthop import NextHop
from pymail.outcome import Outcome, deferred
from pymail.sites import DEAD, LOGIN, OFFLINE, Failed, key_of
from pymail.transport import Delivery, Login
from pymail.transport.smtp import Server, Session
from pymail.transport.wire import LostError

DESCRIPTORS = 4096
"""Large messages come as such."""

MOST_CONNECTIONS = 100
FIRST_CONNECTIONS = 2
SLOW = 0.005
"""Seconds that a message takes from which on a further connection is worth having."""

IDLE = 2
"""Seconds that a connection is kept for the next message."""

MOST_STRIKES = 2
"""Connections that a server did not take, one after another, before the others come first."""

MOST_FAILURES = 3
"""Connections lost one after another before a destination is left alone."""

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


class _Talk:
    """The child's end of the channel; every thread may speak."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        # Who takes mail in must never wait for who talks: the parent hears nothing while it gives.
        self._voice = threading.Lock()
        self._files = threading.Lock()
        self._uses: dict[int, int] = {}

    def hold(self, batch: Sequence[Delivery]) -> None:
        """Keep the files of deliveries open until each was told of."""
        with self._files:
            for delivery in batch:
                file = delivery.content.fd
                self._uses[file] = self._uses.get(file, 0) + 1

    def outcomes(self, told: Sequence[tuple[Delivery, Outcome]]) -> None:
        """Tell what became of deliveries; their files are of no more use."""
        with self._files:
            for delivery, _ in told:
                self._let_go(delivery.content.fd)
        lines = [[d.number, o.status, o.dsn, o.words, o.relay, o.reply, o.passed] for d, o in told]
        self._say("".join(f"{json.dumps(line)}\n" for line in lines))

    def _let_go(self, file: int) -> None:
        self._uses[file] -= 1
        if not self._uses[file]:
            del self._uses[file]
            if file >= 0:
                os.close(file)

    def failed(self, key: str, why: str, outcome: Outcome) -> None:
        """Tell that a destination is left alone."""
        self._say(f"{json.dumps(['failed', key, why, outcome.dsn, outcome.words])}\n")

    def check(self) -> None:
        """Die where the parent is dead, and with it the locks of what is under way.

        The next run may have those messages in hand.
        """
        poll = select.poll()
        poll.register(self._channel, 0)
        if poll.poll(0):
            os._exit(0)

    def last_words(self, error: BaseException) -> None:
        """Tell of a bug, and die of it: the parent takes everything as in doubt."""
        text = printable(f"{type(error).__name__}: {error}")
        self._say(f"!\t{text.encode('ascii', 'replace').decode()}\n")
        os._exit(70)

    def _say(self, text: str) -> None:
        with self._voice:
            try:
                self._channel.sendall(text.encode("ascii"))
            except OSError:
                os._exit(0)  # the parent is gone: what it has not heard is in doubt


class _Destination:
    """A queue for one next hop with one login, and what is known of it."""

    def __init__(self, key: str, first: Delivery, config: Config, cache: str) -> None:
        self.key = key
        self.config = config
        self.losses = 0
        self._cache = cache
        self._logins = dict(first.logins)
        self._hops = nexthop.parse_all(first.argument)
        self._domain = first.recipient.rpartition("@")[2].lower()
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
        failure: hosts.UnresolvedError | None = None
        for hop in (*self._hops, *fallback):
            try:
                found += hosts.servers(hop, self.config, self._cache)
            except hosts.UnresolvedError as error:
                bounces = error.outcome.status == "bounced" and hop in self._hops
                # That a domain does not exist is final, whatever else could be asked.
                if bounces and hop.host.lower() == self._domain:
                    raise
                failure = failure or (_mistaken(hop, error.outcome) if bounces else error)
        if failure and not found:
            raise failure
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


class _Carrier:
    """One connection at a time, and the messages that go through it."""

    def __init__(self, to: _Destination, talk: _Talk) -> None:
        self._to = to
        self._talk = talk
        self._server: Server | None = None
        self._session: Session | None = None
        self._used = False
        self._ahead: list[Delivery] = []

    def next(self) -> list[Delivery]:
        """Return the recipients of the next message; nothing ends the connection."""
        group, self._ahead = self._ahead, []
        if group and not self._to.closing:
            return group
        return self._to.take()

    def carry(self, group: list[Delivery]) -> bool:
        """Send one message; say whether a server has answered for all of it."""
        if failure := self._to.failure:
            self._talk.outcomes([(delivery, failure) for delivery in group])
            return False
        left = {delivery.number: delivery for delivery in group}
        try:
            servers = self._to.servers()
        except hosts.UnresolvedError as error:
            self._fail(left, OFFLINE if error.outcome.status == "offline" else DEAD, error.outcome)
            return False
        put_off: dict[int, Outcome] = {}
        lost = self._offer(servers, left, put_off)
        if lost is None or not left:
            self._talk.outcomes([(delivery, put_off[n]) for n, delivery in left.items()])
            if lost:
                self._session = None
            return True
        self._to.losses += 1
        why = {"login": LOGIN, "offline": OFFLINE}.get(lost.kind, DEAD)
        if why != DEAD or self._session is None or self._to.losses >= MOST_FAILURES:
            self._fail(left, why, lost.outcome, put_off)
        else:
            outcomes = [(d, put_off.get(n, lost.outcome)) for n, d in left.items()]
            self._talk.outcomes(outcomes)
        self._session = None
        return False

    def leave(self, group: list[Delivery]) -> None:
        """Leave a message, and what waits behind it, to the next run."""
        late = deferred("4.3.0", "the run has used its time (run_time_limit); the next goes on")
        waiting = self._to.fail(late)
        self._talk.outcomes([(delivery, late) for delivery in (*group, *waiting)])

    def end(self) -> None:
        """End the connection."""
        if self._session:
            self._session.quit()
            self._session = None

    def _offer(
        self, servers: list[Server], left: dict[int, Delivery], put_off: dict[int, Outcome]
    ) -> LostError | None:
        """Offer a message to servers until nothing is left of it; return the last failure."""
        most = self._to.config.smtp_mx_session_limit or len(servers)
        lost: LostError | None = None
        sessions = 0
        heard = False  # a server has answered for everybody, and put some off
        for place, server in enumerate(self._ordered(servers)):
            try:
                session = self._connected(server)
            except LostError as error:
                lost = error
                if error.kind != "host":
                    break
                self._to.answered(server, well=False)
                continue
            sessions += 1
            last = place + 1 == len(servers) or sessions == most
            try:
                self._transact(session, server, left, put_off, last=last)
                lost, heard = None, True
            except LostError as error:
                lost = error
            # Another server is no place for what this one may have, nor for a refused login.
            if not left or last or (lost and (lost.doubtful or lost.kind != "host")):
                break
        if heard and all(number in put_off for number in left):
            if lost:
                self._session = None
            return None
        return lost

    def _ordered(self, servers: list[Server]) -> list[Server]:
        """Return the servers with the one at hand first, unless that is a fallback.

        A server that allows one connection would else be asked for another with each message.
        """
        if self._session is None or self._server is None or not self._to.owns(self._server):
            return servers
        return sorted(servers, key=lambda each: each != self._server)

    def _transact(
        self,
        session: Session,
        server: Server,
        left: dict[int, Delivery],
        put_off: dict[int, Outcome],
        *,
        last: bool,
    ) -> None:
        """Send to one server; who is deferred is left for the next one, if there is one."""
        fresh = not self._used
        told: list[tuple[Delivery, Outcome]] = []
        try:
            self._used = True
            for number, outcome in session.transact(list(left.values()), self._following):
                if outcome.status == "deferred" and not last:
                    put_off[number] = outcome
                else:
                    told.append((left.pop(number), outcome))
        except LostError as lost:
            if fresh or told or lost.doubtful:
                raise
            # It was open since the last message; the server may have closed it long ago.
            self._session = None
            self._transact(self._connected(server), server, left, put_off, last=last)
        finally:
            self._talk.outcomes(told)

    def _following(self) -> list[Delivery]:
        if self._ahead:  # which another server was told
            return []
        self._ahead = self._to.following()
        return self._ahead

    def _connected(self, server: Server) -> Session:
        """Return a session with that server: the one there is, or a new one."""
        if self._session is None or self._server != server:
            self.end()
            login = self._to.login(server.hop)
            self._session = Session(server, self._to.config, login, self._talk.check)
            self._server, self._used = server, False
            self._to.answered(server, well=True)
        return self._session

    def _fail(
        self,
        left: dict[int, Delivery],
        why: str,
        outcome: Outcome,
        put_off: Mapping[int, Outcome] = MappingProxyType({}),
    ) -> None:
        """Leave the destination alone, and say so of all its mail."""
        outcome = _waiting(why, outcome)
        waiting = self._to.fail(outcome)
        # Trouble of this machine is no fault of a server: it rests nowhere, and does not age.
        ours = why == DEAD and outcome.status == "kept"
        if outcome.status != "bounced" and not ours:
            self._talk.failed(self._to.key, why, outcome)
        self._talk.outcomes([(d, put_off.get(n, outcome)) for n, d in left.items()])
        self._talk.outcomes([(delivery, outcome) for delivery in waiting])


class _Crew:
    """The destinations, and the threads that serve them."""

    def __init__(self, talk: _Talk, config: Config, cache: str, until: float) -> None:
        self._talk = talk
        self._config = config
        self._cache = cache
        self._until = until
        self._destinations: dict[str, _Destination] = {}
        self._room = threading.Semaphore(MOST_CONNECTIONS)
        self._threads: list[threading.Thread] = []

    def take(self, batch: Sequence[Delivery]) -> None:
        """Queue deliveries; all of them before any goes, so that they can go together."""
        touched = {}
        late: list[tuple[Delivery, Outcome]] = []
        self._talk.hold(batch)
        for delivery in batch:
            key = key_of(delivery.argument, delivery.logins)
            to = self._destinations.get(key)
            if to is None:
                to = self._destinations[key] = _Destination(
                    key, delivery, self._config, self._cache
                )
            failure = to.add(delivery)
            if failure:
                late.append((delivery, failure))
            else:
                touched[key] = to
        if late:
            self._start(self._talk.outcomes, late)
        for to in touched.values():
            self._grow(to)

    def close(self) -> None:
        """Begin nothing any more; connections are ended as long as that takes no time."""
        for to in self._destinations.values():
            to.close()
        until = time.monotonic() + IDLE
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0))

    def _grow(self, to: _Destination) -> None:
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

    def _serve(self, to: _Destination) -> None:
        carrier = _Carrier(to, self._talk)
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
            self._talk.last_words(error)
            raise
        finally:
            self._room.release()
        for each in list(self._destinations.values()):
            self._grow(each)  # whoever had no room


def _mistaken(hop: NextHop, outcome: Outcome) -> hosts.UnresolvedError:
    """Return what becomes of mail whose next hop, which somebody wrote, does not exist."""
    words = f"{outcome.words}: correct the next hop {hop.shown} (transport_maps)"
    return hosts.UnresolvedError(deferred(f"4{outcome.dsn[1:]}", words))


def _waiting(why: str, outcome: Outcome) -> Outcome:
    """Return the outcome of mail that was not sent because of what happened to other mail."""
    status = {LOGIN: "kept", OFFLINE: "offline"}.get(why, outcome.status)
    return outcome._replace(status=status, reply="", passed=False)


def _serve(
    channel: socket.socket, user: Identity, config: Config, cache: str, until: float
) -> None:
    """Be the child: take deliveries until the parent has no more."""
    become(user, DESCRIPTORS)
    crew = _Crew(_Talk(channel), config, cache, until)
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
