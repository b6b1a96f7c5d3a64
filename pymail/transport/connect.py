"""Connections to servers, as they begin: LMTP destinations in words, others by name or address."""

import errno
import socket
import time

from pymail import network
from pymail.transport import failed
from pymail.transport.wire import LostError, Wire

CONNECT_TIME = 30
"""Seconds that an LMTP server may take to answer."""

REACH = 10
"""Addresses of a host that are waited for; some have four of IPv6 that nobody gets to."""


def dial(name: str, port: int) -> Wire:
    """Connect to the LMTP server that `name` says, at `port` where it says none."""
    try:
        there = _local(name) or _connected(*_endpoint(name.removeprefix("inet:"), port))
    except ValueError:
        raise LostError("4.3.5", f"cannot connect to {name}: not a destination") from None
    except OSError as error:
        raise LostError("4.4.1", f"connect to {name}: {error.strerror or error}") from None
    return Wire(name, there)


def call(host: str, address: str, port: int, source: str, limit: float) -> Wire:
    """Connect to `address`, which is that of `host`, from `source` where that is not empty."""
    name = f"{host}[{address}]"
    try:
        there = _connected(address, port, source, limit)
    except OSError as error:
        words = f"connect to {name}:{port}: {error.strerror or error}"
        if source and error.errno == errno.EADDRNOTAVAIL:
            words += f" ({source} is not of this machine: see smtp_bind_address)"
        kind = "host"
        if network.unreachable(error):
            kind, words = "offline", f"offline: {words}"
        own = failed(words, error).status  # descriptors and memory are no fault of theirs
        raise LostError(
            "4.4.1" if own == "deferred" else "4.3.0", words, kind, status=own
        ) from None
    return Wire(name, there)


def reach(host: str, port: int, limit: float) -> Wire:
    """Connect to one of the addresses of `host`: each has `limit` seconds, all of them REACH times.

    DNS may have thousands.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise LostError("4.4.3", f"{host}: {error.strerror or error}", "offline") from None
    lost = LostError("4.4.3", f"{host} has no address")
    until = time.monotonic() + REACH * limit
    for _, _, _, _, where in found:
        left = until - time.monotonic()
        if left <= 0:
            break
        try:
            return call(host, str(where[0]), port, "", min(limit, left))
        except LostError as error:
            lost = error
    raise lost


def _connected(
    host: str, port: int, source: str = "", limit: float = CONNECT_TIME
) -> socket.socket:
    there = socket.create_connection((host, port), limit, (source, 0) if source else None)
    # Each write is all that is to be said: it does not wait for the next.
    there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return there


def _local(name: str) -> socket.socket | None:
    """Open the Unix socket that `name` says; return None where it says a host."""
    path = name.removeprefix("unix:")
    if path == name and not name.startswith("/"):
        return None
    there = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    there.settimeout(CONNECT_TIME)
    try:
        there.connect(path.encode("utf-8", "surrogateescape"))
    except OSError:
        there.close()
        raise
    return there


def _endpoint(text: str, port: int) -> tuple[str, int]:
    """Return host and port of "host", "host:port", "[address]" or "[address]:port"."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        colon, number = rest[:1], rest[1:]
        if not bracket or colon not in ("", ":"):
            raise ValueError(text)
    else:
        host, colon, number = text.partition(":")
    if colon:
        port = int(number)
    if not host or not 0 < port < 1 << 16:
        raise ValueError(text)
    return host, port
