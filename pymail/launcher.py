"""The programs as they are installed: isolated, and with nothing loaded that they do not need.

-I: neither the current directory nor the environment may name code that root runs.  -S: site
costs a third of a submission.  What pymail needs is beside it.
"""

import os
import sys

from pymail.errors import ConfigError, printable

MARK = "by pymail setup"
"""Stands in each file that is ours to remove."""

PROGRAMS = ("sendmail", "mailq", "newaliases", "mail", "mailx", "flush", "pymail")
_LONGEST = 126
_UNFIT = frozenset("\"'`$\\\n")
_FACES = {"mailx": "mail", "pymail": "admin"}


def text(program: str) -> str:
    """Return the script that is this program of this installation.  ConfigError."""
    beside = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    # Where packages are in several places, only site knows all of them.
    found = os.path.isdir(f"{beside}/dns") and os.path.isdir(f"{beside}/click")
    return script(program, sys.executable, f"-I{'S' if found else ''}", beside)


def script(program: str, python: str, flags: str, place: str) -> str:
    """Return the script that is a program: `python` runs it, pymail lies in `place`.

    Raise ConfigError where neither the kernel nor a shell could be told what to run.
    """
    lines = (
        *_start(python, flags),
        f"# {program} of pymail, written {MARK}.",
        "import sys",
        "",
        f"sys.path.append({place!r})",
        f"from pymail.cli.{_FACES.get(program, program)} import main",
        "from pymail.errors import leave",
        "",
        "leave(main())",
    )
    return "".join(f"{line}\n" for line in lines)


def _start(python: str, flags: str) -> list[str]:
    """Return the first lines: the kernel takes no blank in the path, and no long line."""
    if not _UNFIT.isdisjoint(python):
        words = "a quote, dollar, backslash or line end in its path"
        raise ConfigError(f"cannot start {printable(python)}: {words}; use another Python")
    first = f"#!{python} {flags}"
    if len(first) <= _LONGEST and len(python.split()) == 1:
        return [first]
    # For Python, what is for the shell is a string.
    return ["#!/bin/sh", f'\'\'\'exec\' "{python}" {flags} "$0" "$@"', "' '''"]
