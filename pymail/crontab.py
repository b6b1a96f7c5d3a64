"""What cron and systemd start: the commands of a crontab, the programs of a command.  Pure."""

import os
import re
import shlex
from collections.abc import Iterator

_BEFORE = {
    **dict.fromkeys(("!", "{", "do", "else", "elif", "if", "then", "while"), ("", 0)),
    **dict.fromkeys(("chronic", "command", "exec", "nohup", "setsid", "time"), ("", 0)),
    "env": ("CSu", 0),
    "flock": ("Ew", 1),
    "ionice": ("cn", 0),
    "nice": ("n", 0),
    "runuser": ("gu", 0),
    "sudo": ("Cgu", 0),
    "timeout": ("ks", 1),
}
"""What runs the command behind it: its options that have a value, and its words before that."""

_SHELLS = ("bash", "dash", "ksh", "sh", "su", "zsh")
_BREAKS = frozenset(";&|()\n")

# "-" before the minutes keeps SUSE's cron from logging the run.
_timed = re.compile(r"[ \t]*-?(?:@\w+|(?:[\w*,/~-]+[ \t]+){4}[\w*,/~-]+)[ \t]+(\S.*)").match
_set = re.compile(r"\w+=").match


def commands(table: str) -> Iterator[str]:
    """Yield what a user's crontab starts, as crontab(5) has it."""
    for line in table.split("\n"):
        if found := _timed(line):
            # A % that is not escaped ends the command: behind it is its standard input.
            yield re.split(r"(?<!\\)%", found[1])[0].replace("\\%", "%")


def commands_of_users(table: str) -> Iterator[tuple[str, str]]:
    """Yield user and command of what a crontab of the system starts."""
    for rest in commands(table):
        user, *command = rest.split(maxsplit=1)
        yield user, "".join(command)


def runs(program: str, command: str) -> bool:
    """Say whether a shell that is given a command runs the program, wherever that is."""
    words = shlex.shlex(command, posix=True, punctuation_chars=";&|()\n")
    words.whitespace, words.whitespace_split, words.commenters = " \t", True, ""
    try:
        return any(_is(program, simple) for simple in _simple(words))
    except ValueError:  # a quote that is not closed
        return False


def _simple(words: Iterator[str]) -> Iterator[list[str]]:
    """Yield the simple commands of a list of words of the shell."""
    found: list[str] = []
    for word in words:
        if word and _BREAKS.issuperset(word):
            yield found
            found = []
        else:
            found.append(word)
    yield found


def _is(program: str, words: list[str]) -> bool:
    """Say whether a simple command runs the program, itself or behind `env`, `nice` and such."""
    while words:
        name = os.path.basename(words[0])
        if name == program:
            return True
        if name in _SHELLS and "-c" in words[:-1]:
            return runs(program, words[words.index("-c") + 1])
        if _set(words[0]):
            words = words[1:]
        elif name in _BEFORE:
            words = _behind(words[1:], *_BEFORE[name])
        else:
            return False
    return False


def _behind(words: list[str], valued: str, operands: int) -> list[str]:
    """Return what is behind the options and the operands of a program."""
    while words and words[0].startswith("-"):
        option, *words = words
        if option == "--":
            break
        words = words[len(option) == 2 and option[1] in valued :]
    return words[operands:]
