"""What the kernel says of the network, in namespaces made for it."""

import errno
import subprocess
import sys

import pytest
from harness import PATH, ROOT, needs, needs_root

ASK = """
import errno, sys
sys.path.insert(0, {root!r})
from pymail import network
print(" ".join(sorted(network.families())) or "offline")
print(" ".join(sorted(network.addresses())))
print(network.unreachable(OSError({number}, "x")))
"""
LO = "ip link set lo up"
PAIR = "ip link add a0 type veth peer name a1"
UP = "ip link set a0 up; ip link set a1 up"
FOUR = "ip addr add 192.0.2.10/24 dev a0"
SIX = "ip addr add 2001:db8::10/64 dev a0 nodad"
DEFAULT = "ip route add default via 172.17.0.1"
BRIDGE = "ip link add br0 type bridge; ip link set a1 master br0; ip link set br0 up"


def told(*commands: str, number: int = errno.ENETUNREACH) -> list[str]:
    """Return what is found in a network that these commands make."""
    needs_root()
    needs("unshare", "ip")
    ask = ASK.format(root=str(ROOT), number=number)
    script = "\n".join(["set -e", "mount -t sysfs none /sys", *commands, 'exec "$0" -Ic "$1"'])
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", script, sys.executable, ask],
        capture_output=True,
        env={"PATH": PATH},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize(
    ("commands", "families"),
    [
        ([], "offline"),
        ([LO], "offline"),
        ([LO, "ip route add default dev lo"], "offline"),
        ([LO, PAIR, UP], "offline"),
        ([LO, PAIR, UP, FOUR], "ipv4"),
        ([LO, PAIR, UP, SIX], "ipv6"),
        ([LO, PAIR, UP, FOUR, SIX], "ipv4 ipv6"),
        ([LO, PAIR, UP, FOUR, "ip link set a1 down"], "offline"),
        ([LO, PAIR, UP, FOUR, "ip link set a0 down"], "offline"),
        ([LO, "ip route add unreachable default"], "offline"),
        ([LO, PAIR, UP, BRIDGE, "ip addr add 172.17.0.1/16 dev br0"], "offline"),
        ([LO, PAIR, UP, BRIDGE, "ip addr add 172.17.0.2/16 dev br0", DEFAULT], "ipv4"),
    ],
)
def test_a_route_counts_where_it_leads_away(commands, families):
    assert told(*commands)[0] == families


def test_the_addresses_of_this_machine_are_known():
    found = told(LO, PAIR, UP, FOUR, SIX, "ip addr add 198.51.100.7/32 dev lo")[1].split()
    assert [address for address in found if not address.startswith("fe80:")] == [
        *("127.0.0.1", "192.0.2.10", "198.51.100.7"),
        *("2001:db8::10", "::1"),
    ]


@pytest.mark.parametrize("kind", ["ENETUNREACH", "ENETDOWN", "EHOSTUNREACH"])
def test_a_server_is_not_to_blame_for_want_of_a_network(kind):
    number = getattr(errno, kind)
    assert told(LO, number=number)[2] == "True"
    assert told(LO, PAIR, UP, FOUR, number=number)[2] == "False"


def test_a_server_that_refuses_is_to_blame():
    assert told(LO, number=errno.ECONNREFUSED)[2] == "False"
