"""What a server says that it can do, in its reply to EHLO (RFC 5321 4.1.1.1).  Pure."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from pymail.replies import Reply

_MOST_DIGITS = 18


class Offers(NamedTuple):
    """The extensions of SMTP that matter to us; without ESMTP there is none.

    sized  whether SIZE is understood; `size` is the largest message taken, 0 for no limit
    auth   the mechanisms of AUTH, in capitals, in the server's order
    """

    pipelining: bool = False
    eightbit: bool = False
    utf8: bool = False
    dsn: bool = False
    starttls: bool = False
    sized: bool = False
    size: int = 0
    auth: tuple[str, ...] = ()


def offers(hello: Reply, discard: Collection[str]) -> Offers:
    """Return what the reply to EHLO offers, but for the keywords in `discard`.

    "AUTH=LOGIN PLAIN" is how Exchange 5.5 and its contemporaries write it.
    """
    unwanted = {keyword.upper() for keyword in discard}
    found: dict[str, list[str]] = {}
    for text in hello.texts[1:]:
        keyword, *words = text.upper().split() or [""]
        if keyword.startswith("AUTH="):
            keyword, words = "AUTH", [keyword[len("AUTH=") :], *words]
        if keyword not in unwanted:
            found.setdefault(keyword, []).extend(words)
    return Offers(
        pipelining="PIPELINING" in found,
        eightbit="8BITMIME" in found,
        utf8="SMTPUTF8" in found,
        dsn="DSN" in found,
        starttls="STARTTLS" in found,
        sized="SIZE" in found,
        size=_number(found.get("SIZE", ())),
        auth=tuple(dict.fromkeys(found.get("AUTH", ()))),
    )


def _number(words: Sequence[str]) -> int:
    text = words[0] if words else ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS else 0
