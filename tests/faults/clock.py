"""Clocks that jump, by libfaketime: years ahead, back, and home again.

A letter that cannot be delivered for the present waits while the clock is wrong. It must
neither bounce nor be put off until the wrong clock's time, and is delivered once all is mended.
"""

import os
import time

from .world import World

JUMPS = ("2038-01-20 00:00:00", "1970-01-02 00:00:00", "2106-02-08 00:00:00", "+400d", "-400d")
_LIBRARIES = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
)


def missing() -> str:
    """Say what is missing, or nothing."""
    return "" if any(map(os.path.exists, _LIBRARIES)) else "no libfaketime"


def jump(w: World, when: str) -> str:
    """Submit and flush while the clock is wrong; return what came of it."""
    me = w.users[0]
    w.begin(())
    if w.rooted:
        w.system_spool()
    box = f"{me.home}/Maildir"
    with open(box, "wb"):  # no mailbox yet: delivery is put off
        os.chown(box, me.uid, me.gid)
    w.submit(me, "before", me.name)
    w.flush()
    statuses = _live_with(w, when)
    os.unlink(box)
    # The clock is right again. Nobody waits longer than the longest pause between attempts.
    _longest_pause(w)
    statuses += [w.flush(), w.flush()]
    view = w.look()
    troubles = ["a program failed"] * any(statuses) + ["a bounce"] * bool(view.bounces)
    troubles += ["a letter that waits for the wrong clock's time"] * bool(view.spooled)
    for name in ("before", "during"):
        copies = view.delivered[me.name, name]
        troubles += [f"the letter from {name} there {copies} times"] * (copies != 1)
    said = f" ({w.output().strip()})" if troubles else ""
    return f"clock jumps, {when}: {', '.join(troubles) or 'all well'}{said}"


def _live_with(w: World, when: str) -> list[int | None]:
    """Send a letter and run the queue under a wrong clock; return the exit statuses."""
    me = w.users[0]
    wrong = {
        "LD_PRELOAD": next(filter(os.path.exists, _LIBRARIES)),
        "FAKETIME": when if when[0] in "+-" else f"@{when}",
    }
    place = w.letter("during", me.name)
    statuses = [w.run(me, w.program("sendmail", "-i", me.name), place, wrong)]
    for _ in range(5):  # a letter may expire after eight attempts
        flusher = None if w.system else me
        statuses.append(w.run(flusher, w.program("flush", "-a"), more=wrong))
    return statuses


def _longest_pause(w: World) -> None:
    """Let 4,000 seconds pass: what is due by then is due now, what is due later is not."""
    for base, _, names in os.walk(w.spool):
        for name in names:
            path = f"{base}/{name}"
            due = os.lstat(path).st_mtime
            if time.time() < due <= time.time() + 4000:
                os.utime(path, (due - 4000, due - 4000), follow_symlinks=False)
