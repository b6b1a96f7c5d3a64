"""One message on its way through a run of flush: planned, delivered, recorded, done with.

Of each recipient the state is recorded (delivered, or reported, once nothing more is to be done for
it); of one that has several targets, each of these, in the tail (`history`).
"""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pymail import address, retry
from pymail.active import Active
from pymail.advice import cure
from pymail.entry import Attempt
from pymail.errors import MailError
from pymail.history import Failed, History
from pymail.mailobject import MailObject
from pymail.notification import Notifier
from pymail.outcome import Outcome, bounced, kept
from pymail.queuefile import ATTEMPTED, DELIVERED, HELD, NEVER, NEW, OPEN, REPORTED, SEEN, WARNED
from pymail.route import Target
from pymail.run import Run
from pymail.transport import Content, Delivery

if TYPE_CHECKING:
    from pymail.cronmail import Letter
    from pymail.sites import Logins

MOST_PLANNED = 20000
"""Targets of one attempt; recipients beyond them wait for the next one, so that a message to a
thousand lists of a thousand fills neither our memory nor our day."""

_PARTS = {"lmtp": "lmtp", "smtp": "smtp", "outcome": "error"}
_WAITING = ("kept", "offline", "held")


class _Step:
    """A target of this attempt, and the recipients (by number) it is for."""

    __slots__ = ("delivery", "destination", "indexes", "logins", "outcome", "target")

    def __init__(self, target: Target, index: int, outcome: Outcome | None) -> None:
        self.target = target
        self.indexes = [index]
        self.delivery: Delivery | None = None
        self.outcome = outcome
        self.logins: Logins = ()
        self.destination = ""


