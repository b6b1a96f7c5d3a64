"""What pymail says to a person, and asks."""

import os
import sys

import click

from pymail.errors import InputError, UsageError, printable


def say(text: str) -> None:
    """Print a line, with no control characters in it."""
    sys.stdout.write(f"{printable(text)}\n")


def person() -> bool:
    """Say whether somebody is there to be asked; at a closed standard input nobody is."""
    return os.isatty(0)


def asked(prompt: str, *, hidden: bool) -> str:
    """Return what a person types, or the next line where nobody is there to type."""
    if person():
        text = click.prompt(prompt.rstrip(": "), hide_input=hidden, err=True)
    elif sys.stdin is None:  # as Python has it where 0 was closed
        raise InputError("cannot read user and password: standard input is closed")
    else:
        text = sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    if not text:
        raise UsageError("user and password must not be empty")
    if not str(text).isprintable():
        raise UsageError("user and password must not have control characters in them")
    return str(text)
