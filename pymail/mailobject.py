"""A queued message as it goes out: its envelope and its content (RFC 5321, 2.3.1)."""

import functools
import hashlib
import os
import time

from pymail import address, message
from pymail.active import Active
from pymail.queuefile import time_of, uid_of
from pymail.route import Target
from pymail.run import Run
from pymail.sites import Logins
from pymail.transport import Content, Delivery, Wishes

OURS = ("", "raw")
"""The kinds of what people and programs submit; the others are reports of our own."""


class MailObject:
    """What is sent for a message in the queue.

    sender      qualified, "" for the null sender
    recipients  qualified, in the order of the envelope
    kind        "", "raw" (not to be changed), "bounce" or "double-bounce"
    fields      of the header as it was submitted
    body        the offset of the body in what was submitted, in bytes
    thread      the message-id that a letter from cron refers to, or ""
    """

    __slots__ = (
        "_active",
        "_run",
        "body",
        "envelope",
        "fields",
        "kind",
        "recipients",
        "sender",
        "thread",
        "uid",
    )

    def __init__(self, run: Run, active: Active) -> None:
        self._run = run
        self._active = active
        self.envelope = active.head.envelope
        self.uid = uid_of(active.qid)
        # Only root's own reports may say so of themselves.
        self.kind = self.envelope.kind if self.uid == os.getuid() else ""
        if self.envelope.kind == "raw":
            self.kind = "raw"
        self.sender = self._qualified_sender()
        self.recipients = [run.router.qualify(r) for r in self.envelope.recipients]
        self.fields, self.body = message.split(active.header())
        self.thread = ""

    @property
    def submitted(self) -> bool:
        """Whether this is no report of our own."""
        return self.kind in OURS

    def values(self, name: bytes) -> list[str]:
        """Return the values of the fields with that name (in lower case)."""
        return [_text(value) for value in message.values(self.fields, name)]

    def message_id(self) -> str:
        """Return the Message-ID, without brackets, that a message gets which has none."""
        stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(self._active.head.arrived))
        return f"{stamp}.{self._active.qid}@{self._run.config.myhostname}"

    def sender_for(self, target: Target) -> str:
        """Return the envelope sender of what goes to a target: a list may have an owner."""
        if target.sender is None or not self.sender:
            return self.sender
        return self._run.rewriting.sender(target.sender)

    def header(self, *, leaves: bool = False) -> bytes:
        """Return the header, as it is to be seen outside where the message leaves."""
        user = self._run.user(self.uid)
        full_name = self.envelope.full_name
        arrived = self._active.head.arrived
        facts = message.Facts(
            origin=self._run.config.myorigin,
            sender=self.sender,
            full_name=user.full_name if full_name is None else full_name,
            message_id=self.message_id(),
            arrived=arrived,
        )
        complete = message.complete(self.fields, facts, rewrite=self.kind != "raw")
        if self.kind != "raw":
            complete = self._run.rewriting.header(complete)
            if leaves:
                complete = self._run.rewriting.outgoing_header(complete)
        who = f", from userid {self.uid}" if self.submitted else ""
        received = (
            f"Received: by {self._run.config.myhostname} (pymail{who})\n"
            f"\tid {self._active.qid}; {message.date(arrived)}\n"
        )
        head = received.encode("utf-8", "surrogateescape") + message.join(complete)
        if self.thread and not message.values(complete, b"references"):
            head += f"References: {self.thread}\n".encode()
        return head

    def content(self, *, leaves: bool) -> Content:
        """Return header and body, as they are to be seen outside where the message leaves."""
        head, header = self._active.head, self.header(leaves=leaves)
        if len(self._active.start) == head.size:
            return Content(header, self._active.start[self.body :])
        return Content(header, b"", self._active.fd, head.body + self.body, head.size - self.body)

    def delivery(
        self,
        number: int,
        target: Target,
        index: int,
        content: Content,
        logins: Logins,
        *,
        doubtful: bool,
    ) -> Delivery:
        """Return what an agent is to do for a target of the recipient `index`.

        `doubtful` says that an earlier attempt may have done it.
        """
        sender, recipient = self.sender_for(target), target.recipient
        if target.kind == "smtp":
            sender = self._run.rewriting.outgoing(sender)
            recipient = self._run.rewriting.outgoing(recipient)
        original = self.recipients[index]
        if target.kind not in ("lmtp", "smtp"):
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
            qid=self._active.qid,
            key=_short(target.name),
            doubtful=doubtful,
            sender=sender,
            recipient=recipient,
            original=original,
            argument=target.argument,
            extension=target.extension,
            user=target.user,
            content=content,
            arrived=time_of(self._active.qid),
            time_limit=self._run.config.command_time_limit,
            logins=logins,
            wishes=self._wishes(index),
            # A filter that discards would swallow a report of ours, which nobody sends again.
            filter=target.filter if self.submitted else "",
        )

    def _wishes(self, index: int) -> Wishes:
        envelope = self.envelope
        return Wishes(
            envelope.notify[index],
            envelope.orcpt[index],
            envelope.ret,
            envelope.envid,
            envelope.body.endswith("+UTF8"),
        )

    def _qualified_sender(self) -> str:
        sender = self.envelope.sender
        if sender is None:
            sender = self._run.user(self.uid).name
        return self._run.rewriting.sender(self._run.router.qualify(sender)) if sender else ""


@functools.lru_cache(maxsize=1024)
def _short(name: str) -> str:
    """Return what tells a target from the others of its message, in ten digits."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:10]


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape").replace("\n", "").strip()
