"""The socket through which mail comes in that its sender cannot write to the spool himself.

A service may see no /var/spool, or see it read-only.  Then sendmail hands its command line and
what it reads to /run/pymail/submit.  There systemd listens, and starts one process for each
connection (cli/receive.py), which becomes the user at the other end and does what sendmail would
have done: nobody can do there what he could not do himself.

    there   length, LF, then that many bytes: -F's name or nothing, and the arguments, each with NUL
    there   pieces of what sendmail reads: length, LF, that many bytes; a length of 0 ends it
    back    exit status, blank, queue id or complaint, LF

Without the end nothing is queued: who dies in the middle has sent nothing.
"""

import _socket  # socket itself costs more than the rest of a submission
import os
import struct
from itertools import chain

from pymail.address import quote
from pymail.draft import LATER
from pymail.errors import MailError, SealedError, TempError
from pymail.paths import INLET, SYSTEM_SPOOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pymail.envelope import Envelope
    from pymail.spool import Spool

MOST_ARGUMENTS = 1 << 21
"""Bytes; Linux has no longer command lines."""

_MOST_PIECE = 1 << 16
_MOST_DIGITS = 8
_MOST_HELD = 1 << 25
_MOST_ANSWER = 1 << 13
_PATIENCE = 60
_CREDENTIALS = "3i"


class _RefusedError(MailError):
    """What the other end says, with its status."""


def queue(spool: "Spool", envelope: "Envelope", data: bytes) -> str:
    """Queue a whole message, through the socket where the spool is sealed; return its id."""
    try:
        return spool.submit(envelope, data)
    except SealedError as error:
        message = held(spool, envelope, error)
        message.write(data)
        return message.commit()


