"""Write a message at a terminal: prompts, the lines of the text, interrupts, the end."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

from pymail import charset, escapes
from pymail.escapes import Writing


class Abandoned(Exception):  # noqa: N818  (nothing went wrong: the person decided so)
    """The person gave up the message; `keep` says whether dead.letter gets it."""

    def __init__(self, *, keep: bool) -> None:
        super().__init__()
        self.keep = keep


def run(writing: Writing, *, person: bool, stubborn: bool) -> None:
    """Take the message that is typed into the draft.

    `person` says that somebody is there to be asked, and that a lone dot ends the message;
    `stubborn`, that an interrupt does not.  Raise Abandoned where the message is not to be sent;
    the draft then has what was typed.
    """
    writing.text += writing.draft.body
    try:
        with _signals(writing, stubborn=stubborn):
            if person:
                _begin(writing)
            _lines(writing, person=person)
            if person:
                _end(writing)
    except KeyboardInterrupt:
        raise Abandoned(keep=True) from None
    finally:
        writing.draft.body = bytes(writing.text)
    if person and not writing.draft.body and not writing.draft.attachments:
        writing.screen.say("Null message body; hope that's ok")


def _begin(writing: Writing) -> None:
    wanted = writing.is_set("ask") or writing.is_set("asksub")
    if wanted and not writing.draft.subject:
        try:
            writing.draft.set("Subject", writing.screen.ask("Subject: "))
        except KeyboardInterrupt:
            raise Abandoned(keep=False) from None


def _lines(writing: Writing, *, person: bool) -> None:
    interrupted = False
    while True:
        try:
            line = writing.screen.line()
            if line is None and person and os.isatty(0) and writing.is_set("ignoreeof"):
                writing.screen.say('Use "." on a line of its own to end the letter.')
                continue
            if line is None or (line == b"." and person and writing.is_set("dot")):
                if person and os.isatty(0):
                    writing.screen.say("EOT")
                return
            if not _take(writing, line):
                return
            interrupted = False
        except KeyboardInterrupt:
            if interrupted:
                raise Abandoned(keep=True) from None
            interrupted = True
            writing.screen.forget()
            writing.screen.prompt("\n(Interrupt -- one more to kill letter)\n")


def _take(writing: Writing, line: bytes) -> bool:
    """Take one line; say whether more may follow."""
    escape = writing.escape.encode()
    rest = line.removeprefix(escape)
    if not escape or rest == line:
        writing.text += line + b"\n"
    elif rest.startswith(escape):
        writing.text += rest + b"\n"
    else:
        text = charset.decode(rest, writing.screen.local)
        if text[:1] == ".":
            return False
        if text[:1] in {"q", "x"}:
            raise Abandoned(keep=text[0] == "q")
        escapes.obey(writing, text[:1], text[1:].strip())
    return True


def _end(writing: Writing) -> None:
    for variable, letter in (("askcc", "c"), ("askbcc", "b")):
        if writing.is_set(variable):
            name = variable.removeprefix("ask").capitalize()
            escapes.obey(writing, letter, writing.screen.ask(f"{name}: "))


@contextlib.contextmanager
def _signals(writing: Writing, *, stubborn: bool) -> Iterator[None]:
    """Let an interrupt, and a terminal that goes away, reach the message."""

    def gone(_signal: int, _frame: FrameType | None) -> None:
        raise Abandoned(keep=True)

    def at_sign(_signal: int, _frame: FrameType | None) -> None:
        writing.screen.prompt("@\n")

    interrupt = at_sign if stubborn else signal.default_int_handler
    wanted = {signal.SIGINT: interrupt, signal.SIGHUP: gone, signal.SIGTERM: gone}
    before = {
        number: signal.signal(number, action)
        for number, action in wanted.items()
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN  # nohup(1)
    }
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)
