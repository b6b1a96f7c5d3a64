"""Store a login for a mail server, and prove that it works as cron will use it.

The login goes into `saslpass` beside the configuration, in the format of Postfix's file of that
name, mode 0600; in user mode the password itself goes into the keyring where that can be asked
without a session, a terminal or an environment.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pymail import child, config, durable, hosts, nexthop, overlay, paths, secret, world
from pymail.address import fold
from pymail.config import Config
from pymail.errors import ConfigError, DataError, MailError, PermError, TempError, UsageError
from pymail.nexthop import NextHop
from pymail.secret import SETTING, Logins, hop_keys
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

_FORGET = """\
import sys
import keyring
keyring.delete_password(*sys.stdin.read().split("\\n"))
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
    """Write down a login; return where the password is now.

    DataError, and nothing is written, where the configuration has its logins in a table.
    """
    file, settings = _file(), config.here(paths.spool())
    if settings.smtp_sasl_password_maps.rows:
        place = settings.source(SETTING)
        raise DataError(f"cannot use {file}: {SETTING} is a table ({place}); move it to that file")
    kept = "" if not _home() else _into_keyring(hop, login)
    value = login.user if kept else f"{login.user}:{login.password}"
    _, others = _parted(_lines(file), _spellings(hop))
    _write(file, [*others, f"{hop.shown} {value}"])
    _refer(file, settings)
    return kept or file


def keep(logins: Mapping[str, str]) -> str:
    """Write down logins as smtp_sasl_password_maps has them, by key; return the file."""
    file = _file()
    _, others = _parted(_lines(file), logins)
    _write(file, [*others, *(f"{key} {value}" for key, value in logins.items())])
    return file


def remove(hop: NextHop) -> bool:
    """Forget a login, wherever its password is; say whether there was one."""
    file = _file()
    removed, others = _parted(_lines(file), _spellings(hop))
    if removed:
        _write(file, others)
    for line in removed if _home() else ():
        user = "".join(line.split(maxsplit=1)[1:]).rstrip()
        # Without a password in the file, that of the keyring was used.
        if user and ":" not in user and not _is_needed(hop.host, user, others):
            _out_of_keyring(hop.host, user)
    return bool(removed)


def _is_needed(host: str, user: str, lines: Iterable[str]) -> bool:
    """Say whether something else may use the password of the keyring: a port, an account."""
    accounts = config.here(paths.spool()).accounts.values()
    return any(host in line and user in line for line in lines) or any(
        (account.server, account.user) == (host, user) for account in accounts
    )


def _into_keyring(hop: NextHop, login: Login) -> str:
    """Put the password into the keyring, if cron can get it out of there; say so."""
    _change_keyring(_STORE, f"pymail:{hop.host}", login.user, login.password)
    return "the keyring" if secret.in_keyring(hop.host, login.user) == login.password else ""


def _out_of_keyring(host: str, user: str) -> None:
    """Remove a password from the keyring.  TempError where it stays."""
    _change_keyring(_FORGET, f"pymail:{host}", user)
    if secret.in_keyring(host, user):
        raise TempError(f"cannot remove the password of {user} at {host} from the keyring")


def _change_keyring(script: str, *words: str) -> None:
    """Let a script act on the keyring, as far as there is one that works without a session."""
    try:
        subprocess.run(
            [sys.executable, "-I", "-c", script],
            input="\n".join(words).encode(),
            capture_output=True,
            timeout=secret.PATIENCE,
            env=_trial(),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return  # what it has in the end is looked at


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
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as lines:
            return lines.read().removesuffix("\n").split("\n")
    except FileNotFoundError:
        return []


def _spellings(hop: NextHop) -> Iterator[str]:
    """Yield each key under which the login for a next hop is looked up."""
    return (key.text for key in hop_keys(hop))


def _parted(lines: Sequence[str], keys: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the lines that are about these keys, as maps.py reads them, and the others."""
    folded = set(map(fold, keys))
    found: tuple[list[str], list[str]] = ([], [])
    ours = False
    for line in lines:
        words = line.split(maxsplit=1)
        empty = not words or words[0].startswith("#")
        if not empty and not line[0].isspace():  # else the line before goes on
            ours = fold(words[0]) in folded
        found[empty or not ours].append(line)
    return found


def _write(file: str, lines: list[str]) -> None:
    """Replace the file, readable to nobody else, durably."""
    try:
        durable.replace(file, "".join(f"{line}\n" for line in lines), 0o600)
    except OSError as error:
        raise TempError(f"cannot write {file}: {error.strerror}") from None


def _refer(file: str, settings: Config) -> None:
    """Let the configuration name the file."""
    table = settings.smtp_sasl_password_maps
    if file not in table.files:
        facts = config.machine(paths.spool())
        overlay.set_value(facts["config"], facts, SETTING, [*table.files, file])
