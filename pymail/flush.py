"""One queue run: take what is due, plan it, have it delivered, record it, end.

The parent reads queue files, decides and records; agents deliver, one for each user (several
for commands), and the parent prepares the next messages while they do.  Every message is in the
hand of one flush at a time, and every step can be repeated, so a run may be killed anywhere.
"""

import itertools
import os
import resource
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from pymail import agent, durable, pickup, retry, userstatus, world
from pymail.active import Active, set_aside, take
from pymail.agent import Agent
from pymail.agents import Agents
from pymail.boot import doubt_after_boot
from pymail.config import Config
from pymail.errors import DataError, MailError
from pymail.identity import Identity
from pymail.job import Job
from pymail.log import Log
from pymail.outbound import WINDOW, Outbound
from pymail.outcome import Outcome, deferred, kept
from pymail.queuefile import NEVER, uid_of
from pymail.rewrite import Rewriting
from pymail.route import Router
from pymail.run import Run
from pymail.secret import Logins
from pymail.shares import DELIVERY, Shares
from pymail.spool import Spool
from pymail.transport import Delivery
from pymail.warned import Warned

if TYPE_CHECKING:
    from pymail.folding import Folding

MOST_ACTIVE = 1200
"""Messages in hand at once; each has a descriptor open."""

SPARE = 200
"""Descriptors for everything else."""

BATCH = 128
_GLANCE = 16
_TOGETHER = 64
"""Messages that were sent, and whose end is made durable at once, while there is other work."""

_POSTED = WINDOW
"""Messages for other machines that are handed over together, as many as may go to one that has
not answered yet: the sooner it does, the fewer of the others are looked at in vain."""

MARGIN = 300
"""Seconds that a batch may take besides what its commands may take."""


class Selection(NamedTuple):
    """Which messages a run is for: everything due, or what is named, due or not."""

    ids: frozenset[str] = frozenset()
    everything: bool = False
    matches: Callable[[Active], bool] | None = None

    @property
    def named(self) -> bool:
        """Whether messages are tried before they are due."""
        return bool(self.ids) or self.everything or self.matches is not None


def run(
    spool: Spool,
    config: Config,
    log: Log,
    *,
    selection: Selection,
    tell: Callable[[str], None],
) -> None:
    """Deliver what is due, and what arrives meanwhile, until nothing is due.

    Raise MailError where the aliases cannot be read.
    """
    machine = world.open_machine(
        config, spool.path, lambda text: log.event("local", f"warning: {text}")
    )
    router = Router(machine)
    deadline = time.monotonic() + config.run_time_limit
    outbound = Outbound(config, spool.queue, deadline, asked=selection.named)
    rewriting = Rewriting(config, machine.lookup)
    single = machine.single()
    logins = Logins(config, single.home if single else "")
    folding = _folding(spool, config, single, log)
    common = Run(
        spool, config, router, log, tell, _uptime(), outbound, rewriting, logins.at, {}, folding
    )
    doubt_after_boot(spool)
    flusher = _Flusher(common, selection, deadline)
    try:
        flusher.work()
        if flusher.tend():
            flusher.work()
    except BaseException:
        flusher.abandon()
        raise
    finally:
        flusher.close()
    pickup.sweep(spool, int(time.time()))
    _publish_limit(spool, config)
    if spool.system:
        userstatus.tell(spool)


