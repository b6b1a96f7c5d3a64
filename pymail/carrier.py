"""Messages go to the servers of a destination, through one connection at a time."""

from collections.abc import Mapping
from types import MappingProxyType

from pymail import advice, hosts
from pymail.hopqueue import HopQueue
from pymail.outcome import Outcome, deferred
from pymail.report import Report
from pymail.sites import DEAD, LOGIN, OFFLINE
from pymail.transport import Delivery
from pymail.transport.smtp import Server, Session
from pymail.transport.wire import LostError

MOST_FAILURES = 3
"""Connections lost one after another before a destination is left alone."""


class Carrier:
    """One connection at a time, and the messages that go through it."""

    def __init__(self, to: HopQueue, report: Report) -> None:
        self._to = to
        self._report = report
        self._server: Server | None = None
        self._session: Session | None = None
        self._used = False
        self._unwelcome = False  # the destination takes nothing from this machine
        self._ahead: list[Delivery] = []
        self._in_step = True  # no message was in doubt yet

    def next(self) -> list[Delivery]:
        """Return the recipients of the next message; nothing ends the connection."""
        group, self._ahead = self._ahead, []
        if group and not self._to.closing:
            return group
        return self._to.take()

    def carry(self, group: list[Delivery]) -> bool:
        """Send one message; say whether a server has answered for all of it."""
        if failure := self._to.failure:
            self._report.outcomes([(delivery, failure) for delivery in group])
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
            self._report.outcomes([(delivery, put_off[n]) for n, delivery in left.items()])
            if lost:
                self._session = None
            return True
        self._in_step = self._in_step and not lost.doubtful
        self._to.losses += 1
        why = {"login": LOGIN, "offline": OFFLINE}.get(lost.kind, DEAD)
        if why != DEAD or self._session is None or self._to.losses >= MOST_FAILURES:
            self._fail(left, why, lost.outcome, put_off)
        else:
            outcomes = [(d, put_off.get(n, lost.outcome)) for n, d in left.items()]
            self._report.outcomes(outcomes)
        self._session = None
        return False

    def leave(self, group: list[Delivery]) -> None:
        """Leave a message, and what waits behind it, to the next run."""
        late = deferred("4.3.0", "the run has used its time (run_time_limit); the next goes on")
        waiting = self._to.fail(late)
        self._report.outcomes([(delivery, late) for delivery in (*group, *waiting)])

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
        sessions = []  # a next hop for each
        heard = False  # a server has answered for everybody, and put some off
        self._unwelcome = False
        further = self._ordered(servers)
        while further:
            server, *further = further
            if self._unwelcome and self._to.owns(server):
                continue
            try:
                session = self._connected(server)
            except LostError as error:
                lost = error
                if error.kind != "host":
                    break
                self._to.answered(server, well=False)
                continue
            sessions.append(server.hop)
            if sessions.count(server.hop) == most:  # the other next hops have their own
                further = [each for each in further if each.hop != server.hop]
            last = not further
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
                if self._refuses_us(server, outcome) and not last:
                    # Whoever falls back is refused for the address of this machine no more.
                    put_off[number] = outcome._replace(status="deferred", dsn=f"4{outcome.dsn[1:]}")
                    self._unwelcome = True
                elif outcome.status == "deferred" and not last:
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
            self._report.outcomes(told)

    def _refuses_us(self, server: Server, outcome: Outcome) -> bool:
        """Say whether a server refuses this machine, and there is a relay that it would take."""
        return (
            outcome.status == "bounced"
            and self._to.falls_back
            and self._to.owns(server)
            and advice.wants_relay(outcome.reply)
        )

    def _following(self) -> list[Delivery]:
        if self._ahead or not self._in_step:  # another server was told of it, or is not sure
            return []
        self._ahead = self._to.following()
        return self._ahead

    def _connected(self, server: Server) -> Session:
        """Return a session with that server: the one there is, or a new one."""
        if self._session is None or self._server != server:
            self.end()
            login = self._to.login(server.hop)
            self._session = Session(server, self._to.config, login, self._report.check)
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
            self._report.failed(self._to.key, why, outcome)
        self._report.outcomes([(d, put_off.get(n, outcome)) for n, d in left.items()])
        self._report.outcomes([(delivery, outcome) for delivery in waiting])


def _waiting(why: str, outcome: Outcome) -> Outcome:
    """Return the outcome of mail that was not sent because of what happened to other mail."""
    status = {LOGIN: "kept", OFFLINE: "offline"}.get(why, outcome.status)
    return outcome._replace(status=status, reply="", passed=False)