class Job:
    """A locked message and what is still to be heard of it."""

    def __init__(self, run: Run, active: Active, now: int) -> None:
        self._run = run
        self.active = active
        self._now = now
        self._started = time.monotonic()
        self._mail = MailObject(run, active)
        self._history = History(active.attempts())
        self._notifier = Notifier(run, active, self._mail)
        self._unsynced = False
        self._plans: dict[int, list[Target]] = {}
        self._steps: dict[str, _Step] = {}
        self._room = MOST_PLANNED
        self._running: dict[int, _Step] = {}
        self._trouble = ""
        self._letter: Letter | None = None
        self._folded = False
        if active.head.flag == NEW:
            self._announce()

    def plan(self) -> frozenset[str]:
        """Plan the attempt; return the destinations of what leaves the machine."""
        active = self.active
        self._fold()
        indexes = [i for i in active.waiting() if active.state(i) != HELD]
        delivered_to = {address.fold(v) for v in self._mail.values(b"delivered-to")}
        hops = len(self._mail.values(b"received"))
        # Where there is no room for all, each attempt begins with others.
        shift = active.head.attempts * MOST_PLANNED % max(len(indexes), 1)
        for index in indexes[shift:] + indexes[:shift]:
            if self._room > 0:
                self._plan(index, hops, delivered_to)
        steps = self._steps.values()
        return frozenset(s.destination for s in steps if s.destination and not s.outcome)

    def start(self, number: Callable[[], int]) -> Iterator[tuple[str, Delivery]]:
        """Begin the attempt that was planned; yield (kind, delivery) for what is to be done.

        `number` gives each delivery its number.  What needs no delivery is recorded at once.
        """
        active = self.active
        doubtful = {i for i in self._plans if active.state(i) == ATTEMPTED}
        active.begin(sorted(self._plans))
        contents: dict[bool, Content] = {}
        for step in self._steps.values():
            if step.outcome is not None:
                continue
            step.indexes.sort()  # the bytes of a message are the same at every attempt
            leaves = step.target.kind == "smtp"
            if leaves not in contents:
                contents[leaves] = self._mail.content(leaves=leaves)
            step.delivery = self._mail.delivery(
                number(),
                step.target,
                step.indexes[0],
                contents[leaves],
                step.logins,
                doubtful=not doubtful.isdisjoint(step.indexes),
            )
            self._running[step.delivery.number] = step
            yield step.target.kind, step.delivery
        for step in self._steps.values():
            if step.outcome is not None:
                self._record(step)

    def _fold(self) -> None:
        """Find out whether this is a letter from cron, and whether it is one too many."""
        folding = self._run.folding
        mail = self._mail
        if not folding or mail.kind:
            return
        from pymail import cronmail  # noqa: PLC0415 -- most do not fold

        given = mail.envelope.sender or ""
        self._letter = cronmail.letter(mail.fields, mail.uid, given, mail.recipients)
        if self._letter:
            active = self.active
            mail.thread = folding.thread(self._letter)
            self._folded = folding.folds(self._letter, active, mail.recipients, mail.body)
            if self._folded:
                self._run.log.event("cron", f"{active.qid}: folded: {self._letter.job}")

    def rests(self) -> bool:
        """Let a letter from cron wait for the end of the quiet hours; say whether it does."""
        folding, active = self._run.folding, self.active
        until = folding.quiet_until(self._now) if folding and self._letter else 0
        if not until or self._folded:
            return False
        if not self._history.attempts:
            clock = time.strftime("%H:%M", time.localtime(until))
            words = f"quiet hours until {clock} (cron_quiet)"
            active.note(Attempt(self._now, 0, "kept", "4.0.0", "", words))
        active.defer(until)
        active.close()
        return True

    @property
    def finished(self) -> bool:
        """Whether every delivery has its outcome."""
        return not self._running

    def hear(self, delivery: Delivery, outcome: Outcome) -> None:
        """Record the outcome of one delivery."""
        step = self._running.pop(delivery.number)
        step.outcome = outcome
        try:
            self._record(step)
        except OSError as error:
            self._trouble = error.strerror or "cannot write to the queue"

    def finish(self) -> None:
        """Settle every recipient; report failures; remove the message, or say when it is next.

        Where the queue cannot be written, the message stays as it is and is tried again: what
        was delivered is then found delivered.
        """
        try:
            if not self._trouble:
                self._finish()
        except (OSError, MailError) as error:
            self._trouble = str(error)
        if self._trouble:
            text = f"warning: {self.active.qid}: cannot record: {self._trouble}"
            self._run.log.event("qmgr", text)
            self._run.tell(text)
            self.active.close()

    def _finish(self) -> None:
        now = max(self._now, int(time.time()))
        age = max(now - self.active.head.arrived - retry.offline(self._history.attempts, now), 0)
        config = self._run.config
        old = retry.expired(
            config,
            age,
            self.active.head.attempts,
            self._run.uptime,
            null_sender=not self._mail.sender,
        )
        late: list[Failed] = []
        failures: list[Failed] = []
        states: dict[int, bytes] = {}
        groups = [*self._history.begun(), failures]
        for index in sorted(self._plans):
            failures += self._history.unreported(index)
            states[index] = self._settle(index, late, failures, old=old)
        for group in groups:
            if group and not self._notifier.failures(group):
                for failed in group:
                    self._note(failed.number, failed.target, "held", failed.outcome)
                states.update((failed.number, HELD) for failed in group)
        for index, state in states.items():
            if state == DELIVERED:
                self._notifier.success(index, self._delivered(index))
        if self._closed(states):
            # What was sent elsewhere is made durable by flush, for many messages at once.
            self.active.remove()
            self._run.log.event("qmgr", f"{self.active.qid}: removed")
            return
        self._put_back(states, late, now, age)

    def _delivered(self, index: int) -> list[tuple[Target, Outcome]]:
        """Return the targets of a recipient, with what became of them, now or earlier."""
        earlier = Outcome("sent", "2.0.0", "")
        steps = ((target, self._steps.get(target.name)) for target in self._plans[index])
        return [(t, step.outcome if step and step.outcome else earlier) for t, step in steps]

    def _put_back(self, states: dict[int, bytes], late: list[Failed], now: int, age: int) -> None:
        """Leave the message in the queue, until its next attempt."""
        config = self._run.config
        for index, state in states.items():
            if self.active.state(index) != state:
                self.active.mark(index, state)
        offline = all(s.outcome and s.outcome.status == "offline" for s in self._steps.values())
        if self._steps and offline:
            self.active.unbegin()  # nothing was tried
        if late and self.active.head.flag != WARNED and retry.warns(config, age):
            self._notifier.delay(late)
            self.active.flag(WARNED)
        if all(self.active.state(i) == HELD for i in self.active.waiting()):
            self.active.defer(NEVER)
        elif offline:
            self.active.defer(now + retry.OFFLINE)
        else:
            noise = ord(self.active.qid[-2])
            self.active.defer(now + retry.delay(config, age, noise))
        if self._unsynced:
            self.active.sync()
        self.active.close()

    def _closed(self, states: dict[int, bytes]) -> bool:
        """Say whether, with these states, nobody waits for anything any more."""
        now = self.active.head.states
        return not any(states.get(i, now[i : i + 1]) in OPEN for i in range(len(now)))

    def _announce(self) -> None:
        """Log the arrival, as pickup, cleanup and qmgr of Postfix do."""
        active, log = self.active, self._run.log
        mail = self._mail
        if mail.submitted:
            given = mail.envelope.sender
            name = self._run.user(mail.uid).name if given is None else given
            log.event("pickup", f"{active.qid}: uid={mail.uid} from=<{name}>")
        ids = mail.values(b"message-id")
        text = ids[0] if ids else f"<{mail.message_id()}>"
        log.event("cleanup", f"{active.qid}: message-id={text}")
        size, count = active.head.size, len(mail.recipients)
        sender = address.quote(mail.sender) if mail.sender else ""
        text = f"from=<{sender}>, size={size}, nrcpt={count} (queue active)"
        log.event("qmgr", f"{active.qid}: {text}")
        active.flag(SEEN)

    def _plan(self, index: int, hops: int, delivered_to: set[str]) -> None:
        mail = self._mail
        targets = self._run.router.plan(mail.recipients[index], mail.sender)
        if self._folded and self._run.folding:
            targets = [self._run.folding.original(each, mail.uid) for each in targets]
        self._room -= len(targets)
        self._plans[index] = targets
        for target in targets:
            if self._history.done(index, target.name):
                continue
            step = self._steps.get(target.name)
            if step is not None:
                step.indexes.append(index)  # two recipients that lead to the same place
                continue
            outcome = target.outcome or self._refused(target, hops, delivered_to)
            step = self._steps[target.name] = _Step(target, index, outcome)
            if target.kind == "smtp" and not outcome:
                self._address(step)

    def _address(self, step: _Step) -> None:
        """Find out where a step leads that leaves the machine, and whether it may be tried."""
        argument = step.target.argument
        try:
            step.logins = self._run.logins(argument, self._mail.sender_for(step.target))
        except MailError as error:
            step.outcome = kept("4.3.5", str(error))
            return
        step.destination = self._run.outbound.key(argument, step.logins)
        step.outcome = self._run.outbound.verdict(step.destination)

    def _refused(self, target: Target, hops: int, delivered_to: set[str]) -> Outcome | None:
        config = self._run.config
        if hops > config.hopcount_limit:
            return bounced("5.4.6", f"too many hops: {hops} Received lines")
        limit = config.message_size_limit if self._mail.submitted else 0
        if limit and self.active.head.size > limit:
            return bounced("5.3.4", f"message size {self.active.head.size} is over the limit")
        if target.loop_key and address.fold(target.loop_key) in delivered_to:
            words = f"mail forwarding loop for {target.loop_key}"
            sender = self._mail.sender
            if sender and address.fold(sender) in delivered_to:
                # The report would go the same way, and so would the report on that.
                return Outcome("held", "5.4.6", f"{words}, its sender; kept in the queue")
            return bounced("5.4.6", words)
        return None

    def _record(self, step: _Step) -> None:
        """Write down and log an outcome, so that it is not lost with this process."""
        outcome = step.outcome
        assert outcome is not None  # noqa: S101
        for index in step.indexes:
            if outcome.status == "sent" and len(self._plans[index]) == 1:
                # A Maildir knows by itself what it has; of the last recipient no mark is needed.
                if len(self._plans) > 1 or step.target.kind != "maildir":
                    self.active.mark(index, DELIVERED)
            else:
                self._note(index, step.target, outcome.status, outcome)
        if step.target.kind in ("command", "lmtp", "mbox") and outcome.status == "sent":
            self.active.sync()  # what was done cannot be done over without somebody seeing it
        if step.target.kind == "smtp" and outcome.status == "sent":
            self._unsynced = True
            if self._running:
                self.active.sync()
        self._log(step)

    def _note(self, index: int, target: Target, status: str, outcome: Outcome) -> None:
        if status == "offline" == self._history.last:
            return  # one line a period
        words = outcome.words
        if target.kind == "smtp" and status in ("deferred", "kept"):
            known = cure(outcome.reply or words)
            words = f"{words} -- {known}" if known else words
        now = int(time.time())
        if status != "bounced":
            self.active.note(Attempt(now, index, status, outcome.dsn, target.name, words))
            return
        report = (target.recipient, target.sender or "", outcome.relay, outcome.reply)
        self.active.note(Attempt(now, index, status, outcome.dsn, target.name, words, *report))

    def _log(self, step: _Step) -> None:
        target, outcome = step.target, step.outcome
        assert outcome is not None  # noqa: S101
        age = max(time.time() - self.active.head.arrived, 0)
        took = time.monotonic() - self._started
        original = self._mail.recipients[step.indexes[0]]
        ended, began = address.quote(target.recipient), address.quote(original)
        expanded = "" if began == ended else f" orig_to=<{began}>,"
        relays = {"lmtp": target.argument, "smtp": outcome.relay or "none", "outcome": "none"}
        relay = relays.get(target.kind, "local")
        status = "deferred" if outcome.status in _WAITING else outcome.status
        text = (
            f"{self.active.qid}: to=<{ended}>,{expanded} relay={relay},"
            f" delay={_seconds(age)}, delays={_seconds(max(age - took, 0))}/0/0/{_seconds(took)},"
            f" dsn={outcome.dsn}, status={status} ({outcome.words})"
        )
        self._run.log.event(_PARTS.get(target.kind, "local"), text)
        self._run.tell(text)

    def _settle(
        self, index: int, late: list[Failed], failures: list[Failed], *, old: bool
    ) -> bytes:
        """Return the state of one recipient, from the outcomes of its targets."""
        waits, held, failed = False, False, self._history.failed(index)
        for target in self._plans[index]:
            step = self._steps.get(target.name)
            outcome = step.outcome if step else None
            if outcome is None or outcome.status == "sent":
                continue
            if outcome.status == "held":
                held = True
            elif outcome.status == "bounced":
                failed = True
                failures.append(Failed(index, target, outcome))
            elif old and outcome.status == "deferred":
                dsn, words = f"5{outcome.dsn[1:]}", f"expired: {outcome.words}"
                outcome = outcome._replace(status="bounced", dsn=dsn, words=words)
                self._note(index, target, "bounced", outcome)
                failed = True
                failures.append(Failed(index, target, outcome))
            else:
                waits = True
                if outcome.status != "offline":
                    late.append(Failed(index, target, outcome))
        if waits:
            # It may have failed, or its agent died, after the letter was in place.
            return ATTEMPTED
        if held:
            return HELD
        return REPORTED if failed else DELIVERED


def _seconds(time: float) -> str:
    """Return a time as Postfix logs it: two digits that count, and never "1.2e+02"."""
    return f"{time:.0f}" if time >= 10 else f"{round(time, 2):.2g}"
