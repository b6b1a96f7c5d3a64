"""getmailrc (getmail(1), getmailrc examples) as an account of ours."""

import ast
import configparser
import re
import shlex

from pymail.errors import DataError
from pymail.importer import Imported, Machine, named

_TYPES = {
    "SimplePOP3Retriever": ("pop3", False),
    "SimplePOP3SSLRetriever": ("pop3", True),
    "MultidropPOP3Retriever": ("pop3", False),
    "MultidropPOP3SSLRetriever": ("pop3", True),
    "MultidropSDPSRetriever": ("pop3", False),
    "BrokenUIDLPOP3Retriever": ("pop3", False),
    "BrokenUIDLPOP3SSLRetriever": ("pop3", True),
    "SimpleIMAPRetriever": ("imap", False),
    "SimpleIMAPSSLRetriever": ("imap", True),
    "MultidropIMAPRetriever": ("imap", False),
    "MultidropIMAPSSLRetriever": ("imap", True),
}
_PLACES = {"sender": '"$SENDER"', "recipient": "%T", "local": "%T"}
_SAME = {
    "options": {"verbose", "read_all", "delivered_to", "received", "message_log_syslog"},
    "retriever": {"type", "server", "port", "username", "timeout", "use_peek"},
    "filter": {"ignore_stderr", "ignore_header_shrinkage"},
}


def read(text: str, _machine: Machine) -> Imported:
    """Return the account of a file.  DataError where it is none of getmail's."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise DataError(f"cannot import: {' '.join(str(error).split())}") from None
    if not parser.has_section("retriever"):
        raise DataError("cannot import: there is no [retriever]")
    return _Reader(parser).result


class _Reader:
    def __init__(self, parser: configparser.RawConfigParser) -> None:
        self.result = Imported()
        self._parser = parser
        self._rest = {name: dict(parser.items(name)) for name in parser.sections()}
        retriever = self._rest["retriever"]
        server = retriever.get("server", "")
        self._name = named({}, server)
        self._account: dict[str, object] = {"server": server}
        self._retrieve(retriever)
        self._options(self._rest.get("options", {}))
        for section, values in self._rest.items():
            if section.startswith("filter"):
                self._filter(values)
        self._deliver(self._rest.get("destination", {}))
        for section, values in self._rest.items():
            for key, value in values.items():
                kind = "filter" if section.startswith("filter") else section
                if key not in _SAME.get(kind, ()) and not key.startswith("_"):
                    self._lose(f"[{section}] {key} = {' '.join(value.split())}")
        self.result.accounts[self._name] = self._account

    def _lose(self, words: str) -> None:
        self.result.lost.append(f"[fetch.{self._name}]: {words}")

    def _retrieve(self, given: dict[str, str]) -> None:
        kind = given.get("type", "")
        if kind not in _TYPES:
            raise DataError(f"cannot import: unknown type of retriever: {kind}")
        protocol, wrapped = _TYPES[kind]
        self._account |= {"protocol": protocol, "user": given.get("username", "")}
        if port := given.get("port", ""):
            self._account["port"] = int(port) if port.isdecimal() else 0
        if not wrapped:
            self._account["tls_security_level"] = "none"
            self._lose(f"{kind}: the password goes over the line for everybody to read")
        if password := given.pop("password", ""):
            self._account["password"] = password
        if "password_command" in given:
            self._account["password_command"] = shlex.join(_tuple(given.pop("password_command")))
        if "mailboxes" in given:
            self._folders(given)
        if given.pop("use_xoauth2", "").lower() in ("true", "1", "yes"):
            self._account["sasl_mechanism_filter"] = ["xoauth2"]
        self._tell_apart(kind, given)
        if folder := given.pop("move_on_delete", ""):
            self._account["after_fetch"] = f"move {folder}"

    def _tell_apart(self, kind: str, given: dict[str, str]) -> None:
        """Take over what says who a message is for."""
        if header := given.pop("envelope_recipient", ""):
            self._account["envelope_header"] = header.partition(":")[0]
            self._lose("envelope_recipient: set domains to those of your users")
        elif kind.startswith("Multidrop"):
            self._lose(f"{kind}: set envelope_header and domains, or one user gets all mail")

    def _folders(self, given: dict[str, str]) -> None:
        text = given["mailboxes"].strip()
        if re.fullmatch(r"\w+", text):
            self._lose(f"mailboxes = {text}: name them in folders")
            del given["mailboxes"]
        else:
            self._account["folders"] = list(_tuple(given.pop("mailboxes")))

    def _options(self, given: dict[str, str]) -> None:
        if given.pop("delete", "false").lower() in ("true", "1", "yes"):
            self._account.setdefault("after_fetch", "delete")
        else:
            self._account.pop("after_fetch", "")
        if (days := given.pop("delete_after", "0")) != "0":
            self._account["delete_after"] = f"{days}d"
        if (size := given.pop("max_message_size", "0")) != "0" and size.isdecimal():
            self._account["size_limit"] = int(size)

    def _filter(self, given: dict[str, str]) -> None:
        if given.get("type") != "Filter_external" or "filter" in self._account:
            return
        del given["type"]
        command = self._filled(_command(given), "filter", {})
        if {"exitcodes_keep", "exitcodes_drop"} & set(given):
            drop = _statuses(given.pop("exitcodes_drop", "(99, 100)"))
            keep = _statuses(given.pop("exitcodes_keep", "(0,)"))
            cases = f"{drop}) exit 99;; {keep}) exit 0;; *) exit 70;;"
            command += f"; case $? in {cases} esac"
        else:
            words = "a filter dropped a message by status 100 too; here that is a failure"
            self.result.notes.append(f"[fetch.{self._name}]: {words}, which loses nothing")
        self._account["filter"] = command

    def _filled(self, command: str, what: str, places: dict[str, str]) -> str:
        """Return a command with what stands for sender and recipient here."""

        def value(found: "re.Match[str]") -> str:
            if found[1] not in places:
                self._lose(f"{found[0]} in the command of the {what}")
            return places.get(found[1], "''")

        return re.sub(r"'?%\((\w+)\)'?", value, command)

    def _deliver(self, given: dict[str, str]) -> None:
        kind, path = given.get("type", ""), given.get("path", "")
        if kind == "Maildir" and path:
            self._account["maildir"] = path.rstrip("/")
        elif kind == "MDA_external":
            self._account["mda"] = self._filled(_command(given), "destination", _PLACES)
        else:
            return
        given.pop("type")
        given.pop("path", "")


def _command(given: dict[str, str]) -> str:
    """Take path and arguments as a command line."""
    words = [given.pop("path", ""), *_tuple(given.pop("arguments", "()"))]
    return shlex.join(word for word in words if word)


def _statuses(text: str) -> str:
    """Return exit statuses as a pattern of the shell's case."""
    try:
        numbers = [int(each) for each in _tuple(text)]
    except ValueError:
        raise DataError(f"cannot import: {text} are no exit statuses") from None
    return "|".join(str(each) for each in numbers if 0 <= each <= 255) or "none"


def _tuple(text: str) -> tuple[str, ...]:
    """Return the texts of a tuple as Python writes it."""
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise DataError(f"cannot import: {text.strip()} is no tuple") from None
    return tuple(map(str, value)) if isinstance(value, tuple | list) else (str(value),)
