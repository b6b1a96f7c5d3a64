"""The line about mail when somebody logs in: how much is new, from whom, and what is stuck.

A login must not wait for it.  A child looks, the parent prints what the child knows by the end of
PATIENCE: a home that hangs stops the child only.  Of the mail itself, names are counted and the
heads of the latest few are read.
"""

import heapq
import io
import os
import signal
import stat
import time
from collections.abc import Iterable, Iterator
from itertools import islice

from pymail import child, paths, reader
from pymail.entry import Entry, shown
from pymail.errors import printable
from pymail.queuefile import NEVER, OPEN, time_of, uid_of
from pymail.spool import Spool
from pymail.waiting import dropped, told, where

PATIENCE = 5
"""Seconds after which a login goes on."""

LONG = 3600
"""Seconds after which a message that still waits is stuck."""

MOST_COUNTED = 100_000
"""Messages; more of them are as good as that many."""

_MOST_HEADS = 20
_MOST_NAMES = 3
_NAME = 40
"""Characters of a name that are shown."""

_ADDRESS = 60
"""Characters of an address."""

_DIGITS = 20
"""Fewer than this has a time in the name of a file."""

_HEAD = 1 << 14
_MBOX = 1 << 23
"""Bytes at the end of an mbox file that are looked at."""

_MOST_STUCK = 1000
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"))


def line() -> str:
    """Return the line, "" where there is nothing to tell; take PATIENCE at most."""
    readable, writable = os.pipe()

    def serve() -> None:
        for text in _growing(int(time.time())):
            os.write(writable, text.encode("utf-8", "replace") + b"\n")

    whole = False
    pid = child.fork(writable, serve)
    os.close(writable)
    try:
        data, whole = child.hear(readable, time.monotonic() + PATIENCE)
    finally:
        if whole:
            child.reap(pid)
        else:
            os.kill(pid, signal.SIGKILL)  # and not waited for: it may hang in the kernel
    said = [text for text in data.split(b"\n")[:-1] if not text.startswith(b"!")]
    return said[-1].decode() if said else ""


def _growing(now: int) -> Iterator[str]:
    """Yield the line as far as it is known, each time with more in it."""
    spool = Spool(paths.spool())
    boxes = mailboxes(paths.home(os.getuid()), reader.home_mailbox(), os.environ.get("MAIL", ""))
    found = [_new(box) for box in boxes]
    count = sum(number for number, _ in found)
    yield sentence(count, [], [], now)
    names = _authors(head for _, heads in found for head in heads)
    yield sentence(count, names, [], now)
    yield sentence(count, names, list(islice(stuck(spool, now), _MOST_STUCK)), now)


def sentence(count: int, authors: list[str], waiting: list[Entry], now: int) -> str:
    """Return the line that says it, safe for a terminal, "" for nothing."""
    parts = []
    if count:
        number = f"{count:,}" if count < MOST_COUNTED else f"{MOST_COUNTED:,} or more"
        latest = "the latest " if count > _MOST_HEADS else ""
        source = f", {latest}from {_listed(authors)}" if authors else ""
        parts.append(f"You have {number} new message{'s' * (count != 1)}{source}")
    if waiting:
        oldest = min(waiting, key=lambda entry: entry.head.arrived)
        number = f"{len(waiting):,}{' or more' * (len(waiting) == _MOST_STUCK)}"
        have = " of yours has" if len(waiting) == 1 else "s of yours have"
        parts.append(
            f"{number} message{have} been stuck in the queue for {_age(now, oldest)}"
            f" (to {_recipient(oldest)}): mailq tells why"
        )
    return printable(f"{'; '.join(parts)}.") if parts else ""


def mailboxes(home: str, home_mailbox: str, mail: str) -> list[str]:
    """Return where new mail may lie: the new/ of each Maildir, with a final slash, or an mbox file.

    `mail` is $MAIL, which counts where it names a Maildir.
    """
    wanted = [f"{home}/{home_mailbox}", f"{home}/.maildir/", f"{mail.removeprefix('maildir:')}/"]
    found: dict[tuple[int, int], str] = {}
    for path in wanted:
        place = f"{path}new/" if path.endswith("/") else path
        try:
            about = os.stat(place)
        except OSError:
            continue
        if path.startswith("/") and stat.S_ISDIR(about.st_mode) == path.endswith("/"):
            found.setdefault((about.st_dev, about.st_ino), place)
    return list(found.values())


