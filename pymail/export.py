"""Our configuration as Postfix's, for a machine that has outgrown one without a server.

main.cf has what was set, and ours where our default is another than Postfix's; tables are files
beside it, read as texthash:, which needs no postmap.
"""

import os
import re
from collections.abc import Iterator

from pymail import aliases, configfile, durable, nexthop
from pymail.config import SETTINGS, Config
from pymail.errors import MailError, TempError, UsageError, printable
from pymail.importer.maincf import logical, rows
from pymail.importer.nullclient import SUBMISSIONS
from pymail.members import scan
from pymail.nexthop import NextHop
from pymail.secret import SETTING
from pymail.settings import Table, Value

OURS = {
    "password_command": "Postfix has a password in smtp_sasl_password_maps",
    "root_user": "write an alias for root",
    "dkim_directory": "a milter such as opendkim signs",
    "run_time_limit": "Postfix has no runs",
    "smtp_tls_mta_sts": "postfix-mta-sts-resolver does that",
    "mail_owner": "Postfix's processes are the user postfix",
    "filter": "call it in mailbox_command, or in a content_filter",
    "cron_fold": "every letter from cron goes out",
    "cron_digest": "every letter from cron goes out",
    "cron_quiet": "letters from cron come at any time",
}
"""Settings that Postfix does not have, and what it has instead."""

_MEMBERS = {
    "fail": "a line with error: in transport_maps does that",
    "defer": "a line with retry: in transport_maps does that",
    "blackhole": "the member /dev/null does that",
}
"""Members of an alias that Postfix does not have, and what it has instead."""

_WAYS = ("default_transport", "mailbox_transport", "transport_maps")
_HOLD = "Postfix has no such transport"
_WAIT = "with retry: mail waits too, but is returned after maximal_queue_lifetime"

_DIFFERING = (
    "home_mailbox",
    "myorigin",
    "mydestination",
    "default_transport",
    "smtp_sasl_security_options",
    "smtp_sasl_tls_security_options",
    "append_dot_mydomain",
)
_LIMIT = 1 << 24


def postfix(config: Config, folder: str) -> Iterator[str]:
    """Write main.cf and its tables into a new directory; yield what was not carried over.

    UsageError where the directory has something in it, ConfigError, TempError.
    """
    try:
        if os.path.isdir(folder) and os.listdir(folder):
            raise UsageError(f"cannot export to {folder}: it is not empty")
        lines = ["# Exported by pymail. It is meant for /etc/postfix.", "compatibility_level = 3.6"]
        lost = list(_lost(config))
        for name in SETTINGS:
            if name not in OURS and (config.source(name) != "default" or name in _DIFFERING):
                lines += _lines(name, vars(config)[name], folder, lost)
        yield from (f"not carried over: {printable(words)}" for words in lost)
        relays = _relays(config)
        wrapped = [hop for hop in relays if hop.port == SUBMISSIONS]
        if wrapped and config.source("smtp_tls_wrappermode") == "default":
            lines += ["smtp_tls_wrappermode = yes"] * (wrapped == relays)
            for hop in wrapped if wrapped != relays else ():
                yield (
                    f"not carried over: TLS from the first byte at {hop.shown}: a transport of its"
                    " own in master.cf does that, with -o smtp_tls_wrappermode=yes"
                )
        lines += _ours(config, "encrypt" if wrapped == relays != [] else "may")
        durable.replace(f"{folder}/main.cf", "".join(f"{line}\n" for line in lines), 0o644)
    except OSError as error:
        raise TempError(f"cannot write {error.filename or folder}: {error.strerror}") from None


def _lost(config: Config) -> Iterator[str]:
    """Yield what Postfix has no setting for, and what does that there."""
    for name, instead in OURS.items():
        # Keys sign from where they are by default, without a word in the configuration.
        keys = name == "dkim_directory" and os.path.isdir(config.dkim_directory)
        if keys or config.source(name) != "default":
            yield f"{name}: {instead}"
    for name in config.accounts:
        yield f"[fetch.{name}]: fetchmail or getmail fetches mail"
    for file in config.alias_maps:
        yield from _members(file)


