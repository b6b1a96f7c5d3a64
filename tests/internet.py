"""A little internet: hosts in network namespaces of their own, this machine as the router between.

    this machine   192.0.2.N (N = 1, 5, 9 ...), 2001:db8:K::1
    host K         192.0.2.N+1, 2001:db8:K::2, default route to this machine

The name server listens at 192.0.2.1, where everybody can ask it.
"""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from harness import needs

RESOLVER = "192.0.2.1"


class Host:
    """A host: its addresses, and the command that runs others on it."""

    def __init__(self, number: int) -> None:
        self.router, self.ip = f"192.0.2.{4 * number + 1}", f"192.0.2.{4 * number + 2}"
        self.ip6 = f"2001:db8:{number}::2"
        self._process = subprocess.Popen(["unshare", "--net", "sleep", "900"])
        self.within = ("nsenter", "--net", "--target", str(self._process.pid))
        own = Path("/proc/self/ns/net").stat().st_ino
        deadline = time.monotonic() + 20
        while Path(f"/proc/{self._process.pid}/ns/net").stat().st_ino == own:
            assert time.monotonic() < deadline, "no network namespace"
            time.sleep(0.01)
        near, there = f"net{number}", f"end{number}"
        _ip(f"link add {near} type veth peer name {there} netns {self._process.pid}")
        _ip(f"addr add {self.router}/30 dev {near}")
        _ip(f"addr add 2001:db8:{number}::1/64 dev {near} nodad")
        _ip(f"link set {near} up")
        for words in (
            "link set lo up",
            f"addr add {self.ip}/30 dev {there}",
            f"addr add {self.ip6}/64 dev {there} nodad",
            f"link set {there} up",
            f"route add default via {self.router}",
            f"-6 route add default via 2001:db8:{number}::1",
        ):
            _ip(words, *self.within)

    def close(self) -> None:
        """End it; its network goes with it."""
        self._process.terminate()
        self._process.wait(30)


@contextlib.contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """Run so many hosts, which all reach each other."""
    needs("ip", "unshare", "nsenter")
    for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        Path(f"/proc/sys/net/{switch}").write_text("1")
    found: list[Host] = []
    try:
        found.extend(map(Host, range(count)))
        yield found
    finally:
        for host in found:
            host.close()


def _ip(words: str, *within: str) -> None:
    done = subprocess.run([*within, "ip", *words.split()], capture_output=True, check=False)
    assert done.returncode == 0, f"ip {words}: {done.stderr.decode()}"
