"""What this machine knows of its network, asked of the kernel: nobody is ever pinged.

/proc/net/route, ipv6_route   where packets can go
/proc/net/fib_trie, if_inet6  the addresses that are ours
"""

import ipaddress
import re

_UP, _REJECT = 0x0001, 0x0200
_ours = re.compile(r"\|-- (\S+)\n\s+/32 host LOCAL").findall


def online() -> bool:
    """Say whether there is a way to anywhere but this machine."""
    return any(_ways4()) or any(_ways6())


def addresses() -> frozenset[str]:
    """Return the addresses of this machine, those of loopback among them."""
    found = set(_ours(_text("fib_trie")))
    for line in _text("if_inet6").splitlines():
        digits = line.split()[0]
        found.add(str(ipaddress.IPv6Address(int(digits, 16))))
    return frozenset(found)


def _ways4() -> list[bool]:
    """Return, for each IPv4 route, whether it leads away."""
    ways = []
    for line in _text("route").splitlines()[1:]:
        fields = line.split()
        flags = int(fields[3], 16)
        ways.append(fields[0] != "lo" and bool(flags & _UP) and not flags & _REJECT)
    return ways


def _ways6() -> list[bool]:
    """Return, for each IPv6 route, whether it leads away: link-local and multicast do not."""
    ways = []
    for line in _text("ipv6_route").splitlines():
        fields = line.split()
        flags = int(fields[8], 16)
        near = fields[0].startswith(("fe8", "ff"))
        ways.append(fields[9] != "lo" and not near and bool(flags & _UP) and not flags & _REJECT)
    return ways


def _text(name: str) -> str:
    try:
        with open(f"/proc/net/{name}", encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""  # a kernel without that family
