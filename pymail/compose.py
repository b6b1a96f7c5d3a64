"""Build a message in MIME from what a person gave: fields, a text, files.

A label is never wrong: the character set is the one the bytes are in, the transfer encoding the
one they have.  What the caller set (Content-Type, ...) replaces ours.
"""

import base64
import binascii
import contextlib
import mimetypes
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pymail import charset, recipients, words
from pymail.errors import DataError, TooBigError
from pymail.recipients import Mailbox

_LINE = 998
"""RFC 5322 2.1.1: at most this long is a line, without its end."""

_ADDRESSES = frozenset(
    {
        "from",
        "sender",
        "reply-to",
        "errors-to",
        "disposition-notification-to",
        "return-receipt-to",
        "mail-followup-to",
        "mail-reply-to",
    }
)
_ONCE = frozenset({*_ADDRESSES, "date", "message-id", "subject", "in-reply-to", "references"})
_PACKED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


class Attachment(NamedTuple):
    """A file that goes with a message: the name that the reader sees, and its bytes."""

    name: str
    data: bytes


@dataclass(slots=True)
class Draft:
    """A message that is being written.

    fields  what the user set besides the recipients, as (name, value); a value may have folds
    body    as typed, in whatever character set
    """

    to: list[Mailbox] = field(default_factory=list)
    cc: list[Mailbox] = field(default_factory=list)
    bcc: list[Mailbox] = field(default_factory=list)
    subject: str = ""
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    attachments: list[Attachment] = field(default_factory=list)

    def set(self, name: str, value: str) -> None:
        """Add a field, in the place of one that there may be only once."""
        key = name.lower()
        if key in _ONCE or _is_mime(key):
            self.fields = [(n, v) for n, v in self.fields if n.lower() != key]
        if key == "subject":
            self.subject = words.one_line(value)
        else:
            self.fields.append((name, value))

    def recipients(self) -> list[str]:
        """Return the addresses of the envelope, each once."""
        return [box.address for box in recipients.unique([*self.to, *self.cc, *self.bcc])]


def message(draft: Draft, local: str, token: str) -> bytes:
    """Return the message, LF line ends, without Bcc, Date, Message-ID and (unless set) From.

    `local` is the codec of the locale; `token` is a word for the boundary between parts.
    """
    mime = [(n, v) for n, v in draft.fields if _is_mime(n.lower())]
    fields, text = _part(draft.body, mime, local)
    head = list(_head(draft))
    if not any(n.lower() == "mime-version" for n, _ in draft.fields):
        head.append("MIME-Version: 1.0")
    if not draft.attachments:
        return _bytes([*head, *fields]) + b"\n" + text
    parts = [_bytes(fields) + b"\n" + text, *(_attached(a, local) for a in draft.attachments)]
    while any(token.encode() in data for data in parts):
        token += "_"
    head += [f'Content-Type: multipart/mixed; boundary="{token}"']
    head += ["Content-Transfer-Encoding: " + _eight_or_seven(b"".join(parts))]
    line = b"--" + token.encode()
    pieces = [b"%s\n%s\n" % (line, data) for data in parts]
    return _bytes(head) + b"\n" + b"".join(pieces) + line + b"--\n"


def saved(draft: Draft, data: bytes) -> bytes:
    """Return the message `data` of a draft with its Bcc, so that `mail -t` can send it again."""
    if not draft.bcc:
        return data
    return _bytes([_list("Bcc", draft.bcc)]) + data


def attachment(path: str, local: str, limit: int) -> Attachment:
    """Read a file that is to be attached.  Raise what contents() raises."""
    data = contents(path, limit)
    name = charset.argument(os.path.basename(path.rstrip("/")), local)
    return Attachment("".join(c if c.isprintable() else "_" for c in name), data)


def contents(path: str, limit: int) -> bytes:
    """Read a file, a device or a FIFO.  Raise OSError, or what read() raises."""
    with open(path, "rb") as file:
        return read(file.fileno(), path, limit)


def read(fd: int, name: str, limit: int) -> bytes:
    """Read a descriptor to its end.  Raise OSError, and TooBigError where there is no end.

    That is said once there is more than a message of `limit` bytes can have; 0 is no limit.
    """
    data = bytearray()
    while chunk := os.read(fd, 1 << 20):
        data += chunk
        # A CR LF of a text becomes an LF: what is not twice the limit may still fit.
        if 0 < 2 * limit < len(data):
            raise too_big(name, limit)
    return bytes(data)


def too_big(name: str, limit: int) -> TooBigError:
    """Return what is said of a message, or of a file for it, that is over the limit."""
    return TooBigError(f"cannot send {name}: too big, over {limit} bytes (message_size_limit)")


