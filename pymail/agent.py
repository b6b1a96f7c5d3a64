"""A child process that has become a user: everything done for a user is done by one.

The child gives up root's rights for good before it touches anything of the user's, has no
descriptor of ours but those of its messages and one pipe, an empty environment, and umask 077.
What it says through the pipe is a line an outcome; it is the user's word, and only about the
deliveries it was given.
"""

import errno
import gc
import json
import os
import pickle
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from pymail.errors import printable
from pymail.identity import Identity
from pymail.outcome import Outcome
from pymail.transport import Delivery, Transport, command, lmtp, maildir, mbox

TRANSPORTS: dict[str, Transport] = {
    "maildir": maildir.deliver,
    "mbox": mbox.deliver,
    "command": command.deliver,
    "lmtp": lmtp.deliver,
}

PATIENCE = 20
"""Seconds that a question to a user's home may take, or that a child may not listen."""

DESCRIPTORS = 1024
"""What programs are used to."""

_WORDS = 4096
_REAPS = 100


def become(user: Identity, descriptors: int = DESCRIPTORS) -> None:
    """Become `user` for good, with few `descriptors`.  PermissionError where that cannot be.

    Nothing of the caller stays: groups, environment, umask, working directory, core dumps.
    """
    if os.getuid() == 0 and user.uid != 0:
        try:
            os.initgroups(user.name, user.gid)
        except OSError:
            os.setgroups([user.gid])
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    if os.getresuid() != (user.uid,) * 3:
        raise PermissionError(1, f"cannot become {user.name}")
    os.umask(0o077)
    os.environ.clear()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = descriptors if most == resource.RLIM_INFINITY else min(descriptors, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, most))  # flush has more
    try:
        os.chdir(user.home)
    except OSError:
        os.chdir("/")


class Agent:
    """A running child of one user.  It gets batches and answers; one batch at a time.

    `pending` has the numbers it has not answered for yet; `alive` is false once it ended.
    """

    def __init__(
        self, user: Identity, serve: Callable[[socket.socket], None] | None = None
    ) -> None:
        """Start the child; `serve` is what it does, batches of deliveries if not said."""
        self.user = user
        self.pending: set[int] = set()
        self.deadline = self.began = 0.0
        self.failure = ""
        self.alive = True
        self._buffer = b""
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(PATIENCE)  # its user can stop it
        work = serve or (lambda channel: _serve(channel, user))
        self._pid = _fork(theirs.fileno(), lambda: work(theirs))
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
            for delivery in batch:
                if delivery.content.fd >= 0:
                    # A new description, only for reading: the child must not change the queue.
                    path = f"/proc/self/fd/{delivery.content.fd}"
                    reader = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                    socket.send_fds(self._socket, [b"f"], [reader])
                    os.close(reader)
        except OSError as error:
            # It died, or has half a batch and waits for the rest: outcomes() sees its end.
            self.failure = f"cannot be given mail: {error.strerror or error}"
            os.kill(self._pid, signal.SIGKILL)

    def outcomes(self) -> list[tuple[int, Outcome]]:
        """Return what the child has answered; called when there is something to read."""
        try:
            data = self._socket.recv(1 << 16)
        except OSError:
            data = b""
        self._buffer += data
        if not data:
            self._end()
        lines = self._buffer.split(b"\n")
        self._buffer = lines.pop()
        return [said for said in map(self._parse, lines) if said is not None]

    def kill(self) -> None:
        """End a child that takes too long; what it was doing is in doubt."""
        os.kill(self._pid, signal.SIGKILL)
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

    def _end(self) -> None:
        self._socket.close()
        self.alive = False
        code = _reap(self._pid)
        if code and not self.failure:
            self.failure = f"killed by signal {-code}" if code < 0 else f"exit status {code}"


def wait(agents: Iterable[Agent], timeout: float) -> list[Agent]:
    """Return the agents that have something to say, after at most `timeout` seconds."""
    known = {agent.fileno(): agent for agent in agents}
    poll = select.poll()
    for fd in known:
        poll.register(fd, select.POLLIN)
    return [known[fd] for fd, _ in poll.poll(int(timeout * 1000))]


