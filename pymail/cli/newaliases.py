"""newaliases: check the aliases files, and index the large ones.

Silent when all is well.  Anybody may run it; whoever may not write to the spool only checks.
"""

import gc
import os
import sys

from pymail import __version__, config, errors, paths
from pymail.aliascheck import Examined
from pymail.aliasindex import settle
from pymail.errors import UsageError

USAGE = """\
usage: newaliases [file ...]
       newaliases --help | --version
"""


def main() -> int:
    """Run the program."""
    return errors.run("newaliases", _main)


def _main() -> int:
    gc.disable()  # a large file makes many objects and no garbage: a third of the time
    named = _operands(sys.argv[1:])
    if named is None:
        return errors.EX_OK
    spool = paths.spool()
    status = errors.EX_OK
    if not named:
        settings = config.here(spool)
        named = list(settings.alias_maps)
        if settings.source("alias_maps") == "default":
            # Without aliases there is nothing to check; package scripts call us all the same.
            named = [file for file in named if os.path.lexists(file)]
    for file in named:
        status = _one(file, spool) or status
    return status


def _operands(args: list[str]) -> list[str] | None:
    """Return the files that are named; None if help was all that was wanted."""
    operands: list[str] = []
    for at, word in enumerate(args):
        if word == "--":
            return operands + args[at + 1 :]
        if word in ("-h", "--help"):
            sys.stdout.write(USAGE)
            return None
        if word in ("-V", "--version"):
            sys.stdout.write(f"pymail {__version__}\n")
            return None
        if word.startswith("-oA") and word != "-oA":  # as sendmail -bi has it
            operands.append(word[3:])
        elif word.startswith("-") and word != "-v":
            raise UsageError(f"option {word} not supported")
        elif word != "-v":
            operands.append(word)
    return operands


def _one(file: str, spool: str) -> int:
    """Check one file, tell its mistakes, index it; return the exit status for it."""
    try:
        settle(os.stat(file))
    except OSError as error:
        errors.complain("newaliases", f"cannot read {file}: {error.strerror}")
        return errors.EX_NOINPUT
    examined = Examined(os.path.abspath(file))
    for mistake in examined.mistakes:
        errors.complain("newaliases", str(mistake))
    if examined.status is not None and _is_ours(spool):
        examined.index(spool)
    fatal = any(mistake.fatal for mistake in examined.mistakes)
    return errors.EX_DATAERR if fatal else errors.EX_OK


def _is_ours(spool: str) -> bool:
    """Say whether the spool is there and we are the one that delivers from it."""
    try:
        return os.stat(spool).st_uid == os.geteuid() and os.access(spool, os.W_OK)
    except OSError:
        return False
