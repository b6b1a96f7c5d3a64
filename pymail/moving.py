"""Take over the configuration of another program: print it as ours, or write it down."""

import os
import pwd
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import tomli_w

from pymail import account, config, durable, login, overlay, paths
from pymail.errors import (
    ConfigError,
    DataError,
    InputError,
    TempError,
    UsageError,
    printable,
)
from pymail.importer import (
    Imported,
    Machine,
    MistakeError,
    dma,
    esmtp,
    fetchmail,
    getmail,
    msmtp,
    nullmailer,
    postfix,
    ssmtp,
)
from pymail.secret import SETTING

_LIMIT = 1 << 24


class _Kind(NamedTuple):
    """A program whose configuration is known, and where that lies; the first there is counts."""

    read: Callable[[str, Machine], Imported]
    files: tuple[str, ...]


_PROGRAMS = {
    "postfix": _Kind(postfix.read, ("/etc/postfix/main.cf",)),
    "msmtp": _Kind(msmtp.read, ("~/.msmtprc", "~/.config/msmtp/config", "/etc/msmtprc")),
    "ssmtp": _Kind(ssmtp.read, ("/etc/ssmtp/ssmtp.conf",)),
    "dma": _Kind(dma.read, ("/etc/dma/dma.conf",)),
    "nullmailer": _Kind(nullmailer.read, ("/etc/nullmailer/remotes",)),
    "esmtp": _Kind(esmtp.read, ("~/.esmtprc", "/etc/esmtprc")),
    "fetchmail": _Kind(fetchmail.read, ("~/.fetchmailrc", "/etc/fetchmailrc")),
    "getmail": _Kind(getmail.read, ("~/.config/getmail/getmailrc", "~/.getmail/getmailrc")),
}
_FILES = {
    "main.cf": "postfix",
    "msmtprc": "msmtp",
    "ssmtp.conf": "ssmtp",
    "dma.conf": "dma",
    "remotes": "nullmailer",
    "esmtprc": "esmtp",
    "fetchmailrc": "fetchmail",
    "getmailrc": "getmail",
}
KINDS = (*_PROGRAMS, *_FILES)
"""What can be taken over, by the name of the program or of its file."""


def printed(kind: str, file: str) -> Iterator[str]:
    """Yield the lines of our configuration.  UsageError, InputError, DataError."""
    found, file, spool = _found(kind, file)
    yield f"# From {printable(file)}. Put it into config.toml, or into a file in conf.d beside it."
    if any("password" in each for each in found.accounts.values()):
        yield "# It has passwords: chmod 600."
    yield from (f"# {words}" for words in _told(found))
    for key, value in found.logins.items():
        user = value.partition(":")[0]
        yield f"# login at {printable(key)} as {printable(user)}: --write stores it"
    for name, members in found.aliases.items():
        yield f"# alias {printable(name)}: {printable(members)}"
    text = _text(found)
    try:
        _hold(text, file, spool)
        yield from (f"# {words}" for words in _shadows(found.settings, paths.config(spool), spool))
    except ConfigError as error:
        yield f"# to be corrected: {error}"
    yield from text.splitlines()


def written(kind: str, file: str) -> Iterator[str]:
    """Write it down; yield what was written and what was not carried over.

    Settings go into conf.d, logins to the others in saslpass.  UsageError, InputError, DataError,
    and ConfigError, with no setting written, where the whole would not hold.
    """
    found, file, spool = _found(kind, file)
    name = _FILES.get(kind, kind)
    facts = config.machine(spool)
    _hold(_text(found), file, spool)
    if found.logins:
        place = login.keep(found.logins)
        found.settings[SETTING] = [place]
        yield f"wrote {place}: {len(found.logins)} logins"
    if found.aliases:
        place = _aliases(f"{os.path.dirname(facts['config'])}/aliases-{name}", found, file)
        others = [
            each for each in config.here(spool).alias_maps if each != place and os.path.exists(each)
        ]
        found.settings["alias_maps"] = [place, *others]
        yield f"wrote {place}: {len(found.aliases)} aliases"
    heading = (
        f"# From {printable(file)}, by pymail import. What is in 90-pymail.toml counts more.\n"
    )
    lost = "".join(f"# {words}\n" for words in _told(found))
    text = f"{heading}{lost}\n{_text(found)}"
    place = overlay.put(facts["config"], facts, f"50-{name}.toml", text)
    yield f"wrote {place}: {len(found.settings) + len(found.accounts)} settings"
    yield from _shadows(found.settings, place, spool)
    yield from _told(found)


