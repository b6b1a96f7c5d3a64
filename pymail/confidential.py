"""What nobody else may see of the settings: passwords of logins and of accounts.  Pure."""

from pymail.config import FETCH
from pymail.configfile import Given
from pymail.settings import Table, Value

SETTING = "smtp_sasl_password_maps"


def is_in(given: Given) -> bool:
    """Say whether there is a password in what a file sets."""
    logins, _ = given.get(SETTING, ("", ""))
    accounts, _ = given.get(FETCH, ("", ""))
    rows = logins.values() if isinstance(logins, dict) else ()
    tables = accounts.values() if isinstance(accounts, dict) else ()
    passwords = [each.get("password") for each in tables if isinstance(each, dict)]
    return any(passwords) or any(isinstance(row, str) and has_password(row) for row in rows)


def has_password(login: str) -> bool:
    """Say whether a login, "user:password" or "user", has one."""
    return ":" in login


def hidden(name: str, value: Value) -> Value:
    """Return the value of a setting as it may be shown: with `...` in place of passwords."""
    if name != SETTING or not isinstance(value, Table):
        return value
    rows = ((key, _without_password(login)) for key, login in value.rows)
    return Table(tuple(rows), value.files)


def _without_password(login: str) -> str:
    return f"{login.partition(':')[0]}:..." if has_password(login) else login
