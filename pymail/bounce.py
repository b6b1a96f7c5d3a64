"""Reports to the sender: a message that could not be delivered, is late, or was delivered.

RFC 3464 multipart/report: a text for a person, message/delivery-status for programs, and the
header of the message (the whole message where RET=FULL was asked for).  Pure: bytes out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pymail import address
from pymail.message import date

FAILED, DELAYED, RELAYED = "failed", "delayed", "delivered"

_SUBJECTS = {
    FAILED: "Undelivered Mail Returned to Sender",
    DELAYED: "Delayed Mail (still being retried)",
    RELAYED: "Successful Mail Delivery Report",
}

_OPENINGS = {
    FAILED: (
        "Your message could not be delivered to one or more recipients.",
        "It is not tried again; its header is attached.",
    ),
    DELAYED: (
        "Your message could not be delivered yet to one or more recipients.",
        "It stays in the queue and is tried again. You need not send it a second time.",
    ),
    RELAYED: ("Your message was delivered, as you asked to be told.", ""),
}

_PLAIN_PART = (
    "Content-Description: Notification\n"
    "Content-Type: text/plain; charset=utf-8\n"
    "Content-Transfer-Encoding: 8bit\n\n"
)


@dataclass(frozen=True, slots=True)
class Failure:
    """What is reported of one recipient.

    recipient  where it ended, `original` the address the message was sent to
    dsn        RFC 3463 status, `words` the reason
    orcpt      RFC 3461 ORCPT, "" where the sender gave none
    """

    recipient: str
    original: str
    dsn: str
    words: str
    orcpt: str = ""


@dataclass(frozen=True, slots=True)
class Returned:
    """The message that is reported on."""

    qid: str
    sender: str
    arrived: int
    envid: str
    header: bytes
    body: bytes | None
    expires: int = 0


def report(
    action: str,
    failures: Sequence[Failure],
    message: Returned,
    *,
    to: str,
    host: str,
    qid: str,
    now: int,
) -> bytes:
    """Return the report as a message with LF line ends.

    `qid` is the report's own queue id, `host` our name.  `message.body` is None where only the
    header is returned.
    """
    boundary = f"{qid}/{host}"
    subject = _SUBJECTS[action]
    if message.sender == "" and action == FAILED:
        subject = "Postmaster Copy: Undelivered Mail"
    head = (
        f"Date: {date(now)}\n"
        f"From: MAILER-DAEMON@{host} (Mail Delivery System)\n"
        f"Subject: {subject}\n"
        f"To: {address.quote(to)}\n"
        "Auto-Submitted: auto-replied\n"
        "MIME-Version: 1.0\n"
        "Content-Type: multipart/report; report-type=delivery-status;\n"
        f'\tboundary="{boundary}"\n'
        "Content-Transfer-Encoding: 8bit\n"
        f"Message-Id: <{qid}@{host}>\n"
        "\n"
        "This is a MIME-encapsulated message.\n"
    )
    separator = f"\n--{boundary}\n"
    text = "\n".join(_text(action, failures, message, host))
    status = _status(action, failures, message, host)
    original, what = "message/rfc822", "Undelivered Message"
    if message.body is None:
        original, what = "text/rfc822-headers", "Undelivered Message Headers"
    parts = [
        head,
        separator,
        _PLAIN_PART,
        text,
        separator,
        "Content-Description: Delivery report\nContent-Type: message/delivery-status\n\n",
        status,
        separator,
        f"Content-Description: {what}\nContent-Type: {original}\n",
        "Content-Transfer-Encoding: 8bit\n\n",
    ]
    data = "".join(parts).encode("utf-8", "replace") + message.header
    if message.body is not None:
        data += b"\n" + message.body
    return data + f"\n--{boundary}--\n".encode()


def _text(action: str, failures: Sequence[Failure], message: Returned, host: str) -> list[str]:
    first, second = _OPENINGS[action]
    lines = [f"This is the mail system at host {host}.", "", first]
    if second:
        lines.append(second)
    if action == DELAYED and message.expires:
        lines.append(f"It is given up on {date(message.expires)}.")
    lines += ["", "For help, write to postmaster.", ""]
    for failure in failures:
        text = f"<{failure.recipient}>{_expanded(failure)}: {failure.words}"
        lines += [_plain(text), ""]
    return lines


def _expanded(failure: Failure) -> str:
    if address.fold(failure.original) == address.fold(failure.recipient):
        return ""
    return f" (expanded from <{failure.original}>)"


def _status(action: str, failures: Sequence[Failure], message: Returned, host: str) -> str:
    """Return the fields of RFC 3464, per message and then per recipient."""
    lines = [f"Reporting-MTA: dns; {host}"]
    if message.envid:
        lines.append(f"Original-Envelope-Id: {_plain(message.envid)}")
    lines += [
        f"X-Pymail-Queue-ID: {message.qid}",
        f"X-Pymail-Sender: rfc822; {_plain(message.sender)}",
        f"Arrival-Date: {date(message.arrived)}",
    ]
    for failure in failures:
        lines += ["", f"Final-Recipient: rfc822; {_plain(failure.recipient)}"]
        original = failure.orcpt or f"rfc822;{failure.original}"
        lines.append(f"Original-Recipient: {_plain(original)}")
        lines.append(f"Action: {action}")
        lines.append(f"Status: {failure.dsn}")
        lines.append(f"Diagnostic-Code: x-pymail; {_plain(failure.words)}")
        if action == DELAYED and message.expires:
            lines.append(f"Will-Retry-Until: {date(message.expires)}")
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
