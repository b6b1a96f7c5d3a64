"""Postfix's main.cf as settings of ours, which have the same names.

Where nothing is said and Postfix's default is another than ours, Postfix's is written down.
"""

import re

from pymail.config import SETTINGS
from pymail.importer import Imported, Machine
from pymail.importer.maincf import Expansion, Parameter, inline, logical, parameters, rows
from pymail.importer.mastercf import services
from pymail.importer.postconf import reason
from pymail.settings import Table, checked, elements

_TEXT = ("hash", "texthash", "lmdb", "cdb", "dbm", "btree", "sdbm")
_PATTERNS = ("regexp:", "pcre:")
_FILES = (*_TEXT, "regexp", "pcre", "ldap", "mysql", "pgsql", "sqlite")
"""Kinds of tables that are named by a file: no password stands in such a name."""

_LOGINS = "smtp_sasl_password_maps"
_DEFAULTS = {
    "myhostname": "$myhostname",
    "mydomain": "$mydomain",
    "myorigin": "$myhostname",
    "mydestination": "$myhostname, localhost.$mydomain, localhost",
    "config_directory": "/etc/postfix",
    "default_database_type": "hash",
    "smtp_sasl_security_options": "noplaintext, noanonymous",
}
"""What others name, and what is written down where it is not said."""

_UNITS = {"maximal_queue_lifetime": "d", "bounce_queue_lifetime": "d", "delay_warning_time": "h"}
"""Of times that are not in seconds."""

_FLAGS = {"yes": True, "true": True, "no": False, "false": False}
_OLD = {"fallback_relay": "smtp_fallback_relay", "virtual_maps": "virtual_alias_maps"}
_LEVELS = {"dane": "may", "dane-only": "encrypt"}


def read(text: str, machine: Machine) -> Imported:
    """Return the settings of a main.cf, and what is in the tables that it names."""
    return _Reader(text, machine).result


