"""Store a login for a mail server, and prove that it works as cron will use it.

The login goes into `saslpass` beside the configuration, in the format of Postfix's file of that
name, mode 0600; in user mode the password itself goes into the keyring where that can be asked
without a session, a terminal or an environment.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping

from pymail import child, config, durable, hosts, nexthop, overlay, paths, secret, world
from pymail.address import fold
from pymail.config import Config
from pymail.errors import ConfigError, DataError, MailError, PermError, TempError, UsageError
from pymail.nexthop import NextHop
from pymail.secret import SETTING, Logins
from pymail.transport import Login
from pymail.transport.smtp import Server, Session
from pymail.transport.wire import LostError

SUBMISSION = 587
PATIENCE = 120
"""Seconds that a trial may take."""

_FAILURES = {kind.status: kind for kind in (ConfigError, DataError, PermError)}

_STORE = """\
import sys
import keyring
service, user, password = sys.stdin.read().split("\\n")
keyring.set_password(service, user, password)
"""


def server(text: str, settings: Config) -> NextHop:
    """Return the next hop that a person means: one of relayhost's, or submission at a host."""
    try:
        hop = nexthop.parse(text)
    except ValueError as error:
        raise UsageError(f"cannot log in: {error}") from None
    for known in nexthop.parse_all(", ".join(settings.relayhost)):
        if known.host == hop.host and (hop.port in (known.port, nexthop.PORT)):
            return known
    bare = not text.startswith("[") and ":" not in text
    return NextHop(hop.host, SUBMISSION, mx=False) if bare else hop


def known(settings: Config) -> Iterator[tuple[str, Login]]:
    """Yield the relays of the configuration that we log in at, each with the login."""
    logins = Logins(settings, _home())
    yield from logins.at(", ".join(settings.relayhost), "")


def attempt(hop: NextHop, login: Login | None, settings: Config) -> None:
    """Connect for real, and log in where there is a login.

    PermError where that is refused, TempError where it cannot be known.
    """
    owner = world.open_machine(settings, paths.spool()).user(settings.mail_owner)
    if owner is None or os.getuid() != 0 or not paths.is_system(paths.spool()):
        kind, words = _tried(hop, login, settings)
    else:
        # As flush does it: what speaks with the network, or runs a command, is never root.
        try:
            kind, words = child.ask(owner, lambda: _tried(hop, login, settings), PATIENCE)
        except OSError as error:
            raise TempError(f"cannot log in at {hop.shown}: {error.strerror}") from None
    if kind == "login":
        user = login.user if login else "nobody"
        raise PermError(f"cannot log in at {hop.shown} as {user}: {words}")
    if kind:
        raise TempError(f"cannot {'log in at' if login else 'reach'} {hop.shown}: {words}")


def _tried(hop: NextHop, login: Login | None, settings: Config) -> list[str]:
    """Return [kind, words] of what went wrong, empty ones for nothing."""
    until = time.monotonic() + PATIENCE
    kind, words = "", ""
    try:
        login = secret.reveal(login, hop) if login else None
        for each in hosts.servers(hop, settings):
            kind, words = _tried_at(each, login, settings)
            # As flush does it: a login that was refused is not told to the next address.
            if kind != "host" or time.monotonic() > until:
                break
    except (MailError, hosts.UnresolvedError) as error:
        return ["host", str(error)]
    return [kind, words]


def _tried_at(place: Server, login: Login | None, settings: Config) -> tuple[str, str]:
    try:
        Session(place, settings, login).quit()
    except LostError as error:
        return error.kind, str(error)
    return "", ""


def check(hop: NextHop, settings: Config) -> str:
    """Find the login for a server as flush does, and use it; return where it came from."""
    login = Logins(settings, _home()).find(hop, "")
    if login is None:
        raise DataError(f"no login for {hop.shown}: run pymail login {hop.host}")
    attempt(hop, login, settings)
    return login.source


