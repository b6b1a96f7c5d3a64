"""One message on its way through a run of flush: planned, delivered, recorded, done with.

What is recorded where:
    state of a recipient    delivered, or reported, once nothing more is to be done for it
    tail, "sent" "bounced"  one target of a recipient that has several: not done again
    tail, "reporting"       the targets that it names are reported together, which has begun
    tail, "reported"        the bounces for all targets that it names are durable
    tail, "deferred" "kept" "offline" "held" why it waits
"""

import functools
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from pymail import address, message, retry
from pymail.active import Active
from pymail.advice import cure
from pymail.bounce import DELAYED, FAILED, RELAYED, SUCCEEDED, Failure, Returned, report
from pymail.config import Config
from pymail.envelope import Envelope
from pymail.errors import MailError
from pymail.log import Log
from pymail.outbound import Outbound
from pymail.outcome import Outcome, bounced, kept
from pymail.rewrite import Rewriting
from pymail.route import Router, Target
from pymail.sites import Logins
from pymail.spool import (
    ATTEMPTED,
    DELIVERED,
    HELD,
    MOST_DIGITS,
    NEVER,
    NEW,
    OPEN,
    REPORTED,
    SEEN,
    WARNED,
    Attempt,
    Spool,
    make_id,
    time_of,
    uid_of,
)
from pymail.transport import Content, Delivery, Wishes
from pymail.users import User, user_of

if TYPE_CHECKING:
    from pymail.cronmail import Letter
    from pymail.folding import Folding

INLINE = 1 << 16
"""Bytes of a message that is handed to an agent as it is; a larger one by its descriptor."""

MOST_PLANNED = 20000
"""Targets of one attempt; recipients beyond them wait for the next one, so that a message to a
thousand lists of a thousand fills neither our memory nor our day."""

_AND = "\x1f"
"""Between the targets of one "reported"."""

_PARTS = {"lmtp": "lmtp", "smtp": "smtp", "outcome": "error"}
_WAITING = ("kept", "offline", "held")


class Run(NamedTuple):
    """What all jobs of a run share; `users` are those that were looked up."""

    spool: Spool
    config: Config
    router: Router
    log: Log
    tell: Callable[[str], None]
    uptime: int
    outbound: Outbound
    rewriting: Rewriting
    logins: Callable[[str, str], Logins]
    users: dict[int, User]
    folding: "Folding | None" = None

    def user(self, uid: int) -> User:
        """Return name and full name of the user with that uid."""
        if uid not in self.users:
            self.users[uid] = user_of(uid)
        return self.users[uid]


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


class _Failed(NamedTuple):
    """A target of recipient `number` that can never be delivered."""

    number: int
    target: Target
    outcome: Outcome


