"""Where our logins come from: who we are at a next hop, and the password.

smtp_sasl_password_maps says who: "user:password", or only "user", whose password is then looked
for in this order:

    systemd credentials   $CREDENTIALS_DIRECTORY/pymail-HOST, then pymail-password
    password_command      run later, in the process that speaks with the server
    the keyring           user mode; service "pymail:HOST"
    ~/.netrc              user mode

In a container /run/secrets/pymail has "user:password" for what relayhost names.

A file with a password that others may read is refused, but for those in /run/secrets.  No secret
stands in a command line, in a log or in an error.
"""

import os
import sys
from collections.abc import Iterator

from pymail import confidential, environment, nexthop
from pymail.account import Account
from pymail.config import Config
from pymail.errors import ConfigError, TempError, printable
from pymail.keys import Key, sender_keys
from pymail.maps import Map
from pymail.nexthop import NextHop
from pymail.transport import Login

PATIENCE = 30
"""Seconds that password_command may take, and the keyring."""

LIMIT = 1 << 16
"""Bytes of a password or token."""

SETTING = confidential.SETTING
_SECRETS = "/run/secrets/"
MOUNTED = f"{_SECRETS}pymail"
"""What Docker and Podman mount as the secret "pymail": "user:password" for relayhost."""

_PORTS = {587: ("submission",), 465: ("submissions", "smtps")}
_KEYRING = """\
import sys
import keyring
import keyring.backends.fail
service, user = sys.stdin.read().split("\\n")
ring = keyring.get_keyring()
kind = type(ring)
if isinstance(ring, keyring.backends.fail.Keyring) or "Plaintext" in kind.__name__:
    sys.exit(0)
sys.stdout.write(ring.get_password(service, user) or "")
"""


class Logins:
    """The logins of a configuration; what was found is remembered for one run.

    `home` is that of the one user in user mode, "" in system mode.
    """

    def __init__(self, config: Config, home: str) -> None:
        self._config = config
        self._home = home
        self._map: Map | None = None
        self._found: dict[tuple[str, str], Login | None] = {}

    @property
    def any(self) -> bool:
        """Say whether there can be a login for anybody."""
        config = self._config
        named = bool(config.smtp_sasl_password_maps)
        return config.smtp_sasl_auth_enable and (named or os.path.exists(MOUNTED))

    def at(self, argument: str, sender: str) -> tuple[tuple[str, Login], ...]:
        """Return the next hops of a list that have a login for us, each with it.

        The relays that mail falls back to are among them.  ConfigError names a file that
        cannot be used.
        """
        if not self.any:
            return ()
        fallback = ", ".join(self._config.smtp_fallback_relay)
        hops = (*nexthop.parse_all(argument), *nexthop.parse_all(fallback))
        found = ((hop.shown, self.find(hop, sender)) for hop in hops)
        return tuple((shown, login) for shown, login in found if login)

    def find(self, hop: NextHop, sender: str) -> Login | None:
        """Return who we are at a next hop, None where we are nobody there."""
        key = (hop.shown, sender if self._config.smtp_sender_dependent_authentication else "")
        if key not in self._found:
            self._found[key] = self._look(hop, key[1])
        return self._found[key]

    def _look(self, hop: NextHop, sender: str) -> Login | None:
        table = self._logins()
        delimiters = self._config.recipient_delimiter
        found = table.first(sender_keys(sender, delimiters)) if sender else None
        found = found or table.first(hop_keys(hop))
        if found is None:
            return self._mounted(hop)
        source = f"{SETTING}, {found.place}"
        user, colon, password = found.value.partition(":")
        if colon:
            return Login(user, password, source=source)
        return self._elsewhere(user, hop) or Login(user, source=f"{source}: no password found")

    def _mounted(self, hop: NextHop) -> Login | None:
        """Return the login of a container, which is for the relays of relayhost."""
        if hop not in nexthop.parse_all(", ".join(self._config.relayhost)):
            return None
        try:
            with open(MOUNTED, encoding="utf-8", errors="surrogateescape") as file:
                line = file.read(LIMIT).partition("\n")[0]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"cannot read {MOUNTED}: {error.strerror}") from None
        user, _, password = line.partition(":")
        return Login(user, password, source=MOUNTED)

    def _elsewhere(self, user: str, hop: NextHop) -> Login | None:
        password = _credential(hop.host)
        if password:
            return Login(user, password, source="systemd credential")
        if self._config.password_command:
            return Login(user, command=self._config.password_command, source="password_command")
        if not self._home:
            return None
        password = in_keyring(hop.host, user)
        if password:
            return Login(user, password, source="keyring")
        password = _in_netrc(self._home, hop.host, user)
        return Login(user, password, source="~/.netrc") if password else None

    def _logins(self) -> Map:
        """Return the table of logins; refuse files with passwords that others may read."""
        if self._map is None:
            table, source = self._config.smtp_sasl_password_maps, self._config.source(SETTING)
            for file in _files_of_logins(self._config):
                _refuse_open(file)
            self._map = Map(table, source)
        return self._map


