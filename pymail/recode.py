"""What must change in a message for a server that takes only ASCII, or no long lines.  Pure.

Each part of a MIME message (RFC 2045, 2046) that cannot go as it is becomes quoted-printable, as
in Postfix, or base64 where it is no text; what decodes it gets the same bytes.  Multiparts and
messages (RFC 2046 5.2) must not be encoded, only what is in them.  What has no encoding (a
preamble, a header, message/partial) stays; long lines that are left are for data.folded().

A signature over a part that changes is lost; so it is when a line is cut, and the content too.
"""

import base64
import re
from binascii import b2a_qp
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pymail import idn, message, words
from pymail.message import Field

DEPTH = 100
MOST_PARTS = 10_000

_boundary = re.compile(
    rb'(?:^|[;\s])boundary\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))', re.IGNORECASE
)
_high = re.compile(rb"[\x80-\xff]")
_qp_pieces = re.compile(rb"(?:=[0-9A-Fa-f]{2}|.){1,25}", re.DOTALL).findall
_WORD = r'"(?:[^"\\]|\\.)*"|[^\s"<>(),;:]+'
_parts = re.compile(_WORD).findall
_phrases = re.compile(rf"(?:(?:{_WORD})\s*)+").sub
_parameters = re.compile(r';\s*([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))').sub
_addresses = re.compile(r"([\x21-\x7e]+@)([^\s@]+)").sub
_unfolded = re.compile(r"\r?\n(?=[ \t])").sub
_STRUCTURED = frozenset(
    f"{prefix}{name}".encode()
    for prefix in ("", "resent-")
    for name in ("from", "sender", "reply-to", "to", "cc", "bcc")
) | {b"mail-followup-to", b"mail-reply-to", b"errors-to", b"disposition-notification-to"}
_IDENTITY = frozenset((b"", b"7bit", b"8bit", b"binary"))
_BINARY = frozenset((b"application", b"audio", b"font", b"image", b"model", b"video"))
_LINE = 76


def recode(text: bytes, *, eightbit: bool, limit: int) -> bytes:
    """Return a message (LF line ends) fit for a server.

    `eightbit` says whether it takes bytes beyond ASCII, `limit` how many bytes of a line.
    """
    return _Recoder(text, eightbit=eightbit, limit=limit).message()


def ascii_header(text: bytes) -> bytes:
    """Return a message whose header has only ASCII where it was in UTF-8 (RFC 2047, RFC 2231).

    For servers without SMTPUTF8: a Subject of cron's in Russian is to arrive.  What has no form
    in ASCII (an address), or is in another character set that nobody knows, stays.
    """
    fields, at = message.split(text)
    if not fields:
        return text
    return message.join(map(_ascii_field, fields)) + text[at - 1 if text[at - 1] == 10 else at :]


def _ascii_field(field: Field) -> Field:
    if field.raw.isascii():
        return field
    try:
        title, _, value = field.raw.decode().partition(":")
    except UnicodeDecodeError:
        return field
    if field.name in _STRUCTURED:
        written = f"{title}: {_phrases(_spoken, ' '.join(value.split()))}"
    elif field.name.startswith(b"content-"):
        written = f"{title}:{_parameters(_parameter, value)}"
    else:
        written = words.unstructured(title, _unfolded("", value))
    return Field(field.name, written.encode("utf-8"))


def _parameter(found: re.Match[str]) -> str:
    """Return a parameter of a MIME field in ASCII."""
    if found[0].isascii():
        return found[0]
    value = found[3] if found[2] is None else re.sub(r"\\(.)", r"\1", found[2])
    return f";\n {words.parameter(found[1], value)}"


def _spoken(found: re.Match[str]) -> str:
    """Return a run of words and quoted strings as encoded words, where they are not ASCII.

    Of an address, the domain has a form in ASCII.
    """
    run = found[0]
    if run.isascii():
        return run
    if "@" in run:
        return _addresses(lambda each: f"{each[1]}{idn.to_ascii(each[2]) or each[2]}", run)
    parts = [re.sub(r"\\(.)", r"\1", p[1:-1]) if p[0] == '"' else p for p in _parts(run)]
    blank = " " if run.endswith(" ") else ""
    return words.phrase(" ".join(parts)) + blank


class _Kind(NamedTuple):
    """What a part says of itself."""

    main: bytes
    sub: bytes
    boundary: bytes
    encoding: bytes
    typed: bool


class _Part(NamedTuple):
    """A message or a part: its header from `start`, its body from `body` to `end`."""

    fields: list[Field]
    start: int
    body: int
    end: int
    long_head: bool
    odd_head: bool


