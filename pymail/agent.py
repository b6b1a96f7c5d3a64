"""A child process that has become a user: everything done for a user is done by one.

The child gives up root's rights for good before it touches anything of the user's, has no
descriptor of ours but those of its messages and one pipe, an empty environment, and umask 077.
What it says through the pipe is a line an outcome; it is the user's word, and only about the
deliveries it was given.
"""

import os
import pickle
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable, Sequence

from pymail import child
from pymail.errors import printable
from pymail.identity import Identity
from pymail.nursery import Nursery
from pymail.outcome import Outcome
from pymail.transport import Delivery, Transport, maildir, mbox

TRANSPORTS: dict[str, Transport] = {"maildir": maildir.deliver, "mbox": mbox.deliver}
"""What delivers each kind of mail, as far as it is loaded: see transport()."""

_WORDS = 4096


def transport(kind: str) -> Transport:
    """Return what delivers one kind of mail; the larger ones are loaded when there is some."""
    if kind == "command" and kind not in TRANSPORTS:
        from pymail.transport import command  # noqa: PLC0415

        TRANSPORTS[kind] = command.deliver
    elif kind == "lmtp" and kind not in TRANSPORTS:
        from pymail.transport import lmtp  # noqa: PLC0415

        TRANSPORTS[kind] = lmtp.deliver
    return TRANSPORTS[kind]


