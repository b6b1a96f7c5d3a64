"""What must change in a message for a server that takes only ASCII, or no long lines.  Pure.

Each part of a MIME message (RFC 2045, 2046) that cannot go as it is becomes quoted-printable, as
in Postfix; what decodes it gets the same bytes.  Parts that are encoded already, and lines
outside of parts, stay; long ones among them are for data.folded().  A multipart/signed is only
touched where a byte beyond ASCII leaves no choice: what is changed in it breaks the signature.
"""

import re
from binascii import b2a_qp
from dataclasses import dataclass

from pymail import message, words
from pymail.message import Field

DEPTH = 100
MOST_PARTS = 10_000

_boundary = re.compile(rb'boundary\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))', re.IGNORECASE)
_WORD = r'"(?:[^"\\]|\\.)*"|[^\s"<>(),;:]+'
_parts = re.compile(_WORD).findall
_phrases = re.compile(rf"(?:(?:{_WORD})\s*)+").sub
_STRUCTURED = frozenset(
    f"{prefix}{name}".encode()
    for prefix in ("", "resent-")
    for name in ("from", "sender", "reply-to", "to", "cc")
)
_IDENTITY = frozenset((b"", b"7bit", b"8bit", b"binary"))


def recode(text: bytes, *, eightbit: bool, limit: int) -> bytes:
    """Return a message (LF line ends) fit for a server.

    `eightbit` says whether it takes bytes beyond ASCII, `limit` how many bytes of a line.
    """
    return _Recoder(eightbit=eightbit, limit=limit).entity(text, 0)


def ascii_header(text: bytes) -> bytes:
    """Return a message whose header, in UTF-8, has only ASCII (RFC 2047).

    For servers without SMTPUTF8: a Subject of cron's in Russian is to arrive.  What has no form
    in ASCII (an address) stays.
    """
    fields, at = message.split(text)
    return message.join(map(_ascii_field, fields)) + text[at - 1 if text[at - 1] == 10 else at :]


def _ascii_field(field: Field) -> Field:
    if field.raw.isascii():
        return field
    title, _, value = field.raw.decode("utf-8", "replace").partition(":")
    flat = " ".join(value.split())
    if field.name in _STRUCTURED:
        written = f"{title}: {_phrases(_spoken, flat)}"
    elif field.name.startswith(b"content-"):
        return field
    else:
        written = words.unstructured(title, flat)
    return Field(field.name, written.encode("utf-8"))


def _spoken(found: re.Match[str]) -> str:
    """Return a run of words and quoted strings as encoded words, where they are not ASCII."""
    run = found[0]
    if run.isascii() or "@" in run:
        return run
    parts = [re.sub(r"\\(.)", r"\1", p[1:-1]) if p[0] == '"' else p for p in _parts(run)]
    blank = " " if run.endswith(" ") else ""
    return words.phrase(" ".join(parts)) + blank


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a part says of itself."""

    main: bytes
    sub: bytes
    boundary: bytes
    encoding: bytes
    typed: bool


class _Recoder:
    def __init__(self, *, eightbit: bool, limit: int) -> None:
        self._eightbit = eightbit
        self._limit = limit
        self._parts = 0

    def entity(self, data: bytes, depth: int) -> bytes:
        """Return a message or a part, encoded where it must be."""
        self._parts += 1
        if depth > DEPTH or self._parts > MOST_PARTS or not self._is_unfit(data):
            return data
        if data.lstrip(b">").startswith(b"From "):  # no header, and no mbox either
            fields, at = list[Field](), 0
        else:
            fields, at = message.split(data)
        head, body = data[:at], data[at:]
        kind = _kind(fields)
        if kind.main == b"multipart" and kind.boundary:
            if kind.sub == b"signed" and (self._eightbit or data.isascii()):
                return data
            return self._relabelled(fields, head) + self._parts_of(body, kind.boundary, depth)
        if (kind.main, kind.sub) == (b"message", b"rfc822") and kind.encoding in _IDENTITY:
            return self._relabelled(fields, head) + self.entity(body, depth + 1)
        if kind.encoding not in _IDENTITY or not self._is_unfit(body):
            return data
        return _encoded(fields, body, kind, top=depth == 0)

    def _is_unfit(self, data: bytes) -> bool:
        if not self._eightbit and not data.isascii():
            return True
        return any(len(line) > self._limit for line in data.split(b"\n"))

    def _parts_of(self, body: bytes, boundary: bytes, depth: int) -> bytes:
        """Return the body of a multipart with each of its parts fit to be sent."""
        out, part, inside = list[bytes](), list[bytes](), False
        opening, closing = b"--" + boundary, b"--" + boundary + b"--"
        for line in body.split(b"\n"):
            bare = line.rstrip(b" \t")
            if bare not in (opening, closing):
                part.append(line)
                continue
            if inside:
                out.append(self.entity(b"\n".join(part), depth + 1))
            else:
                out += part
            out.append(line)
            part, inside = [], bare == opening
        rest = b"\n".join(part)
        if part:  # the last part was never closed, or this is what follows it
            out.append(self.entity(rest, depth + 1) if inside else rest)
        return b"\n".join(out)

    def _relabelled(self, fields: list[Field], head: bytes) -> bytes:
        """Return the header of parts that are no longer 8-bit, if they were called so."""
        if self._eightbit or not message.values(fields, b"content-transfer-encoding"):
            return head
        return _with(fields, {b"content-transfer-encoding": b"7bit"})


def _encoded(fields: list[Field], body: bytes, kind: _Kind, *, top: bool) -> bytes:
    """Return a part as quoted-printable."""
    new = {b"content-transfer-encoding": b"quoted-printable"}
    if not kind.typed and not body.isascii():
        new[b"content-type"] = b"text/plain; charset=" + _charset(body)
    if top and not message.values(fields, b"mime-version"):
        new[b"mime-version"] = b"1.0"
    return _with(fields, new) + b2a_qp(body, quotetabs=False, istext=True)


def _with(fields: list[Field], new: dict[bytes, bytes]) -> bytes:
    """Return a header, its empty line included, in which the fields `new` have these values."""
    kept = [field.raw for field in fields if field.name not in new]
    added = [name.title() + b": " + value for name, value in new.items()]
    lines = b"".join(raw + b"\n" for raw in [*kept, *added]).replace(b"Mime-V", b"MIME-V")
    return lines + b"\n"


def _charset(body: bytes) -> bytes:
    try:
        body.decode()
    except UnicodeDecodeError:
        return b"unknown-8bit"
    return b"utf-8"


def _kind(fields: list[Field]) -> _Kind:
    types = message.values(fields, b"content-type")
    value = types[0].replace(b"\n", b" ").strip() if types else b"text/plain"
    main, _, rest = value.partition(b"/")
    sub = rest.partition(b";")[0].strip()
    found = _boundary.search(value)
    boundary = (found[1] or found[2] or b"") if found else b""
    boundary = re.sub(rb"\\(.)", rb"\1", boundary).rstrip()
    encodings = message.values(fields, b"content-transfer-encoding")
    encoding = encodings[0].partition(b"(")[0].strip().lower() if encodings else b""
    return _Kind(main.strip().lower(), sub.lower(), boundary, encoding, bool(types))