class _Ahead:
    """The next place of some kind.  Asked for from left to right, no byte is looked at twice."""

    def __init__(self, find: Callable[[int], int]) -> None:
        self._find = find
        self._at = -1

    def within(self, start: int, end: int) -> bool:
        """Say whether there is one between `start` and `end`."""
        if self._at < start:
            self._at = self._find(start)
        return self._at < end


class _Recoder:
    """Goes once through a message; all places are offsets, since parts nest and may be large."""

    def __init__(self, data: bytes, *, eightbit: bool, limit: int) -> None:
        self._data = data
        self._seven = not eightbit
        self._limit = limit
        self._parts = 0
        self._out: list[bytes] = []
        ascii_only = eightbit or data.isascii()
        self._eight = _Ahead(self._without if ascii_only else self._next_eight)
        self._long = _Ahead(self._next_long)

    def message(self) -> bytes:
        """Return the whole message as it can go."""
        self._entity(0, len(self._data), 0, b"text/plain", whole=True)
        return b"".join(self._out)

    def _entity(
        self, start: int, end: int, depth: int, default: bytes, *, whole: bool = False
    ) -> None:
        """Write a part, of type `default` where it has none, or a `whole` message."""
        self._parts += 1
        if depth > DEPTH or self._parts > MOST_PARTS or not self._is_unfit(start, end):
            self._copy(start, end)
            return
        part = self._part(start, end)
        kind = _kind(part.fields, default)
        if kind.main == b"multipart" and kind.boundary:
            self._head(part, self._label(kind))
            self._multipart(part, kind, depth)
        elif (kind.main, kind.sub) == (b"message", b"rfc822") and kind.encoding in _IDENTITY:
            self._head(part, self._label(kind))
            self._entity(part.body, end, depth + 1, b"text/plain", whole=True)
        elif _is_encodable(kind) and self._is_unfit(part.body, end):
            self._leaf(part, kind, whole=whole)
        else:
            self._head(part, {})
            self._copy(part.body, end)

    def _multipart(self, whole: _Part, kind: _Kind, depth: int) -> None:
        """Write the body of a multipart with each of its parts fit to be sent."""
        default = b"message/rfc822" if kind.sub == b"digest" else b"text/plain"
        at, end, inside = whole.body, whole.end, False
        for line, after, closing in self._delimiters(at, end, kind.boundary):
            cut = max(at, line - 1)  # the line end before it belongs to the delimiter
            if inside:
                self._entity(at, cut, depth + 1, default)
            else:
                self._copy(at, cut)
            self._copy(cut, after)
            at, inside = after, not closing
        if inside:  # it was never closed
            self._entity(at, end, depth + 1, default)
        else:
            self._copy(at, end)

    def _delimiters(self, start: int, end: int, boundary: bytes) -> Iterator[tuple[int, int, bool]]:
        """Yield where each delimiter is, what follows it, and whether it is the closing one."""
        data, sign = self._data, b"\n--" + boundary
        at = data.find(sign, start - 1, end)
        while at >= 0 and self._parts <= MOST_PARTS:
            self._parts += 1  # also what only looks like one costs its time
            stop = data.find(b"\n", at + 1, end)
            stop = end if stop < 0 else stop
            rest = data[at + len(sign) : stop].rstrip(b" \t\r")
            if rest in (b"", b"--"):
                yield at + 1, min(stop + 1, end), rest == b"--"
            if rest == b"--":
                return
            at = data.find(sign, stop, end)

    def _leaf(self, part: _Part, kind: _Kind, *, whole: bool) -> None:
        """Write a part that has no parts, encoded."""
        text = self._data[part.body : part.end]
        new: dict[bytes, bytes] = {}
        if kind.encoding == b"quoted-printable":
            text = _mended_qp(text)
        elif kind.encoding == b"base64":
            text = _wrapped(text)
        elif kind.encoding in _IDENTITY:
            if whole and not message.values(part.fields, b"mime-version"):
                new[b"MIME-Version"] = b"1.0"
            if not kind.typed and not text.isascii():
                new[b"Content-Type"] = b"text/plain; charset=" + _charset(text)
            as_base64 = kind.main in _BINARY
            new[b"Content-Transfer-Encoding"] = b"base64" if as_base64 else b"quoted-printable"
            text = _base64(text) if as_base64 else _qp(text)
        self._head(part, new)
        self._out.append(text)

    def _head(self, part: _Part, new: dict[bytes, bytes]) -> None:
        """Write a header, its empty line included, in which the fields `new` have these values."""
        if not (new or part.long_head or part.odd_head):
            self._copy(part.start, part.body)
            return
        names = {name.lower() for name in new}
        kept = [field for field in part.fields if field.name not in names]
        if part.odd_head:
            kept = [_ascii_field(field) for field in kept]
        lines = [_folded(field.raw, self._limit) for field in kept]
        lines += [name + b": " + value for name, value in new.items()]
        self._out += [b"\n".join(lines), b"\n\n" if lines else b"\n"]

    def _label(self, kind: _Kind) -> dict[bytes, bytes]:
        """Return what is to be said of parts that are no longer 8-bit, if they were called so."""
        if self._seven and kind.encoding in (b"8bit", b"binary"):
            return {b"Content-Transfer-Encoding": b"7bit"}
        return {}

    def _part(self, start: int, end: int) -> _Part:
        head = self._data[start : min(end, start + 2 * message.HEADER_LIMIT)]
        if head.lstrip(b">").startswith(b"From "):
            # no header, and no mbox either
            return _Part([], start, start, end, long_head=False, odd_head=False)
        fields, length = message.split(head)
        body = start + length
        odd, long = self._eight.within(start, body), self._long.within(start, body)
        return _Part(fields, start, body, end, long_head=long, odd_head=odd)

    def _is_unfit(self, start: int, end: int) -> bool:
        return self._eight.within(start, end) or self._long.within(start, end)

    def _without(self, _start: int) -> int:
        return len(self._data)

    def _next_eight(self, start: int) -> int:
        found = _high.search(self._data, start)
        return found.start() if found else len(self._data)

    def _next_long(self, start: int) -> int:
        data, last = self._data, len(self._data) - self._limit
        while start < last:
            end = data.rfind(b"\n", start, start + self._limit + 1)
            if end < 0:
                return start
            start = end + 1
        return len(data)

    def _copy(self, start: int, end: int) -> None:
        self._out.append(self._data[start:end])


