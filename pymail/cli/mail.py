"""mail, mailx: send a message that is typed or piped in; read mail."""

import contextlib
import os
import shlex
import sys

from pymail import __version__, errors, mailargs
from pymail.caller import Caller, start
from pymail.errors import InputError
from pymail.mailargs import Options

_NONE = 1
"""The exit status where there is no mail."""


def main() -> int:
    """Run mail; return its exit status."""
    return errors.run("mail", _main)


def _main() -> int:
    options = mailargs.parse(sys.argv[1:], lambda p: os.path.exists(p) and not os.path.isdir(p))
    if options.help:
        sys.stdout.write(mailargs.USAGE)
        return errors.EX_OK
    if options.version:
        sys.stdout.write(f"mail (pymail) {__version__}\n")
        return errors.EX_OK
    user = start(options)
    if options.sends:
        from pymail.sending import Sending  # noqa: PLC0415

        return Sending(options, user).send()
    return _look(options, user)


def _look(options: Options, user: Caller) -> int:
    """Say whether there is mail (-e), list it (-H), or read it."""
    from pymail import inbox  # noqa: PLC0415

    if options.exists:
        return errors.EX_OK if _exists(options, user) else _NONE
    boxes = _mailboxes(options, user)
    owner = options.user if options.user != user.name else ""
    found = inbox.first_with_mail(boxes, owner, named=options.file)
    if not found:
        what = f"in {boxes[0]}" if options.file else f"for {options.user or user.name}"
        errors.complain("mail", f"no mail {what}")
        return _NONE
    if options.headers_only or os.isatty(0):
        _tell_of_another(inbox.another(boxes, found, owner))
    if options.headers_only:
        return _list(found, owner)
    from pymail import reading  # noqa: PLC0415

    return reading.read(found, owner, user, options)


def _exists(options: Options, user: Caller) -> bool:
    """Say whether there is mail; what cannot be looked into has none."""
    from pymail import inbox  # noqa: PLC0415

    try:
        boxes = _mailboxes(options, user)
    except errors.NoUserError:
        return False
    for path in boxes:
        with contextlib.suppress(OSError):
            if inbox.has_mail(path, options.user):
                return True
    return False


def _tell_of_another(path: str) -> None:
    if path:
        errors.complain("mail", f"{path} has mail too: mail -f {shlex.quote(path)}")


def _list(path: str, owner: str) -> int:
    from pymail import inbox, scripted  # noqa: PLC0415

    width = 80
    with contextlib.suppress(OSError):  # no terminal
        width = os.get_terminal_size(1).columns or 80
    try:
        letters = inbox.opened(path, owner).letters()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    for number, letter in enumerate(letters, 1):
        sys.stdout.write(scripted.row(number, letter, width) + "\n")
    return errors.EX_OK


def _mailboxes(options: Options, user: Caller) -> list[str]:
    """Return where mail may be: the file of -f, or the inbox of a user."""
    from pymail import inbox  # noqa: PLC0415

    if options.file and options.operands:
        return [user.mailrc.expand(options.operands[0].removeprefix("maildir:"))]
    if options.file:
        return [user.path("MBOX", "~/mbox")]
    return inbox.candidates(options.user, user.path("MAIL", ""))
