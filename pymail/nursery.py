"""The nursery: a small process of root's that makes the agents, so that flush need not.

A child has a copy of everything that its parent had.  Made by flush, which has thousands of
messages in hand and goes on, each would keep tens of megabytes from being freed.
"""

import contextlib
import os
import pickle
import signal
import socket
from collections.abc import Callable

from pymail import child
from pymail.identity import Identity

_MOST = 1 << 16
_NOT_YET = b"not yet"


class Nursery:
    """A process that makes children; `alive` is false once it is gone."""

    def __init__(
        self, load: Callable[[str], object], serve: Callable[[socket.socket, Identity], None]
    ) -> None:
        """Start it; every child does serve(channel, user), after load(kind) was done here."""
        self.alive = True
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = child.fork(theirs.fileno(), lambda: _tend(theirs, load, serve))
        theirs.close()

    def start(self, channel: int, user: Identity, kind: str) -> int:
        """Make a child with that descriptor; return its pid.  OSError where it cannot be made."""
        answer = int(self._asked(pickle.dumps((user, kind)), [channel]))
        if answer < 0:
            raise OSError(-answer, os.strerror(-answer))
        return answer

    def kill(self, pid: int) -> None:
        """Kill a child that was not reaped: nobody else has its pid."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):  # the nursery has just died
                os.kill(pid, signal.SIGKILL)

    def reap(self, pid: int) -> int:
        """Return how a child ended, as child.reap() does; 0 where nobody knows any more."""
        return child.reap(pid, self._ended)

    def close(self) -> None:
        """End it; its children, which are not reaped, go on."""
        self.alive = False
        self._socket.close()
        child.reap(self._pid)

    def _ended(self, pid: int) -> int | None:
        try:
            answer = self._asked(str(pid).encode(), [])
        except OSError:
            return 0
        return None if answer == _NOT_YET else int(answer)

    def _asked(self, question: bytes, files: list[int]) -> bytes:
        try:
            socket.send_fds(self._socket, [question], files)
            answer = self._socket.recv(_MOST)
        except OSError:
            self.alive = False
            raise
        if not answer or answer.startswith(b"!"):  # what child.fork() says of a failure
            self.alive = False
            raise BrokenPipeError(32, "the nursery has ended")
        return answer


def _tend(
    channel: socket.socket,
    load: Callable[[str], object],
    serve: Callable[[socket.socket, Identity], None],
) -> None:
    """Be the nursery: make and reap children until flush has ended."""
    while True:
        question, files, _, _ = socket.recv_fds(channel, _MOST, 1)
        if not question:
            return
        if files:
            user, kind = pickle.loads(question)  # noqa: S301  (from root)
            load(kind)
            answer = b"%d" % _made(files[0], user, serve)
            os.close(files[0])
        else:
            code = child.ended(int(question))
            answer = _NOT_YET if code is None else b"%d" % code
        channel.send(answer)


def _made(file: int, user: Identity, serve: Callable[[socket.socket, Identity], None]) -> int:
    """Return the pid of a new child, or the negative number of the error."""
    child.groups(user)
    try:
        return child.fork(file, lambda: serve(socket.socket(fileno=file), user))
    except OSError as error:
        return -(error.errno or 1)