def _is_encodable(kind: _Kind) -> bool:
    """Say whether a body of this kind may be encoded (RFC 2046 5.2, RFC 6532 3.7)."""
    return kind.main not in (b"multipart", b"message") or kind.sub.startswith(b"global")


def _qp(text: bytes) -> bytes:
    """Return a text as quoted-printable; its line ends stay line ends."""
    return b"\n".join([b2a_qp(line, istext=False) for line in text.split(b"\n")])


def _base64(data: bytes) -> bytes:
    """Return bytes as base64: the very bytes that were given, LF and not CRLF."""
    lines = base64.encodebytes(data)
    return lines if data.endswith(b"\n") else lines.removesuffix(b"\n")


def _mended_qp(text: bytes) -> bytes:
    """Return quoted-printable that is only ASCII, in short lines, and decodes to the same."""
    text = _high.sub(lambda found: b"=%02X" % found[0][0], text)
    lines = (_qp_pieces(line) if len(line) > _LINE else [line] for line in text.split(b"\n"))
    return b"\n".join([b"=\n".join(line) for line in lines])


def _wrapped(text: bytes) -> bytes:
    """Return base64 in short lines."""
    lines = text.split(b"\n")
    return b"\n".join([line[i : i + _LINE] for line in lines for i in _steps(line)])


def _steps(line: bytes) -> range:
    return range(0, max(len(line), 1), _LINE)


def _folded(raw: bytes, limit: int) -> bytes:
    """Return a field with its long lines folded at blanks, as far as there are any."""
    if len(raw) <= limit:
        return raw
    lines = []
    for whole in raw.split(b"\n"):
        line = whole
        while len(line) > limit:
            cut = max(line.rfind(b" ", 1, limit + 1), line.rfind(b"\t", 1, limit + 1))
            if cut < 0 or not line[:cut].strip() or not line[cut:].strip():
                break
            lines.append(line[:cut])
            line = line[cut:]
        lines.append(line)
    return b"\n".join(lines)


def _charset(body: bytes) -> bytes:
    try:
        body.decode()
    except UnicodeDecodeError:
        return b"unknown-8bit"
    return b"utf-8"


def _kind(fields: list[Field], default: bytes) -> _Kind:
    types = message.values(fields, b"content-type")
    value = types[0].replace(b"\n", b" ").strip() if types else default
    main, _, rest = value.partition(b"/")
    sub = rest.partition(b";")[0].strip()
    found = _boundary.search(value)
    boundary = (found[1] or found[2] or b"") if found else b""
    boundary = re.sub(rb"\\(.)", rb"\1", boundary).rstrip()
    encodings = message.values(fields, b"content-transfer-encoding")
    encoding = encodings[0].partition(b"(")[0].strip().lower() if encodings else b""
    return _Kind(main.strip().lower(), sub.lower(), boundary, encoding, bool(types))
