"""What pymail says to a person, and asks."""

import sys

import click

from pymail.errors import UsageError, printable


def say(text: str) -> None:
    """Print a line, with no control characters in it."""
    sys.stdout.write(f"{printable(text)}\n")


def asked(prompt: str, *, hidden: bool) -> str:
    """Return what a person types, or the next line where nobody is there to type."""
    if sys.stdin.isatty():
        text = click.prompt(prompt.rstrip(": "), hide_input=hidden, err=True)
    else:
        text = sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    if not text:
        raise UsageError("user and password must not be empty")
    if not str(text).isprintable():
        raise UsageError("user and password must not have control characters in them")
    return str(text)
