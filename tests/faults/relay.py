"""The server that mail is relayed to: it tells, of every letter, who got it and whether whole.

It lives in the worker's process, outside of the tree that the faults strike, so its record
outlives kills and power cuts.  `refused@` is refused for good, `later@` the first time.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator

from . import probe

DOMAIN = "relayed.example"
_GREETING = "220 relay.example ESMTP\r\n"
_HELLO = "250-relay.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-DSN\r\n250 SIZE 50000000\r\n"


class Relay:
    """A server on a port of its own, from now on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._accepted: list[tuple[str, str, bool]] = []
        self._put_off: set[str] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def forget(self) -> None:
        """Begin a new run."""
        with self._lock:
            self._accepted = []
            self._put_off = set()

    def accepted(self) -> list[tuple[str, str, bool]]:
        """Return (recipient, letter, whether it is whole) of everything accepted since then."""
        with self._lock:
            return list(self._accepted)

    def _listen(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # The client may be killed at any moment: then there is nothing more to be done.
        with connection, contextlib.suppress(OSError):
            connection.settimeout(60)
            connection.sendall(_GREETING.encode())
            lines = _lines(connection)
            recipients: list[str] = []
            for line in lines:
                verb = line.split()[0].upper() if line.split() else b""
                answer = "250 2.0.0 ok\r\n"
                if verb == b"EHLO":
                    answer = _HELLO
                elif verb in (b"MAIL", b"RSET"):
                    recipients = []
                elif verb == b"RCPT":
                    answer = self._recipient(line.decode().partition("<")[2].partition(">")[0])
                    if answer.startswith("250"):
                        recipients.append(line.decode().partition("<")[2].partition(">")[0])
                elif verb == b"DATA" and not recipients:
                    answer = "554 5.5.1 no recipients\r\n"
                elif verb == b"DATA":
                    connection.sendall(b"354 go on\r\n")
                    self._take(recipients, _letter(lines))
                elif verb == b"QUIT":
                    connection.sendall(b"221 2.0.0 bye\r\n")
                    return
                connection.sendall(answer.encode())

    def _recipient(self, address: str) -> str:
        local = address.partition("@")[0]
        if local == "refused":
            return "550 5.1.1 no such user\r\n"
        with self._lock:
            if local == "later" and address not in self._put_off:
                self._put_off.add(address)
                return "451 4.2.0 come again\r\n"
        return "250 2.1.5 ok\r\n"

    def _take(self, recipients: list[str], data: bytes) -> None:
        found = list(probe.copies(data)) or [(_reported(data), True)]
        with self._lock:
            self._accepted += [(r, name, whole) for r in recipients for name, whole in found]


def _reported(data: bytes) -> str:
    """Return the name of what is no letter of ours."""
    return "report" if b"delivery-status" in data else "nothing"


def _lines(connection: socket.socket) -> Iterator[bytes]:
    """Yield what comes, a line at a time, until the connection ends."""
    with connection.makefile("rb") as stream:
        for line in stream:
            if not line.endswith(b"\r\n"):
                raise ConnectionError(104, "cut off")
            yield line[:-2]


def _letter(lines: Iterator[bytes]) -> bytes:
    """Return a letter with LF line ends; ConnectionError where it never ended."""
    found = []
    for line in lines:
        if line == b".":
            return b"".join(found)
        found.append((line[1:] if line.startswith(b".") else line) + b"\n")
    raise ConnectionError(104, "cut off")