class _Flusher:
    """The state of a run: messages in hand, deliveries that wait for an agent, agents."""

    def __init__(self, common: Run, selection: Selection, deadline: float) -> None:
        self._run = common
        self._selection = selection
        self._deadline = deadline
        self._tried: set[str] = set()
        self._numbers = itertools.count(1)
        self._jobs: dict[int, tuple[str, Job, Delivery]] = {}
        self._in_hand = 0
        self._shares = Shares()
        self._most = _room()
        self._outbound = common.outbound
        self._queues: dict[tuple[str, Identity], deque[Delivery]] = {}
        self._agents = Agents(
            common.config.local_destination_concurrency_limit, system=common.spool.system
        )
        self._unsynced = 0
        self._warned = Warned(f"{common.spool.queue}/.warned")

    def work(self) -> None:
        """Deliver until nothing is due, or the time is over."""
        while not self._late() and self.round():
            pass

    def round(self) -> bool:
        """Work on everything due now; return False where nothing could be done."""
        spool = self._run.spool
        if spool.system:
            pickup.adopt(spool, self._warn)
        progress = False
        for count, qid in enumerate(self._due(), 1):
            if self._late():
                break
            if self._shares.is_full(uid_of(qid)):
                continue
            if self._in_hand >= self._most:
                # Down to half, so that the next batches are large again.
                while self._in_hand > self._most // 2:
                    self._turn()
            progress |= self._take(qid)
            self._dispatch()
            if count % _GLANCE == 0:
                self._listen(0)
        self._drain()
        return progress

    def tend(self) -> bool:
        """Tell what is to be told of jobs of cron; say whether something was.

        After the work: a job whose letters waited for this run was not silent.
        """
        folding = self._run.folding
        try:
            return folding is not None and folding.tend(int(time.time()))
        except (OSError, MailError) as error:
            words = error.strerror if isinstance(error, OSError) else error
            self._complain(f"cannot tell of jobs of cron: {words}")
            return False

    def abandon(self) -> None:
        """Stop agents in their work: what they did from here on, nobody would record."""
        self._outbound.abandon()
        self._agents.abandon()

    def close(self) -> None:
        """End the agents."""
        self._outbound.close()
        self._agents.close()
        if self._run.spool.system:
            self._warned.keep()

    def _warn(self, text: str) -> None:
        if self._warned.is_new(text):
            self._run.log.event("pickup", f"warning: {text}")
        self._run.tell(f"warning: {text}")

    def _due(self) -> list[str]:
        """Return the ids to try, users in turn; a message is tried once in a run."""
        now = int(time.time())
        longest = self._run.config.maximal_backoff_time
        by_user: dict[int, deque[str]] = {}
        for qid, next_attempt in self._run.spool.entries():
            if qid in self._tried or (self._selection.ids and qid not in self._selection.ids):
                continue
            held = next_attempt == NEVER
            if held or not (self._selection.named or retry.due(now, next_attempt, longest)):
                continue
            by_user.setdefault(uid_of(qid), deque()).append(qid)
        return list(_in_turn(by_user.values()))

    def _take(self, qid: str) -> bool:
        """Lock a message and plan it; return False where it is not to be had now."""
        spool = self._run.spool
        active = None
        try:
            active = self._locked(qid)
            if active is None:
                return False
            job = Job(self._run, active, int(time.time()))
            if self._put_off(job):
                return True
            planned = list(job.start(lambda: next(self._numbers)))
        except DataError:
            set_aside(spool, qid)
            self._complain(f"{qid}: damaged queue file, set aside as {qid}.damaged")
            return True
        except OSError as error:
            self._tried.add(qid)
            if active is not None:
                active.close()
            self._complain(f"{qid}: cannot read or write the queue file: {error.strerror}")
            return False
        self._in_hand += 1
        self._shares.take(qid, uid_of(qid), active.weight + DELIVERY * len(planned))
        for kind, delivery in planned:
            self._jobs[delivery.number] = (kind, job, delivery)
            if kind == "smtp":
                self._outbound.take(delivery)
            self._queues.setdefault((kind, delivery.user), deque()).append(delivery)
        self._finish(job)
        return True

    def _put_off(self, job: Job) -> bool:
        """Plan a message; let it go, and say so, where it has to wait for others or for hours."""
        crowded = self._outbound.crowded(job.plan())
        if crowded:
            self._outbound.wait(crowded, job.active.qid)
            job.active.close()
        return bool(crowded) or (not self._selection.named and job.rests())

    def _locked(self, qid: str) -> Active | None:
        """Lock a message that is still to be tried; None where it is not, or has to wait."""
        active = take(self._run.spool, qid)
        if active is None:
            return None  # gone, being submitted, or another flush has it
        if not self._shares.fits(uid_of(qid), active.weight):
            active.close()
            self._tried.discard(qid)  # it may have waited for a destination
            return None
        self._tried.add(qid)
        if self._wanted(active):
            return active
        active.close()
        return None

    def _drain(self) -> None:
        """Wait until nothing is in hand."""
        while self._in_hand or self._outbound.waits:
            self._turn()

    def _complain(self, text: str) -> None:
        self._run.log.event("qmgr", f"warning: {text}")
        self._run.tell(f"warning: {text}")

    def _wanted(self, active: Active) -> bool:
        """Say whether a message is still due, now that it is locked."""
        if active.due == NEVER:
            return False
        if self._selection.matches is not None:
            return self._selection.matches(active)
        longest = self._run.config.maximal_backoff_time
        return self._selection.named or retry.due(int(time.time()), active.due, longest)

    def _late(self) -> bool:
        """Say whether the run has used its time: what was begun is ended, nothing is begun."""
        return time.monotonic() > self._deadline

    def _finish(self, job: Job) -> None:
        if job.finished:
            job.finish()
            self._in_hand -= 1
            self._shares.drop(job.active.qid)

    def _turn(self) -> None:
        """Wait until an agent has said something."""
        if self._late():
            self._outbound.forget_waiting()
        for qid in self._outbound.ready():
            self._take(qid)
            if self._in_hand >= self._most:
                break
        self._dispatch(hurry=True)
        self._listen(1)

    def _dispatch(self, *, hurry: bool = False) -> None:
        """Give idle agents what waits for them: full batches, or with `hurry` whatever there is."""
        for key in list(self._queues):
            kind, user = key
            queue = self._queues[key]
            command = kind == "command"
            while queue and self._late():
                # What slow commands are queued for waits for the next run, not for them.
                words = "the run has used its time (run_time_limit)"
                self._hear(queue.popleft().number, deferred("4.3.0", words))
            if kind == "smtp":
                self._post(user, queue, hurry=hurry)
            while queue and kind != "smtp" and (hurry or command or len(queue) >= BATCH):
                try:
                    each = self._agents.idle(user, kind)
                except OSError as error:
                    words = f"cannot start an agent for {user.name}: {error.strerror}"
                    self._hear(queue.popleft().number, kept("4.3.0", words))
                    continue
                if each is None:
                    break
                size = 1 if command else BATCH
                batch = [queue.popleft() for _ in range(min(size, len(queue)))]
                limit = _patience(kind, batch)
                each.send(kind, batch, limit)
            if not queue:
                del self._queues[key]

    def _post(self, user: Identity, queue: deque[Delivery], *, hurry: bool) -> None:
        """Hand mail for other machines to the courier, which takes it at any time."""
        if not queue or (not hurry and len(queue) < _POSTED):
            return
        batch = list(queue)
        queue.clear()
        try:
            self._outbound.post(user, batch)
        except OSError as error:
            words = f"cannot start a courier: {error.strerror}"
            for delivery in batch:
                self._hear(delivery.number, kept("4.3.0", words))

    def _listen(self, timeout: float) -> None:
        """Hear what agents have to say."""
        busy = self._agents.busy()
        courier = self._outbound.courier
        if courier and courier.pending:
            busy.append(courier)
        for each in agent.wait(busy, timeout) if busy else ():
            heard = each.outcomes()
            for number, outcome in heard:
                self._hear(number, outcome)
            if each is courier:
                self._outbound.failed(courier.failures())
                self._unsynced += len(heard)
        if self._unsynced >= (1 if timeout else _TOGETHER):
            # One sync for all the messages that are gone from the queue by now.
            self._unsynced = 0
            durable.sync(self._run.spool.queue)
        self._bury(busy)

    def _bury(self, busy: list[Agent]) -> None:
        """End agents whose time is over; say what becomes of the mail of those that ended."""
        for each in busy:
            if each.alive and each.pending and time.monotonic() > each.deadline:
                each.kill()
            if not each.alive:
                self._agents.drop(each)  # the courier is none of them
                words = f"cannot deliver as {each.user.name}: {each.failure or 'agent ended'}"
                unheard, each.pending = sorted(each.pending), set()
                for number in unheard:
                    self._hear(number, deferred("4.3.0", words))

    def _hear(self, number: int, outcome: Outcome) -> None:
        kind, job, delivery = self._jobs.pop(number)
        if kind == "smtp":
            self._outbound.answered(delivery, outcome)
        job.hear(delivery, outcome)
        self._finish(job)


