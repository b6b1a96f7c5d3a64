"""The name and the full name of whoever sent a message."""

import pwd
from typing import NamedTuple


class User(NamedTuple):
    """Login name and full name ("" where there is none)."""

    name: str
    full_name: str


def user_of(uid: int) -> User:
    """Return the user with that uid; a uid without an entry is called by its number."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return User(f"uid{uid}", "")
    return User(entry.pw_name, full_name(entry.pw_gecos, entry.pw_name))


def full_name(gecos: str, login: str) -> str:
    """Return the full name in a GECOS field: up to the first comma, "&" is the login name."""
    return gecos.partition(",")[0].replace("&", login[:1].upper() + login[1:]).strip()
