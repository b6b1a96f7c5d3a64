"""The envelope of a message: who sent it, to whom, and what the sender wishes to hear of it.

As bytes it is a sequence of fields, each ended by a NUL: seven for the message, then three for
each recipient.  No address can hold a NUL, so nothing in a field can become another field.

    uid   sender   full name   body   RET   ENVID   kind   ( recipient   NOTIFY   ORCPT )*

"sender" and "full name" are empty when not given, else "=" and the value, so that the null
sender ("=") differs from the caller's own name (empty).
"""

from pymail.errors import DataError

_HEAD = 7
_UID = 10
"""Digits of a uid: int() raises an error for thousands."""


class Envelope:
    """RFC 5321 envelope with the DSN wishes of RFC 3461, as the caller gave it: unqualified.

    uid         who submitted it; the spool replaces it by the owner of the file
    sender      None for the submitting user's own name, "" for the null sender
    full_name   for a From that must be made: -F, else $NAME; None where neither was given
    body        "", "7BIT", "8BITMIME"; with "+UTF8" when SMTPUTF8 was asked for
    ret, envid  RFC 3461 RET ("", "HDRS", "FULL") and ENVID
    kind        "" from a user, "raw" from a gateway (-G: leave the header alone),
                "bounce" and "double-bounce" from ourselves
    recipients  addresses in internal form; notify and orcpt run beside it
    """

    __slots__ = (
        "body",
        "envid",
        "full_name",
        "kind",
        "notify",
        "orcpt",
        "recipients",
        "ret",
        "sender",
        "uid",
    )

    def __init__(  # noqa: PLR0913  (a record)
        self,
        uid: int,
        recipients: list[str],
        *,
        sender: str | None = None,
        full_name: str | None = None,
        body: str = "",
        ret: str = "",
        envid: str = "",
        kind: str = "",
        notify: list[str] | None = None,
        orcpt: list[str] | None = None,
    ) -> None:
        self.uid = uid
        self.recipients = recipients
        self.sender = sender
        self.full_name = full_name
        self.body = body
        self.ret = ret
        self.envid = envid
        self.kind = kind
        self.notify = notify if notify is not None else [""] * len(recipients)
        self.orcpt = orcpt if orcpt is not None else [""] * len(recipients)


def encode(envelope: Envelope) -> bytes:
    """Return the envelope as bytes.  Raise DataError where a field has a NUL or a line end."""
    fields = [
        str(envelope.uid),
        "" if envelope.sender is None else f"={envelope.sender}",
        "" if envelope.full_name is None else f"={envelope.full_name}",
        envelope.body,
        envelope.ret,
        envelope.envid,
        envelope.kind,
    ]
    for triple in zip(envelope.recipients, envelope.notify, envelope.orcpt, strict=True):
        fields += triple
    data = "\0".join(fields).encode("utf-8", "surrogateescape") + b"\0"
    if data.count(b"\0") != len(fields) or b"\n" in data or b"\r" in data:
        raise DataError("cannot queue message: an address has a control character")
    return data


def decode(data: bytes, count: int) -> Envelope:
    """Return the envelope of `count` recipients.  Raise DataError where `data` is not one."""
    fields = data.decode("utf-8", "surrogateescape").split("\0")
    # What encode() would have refused was written by nobody who means well.
    broken = b"\n" in data or b"\r" in data or len(fields[0]) > _UID or not fields[0].isdecimal()
    if broken or len(fields) != _HEAD + 3 * count + 1 or fields[-1]:
        raise DataError("damaged envelope")
    uid, sender, full_name, body, ret, envid, kind = fields[:_HEAD]
    return Envelope(
        int(uid),
        fields[_HEAD:-1:3],
        sender=sender[1:] if sender else None,
        full_name=full_name[1:] if full_name else None,
        body=body,
        ret=ret,
        envid=envid,
        kind=kind,
        notify=fields[_HEAD + 1 :: 3],
        orcpt=fields[_HEAD + 2 :: 3],
    )
