"""A real name server for tests: NSD, which knows the zones that a test writes and nothing else."""

import contextlib
import shutil
import socket
import subprocess
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from harness import PATH, needs

ADDRESS = "127.0.0.53"
RESOLVER = Path("/etc/resolv.conf")
BROKEN = None
"""The text of a zone that the server cannot read: whatever it is asked there, SERVFAIL."""

_HEAD = "$ORIGIN {}\n$TTL 60\n@ SOA ns.invalid. root.invalid. {} 60 60 600 60\n@ NS ns.invalid.\n"


class NameServer:
    """A running server.

    `zones` are the records below each domain, in the format of zone files, names relative to
    it; every other name does not exist.  `within` is a command that runs others elsewhere
    ("ip", "netns", "exec", "x").
    """

    def __init__(
        self,
        place: Path,
        zones: Mapping[str, str | None],
        *,
        addresses: Sequence[str] = (ADDRESS,),
        within: Sequence[str] = (),
    ) -> None:
        needs("nsd")
        self.addresses = tuple(addresses)
        self._within = tuple(within)
        self._place = place
        self._zones = {".": "", **zones}
        self._serial = 0
        self._process: subprocess.Popen[bytes] | None = None
        place.mkdir(parents=True, exist_ok=True)
        self._start()

    def update(self, zones: Mapping[str, str | None]) -> None:
        """Change zones, or add some."""
        self._zones |= zones
        self.stop()
        self._start()

    def stop(self) -> None:
        """Fall silent."""
        if self._process:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def _start(self) -> None:
        self._serial += 1
        self._configure()
        log = self._place / "log"
        log.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [*self._within, str(shutil.which("nsd", path=PATH)), "-d", "-c", self._place / "conf"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(300):
            if self._process.poll() is not None or (log.exists() and "started" in log.read_text()):
                break
            time.sleep(0.05)
        assert self._process.poll() is None, log.read_text()

    def _configure(self) -> None:
        """Write the configuration and the zone files."""
        here = self._place
        lines = ["server:", *(f'  ip-address: "{address}"' for address in self.addresses)]
        lines += ['  username: ""', '  database: ""', "  server-count: 1", "  tcp-count: 20"]
        lines += [f'  zonesdir: "{here}"', f'  logfile: "{here}/log"', f'  pidfile: "{here}/pid"']
        lines += [f'  xfrdfile: "{here}/xfrd"', f'  zonelistfile: "{here}/list"', "  verbosity: 1"]
        lines += ["  rrl-ratelimit: 0", "remote-control:", "  control-enable: no"]
        for name, text in self._zones.items():
            origin = f"{name.rstrip('.')}."
            file = here / f"{origin}zone"
            file.unlink(missing_ok=True)
            if text is not None:
                file.write_text(_HEAD.format(origin, self._serial) + textwrap.dedent(text) + "\n")
            lines += ["zone:", f'  name: "{origin}"', f'  zonefile: "{file}"']
        (here / "conf").write_text("\n".join(lines) + "\n")


@contextlib.contextmanager
def name_server(
    place: Path,
    zones: Mapping[str, str | None],
    *,
    addresses: Sequence[str] = (ADDRESS,),
    within: Sequence[str] = (),
) -> Iterator[NameServer]:
    """Run a name server; only in a machine of the test's own is its port free."""
    server = NameServer(place, zones, addresses=addresses, within=within)
    before = RESOLVER.read_bytes() if RESOLVER.exists() else b""
    try:
        yield server
    finally:
        server.stop()
        if RESOLVER.exists() and RESOLVER.read_bytes() != before:
            RESOLVER.write_bytes(before)


def ask_here(*addresses: str) -> None:
    """Let this machine, which is a private one, ask these name servers."""
    RESOLVER.unlink(missing_ok=True)
    servers = "".join(f"nameserver {address}\n" for address in addresses or (ADDRESS,))
    RESOLVER.write_text(f"{servers}options timeout:1 attempts:1\n")


@contextlib.contextmanager
def lying(answer: Callable[[bytes], bytes], address: str = ADDRESS) -> Iterator[None]:
    """Answer each question as a function says, by UDP; nobody answers by TCP."""
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                asked, peer = there.recvfrom(4096)
                there.sendto(answer(asked), peer)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind((address, 53))
        there.settimeout(0.1)
        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(10)


@contextlib.contextmanager
def deaf(address: str = ADDRESS) -> Iterator[None]:
    """Hold a name server's port and answer nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind((address, 53))
        yield