def _members(file: str) -> Iterator[str]:
    """Yield the aliases of a file that Postfix would take for addresses."""
    try:
        text, _ = aliases.read(file)
    except MailError as error:
        yield f"alias_maps: {error}"
        return
    for line, plain, _, other in aliases.logical(text):
        name, members, _ = ("", "", "") if plain else aliases.definition(other)
        for kind in dict.fromkeys(item.kind for item in scan(members)):
            if kind in _MEMBERS:
                yield f"{file}, line {line}: {name}: :{kind}: is none of Postfix: {_MEMBERS[kind]}"


def _relays(config: Config) -> list[NextHop]:
    """Return the relays that are named, each once."""
    table = config.sender_dependent_relayhost_maps.rows
    named = (*config.relayhost, *config.smtp_fallback_relay, *(hop for _, hop in table))
    return list(dict.fromkeys(nexthop.parse_all(", ".join(named))))


def _ours(config: Config, level: str) -> Iterator[str]:
    """Yield what we do without being told; `level` of TLS where there is no login."""
    yield "inet_interfaces = loopback-only"
    if config.smtp_sasl_password_maps and config.source("smtp_sasl_auth_enable") == "default":
        yield "smtp_sasl_auth_enable = yes"
    if config.source("smtp_tls_security_level") == "default":
        yield f"smtp_tls_security_level = {'secure' if config.smtp_sasl_password_maps else level}"
    if config.source("smtp_tls_CApath") == "default" and not config.smtp_tls_CAfile:
        yield "smtp_tls_CApath = /etc/ssl/certs"
    if config.source("alias_maps") == "default":
        yield from _lines("alias_maps", config.alias_maps, "", [])


def _lines(name: str, value: Value, folder: str, lost: list[str]) -> Iterator[str]:
    """Yield the lines of main.cf for a setting; write its table; add to what is `lost`."""
    if name == "alias_maps" and isinstance(value, tuple):
        files = ", ".join(f"hash:{file}" for file in value)
        yield f"alias_maps = {files}"
        yield f"alias_database = {files}"
    elif isinstance(value, Table):
        yield f"{name} = {', '.join(_tables(name, value, folder, lost))}"
    elif isinstance(value, bool):
        yield f"{name} = {'yes' if value else 'no'}"
    elif isinstance(value, tuple):
        yield f"{name} = {', '.join(value)}"
    elif name in _WAYS:
        yield f"{name} = {_way(name, str(value), lost)}"
    else:
        unit = "s" if SETTINGS[name].kind == "time" else ""
        yield f"{name} = {value}{unit}"


def _tables(name: str, table: Table, folder: str, lost: list[str]) -> Iterator[str]:
    """Yield the tables that a setting names; what is text goes into one file beside main.cf."""
    found = dict(table.rows)
    for file in table.files:
        if file.startswith("/"):
            for key, value in rows(_text(file)).items():
                found.setdefault(key, value)
        else:
            lost += _patterns(file.partition(":")[2]) if name in _WAYS else ()
            yield file
    if name in _WAYS:
        found = {key: _way(f"{name}: {key}", value, lost) for key, value in found.items()}
    if name == SETTING:
        lost += (
            f"{name}: {key}: the password of {value} is not written there: put it behind {value}:"
            for key, value in found.items()
            if ":" not in value
        )
    if found:
        text = "".join(f"{key} {value}\n" for key, value in found.items())
        durable.replace(f"{folder}/{name}", text, 0o600 if name == SETTING else 0o644)
        yield f"texthash:$config_directory/{name}"


def _way(place: str, value: str, lost: list[str]) -> str:
    """Return a transport as Postfix has it."""
    kind, _, words = value.partition(":")
    if kind.strip() != "hold":
        return value
    lost.append(f"{place} = {value}: {_HOLD}; {_WAIT}")
    return f"retry:{words.strip() or 'held by the transport'}"


def _patterns(file: str) -> Iterator[str]:
    """Yield the lines of a file of patterns, which stays as it is, that Postfix cannot follow."""
    for number, line in logical(_text(file)):
        if re.search(r"[ \t\n]hold(?::|\Z)", line):
            yield f"{file}, line {number}: hold: {_HOLD}; write retry: there: {_WAIT}"


def _text(file: str) -> str:
    return configfile.trusted(file, _LIMIT).decode("utf-8", "surrogateescape")
