"""What the sender of a message is told of it, by messages of their own (RFC 3461, RFC 3464)."""

import hashlib
import os
import time
from collections.abc import Sequence

from pymail import history
from pymail.active import Active
from pymail.bounce import DELAYED, FAILED, RELAYED, SUCCEEDED, Failure, Returned, report
from pymail.entry import Attempt
from pymail.envelope import Envelope
from pymail.history import Failed
from pymail.mailobject import MailObject
from pymail.outcome import Outcome
from pymail.queuefile import ATTEMPTED, make_id, time_of
from pymail.route import Target
from pymail.run import Run

_NAMES = {FAILED: "non-delivery", DELAYED: "delay"}


class Notifier:
    """Queues the reports on one message, each durably and only once."""

    __slots__ = ("_active", "_mail", "_run")

    def __init__(self, run: Run, active: Active, mail: MailObject) -> None:
        self._run = run
        self._active = active
        self._mail = mail

    def failures(self, failures: Sequence[Failed]) -> bool:
        """Report what failed, one report a sender; return False where it must be kept instead.

        Raises OSError, MailError.
        """
        if self._mail.kind == "double-bounce":
            text = "undeliverable report to postmaster; kept in the queue"
            self._run.log.event("bounce", f"warning: {self._active.qid}: {text}")
            return False
        by_sender: dict[str, list[Failure]] = {}
        for failed in failures:
            if self._asked(failed.number, "FAILURE"):
                told = self._failure(*failed)
                by_sender.setdefault(self._mail.sender_for(failed.target), []).append(told)
        # One line for all of them: after a part of them was noted, a run that goes on would
        # report the others once more, in a report that is not the same.
        names, first = history.names(failures), failures[0]
        now, dsn = int(time.time()), first.outcome.dsn
        self._active.note(Attempt(now, first.number, "reporting", dsn, names, ""))
        self._active.sync()
        for sender, group in by_sender.items():
            self._report(FAILED, group, sender)
        self._active.note(Attempt(now, first.number, "reported", dsn, names, ""))
        return True

    def delay(self, late: Sequence[Failed]) -> None:
        """Warn the sender of what is late, as far as the wish was not another."""
        told = [self._failure(*each) for each in late if self._asked(each.number, "DELAY")]
        if told:
            self._report(DELAYED, told, self._mail.sender)

    def success(self, number: int, outcomes: Sequence[tuple[Target, Outcome]]) -> None:
        """Tell of the deliveries for a recipient, where NOTIFY=SUCCESS asked for it."""
        if "SUCCESS" not in self._mail.envelope.notify[number] or not self._mail.sender:
            return
        told: dict[str, list[Failure]] = {}
        for target, outcome in outcomes:
            if not outcome.passed:  # else the next server tells it
                action = RELAYED if target.kind == "smtp" else SUCCEEDED
                worded = outcome._replace(words=outcome.words or "delivered")
                told.setdefault(action, []).append(self._failure(number, target, worded))
        for action, reports in told.items():
            self._report(action, reports, self._mail.sender)

    def _asked(self, number: int, condition: str) -> bool:
        wishes = self._mail.envelope.notify[number]
        return not wishes or condition in wishes

    def _failure(self, number: int, target: Target, outcome: Outcome) -> Failure:
        return Failure(
            target.recipient,
            self._mail.recipients[number],
            outcome.dsn,
            outcome.words,
            self._mail.envelope.orcpt[number],
            outcome.relay,
            outcome.reply,
            int(time.time()) if outcome.relay else 0,
        )

    def _report(self, action: str, failures: Sequence[Failure], sender: str) -> None:
        """Queue a report, once: its id follows from what it reports."""
        if not sender and action != FAILED:
            return
        config, active, envelope = self._run.config, self._active, self._mail.envelope
        to = sender or self._run.router.qualify("postmaster")
        kind = "bounce" if sender else "double-bounce"
        what = "\0".join(
            [active.qid, action, to, *(f"{f.recipient} {f.original}" for f in failures)]
        )
        noise = hashlib.sha256(what.encode("utf-8", "surrogateescape")).digest()
        qid = make_id(time_of(active.qid) * 1000000, noise, os.getuid())
        whole = envelope.ret == "FULL" and active.head.size <= config.bounce_size_limit
        returned = Returned(
            active.qid,
            self._mail.sender,
            active.head.arrived,
            envelope.envid,
            self._mail.header()[: max(config.bounce_size_limit, 1024)],
            active.message()[self._mail.body :] if whole else None,
            active.head.arrived + config.maximal_queue_lifetime,
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
        own = Envelope(os.getuid(), [to], sender="", kind=kind, body="8BITMIME")
        # In doubt from the start: an earlier attempt may have made and delivered it already.
        self._run.spool.insert(qid, own, data, ATTEMPTED)
        name = _NAMES.get(action, "delivery")
        self._run.log.event("bounce", f"{active.qid}: sender {name} notification: {qid}")
