"""Print old configurations as ours."""

import tomllib
from collections.abc import Iterator

import tomli_w

from pymail import account
from pymail.errors import ConfigError, InputError, printable
from pymail.importer import fetchmail, getmail

_READERS = {"fetchmailrc": fetchmail.read, "getmailrc": getmail.read}
_LIMIT = 1 << 20


def converted(kind: str, file: str) -> Iterator[str]:
    """Yield the lines of our configuration.  InputError, DataError."""
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as stream:
            text = stream.read(_LIMIT)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None
    found = _READERS[kind](text)
    yield f"# From {printable(file)}. Put it into config.toml, or into a file in conf.d beside it."
    if any("password" in each for each in found.accounts.values()):
        yield "# It has passwords: chmod 600."
    for lost in found.lost:
        yield f"# not carried over: {printable(lost)}"
    tables = tomli_w.dumps({"fetch": found.accounts})
    try:
        account.accounts(tomllib.loads(tables)["fetch"], file)
    except ConfigError as error:
        yield f"# to be corrected: {error}"
    yield from tables.splitlines()
