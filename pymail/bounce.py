"""Reports to the sender: a message that could not be delivered, is late, or was delivered.

RFC 3464 multipart/report: a text for a person (what to do, then the words of the server),
message/delivery-status for programs, and the header of the message (the whole message where
RET=FULL was asked for).  Pure: bytes out.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pymail import address
from pymail.advice import cure
from pymail.message import date

FAILED, DELAYED, SUCCEEDED, RELAYED = "failed", "delayed", "delivered", "relayed"

_SUBJECTS = {
    FAILED: "Undelivered Mail Returned to Sender",
    DELAYED: "Delayed Mail (still being retried)",
    SUCCEEDED: "Successful Mail Delivery Report",
    RELAYED: "Successful Mail Delivery Report",
}

_OPENINGS = {
    FAILED: (
        "Your message could not be delivered to one or more recipients.",
        "It is not tried again; its {} is attached.",
    ),
    DELAYED: (
        "Your message could not be delivered yet to one or more recipients.",
        "It stays in the queue and is tried again. You need not send it a second time.",
    ),
    SUCCEEDED: ("Your message was delivered, as you asked to be told.", ""),
    RELAYED: (
        "Your message was handed over to a mail server that sends no reports of success.",
        "",
    ),
}

_PLAIN_PART = (
    "Content-Description: Notification\n"
    "Content-Type: text/plain; charset=utf-8\n"
    "Content-Transfer-Encoding: 8bit\n\n"
)


class Failure(NamedTuple):
    """What is reported of one recipient.

    recipient  where it ended, `original` the address the message was sent to
    dsn        RFC 3463 status, `words` the reason
    orcpt      RFC 3461 ORCPT, "" where the sender gave none
    relay      the server that refused it, "host[address]:port", with its `reply`; "" for us
    tried      when another server was last spoken to, 0 where none was
    """

    recipient: str
    original: str
    dsn: str
    words: str
    orcpt: str = ""
    relay: str = ""
    reply: str = ""
    tried: int = 0

    @property
    def foreign(self) -> bool:
        """Whether an address has other letters than ASCII (RFC 6533)."""
        return not (self.recipient + self.original + self.orcpt).isascii()


class Returned(NamedTuple):
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
    original, what = "message/rfc822", "Message"
    if message.body is None:
        original = f"text/rfc822-headers{_charset(message.header)}"
        what = "Message Headers"
    if action == FAILED:
        what = f"Undelivered {what}"
    parts = [
        head,
        separator,
        _PLAIN_PART,
        text,
        separator,
        f"Content-Description: Delivery report\n{_kind(failures, message)}\n",
        status,
        separator,
        f"Content-Description: {what}\nContent-Type: {original}\n",
        "Content-Transfer-Encoding: 8bit\n\n",
    ]
    data = "".join(parts).encode("utf-8", "replace") + message.header
    if message.body is not None:
        data += b"\n" + message.body
    return data + f"\n--{boundary}--\n".encode()


def _charset(header: bytes) -> str:
    """Return the parameter without which a reader shows no letter beyond ASCII."""
    if header.isascii():
        return ""
    try:
        header.decode()
    except UnicodeDecodeError:
        return "; charset=unknown-8bit"
    return "; charset=utf-8"


def _text(action: str, failures: Sequence[Failure], message: Returned, host: str) -> list[str]:
    import textwrap  # noqa: PLC0415 -- start-up

    first, second = _OPENINGS[action]
    lines = [f"This is the mail system at host {host}.", "", first]
    if second:
        lines.append(second.format("header" if message.body is None else "whole text"))
    if action == DELAYED and message.expires:
        lines.append(f"It is given up on {date(message.expires)}.")
    lines += ["", "For help, write to postmaster.", ""]
    for failure in failures:
        known = cure(failure.reply or failure.words) if action in (FAILED, DELAYED) else ""
        if known:
            lines += [*textwrap.wrap(known, 76), ""]
        lines += [
            _plain(f"<{address.quote(failure.recipient)}>{_expanded(failure)}: {failure.words}"),
            "",
        ]
    return lines


def _is_global(failures: Sequence[Failure], message: Returned) -> bool:
    """Say whether the part for programs has addresses beyond ASCII (RFC 6533)."""
    return not message.sender.isascii() or any(failure.foreign for failure in failures)


def _kind(failures: Sequence[Failure], message: Returned) -> str:
    """Return the header of the part for programs."""
    if _is_global(failures, message):
        return (
            "Content-Type: message/global-delivery-status; charset=utf-8\n"
            "Content-Transfer-Encoding: 8bit\n"
        )
    return "Content-Type: message/delivery-status\n"


def _expanded(failure: Failure) -> str:
    if address.fold(failure.original) == address.fold(failure.recipient):
        return ""
    return f" (expanded from <{address.quote(failure.original)}>)"


def _status(action: str, failures: Sequence[Failure], message: Returned, host: str) -> str:
    """Return the fields of RFC 3464, per message and then per recipient."""
    lines = [f"Reporting-MTA: dns; {host}"]
    if message.envid:
        lines.append(f"Original-Envelope-Id: {_plain(message.envid)}")
    lines += [
        f"X-Pymail-Queue-ID: {message.qid}",
        f"X-Pymail-Sender: {_address(message.sender)}",
        f"Arrival-Date: {date(message.arrived)}",
    ]
    for failure in failures:
        lines += ["", f"Final-Recipient: {_address(failure.recipient)}"]
        original = failure.orcpt or _address(failure.original).replace("; ", ";", 1)
        lines.append(f"Original-Recipient: {_plain(original)}")
        lines.append(f"Action: {action}")
        lines.append(f"Status: {failure.dsn}")
        if failure.relay:
            lines.append(f"Remote-MTA: dns; {_plain(failure.relay.partition('[')[0])}")
        if failure.reply:
            lines.append(f"Diagnostic-Code: smtp; {_plain(failure.reply)}")
        else:
            lines.append(f"Diagnostic-Code: x-pymail; {_plain(failure.words)}")
        if failure.tried:
            lines.append(f"Last-Attempt-Date: {date(failure.tried)}")
        if action == DELAYED and message.expires:
            lines.append(f"Will-Retry-Until: {date(message.expires)}")
    text = "\n".join(lines) + "\n"
    # RFC 3464 2.1: a message/delivery-status is ASCII, whatever a server says.
    return text if _is_global(failures, message) else text.encode("ascii", "replace").decode()


def _address(text: str) -> str:
    spelled = address.quote(text) if text else ""
    return f"{'rfc822' if text.isascii() else 'utf-8'}; {_plain(spelled)}"


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