class Agent:
    """A running child of one user.  It gets batches and answers; one batch at a time.

    `pending` has the numbers it has not answered for yet; `alive` is false once it ended.
    """

    def __init__(
        self,
        user: Identity,
        serve: Callable[[socket.socket], None] | None = None,
        nursery: Nursery | None = None,
        kind: str = "maildir",
    ) -> None:
        """Start the child, or have the nursery do it.

        `serve` is what it does, where that is not batches of deliveries; `kind` is the kind of
        delivery that it is started for.
        """
        self.user = user
        self.pending: set[int] = set()
        self.deadline = self.began = 0.0
        self.failure = ""
        self.alive = True
        self._buffer = b""
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(child.PATIENCE)  # its user can stop it
        self._nursery = nursery
        try:
            if nursery:
                self._pid = nursery.start(theirs.fileno(), user, kind)
            else:
                work = serve_batches if serve is None else lambda channel, _: serve(channel)
                self._pid = child.fork(theirs.fileno(), lambda: work(theirs, user))
        finally:
            theirs.close()

    def fileno(self) -> int:
        """Return the descriptor on which answers come."""
        return self._socket.fileno()

    def send(self, kind: str, batch: Sequence[Delivery], limit: float) -> None:
        """Give the idle child a batch; it has `limit` seconds for it."""
        self.pending = {delivery.number for delivery in batch}
        self.began = time.monotonic()
        self.deadline = self.began + limit
        self.give(pickle.dumps((kind, batch), pickle.HIGHEST_PROTOCOL), batch)

    def give(self, data: bytes, batch: Sequence[Delivery]) -> None:
        """Send the child what says a batch, and the descriptors that belong to it."""
        try:
            self._socket.sendall(len(data).to_bytes(8, "big") + data)
            for file in files_of(batch):
                # A new description, only for reading: the child must not change the queue.
                reader = os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_CLOEXEC)
                socket.send_fds(self._socket, [b"f"], [reader])
                os.close(reader)
        except OSError as error:
            # It died, or has half a batch and waits for the rest: outcomes() sees its end.
            self.failure = f"cannot be given mail: {error.strerror or error}"
            self._kill()

    def outcomes(self) -> list[tuple[int, Outcome]]:
        """Return what the child has answered; called when there is something to read."""
        try:
            data = self._socket.recv(1 << 16)
        except OSError:
            # Nobody would hear what else it does.
            self._kill()
            data = b""
        self._buffer += data
        if not data:
            self._end()
        lines = self._buffer.split(b"\n")
        self._buffer = lines.pop()
        return [said for said in map(self._parse, lines) if said is not None]

    def kill(self) -> None:
        """End a child that takes too long; what it was doing is in doubt."""
        self._kill()
        self.failure = "took too long"
        self._end()

    def dismiss(self) -> None:
        """Tell an idle child that there is no more to come."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            return  # it is gone

    def close(self) -> None:
        """End an idle child."""
        if self.alive:
            self.dismiss()
            self._end()

    def _parse(self, line: bytes) -> tuple[int, Outcome] | None:
        fields = line.decode("utf-8", "replace").split("\t")
        if len(fields) == 2 and fields[0] == "!":
            self.failure = printable(fields[1])[:_WORDS]
            return None
        if len(fields) != 4 or not fields[0].isdecimal():
            return None
        number, status, dsn, words = int(fields[0]), *fields[1:]
        if number not in self.pending or status not in ("sent", "deferred", "bounced", "kept"):
            return None
        self.pending.discard(number)
        return number, Outcome(status, dsn, printable(words)[:_WORDS])

    def _kill(self) -> None:
        if self._nursery:
            self._nursery.kill(self._pid)
        else:
            os.kill(self._pid, signal.SIGKILL)

    def _end(self) -> None:
        self._socket.close()
        self.alive = False
        code = self._nursery.reap(self._pid) if self._nursery else child.reap(self._pid)
        if code and not self.failure:
            self.failure = f"killed by signal {-code}" if code < 0 else f"exit status {code}"


def wait(agents: Iterable[Agent], timeout: float) -> list[Agent]:
    """Return the agents that have something to say, after at most `timeout` seconds."""
    known = {agent.fileno(): agent for agent in agents}
    poll = select.poll()
    for fd in known:
        poll.register(fd, select.POLLIN)
    return [known[fd] for fd, _ in poll.poll(int(timeout * 1000))]


def serve_batches(channel: socket.socket, user: Identity) -> None:
    """Be the child: become the user, take batches until there are no more."""
    child.become(user)
    while True:
        size = receive(channel, 8)
        if not size:
            return
        kind, batch = pickle.loads(receive(channel, int.from_bytes(size, "big")))  # noqa: S301  (from root)
        batch = with_files(channel, batch)
        lines: list[str] = []
        filters = any(delivery.filter for delivery in batch)
        deliver = _filtered(kind) if filters else transport(kind)
        for number, outcome in deliver(batch):
            words = printable(outcome.words)[:_WORDS]
            lines.append(f"{number}\t{outcome.status}\t{outcome.dsn}\t{words}\n")
            # A Maildir's outcomes come in groups; to wake the parent for each costs more.
            if kind != "maildir" or filters or len(lines) == maildir.GROUP:
                channel.sendall("".join(lines).encode("utf-8", "replace"))
                lines = []
        channel.sendall("".join(lines).encode("utf-8", "replace"))
        for file in files_of(batch):
            os.close(file)


def _filtered(kind: str) -> Transport:
    """Return what delivers one kind of mail after its filter."""
    from pymail.transport import filtered  # noqa: PLC0415 -- most have no filter

    return lambda batch: filtered.deliver(batch, transport(kind))


def files_of(batch: Iterable[Delivery]) -> list[int]:
    """Return the descriptors in which bodies lie, in the order of the deliveries, each once."""
    return list(dict.fromkeys(d.content.fd for d in batch if d.content.fd >= 0))


def with_files(channel: socket.socket, batch: Sequence[Delivery]) -> list[Delivery]:
    """Return deliveries whose body is in a file with the descriptor that comes for it.

    Those of one message share one: thousands of recipients need no more.
    """
    here = {there: socket.recv_fds(channel, 1, 1)[1][0] for there in files_of(batch)}
    return [
        d._replace(content=d.content._replace(fd=here[d.content.fd])) if d.content.fd >= 0 else d
        for d in batch
    ]


def receive(channel: socket.socket, size: int) -> bytes:
    """Return exactly `size` bytes, or nothing where the parent is gone."""
    pieces: list[bytes] = []
    while size:
        piece = channel.recv(min(size, 1 << 20))
        if not piece:
            return b""
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
