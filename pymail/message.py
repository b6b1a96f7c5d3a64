"""A message's header block as bytes: fields, what is removed, what is added.

The message is never decoded: a field is its name and its raw lines.  What is malformed stays as
it was, and where the header ends is decided as Postfix decides it (RFC 5322 2.2, leniently).
"""

import time

from pymail.address import phrase, qualify_header, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

HEADER_LIMIT = 1 << 20
"""Bytes; a header block that goes on longer than this ends here, the rest is body."""

ADDRESSES_LIMIT = 102400
"""Bytes of addresses in a header (Postfix's header_size_limit) that are looked at: what comes
after them stays as it is, since each takes time, and anybody can write a million."""

_NAME = bytes(c for c in range(33, 127) if c != ord(":"))

# Never leave the machine, whoever wrote them (Postfix's message_drop_headers).
_DROPPED = frozenset((b"bcc", b"resent-bcc", b"return-path", b"content-length"))

# Bare names in these are of no use elsewhere.
_ADDRESSES = frozenset(
    (
        b"from",
        b"sender",
        b"reply-to",
        b"to",
        b"cc",
        b"apparently-to",
        b"errors-to",
        b"return-receipt-to",
        b"disposition-notification-to",
        b"mail-followup-to",
        b"resent-from",
        b"resent-sender",
        b"resent-reply-to",
        b"resent-to",
        b"resent-cc",
    )
)

# A message with one of these is sent again (RFC 5322 3.6.6).
_RESENT = frozenset(
    (
        b"resent-from",
        b"resent-sender",
        b"resent-to",
        b"resent-cc",
        b"resent-bcc",
        b"resent-date",
        b"resent-message-id",
        b"resent-reply-to",
    )
)

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Field:
    """One header field: `name` in lower case, `raw` as it stands, folds kept, no final LF."""

    __slots__ = ("name", "raw")

    def __init__(self, name: bytes, raw: bytes) -> None:
        self.name = name
        self.raw = raw

    @property
    def value(self) -> bytes:
        """What follows the colon, folds kept."""
        return self.raw.partition(b":")[2]


class Facts:
    """What is known of a message besides its bytes, for fields that must be made.

    origin      the domain of bare names (myorigin)
    sender      envelope sender, qualified; "" is the null sender
    full_name   of the sender, "" for none
    message_id  without the angle brackets
    arrived     seconds; becomes Date, so that it is the same at every attempt
    """

    __slots__ = ("arrived", "full_name", "message_id", "origin", "sender")

    def __init__(
        self, *, origin: str, sender: str, full_name: str, message_id: str, arrived: int
    ) -> None:
        self.origin = origin
        self.sender = sender
        self.full_name = full_name
        self.message_id = message_id
        self.arrived = arrived


def split(data: bytes) -> tuple[list[Field], int]:
    """Return the header fields and where the body starts.

    The header ends at an empty line, or before the first line that is neither a field nor the
    continuation of one.  Leading "From " and ">From " lines (mbox separators) are dropped.
    """
    fields: list[Field] = []
    at = _after_separators(data)
    limit = min(len(data), HEADER_LIMIT)
    while at < limit:
        end = data.find(b"\n", at)
        if end < 0:
            end = len(data)
        line = data[at:end]
        if not line:
            return fields, end + 1
        if line[0] in b" \t":
            if not fields:
                return fields, at
            # All folds at once: one by one, a field of many takes a time that grows squared.
            end = _folds_end(data, end, limit)
            fields[-1].raw += b"\n" + data[at:end]
        else:
            name, colon, _ = line.partition(b":")
            bare = name.rstrip(b" \t")
            if not colon or not bare or bare.translate(None, _NAME):
                return fields, at
            raw = line if bare == name else bare + line[len(name) :]
            fields.append(Field(bare.lower(), raw))
        at = end + 1
    return fields, min(at, len(data))


def _folds_end(data: bytes, end: int, limit: int) -> int:
    """Return where the last of the continuation lines ends of which one ends at `end`."""
    while end + 1 < limit and data[end + 1] in b" \t":
        end = data.find(b"\n", end + 1)
        if end < 0:
            return len(data)
    return end


def values(fields: "Iterable[Field]", name: bytes) -> list[bytes]:
    """Return the values of every field called `name` (lower case), in order."""
    return [f.value for f in fields if f.name == name]


def recipients(fields: "Iterable[Field]") -> list[bytes]:
    """Return the values of the recipient fields, for `sendmail -t`.

    A message that is sent again (RFC 5322 3.6.6) goes to its Resent- recipients only, where it
    names any.
    """
    fields = list(fields)
    for names in ((b"resent-to", b"resent-cc", b"resent-bcc"), (b"to", b"cc", b"bcc")):
        found = [f.value for f in fields if f.name in names]
        if found:
            return found
    return []


def complete(fields: "Iterable[Field]", facts: Facts, *, rewrite: bool = True) -> list[Field]:
    """Return the header as it is delivered: private fields gone, missing ones made.

    Bare names get the origin.  Fields that exist are kept even when empty or invalid.
    Message-Id, Date and From are added, or their Resent- forms where the message is sent again.
    Without `rewrite` (mail from a gateway, -G) only the private fields go.
    """
    out: list[Field] = []
    names: set[bytes] = set()
    resent = False
    room = ADDRESSES_LIMIT
    for field in fields:
        resent = resent or field.name in _RESENT
        if field.name in _DROPPED:
            continue
        raw = field.raw.replace(b"\0", b"?") if b"\0" in field.raw else field.raw
        if rewrite and field.name in _ADDRESSES:
            head, colon, value = raw.partition(b":")
            room -= len(value)
            if room >= 0:
                qualified = qualify_header(value, facts.origin)
                raw = raw if qualified is value else head + colon + qualified
        names.add(field.name)
        out.append(field if raw is field.raw else Field(field.name, raw))
    if not rewrite:
        return out
    prefix = "Resent-" if resent else ""
    for title, text in (
        ("Message-Id", f"<{facts.message_id}>"),
        ("Date", date(facts.arrived)),
        ("From", _author(facts)),
    ):
        name = f"{prefix}{title}"
        key = name.lower().encode()
        if key not in names:
            raw = f"{name}: {text}".encode("utf-8", "surrogateescape")
            out.append(Field(key, raw))
    return out


def join(fields: "Iterable[Field]") -> bytes:
    """Return the fields as bytes, each with its line end."""
    return b"".join([f.raw + b"\n" for f in fields])


def date(epoch: int) -> str:
    """Return `epoch` (seconds) as an RFC 5322 date in the local time zone."""
    if epoch not in _dates:
        _dates.clear()  # a header asks twice for the same one
        _dates[epoch] = _date(epoch)
    return _dates[epoch]


_dates: dict[int, str] = {}


def _date(epoch: int) -> str:
    t = time.localtime(epoch)
    hours, minutes = divmod(abs(t.tm_gmtoff) // 60, 60)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02d} {_MONTHS[t.tm_mon - 1]} {t.tm_year}"
        f" {t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d}"
        f" {'-' if t.tm_gmtoff < 0 else '+'}{hours:02d}{minutes:02d}"
    )


def _after_separators(data: bytes) -> int:
    at = 0
    while True:
        end = data.find(b"\n", at)
        if end < 0 or not data[at:end].lstrip(b">").startswith(b"From "):
            return at
        at = end + 1


def _author(facts: Facts) -> str:
    if not facts.sender:
        return f"MAILER-DAEMON@{facts.origin}"
    address = quote(facts.sender)
    return f"{phrase(facts.full_name)} <{address}>" if facts.full_name.strip() else address