def stuck(spool: Spool, now: int) -> Iterator[Entry]:
    """Yield the messages of the caller's own that are held, or wait for long."""
    for entry in _own(spool, now):
        held = where(entry, now) == "hold"
        waits = any(state in OPEN for state in entry.head.states)
        if held or (waits and now - entry.head.arrived > LONG):
            yield entry


def _own(spool: Spool, now: int) -> Iterator[Entry]:
    uid = os.geteuid()
    if spool.system and uid != 0:
        directory = spool.drop_directory(uid)
        yield from told(directory, uid)
        yield from dropped(directory, uid)
        return
    for qid, due in spool.entries():
        # The name tells enough to leave most of a long queue unread.
        if spool.system and uid_of(qid) != uid:
            continue
        entry = shown(spool.queue, qid) if due == NEVER or now - time_of(qid) > LONG else None
        if entry is not None:
            yield entry


def _new(box: str) -> tuple[int, Iterable[bytes]]:
    """Return how many messages are new, and the heads of the latest ones, not read yet."""
    try:
        if not box.endswith("/"):
            heads = _new_in_mbox(box)
            return len(heads), heads[: -_MOST_HEADS - 1 : -1]
        with os.scandir(box) as files:
            names = [
                each.name
                for each in islice(files, MOST_COUNTED)
                if not each.name.startswith(".") and each.is_file(follow_symlinks=False)
            ]
    except OSError:
        return 0, ()
    latest = heapq.nlargest(_MOST_HEADS, names, key=_arrival)
    return len(names), (_head(f"{box}{name}") for name in latest)


def _new_in_mbox(path: str) -> list[bytes]:
    """Return the same of an mbox file, whose access time other programs go by: it is kept."""
    try:
        fd = os.open(path, _FLAGS | os.O_NOATIME)
    except PermissionError:  # not the owner's
        fd = os.open(path, _FLAGS)
    with open(fd, "rb") as file:
        start = file.seek(max(os.fstat(fd).st_size - _MBOX, 0))
        data = file.read(_MBOX)
    if start:
        data = data[data.find(b"\n\nFrom ") + 2 :]
    return [found.head for found in reader.in_mbox(io.BytesIO(data)) if found.state == "N"]


def _arrival(name: str) -> int:
    """Return the time that the name of a file in a Maildir begins with."""
    digits = name.partition(".")[0]
    return int(digits) if digits.isdecimal() and len(digits) < _DIGITS else 0


def _head(path: str) -> bytes:
    """Return the start of a message, "" where that cannot be read at once."""
    try:
        fd = os.open(path, _FLAGS | os.O_NOFOLLOW)
    except OSError:
        return b""
    try:
        return os.read(fd, _HEAD) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(fd)


def _authors(heads: Iterable[bytes]) -> list[str]:
    """Return who wrote the latest messages, each named once."""
    names: dict[str, None] = {}
    for head in islice(heads, _MOST_HEADS):
        name = reader.author(head)
        if name:
            names[name if len(name) <= _NAME else f"{name[: _NAME - 3]}..."] = None
    return list(names)


def _listed(names: list[str]) -> str:
    """Return names as a person lists them."""
    if len(names) > _MOST_NAMES:
        names = [*names[:_MOST_NAMES], "others"]
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _age(now: int, entry: Entry) -> str:
    seconds = now - entry.head.arrived
    size, unit = next((u for u in _UNITS if seconds >= u[0]), _UNITS[-1])
    number = max(seconds // size, 1)
    return f"{number} {unit}{'s' * (number != 1)}"


def _recipient(entry: Entry) -> str:
    """Return the first one who still waits for the message."""
    pairs = zip(entry.head.states, entry.head.envelope.recipients, strict=True)
    return next((to for state, to in pairs if state in OPEN), "nobody")[:_ADDRESS]
