"""A user's .forward: where it may be, whether it can be trusted, and whom it names.

It has one or more members a line, as in the right side of an alias, and # comments.  It is read
by a process that has become the user; this file only decides.
"""

import os
import re
import stat
from collections.abc import Iterable, Mapping

from pymail.members import Item, parse_lines

LIMIT = 64 << 10
"""Bytes that a .forward may have."""

_name = re.compile(r"\$(?:\{(\w+)\}|\((\w+)\)|(\w+))")


def parse(text: str, home: str = "~") -> list[Item]:
    """Return the members; none means that the mail goes to the mailbox as without the file.

    With `home`, a path in the user's home (~/file) is returned whole.
    """
    return [
        Item("file", home + item.value[1:])
        if item.value[:2] == "~/" and item.kind == "file"
        else item
        for item in parse_lines(text)
    ]


def paths(forward_path: Iterable[str], values: Mapping[str, str]) -> list[str]:
    """Return the files to look for, in order, each one once.

    `values` has home, user, extension, recipient_delimiter and so on.  A path that names an
    extension is left out for a recipient without one.
    """
    found: dict[str, None] = {}
    for path in forward_path:
        names = {match[1] or match[2] or match[3] for match in _name.finditer(path)}
        if "extension" in names and not values.get("extension"):
            continue
        # An extension is the sender's word: it must not lead out of the home.
        if "extension" in names and ("/" in values["extension"] or "\0" in values["extension"]):
            continue
        found[_name.sub(lambda m: values.get(m[1] or m[2] or m[3], ""), path)] = None
    return list(found)


def unsafe(status: os.stat_result, uid: int, private: int = -1) -> str:
    """Say why a .forward of this status is not obeyed for the user `uid`, or return "".

    `private` is the group that has no member but the user, if there is one: Debian gives each
    user such a group, and files that it may write to.
    """
    if not stat.S_ISREG(status.st_mode):
        return "not a file"
    if status.st_uid not in {0, uid}:
        return f"its owner is uid {status.st_uid}"
    if status.st_size > LIMIT:
        return f"larger than {LIMIT} bytes"
    return _written_by_others(status, private)


def unsafe_home(status: os.stat_result, uid: int, private: int = -1) -> str:
    """Say why the files in a home directory of this status cannot be trusted, or return ""."""
    if status.st_uid not in {0, uid}:
        return f"the home's owner is uid {status.st_uid}"
    why = _written_by_others(status, private)
    return f"the home: {why}" if why else ""


def _written_by_others(status: os.stat_result, private: int) -> str:
    if status.st_mode & stat.S_IWOTH:
        return "anybody can write to it"
    if status.st_mode & stat.S_IWGRP and status.st_gid != private:
        return f"the group {status.st_gid} can write to it"
    return ""
