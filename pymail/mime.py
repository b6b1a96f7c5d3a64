"""The parts of a message (RFC 2045, 2046), of any bytes.  Pure.

What nests too deep, or has too many parts, ends in parts that are taken as they are: a message
is always read in a time that grows with its length.
"""

import binascii
from collections.abc import Iterator
from dataclasses import dataclass, field

from pymail import legible, message, parameters
from pymail.message import Field

DEPTH = 30
MOST_PARTS = 1000

_HEADER = 1 << 16
"""Bytes of a part's header."""

_PARAMETERS = 4096
"""Bytes of a Content- field that are looked at."""


@dataclass(frozen=True, slots=True)
class Part:
    """A message or a part of one.

    number    the place among the others: "1", "2.1"; "" for a whole that has parts
    kind      the content type in lower case, such as "text/plain"
    charset   as declared, "" for none
    name      the file name that the sender chose, "" for none: hostile
    attached  whether it is to be kept apart from the text
    """

    number: str
    kind: str
    fields: list[Field]
    body: bytes
    charset: str = ""
    name: str = ""
    attached: bool = False
    encoding: str = ""
    children: tuple["Part", ...] = ()

    @property
    def content(self) -> bytes:
        """The bytes that the part stands for."""
        if self.encoding == "base64":
            return legible.base64(self.body)
        if self.encoding == "quoted-printable":
            return binascii.a2b_qp(self.body)
        return self.body

    def text(self, local: str = "") -> str:
        """Return the text that the part stands for."""
        return legible.text(self.content, self.charset, local)

    def leaves(self) -> Iterator["Part"]:
        """Yield the parts that have no parts."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the fields of a part say of it."""

    type: str
    charset: str
    boundary: bytes
    name: str
    attached: bool
    encoding: str


@dataclass(slots=True)
class _Reader:
    """Goes through a message once for each level of nesting; places are offsets in it."""

    data: bytes
    parts: int = field(default=0)

    def entity(self, start: int, end: int, number: str, default: str, depth: int) -> Part:
        """Return the part between two places, of type `default` where it has none."""
        self.parts += 1
        # A header is far shorter than what follows it: no copy of the whole at each level.
        stop = self.data.find(b"\n\n", start, end)
        limit = message.HEADER_LIMIT if depth == 0 else _HEADER
        stop = min(end if stop < 0 else stop + 2, start + limit)
        if self.data[start : start + 1] == b"\n":
            stop = start + 1  # no header at all
        fields, length = message.split(self.data[start:stop])
        body = min(start + length, end)
        kind = _kind(fields, default)
        children: list[Part] = []
        if depth < DEPTH and self.parts < MOST_PARTS:
            if kind.type.startswith("multipart/") and kind.boundary:
                children = self._multipart(body, end, number, kind, depth)
            elif kind.type == "message/rfc822" and kind.encoding in {"", "7bit", "8bit", "binary"}:
                inner = f"{number}.1" if number else "1"
                children = [self.entity(body, end, inner, "text/plain", depth + 1)]
        broken = kind.type.startswith("multipart/") and not children
        return Part(
            number or ("" if children else "1"),
            "text/plain" if broken else kind.type,
            fields,
            b"" if children else self.data[body:end],
            kind.charset,
            kind.name,
            kind.attached,
            kind.encoding,
            tuple(children),
        )

    def _multipart(self, start: int, end: int, number: str, kind: _Kind, depth: int) -> list[Part]:
        default = "message/rfc822" if kind.type == "multipart/digest" else "text/plain"
        found: list[Part] = []
        for at, stop in self._between(start, end, kind.boundary):
            if self.parts >= MOST_PARTS:
                break
            name = f"{number}.{len(found) + 1}" if number else f"{len(found) + 1}"
            found.append(self.entity(at, stop, name, default, depth + 1))
        return found

    def _between(self, start: int, end: int, boundary: bytes) -> Iterator[tuple[int, int]]:
        """Yield where each part begins and ends; the last may lack its closing delimiter."""
        sign = b"\n--" + boundary
        at = self.data.find(sign, max(start - 1, 0), end)
        begun = -1
        while at >= 0:
            stop = self.data.find(b"\n", at + 1, end)
            stop = end if stop < 0 else stop
            rest = self.data[at + len(sign) : stop].strip(b" \t\r")
            if rest in (b"", b"--"):
                if begun >= 0:
                    yield begun, max(begun, at)
                begun = -1 if rest else min(stop + 1, end)
            if rest == b"--":
                return
            at = self.data.find(sign, stop, end)
        if begun >= 0:
            yield begun, end


def parse(data: bytes) -> Part:
    """Return the parts of a message."""
    data = data.replace(b"\r\n", b"\n")
    return _Reader(data).entity(0, len(data), "", "text/plain", 0)


def _kind(fields: list[Field], default: str) -> _Kind:
    values = {f.name: f.value for f in reversed(fields)}
    given, of_type = _field(values.get(b"content-type", b""))
    disposition, of_disposition = _field(values.get(b"content-disposition", b""))
    known = given if given.count("/") == 1 and given.isascii() else default
    main = known.partition("/")[0]
    return _Kind(
        known,
        of_type.get("charset", ""),
        of_type.get("boundary", "").encode("utf-8", "replace")[:200].rstrip(),
        legible.encoded_words(of_disposition.get("filename") or of_type.get("name", "")),
        disposition == "attachment" or main not in {"text", "multipart", "message"},
        values.get(b"content-transfer-encoding", b"").strip().lower().decode("ascii", "replace"),
    )


def _field(value: bytes) -> tuple[str, dict[str, str]]:
    """Return what a Content- field says, in lower case, and its parameters."""
    text = legible.text(b" ".join(value[:_PARAMETERS].split()))
    return text.partition(";")[0].strip().lower(), parameters.parse(text)
