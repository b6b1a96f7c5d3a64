"""Programs of the user's own at the terminal: shell, pager, editor, a filter for HTML."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from pymail.errors import MailError

_PATIENCE = 30
"""Seconds that a filter may take."""


def shell(command: str, interpreter: str) -> int:
    """Run a command, or a shell where there is none, at the terminal; return its exit status."""
    argv = [interpreter, "-c", command] if command else [interpreter]
    with _interrupts():
        return subprocess.run(argv, check=False).returncode


def output(command: str, interpreter: str, stdin: bytes | None) -> tuple[bytes, int]:
    """Return what a command prints, and its exit status; None as `stdin` is the terminal."""
    with _interrupts():
        done = subprocess.run(
            [interpreter, "-c", command], input=stdin, stdout=subprocess.PIPE, check=False
        )
    return done.stdout, done.returncode


def page(text: bytes, pager: str) -> None:
    """Show a text through a pager; one that is left early is no error."""
    with _interrupts():
        subprocess.run(["/bin/sh", "-c", pager], input=text, check=False)


def default_pager() -> str:
    """Return the pager where nothing names one."""
    return "less" if shutil.which("less") else "more"


def edited(text: bytes, editor: str) -> bytes:
    """Return what a person makes of a text with an editor.

    Raise MailError where it fails and leaves nothing new: ed ends with status 1 after any slip of
    the hand, and what was written by then is wanted.
    """
    with tempfile.TemporaryDirectory(prefix="mail-") as directory:
        path = os.path.join(directory, "letter.txt")
        with open(path, "xb") as file:
            file.write(text)
        with _interrupts():
            argv = ["/bin/sh", "-c", f'{editor} "$1"', "mail", path]
            status = subprocess.run(argv, check=False).returncode
        with open(path, "rb") as file:
            made = file.read()
    if status and made in {b"", text}:
        raise MailError(f"{editor}: exit status {status}; the message is unchanged")
    return made


def filtered(text: str, command: str) -> str:
    """Return what the user's filter makes of HTML, which it gets in UTF-8.  Raise MailError."""
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            input=text.encode("utf-8", "replace"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MailError(f"{command}: no end after {_PATIENCE} seconds") from None
    if done.returncode:
        raise MailError(f"{command}: exit status {done.returncode}")
    return done.stdout.decode("utf-8", "replace")


@contextmanager
def _interrupts() -> Iterator[None]:
    """Leave interrupts to the program that runs."""
    before = signal.signal(signal.SIGINT, _nothing)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _nothing(_signal: int, _frame: object) -> None:
    """Pass: unlike SIG_IGN, this is not inherited by the program."""
