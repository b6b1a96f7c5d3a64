"""The mailbox that is meant: a file that is named, or the inbox of a user.

Root looks into the mailbox of somebody else with their rights only: they can have put a link to
anything into it, at any time.
"""

import contextlib
import os
import pwd
from collections.abc import Sequence

from pymail import child, identity, paths, reader
from pymail.errors import InputError, NoUserError, PermError
from pymail.folder import Folder, open_folder
from pymail.holder import holder
from pymail.identity import Identity


def candidates(user: str, own: str) -> list[str]:
    """Return where the mail of `user` may be ("" for the caller, who may have `own` in MAIL).

    What MAIL names goes before the inbox of the configuration, where somebody chose it.  Debian's
    login sets it for everybody, to where another mail server put the mail.  Raise NoUserError.
    """
    home = paths.home(os.getuid())
    if user:
        try:
            home = pwd.getpwnam(user).pw_dir
        except KeyError:
            raise NoUserError(f"unknown user {user}") from None
    boxes = [f"{home}/{reader.home_mailbox()}"]
    named = "" if user else own.removeprefix("maildir:")
    if named and os.path.realpath(named) != os.path.realpath(boxes[0]):
        boxes.insert(len(boxes) if _set_by_login(named) else 0, named)
    return boxes


def _set_by_login(path: str) -> bool:
    """Say whether MAIL names what it does for everybody who logs in."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return False
    return os.path.normpath(path) in {f"/var/mail/{name}", f"/var/spool/mail/{name}"}


def has_mail(path: str, owner: str = "") -> bool:
    """Say whether there is any message.  Raise OSError where that cannot be known."""
    user = _other(path, owner)
    if user is None:
        return reader.has_mail(path)
    place = os.path.join(os.getcwd(), path)
    found, *code = child.ask(user, lambda: _looked(place))
    if code:
        raise OSError(int(code[0]), f"{os.strerror(int(code[0]))} (as {user.name})")
    return bool(found)


def first_with_mail(boxes: Sequence[str], owner: str = "", *, named: bool) -> str:
    """Return the first mailbox that has a message, "" for none.

    Raise InputError where one cannot be looked into; that it is not there is only an error where
    it was `named`.
    """
    for path in boxes:
        try:
            if has_mail(path, owner):
                return path
        except OSError as error:
            if named or not isinstance(error, FileNotFoundError):
                raise InputError(f"cannot open {path}: {error.strerror}") from None
    return ""


def another(boxes: Sequence[str], found: str, owner: str = "") -> str:
    """Return a mailbox besides `found` that has a message too, "" where none is known."""
    for path in boxes:
        with contextlib.suppress(OSError):
            if path != found and has_mail(path, owner):
                return path
    return ""


def opened(path: str, owner: str = "") -> Folder:
    """Open a mailbox, which must belong to `owner` where one is named.  Raise MailError."""
    try:
        user = _other(path, owner)
        if user is None:
            return _open(path, owner, paths.cache())
        from pymail.folder.entrusted import Entrusted  # noqa: PLC0415 -- for root alone

        # What is in a user's cache is only their word.
        return Entrusted(path, user, lambda place: _open(place, owner, ""))
    except OSError as error:
        raise InputError(f"cannot open {path}: {error.strerror}") from None


def _other(path: str, owner: str) -> Identity | None:
    """Return the user whose rights root must take, None where the caller's own are right."""
    if os.getuid() != 0:
        return None
    user = identity.lookup(owner) if owner else None
    return user if user and user.uid else holder(path)


def _looked(path: str) -> list[str]:
    """Return whether there is mail, as a word or "", and the number of an error."""
    try:
        return ["mail" if reader.has_mail(path) else ""]
    except OSError as error:
        return ["", str(error.errno)]


def _open(path: str, owner: str, cache: str) -> Folder:
    if owner and os.stat(path).st_uid != pwd.getpwnam(owner).pw_uid:
        # Whose links lead elsewhere must not have another's mail deleted.
        raise PermError(f"cannot open {path}: it does not belong to {owner}")
    return open_folder(path, cache)