class _Reader:
    def __init__(self, text: str, machine: Machine) -> None:
        self.result = Imported()
        self._file = machine.read
        self._origin = machine.origin
        self._given, bad = parameters(text)
        self._places = {name: f"line {given.line}" for name, given in self._given.items()}
        self._services = services(machine.read("master.cf") or "")
        for name, value in self._options("smtp").items():
            self._given[name] = Parameter(value, 0)
            self._places[name] = "master.cf"
        self.result.lost.extend(f"{line}: not a setting" for line in bad)
        for old, new in _OLD.items():
            if old in self._given and new not in self._given:
                self._given[new] = self._given.pop(old)
        self._references = {
            name
            for value, _ in self._given.values()
            for name in re.findall(r"\$[{(]?([\w-]+)", value)
        }
        self._expansion = Expansion(self._value, self._stays)
        for name in self._given:
            self._carry(name)
        self._static_login()
        self._tls()
        self._differing()

    def _value(self, name: str) -> str:
        if name in self._given:
            return _plain(self._given[name].value)
        return _DEFAULTS.get(name, "")

    def _stays(self, name: str) -> bool:
        """Say whether a reference can stay one: to a setting of ours that means the same."""
        return name in ("myhostname", "mydomain", "myorigin")

    def _lose(self, name: str, words: str) -> None:
        given = _shown(name, self._given[name].value)
        self.result.lost.append(f"{self._places.get(name, 'line 0')}: {given}: {words}")

    def _options(self, service: str) -> dict[str, str]:
        """Return the settings of a service alone; the name in the log is always ours."""
        found = self._services[service].options if service in self._services else {}
        return {name: value for name, value in found.items() if name != "syslog_name"}

    def _way(self, value: str) -> str:
        """Return a transport, or one and its next hop, as ours has it.

        Services of the administrator's own are often copies of smtp with other limits.
        """
        transport, colon, hop = value.partition(":")
        program = self._services[transport].program if transport in self._services else ""
        if transport in (program, "relay") or program not in ("smtp", "lmtp"):
            return value
        for name, setting in self._options(transport).items():
            given = _shown(name, setting)
            words = f"master.cf: {transport}: {given}: one value holds for all of {program}"
            if words not in self.result.lost:
                self.result.lost.append(words)
        return f"{program}{colon}{hop}"

    def _carry(self, name: str) -> None:
        raw = self._given[name].value
        setting = SETTINGS.get(name)
        why = reason(name)
        if name in ("smtp_use_tls", "smtp_enforce_tls"):
            return
        if setting is None or name == "mail_owner":
            if why:
                self._lose(name, why)
            elif name not in self._references:  # who is named by others lives on in them
                self._lose(name, "pymail has no such setting, and Postfix neither by itself")
            return
        try:
            value = raw if setting.raw else self._expansion.text(_plain(raw)).strip()
            self._set(name, value)
            if not setting.raw and _plain(raw) != raw:
                comment = "#..." if name == _LOGINS else raw[len(_plain(raw)) :].strip()
                self._lose(name, f'"{comment}" is left out: a comment has a line of its own')
        except ValueError as error:
            self._lose(name, str(error))

    def _set(self, name: str, value: str) -> None:
        setting = SETTINGS[name]
        if setting.kind == "map":
            self._table(name, value)
        elif value or setting.kind in ("text", "list"):
            found = self._valued(name, value)
            if "$" not in str(found):
                checked(setting, found)
            # Nothing is what most have by default, and what some texts must not be.
            if found not in ("", []) or name == "mydestination":
                self.result.settings[name] = found

    def _valued(self, name: str, value: str) -> object:
        """Return a value as TOML has it.  ValueError where it is none."""
        kind = SETTINGS[name].kind
        if kind == "flag" and value.lower() not in _FLAGS:
            message = "is neither yes nor no"
            raise ValueError(message)
        if kind == "flag":
            return _FLAGS[value.lower()]
        if kind in ("number", "time") and re.fullmatch(r"[0-9]+", value):
            return f"{value}{_UNITS[name]}" if name in _UNITS else int(value)
        if kind == "list":
            return self._members(name, value)
        if name in ("default_transport", "mailbox_transport"):
            return self._way(value)
        if name == "smtp_tls_security_level" and value in _LEVELS:
            self._lose(name, f"DANE is not looked for: {_LEVELS[value]} instead")
            return _LEVELS[value]
        return value

    def _members(self, name: str, value: str) -> list[str]:
        """Return the members of a list, without what is none of ours."""
        members: list[str] = []
        for word in elements(value):
            kind, colon, path = word.partition(":")
            if name == "mydestination" and (word.startswith("/") or path.startswith("/")):
                members += self._words(name, path if colon else word)
            elif name == "alias_maps" and colon and kind not in _TEXT:
                self._lose(name, f"{word}: aliases are in text files")
            else:
                members.append(word)
        return members

    def _words(self, name: str, path: str) -> list[str]:
        """Return the first word of each line of a file."""
        text = self._file(path)
        if text is None:
            self._lose(name, f"{path} cannot be read")
        return list(rows(text or "", bare=True))

    def _table(self, name: str, value: str) -> None:
        """Carry over a table: its rows, or where it has patterns the names of its files."""
        words = [word.removeprefix("proxy:") for word in _maps(value)]
        if name != _LOGINS and any(word.startswith(_PATTERNS) for word in words):
            table = checked(SETTINGS[name], words)
            self.result.settings[name] = list(table.files) if isinstance(table, Table) else []
            self._lose(name, "is left where it is: keep its files when Postfix goes")
            return
        found: dict[str, str] = {}
        for word in words:
            for key, entry in self._rows(name, word).items():
                found.setdefault(key, self._way(entry) if name == "transport_maps" else entry)
        if name == _LOGINS:
            self.result.logins.update(found)
        elif found:
            self.result.settings[name] = found

    def _rows(self, name: str, word: str) -> dict[str, str]:
        kind, _, path = word.partition(":")
        if kind == "inline":
            return inline(path)
        if kind == "static":
            return self._static(name, path[1:-1].strip() if path.startswith("{") else path)
        if kind not in _TEXT:
            which = "" if name == _LOGINS else f"{word}: "
            self._lose(name, f"{which}a table is a text file, or regexp: or pcre:")
            return {}
        text = self._file(path)
        if text is None:
            self._lose(name, f"{path} cannot be read; postmap -s {word} prints it")
        what = "password" if name == _LOGINS else "value"
        self.result.notes.extend(
            f"{path}, line {number}: what stands behind # belongs to the {what}, as in Postfix:"
            " a comment has a line of its own"
            for number, line in logical(text or "")
            if re.search(r"\s#", line)
        )
        return rows(text or "")

    def _static(self, name: str, value: str) -> dict[str, str]:
        """Return the rows of a table in which all keys have one value."""
        if name == _LOGINS:
            return {"": value}  # until it is known which servers there are
        if name == "transport_maps":
            return {"*": value}
        if name not in ("smtp_generic_maps", "sender_canonical_maps"):
            self._lose(name, f"static:{value}: name the keys")
            return {}
        try:
            origin = self._expansion.text(self._value("myorigin"), whole=True)
        except ValueError:  # the name of this machine
            origin = self._origin
        if origin.startswith("/"):
            origin = next(iter(self._words("myorigin", origin)), self._origin)
        self._lose(
            name,
            f"static:{value}: it is for senders at {origin} here;"
            f" for all write a file regexp:/PATH with the line: /./ {value}",
        )
        return {f"@{origin}": value}

    def _static_login(self) -> None:
        """Carry over a login that holds for every server: for those that are named."""
        login = self.result.logins.pop("", "")
        settings = self.result.settings
        hops: list[str] = []
        for name in ("relayhost", "smtp_fallback_relay", "sender_dependent_relayhost_maps"):
            named = settings.get(name, [])
            hops += (
                named.values()
                if isinstance(named, dict)
                else named
                if isinstance(named, list)
                else []
            )
        if login and not hops:
            self._lose(_LOGINS, "static: is for every server: name one in relayhost")
        for hop in hops if login else ():
            try:
                self.result.logins.setdefault(self._expansion.text(hop, whole=True), login)
            except ValueError:
                self._lose(_LOGINS, f"{hop}: write a name without $ to have a login there")

    def _tls(self) -> None:
        """Translate the settings that smtp_tls_security_level has taken the place of."""
        for name, level in (("smtp_enforce_tls", "encrypt"), ("smtp_use_tls", "may")):
            if self._value(name).lower() in ("yes", "true"):
                self.result.settings.setdefault("smtp_tls_security_level", level)

    def _differing(self) -> None:
        """Write down Postfix's defaults where ours are others."""
        settings, given = self.result.settings, self._given
        for name in ("myorigin", "mydestination"):
            if name not in given:
                self._set(name, _DEFAULTS[name])
        if "default_transport" not in given and "relayhost" not in settings:
            settings["default_transport"] = "smtp"
        enabled = _FLAGS.get(self._value("smtp_sasl_auth_enable").lower(), False)
        if self.result.logins and not enabled:
            settings["smtp_sasl_auth_enable"] = False
        elif settings.get("smtp_sasl_auth_enable") and not self.result.logins:
            del settings["smtp_sasl_auth_enable"]
        if "append_dot_mydomain" not in given and _old(self._value("compatibility_level")):
            settings["append_dot_mydomain"] = True
        if not self._value("home_mailbox") and not self._value("mailbox_command"):
            self.result.notes.append(
                "home_mailbox is not set: Postfix wrote to /var/mail/USER, pymail writes to"
                " ~/Maildir/"
            )


def _shown(name: str, value: str) -> str:
    """Return a setting as people are told it: without a value that may be a password."""
    files = (re.fullmatch(rf"(proxy:)?({'|'.join(_FILES)}):\S+", word) for word in elements(value))
    secret = "password" in name and not all(files)
    return name if secret or not value else f"{name} = {' '.join(value.split())}"


def _plain(value: str) -> str:
    """Return a value without what a person meant as a comment behind it."""
    return re.sub(r"\s#.*\Z", "", value)


def _maps(value: str) -> list[str]:
    """Return the tables of a list; those in braces have blanks."""
    return re.findall(r"[\w-]+:\{(?:[^{}]|\{[^{}]*\})*\}|[^\s,]+", value)


def _old(level: str) -> bool:
    """Say whether a compatibility_level has the defaults of Postfix 2."""
    number = level.partition(".")[0]
    return not number.isdecimal() or int(number) < 1
