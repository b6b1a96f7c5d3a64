"""The configuration: every setting, with Postfix's name and meaning, and the files it is in.

`config.toml` is written by hand.  `conf.d/*.toml` beside it, in the order of their names, lie
over it and are written by `pymail config set`; the environment lies over all (environment.py).
Config is also the table of the settings: an attribute's row says what it may hold, its default,
and what it means.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pymail import environment, nexthop, paths
from pymail.configfile import Given, files, read
from pymail.errors import ConfigError
from pymail.expansion import Expansion
from pymail.settings import Setting, Value, checked, nearest, row
from pymail.smtpsettings import SmtpSettings

if TYPE_CHECKING:
    from pymail.account import Account

MAILNAME = "/etc/mailname"
FETCH = "fetch"
"""The one table of tables: accounts, see account.py."""

OUTSIDE = (
    "error:5.4.4 outside mail is not deliverable: set relayhost, or default_transport"
    ' = "smtp" to deliver directly, in {}'
)

_HOST = {
    "pattern": r"[^\s@/:;,<>()\[\]\"\\$]+|\[[0-9A-Fa-f.:]+\]",
    "wanted": "the name of a host or a domain",
}
_USER = {"pattern": r"[A-Za-z_][\w.-]*\$?", "wanted": "the name of a user"}
_ACCOUNT = {
    "pattern": r"(?!root\Z)" + _USER["pattern"],
    "wanted": "the name of a user other than root",
}
_SOURCES = {
    "pattern": "alias|forward|include",
    "wanted": "one of alias, forward, include",
}
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_AHEAD = ("error", "retry", "discard", "hold", "lmtp", "smtp", "relay")
_TRANSPORT = {
    "pattern": rf"(?:smtp|relay|hold|(?:{'|'.join(_AHEAD)}):.*)",
    "wanted": "a transport: one of " + ", ".join(f"{name}:" for name in _AHEAD),
}
_TRANSPORTS = ("mailbox_transport", "default_transport")
_RELAYS = ("relayhost", "smtp_fallback_relay")


class Config(SmtpSettings):
    """The settings as they hold: `$name` replaced, times in seconds."""

    def __init__(self, values: Mapping[str, Value], sources: Mapping[str, str]) -> None:
        """Take a value of every setting, and where those that were given are from."""
        vars(self).update(values)
        self._sources = sources
        self.accounts: Mapping[str, Account] = {}  # of [fetch.NAME]

    def source(self, name: str) -> str:
        """Return where a setting's value is from: "FILE, line N", or "default"."""
        return self._sources.get(name, "default")

    myhostname: str = row(
        "text",
        "$hostname",
        "the name of this machine",
        shown="the machine's host name",
        **_HOST,
    )
    mydomain: str = row(
        "text",
        "$domain",
        "the domain of this machine",
        shown='$myhostname after its first dot, or "localdomain"',
        **_HOST,
    )
    myorigin: str = row(
        "text",
        "$mailname",
        "the domain of addresses that have none; a path means the first line of that file",
        shown="the line in /etc/mailname, or $myhostname",
        pattern=_HOST["pattern"] + r"|/[^\s]+",
        wanted=_HOST["wanted"],
    )
    mydestination: tuple[str, ...] = row(
        "list",
        ("$myhostname", "$myorigin", "localhost.$mydomain", "localhost"),
        "the domains whose mail is delivered on this machine",
        **_HOST,
    )
    append_dot_mydomain: bool = row("flag", False, 'complete the domain "box" to box.$mydomain')
    recipient_delimiter: str = row(
        "text",
        "",
        "the characters that separate a user name from its extension",
        pattern=r"[-+=_.#%!~&*^?{}|]*",
        wanted="one or more of the characters - + = _ . # % ! ~ & * ^ ? { } |",
    )
    alias_maps: tuple[str, ...] = row(
        "list",
        ("$aliases",),
        "the aliases files, searched in this order",
        shown='["/etc/aliases"], or the file "aliases" beside config.toml',
        pattern=r"(?:(?:hash|lmdb|cdb|dbm|btree|texthash):)?/.+",
        wanted="the path of an aliases file",
    )
    allow_mail_to_commands: tuple[str, ...] = row(
        "list", ("alias", "forward"), "where |command is allowed", **_SOURCES
    )
    allow_mail_to_files: tuple[str, ...] = row(
        "list", ("alias", "forward"), "where /file is allowed", **_SOURCES
    )
    owner_request_special: bool = row(
        "flag", True, "owner-LIST is the sender of what the alias LIST sends on"
    )
    expand_owner_alias: bool = row(
        "flag", False, "use what owner-LIST stands for as that sender, not its name"
    )
    forward_path: tuple[str, ...] = row(
        "list",
        ("$home/.forward$recipient_delimiter$extension", "$home/.forward"),
        "where a user's .forward file is looked for",
        pattern=r"(?:/|\$\{?home\}?/).+",
        wanted="a path that starts with / or $home/",
        raw=True,
    )
    home_mailbox: str = row(
        "text",
        "Maildir/",
        "the mailbox in a user's home: with a final / a Maildir, else an mbox file",
        pattern=r"(?!/|~|(?:.*/)?\.\.(?:/|\Z)).+",
        wanted="a path inside the user's home",
    )
    mailbox_command: str = row(
        "text", "", "a command that delivers for every user instead", raw=True
    )
    filter: str = row(
        "text", "", "a command that mail goes through before it reaches a mailbox", raw=True
    )
    mailbox_transport: str = row(
        "text",
        "",
        "a transport that delivers for every user instead",
        pattern=_TRANSPORT["pattern"] + "|",
        wanted=_TRANSPORT["wanted"],
    )
    default_transport: str = row(
        "text",
        "$outside",
        "what happens to mail for other domains",
        shown="smtp where relayhost or sender_dependent_relayhost_maps is set, else error: with a"
        " sentence that says what to set",
        **_TRANSPORT,
    )
    unknown_local_recipient_reject_code: int = row(
        "number",
        550,
        "mail for an unknown user: 550 returns it, 450 tries again",
        low=400,
        high=599,
    )
    default_privs: str = row(
        "text",
        "nobody",
        "the user that runs |command and writes /file of aliases",
        **_ACCOUNT,
    )
    mail_owner: str = row(
        "text", "pymail", "the system user that speaks with the network", **_ACCOUNT
    )
    root_user: str = row(
        "text",
        "",
        "who gets root's mail where root has no alias",
        pattern=_ACCOUNT["pattern"] + "|",
        wanted=_ACCOUNT["wanted"],
    )
    message_size_limit: int = row(
        "number", 10240000, "bytes that a message may have; 0 is no limit"
    )
    bounce_size_limit: int = row(
        "number", 50000, "bytes of the returned message that a bounce quotes"
    )
    hopcount_limit: int = row(
        "number", 50, "Received: lines that a message may have", low=1, high=10000
    )
    minimal_backoff_time: int = row(
        "time", 300, "the shortest wait before a deferred message is tried again", low=1
    )
    maximal_backoff_time: int = row("time", 4000, "the longest such wait", low=1)
    maximal_queue_lifetime: int = row(
        "time",
        "5d",
        "the age at which a message is returned as undeliverable",
        high=31536000,
    )
    bounce_queue_lifetime: int = row(
        "time", "5d", "the same for a message with the null sender", high=31536000
    )
    delay_warning_time: int = row(
        "time",
        0,
        "the age at which the sender is told of the delay; 0 is never",
        high=31536000,
    )
    local_destination_concurrency_limit: int = row(
        "number", 2, "deliveries at one time to the same user", low=1, high=1000
    )
    command_time_limit: int = row(
        "time", 1000, "how long a |command or a mailbox_command may run", low=1
    )
    cron_fold: bool = row(
        "flag", False, "let no job of cron say the same again and again: count it instead"
    )
    cron_digest: str = row(
        "text",
        "",
        "the time of day at which what was folded is told in one letter",
        pattern=rf"(?:{_TIME})?",
        wanted='a time of day such as "08:00"',
    )
    cron_quiet: str = row(
        "text",
        "",
        "the hours in which letters from cron wait",
        pattern=rf"(?:{_TIME}-{_TIME})?",
        wanted='two times of day such as "22:00-07:00"',
    )
    run_time_limit: int = row("time", "1h", "how long one run of flush starts deliveries", low=1)


