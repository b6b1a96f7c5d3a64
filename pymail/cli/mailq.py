"""mailq: what is in the queue, in the text format of Postfix's mailq or as JSON.

Root sees everything, a user of a system spool the own messages (see waiting.py).
"""

import io
import pwd
import sys
import time

from pymail import __version__, errors, paths
from pymail.entry import Attempt, Entry
from pymail.errors import UsageError
from pymail.queuefile import OPEN, uid_of
from pymail.spool import Spool
from pymail.waiting import queue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

USAGE = "usage: mailq [-j] [-v]\n"

HEADING = "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------\n"
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WIDTH = 78
_logins: dict[int, str] = {}


def main() -> int:
    """Run mailq; return its exit status."""
    return errors.run("mailq", _main)


def _main() -> int:
    json = False
    for arg in sys.argv[1:]:
        if arg in ("-j", "--json"):
            json = True
        elif arg in ("-h", "--help"):
            sys.stdout.write(USAGE)
            return errors.EX_OK
        elif arg in ("-V", "--version"):
            sys.stdout.write(f"pymail {__version__}\n")
            return errors.EX_OK
        elif arg != "-v":
            raise UsageError(f"option {arg} not supported")
    spool = Spool(paths.spool())
    entries = queue(spool)
    if json and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # as RFC 8259 has it, whatever the locale is
    sys.stdout.writelines((_json(*each) for each in entries) if json else text(entries))
    return errors.EX_OK


def text(entries: "Iterable[tuple[str, Entry]]") -> "Iterator[str]":
    """Yield the listing that people and check_mailq know from Postfix, a message at a time."""
    count = total = 0
    for where, entry in entries:
        if not count:
            yield HEADING
        count += 1
        total += entry.head.size
        yield _entry(where, entry)
    if not count:
        yield "Mail queue is empty\n"
        return
    plural = "" if count == 1 else "s"
    yield f"-- {total // 1024} Kbytes in {count} Request{plural}.\n"


def _entry(where: str, entry: Entry) -> str:
    head = entry.head
    t = time.localtime(head.arrived)
    arrival = (
        f"{_DAYS[t.tm_wday]} {_MONTHS[t.tm_mon - 1]} {t.tm_mday:2d}"
        f" {t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d}"
    )
    mark = {"hold": "!", "active": "*"}.get(where, "")
    sender = errors.printable(_sender(entry))
    lines = [f"{entry.qid + mark:<17} {head.size:8d} {arrival:>19} {sender}\n"]
    reasons = _reasons(entry.attempts)
    last = ""
    for index, recipient in enumerate(head.envelope.recipients):
        if head.states[index] not in OPEN:
            continue
        reason = reasons.get(index, "")
        if reason and reason != last:
            lines.append(f"{_right('(' + errors.printable(reason) + ')')}\n")
        last = reason
        lines.append(f"{'':41}{errors.printable(recipient)}\n")
    return "".join(lines) + "\n"


def _right(text: str) -> str:
    if text.isascii():
        return f"{text:>{_WIDTH}}"
    from pymail import columns  # noqa: PLC0415 -- replies are in ASCII, almost all

    return columns.right(text, _WIDTH)


def _json(where: str, entry: Entry) -> str:
    """Return one message as a line with the keys of postqueue -j."""
    head = entry.head
    reasons = _reasons(entry.attempts)
    recipients = []
    for index, recipient in enumerate(head.envelope.recipients):
        if head.states[index] in OPEN:
            reason = f', "delay_reason": {_string(reasons[index])}' if index in reasons else ""
            recipients.append(f'{{"address": {_string(recipient)}{reason}}}')
    name = "maildrop" if where == "drop" else where
    return (
        f'{{"queue_name": "{name}", "queue_id": "{entry.qid}",'
        f' "arrival_time": {head.arrived}, "message_size": {head.size},'
        f' "forced_expire": false, "sender": {_string(_sender(entry))},'
        f' "recipients": [{", ".join(recipients)}]}}\n'
    )


def _string(text: str) -> str:
    """Return a JSON string: `json` would cost what the whole listing may."""
    out = []
    for c in text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"):
        if c in '"\\':
            out.append(f"\\{c}")
        elif c.isprintable():
            out.append(c)
        else:
            out += [f"\\u{unit:04x}" for unit in _utf16(ord(c))]
    return f'"{"".join(out)}"'


def _utf16(code: int) -> tuple[int, ...]:
    if code < 0x10000:
        return (code,)
    return 0xD800 + ((code - 0x10000) >> 10), 0xDC00 + ((code - 0x10000) & 0x3FF)


def _sender(entry: Entry) -> str:
    sender = entry.head.envelope.sender
    return _login(uid_of(entry.qid)) if sender is None else sender or "MAILER-DAEMON"


def _login(uid: int) -> str:
    """Return the name of a user, looked up once: a queue is long and users are few."""
    if uid not in _logins:
        try:
            _logins[uid] = pwd.getpwuid(uid).pw_name
        except KeyError:
            _logins[uid] = f"uid{uid}"
    return _logins[uid]


def _reasons(attempts: list[Attempt]) -> dict[int, str]:
    """Return for each recipient why it waits: the words of the latest deferral."""
    return {
        a.index: a.words for a in attempts if a.status in ("deferred", "kept", "offline", "held")
    }
