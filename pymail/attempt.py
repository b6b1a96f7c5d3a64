"""One message, tried while its sender waits: what the exit status has to be.

In a container nothing may start flush again.  A message that would wait there for ever is taken
back, and the caller, who can try again, is told.
"""

import re
import subprocess
from typing import NamedTuple

from pymail import errors, paths, queued, schedule
from pymail.spool import Spool

_ENDS = re.compile(r"to=<(.*?)>, .*\bstatus=(\w+) \((.*)\)\Z")


class End(NamedTuple):
    """What became of a recipient: sent, deferred or bounced, and why."""

    recipient: str
    status: str
    words: str


def status(spool: Spool, qid: str) -> int:
    """Try a message; return the exit status of who has submitted it, and say what is wrong."""
    ends, ended = _tried(qid)
    bounced = [end for end in ends if end.status == "bounced"]
    deferred = [end for end in ends if end.status == "deferred"]
    for end in bounced:
        errors.complain("sendmail", f"cannot deliver to {end.recipient}: {end.words}")
    if bounced:
        return errors.EX_UNAVAILABLE
    if (ends and not deferred) or _served(spool):
        return errors.EX_OK
    if len(deferred) < len(ends):
        words = f"cannot deliver to all: {qid} waits, and nothing starts flush here"
        errors.complain("sendmail", words)
        return errors.EX_OK  # to send it again would double it
    if queued.apply(spool, "delete", [qid], lambda *_: None):
        return errors.EX_OK  # somebody works on it, or has delivered it
    if not ends:
        errors.complain("sendmail", f"cannot deliver now: flush ended with status {ended}")
    for end in deferred:
        errors.complain("sendmail", f"cannot deliver to {end.recipient} now: {end.words}")
    return errors.EX_TEMPFAIL


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
