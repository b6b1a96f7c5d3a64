"""getmailrc (getmail(1), getmailrc examples) as an account of ours."""

import ast
import configparser
import re
import shlex

from pymail.importer import Imported, Machine, MistakeError, Word, named

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
_NOTHING = Word("", 0)
_SAME = {
    "options": {"verbose", "read_all", "delivered_to", "received", "message_log_syslog"},
    "retriever": {"type", "server", "port", "username", "timeout", "use_peek"},
    "filter": {"ignore_stderr", "ignore_header_shrinkage"},
}


def read(text: str, _machine: Machine) -> Imported:
    """Return the account of a file.  MistakeError where it is none of getmail's."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.MissingSectionHeaderError as error:
        raise MistakeError("it stands before the first [section]", error.lineno) from None
    except configparser.ParsingError as error:
        raise MistakeError("neither [section] nor name = value", error.errors[0][0]) from None
    except configparser.DuplicateSectionError as error:
        raise MistakeError(f"[{error.section}] is there already", error.lineno or 0) from None
    except configparser.DuplicateOptionError as error:
        raise MistakeError(f"{error.option} is there already", error.lineno or 0) from None
    if not parser.has_section("retriever"):
        raise MistakeError("there is no [retriever]")
    return _Reader(parser, _lines(text)).result


def _lines(text: str) -> dict[tuple[str, str], int]:
    """Return the line of each value by section and name."""
    found: dict[tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if heading := re.match(r"\[([^]]+)\]", line):
            section = heading[1]
        elif name := re.match(r"([^\s=:#;][^=:]*?)\s*[=:]", line):
            found[section, name[1].lower()] = number
    return found


class _Reader:
    def __init__(
        self, parser: configparser.RawConfigParser, lines: dict[tuple[str, str], int]
    ) -> None:
        self.result = Imported()
        self._rest = {
            section: {
                name: Word(value, lines.get((section, name), 0))
                for name, value in parser.items(section)
            }
            for section in parser.sections()
        }
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

    def _retrieve(self, given: dict[str, Word]) -> None:
        kind = given.get("type", _NOTHING)
        if kind not in _TYPES:
            raise MistakeError(f"unknown type of retriever: {kind}", kind.line)
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

    def _tell_apart(self, kind: str, given: dict[str, Word]) -> None:
        """Take over what says who a message is for."""
        if header := given.pop("envelope_recipient", ""):
            self._account["envelope_header"] = header.partition(":")[0]
            self._lose("envelope_recipient: set domains to those of your users")
        elif kind.startswith("Multidrop"):
            self._lose(f"{kind}: set envelope_header and domains, or one user gets all mail")

    def _folders(self, given: dict[str, Word]) -> None:
        text = given["mailboxes"].strip()
        if re.fullmatch(r"\w+", text):
            self._lose(f"mailboxes = {text}: name them in folders")
            del given["mailboxes"]
        else:
            self._account["folders"] = list(_tuple(given.pop("mailboxes")))

    def _options(self, given: dict[str, Word]) -> None:
        if given.pop("delete", "false").lower() in ("true", "1", "yes"):
            self._account.setdefault("after_fetch", "delete")
        else:
            self._account.pop("after_fetch", "")
        if (days := given.pop("delete_after", "0")) != "0":
            self._account["delete_after"] = f"{days}d"
        if (size := given.pop("max_message_size", "0")) != "0" and size.isdecimal():
            self._account["size_limit"] = int(size)

    def _filter(self, given: dict[str, Word]) -> None:
        if given.get("type") != "Filter_external" or "filter" in self._account:
            return
        del given["type"]
        command = self._filled(_command(given), "filter", {})
        if {"exitcodes_keep", "exitcodes_drop"} & set(given):
            drop = _statuses(given.pop("exitcodes_drop", Word("(99, 100)", 0)))
            keep = _statuses(given.pop("exitcodes_keep", Word("(0,)", 0)))
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

    def _deliver(self, given: dict[str, Word]) -> None:
        kind, path = given.get("type", ""), given.get("path", "")
        if kind == "Maildir" and path:
            self._account["maildir"] = path.rstrip("/")
        elif kind == "MDA_external":
            self._account["mda"] = self._filled(_command(given), "destination", _PLACES)
        else:
            return
        given.pop("type")
        given.pop("path", "")


def _command(given: dict[str, Word]) -> str:
    """Take path and arguments as a command line."""
    words = [given.pop("path", ""), *_tuple(given.pop("arguments", Word("()", 0)))]
    return shlex.join(word for word in words if word)


def _statuses(text: Word) -> str:
    """Return exit statuses as a pattern of the shell's case."""
    try:
        numbers = [int(each) for each in _tuple(text)]
    except ValueError:
        raise MistakeError(f"{text} are no exit statuses", text.line) from None
    return "|".join(str(each) for each in numbers if 0 <= each <= 255) or "none"


def _tuple(text: Word) -> tuple[str, ...]:
    """Return the texts of a tuple as Python writes it."""
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise MistakeError(f"{text.strip()} is no tuple", text.line) from None
    return tuple(map(str, value)) if isinstance(value, tuple | list) else (str(value),)
