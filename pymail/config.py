"""The configuration: every setting, with Postfix's name and meaning, and the files it is in.

`config.toml` is written by hand.  `conf.d/*.toml` beside it, in the order of their names, lie
over it and are written by `pymail config set`.  Config is also the table of the settings: an
attribute's row says what it may hold, its default, and what it means.
"""

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from pymail import paths
from pymail.errors import ConfigError, MailError
from pymail.settings import (
    Setting,
    Value,
    checked,
    elements,
    expand,
    flat,
    nearest,
    reference,
)

MAILNAME = "/etc/mailname"
LIMIT = 1 << 20
"""Bytes that a configuration file may have."""

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
_AHEAD = ("error", "retry", "discard", "lmtp")
_TRANSPORT = {
    "pattern": rf"(?:{'|'.join(_AHEAD)}):.*",
    "wanted": "a transport: one of " + ", ".join(f"{name}:" for name in _AHEAD),
}


def _row(kind: str, default: Value, words: str, **more: Any) -> Any:  # noqa: ANN401
    """Declare one setting; Any, because the attribute has a type of its own."""
    return field(metadata={"setting": Setting(kind, default, words, **more)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings as they hold: `$name` replaced, times in seconds."""

    myhostname: str = _row(
        "text",
        "$hostname",
        "the name of this machine",
        shown="the machine's host name",
        **_HOST,
    )
    mydomain: str = _row(
        "text",
        "$domain",
        "the domain of this machine",
        shown='$myhostname after its first dot, or "localdomain"',
        **_HOST,
    )
    myorigin: str = _row(
        "text",
        "$mailname",
        "the domain of addresses that have none; a path means the first line of that file",
        shown="the line in /etc/mailname, or $myhostname",
        pattern=_HOST["pattern"] + r"|/[^\s]+",
        wanted=_HOST["wanted"],
    )
    mydestination: tuple[str, ...] = _row(
        "list",
        ("$myhostname", "$myorigin", "localhost.$mydomain", "localhost"),
        "the domains whose mail is delivered on this machine",
        **_HOST,
    )
    append_dot_mydomain: bool = _row("flag", False, 'complete the domain "box" to box.$mydomain')
    recipient_delimiter: str = _row(
        "text",
        "",
        "the characters that separate a user name from its extension",
        pattern=r"[-+=_.#%!~&*^?{}|]*",
        wanted="one or more of the characters - + = _ . # % ! ~ & * ^ ? { } |",
    )
    alias_maps: tuple[str, ...] = _row(
        "list",
        ("$aliases",),
        "the aliases files, searched in this order",
        shown='["/etc/aliases"], or the file "aliases" beside config.toml',
        pattern=r"(?:(?:hash|lmdb|cdb|dbm|btree|texthash):)?/.+",
        wanted="the path of an aliases file",
    )
    allow_mail_to_commands: tuple[str, ...] = _row(
        "list", ("alias", "forward"), "where |command is allowed", **_SOURCES
    )
    allow_mail_to_files: tuple[str, ...] = _row(
        "list", ("alias", "forward"), "where /file is allowed", **_SOURCES
    )
    owner_request_special: bool = _row(
        "flag", True, "owner-LIST is the sender of what the alias LIST sends on"
    )
    expand_owner_alias: bool = _row(
        "flag", False, "use what owner-LIST stands for as that sender, not its name"
    )
    forward_path: tuple[str, ...] = _row(
        "list",
        ("$home/.forward$recipient_delimiter$extension", "$home/.forward"),
        "where a user's .forward file is looked for",
        pattern=r"(?:/|\$\{?home\}?/).+",
        wanted="a path that starts with / or $home/",
        raw=True,
    )
    home_mailbox: str = _row(
        "text",
        "Maildir/",
        "the mailbox in a user's home: with a final / a Maildir, else an mbox file",
        pattern=r"(?!/|~|(?:.*/)?\.\.(?:/|\Z)).+",
        wanted="a path inside the user's home",
    )
    mailbox_command: str = _row(
        "text", "", "a command that delivers for every user instead", raw=True
    )
    mailbox_transport: str = _row(
        "text",
        "",
        "a transport that delivers for every user instead",
        pattern=_TRANSPORT["pattern"] + "|",
        wanted=_TRANSPORT["wanted"],
    )
    default_transport: str = _row(
        "text",
        "error:5.4.4 outside mail is not deliverable: set default_transport in $config",
        "what happens to mail for other domains",
        **_TRANSPORT,
    )
    unknown_local_recipient_reject_code: int = _row(
        "number",
        550,
        "mail for an unknown user: 550 returns it, 450 tries again",
        low=400,
        high=599,
    )
    default_privs: str = _row(
        "text",
        "nobody",
        "the user that runs |command and writes /file of aliases",
        **_ACCOUNT,
    )
    mail_owner: str = _row(
        "text", "pymail", "the system user that speaks with the network", **_ACCOUNT
    )
    root_user: str = _row(
        "text",
        "",
        "who gets root's mail where root has no alias",
        pattern=_ACCOUNT["pattern"] + "|",
        wanted=_ACCOUNT["wanted"],
    )
    message_size_limit: int = _row(
        "number", 10240000, "bytes that a message may have; 0 is no limit"
    )
    bounce_size_limit: int = _row(
        "number", 50000, "bytes of the returned message that a bounce quotes"
    )
    hopcount_limit: int = _row(
        "number", 50, "Received: lines that a message may have", low=1, high=10000
    )
    minimal_backoff_time: int = _row(
        "time", 300, "the shortest wait before a deferred message is tried again", low=1
    )
    maximal_backoff_time: int = _row("time", 4000, "the longest such wait", low=1)
    maximal_queue_lifetime: int = _row(
        "time",
        "5d",
        "the age at which a message is returned as undeliverable",
        high=31536000,
    )
    bounce_queue_lifetime: int = _row(
        "time", "5d", "the same for a message with the null sender", high=31536000
    )
    delay_warning_time: int = _row(
        "time",
        0,
        "the age at which the sender is told of the delay; 0 is never",
        high=31536000,
    )
    local_destination_concurrency_limit: int = _row(
        "number", 2, "deliveries at one time to the same user", low=1, high=1000
    )
    command_time_limit: int = _row(
        "time", 1000, "how long a |command or a mailbox_command may run", low=1
    )
    run_time_limit: int = _row("time", "1h", "how long one run of flush starts deliveries", low=1)
    sources: Mapping[str, str] = field(default_factory=dict, repr=False)

    def source(self, name: str) -> str:
        """Return where a setting's value is from: "FILE, line N", or "default"."""
        return self.sources.get(name, "default")


SETTINGS: dict[str, Setting] = {
    row.name: row.metadata["setting"] for row in fields(Config) if row.metadata
}


def load(path: str, *, hostname: str, mailname: str, aliases: str) -> Config:
    """Read the configuration at `path` and in conf.d beside it; without them, the defaults.

    `hostname` and `mailname` are what the machine says of itself, `aliases` is the aliases
    file where none is named.  ConfigError names the file, the line and the mistake.
    """
    given: dict[str, tuple[object, str]] = {}
    for file in files(path):
        given.update(read(file))
    return _Resolver(given, path, hostname, mailname, aliases).config()


def here(spool: str) -> Config:
    """Load the configuration that goes with `spool`, on this machine as it is now."""
    return load(
        paths.config(spool),
        hostname=os.uname().nodename,
        mailname=_mailname(),
        aliases=paths.aliases(spool),
    )


def files(path: str) -> list[str]:
    """Return the files of the configuration that exist, the later over the earlier."""
    folder = overlays(path)
    try:
        _refuse_unsafe(folder, os.stat(folder))
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        names = []
    except OSError as error:
        raise _unreadable(folder, error) from error
    found = [path] if os.path.lexists(path) else []
    return found + [
        f"{folder}/{name}" for name in names if name.endswith(".toml") and name[0] != "."
    ]


def overlays(path: str) -> str:
    """Return the directory of the machine-written files that lie over `path`."""
    return os.path.join(os.path.dirname(path), "conf.d")


def read(file: str) -> dict[str, tuple[object, str]]:
    """Return what one file sets: a checked raw value by name, and "FILE, line N"."""
    import tomllib  # noqa: PLC0415 -- 12 ms that a machine without a configuration saves

    text = _text(file)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        words = re.sub(r" \(at (.*)\)", r", \1", str(error))
        message = f"cannot read {file}: {words}"
        raise ConfigError(message) from None
    lines = _lines(text)
    result: dict[str, tuple[object, str]] = {}
    for name, value in table.items():
        place = f"{file}, line {lines[name]}" if name in lines else file
        if name not in SETTINGS:
            kind = "table" if isinstance(value, dict) else "setting"
            message = f"cannot use {place}: unknown {kind} {name}{nearest(name, SETTINGS)}"
            raise ConfigError(message)
        result[name] = (value, place)
    return result


def unsafe(status: os.stat_result, uid: int) -> str:
    """Say why a file that decides what `uid` runs cannot be trusted, or return ""."""
    if status.st_uid not in {0, uid}:
        return f"its owner is uid {status.st_uid}"
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        return "anybody can write to it"
    if status.st_mode & stat.S_IWGRP and status.st_gid != 0:
        return f"the group {status.st_gid} can write to it"
    return ""


class _Resolver:
    """Turns the raw values of one configuration into the Config that holds."""

    def __init__(
        self,
        given: Mapping[str, tuple[object, str]],
        path: str,
        hostname: str,
        mailname: str,
        aliases: str,
    ) -> None:
        self.given = given
        self.machine = {"hostname": hostname, "mailname": mailname, "aliases": aliases}
        self.machine["config"] = path
        self.done: dict[str, Value] = {}
        self.under_way: list[str] = []

    def config(self) -> Config:
        values: dict[str, Any] = {name: self.value(name) for name in SETTINGS}
        config = Config(**values, sources={name: place for name, (_, place) in self.given.items()})
        _refuse_impossible(config)
        return config

    def value(self, name: str) -> Value:
        """Return a setting's final value; a `$name` in it is resolved first."""
        if name in self.done:
            return self.done[name]
        if name in self.under_way:
            loop = [*self.under_way[self.under_way.index(name) :], name]
            place = next(self.given[step][1] for step in loop if step in self.given)
            steps = " -> ".join(f"${step}" for step in loop)
            message = f"cannot use {place}: {name} refers to itself: {steps}"
            raise ConfigError(message)
        self.under_way.append(name)
        setting = SETTINGS[name]
        raw, place = self.given.get(name, (setting.default, ""))
        try:
            value = checked(setting, self.expanded(setting, raw, own=not place))
            self.done[name] = _finished(name, value)
        except ValueError as error:
            where = place or f"the default of {name}"
            message = f"cannot use {where}: {name} {error}"
            raise ConfigError(message) from None
        self.under_way.pop()
        return self.done[name]

    def expanded(self, setting: Setting, raw: object, *, own: bool) -> object:
        """Replace every `$name`; only our own defaults may name what the machine says."""
        if setting.raw or setting.kind not in {"text", "list"}:
            return raw

        def resolve(name: str) -> str:
            return self.machine_value(name) if own and name not in SETTINGS else self.flat(name)

        if isinstance(raw, str):
            text = expand(raw, resolve)
            return elements(text) if setting.kind == "list" else text
        if not isinstance(raw, list | tuple):
            return raw
        words: list[object] = []
        for word in raw:
            if not isinstance(word, str):
                words.append(word)
            elif isinstance(inner := self.list_named(word), tuple):
                words.extend(inner)
            else:
                words.append(expand(word, resolve))
        return words

    def list_named(self, word: str) -> Value:
        """Return the members if a word is `$name` of a list."""
        name = reference(word)
        listed = name in SETTINGS and SETTINGS[name].kind == "list"
        return self.value(name) if listed else ""

    def flat(self, name: str) -> str:
        if name not in SETTINGS:
            message = f"names an unknown setting: ${name}{nearest(name, SETTINGS)}"
            raise ValueError(message)
        return flat(self.value(name))

    def machine_value(self, name: str) -> str:
        """Return what a default of ours needs from the machine."""
        if name == "domain":
            return self.flat("myhostname").partition(".")[2] or "localdomain"
        if name == "mailname":
            return self.machine[name] or self.flat("myhostname")
        return self.machine[name]


def _finished(name: str, value: Value) -> Value:
    """Give a checked value its final form."""
    if name == "alias_maps" and isinstance(value, tuple):
        return tuple(word[word.index("/") :] for word in value)
    if name == "myorigin" and isinstance(value, str) and value.startswith("/"):
        return _first_line(value)
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


def _text(file: str) -> str:
    """Read a file that root may have to trust; a FIFO is not waited for."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with open(fd, "rb") as handle:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) and not stat.S_ISCHR(status.st_mode):
                message = f"cannot read {file}: not a file"
                raise ConfigError(message)
            _refuse_unsafe(file, status)
            data = handle.read(LIMIT + 1)
    except OSError as error:
        raise _unreadable(file, error) from error
    if len(data) > LIMIT:
        message = f"cannot read {file}: larger than {LIMIT} bytes"
        raise ConfigError(message)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"cannot read {file}, line {line}: not UTF-8"
        raise ConfigError(message) from None


def _refuse_unsafe(file: str, status: os.stat_result) -> None:
    """Refuse, as root, a file or directory that somebody else may change."""
    why = unsafe(status, 0) if os.geteuid() == 0 else ""
    if why and not stat.S_ISCHR(status.st_mode):
        message = f"cannot use {file}: {why}, and root would obey it"
        raise ConfigError(message)


def _unreadable(file: str, error: OSError) -> MailError:
    return ConfigError(f"cannot read {file}: {error.strerror}")


def _lines(text: str) -> dict[str, int]:
    """Return the line at which each name is set; a text of several lines may mislead it."""
    found: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r"\s*\[*\s*[\"']?([\w-]+)[\"']?\s*[=.\]]", line)
        if match:
            found.setdefault(match[1], number)
    return found