def _told(found: Imported) -> Iterator[str]:
    for words in found.notes:
        yield f"note: {printable(words)}"
    for words in found.lost:
        yield f"not carried over: {printable(words)}"


def _shadows(settings: Mapping[str, object], place: str, spool: str) -> Iterator[str]:
    """Yield which of the settings would be others in spite of the file at `place`, and why."""
    held = config.here(spool)
    alone = config.combine({k: (v, place) for k, v in settings.items()}, config.machine(spool))
    for name in settings:
        source = held.source(name)
        file = source.partition(", line ")[0]
        if source == "default" or file == place or vars(held)[name] == vars(alone)[name]:
            continue
        if os.path.basename(file) == overlay.NAME:
            way = f"pymail config unset {name} takes it back"
        else:
            way = "take it out there"
        yield f"note: {name}: {source} counts more: {way}"


def _found(kind: str, file: str) -> tuple[Imported, str, str]:
    """Return what a configuration has for us, its file, and our spool."""
    program = _PROGRAMS.get(_FILES.get(kind, kind))
    if program is None:
        raise UsageError(f"cannot import {printable(kind)}: it is none of {', '.join(KINDS)}")
    file = file or _first(program.files)
    spool = paths.spool()
    beside = os.path.dirname(os.path.abspath(file))

    def read(path: str) -> str | None:
        return _read(os.path.join(beside, os.path.expanduser(path))) if path else None

    users = tuple(entry.pw_name for entry in pwd.getpwall())
    text = _read(file)
    if text is None:
        raise InputError(f"cannot read {printable(file)}: {_why(file)}")
    machine = Machine(read, config.here(spool).myorigin, users)
    return _understood(program, text, machine, file), file, spool


def _understood(program: _Kind, text: str, machine: Machine, file: str) -> Imported:
    """Return what the text of a file has for us.  DataError where that is nothing."""
    where = f"cannot import {printable(file)}"
    if not text.strip() or "\0" in text:
        raise DataError(f"{where}: it is {'not a text' if text.strip() else 'empty'}")
    try:
        found = program.read(text, machine)
    except MistakeError as error:
        line = f", line {error.line}" if error.line else ""
        raise DataError(f"{where}{line}: {printable(str(error))}") from None
    _leave_out_what_is_no_text(found)
    if not (found.settings or found.accounts or found.logins or found.aliases):
        why = "; ".join(("nothing in it can be carried over", *found.lost))
        raise DataError(f"{where}: {printable(why)}")
    return found


def _leave_out_what_is_no_text(found: Imported) -> None:
    """Leave out, and tell, what our files cannot have, which are in UTF-8."""
    tables = {"": found.settings}
    tables |= {f"[fetch.{name}]: ": account for name, account in found.accounts.items()}
    for where, table in tables.items():
        for name in [name for name, value in table.items() if not _is_utf8(value)]:
            del table[name]
            found.lost.append(f"{where}{name}: it is not in UTF-8: set it by hand")


def _is_utf8(value: object) -> bool:
    try:
        tomli_w.dumps({"value": value}).encode()
    except UnicodeEncodeError:
        return False
    return True


def _first(files: tuple[str, ...]) -> str:
    places = [os.path.expanduser(file) for file in files]
    found = next((place for place in places if os.path.exists(place)), "")
    if not found:
        raise InputError(f"cannot find {' or '.join(files)}: name the file")
    return found


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read(_LIMIT)
    except OSError:
        return None


def _why(path: str) -> str:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError as error:
        return error.strerror or str(error)
    return "not a file"


def _text(found: Imported) -> str:
    """Return settings and accounts as TOML."""
    table: dict[str, object] = dict(found.settings)
    if found.accounts:
        table["fetch"] = found.accounts
    text = tomli_w.dumps(table)
    return text.encode("utf-8", "replace").decode()


def _hold(text: str, file: str, spool: str) -> None:
    """Raise ConfigError where what was found cannot be our configuration."""
    given = {name: (value, file) for name, value in tomllib.loads(text).items()}
    accounts, _ = given.get(config.FETCH, ({}, ""))
    if isinstance(accounts, dict) and accounts:
        account.accounts(accounts, file)
    config.combine(given, config.machine(spool))


def _aliases(file: str, found: Imported, source: str) -> str:
    """Write the aliases down."""
    lines = [f"# From {printable(source)}, by pymail import.", ""]
    lines += [f"{name}: {members}" for name, members in found.aliases.items()]
    try:
        durable.replace(file, "".join(f"{line}\n" for line in lines), 0o644)
    except OSError as error:
        raise TempError(f"cannot write {file}: {error.strerror}") from None
    return file
