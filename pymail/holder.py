"""Whose a path is: who can decide what it leads to."""

import errno
import os
import pwd
import stat

from pymail.identity import Identity

_LINKS = 40
"""Symbolic links on one path, as many as the kernel follows."""

_NOGROUP = 65534


def holder(path: str) -> Identity | None:
    """Return the user who can put something else in the place of `path`, None where only root can.

    That is the owner of the first thing on the way that is not root's: a directory, a link, or
    the file itself.  What only members of a group may write to counts as its owner's.  Raise
    OSError where there is nothing.
    """
    at, ahead, links = "/", _steps(os.path.join(os.getcwd(), path)), 0
    while True:
        about = os.lstat(at)
        if about.st_uid:
            return _user(about.st_uid)
        if stat.S_ISLNK(about.st_mode):
            links += 1
            if links > _LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = os.readlink(at)
            ahead += _steps(target)
            at = "/" if target.startswith("/") else os.path.dirname(at)
        elif ahead:
            step = ahead.pop()
            at = os.path.dirname(at) if step == ".." else os.path.join(at, step)
        else:
            return None


def _steps(path: str) -> list[str]:
    """Return the names in a path, the last one first."""
    return [step for step in reversed(path.split("/")) if step not in {"", "."}]


def _user(uid: int) -> Identity:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Identity(f"uid{uid}", uid, _NOGROUP, "/", "")  # of a volume from elsewhere
    return Identity(entry.pw_name, uid, entry.pw_gid, entry.pw_dir, entry.pw_shell)