def prove(hop: NextHop) -> None:
    """Do the same as cron would: no terminal, no session, no environment.

    PermError where the login is refused, other MailErrors where something else fails.
    """
    try:
        done = subprocess.run(
            paths.program("admin", "login", "--check", hop.shown),
            env=_trial(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
            start_new_session=True,
            timeout=2 * PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        words = f"cannot log in at {hop.shown}: no answer in {2 * PATIENCE} s"
        raise TempError(words) from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        words = said.removeprefix("pymail: ") or f"it ended with status {done.returncode}"
        raise _FAILURES.get(done.returncode, TempError)(words)


def confirm(hop: NextHop) -> None:
    """Prove a login that has just worked here.  MailError that says so."""
    try:
        prove(hop)
    except MailError as error:
        words = f"it works here, but not as cron will run it: {error}"
        raise type(error)(words) from None


def store(hop: NextHop, login: Login) -> str:
    """Write down a login; return where the password is now."""
    kept = "" if not _home() else _into_keyring(hop, login)
    value = login.user if kept else f"{login.user}:{login.password}"
    file = keep({hop.shown: value})
    _refer(file)
    return kept or file


def keep(logins: Mapping[str, str]) -> str:
    """Write down logins as smtp_sasl_password_maps has them, by key; return the file."""
    file = _file()
    lines = list(_others(file, *logins))
    _write(file, [*lines, *(f"{key} {value}" for key, value in logins.items())])
    return file


def remove(hop: NextHop) -> bool:
    """Forget a login; say whether there was one."""
    file = _file()
    try:
        before = _lines(file)
    except FileNotFoundError:
        return False
    after = list(_others(file, hop.shown))
    if after != before:
        _write(file, after)
    return after != before


def _into_keyring(hop: NextHop, login: Login) -> str:
    """Put the password into the keyring, if cron can get it out of there; say so."""
    service = f"pymail:{hop.host}"
    try:
        subprocess.run(
            [sys.executable, "-I", "-c", _STORE],
            input=f"{service}\n{login.user}\n{login.password}".encode(),
            capture_output=True,
            timeout=secret.PATIENCE,
            env=_trial(),
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""  # none that works without a session
    return "the keyring" if secret.in_keyring(hop.host, login.user) == login.password else ""


def _trial() -> dict[str, str]:
    """Return the little that is left of the environment: where a trial lives."""
    names = ("PYMAIL_SPOOL", "PYMAIL_CONFIG")
    trial = {name: os.environ[name] for name in names if name in os.environ}
    return {**trial, "HOME": paths.home(os.getuid())} if trial else {}


def _home() -> str:
    """Return the home of the one user of user mode, "" in system mode."""
    return "" if paths.is_system(paths.spool()) else paths.home(os.getuid())


def _file() -> str:
    return f"{os.path.dirname(paths.config(paths.spool()))}/saslpass"


def _lines(file: str) -> list[str]:
    with open(file, encoding="utf-8", errors="surrogateescape") as lines:
        return lines.read().splitlines()


def _others(file: str, *keys: str) -> Iterator[str]:
    """Yield the lines of the file that are not about these servers."""
    try:
        lines = _lines(file)
    except FileNotFoundError:
        return
    folded = set(map(fold, keys))
    for line in lines:
        if fold(line.partition(" ")[0].strip()) not in folded:
            yield line


def _write(file: str, lines: list[str]) -> None:
    """Replace the file, readable to nobody else, durably."""
    try:
        durable.replace(file, "".join(f"{line}\n" for line in lines), 0o600)
    except OSError as error:
        raise TempError(f"cannot write {file}: {error.strerror}") from None


def _refer(file: str) -> None:
    """Let the configuration name the file."""
    spool = paths.spool()
    settings = config.here(spool)
    table = settings.smtp_sasl_password_maps
    if table.rows:
        place = settings.source(SETTING)
        raise DataError(f"cannot use {file}: {SETTING} is a table ({place}); move it to that file")
    if file not in table.files:
        facts = config.machine(spool)
        overlay.set_value(facts["config"], facts, SETTING, [*table.files, file])