def _is_mime(key: str) -> bool:
    return key == "mime-version" or key.startswith("content-")


def _head(draft: Draft) -> Iterator[str]:
    """Return the fields that are not about the body, in a customary order."""
    for name, value in draft.fields:
        if name.lower() == "from":
            yield _field(name, value)
    if draft.to:
        yield _list("To", draft.to)
    if draft.cc:
        yield _list("Cc", draft.cc)
    if draft.subject:
        yield words.unstructured("Subject", draft.subject)
    for name, value in draft.fields:
        key = name.lower()
        if key != "from" and not key.startswith("content-"):
            yield _field(name, value)


def _bytes(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _list(name: str, boxes: Sequence[Mailbox]) -> str:
    text = ", ".join(box.text for box in boxes)
    return words.fold(name, text.split(" "))


def _field(name: str, value: str) -> str:
    """Return a field as the user set it, made ASCII, and folded where it must be."""
    if value.isascii() and all(len(line) < _LINE - len(name) for line in value.split("\n")):
        return f"{name}: {value.strip(' ')}" if value.strip() else f"{name}:"
    value = words.one_line(value)
    boxes: list[Mailbox] = []
    if name.lower() in _ADDRESSES:
        with contextlib.suppress(DataError):  # no address: then it is text
            boxes = recipients.parse(value)
    return _list(name, boxes) if boxes else words.unstructured(name, value)


def _part(data: bytes, given: Sequence[tuple[str, str]], local: str) -> tuple[list[str], bytes]:
    """Return the fields that describe a text, and the text in the encoding that they name.

    `given` are the fields about it that the user set.  A body whose transfer encoding the user
    named has that encoding already.
    """
    names = {name.lower(): name for name, _ in given}
    values = {name.lower(): value for name, value in given}
    kind = values.get("content-type", "").strip() or "text/plain"
    main = kind.partition(";")[0].rstrip().lower()
    if main.startswith("text/") and "charset" not in kind.lower():
        label = charset.label(data, local)
        if label != "us-ascii" or "content-type" not in names:
            kind = f"{kind}; charset={label}"
    fields = [_field(names.get("content-type", "Content-Type"), kind)]
    fields += [
        _field(name, value)
        for name, value in given
        if name.lower() not in {"content-type", "mime-version"}
    ]
    text = data.replace(b"\r\n", b"\n")
    text += b"" if text.endswith(b"\n") or not text else b"\n"
    if "content-transfer-encoding" in names:
        return fields, text
    if main.startswith(("multipart/", "message/")):
        # RFC 2045 6.4: these may not be encoded, only what is in them.
        encoding = _eight_or_seven(text)
    elif main.startswith("text/"):
        encoding = _text_encoding(text)
        text = _quoted(text) if encoding == "quoted-printable" else text
    else:
        encoding, text = "base64", base64.encodebytes(data)
    return [*fields, f"Content-Transfer-Encoding: {encoding}"], text


def _attached(attachment: Attachment, local: str) -> bytes:
    """Return an attachment as a part; its bytes arrive as they were, to the last one."""
    kind, packed = mimetypes.guess_type(attachment.name, strict=False)
    if packed:
        kind = _PACKED.get(packed, "application/octet-stream")
    data = attachment.data
    lines = _text_encoding(data)
    texty = lines != "quoted-printable" and (data.isascii() or _is_utf8(data))
    kind = kind or ("text/plain" if texty else "application/octet-stream")
    if kind.startswith("message/") and not texty:
        kind = "application/octet-stream"
    if kind.startswith("text/"):
        kind += f"; charset={charset.label(data, local)}"
    as_is = kind.startswith(("text/", "message/")) and lines != "quoted-printable"
    fields = [
        f"Content-Type: {kind}",
        "Content-Disposition: attachment;\n " + words.parameter("filename", attachment.name),
        f"Content-Transfer-Encoding: {lines if as_is else 'base64'}",
    ]
    return _bytes(fields) + b"\n" + (data if as_is else base64.encodebytes(data))


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _text_encoding(text: bytes) -> str:
    """Return the lightest encoding under which nothing on the way alters a text."""
    if b"\0" in text or b"\r" in text or max(map(len, text.split(b"\n"))) > _LINE:
        return "quoted-printable"
    return _eight_or_seven(text)


def _eight_or_seven(data: bytes) -> str:
    return "7bit" if data.isascii() else "8bit"


def _quoted(text: bytes) -> bytes:
    # Line by line: b2a_qp treats a CR inside a text as half a line end.
    lines = [binascii.b2a_qp(line, istext=False) for line in text.split(b"\n")]
    return b"\n".join(lines)
