"""fetchmailrc (fetchmail(1), "THE RUN CONTROL FILE") as accounts of ours."""

import re
from collections.abc import Callable, Iterator, Sequence

from pymail.errors import DataError
from pymail.importer import Imported, Machine, named

_TOKEN = re.compile(
    r"""[\s,;:]+ | \#[^\n]* | "(?P<double>[^"\n]*)" | '(?P<single>[^'\n]*)'
    | (?P<equals>=) | (?P<plain>[^\s,;:"'=]+) | (?P<bad>.)""",
    re.VERBOSE | re.DOTALL,
)
_NOISE = {"and", "with", "has", "wants", "options", "there"}
_ENTRY = {"poll", "server", "skip", "defaults"}
_USER = {"user", "username"}
_ONE = frozenset(
    [
        "via",
        "proto",
        "protocol",
        "port",
        "service",
        "timeout",
        "interval",
        "auth",
        "authenticate",
        "envelope",
        "qvirtual",
        "principal",
        "plugin",
        "plugout",
        "interface",
        "monitor",
        "esmtpname",
        "pass",
        "password",
        "mda",
        "bsmtp",
        "preconnect",
        "postconnect",
        "limit",
        "warnings",
        "fetchlimit",
        "fetchsizelimit",
        "fastuidl",
        "batchlimit",
        "sslkey",
        "sslcert",
        "sslproto",
        "sslcertfile",
        "sslcertpath",
        "sslcommonname",
        "sslfingerprint",
        "expunge",
        "properties",
        "smtpaddress",
        "smtpname",
        "retrieve-error",
    ]
)
_MANY = frozenset(
    [
        "is",
        "to",
        "folder",
        "mailbox",
        "aka",
        "localdomains",
        "smtphost",
        "smtp",
        "fetchdomains",
        "antispam",
    ]
)
_FLAGS = frozenset(
    [
        "keep",
        "fetchall",
        "flush",
        "limitflush",
        "rewrite",
        "stripcr",
        "forcecr",
        "pass8bits",
        "dropstatus",
        "dropdelivered",
        "mimedecode",
        "idle",
        "ssl",
        "sslcertck",
        "uidl",
        "dns",
        "checkalias",
        "tracepolls",
        "badheader",
        "lmtp",
    ]
)
_WORDS = _ENTRY | _USER | _ONE | _MANY | _FLAGS | {"no", "set", "here"}
_CARRIED = frozenset(
    [
        "proto",
        "protocol",
        "port",
        "service",
        "via",
        "envelope",
        "localdomains",
        "pass",
        "password",
        "is",
        "to",
        "folder",
        "mailbox",
        "keep",
        "ssl",
        "sslcertck",
        "sslproto",
        "limit",
        "mda",
        "auth",
        "authenticate",
        "user",
        "username",
        "here",
    ]
)
_SAME = frozenset(
    [
        "fetchall",
        "uidl",
        "rewrite",
        "dns",
        "checkalias",
        "timeout",
        "sslcertpath",
        "warnings",
        "fetchsizelimit",
        "fastuidl",
        "batchlimit",
        "expunge",
        "smtphost",
        "smtp",
        "antispam",
        "stripcr",
        "forcecr",
        "pass8bits",
        "flush",
        "interval",
        "tracepolls",
        "badheader",
        "esmtpname",
    ]
)
"""What is the same here, or has no meaning where mail is not handed to a mail server."""

