"""What a letter from cron says: which job wrote it, and what it printed.  Pure.

Two outputs count as the same only where they are the same byte for byte but for times of day
that are those of the letter itself: a clock that was printed in the hour before it was sent.
Everything else may be what tells one failure from another: numbers, names, other dates.
"""

import calendar
import functools
import hashlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from pymail import legible, message

LIMIT = 1 << 20
"""Bytes of an output that is compared; a longer one is like no other."""

BEFORE, AFTER = 3600, 300
"""Seconds before and after a letter within which a time of day is its own."""

MOST_LINE = 200
"""Characters of an output that stand for it."""

_SUBJECT = re.compile(r"Cron <[^<>\s]+> .|Anacron job '[^']+' on .", re.DOTALL)

_CLOCK = rb"(?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d):(?P<second>[0-5]\d)"
_NAMES = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_MONTH = rb"(?P<name>" + b"|".join(_NAMES) + rb")"
_DAY = rb"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? )?"
_STAMPS = tuple(
    re.compile(rb"(?<![\w:.,+-])" + stamp + rb"(?!\w|:\d)")
    for stamp in (
        rb"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)[T ]" + _CLOCK
        + rb"(?:[.,]\d{1,9})?(?: ?(?:(?P<sign>[+-])(?P<east>\d\d):?(?P<more>\d\d)|Z|UTC|GMT))?",
        _DAY + _MONTH + rb" {1,2}(?P<day>\d{1,2}) " + _CLOCK
        + rb"(?: [A-Z]{3,5})?(?: (?P<year>\d{4}))?",
        _DAY + rb"(?P<day>\d{1,2}) " + _MONTH + rb" (?P<year>\d{4}) " + _CLOCK
        + rb"(?: (?:(?P<sign>[+-])(?P<east>\d\d)(?P<more>\d\d)|[A-Z]{3,5}))?",
        _CLOCK,
    )
)  # fmt: skip


class Letter(NamedTuple):
    """A letter from cron: the job that wrote it, as its subject names it, and for whom.

    key  tells this job from all others, for the same recipients and of the same user
    """

    job: str
    key: str


def letter(
    fields: Sequence[message.Field], uid: int, sender: str, recipients: Sequence[str]
) -> Letter | None:
    """Return what a message submitted by `uid` is, if it is a letter from cron or anacron."""
    subjects = message.values(fields, b"subject")
    if len(subjects) != 1:
        return None
    job = " ".join(legible.field(subjects[0]).split())
    if not _SUBJECT.match(job):
        return None
    what = "\0".join([str(uid), sender, job, *recipients]).encode("utf-8", "surrogateescape")
    return Letter(job, f"{uid}-{hashlib.sha256(what).hexdigest()[:24]}")


def fingerprint(output: bytes, sent: int) -> str:
    """Return what an output that was sent then (seconds) has in common with the same ones."""
    output = output.replace(b"\0", b"\0\0")  # so that no output has what stands for a time
    for number, pattern in enumerate(_STAMPS):
        output = pattern.sub(functools.partial(_masked, b"\0%d" % number, sent), output)
    return hashlib.sha256(output).hexdigest()


def first_line(output: bytes) -> str:
    """Return the first line of an output that says anything."""
    lines = (line.strip() for line in output[:LIMIT].split(b"\n"))
    line = next((line for line in lines if line), b"").decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "?" for c in line)[:MOST_LINE]


def _masked(token: bytes, sent: int, match: re.Match[bytes]) -> bytes:
    """Return the token for a time that is the letter's own, any other time as it is."""
    own = any(-AFTER <= sent - moment <= BEFORE for moment in _moments(match, sent))
    return token if own else match[0]


def _moments(match: re.Match[bytes], sent: int) -> Iterator[float]:
    """Yield the moments that a printed time may be: here, or in UTC, on a day that fits."""
    given = match.groupdict()
    clock = (int(given["hour"]), int(given["minute"]), int(given["second"]))
    if given.get("sign"):
        east = int(given["east"]) * 3600 + int(given["more"]) * 60
        there = _date(given, time.gmtime(sent))
        yield from _moment(calendar.timegm, there, clock, -east if given["sign"] == b"+" else east)
        return
    # Shortly after midnight, a bare clock of before it is one of yesterday.
    for near in (sent, sent - BEFORE):
        yield from _moment(time.mktime, _date(given, time.localtime(near)), clock)
        yield from _moment(calendar.timegm, _date(given, time.gmtime(near)), clock)


def _moment(
    make: Callable[..., float], date: tuple[int, ...], clock: tuple[int, ...], shift: int = 0
) -> Iterator[float]:
    """Yield the moment of that date and time; nothing where there is no such date."""
    try:
        yield make((*date, *clock, 0, 0, -1)) + shift
    except (OverflowError, ValueError):
        return


def _date(given: dict[str, bytes | None], day: time.struct_time) -> tuple[int, int, int]:
    """Return the date of a printed time; what it does not say is that of `day`."""
    year, month, number = given.get("year"), given.get("month"), given.get("day")
    name = given.get("name")
    return (
        int(year) if year else day.tm_year,
        _NAMES.index(name) + 1 if name else int(month) if month else day.tm_mon,
        int(number) if number else day.tm_mday,
    )
