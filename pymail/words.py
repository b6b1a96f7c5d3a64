"""Text of any language in header fields: RFC 2047 encoded words, RFC 2231 parameters, folding."""

import base64

from pymail import address

_LINE = 76
"""RFC 2047 2: at most this long is a line with an encoded word."""
_WORD = 64
"""At most this long is one encoded word, so that it fits behind the name of its field."""
_ATOM = 900
"""A word of plain ASCII that is longer than this is encoded, since nobody may fold it."""
_SEGMENT = 50
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")


def one_line(text: str) -> str:
    """Return `text` without line ends and other control characters: blanks are in their place."""
    return "".join(" " if c < " " or "\x7f" <= c < "\xa0" else c for c in text).strip()


def unstructured(name: str, text: str) -> str:
    """Return the field `name` with free text, folded, in ASCII, without the final line end.

    What lies between the first and the last word that is not ASCII becomes encoded words.
    Encoded words that stand in `text` already stay.
    """
    words = one_line(text).split(" ")
    odd = [i for i, word in enumerate(words) if not word.isascii() or len(word) > _ATOM]
    if odd:
        first, last = odd[0], odd[-1] + 1
        words[first:last] = _encoded(" ".join(words[first:last]))
    return fold(name, words)


def phrase(name: str) -> str:
    """Return a display name as RFC 5322 wants it: a phrase, in ASCII."""
    name = one_line(name)
    return address.phrase(name) if name.isascii() else " ".join(_encoded(name))


def fold(name: str, words: list[str]) -> str:
    """Return the field with its words on lines of at most 76 characters, where blanks allow."""
    lines = [f"{name}:"]
    for at, word in enumerate(words):
        # Never before an empty word: a line of blanks alone ends the header somewhere.
        if at and word and len(lines[-1]) + 1 + len(word) > _LINE:
            lines.append("")
        lines[-1] += f" {word}"
    return "\n".join(lines).rstrip(" ")


def parameter(name: str, value: str) -> str:
    """Return a MIME parameter: quoted where it is short ASCII, else by RFC 2231, folded."""
    if value.isascii() and value.isprintable() and len(value) <= _SEGMENT:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'{name}="{escaped}"'
    segments = [""]
    for char in value:
        code = "".join(chr(b) if b in _PLAIN or b in b"._" else f"%{b:02X}" for b in char.encode())
        if len(segments[-1]) + len(code) > _SEGMENT:
            segments.append("")
        segments[-1] += code
    if len(segments) == 1:
        return f"{name}*=utf-8''{segments[0]}"
    segments[0] = f"utf-8''{segments[0]}"
    return ";\n ".join(f"{name}*{i}*={text}" for i, text in enumerate(segments))


def _encoded(text: str) -> list[str]:
    """Return `text` as encoded words, each of whole characters (RFC 2047 5)."""
    letters = [_q(char) for char in text]
    whole = text.encode()
    as_q = sum(map(len, letters)) <= (len(whole) + 2) // 3 * 4
    room = _WORD - len("=?utf-8?q??=")
    words: list[str] = []
    part = ""
    for char in text:
        if part and _size(part + char, as_q=as_q) > room:
            words.append(_word(part, as_q=as_q))
            part = ""
        part += char
    return [*words, _word(part, as_q=as_q)]


def _size(text: str, *, as_q: bool) -> int:
    if as_q:
        return sum(len(_q(char)) for char in text)
    return (len(text.encode()) + 2) // 3 * 4


def _word(text: str, *, as_q: bool) -> str:
    if as_q:
        return f"=?utf-8?q?{''.join(map(_q, text))}?="
    return f"=?utf-8?b?{base64.b64encode(text.encode()).decode()}?="


def _q(char: str) -> str:
    if char == " ":
        return "_"
    return "".join(chr(b) if b in _PLAIN else f"={b:02X}" for b in char.encode())
