"""What this machine knows of its network, asked of the kernel: nobody is ever pinged.

/proc/net/route, ipv6_route   where packets can go
/proc/net/fib_trie, if_inet6  the addresses that are ours

A route counts where it leads away: not back to this machine, not to a cable that is pulled out,
and not only to the containers and virtual machines that this machine keeps.
"""

import errno
import fcntl
import ipaddress
import os
import re
import socket
import struct

_UP, _REJECT = 0x0001, 0x0200
_RUNNING = 0x0040
_SIOCGIFFLAGS = 0x8913
_NO_WAY = (errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH)
_ours = re.compile(r"\|-- (\S+)\n\s+/32 host LOCAL").findall


def online() -> bool:
    """Say whether there is a way to anywhere but this machine."""
    return bool(families())


def families() -> frozenset[str]:
    """Return which of "ipv4" and "ipv6" have a way to anywhere but this machine."""
    ways = {"ipv4": _ways4(), "ipv6": _ways6()}
    return frozenset(
        family for family, found in ways.items() if any(_leads_away(*way) for way in found)
    )


def unreachable(error: OSError) -> bool:
    """Say whether a connection failed for want of a network, which is no fault of the server."""
    return error.errno in _NO_WAY and not online()


def addresses() -> frozenset[str]:
    """Return the addresses of this machine, those of loopback among them."""
    found = set(_ours(_text("fib_trie")))
    for line in _text("if_inet6").splitlines():
        digits = line.split()[0]
        found.add(str(ipaddress.IPv6Address(int(digits, 16))))
    return frozenset(found)


def _ways4() -> set[tuple[str, bool]]:
    """Return interface and whether it leads everywhere, for each IPv4 route."""
    ways = set()
    for line in _text("route").splitlines()[1:]:
        fields = line.split()
        flags = int(fields[3], 16)
        if flags & _UP and not flags & _REJECT:
            ways.add((fields[0], fields[1] == fields[7] == "00000000"))
    return ways


def _ways6() -> set[tuple[str, bool]]:
    """Return the same for IPv6; link-local and multicast routes lead to nobody's server."""
    ways = set()
    for line in _text("ipv6_route").splitlines():
        fields = line.split()
        flags = int(fields[8], 16)
        near = fields[0].startswith(("fe8", "ff"))
        if flags & _UP and not flags & _REJECT and not near:
            ways.add((fields[9], fields[1] == "00"))
    return ways


def _leads_away(interface: str, everywhere: bool) -> bool:  # noqa: FBT001
    if interface == "lo" or not _is_running(interface):
        return False
    return everywhere or not _is_inner(interface)


def _is_running(interface: str) -> bool:
    """Say whether an interface has somebody at its other end, as far as the kernel knows."""
    request = struct.pack("16sh14x", interface.encode(), 0)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            answer = fcntl.ioctl(probe, _SIOCGIFFLAGS, request)
    except OSError:
        return False
    return bool(struct.unpack_from("h", answer, 16)[0] & _RUNNING)


def _is_inner(interface: str) -> bool:
    """Say whether an interface is a bridge (docker0, virbr0) without a device of hardware."""
    try:
        ports = os.listdir(f"/sys/class/net/{interface}/brif")
    except OSError:
        return False
    return not any(os.path.exists(f"/sys/class/net/{port}/device") for port in ports)


def _text(name: str) -> str:
    try:
        with open(f"/proc/net/{name}", encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""  # a kernel without that family