def _folding(spool: Spool, config: Config, single: Identity | None, log: Log) -> "Folding | None":
    """Return what looks after letters from cron, where somebody wants that, or did."""
    if not (config.cron_fold or config.cron_quiet or os.path.isdir(spool.cron)):
        return None
    from pymail.folding import Folding  # noqa: PLC0415 -- most do not fold

    return Folding(spool, config, single, lambda text: log.event("cron", text))


def _room() -> int:
    """Return how many messages may be in hand, with as many descriptors as we may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_ACTIVE + SPARE
    if soft < wanted and (hard == resource.RLIM_INFINITY or hard > soft):
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(min(MOST_ACTIVE, soft - SPARE), 1)


def _patience(kind: str, batch: list[Delivery]) -> float:
    """Return the seconds after which an agent with that batch must be stuck."""
    if kind == "lmtp":
        from pymail.transport.lmtp import DONE_TIME  # noqa: PLC0415 -- see agent.transport()

        return 2 * DONE_TIME
    limit = MARGIN + sum(d.time_limit for d in batch if kind == "command")
    filters = sum(1 for d in batch if d.filter)
    if filters:
        from pymail.filter import TIME_LIMIT  # noqa: PLC0415 -- most have no filter

        limit += filters * (TIME_LIMIT + 1)
    return limit


def _in_turn(queues: Iterable[deque[str]]) -> Iterable[str]:
    """Yield one of each queue in turn, so that nobody's flood stops another's mail."""
    waiting = list(queues)
    while waiting:
        for queue in waiting:
            yield queue.popleft()
        waiting = [queue for queue in waiting if queue]


def _uptime() -> int:
    try:
        with open("/proc/uptime", encoding="ascii") as file:
            return int(float(file.read().split()[0]))
    except (OSError, ValueError):
        return 0


def _publish_limit(spool: Spool, config: Config) -> None:
    """Tell sendmail, which reads no configuration, of a message_size_limit of one's own."""
    limit = config.message_size_limit
    if spool.size_limit() != limit:
        durable.renew(f"{spool.path}/message_size_limit", f"{limit}\n", 0o644)