SETTINGS: dict[str, Setting] = {
    name: value
    for each in (SmtpSettings, Config)
    for name, value in vars(each).items()
    if isinstance(value, Setting)
}


def load(path: str, *, hostname: str, mailname: str, aliases: str) -> Config:
    """Read the configuration at `path` and in conf.d beside it; without them, the defaults.

    `hostname` and `mailname` are what the machine says of itself, `aliases` is the aliases
    file where none is named.  ConfigError names the file, the line and the mistake.
    """
    facts = {"hostname": hostname, "mailname": mailname, "aliases": aliases, "config": path}
    return combine(given(path), facts)


def here(spool: str) -> Config:
    """Load the configuration that goes with `spool`, on this machine as it is now."""
    found = given(paths.config(spool)) | environment.given(os.environ, SETTINGS)
    return combine(found, machine(spool))


def given(path: str) -> Given:
    """Return what the files of the configuration at `path` set, the later over the earlier.

    Of the machine's configuration, users do without the files in conf.d that only root may read:
    there are passwords in them, and it is root who fetches and sends.
    """
    found: Given = {}
    of_machine = path == paths.SYSTEM_CONFIG and not os.environ.get("PYMAIL_CONFIG")
    for file in files(path):
        if of_machine and os.geteuid() != 0 and file != path and not os.access(file, os.R_OK):
            continue
        new = read(file)
        if FETCH in found and FETCH in new:
            new[FETCH] = _merged(found[FETCH][0], new[FETCH][0]), new[FETCH][1]
        found |= new
    return found


