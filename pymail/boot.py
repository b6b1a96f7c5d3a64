"""What a boot of the machine makes doubtful: after a power cut, a mark may be lost."""

import math
import os

from pymail import durable, pickup
from pymail.active import take
from pymail.errors import DataError
from pymail.queuefile import ATTEMPTED, TODO
from pymail.spool import Spool

_FEW = 16
"""Messages that are synced one by one."""


def doubt_after_boot(spool: Spool) -> None:
    """Mark every recipient as in doubt when the machine was started anew.

    A mark is not synced before the delivery it announces; after a power cut it may be lost
    while the letter is in the mailbox.  A note of the boot that cannot be read is one of another.
    """
    boot = _current()
    path = f"{spool.queue}/.boot"
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            if file.read(len(boot) + 1) == boot:
                return
    except IsADirectoryError:
        pass
    except FileNotFoundError:
        # The first run ever: what nobody has tried to deliver is in no doubt.
        durable.renew(path, boot)
        durable.sync(spool.queue)
        return
    if spool.system:
        # What was adopted, even delivered, before a power cut may lie in its drop directory again.
        # All of it, however long that takes.  The run itself tells the warnings.
        pickup.adopt(spool, lambda _: None, math.inf)
    _doubt(spool)
    durable.renew(path, boot)
    durable.sync(spool.queue)


def _doubt(spool: Spool) -> None:
    """Mark every recipient that waits as in doubt, durably."""
    entries = spool.entries()
    for qid, _ in entries:
        try:
            active = take(spool, qid)
        except (DataError, OSError):
            continue  # the run itself deals with it
        if active is not None:
            for index in active.waiting():
                if active.state(index) == TODO:
                    active.mark(index, ATTEMPTED)
            if len(entries) <= _FEW:
                active.sync()
            active.close()
    if len(entries) > _FEW:
        os.sync()  # one by one, thousands take minutes


def _current() -> str:
    """Return what tells this boot of the machine from others."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read()
    except OSError:
        return "unknown"
