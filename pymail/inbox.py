"""The mailbox that is meant: a file that is named, or the inbox of a user."""

import os
import pwd
from collections.abc import Sequence

from pymail import paths, reader
from pymail.errors import InputError, NoUserError, PermError
from pymail.folder import Folder, open_folder


def candidates(user: str, own: str) -> list[str]:
    """Return where the mail of `user` may be ("" for the caller, who may have `own` in MAIL).

    Raise NoUserError.
    """
    home = paths.home(os.getuid())
    if user:
        try:
            home = pwd.getpwnam(user).pw_dir
        except KeyError:
            raise NoUserError(f"unknown user {user}") from None
    first = "" if user else own.removeprefix("maildir:")
    return [path for path in (first, f"{home}/{reader.home_mailbox()}") if path]


def first_with_mail(boxes: Sequence[str], *, named: bool) -> str:
    """Return the first mailbox that has a message, "" for none.

    Raise InputError where one cannot be looked into; that it is not there is only an error where
    it was `named`.
    """
    for path in boxes:
        try:
            if reader.has_mail(path):
                return path
        except OSError as error:
            if named or not isinstance(error, FileNotFoundError):
                raise InputError(f"cannot open {path}: {error.strerror}") from None
    return ""


def opened(path: str, owner: str = "") -> Folder:
    """Open a mailbox, which must belong to `owner` where one is named.  Raise MailError."""
    try:
        if owner and os.stat(path).st_uid != pwd.getpwnam(owner).pw_uid:
            # Whose links lead elsewhere must not have another's mail deleted.
            raise PermError(f"cannot open {path}: it does not belong to {owner}")
        return open_folder(path, paths.cache())
    except OSError as error:
        raise InputError(f"cannot open {path}: {error.strerror}") from None