def _merged(accounts: object, more: object) -> object:
    """Return the accounts of two files, each of the later over one of the same name."""
    return accounts | more if isinstance(accounts, dict) and isinstance(more, dict) else more


def combine(given: Given, facts: Mapping[str, str]) -> Config:
    """Return the configuration that holds with these values given.  ConfigError as load()."""
    for name, (value, place) in given.items():
        if name not in SETTINGS and name != FETCH:
            kind = "table" if isinstance(value, dict) else "setting"
            raise ConfigError(f"cannot use {place}: unknown {kind} {name}{nearest(name, SETTINGS)}")

    def of_machine(name: str, expansion: Expansion) -> str:
        if name == "domain":
            return expansion.text("myhostname").partition(".")[2] or "localdomain"
        if name == "mailname":
            return facts[name] or expansion.text("myhostname")
        if name == "dkim":
            return os.path.join(os.path.dirname(facts["config"]), "dkim")
        if name == "outside":
            relayed = expansion.value("relayhost") or expansion.value(
                "sender_dependent_relayhost_maps"
            )
            return "smtp" if relayed else OUTSIDE.format(facts["config"])
        return facts[name]

    expansion = Expansion(SETTINGS, given, of_machine, _finished)
    values = {name: expansion.value(name) for name in SETTINGS}
    config = Config(values, {name: place for name, (_, place) in given.items()})
    _refuse_impossible(config)
    if FETCH in given:
        from pymail import account  # noqa: PLC0415 -- start-up

        config.accounts = account.accounts(*given[FETCH])
    return config


def machine(spool: str) -> dict[str, str]:
    """Return what this machine says of itself, for combine(), with the configuration's path."""
    return {
        "hostname": os.uname().nodename,
        "mailname": _mailname(),
        "aliases": paths.aliases(spool),
        "config": paths.config(spool),
    }


def _finished(name: str, value: Value) -> Value:
    """Give a checked value its final form.  ValueError for a next hop that there cannot be."""
    if name == "alias_maps" and isinstance(value, tuple):
        return tuple(word[word.index("/") :] for word in value)
    if name == "myorigin" and isinstance(value, str) and value.startswith("/"):
        return _first_line(value)
    if name in _RELAYS and isinstance(value, tuple):
        nexthop.parse_all(", ".join(value))
    if name in _TRANSPORTS and isinstance(value, str):
        kind, _, argument = value.partition(":")
        nexthop.parse_all(argument if kind in ("smtp", "relay") else "")
    return value


def _mailname() -> str:
    """Return the line in /etc/mailname (Debian's policy, 11.6), or nothing."""
    try:
        with open(MAILNAME, encoding="utf-8", errors="replace") as lines:
            return next((line.strip() for line in lines if line.strip()), "")
    except OSError:
        return ""


def _first_line(file: str) -> str:
    """Return the name in a file such as /etc/mailname."""
    try:
        with open(file, encoding="utf-8", errors="replace") as lines:
            line = next((line.strip() for line in lines if line.strip()), "")
    except OSError as error:
        message = f"names {file}, which cannot be read: {error.strerror}"
        raise ValueError(message) from None
    return str(checked(SETTINGS["mydomain"], line))


def _refuse_impossible(config: Config) -> None:
    if config.minimal_backoff_time > config.maximal_backoff_time:
        place = config.source("minimal_backoff_time")
        if place == "default":
            place = config.source("maximal_backoff_time")
        message = (
            f"cannot use {place}: minimal_backoff_time ({config.minimal_backoff_time}) is more "
            f"than maximal_backoff_time ({config.maximal_backoff_time})"
        )
        raise ConfigError(message)