_MECHANISMS = {"cram-md5", "oauthbearer", "xoauth2"}
_PORTS = {"imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995, "pop-3": 110}

Options = dict[str, object]
Lose = Callable[[str], None]


def read(text: str, _machine: Machine) -> Imported:
    """Return the accounts of a file.  DataError where it is none of fetchmail's."""
    tokens = list(_tokens(text))
    result = Imported()
    defaults: Options = {}
    at = 0
    while at < len(tokens):
        word = tokens[at].lower()
        if word == "set":
            at = _setting(tokens, at, result)
        elif word in _ENTRY:
            at = _entry(tokens, at, defaults, result)
        else:
            raise DataError(f"cannot import: {tokens[at]} is no word of fetchmailrc")
    return result


def _setting(tokens: Sequence[str], at: int, result: Imported) -> int:
    words: list[str] = []
    at += 1
    while at < len(tokens) and (not words or tokens[at].lower() not in {*_ENTRY, "set"}):
        if len(words) == 1 and words[0] not in ("daemon", "no"):
            words.append(tokens[at])
            at += 1
            break
        words.append(tokens[at])
        at += 1
    if words[:1] == ["daemon"]:
        result.lost.append(
            f"set daemon {' '.join(words[1:])}: run pymail fetch from cron or a timer"
        )
    else:
        result.lost.append(f"set {' '.join(words)}")
    return at


def _entry(tokens: Sequence[str], at: int, defaults: Options, result: Imported) -> int:
    kind = tokens[at].lower()
    at += 1
    name = ""
    if kind != "defaults":
        if at == len(tokens):
            raise DataError(f"cannot import: {kind} names no server")
        name = tokens[at]
        at += 1
    server: Options = dict(defaults)
    users: list[Options] = []
    options = server
    while at < len(tokens) and tokens[at].lower() not in {*_ENTRY, "set"}:
        word = tokens[at].lower()
        if word in _USER:
            options = {"user": tokens[at + 1] if at + 1 < len(tokens) else ""}
            users.append(options)
            at += 2
        else:
            at = _option(tokens, at, options)
    if kind == "defaults":
        defaults |= server
        return at
    for user in users or [{}]:
        _account(name, kind, {**server, **user}, result)
    return at


def _option(tokens: Sequence[str], at: int, options: Options) -> int:
    """Take one option; return where the next is."""
    word = tokens[at].lower()
    at += 1
    yes = True
    if word == "no" and at < len(tokens):
        word, yes = tokens[at].lower(), False
        at += 1
    elif word.startswith("no") and word[2:] in _FLAGS:
        word, yes = word[2:], False
    if word in _FLAGS:
        options[word] = yes
    elif word in _ONE:
        if at == len(tokens):
            raise DataError(f"cannot import: {word} has no value")
        options[word] = tokens[at]
        at += 1
    elif word in _MANY:
        values: list[str] = []
        while at < len(tokens) and (not values or tokens[at].lower() not in _WORDS):
            if tokens[at] == "=":  # is REMOTE=LOCAL
                values.append("=")
            else:
                values.append(tokens[at])
            at += 1
        options[word] = values
    elif word != "here":
        raise DataError(f"cannot import: {word} is no word of fetchmailrc")
    return at


def _account(name: str, kind: str, options: Options, result: Imported) -> None:
    """Add what a server and a user of it make."""
    where = named(result.accounts, name)

    def lose(words: str) -> None:
        result.lost.append(f"[fetch.{where}]: {words}")

    if kind == "skip":
        lose("skip: it is fetched with the others; name accounts to fetch only some")
    account: dict[str, object] = {}
    _server(account, name, options, lose)
    _security(account, options, lose)
    _login(account, options, lose)
    _wishes(account, options)
    _destination(account, options, lose)
    for word, value in options.items():
        if word not in _CARRIED | _SAME and value is not False:
            lose(f"{word} {value if isinstance(value, str) else ''}".rstrip())
    result.accounts[where] = account


def _server(account: dict[str, object], name: str, options: Options, lose: Lose) -> None:
    protocol = str(options.get("protocol", options.get("proto", "auto"))).lower()
    if protocol not in ("imap", "pop3"):
        lose(f"protocol {protocol}: taken for pop3")
        protocol = "pop3"
    account |= {"server": str(options.get("via", name)), "protocol": protocol}
    if port := str(options.get("port", options.get("service", ""))):
        number = str(_PORTS.get(port, port))
        account["port"] = int(number) if number.isdecimal() else 0


def _login(account: dict[str, object], options: Options, lose: Lose) -> None:
    account["user"] = options.get("user", "")
    if not account["user"]:
        lose("no user: set it")
    if password := options.get("password", options.get("pass")):
        account["password"] = password
    method = str(options.get("auth", options.get("authenticate", "any"))).lower()
    if method in _MECHANISMS:
        account["sasl_mechanism_filter"] = [method]
    elif method not in ("any", "password"):
        lose(f"auth {method}")


def _wishes(account: dict[str, object], options: Options) -> None:
    if folders := options.get("folder", options.get("mailbox")):
        account["folders"] = folders
    if not options.get("keep"):
        account["after_fetch"] = "delete"
    limit = str(options.get("limit", ""))
    if limit.isdecimal() and limit != "0":
        account["size_limit"] = int(limit)


def _security(account: dict[str, object], options: Options, lose: Lose) -> None:
    wrapped = bool(options.get("ssl"))
    protocol = str(options.get("sslproto", "auto")).lower()
    account["tls_wrappermode"] = wrapped
    if not wrapped and protocol == "":
        account["tls_security_level"] = "none"
        lose('sslproto "": the password goes over the line for everybody to read')
    elif options.get("sslcertck") is False:
        account["tls_security_level"] = "encrypt"


def _destination(account: dict[str, object], options: Options, lose: Lose) -> None:
    if mda := options.get("mda"):
        account["mda"] = str(mda)
    given = options.get("is") or options.get("to")
    names = given if isinstance(given, list) else []
    if "=" in names:
        lose("is REMOTE=LOCAL: use aliases(5)")
    local = [each for each in names if each not in ("=", "*")]
    if "*" in names or len(local) > 1:
        if header := options.get("envelope"):
            account["envelope_header"] = str(header)
        domains = options.get("localdomains")
        if domains:
            account["domains"] = domains
        else:
            lose("several users and no localdomains: set domains")
    if len(local) == 1 and "*" not in names:
        account["to"] = local[0]


def _tokens(text: str) -> Iterator[str]:
    for found in _TOKEN.finditer(text):
        if found["bad"]:
            line = text.count("\n", 0, found.start()) + 1
            raise DataError(f"cannot import: a quote in line {line} has no end")
        for kind in ("double", "single"):
            if found[kind] is not None:
                yield re.sub(r"\\(.)", r"\1", found[kind], flags=re.DOTALL)
        if found["equals"]:
            yield "="
        if found["plain"] and found["plain"].lower() not in _NOISE:
            yield found["plain"]
