"""One message, tried while its sender waits: what the exit status has to be.

In a container nothing may start flush again.  A message that would wait there for ever is taken
back, and the caller, who can try again, is told.
"""

import re
import subprocess
from typing import NamedTuple

from pymail import errors, paths, queued, schedule
from pymail.errors import DataError
from pymail.spool import Spool

_ENDS = re.compile(r"to=<(.*?)>, .*\bstatus=(\w+) \((.*)\)\Z")


class End(NamedTuple):
    """What became of a recipient: sent, deferred or bounced, and why."""

    recipient: str
    status: str
    words: str


def trial(spool: Spool, qid: str) -> int:
    """Try a message now and say what is wrong; return 0, 69 if it was returned, 75 if it waits.

    Raise PermError, UsageError or DataError where it cannot be tried.
    """
    active, state = queued.read(spool, qid, "try")
    active.close()
    if state != "waiting":
        remedy = f"pymail queue release {qid}" if state == "on hold" else "flush works on it"
        raise DataError(f"cannot try {qid}: it is {state} ({remedy})")
    ends, ended = _tried(qid)
    if _returned(ends, "pymail"):
        return errors.EX_UNAVAILABLE
    deferred = [end for end in ends if end.status == "deferred"]
    if ends and not deferred:
        return errors.EX_OK
    _explain(deferred, ended, "pymail")
    return ended or errors.EX_TEMPFAIL


def submission(spool: Spool, qid: str) -> int:
    """Try a message of one who waits; return what the exit status of sendmail has to be.

    Where nobody would try it again, a message that has to wait is removed from the queue.
    """
    ends, ended = _tried(qid)
    deferred = [end for end in ends if end.status == "deferred"]
    if _returned(ends, "sendmail"):
        return errors.EX_UNAVAILABLE
    if (ends and not deferred) or _served(spool):
        return errors.EX_OK
    if len(deferred) < len(ends):
        words = f"cannot deliver to all: {qid} waits, and nothing starts flush here"
        errors.complain("sendmail", words)
        return errors.EX_OK  # to send it again would double it
    if queued.apply(spool, "delete", [qid], lambda *_: None):
        return errors.EX_OK  # somebody works on it, or has delivered it
    _explain(deferred, ended, "sendmail")
    return errors.EX_TEMPFAIL


def _returned(ends: list[End], program: str) -> bool:
    """Tell of recipients whose mail comes back; say whether there are any."""
    bounced = [end for end in ends if end.status == "bounced"]
    for end in bounced:
        errors.complain(program, f"cannot deliver to {end.recipient}: {end.words}")
    return bool(bounced)


def _explain(deferred: list[End], ended: int, program: str) -> None:
    """Tell why a message has to wait."""
    if not deferred:
        errors.complain(program, f"cannot deliver now: flush ended with status {ended}")
    for end in deferred:
        errors.complain(program, f"cannot deliver to {end.recipient} now: {end.words}")


def _tried(qid: str) -> tuple[list[End], int]:
    """Let flush try a message; return what became of each recipient it tried, and its status."""
    # What flush itself has to say is said, and logged where PYMAIL_LOG says.
    done = subprocess.run(
        paths.program("flush", "-v", qid),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=False,
    )
    found: dict[str, End] = {}
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        end = _ENDS.search(line) if f"{qid}: " in line else None
        if end:
            found[end[1]] = End(*end.groups())
    return list(found.values()), done.returncode


def _served(spool: Spool) -> bool:
    """Say whether flush will try again: who has made a system spool sees to that."""
    return spool.system or schedule.serves_user()
