"""The machine-written part of the configuration: conf.d/90-pymail.toml.

The file written by hand is never touched, so its comments stay.  A change is checked as a whole
before it is written, and is there whole or not at all.  Others may not read a file with a password,
nor one that they could not read before.
"""

import fcntl
import os
import re
import tomllib
from collections.abc import Callable, Mapping

import tomli_w

from pymail import confidential, config, configfile, durable
from pymail.config import SETTINGS
from pymail.configfile import Given
from pymail.errors import ConfigError, DataError, PermError, TempError, UsageError
from pymail.settings import Setting, elements, nearest

NAME = "90-pymail.toml"
HEADING = """\
# Written by "pymail config set"; config.toml beside conf.d is the file to write by hand.
# What is set here counts, whatever config.toml says.

"""

_TOML = {"list": ("[",), "map": ("[", "{")}
"""How a value begins that is written as in a file."""

Table = dict[str, object]
Edit = Callable[[Table], None]


def change(path: str, facts: Mapping[str, str], edit: Edit) -> None:
    """Let edit() change the table of the overlay of the configuration at `path`.

    ConfigError, and nothing is written, if the whole configuration would not hold.
    """

    def text(file: str) -> str:
        table = _table(file)
        edit(table)
        return HEADING + tomli_w.dumps(table) if table else ""

    _replace(path, facts, NAME, text)


def put(path: str, facts: Mapping[str, str], name: str, text: str) -> str:
    """Let the overlay `name` be this text; return its path.  ConfigError as change()."""
    _replace(path, facts, name, lambda _: text)
    return f"{configfile.overlays(path)}/{name}"


def _replace(path: str, facts: Mapping[str, str], name: str, new: Callable[[str], str]) -> None:
    folder = configfile.overlays(path)
    file = f"{folder}/{name}"
    try:
        made = _make(folder)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _trouble(folder, error) from error
    try:
        # Two changes at once: the later one must see the earlier one.
        fcntl.flock(lock, fcntl.LOCK_EX)
        text = new(file)
        config.combine(_given(path, file, text), facts)
        _write(lock, file, text, _mode(file, text))
        if made:
            durable.sync(os.path.dirname(folder))
    except OSError as error:
        raise _trouble(file, error) from error
    finally:
        os.close(lock)


def set_value(path: str, facts: Mapping[str, str], name: str, value: object) -> None:
    """Set one setting.  DataError, and nothing is written, if it cannot have this value."""
    try:
        change(path, facts, lambda table: table.update({name: value}))
    except ConfigError as error:
        words = str(error).partition(f"/{NAME}, line ")[2].partition(f": {name} ")[2]
        if not words:
            raise
        raise DataError(f"cannot set {name}: {words}") from None


def value(name: str, words: list[str]) -> object:
    """Return what the words of a command line set: a value as TOML holds it."""
    setting = SETTINGS.get(name)
    if setting is None:
        raise UsageError(f"unknown setting {name}{nearest(name, SETTINGS)}")
    if setting.kind in _TOML:
        return _several(setting, words)
    if len(words) != 1:
        raise UsageError(f"{name} takes one value: put it in quotes")
    return _single(name, setting, words[0])


def _single(name: str, setting: Setting, word: str) -> object:
    if setting.kind == "flag":
        flags = {"true": True, "yes": True, "false": False, "no": False}
        if word.lower() not in flags:
            raise DataError(f"cannot set {name}: must be true or false")
        return flags[word.lower()]
    if setting.kind in {"number", "time"} and word.lstrip("-").isdecimal():
        return int(word)
    return word


def _several(setting: Setting, words: list[str]) -> object:
    """Return the value of a list or table; one word may be as in a file."""
    if len(words) != 1:
        return words
    (text,) = words
    if not text.lstrip().startswith(_TOML[setting.kind]):
        return elements(text)
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        # "[smtp.example.org]:587" is no list.
        if setting.pattern and all(re.fullmatch(setting.pattern, x) for x in elements(text)):
            return elements(text)
        raise DataError(f"cannot understand {text}: {error}") from None


def _make(folder: str) -> bool:
    """Make the directory; say whether it was not there."""
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    try:
        os.mkdir(folder, 0o755)
    except FileExistsError:
        return False
    return True


def _table(file: str) -> Table:
    if not os.path.lexists(file):
        return {}
    return {name: raw for name, (raw, _) in configfile.read(file).items()}


def _given(path: str, changed: str, text: str) -> Given:
    """Return what all files would set if one of them had this text."""
    names = {*configfile.files(path), changed} - {path}
    found = configfile.read(path) if os.path.lexists(path) else {}
    for file in sorted(names):
        found |= configfile.parse(text, file) if file == changed else configfile.read(file)
    return found


def _mode(file: str, text: str) -> int:
    """Return who may read the file when it has this text."""
    before = os.stat(file).st_mode if os.path.exists(file) else 0o644
    private = confidential.is_in(configfile.parse(text, file))
    return before & (0o600 if private else 0o644)


def _write(folder: int, file: str, text: str, mode: int) -> None:
    """Replace the file durably; an overlay that sets nothing is removed."""
    if not text:
        if os.path.lexists(file):
            os.unlink(file)
            os.fsync(folder)
        return
    # One name for all, under the lock: what a killed process has left is written over.
    temporary = f"{os.path.dirname(file)}/.{NAME}.new"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            os.fchmod(fd, mode)
            data = memoryview(text.encode())
            while data:
                data = data[os.write(fd, data) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, file)
    except OSError:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise
    os.fsync(folder)


def _trouble(place: str, error: OSError) -> ConfigError | PermError | TempError:
    kind = PermError if isinstance(error, PermissionError) else TempError
    return kind(f"cannot write {place}: {error.strerror}")
