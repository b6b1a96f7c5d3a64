"""How IMAP writes strings, names of folders and sets of messages.  Pure."""

import base64
import re
from collections.abc import Iterator, Sequence

_SET = 1000
"""Bytes of a set of messages in one command: servers take lines of 8,000, some fewer."""


def quoted(text: str) -> str:
    """Return a text as a quoted string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def folder(name: str) -> str:
    """Return the name of a folder as a quoted string (RFC 3501 5.1.3)."""

    def shifted(match: re.Match[str]) -> str:
        text = base64.b64encode(match[0].encode("utf-16-be"), b"+,")
        return "&" + text.decode().rstrip("=") + "-"

    return quoted(re.sub(r"[^\x20-\x7e]+", shifted, name.replace("&", "&-")))


def whole(uids: Sequence[int]) -> str:
    """Return a set of UIDs: 1:3,7."""
    return ",".join(_ranges(uids))


def sets(uids: Sequence[int]) -> Iterator[str]:
    """Yield sets of UIDs, each short enough for a command."""
    part = ""
    for each in _ranges(uids):
        if part and len(part) + len(each) >= _SET:
            yield part
            part = ""
        part += f",{each}" if part else each
    if part:
        yield part


def _ranges(uids: Sequence[int]) -> list[str]:
    ranges: list[list[int]] = []
    for uid in uids:
        if ranges and uid == ranges[-1][1] + 1:
            ranges[-1][1] = uid
        else:
            ranges.append([uid, uid])
    return [f"{a}:{b}" if a < b else str(a) for a, b in ranges]
