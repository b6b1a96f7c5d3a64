"""How many columns of a terminal text takes: East Asian characters and emoji two, marks none.

Pure.  The text has no control characters.
"""

import unicodedata
from itertools import accumulate

_JOINED = range(0x1160, 0x1200)
"""Vowels and finals of Hangul, which join the letter before them."""


def width(text: str) -> int:
    """Return the number of columns."""
    return len(text) if text.isascii() else sum(map(_width, text))


def cut(text: str, columns: int) -> str:
    """Return what of a text fits; no character is halved, and none loses its marks."""
    if text.isascii():
        return text[:columns]
    fits = sum(1 for total in accumulate(map(_width, text)) if total <= columns)
    return text[:fits]


def left(text: str, columns: int) -> str:
    """Return a text at the left of so many columns, cut where it is longer."""
    text = cut(text, columns)
    return text + " " * (columns - width(text))


def right(text: str, columns: int) -> str:
    """Return a text at the right of so many columns, whole where it is longer."""
    return " " * (columns - width(text)) + text


def _width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me") or ord(char) in _JOINED:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