class Job:
    """A locked message and what is still to be heard of it."""

    def __init__(self, run: Run, active: Active, now: int) -> None:
        self._run = run
        self.active = active
        self._now = now
        self._started = time.monotonic()
        self._envelope = active.head.envelope
        self._uid = uid_of(active.qid)
        # Only root's own reports may say so of themselves.
        self._kind = self._envelope.kind if self._uid == os.getuid() else ""
        if self._envelope.kind == "raw":
            self._kind = "raw"
        self._sender = self._qualified_sender()
        self._recipients = [run.router.qualify(r) for r in self._envelope.recipients]
        self._done: set[tuple[int, str]] = set()
        self._bounced: dict[int, list[Attempt]] = {}
        self._reported: dict[int, set[str]] = {}
        self._begun: list[list[tuple[int, str]]] = []
        self._remember(active.attempts())
        self._unsynced = False
        self._plans: dict[int, list[Target]] = {}
        self._steps: dict[str, _Step] = {}
        self._room = MOST_PLANNED
        self._running: dict[int, _Step] = {}
        self._trouble = ""
        self._fields, self._body = message.split(active.header())
        self._letter: Letter | None = None
        self._folded = False
        self._thread = ""
        if active.head.flag == NEW:
            self._announce()

    def plan(self) -> frozenset[str]:
        """Plan the attempt; return the destinations of what leaves the machine."""
        active = self.active
        self._fold()
        indexes = [i for i in active.waiting() if active.state(i) != HELD]
        fields = self._fields
        delivered_to = {address.fold(_text(v)) for v in message.values(fields, b"delivered-to")}
        hops = sum(1 for f in fields if f.name == b"received")
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
                contents[leaves] = self._content(self._header(leaves=leaves))
            step.delivery = self._delivery(
                number(), step, contents[leaves], doubtful=not doubtful.isdisjoint(step.indexes)
            )
            self._running[step.delivery.number] = step
            yield step.target.kind, step.delivery
        for step in self._steps.values():
            if step.outcome is not None:
                self._record(step)

    def _fold(self) -> None:
        """Find out whether this is a letter from cron, and whether it is one too many."""
        folding = self._run.folding
        if not folding or self._kind:
            return
        from pymail import cronmail  # noqa: PLC0415 -- most do not fold

        given = self._envelope.sender or ""
        self._letter = cronmail.letter(self._fields, self._uid, given, self._recipients)
        if self._letter:
            active = self.active
            self._thread = folding.thread(self._letter)
            self._folded = folding.folds(self._letter, active, self._recipients, self._body)
            if self._folded:
                self._run.log.event("cron", f"{active.qid}: folded: {self._letter.job}")

    def rests(self) -> bool:
        """Let a letter from cron wait for the end of the quiet hours; say whether it does."""
        folding, active = self._run.folding, self.active
        until = folding.quiet_until(self._now) if folding and self._letter else 0
        if not until or self._folded:
            return False
        if not self._past:
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
        age = max(now - self.active.head.arrived - retry.offline(self._past, now), 0)
        config = self._run.config
        old = retry.expired(
            config,
            age,
            self.active.head.attempts,
            self._run.uptime,
            null_sender=not self._sender,
        )
        late: list[Failure] = []
        failures: list[_Failed] = []
        states: dict[int, bytes] = {}
        groups = [*self._begun_reports(), failures]
        for index in sorted(self._plans):
            failures += self._unreported(index)
            states[index] = self._settle(index, late, failures, old=old)
        for group in groups:
            if group and not self._report_failures(group):
                states.update((failed.number, HELD) for failed in group)
        for index, state in states.items():
            if state == DELIVERED:
                self._tell_success(index)
        if self._closed(states):
            # What was sent elsewhere is made durable by flush, for many messages at once.
            self.active.remove()
            self._run.log.event("qmgr", f"{self.active.qid}: removed")
            return
        self._put_back(states, late, now, age)

    def _put_back(self, states: dict[int, bytes], late: list[Failure], now: int, age: int) -> None:
        """Leave the message in the queue, until its next attempt."""
        config = self._run.config
        for index, state in states.items():
            if self.active.state(index) != state:
                self.active.mark(index, state)
        offline = all(s.outcome and s.outcome.status == "offline" for s in self._steps.values())
        if self._steps and offline:
            self.active.unbegin()  # nothing was tried
        if late and self.active.head.flag != WARNED and retry.warns(config, age):
            self._report(DELAYED, late, self._sender)
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

    def _qualified_sender(self) -> str:
        sender = self._envelope.sender
        if sender is None:
            sender = self._run.user(self._uid).name
        return self._run.rewriting.sender(self._run.router.qualify(sender)) if sender else ""

    def _remember(self, past: list[Attempt]) -> None:
        """Take over what earlier attempts have written down."""
        self._past = past
        for attempt in past:
            if attempt.status in ("sent", "bounced"):
                self._done.add((attempt.index, attempt.target))
            if attempt.status == "bounced":
                self._bounced.setdefault(attempt.index, []).append(attempt)
            if attempt.status == "reporting":
                self._begun.append(_named(attempt))
            if attempt.status == "reported":
                for index, target in _named(attempt):
                    self._reported.setdefault(index, set()).add(target)

    def _announce(self) -> None:
        """Log the arrival, as pickup, cleanup and qmgr of Postfix do."""
        active, log = self.active, self._run.log
        if self._kind in ("", "raw"):
            given = self._envelope.sender
            name = self._run.user(self._uid).name if given is None else given
            log.event("pickup", f"{active.qid}: uid={self._uid} from=<{name}>")
        ids = message.values(self._fields, b"message-id")
        text = _text(ids[0]) if ids else f"<{self._message_id()}>"
        log.event("cleanup", f"{active.qid}: message-id={text}")
        size, count = active.head.size, len(self._recipients)
        text = f"from=<{self._sender}>, size={size}, nrcpt={count} (queue active)"
        log.event("qmgr", f"{active.qid}: {text}")
        active.flag(SEEN)

    def _message_id(self) -> str:
        stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(self.active.head.arrived))
        return f"{stamp}.{self.active.qid}@{self._run.config.myhostname}"

    def _plan(self, index: int, hops: int, delivered_to: set[str]) -> None:
        targets = self._run.router.plan(self._recipients[index], self._sender)
        if self._folded and self._run.folding:
            targets = [self._run.folding.original(each, self._uid) for each in targets]
        self._room -= len(targets)
        self._plans[index] = targets
        for target in targets:
            if (index, target.name) in self._done:
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
            step.logins = self._run.logins(argument, self._sender_for(step.target))
        except MailError as error:
            step.outcome = kept("4.3.5", str(error))
            return
        step.destination = self._run.outbound.key(argument, step.logins)
        step.outcome = self._run.outbound.verdict(step.destination)

    def _refused(self, target: Target, hops: int, delivered_to: set[str]) -> Outcome | None:
        config = self._run.config
        if hops > config.hopcount_limit:
            return bounced("5.4.6", f"too many hops: {hops} Received lines")
        limit = config.message_size_limit if self._kind in ("", "raw") else 0
        if limit and self.active.head.size > limit:
            return bounced("5.3.4", f"message size {self.active.head.size} is over the limit")
        if target.loop_key and address.fold(target.loop_key) in delivered_to:
            words = f"mail forwarding loop for {target.loop_key}"
            if self._sender and address.fold(self._sender) in delivered_to:
                # The report would go the same way, and so would the report on that.
                return Outcome("held", "5.4.6", f"{words}, its sender; kept in the queue")
            return bounced("5.4.6", words)
        return None

    def _header(self, *, leaves: bool = False) -> bytes:
        """Return the header, as it is to be seen outside where the message leaves."""
        user = self._run.user(self._uid)
        full_name = self._envelope.full_name
        facts = message.Facts(
            origin=self._run.config.myorigin,
            sender=self._sender,
            full_name=user.full_name if full_name is None else full_name,
            message_id=self._message_id(),
            arrived=self.active.head.arrived,
        )
        complete = message.complete(self._fields, facts, rewrite=self._kind != "raw")
        if self._kind != "raw":
            complete = self._run.rewriting.header(complete)
            if leaves:
                complete = self._run.rewriting.outgoing_header(complete)
        who = "" if self._kind not in ("", "raw") else f", from userid {self._uid}"
        received = (
            f"Received: by {self._run.config.myhostname} (pymail{who})\n"
            f"\tid {self.active.qid}; {message.date(self.active.head.arrived)}\n"
        )
        head = received.encode("utf-8", "surrogateescape") + message.join(complete)
        if self._thread and not message.values(complete, b"references"):
            head += f"References: {self._thread}\n".encode()
        return head

    def _content(self, header: bytes) -> Content:
        head, body = self.active.head, self._body
        if len(self.active.start) == head.size:
            return Content(header, self.active.start[body:])
        return Content(header, b"", self.active.fd, head.body + body, head.size - body)

    def _delivery(self, number: int, step: _Step, content: Content, *, doubtful: bool) -> Delivery:
        target = step.target
        sender, recipient = self._sender_for(target), target.recipient
        if target.kind == "smtp":
            sender = self._run.rewriting.outgoing(sender)
            recipient = self._run.rewriting.outgoing(recipient)
        if target.kind not in ("lmtp", "smtp"):
            original = self._recipients[step.indexes[0]]
            delivered = target.loop_key or target.recipient
            prefix = (
                f"Return-Path: <{address.quote(sender) if sender else ''}>\n"
                f"X-Original-To: {address.quote(original)}\n"
                f"Delivered-To: {address.quote(delivered)}\n"
            )
            content = content._replace(prefix=prefix.encode("utf-8", "surrogateescape"))
        assert target.user is not None  # noqa: S101  (only "outcome" has none)
        return Delivery(
            number=number,
            qid=self.active.qid,
            key=_short(target.name),
            doubtful=doubtful,
            sender=sender,
            recipient=recipient,
            original=self._recipients[step.indexes[0]],
            argument=target.argument,
            extension=target.extension,
            user=target.user,
            content=content,
            arrived=time_of(self.active.qid),
            time_limit=self._run.config.command_time_limit,
            logins=step.logins,
            wishes=self._wishes(step.indexes[0]),
            # A filter that discards would swallow a report of ours, which nobody sends again.
            filter=target.filter if self._kind in ("", "raw") else "",
        )

    def _wishes(self, index: int) -> Wishes:
        envelope = self._envelope
        return Wishes(
            envelope.notify[index],
            envelope.orcpt[index],
            envelope.ret,
            envelope.envid,
            envelope.body.endswith("+UTF8"),
        )

    def _sender_for(self, target: Target) -> str:
        if target.sender is None or not self._sender:
            return self._sender
        return self._run.rewriting.sender(target.sender)

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
        if status == "offline" and self._past and self._past[-1].status == "offline":
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
        original = self._recipients[step.indexes[0]]
        expanded = "" if original == target.recipient else f" orig_to=<{original}>,"
        relays = {"lmtp": target.argument, "smtp": outcome.relay or "none", "outcome": "none"}
        relay = relays.get(target.kind, "local")
        status = "deferred" if outcome.status in _WAITING else outcome.status
        text = (
            f"{self.active.qid}: to=<{target.recipient}>,{expanded} relay={relay},"
            f" delay={_seconds(age)}, delays={_seconds(max(age - took, 0))}/0/0/{_seconds(took)},"
            f" dsn={outcome.dsn}, status={status} ({outcome.words})"
        )
        self._run.log.event(_PARTS.get(target.kind, "local"), text)
        self._run.tell(text)

    def _settle(
        self, index: int, late: list[Failure], failures: list[_Failed], *, old: bool
    ) -> bytes:
        """Return the state of one recipient, from the outcomes of its targets."""
        waits, held, failed = False, False, index in self._bounced or index in self._reported
        for target in self._plans[index]:
            step = self._steps.get(target.name)
            outcome = step.outcome if step else None
            if outcome is None or outcome.status == "sent":
                continue
            if outcome.status == "held":
                held = True
            elif outcome.status == "bounced":
                failed = True
                failures.append(_Failed(index, target, outcome))
            elif old and outcome.status == "deferred":
                dsn, words = f"5{outcome.dsn[1:]}", f"expired: {outcome.words}"
                outcome = outcome._replace(status="bounced", dsn=dsn, words=words)
                self._note(index, target, "bounced", outcome)
                failed = True
                failures.append(_Failed(index, target, outcome))
            else:
                waits = True
                wishes = self._envelope.notify[index]
                if outcome.status != "offline" and (not wishes or "DELAY" in wishes):
                    late.append(self._failure(index, target, outcome))
        if waits:
            # It may have failed, or its agent died, after the letter was in place.
            return ATTEMPTED
        if held:
            return HELD
        return REPORTED if failed else DELIVERED

    def _unreported(self, index: int) -> list[_Failed]:
        """Return failures of earlier attempts whose report was not begun."""
        known = self._reported.get(index, set()) | {
            target for begun in self._begun for number, target in begun if number == index
        }
        return [_again(a) for a in self._bounced.get(index, ()) if a.target not in known]

    def _begun_reports(self) -> Iterator[list[_Failed]]:
        """Yield the failures of each report that an earlier attempt began, and may have made.

        It must come out the same, so that it is recognised.
        """
        for begun in self._begun:
            if not all(target in self._reported.get(index, ()) for index, target in begun):
                failed = {(a.index, a.target): a for each in self._bounced.values() for a in each}
                yield [_again(failed[each]) for each in begun if each in failed]

    def _report_failures(self, failures: list[_Failed]) -> bool:
        """Report what failed, one report a sender; return False where it must be kept instead."""
        if self._kind == "double-bounce":
            text = "undeliverable report to postmaster; kept in the queue"
            self._run.log.event("bounce", f"warning: {self.active.qid}: {text}")
            for failed in failures:
                self._note(failed.number, failed.target, "held", failed.outcome)
            return False
        by_sender: dict[str, list[Failure]] = {}
        for failed in failures:
            wishes = self._envelope.notify[failed.number]
            if not wishes or "FAILURE" in wishes:
                told = self._failure(failed.number, failed.target, failed.outcome)
                by_sender.setdefault(self._sender_for(failed.target), []).append(told)
        # One line for all of them: after a part of them was noted, a run that goes on would
        # report the others once more, in a report that is not the same.
        names = _AND.join(f"{failed.number} {failed.target.name}" for failed in failures)
        now, first = int(time.time()), failures[0]
        self.active.note(Attempt(now, first.number, "reporting", first.outcome.dsn, names, ""))
        self.active.sync()
        for sender, group in by_sender.items():
            self._report(FAILED, group, sender)
        self.active.note(Attempt(now, first.number, "reported", first.outcome.dsn, names, ""))
        return True

    def _failure(self, index: int, target: Target, outcome: Outcome) -> Failure:
        original = self._recipients[index]
        orcpt = self._envelope.orcpt[index]
        return Failure(
            target.recipient,
            original,
            outcome.dsn,
            outcome.words,
            orcpt,
            outcome.relay,
            outcome.reply,
            int(time.time()) if outcome.relay else 0,
        )

    def _tell_success(self, index: int) -> None:
        """Tell the sender of a delivery, where RFC 3461 NOTIFY=SUCCESS asked for it."""
        if "SUCCESS" not in self._envelope.notify[index] or not self._sender:
            return
        told: dict[str, list[Failure]] = {}
        for target in self._plans[index]:
            step = self._steps.get(target.name)
            outcome = step.outcome if step and step.outcome else Outcome("sent", "2.0.0", "")
            if not outcome.passed:  # else the next server tells it
                action = RELAYED if target.kind == "smtp" else SUCCEEDED
                outcome = outcome._replace(words=outcome.words or "delivered")
                told.setdefault(action, []).append(self._failure(index, target, outcome))
        for action, reports in told.items():
            self._report(action, reports, self._sender)

    def _report(self, action: str, failures: list[Failure], sender: str) -> None:
        """Queue a report, durably and only once: its id follows from what it reports."""
        if not sender and action != FAILED:
            return
        config = self._run.config
        to = sender or self._run.router.qualify("postmaster")
        kind = "bounce" if sender else "double-bounce"
        what = "\0".join(
            [self.active.qid, action, to, *(f"{f.recipient} {f.original}" for f in failures)]
        )
        noise = hashlib.sha256(what.encode("utf-8", "surrogateescape")).digest()
        qid = make_id(time_of(self.active.qid) * 1000000, noise, os.getuid())
        whole = self._envelope.ret == "FULL" and self.active.head.size <= config.bounce_size_limit
        returned = Returned(
            self.active.qid,
            self._sender,
            self.active.head.arrived,
            self._envelope.envid,
            self._header()[: max(config.bounce_size_limit, 1024)],
            self.active.message()[self._body :] if whole else None,
            self.active.head.arrived + config.maximal_queue_lifetime,
        )
        data = report(
            action,
            failures,
            returned,
            to=to,
            host=config.myhostname,
            qid=qid,
            now=int(time.time()),
        )
        envelope = Envelope(os.getuid(), [to], sender="", kind=kind, body="8BITMIME")
        # In doubt from the start: an earlier attempt may have made and delivered it already.
        self._run.spool.insert(qid, envelope, data, ATTEMPTED)
        names = {FAILED: "non-delivery", DELAYED: "delay"}
        name = names.get(action, "delivery")
        text = f"{self.active.qid}: sender {name} notification: {qid}"
        self._run.log.event("bounce", text)


def _named(attempt: Attempt) -> list[tuple[int, str]]:
    """Return the targets, with the numbers of their recipients, that a line of reports names."""
    parts = [part.partition(" ") for part in attempt.target.split(_AND)]
    # The sender of the message may have written this.
    return [(int(n), t) for n, _, t in parts if n.isdecimal() and len(n) < MOST_DIGITS]


def _again(attempt: Attempt) -> _Failed:
    """Return a failure as it was written down by an earlier attempt."""
    recipient, sender, relay, reply = (*attempt.report, "", "", "", "")[:4]
    target = Target("outcome", recipient, attempt.target, sender=sender or None)
    outcome = Outcome("bounced", attempt.dsn, attempt.words, relay, reply)
    return _Failed(attempt.index, target, outcome)


@functools.lru_cache(maxsize=1024)
def _short(name: str) -> str:
    """Return what tells a target from the others of its message, in ten digits."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:10]


def _seconds(time: float) -> str:
    """Return a time as Postfix logs it: two digits that count, and never "1.2e+02"."""
    return f"{time:.0f}" if time >= 10 else f"{round(time, 2):.2g}"


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape").replace("\n", "").strip()
