"""Postfix's master.cf (master(5)): programs that deliver, and what is set for them alone.  Pure.

service type private unprivileged chroot wakeup maxproc program arguments
  -o name=value
  -o { name = value }
"""

import re
from typing import NamedTuple

from pymail.importer.maincf import logical

_FIELDS = 7
"""Before the program and its arguments."""

_OPTION = re.compile(r"(?:\A|\s)-o\s*(?:\{\s*([\w-]+)\s*=\s*([^{}]*?)\s*\}|([\w-]+)=(\S*))")


class Service(NamedTuple):
    """A program of Postfix's, and the settings that hold for it alone."""

    program: str
    options: dict[str, str]


def services(text: str) -> dict[str, Service]:
    """Return what delivers, by name: services on the network are none."""
    found: dict[str, Service] = {}
    for _, line in logical(text):
        words = " ".join(line.split("\n")).split(maxsplit=_FIELDS)
        if len(words) > _FIELDS and words[1] == "unix":
            program, _, arguments = words[_FIELDS].partition(" ")
            options = {
                braced or plain: inside or value
                for braced, inside, plain, value in _OPTION.findall(arguments)
            }
            found[words[0]] = Service(program, options)
    return found
