"""Who calls mail, and what their start-up files and the command line set."""

import os
import pwd
from collections.abc import Mapping
from typing import NamedTuple

from pymail import charset, errors, mailrc, paths, words
from pymail.mailargs import Options
from pymail.mailrc import Mailrc

_DEFAULTS = {"ask": "", "dot": "", "header": "", "save": ""}


class Caller(NamedTuple):
    """Who calls, and what their start-up files say.

    local  the codec of the locale, or of `ttycharset`
    """

    name: str
    mailrc: Mailrc
    local: str

    def text(self, argument: str) -> str:
        """Return what an argument of the command line says, in one line."""
        return words.one_line(charset.argument(argument, self.local))

    def value(self, *names: str) -> str:
        """Return the first variable of mail that is set."""
        return next((v for n in names if (v := self.mailrc.variables.get(n))), "")

    def path(self, name: str, default: str) -> str:
        """Return a path from a variable of mail or of the environment."""
        return self.mailrc.path(name, os.environ, default)


def start(options: Options) -> Caller:
    """Read the start-up files, and what the command line sets on top of them."""
    uid = os.getuid()
    local = charset.of_locale(_environment())
    settings = Mailrc(
        home=paths.home(uid),
        terminal=os.isatty(0),
        sends=options.sends,
        local=local,
        variables=dict(_DEFAULTS),
    )
    trouble = mailrc.start(settings, os.environ, system=not options.no_system)
    if trouble:
        errors.complain("mail", trouble)
    for text in options.settings:
        settings.assign(charset.argument(text, local))
    for text in options.commands:
        settings.obey(charset.argument(text, local))
    # apticron passes -S ttycharset=utf-8; others the set that their text is in.
    local = charset.codec(settings.variables.get("ttycharset", "")) or local
    return Caller(_login(uid), settings, local)


def _environment() -> Mapping[str, str]:
    """Return the environment that the caller gave.

    Where its locale is not installed, Python puts LC_CTYPE=C.UTF-8 into os.environ (PEP 538).
    """
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = os.fsdecode(file.read()).split("\0")
    except OSError:  # no /proc
        return os.environ
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def _login(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
