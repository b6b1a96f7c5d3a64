"""What keeps mail from moving, and the command that mends it.

A remedy is pasted into root's shell: names in it are quoted, and where a user decides what a path
leads to, it is done as that user.
"""

import os
import pwd
import shlex
from typing import NamedTuple


class Fault(NamedTuple):
    """Something that is wrong: `fatal` if mail does not move, or is lost, because of it."""

    text: str
    remedy: str
    fatal: bool = False

    def __str__(self) -> str:
        return f"{self.text}: {self.remedy}"


def login(uid: int) -> str:
    """Return the login name of a user, or what to call one who is not in the passwd database."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def as_user(uid: int, command: list[str]) -> str:
    """Return a command for a path that a user can have lead elsewhere: that user's, not root's."""
    if uid == os.geteuid():
        return shlex.join(command)
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid} has to do: {shlex.join(command)}"
    return shlex.join(["runuser", "-u", name, "--", *command])
