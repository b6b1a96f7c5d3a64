"""receive: the other end of /run/pymail/submit, for one message of whoever has called.

systemd starts it as root, with the connection as standard input.  It becomes the caller before
it reads a word of his, and is sendmail from then on.
"""

import os
import pwd

from pymail import errors, paths
from pymail.cli import sendmail
from pymail.errors import MailError, UsageError
from pymail.inlet import Caller
from pymail.spool import Spool


def _main() -> int:
    caller = Caller()
    _become(caller.uid, caller.gid)
    try:
        caller.answer(errors.EX_OK, _received(caller))
    except MailError as error:
        caller.answer(error.status, errors.printable(str(error)))
        return error.status
    finally:
        caller.close()
    return errors.EX_OK


def _received(caller: Caller) -> str:
    """Take the message; return its id."""
    name, args = caller.command()
    request = sendmail.parse(args)
    if request.mode != "m":
        raise UsageError(f"-b{request.mode} is nothing for {paths.INLET}")
    request.full_name = name
    if request.sender is None:
        request.sender = _login(caller.uid)
    return sendmail.submit(request, Spool(paths.SYSTEM_SPOOL), caller.read)


def _login(uid: int) -> str | None:
    """Return a user's name: that of systemd's DynamicUser= is gone when its service is."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def _become(uid: int, gid: int) -> None:
    """Be that user for good, with no group but the caller's own one.  PermissionError."""
    os.environ.clear()
    os.umask(0o077)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid,) * 3:
        raise PermissionError(1, f"cannot become uid {uid}")


def main() -> int:
    """Run receive; return its exit status."""
    return errors.run("receive", _main)
