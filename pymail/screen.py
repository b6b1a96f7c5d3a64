"""A person at a terminal: lines in from descriptor 0, safe text out to descriptor 1."""

import os

from pymail import charset, errors
from pymail.errors import InputError, printable


class Screen:
    """What is typed, as bytes; what is shown, in the character set of the locale.

    Raise OutputError or UnheardError where it cannot be shown, InputError where nothing can be
    read.
    """

    def __init__(self, local: str) -> None:
        self.local = local
        self._buffer = b""
        self._ended = False

    def say(self, text: str) -> None:
        """Show lines, without anything that would steer the terminal."""
        self.prompt("".join(f"{printable(line.expandtabs())}\n" for line in text.split("\n")))

    def prompt(self, text: str) -> None:
        """Show text that is safe, with no line end of its own."""
        errors.write(text.encode(self.local or "utf-8", "replace"))

    def line(self) -> bytes | None:
        """Return the next line without its end, None at the end of the input."""
        while b"\n" not in self._buffer:
            data = b"" if self._ended else _typed()
            if not data:
                # Ctrl-D behind an unfinished line: the line counts, and nothing follows.
                self._ended = bool(self._buffer)
                line, self._buffer = self._buffer, b""
                return line or None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def forget(self) -> None:
        """Drop the unfinished line, as the terminal does on an interrupt."""
        self._buffer = b""

    def ask(self, text: str) -> str:
        """Return the answer to a prompt; "" at the end of the input."""
        self.prompt(text)
        answer = (self.line() or b"").replace(b"\0", b"")  # Ctrl-Space
        return charset.decode(answer, self.local).strip()


def _typed() -> bytes:
    """Return what was typed, b"" at the end.  An input that is closed is an error, not the end."""
    try:
        return os.read(0, 1 << 16)
    except OSError as error:
        raise InputError(f"cannot read standard input: {error.strerror}") from None
