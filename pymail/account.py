"""An account on a server that mail is fetched from: a table [fetch.NAME] of the configuration.

Account is also the table of what such a table may say, as Config is for the settings.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pymail.configfile import Rows
from pymail.errors import ConfigError, printable
from pymail.settings import Setting, Value, checked, nearest, row

PORTS = {("imap", True): 993, ("imap", False): 143, ("pop3", True): 995, ("pop3", False): 110}

_HOST = {"pattern": r"[^\s@/:;,<>()\[\]\"\\$]+|[0-9A-Fa-f.:]+", "wanted": "the name of a host"}
_USER = {"pattern": r"[A-Za-z_][\w.-]*\$?|", "wanted": "the name of a user"}
_DOMAIN = {"pattern": r"[^\s@/:;,<>()\[\]\"\\$]+", "wanted": "the name of a domain"}
_NAME = r"\w[\w.@+-]{0,59}"  # it names files
_DESTINATIONS = ("maildir", "mda")


class After(NamedTuple):
    """What becomes of a message on the server when it is here: `verb`, and the folder of move."""

    verb: str
    folder: str = ""


class Account:
    """What one account says, every value checked; `name` is that of its table."""

    def __init__(self, name: str, values: Mapping[str, Value], place: str) -> None:
        """Take a value for each row; `place` is the file that the table is in."""
        self.name = name
        self.place = place
        vars(self).update(values)
        self.folders = tuple(dict.fromkeys(map(_known, self.folders)))
        self.port = self.port or PORTS[self.protocol, self.wrapped]

    @property
    def wrapped(self) -> bool:
        """Whether TLS begins with the first byte."""
        return self.tls_wrappermode and self.tls_security_level != "none"

    @property
    def after(self) -> After:
        """What becomes of messages on the server."""
        verb, _, folder = self.after_fetch.partition(" ")
        return After(verb, _known(folder.strip()))

    protocol: str = row("text", "imap", "imap or pop3", pattern="imap|pop3", wanted="imap or pop3")
    server: str = row("text", "", "the name of the server", **_HOST)
    port: int = row("number", 0, "its port", high=65535, shown="993, 143, 995 or 110")
    user: str = row("text", "", "who to log in as")
    password: str = row("text", "", "the password; the file must be readable for its owner only")
    password_command: str = row(
        "text", "", "a command that prints the password, or a token", raw=True
    )
    sasl_mechanism_filter: tuple[str, ...] = row(
        "list", (), "the login mechanisms that may be used; xoauth2 and oauthbearer only if named"
    )
    tls_security_level: str = row(
        "text",
        "secure",
        "secure: a certificate for the name of the server; encrypt: any; none: no TLS",
        pattern="none|encrypt|secure",
        wanted="one of none, encrypt, secure",
    )
    tls_wrappermode: bool = row(
        "flag", True, "TLS from the first byte on; false is STARTTLS, on port 143 or 110"
    )
    folders: tuple[str, ...] = row("list", ("INBOX",), "the folders of an IMAP server to look in")
    to: str = row(
        "text", "", "the user who gets the mail, through aliases and .forward", shown="you", **_USER
    )
    maildir: str = row(
        "text",
        "",
        "a Maildir that gets the mail instead",
        pattern=r"(?:~?/).+|",
        wanted="a path that begins with / or ~/",
    )
    mda: str = row("text", "", "a command that gets each message instead", raw=True)
    filter: str = row(
        "text", "", "a command that each message goes through before it is handed on", raw=True
    )
    after_fetch: str = row(
        "text",
        "keep",
        "what becomes of a message on the server: keep, seen, delete, or move FOLDER",
        pattern=r"keep|seen|delete|move .+",
        wanted="one of keep, seen, delete, move FOLDER",
    )
    delete_after: int = row(
        "time", 0, "delete what is kept so long after it was fetched; 0 is never"
    )
    size_limit: int = row("number", 0, "bytes of the largest message that is fetched; 0 is all")
    envelope_header: str = row(
        "text",
        "",
        "the header field with the address a message was for, where many share the account",
        pattern=r"[A-Za-z][A-Za-z0-9-]*|",
        wanted="the name of a header field",
    )
    domains: tuple[str, ...] = row(
        "list", (), "the domains whose addresses in it are users of this machine", **_DOMAIN
    )


ROWS: dict[str, Setting] = {
    name: value for name, value in vars(Account).items() if isinstance(value, Setting)
}


def accounts(tables: object, place: str) -> dict[str, Account]:
    """Return the accounts that `[fetch.NAME]` tables make.  ConfigError names the mistake."""
    if not isinstance(tables, dict):
        raise ConfigError(f"cannot use {place}: fetch must be tables: [fetch.NAME]")
    return {name: _account(name, table, place) for name, table in tables.items()}


def _account(name: str, table: object, place: str) -> Account:
    if not isinstance(table, dict):
        raise ConfigError(f"{_where(name, place)} is not a table")
    rows = table if isinstance(table, Rows) else Rows(table, place, {})
    where = {key: _where(name, rows.places.get(key, rows.place)) for key in ("", *ROWS, *rows)}
    _check_name(name, where[""])
    values: dict[str, Value] = {}
    for key, value in rows.items():
        if key not in ROWS:
            raise ConfigError(f"{where[key]}: unknown setting {key}{nearest(key, ROWS)}")
        try:
            values[key] = checked(ROWS[key], value)
        except ValueError as error:
            raise ConfigError(f"{where[key]}: {key} {error}") from None
    for key in ("server", "user"):
        if not values.get(key):
            raise ConfigError(f"{where['']}: {key} is missing")
    given = [key for key in _DESTINATIONS if values.get(key)]
    if len(given) > 1:
        raise ConfigError(f"{where[given[1]]}: {' and '.join(given)} exclude each other")
    account = Account(name, {k: each.default for k, each in ROWS.items()} | values, rows.place)
    _check_together(account, given, where)
    return account


def _where(name: str, place: str) -> str:
    return f"cannot use {place}: [fetch.{printable(name)}]"


def _check_together(account: Account, given: Sequence[str], where: Mapping[str, str]) -> None:
    """Raise ConfigError for settings that are good alone only; `given` are destinations."""
    if account.protocol == "pop3" and account.after.verb in ("seen", "move"):
        raise ConfigError(
            f"{where['after_fetch']}: after_fetch can only be keep or delete with POP3"
        )
    if account.after.folder in account.folders:
        raise ConfigError(
            f"{where['after_fetch']}: what after_fetch moves to {account.after.folder} would be"
            " fetched from there again: take it out of folders"
        )
    if account.envelope_header and given:
        raise ConfigError(
            f"{where['envelope_header']}: envelope_header does not go with {given[0]}"
        )


def _known(folder: str) -> str:
    """Return the name of a folder as it is recorded: only INBOX has several (RFC 3501, 5.1)."""
    return "INBOX" if folder.upper() == "INBOX" else folder


def _check_name(name: str, where: str) -> None:
    import re  # noqa: PLC0415 -- start-up

    if not re.fullmatch(_NAME, name):
        raise ConfigError(
            f"{where}: begin the name with a letter or digit, go on with those and _.@+-,"
            " and take at most 60"
        )
