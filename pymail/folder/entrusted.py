"""A mailbox that is left to a child with the rights of the user who holds it.

With root's own rights, whatever the user's links lead to would be moved and deleted; and what was
looked at could be exchanged before it is used.  The child becomes the user for good before it
touches anything, has no terminal, and starts no program.

    ["read", [...]]           a question: the name of a method, its argument
    ["", ...]                 the answer
    ["OSError", 13]           or why there is none: an error number,
    ["InputError", "..."]     or the sentence

One JSON text a line; the first answer, to no question, says whether the mailbox is open.
"""

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from pymail import child
from pymail.errors import InputError, MailError, PermError, TempError
from pymail.folder import Change, Folder, Letter
from pymail.identity import Identity
from pymail.summary import Summary

Opener = Callable[[str], Folder]

_ERRORS = {error.__name__: error for error in (InputError, PermError, TempError)}


class Entrusted:
    """A mailbox that a child has open."""

    def __init__(self, path: str, user: Identity, opener: Opener) -> None:
        """Have it opened with the rights of `user`.  Raise OSError, MailError."""
        self.path = path
        self._user = user.name
        child.groups(user)
        place = os.path.join(os.getcwd(), path)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._pid = child.fork(theirs.fileno(), lambda: _serve(theirs, user, opener, place))
            self._channel = ours.makefile("rwb")
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def letters(self) -> list[Letter]:
        """Return the messages, oldest first."""
        return [_letter(packed) for packed in self._ask("letters")]

    def arrived(self) -> list[Letter]:
        """Return what has come since it was last looked at."""
        return [_letter(packed) for packed in self._ask("arrived")]

    def read(self, letter: Letter) -> bytes:
        """Return a message as it was sent."""
        return _bytes(self._ask("read", _packed(letter)))

    def where(self, letter: Letter) -> str:
        """Return the path of the file that is the message alone, "" for none."""
        return f"{self.path.rstrip('/')}/{letter.place}" if letter.place else ""

    def commit(self, changes: Sequence[Change]) -> list[str]:
        """Have changes made durable."""
        return list(self._ask("commit", [_told(change) for change in changes]))

    def close(self) -> None:
        """Let go of it."""
        pid, self._pid = self._pid, 0
        if pid:
            os.kill(pid, signal.SIGKILL)
            child.reap(pid)
            with contextlib.suppress(OSError):  # what was written to a dead child
                self._channel.close()

    def _ask(self, question: str, argument: object = None) -> Any:  # noqa: ANN401 -- as of JSON
        if self._pid:
            with contextlib.suppress(OSError):  # it is dead, and _answer says so
                self._channel.write(_line([question, argument]))
                self._channel.flush()
        return self._answer()

    def _answer(self) -> Any:  # noqa: ANN401
        said = b""
        try:
            if self._pid:
                said = self._channel.readline()
        except OSError:
            pass  # it is dead
        except BaseException:
            self.close()  # an interrupt: after half an answer no other can be understood
            raise
        if not (said.startswith(b"[") and said.endswith(b"\n")):
            self.close()
            why = f"the process that has it open as {self._user} has ended; open it again"
            raise InputError(f"cannot use {self.path}: {why}")
        kind, value = json.loads(said)
        if kind == "OSError":
            raise OSError(value, f"{os.strerror(value)} (as {self._user})", self.path)
        if kind:
            raise _ERRORS.get(kind, InputError)(value)
        return value


def _serve(channel: socket.socket, user: Identity, opener: Opener, path: str) -> None:
    """Become the user, open the mailbox, and answer until nobody asks any more."""
    child.become(user)
    here: list[Folder] = []
    with channel, channel.makefile("rwb") as lines:
        lines.write(_answered(lambda: here.append(opener(path))))
        lines.flush()
        for line in lines if here else ():
            question, argument = json.loads(line)
            lines.write(_answered(lambda: _METHODS[question](here[0], argument)))  # noqa: B023
            lines.flush()


def _answered(question: Callable[[], object]) -> bytes:
    try:
        return _line(["", question()])
    except MailError as error:
        return _line([type(error).__name__, str(error)])
    except OSError as error:
        return _line(["OSError", error.errno or 0])


_METHODS: dict[str, Callable[[Folder, Any], object]] = {
    "letters": lambda here, _: [_packed(letter) for letter in here.letters()],
    "arrived": lambda here, _: [_packed(letter) for letter in here.arrived()],
    "read": lambda here, packed: here.read(_letter(packed)).decode("latin-1"),
    "commit": lambda here, told: here.commit([_change(each) for each in told]),
}


_packed: Callable[[Letter], tuple[Any, ...]] = attrgetter(
    "id", "place", "flags", "new", "size", "inode", "arrived", "about"
)


def _letter(packed: Sequence[Any]) -> Letter:
    fields: list[Any] = [*packed[:-1], Summary(*packed[-1])]
    return Letter(*fields)


def _told(change: Change) -> list[Any]:
    text = change.text.decode("latin-1")
    return [_packed(change.letter), change.add, change.remove, change.delete, text]


def _change(told: Sequence[Any]) -> Change:
    letter, add, remove, delete, text = told
    return Change(_letter(letter), add, remove, delete=delete, text=_bytes(text))


def _bytes(text: str) -> bytes:
    """Return bytes that JSON has carried as characters."""
    return text.encode("latin-1")


def _line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"