def ask(user: Identity, question: Callable[[], list[str]], patience: float = 0) -> list[str]:
    """Return what `question` returns when it is asked with the rights of `user`.

    Raise OSError where the child could not become the user, or died.  The answer is the user's
    word.
    """
    if os.getuid() == user.uid:
        return question()

    patience = patience or PATIENCE
    readable, writable = os.pipe()

    def serve() -> None:
        become(user)
        with open(writable, "wb", closefd=False) as pipe:
            pipe.write(json.dumps(question()).encode())

    pid = _fork(writable, serve)
    os.close(writable)
    data = _answer(readable, time.monotonic() + patience)
    if data is None:
        os.kill(pid, signal.SIGKILL)
        _reap(pid)
        raise OSError(errno.ETIMEDOUT, f"no answer in {patience} s (a hanging mount?)")
    status = _reap(pid)
    if status or not data.startswith(b"["):
        text = printable(data.decode("utf-8", "replace").partition("\t")[2].strip())
        raise OSError(errno.EIO, text or f"agent of {user.name} died")
    return [str(word) for word in json.loads(data)]


def _answer(fd: int, deadline: float) -> bytes | None:
    """Return what comes through a pipe up to its end, None where that takes too long."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    data = b""
    try:
        while left := max(deadline - time.monotonic(), 0):
            if poll.poll(int(left * 1000)):
                piece = os.read(fd, 1 << 16)
                if not piece:
                    return data
                data += piece
        return None
    finally:
        os.close(fd)


def _reap(pid: int) -> int:
    """Return how a child ended; one that hangs in the kernel is left to hang."""
    pause = 0.0005
    for _ in range(_REAPS):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
    return -signal.SIGKILL


def _fork(out: int, serve: Callable[[], None]) -> int:
    """Start a child that runs serve() with no descriptor of ours but `out`; return its pid."""
    sys.stdout.flush()
    # A collection in the child would touch, and so copy, every object of the parent.
    gc.freeze()
    pid = os.fork()
    if pid:
        return pid
    gc.disable()
    status = 70
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        _close_all_but(out)
        serve()
        status = 0
    except BaseException as error:  # noqa: BLE001  (the child must never return into the parent)
        text = printable(f"{type(error).__name__}: {error}")
        os.write(out, f"!\t{text}\n".encode("utf-8", "replace"))
    finally:
        os._exit(status)


def _close_all_but(keep: int) -> None:
    """Close every descriptor but `keep`; 0 to 2 become /dev/null."""
    os.closerange(3, keep)
    os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def _serve(channel: socket.socket, user: Identity) -> None:
    """Be the child: take batches until there are no more."""
    become(user)
    while True:
        size = receive(channel, 8)
        if not size:
            return
        kind, batch = pickle.loads(receive(channel, int.from_bytes(size, "big")))  # noqa: S301  (from root)
        batch = with_files(channel, batch)
        lines: list[str] = []
        for number, outcome in TRANSPORTS[kind](batch):
            words = printable(outcome.words)[:_WORDS]
            lines.append(f"{number}\t{outcome.status}\t{outcome.dsn}\t{words}\n")
            # A Maildir's outcomes come in groups; to wake the parent for each costs more.
            if kind != "maildir" or len(lines) == maildir.GROUP:
                channel.sendall("".join(lines).encode("utf-8", "replace"))
                lines = []
        channel.sendall("".join(lines).encode("utf-8", "replace"))
        for delivery in batch:
            if delivery.content.fd >= 0:
                os.close(delivery.content.fd)


def with_files(channel: socket.socket, batch: Sequence[Delivery]) -> list[Delivery]:
    """Return deliveries whose body is in a file with the descriptor that comes for them."""
    return [
        replace(d, content=replace(d.content, fd=socket.recv_fds(channel, 1, 1)[1][0]))
        if d.content.fd >= 0
        else d
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
