"""Fixtures for every test, and the guard around the real home, spool and network."""

import functools
import os
import pwd
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import machine as machines
import pytest
from harness import CI, Box, missing
from hypothesis import HealthCheck
from hypothesis import settings as examples

NO_MACHINE = pytest.StashKey[str]()
# What a shell's `&` and nohup(1) make a program ignore, programs under test must not.
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)

LOOPBACK = ("127.", "::1", "localhost")

# Other work on the machine must not fail a test; in CI each run tries the same examples.
examples.register_profile(
    "patient", deadline=None, derandomize=CI, suppress_health_check=[HealthCheck.too_slow]
)
examples.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer the whole of the sweeps of which a run takes a sample."""
    parser.addoption("--whole", action="store_true", help="run sweeps as a whole, no sample")


@pytest.fixture(scope="session")
def whole(request: pytest.FixtureRequest) -> bool:
    """Whether sweeps are to be run as a whole."""
    return bool(request.config.getoption("--whole"))


@pytest.fixture(scope="session")
def sweep(*, whole: bool) -> None:
    """Skip a test that only a whole sweep has time for."""
    if not whole:
        pytest.skip("--whole plays it")


def pytest_configure(config: pytest.Config) -> None:
    """Move into a machine of our own before anything is collected."""
    if hasattr(config, "workerinput") or config.getoption("dist", "no") == "no":
        config.stash[NO_MACHINE] = machines.enter()


def _real() -> dict[str, int]:
    """Read the state of the places that tests must leave alone."""
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    mine = ("Maildir", "Maildir/new", "mbox", "dead.letter", ".forward", ".mailrc")
    mine += (".config/pymail", ".local/state/pymail", ".local/state/pymail/spool/queue")
    system = ("/var/spool/pymail", "/var/spool/pymail/queue", "/etc/pymail", "/etc/aliases")
    state = {}
    for path in [*(home / name for name in mine), *map(Path, system)]:
        try:
            state[str(path)] = path.stat().st_mtime_ns
        except OSError:
            state[str(path)] = 0
    return state


@pytest.fixture(autouse=True)
def guard(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Fail a test that touches the real home, the real spool or anything but loopback."""
    os.umask(0o022)  # programs that a test runs in this process set their own
    away = tmp_path / "no-home"
    for name in [*os.environ]:
        if name.startswith(("PYMAIL_", "XDG_")) and name != "PYMAIL_CORPUS":
            monkeypatch.delenv(name)
    for name in ("MAIL", "MAILRC", "MAILPATH", "NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(away))
    connect = socket.socket.connect

    def only_loopback(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else ""
        if host and not str(host).startswith(LOOPBACK):
            pytest.fail(f"a test tried to reach {address}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", only_loopback)
    if "machine" in request.fixturenames:
        yield
        return
    before = _real()
    yield
    changed = [path for path, state in _real().items() if state != before[path]]
    assert not changed, f"a test touched {changed}"


@pytest.fixture
def boxes(tmp_path: Path) -> Callable[[str], Box]:
    """Make as many trials in user mode as a test wants."""
    return lambda name: Box(tmp_path / name)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """A trial in user mode: own spool, configuration and home."""
    return Box(tmp_path / "box")


@pytest.fixture(scope="session")
def factory(request: pytest.FixtureRequest) -> Callable[[], machines.Machine]:
    """What makes a clean machine, for fixtures that several tests share."""
    return functools.partial(_clean_machine, request)


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> machines.Machine:
    """A machine in system mode, with users, clean."""
    return _clean_machine(request)


def _clean_machine(request: pytest.FixtureRequest) -> machines.Machine:
    reason = request.config.stash.get(NO_MACHINE, "no namespace")
    if reason:
        missing(f"this test needs root and namespaces: {reason}")
    here = machines.Machine()
    here.reset()
    return here
