"""Replies of SMTP and LMTP servers: from lines to an outcome.  Pure.

250-first line          a reply is one or more lines of one code, the last with a blank
250 2.1.5 last line     behind it; the text may begin with a status of RFC 3463
"""

import functools
import re
from collections.abc import Sequence
from typing import NamedTuple

from pymail.errors import printable
from pymail.outcome import Outcome, bounced, deferred, sent

MOST_LINE = 4096
"""Bytes of one line; RFC 5321 4.5.3.1.5 allows 512."""

MOST_LINES = 200
MOST_WORDS = 1000

_LINE = re.compile(rb"([2-5]\d\d)(?:([ -])(.*))?", re.DOTALL)
_STATUS = re.compile(r"([245])\.\d{1,3}\.\d{1,3}(?:\s+|$)")


class ProtocolError(Exception):
    """What the server says is no reply."""


class Reply(NamedTuple):
    """One reply: its code, its RFC 3463 status, its texts without either.

    `words` is the reply as one line, as Postfix shows it: "550 5.1.1 no such user".
    """

    code: int
    dsn: str
    texts: tuple[str, ...]
    words: str

    @property
    def good(self) -> bool:
        """Say whether the command was done."""
        return self.code < 300

    def outcome(self, host: str, command: str) -> Outcome:
        """Return what the reply to `command` means for a recipient."""
        if self.good:
            return sent(self.words, self.dsn)
        words = f"host {host} said: {self.words} (in reply to {command} command)"
        match self.code // 100:
            case 4:
                return deferred(self.dsn, words)
            case 5:
                return bounced(self.dsn, words)
            case _:  # 3xx where nothing more was to come
                return deferred("4.5.0", words)


def is_last(line: bytes) -> bool:
    """Say whether a line (without its end) is the last of a reply.

    Raise ProtocolError where it belongs to no reply.
    """
    found = _LINE.fullmatch(line)
    if not found:
        raise ProtocolError(f"not a reply: {printable(line[:80].decode('utf-8', 'replace'))}")
    return found[2] != b"-"


def parse(lines: Sequence[bytes]) -> Reply:
    """Return the reply that `lines` make up.  Raise ProtocolError where their codes differ."""
    found = [match for match in map(_LINE.fullmatch, lines) if match]
    code = found[-1][1].decode()
    if any(match[1] != found[-1][1] for match in found):
        raise ProtocolError(f"codes differ in one reply: {printable(repr(lines[:2]))}")
    said = [(match[3] or b"").decode("utf-8", "replace") for match in found]
    status = _STATUS.match(said[-1])
    dsn = status[0].strip() if status and status[1] == code[0] else ""
    texts = tuple(printable(text.removeprefix(dsn).strip()) for text in said)
    words = " ".join(word for word in (code, dsn, *texts) if word)[:MOST_WORDS]
    return Reply(int(code), dsn or f"{code[0]}.0.0", texts, words)


@functools.lru_cache(maxsize=128)
def single(line: bytes) -> Reply:
    """Return the reply that one line makes up; most replies have been heard before."""
    is_last(line)
    return parse([line])
