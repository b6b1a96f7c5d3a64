"""A queue file: its name, which is the id of the message, and what it looks like.

It is written once; only the marks and the end change afterwards.

    64 bytes    "pymail1", number of recipients, length of envelope, length of message, CRC-32,
                arrival in microseconds; all but the CRC itself under the CRC
    marks       one flag, attempts (two hexadecimal digits), one state a recipient, LF;
                overwritten in place
    envelope    see envelope.py                                             under the CRC
    message     as the caller gave it, LF line ends                         under the CRC
    tail        appended, one line an outcome: seconds, recipient, status, DSN, target, words
    mtime       the next attempt

draft.py writes it, entry.py reads what stands before and after the message, active.py changes it.
What is told here by its first 64 bytes is all that the pick-up wants to know of one.
"""

import os

from pymail.errors import DataError

MAGIC = b"pymail1 "
FIXED = 64
MARKS = 4
"""Bytes of the marks besides the states: flag, attempts, attempts, LF."""

TODO = b"t"
ATTEMPTED = b"a"  # in doubt: it may have been delivered
DELIVERED = b"d"
REPORTED = b"r"  # failed, and the sender was told
CANCELLED = b"c"
HELD = b"h"
STATES = b"tadrch"
OPEN = b"tah"
"""States in which the recipient still waits for something."""

NEW, SEEN, WARNED = b"-", b"s", b"w"
"""The flag: logged as arrived; the sender was told of the delay."""

NEVER = 0x7FFFFFFF
"""The mtime of a message that is held: the latest that every file system can keep."""

MOST_RECIPIENTS = 100000
ENVELOPE_LIMIT = 1 << 22
"""Bytes; a larger envelope is no message of ours but an attempt to fill our memory."""

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TIME, _RANDOM = 9, 7
"""Digits to the base 62: microseconds until 2398, and 40 random bits."""


def make_id(microseconds: int, random: bytes, uid: int) -> str:
    """Return a queue id: time, 40 random bits, uid.  Ids sort by arrival."""
    noise = int.from_bytes(random[:5], "big")
    return _base62(microseconds, _TIME) + _base62(noise, _RANDOM) + _base62(uid, 1)


def is_id(name: str) -> bool:
    """Say whether `name` has the form of a queue id."""
    tail = name[_TIME + _RANDOM :]
    if not (1 <= len(tail) <= 6 and name.isascii() and name.isalnum()):
        return False
    return tail == "0" or tail[0] != "0"


def uid_of(qid: str) -> int:
    """Return the uid that a queue id carries."""
    return _number(qid[_TIME + _RANDOM :])


def time_of(qid: str) -> int:
    """Return the arrival that a queue id carries, in seconds."""
    return _number(qid[:_TIME]) // 1000000


def head_length(fixed: bytes) -> int:
    """Return how many bytes come before the message, from the first 64 of the file."""
    try:
        count, length = int(fixed[8:14], 16), int(fixed[15:23], 16)
    except ValueError:
        raise DataError("damaged queue file") from None
    if not 0 < count <= MOST_RECIPIENTS or not 0 < length <= ENVELOPE_LIMIT:
        raise DataError("damaged queue file")
    return FIXED + MARKS + count + length


def whole(fixed: bytes) -> int:
    """Return where the message ends, from the first 64 bytes of the file.  Raise DataError."""
    if len(fixed) < FIXED:
        raise DataError("damaged queue file")
    try:
        size = int(fixed[24:36], 16)
    except ValueError:
        raise DataError("damaged queue file") from None
    return head_length(fixed) + max(size, 0)


def read_at(fd: int, size: int, offset: int) -> bytes:
    """Return `size` bytes at `offset`, fewer only where the file ends: a read may fall short."""
    data = os.pread(fd, size, offset)
    while 0 < len(data) < size and (more := os.pread(fd, size - len(data), offset + len(data))):
        data += more
    return data


def _base62(number: int, width: int) -> str:
    digits = ""
    while number or len(digits) < width:
        number, digit = divmod(number, 62)
        digits = _DIGITS[digit] + digits
    return digits


def _number(digits: str) -> int:
    number = 0
    for digit in digits:
        number = number * 62 + _DIGITS.index(digit)
    return number
