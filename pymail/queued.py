"""What an administrator does to messages in the queue: show, hold, release, delete, requeue.

A message is changed only under its lock: one that a flush works on is left alone.
"""

import os
import time
from collections.abc import Callable, Iterable

from pymail import pickup, userstatus
from pymail.active import Active, take
from pymail.address import quote
from pymail.errors import DataError, PermError, TempError, UsageError
from pymail.queuefile import (
    ATTEMPTED,
    CANCELLED,
    DELIVERED,
    HELD,
    NEVER,
    REPORTED,
    TODO,
    is_id,
    uid_of,
)
from pymail.spool import Spool
from pymail.users import user_of

STATES = {
    TODO: "waiting",
    ATTEMPTED: "waiting, tried",
    DELIVERED: "delivered",
    REPORTED: "returned",
    CANCELLED: "cancelled",
    HELD: "on hold",
}

Change = Callable[[Active], str]
"""Changes a locked message and says in a word what became of it, "" where nothing was to do."""


def hold(active: Active) -> str:
    """Keep a message from being tried until it is released."""
    indexes = [i for i in active.waiting() if active.state(i) in (TODO, ATTEMPTED)]
    for index in indexes:
        active.mark(index, HELD)
    active.sync()
    active.defer(NEVER)
    return "placed on hold" if indexes else ""


def release(active: Active) -> str:
    """Let a held message be tried by the next flush."""
    indexes = [i for i in active.waiting() if active.state(i) == HELD]
    if not indexes and active.due != NEVER:
        return ""
    for index in indexes:
        # Whether an attempt was under way when it was put on hold is not known any more; in
        # doubt, the delivery looks whether the message is in the mailbox already.
        active.mark(index, ATTEMPTED)
    active.sync()
    active.defer(int(time.time()))
    return "released from hold"


def requeue(active: Active) -> str:
    """Let a message be tried by the next flush, whenever it would be due, held or not."""
    if not release(active):
        active.defer(int(time.time()))
    return "requeued"


def delete(active: Active) -> str:
    """Remove a message; nobody is told."""
    active.remove()
    return "removed"


CHANGES: dict[str, Change] = {
    "hold": hold,
    "release": release,
    "requeue": requeue,
    "delete": delete,
}


def apply(
    spool: Spool, verb: str, ids: Iterable[str], tell: Callable[[str, str], None]
) -> list[str]:
    """Change the messages named, or ALL; call tell(id, words) for each that was changed.

    Return why the others were not, a sentence each.
    """
    refuse_others(spool)
    _adopt(spool)
    everything = [qid for qid, _ in spool.entries()]
    named = list(ids)
    troubles: list[str] = []
    for qid in everything if named == ["ALL"] else dict.fromkeys(named):
        trouble = _one(spool, verb, qid, tell, asked=named != ["ALL"])
        if trouble:
            troubles.append(f"cannot {verb} {qid}: {trouble}")
    if spool.system:
        userstatus.tell(spool)
    return troubles


def read(spool: Spool, qid: str, verb: str = "show") -> tuple[Active, str]:
    """Return a message, locked if it can be, and what to call its state; `verb` is what for."""
    refuse_others(spool)
    _refuse_no_id(qid)
    _adopt(spool)
    active = take(spool, qid)
    if active is not None:
        return active, "on hold" if active.due == NEVER else "waiting"
    path = f"{spool.queue}/{qid}"
    try:
        # Another process delivers it: looking does no harm.
        return Active(
            path, qid, os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        ), "active"
    except FileNotFoundError:
        raise DataError(f"cannot {verb} {qid}: no such message in the queue") from None


def refuse_others(spool: Spool) -> None:
    """Raise PermError for whoever may not touch the queue."""
    if spool.system and os.geteuid() != 0:
        raise PermError(f"cannot use the queue in {spool.path}: only root may")


def _refuse_no_id(qid: str, wanted: str = "one as mailq shows it") -> None:
    """Raise UsageError for what is no queue id, with what is `wanted`."""
    if not is_id(qid):
        raise UsageError(f"{qid} is no queue id: name {wanted}")


def about(active: Active, state: str) -> list[str]:
    """Return envelope and history of a message, a line each."""
    head, envelope = active.head, active.head.envelope
    sender = user_of(uid_of(active.qid)).name if envelope.sender is None else envelope.sender
    lines = [
        f"Queue-ID: {active.qid} ({state})",
        f"Arrived: {_time(head.arrived)}",
        f"Size: {head.size}",
        f"User: {user_of(uid_of(active.qid)).name} (uid {uid_of(active.qid)})",
        f"Sender: <{quote(sender) if sender else ''}>",
        f"Attempts: {head.attempts}",
    ]
    if active.due != NEVER:
        lines.append(f"Next-Attempt: {_time(active.due)}")
    tried: dict[int, list[str]] = {}
    for attempt in active.attempts():
        line = f"  {_time(attempt.time)} {attempt.status} {attempt.dsn} {attempt.words}"
        tried.setdefault(attempt.index, []).append(line)
    for index, recipient in enumerate(envelope.recipients):
        lines.append(f"Recipient: <{quote(recipient)}> ({STATES[active.state(index)]})")
        lines += tried.get(index, [])
    return lines


def _adopt(spool: Spool) -> None:
    """Take what users have sent into the queue, so that it can be named."""
    if spool.system:
        try:
            pickup.adopt(spool, lambda _: None)
        except OSError as error:
            raise TempError(f"cannot use {spool.queue}: {error.strerror}") from error


def _one(
    spool: Spool, verb: str, qid: str, tell: Callable[[str, str], None], *, asked: bool
) -> str:
    """Change one message; return why it was not done, or ""."""
    _refuse_no_id(qid, "ids as mailq shows them, or only ALL")
    try:
        active = take(spool, qid)
    except DataError as error:
        return str(error)
    except OSError as error:
        raise TempError(f"cannot open {spool.queue}/{qid}: {error.strerror}") from error
    if active is None:
        gone = not os.path.lexists(f"{spool.queue}/{qid}")
        if gone and not asked:
            return ""
        return "no such message in the queue" if gone else "flush works on it; try again"
    try:
        words = CHANGES[verb](active)
    finally:
        active.close()
    if words:
        tell(qid, words)
        return ""
    return {"hold": "it is held already", "release": "it is not held"}[verb] if asked else ""


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
