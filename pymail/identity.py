"""A user of this machine, whose rights a delivery is done with."""

import pwd
from typing import NamedTuple


class Identity(NamedTuple):
    """A user of this machine, whose rights a delivery is done with."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


def lookup(name: str) -> Identity | None:
    """Return the user of that name from the passwd database."""
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):  # ValueError: a NUL in the name
        return None
    return Identity(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir, entry.pw_shell)