def files(config: Config) -> Iterator[str]:
    """Yield the files that passwords stand in, which are refused where others may read them."""
    if config.smtp_sasl_auth_enable:
        yield from _files_of_logins(config)
    for account in config.accounts.values():
        if account.password:
            yield _file(account.place)


def is_open(path: str) -> bool:
    """Say whether others may read a file with a password.  OSError."""
    if path.startswith(_SECRETS):
        return False  # who mounts it decides who is in there
    return bool(os.stat(path).st_mode & 0o077)


def of_account(account: Account, home: str) -> Login:
    """Return who we are at a server that mail is fetched from; `home` as for Logins.

    ConfigError where the configuration has the password and others may read it.
    """
    user, source = account.user, f"[fetch.{account.name}]"
    if account.password:
        _refuse_open(_file(account.place))
        return Login(user, account.password, source=source)
    password = _credential(account.server)
    if password:
        return Login(user, password, source="systemd credential")
    if account.password_command:
        return Login(user, command=account.password_command, source="password_command")
    if home:
        if password := in_keyring(account.server, user):
            return Login(user, password, source="keyring")
        if password := _in_netrc(home, account.server, user):
            return Login(user, password, source="~/.netrc")
    return Login(user, source=f"{source}: no password found")


def reveal(login: Login, hop: NextHop) -> Login:
    """Return the login with its password, which a command may have to tell.

    Called in the process that speaks with the server, with that user's rights.  TempError where
    the command fails.
    """
    if login.password:
        return login
    if not login.command:
        raise TempError(
            f"no password for {login.user} at {hop.host}: run pymail login {hop.host} {login.user}"
        )
    import subprocess  # noqa: PLC0415 -- start-up

    env = {"PATH": os.defpath, "PYMAIL_HOST": hop.host, "PYMAIL_USER": login.user}
    home = os.environ.get("HOME")
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", login.command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            env={**env, "HOME": home} if home else env,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TempError(f"password_command gave no answer in {PATIENCE} s") from None
    except OSError as error:
        raise TempError(f"cannot run password_command: {error.strerror}") from None
    if done.returncode:
        words = printable(done.stderr[-200:].decode("utf-8", "replace").strip())
        raise TempError(f"password_command failed with status {done.returncode}: {words}")
    password = done.stdout[:LIMIT].partition(b"\n")[0].decode("utf-8", "surrogateescape")
    if not password:
        raise TempError("password_command printed nothing")
    return Login(login.user, password, source=login.source)


def in_keyring(host: str, user: str) -> str:
    """Return the password that the keyring has, "" where there is none that can be asked.

    It is asked in a process of its own: backends may wait for a person, or for a bus.
    """
    import subprocess  # noqa: PLC0415 -- start-up

    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _KEYRING],
            input=f"pymail:{host}\n{user}".encode(),
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout[:LIMIT].decode("utf-8", "replace") if done.returncode == 0 else ""


def _in_netrc(home: str, host: str, user: str) -> str:
    import netrc  # noqa: PLC0415 -- start-up

    path = f"{home}/.netrc"
    try:
        entry = netrc.netrc(path).authenticators(host)
    except FileNotFoundError:
        return ""
    except netrc.NetrcParseError as error:  # its words are those of the file
        raise ConfigError(
            f"cannot read {path}, near line {error.lineno}: a password with blanks, quotes or"
            ' backslashes needs "quotes", and a backslash before those that are in it'
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"cannot read {path}: it is not UTF-8") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if not entry or entry[0] != user or not entry[2]:
        return ""
    _refuse_open(path)
    return entry[2]


def hop_keys(hop: NextHop) -> Iterator[Key]:
    """Yield how a next hop may be called in smtp_sasl_password_maps."""
    yield Key(hop.shown)
    for host in (f"[{hop.host}]", hop.host):
        for port in (str(hop.port), *_PORTS.get(hop.port, ())):
            yield Key(f"{host}:{port}")
    yield Key(f"[{hop.host}]")
    yield Key(hop.host)


def _credential(host: str) -> str:
    """Return the password that systemd has handed over (LoadCredential=, systemd.exec(5))."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    for name in (f"pymail-{host}", "pymail-password") if folder else ():
        try:
            with open(f"{folder}/{name}", encoding="utf-8", errors="surrogateescape") as file:
                return file.read(LIMIT).partition("\n")[0]
        except OSError:
            continue  # not handed over
    return ""


def _files_of_logins(config: Config) -> Iterator[str]:
    table, source = config.smtp_sasl_password_maps, config.source(SETTING)
    for file in table.files:
        yield f"/{file.partition('/')[2]}"  # "regexp:/path" too
    # What is in the environment nobody else can read.
    given = not source.startswith(environment.PREFIX)
    if given and any(confidential.has_password(login) for _, login in table.rows):
        yield _file(source)


def _file(place: str) -> str:
    """Return the file of "FILE, line N"."""
    return place.partition(", line ")[0]


def _refuse_open(path: str) -> None:
    try:
        refused = is_open(path)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if refused:
        raise ConfigError(
            f"cannot use {path}: it has a password, and others may read it: chmod 600"
        )
