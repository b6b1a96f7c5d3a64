"""A command that a message goes through: spamc, rspamc --mime, bogofilter -p, or a script.

It gets the message on standard input.  Status 0: what it printed is the message, or, where it
printed nothing, the message stays as it was.  Status 99: the message is to go no further.  With
any other end, or none in time, the message stays as it was, and a person is told: a filter that
fails never loses mail.
"""

import os
import re
import signal
import subprocess
import tempfile
from typing import NamedTuple

from pymail.errors import printable
from pymail.identity import Identity
from pymail.source import Text
from pymail.transport.command import PATH

TIME_LIMIT = 60
"""Seconds."""

MEMORY = 1 << 20
"""KiB of address space."""

STOP = 99
_ROOM = 1 << 20
_BLOCK = 512
_WORDS = 200
_BEGINNING = 1 << 10
_FIELD = re.compile(rb"[!-9;-~]{1,900}[ \t]*:")


class Filtered(NamedTuple):
    """What came of it: the message, None where it is to go no further, and what went wrong."""

    text: Text | None
    words: str = ""


def through(command: str, text: Text, user: Identity) -> Filtered:
    """Return what a command makes of a message; `text` is closed where there is another."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        try:
            status = _run(command, text, user, out.fileno(), errors.fileno())
        except OSError as error:
            return Filtered(text, f"cannot run filter: {error.strerror}")
        if status is None:
            return Filtered(text, f"filter took more than {TIME_LIMIT} s")
        if status == STOP:
            return Filtered(None)
        if status:
            errors.seek(0)
            said = printable(errors.read(_WORDS).decode("utf-8", "replace").strip())
            return Filtered(text, f"filter failed with status {status}: {said}")
        if out.seek(0, os.SEEK_END) == 0:
            return Filtered(text)
        out.seek(0)
        if not _FIELD.match(out.read(_BEGINNING)):
            return Filtered(text, "filter printed no header")
        out.seek(0)
        filtered = Text()
        try:
            while piece := out.read(_ROOM):
                filtered.write(piece)
        except OSError as error:
            filtered.close()
            return Filtered(text, f"cannot read from filter: {error.strerror}")
    text.close()
    return Filtered(filtered)


def _run(command: str, text: Text, user: Identity, out: int, errors: int) -> int | None:
    """Return the exit status, None where it did not end in time."""
    source = text.fileno()
    os.lseek(source, 0, os.SEEK_SET)
    blocks = (2 * text.size + _ROOM) // _BLOCK
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"ulimit -v {MEMORY}; ulimit -f {blocks}\n{command}"],
        stdin=source,
        stdout=out,
        stderr=errors,
        env={"PATH": PATH, "HOME": user.home, "USER": user.name, "LOGNAME": user.name},
        cwd="/",
        start_new_session=True,
    )
    try:
        return process.wait(TIME_LIMIT)
    except subprocess.TimeoutExpired:
        return None
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)  # also what it left behind
        except (ProcessLookupError, PermissionError):
            pass  # nothing is left; or it is set-id, and not ours to end
        process.wait()
