"""Replies of SMTP and LMTP servers: from lines to an outcome.  Pure.

250-first line          a reply is one or more lines of one code, the last with a blank
250 2.1.5 last line     behind it; the text may begin with a status of RFC 3463

Servers break that rule, and have taken the message all the same.  As in Postfix, the code of the
last line counts, whatever lines are before it, and a line that is too long is cut.
"""

import functools
import re
from collections.abc import Sequence
from typing import NamedTuple

from pymail.errors import printable
from pymail.outcome import Outcome, bounced, deferred, sent

MOST_LINE = 4096
"""Bytes that are kept of one line; RFC 5321 4.5.3.1.5 allows 512."""

MOST_LINES = 200
"""Lines that are kept in front of the last."""

MOST_WORDS = 1000

_first = re.compile(rb"\d{3}(?:[ \t-]|\Z)").match
_last = re.compile(rb"\d{3}(?:[ \t]|\Z)").match
_LINE = re.compile(rb"(?:\d{3}(?:[ \t-]|\Z))?(.*)", re.DOTALL)
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


def begins(line: bytes) -> bool:
    """Say whether a line (without its end) has a code, as all lines of a reply should."""
    return bool(_first(line))


def is_last(line: bytes) -> bool:
    """Say whether a line (without its end) is the last of a reply: a code, and no "-" behind it."""
    return bool(_last(line))


def parse(lines: Sequence[bytes]) -> Reply:
    """Return the reply that `lines` make up, the last of which is one.

    Raise ProtocolError where its code has no meaning.
    """
    code = lines[-1][:3].decode()
    if code[0] not in "2345":
        raise ProtocolError(f"not a reply: {printable(lines[-1][:80].decode('utf-8', 'replace'))}")
    found = [match for match in map(_LINE.fullmatch, lines) if match]
    said = [match[1].decode("utf-8", "replace") for match in found]
    status = _STATUS.match(said[-1])
    dsn = status[0].strip() if status and status[1] == code[0] else ""
    texts = tuple(printable(text.removeprefix(dsn).strip()) for text in said)
    words = " ".join(word for word in (code, dsn, *texts) if word)[:MOST_WORDS]
    return Reply(int(code), dsn or f"{code[0]}.0.0", texts, words)


@functools.lru_cache(maxsize=128)
def single(line: bytes) -> Reply | None:
    """Return the reply that one line makes up, None where it is not the last of one.

    Most replies have been heard before.
    """
    return parse([line]) if is_last(line) else None
