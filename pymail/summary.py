"""What a listing says of a message: who, when, what about; made from its header.  Pure."""

import datetime as dt
import email.utils
from collections.abc import Collection
from typing import NamedTuple

from pymail import columns, legible, message
from pymail.message import Field

_FIELD = 2000
"""Bytes of a field that are looked at."""

_SHOWN = 400
"""Characters of a field that are kept: a listing has one line for it."""


class Summary(NamedTuple):
    """The fields of a listing, decoded, not yet safe for a terminal.

    sender   the author's name, or else the address
    address  the author's address
    date     as ISO 8601 has it, with the zone of the author; "" for none
    """

    sender: str = ""
    address: str = ""
    to: str = ""
    subject: str = ""
    date: str = ""
    message_id: str = ""


def of(head: bytes) -> Summary:
    """Return the summary of a message that begins with `head`."""
    return of_fields(first(message.split(head.replace(b"\r\n", b"\n"))[0]))


def of_fields(fields: dict[bytes, bytes]) -> Summary:
    """Return the summary of a message with these fields, as of first()."""
    label = label_of(fields)
    sender, address = author(fields.get(b"from", b""), label)
    return Summary(
        sender[:_SHOWN],
        address[:_SHOWN],
        legible.field(fields.get(b"to", b"")[:_FIELD], label)[:_SHOWN],
        legible.field(fields.get(b"subject", b"")[:_FIELD], label)[:_SHOWN],
        date(fields.get(b"date", b"")),
        legible.field(fields.get(b"message-id", b"")[:_FIELD])[:_SHOWN],
    )


def line(number: int, state: str, about: Summary, size: int, width: int) -> str:
    """Return the line of a listing, safe for a terminal, at most `width` columns."""
    who = columns.left(legible.line(about.sender), 18)
    text = f"{state} {number:3} {who} {_day(about.date):16} {size:7}"
    return columns.cut(f"{text} {legible.line(about.subject)}", width).rstrip()


def sign(flags: Collection[str], *, new: bool) -> str:
    """Return the sign of a message in a listing: N new, O old, F flagged, R replied, " " read."""
    if "S" not in flags:
        return "N" if new else "O"
    return next((each for each in "FR" if each in flags), " ")


def first(fields: list[Field]) -> dict[bytes, bytes]:
    """Return the first field of each name."""
    return {f.name: f.value.strip() for f in reversed(fields)}


def label_of(fields: dict[bytes, bytes]) -> str:
    """Return the character set that a header says its body is in, "" for none."""
    value = fields.get(b"content-type", b"")[:_FIELD].decode("ascii", "replace")
    _, found, rest = value.lower().partition("charset=")
    return rest.lstrip('" ').partition(";")[0].partition('"')[0].strip() if found else ""


def author(value: bytes, label: str = "") -> tuple[str, str]:
    """Return who a From field names, the name or else the address, and the address.

    What is encoded is decoded last (RFC 2047 6.2): a comma in a name separates nothing.
    """
    text = legible.text(b" ".join(value[:_FIELD].split()), label)
    try:
        name, address = email.utils.parseaddr(text)
    except RecursionError:  # hundreds of open parentheses
        name = address = ""
    who = legible.encoded_words(name or address or text)
    return " ".join(who.split()), address


def date(value: bytes) -> str:
    """Return a Date field as ISO 8601 has it, "" where it is none."""
    try:
        when = email.utils.parsedate_to_datetime(value[:100].decode("ascii", "replace"))
    except (ValueError, TypeError, IndexError, OverflowError):
        return ""
    return when.isoformat()


def _day(date: str) -> str:
    return dt.datetime.fromisoformat(date).strftime("%a %b %e %H:%M") if date else ""
