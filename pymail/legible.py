"""Text out of mail: with a right label, a wrong one or none, and safe to be shown.

What a message says of its character set is a hint.  Where the bytes cannot be in it, or the label
is one that programs give without knowing, the bytes decide: UTF-8 where they are that, else the
locale's set, else KOI8-R or windows-1251 where they look like words in Cyrillic, else Latin-1.
"""

import binascii
import codecs
import re

from pymail import charset
from pymail.errors import printable

_HEADER = 1 << 14
"""Bytes of a field that are decoded."""

_LOOKED_AT = 1 << 16
"""Bytes of a text from which its character set is guessed."""

_WORD = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?([^?]{0,4096})\?=")
_WORDS = re.compile(rb"[\xa3\xa8\xb3\xb8\xc0-\xff]{2,}")
_COMMON = "оеаинтсрвл"
_ESCAPED = re.compile(rb"=([0-9A-Fa-f]{2})")

# Codecs that Python has and mail has not; some of them take a time that grows squared.
_NO_CHARSET = frozenset(("idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape"))
_WEAK = frozenset(("", "ascii", "iso8859-1", "cp1252"))
"""Labels that are given without looking."""

_BLANKS = (0x09, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000)
_INVISIBLE = (0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF)
_TABLE: dict[int, str | None] = {
    **dict.fromkeys(_BLANKS, " "),
    **dict.fromkeys(_INVISIBLE, None),
}


def line(text: str) -> str:
    """Return `text` as one line that cannot steer a terminal.

    Blanks of every kind become blanks, what is invisible goes, the rest that is not printable
    becomes "?".
    """
    return printable(text if text.isascii() else text.translate(_TABLE))


def lines(text: str) -> list[str]:
    """Return the lines of a text, each safe as of line(), tabs expanded."""
    rows = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    return [line(row.expandtabs().rstrip()) for row in rows]


def text(data: bytes, label: str = "", local: str = "") -> str:
    """Return what `data` says; `label` is the declared character set, `local` the locale's codec.

    Never fails, whatever the bytes and the label.
    """
    name = _codec(label)
    if name not in _WEAK:
        try:
            return data.decode(name)
        except (UnicodeError, ValueError):
            pass  # the label is wrong, or a character is damaged: the guess below knows better
    if data.isascii():
        return data.decode("ascii")
    found = _guess(data, local)
    if found:
        return data.decode(found, "replace")
    if name and name not in _WEAK:
        try:
            return data.decode(name, "replace")
        except (UnicodeError, ValueError):
            pass  # a codec of the language that has no "replace"
    return charset.decode(data, local)


def field(value: bytes, label: str = "", local: str = "") -> str:
    """Return a header field as text in one line: encoded words (RFC 2047), and raw 8-bit text.

    `label` is the character set of the body, which raw text in the header mostly shares.
    """
    flat = text(b" ".join(value[:_HEADER].split()), label, local)
    return encoded_words(flat, local)


def encoded_words(flat: str, local: str = "") -> str:
    """Return `flat` with its encoded words decoded.

    Words of one character set that follow each other are put together before they are decoded:
    many programs cut a character in two.
    """
    out: list[str] = []
    pending, name, at = b"", "", 0
    for found in _WORD.finditer(flat):
        content = _content(found[2], found[3])
        if found[3] and not content:
            continue  # base64 that is none
        between = flat[at : found.start()]
        label = found[1].partition("*")[0].lower()
        if pending and (between.strip() or label != name):
            out.append(text(pending, name, local))
            pending = b""
        if between.strip() or not at:
            out.append(between)
        pending, name, at = pending + content, label, found.end()
    if pending:
        out.append(text(pending, name, local))
    return "".join([*out, flat[at:]])


def base64(data: bytes) -> bytes:
    """Return what a base64 text encodes, as much of it as is there."""
    try:
        return binascii.a2b_base64(data)
    except binascii.Error:
        letters = re.sub(rb"[^A-Za-z0-9+/]", b"", data)
        letters = letters[: len(letters) - (len(letters) % 4 == 1)]
        return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4))


def _content(kind: str, encoded: str) -> bytes:
    data = encoded.encode("utf-8", "replace")
    if kind in "bB":
        return base64(data)
    return _ESCAPED.sub(lambda m: bytes([int(m[1], 16)]), data.replace(b"_", b" "))


def _codec(label: str) -> str:
    """Return Python's name of a character set of mail, "" for none."""
    name = ""
    try:
        name = codecs.lookup(label.strip("\"' ").lower()).name
        b"xxxx".decode(name)  # some codecs, such as quopri, are none of text
    except UnicodeDecodeError:
        return name  # a codec of text, for which these are no characters
    except (LookupError, ValueError):
        return ""
    return "" if name in _NO_CHARSET else name


def _guess(data: bytes, local: str) -> str:
    """Return the codec that `data` looks like, "" where nothing speaks for any."""
    start = data[:_LOOKED_AT]
    for name in ("utf-8", local):
        if name and _decodes(data, name):
            return name
    words = b" ".join(_WORDS.findall(start))
    high = sum(1 for byte in start if byte > 0x7F)
    if len(words) > 2 and len(words) * 10 > high * 7 and not _damaged_utf8(start, high):
        return max(("koi8-r", "cp1251"), key=lambda name: _likelihood(words.decode(name)))
    return ""


def _decodes(data: bytes, name: str) -> bool:
    try:
        data.decode(name)
    except UnicodeError:
        return False
    return True


def _damaged_utf8(data: bytes, high: int) -> bool:
    """Say whether most of what is not ASCII is UTF-8: a text that was cut somewhere."""
    bad = sum(1 for c in data.decode("utf-8", "surrogateescape") if "\udc80" <= c <= "\udcff")
    return bad * 2 < high


def _likelihood(text: str) -> int:
    """Return how much `text` looks like Russian: words cased as people do, frequent letters."""
    words = text.split()
    cased = sum(len(w) for w in words if w.islower() or w[1:].islower() or w.isupper())
    return cased + 2 * sum(text.lower().count(letter) for letter in _COMMON)