class Held:
    """A message for the other end: it is held in memory until commit() hands it over.

    Of what recipients ask of reports (RFC 3461), the other end hears what all of them ask.
    """

    def __init__(self, envelope: "Envelope", sealed: SealedError) -> None:
        self._envelope = envelope
        self._sealed = sealed
        self._pieces: list[bytes] = []
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append bytes of the message (LF line ends)."""
        self._pieces.append(data)
        self.size += len(data)

    def commit(self) -> str:
        """Have the message queued; return its id.  MailError as hand_over()."""
        pieces = iter((*self._pieces, b""))
        args = _arguments(self._envelope)
        return hand_over(args, self._envelope.full_name, pieces.__next__, self._sealed)

    def abandon(self) -> None:
        """Forget what was not committed."""
        self._pieces = []


def held(spool: "Spool", envelope: "Envelope", sealed: SealedError) -> Held:
    """Open a message for the socket; raise `sealed` where it is no way into that spool."""
    if spool.path != SYSTEM_SPOOL:
        raise sealed
    return Held(envelope, sealed)


def _arguments(envelope: "Envelope") -> list[str]:
    """Return what sendmail is to be told of a message."""
    args = ["-i"]
    if envelope.body.startswith("8BITMIME"):
        args.append("-B8BITMIME")
    if envelope.sender is not None:
        args += ["-f", quote(envelope.sender) if envelope.sender else "<>"]
    if envelope.ret:
        args += ["-R", envelope.ret]
    if envelope.envid:
        args += ["-V", envelope.envid]
    if len(asked := set(envelope.notify)) == 1 and "" not in asked:
        args += ["-N", *asked]
    return [*args, "--", *map(quote, envelope.recipients)]


def hand_over(
    args: list[str], name: str | None, read: "Callable[[], bytes]", error: SealedError
) -> str:
    """Have a message queued at the other end; return its id, once it is safe.

    Raise TempError where nobody listens, which begins with `error`, or where the other end fails;
    MailError with what it refuses.
    """
    # Who holds a connection holds it up for others: first what a slow program has to say.
    said = _collected(read)
    channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    channel.settimeout(_PATIENCE)
    try:
        channel.connect(INLET)
    except OSError as trouble:
        channel.close()
        why = str(error).removesuffix(LATER)
        words = f"{why}, and {INLET} cannot be reached ({trouble.strerror or trouble})"
        raise TempError(f"{words}{LATER}") from None
    try:
        return _answered(channel, args, name, chain(said, iter(read, b"")))
    except OSError as trouble:
        words = f"cannot queue message: {INLET}: {trouble.strerror or trouble}"
        raise TempError(f"{words}{LATER}") from None
    finally:
        channel.close()


def _collected(read: "Callable[[], bytes]") -> list[bytes]:
    """Return what is to be read, or as much of it as is held in memory."""
    said: list[bytes] = []
    size = 0
    while size < _MOST_HELD and (data := read()):
        said.append(data)
        size += len(data)
    return said


def _answered(
    channel: "_socket.socket", args: list[str], name: str | None, pieces: "Iterable[bytes]"
) -> str:
    words = ["" if name is None else f"={name}", *args]
    block = b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)
    try:
        channel.sendall(_piece(block))
        for data in pieces:
            for start in range(0, len(data), _MOST_PIECE):
                channel.sendall(_piece(data[start : start + _MOST_PIECE]))
        channel.sendall(_piece(b""))
    except (BrokenPipeError, ConnectionResetError):
        pass  # it has said why
    answer = b""
    while not answer.endswith(b"\n") and len(answer) < _MOST_ANSWER:
        data = channel.recv(_MOST_ANSWER)
        if not data:
            raise TempError(f"cannot queue message: {INLET} gave no answer{LATER}")
        answer += data
    status, _, text = answer.decode("utf-8", "replace").rstrip("\n").partition(" ")
    if status == "0":
        return text
    refusal = _RefusedError(text)
    refusal.status = int(status) if status.isdecimal() and len(status) < 4 else TempError.status
    raise refusal


class Caller:
    """Who has called: the other end of the connection that is descriptor 0.

    uid, gid  the kernel's word for it (SO_PEERCRED)
    """

    def __init__(self) -> None:
        """Look at descriptor 0.  TempError where it is no connection."""
        try:
            self._channel = _socket.socket(fileno=os.dup(0))
            self._channel.settimeout(_PATIENCE)
            size = struct.calcsize(_CREDENTIALS)
            told = self._channel.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, size)
        except OSError as error:
            raise TempError(f"standard input is no connection: {error.strerror}") from None
        _, self.uid, self.gid = struct.unpack(_CREDENTIALS, told)

    def command(self) -> tuple[str | None, list[str]]:
        """Return the name and the arguments that sendmail was given."""
        words = self._piece(MOST_ARGUMENTS).decode("utf-8", "surrogateescape").split("\0")
        if len(words) < 2:
            raise TempError("the caller has said nothing")
        return (words[0][1:] if words[0] else None), words[1:-1]

    def read(self) -> bytes:
        """Return the next bytes of what sendmail reads, nothing at its end.

        Raise TempError where the caller has gone before that.
        """
        return self._piece(_MOST_PIECE)

    def answer(self, status: int, text: str) -> None:
        """Say what became of it; who does not listen any more has lost nothing."""
        try:
            self._channel.sendall(f"{status} {text}\n".encode("utf-8", "replace"))
        except OSError:
            return

    def close(self) -> None:
        """Hang up."""
        self._channel.close()

    def _piece(self, most: int) -> bytes:
        digits = b""
        while not digits.endswith(b"\n"):
            digits += self._exactly(1)
            if len(digits) > _MOST_DIGITS:
                raise TempError("the caller talks nonsense")
        size = digits[:-1]
        if not size.isdigit() or int(size) > most:
            raise TempError("the caller talks nonsense")
        return self._exactly(int(size))

    def _exactly(self, size: int) -> bytes:
        pieces = []
        while size:
            try:
                piece = self._channel.recv(min(size, _MOST_PIECE))
            except OSError as error:
                raise TempError(f"the caller is silent: {error.strerror or error}") from None
            if not piece:
                raise TempError("the caller has gone")
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)


def _piece(data: bytes) -> bytes:
    return b"%d\n%b" % (len(data), data)
