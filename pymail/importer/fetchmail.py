"""fetchmailrc (fetchmail(1), "THE RUN CONTROL FILE") as accounts of ours."""

import re
from collections.abc import Callable, Iterator, Sequence

from pymail.importer import Imported, Machine, MistakeError, Word, named


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BETWEEN = re.compile(r"(?:[\s,;:]+|#[^\n]*)*")
_STRING = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'")
_PLAIN = re.compile(r"[^\s,;:=]+")
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{1,2})|0([0-7]{1,3})|([1-9][0-9]{0,2})|(.))", re.DOTALL)
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "\n": ""}
_NOISE = {"and", "with", "has", "wants", "options", "there"}
_ENTRY = {"poll", "server", "skip", "defaults"}
_USER = {"user", "username"}
_ONE = _words(
    """via proto protocol port service timeout interval auth authenticate envelope qvirtual
    principal plugin plugout interface monitor esmtpname pass password mda bsmtp preconnect
    postconnect limit warnings fetchlimit fetchsizelimit fastuidl batchlimit sslkey sslcert
    sslproto sslcertfile sslcertpath sslcommonname sslfingerprint expunge properties smtpaddress
    smtpname retrieve-error"""
)
_MANY = _words("is to folder mailbox aka localdomains smtphost smtp fetchdomains antispam")
_FLAGS = _words(
    """keep fetchall flush limitflush rewrite stripcr forcecr pass8bits dropstatus dropdelivered
    mimedecode idle ssl sslcertck uidl dns checkalias tracepolls badheader lmtp"""
)
_WORDS = _ENTRY | _USER | _ONE | _MANY | _FLAGS | {"no", "set", "here"}
_CARRIED = _words(
    """proto protocol port service via envelope localdomains pass password is to folder mailbox
    keep ssl sslcertck sslproto limit mda auth authenticate user username here smtphost smtp"""
)
_SAME = _words(
    """fetchall uidl rewrite dns checkalias timeout sslcertpath warnings fetchsizelimit fastuidl
    batchlimit expunge antispam stripcr forcecr pass8bits flush interval tracepolls badheader
    esmtpname"""
)
"""What is the same here, or has no meaning where mail is not handed to a mail server."""

_MECHANISMS = {"cram-md5", "oauthbearer", "xoauth2"}
_PORTS = {"imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995, "pop-3": 110}

Options = dict[str, object]
Lose = Callable[[str], None]


def read(text: str, _machine: Machine) -> Imported:
    """Return the accounts of a file.  MistakeError where it is none of fetchmail's."""
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
            raise _unknown(tokens[at])
    return result


def _unknown(word: Word) -> MistakeError:
    return MistakeError(f"{word} is no word of fetchmailrc", word.line)


def _setting(tokens: Sequence[Word], at: int, result: Imported) -> int:
    """Pass over one global option, NAME, no NAME, NAME VALUE or NAME = VALUE."""
    begin = at + 1
    no = [word.lower() for word in tokens[begin : begin + 1]] == ["no"]
    end = begin + no + 1
    if tokens[end : end + 1] == ["="]:  # what stands behind it is no keyword, whatever it is
        end += 2
    elif not no and end < len(tokens) and tokens[end].lower() not in {*_ENTRY, "set"}:
        end += 1
    words = f"set {' '.join(tokens[begin:end])}"
    daemon = words.lower().startswith("set daemon")
    result.lost.append(f"{words}: run pymail fetch from cron or a timer" if daemon else words)
    return end


def _entry(tokens: Sequence[Word], at: int, defaults: Options, result: Imported) -> int:
    kind = tokens[at].lower()
    at += 1
    name = ""
    if kind != "defaults":
        if at == len(tokens):
            raise MistakeError(f"{kind} names no server", tokens[-1].line)
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
        for user in users[:1]:
            server |= user
        defaults |= server
        return at
    for user in users or [{}]:
        _account(name, kind, {**server, **user}, result)
    return at


def _option(tokens: Sequence[Word], at: int, options: Options) -> int:
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
    elif word in _ONE and not yes:
        options[word] = False
    elif word in _ONE:
        at = _value(tokens, at, word, options)
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
        raise _unknown(tokens[at - 1])
    return at


def _value(tokens: Sequence[Word], at: int, word: str, options: Options) -> int:
    """Take the value of an option; return where the next is."""
    if word == "envelope" and tokens[at : at + 1] and tokens[at].isdecimal():
        options["envelope skip"] = tokens[at]  # so many fields are passed over
        at += 1
    if at == len(tokens):
        raise MistakeError(f"{word} has no value", tokens[-1].line)
    options[word] = tokens[at]
    return at + 1


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
    for words in _differing(account, options):
        result.notes.append(f"[fetch.{where}]: {words}")
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


def _differing(account: dict[str, object], options: Options) -> Iterator[str]:
    """Yield what comes otherwise than it did."""
    if options.get("keep"):
        yield (
            "fetchmail's own record (.fetchids) is not read: what was fetched and kept comes again"
        )
    elif account["protocol"] == "imap" and not options.get("fetchall"):
        yield (
            "fetchmail left alone what was seen already; here all of a folder is fetched, and"
            " deleted"
        )


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
        account["mda"] = str(mda).replace("%F", '"$SENDER"')
    hosts = options.get("smtphost") or options.get("smtp") or []
    if (
        isinstance(hosts, list)
        and not mda
        and any(h not in ("localhost", "127.0.0.1") for h in hosts)
    ):
        lose(f"smtphost {' '.join(map(str, hosts))}: mail is delivered on this machine")
    given = options.get("is") or options.get("to")
    names = given if isinstance(given, list) else []
    if "=" in names:
        lose("is REMOTE=LOCAL: use aliases(5)")
    local = [each for each in names if each not in ("=", "*")]
    if "*" in names or len(local) > 1:
        if header := options.get("envelope"):
            account["envelope_header"] = str(header)
        else:
            lose("several users and no envelope: set envelope_header, or one user gets all mail")
        domains = options.get("localdomains")
        if domains:
            account["domains"] = domains
        else:
            lose("several users and no localdomains: set domains")
    if len(local) == 1 and "*" not in names:
        account["to"] = local[0]


def _tokens(text: str) -> Iterator[Word]:
    """Yield the words; as in fetchmail's scanner, the longest thing that can stand there is one."""
    at = 0
    line = 1
    while True:
        between = _BETWEEN.match(text, at)
        begin = between.end() if between else at
        line += text.count("\n", at, begin)
        at = begin
        if at == len(text):
            return
        if text[at] == "=":
            at += 1
            yield Word("=", line)
            continue
        string, plain = _STRING.match(text, at), _PLAIN.match(text, at)
        whole = string[0] if string else ""
        word = plain[0] if plain else ""
        if text[at] in "\"'" and len(word) > len(whole) and not word.endswith(text[at]):
            raise MistakeError("a quote has no end", line)
        at += max(len(whole), len(word))
        if len(whole) >= len(word):
            yield Word(_unescaped(whole[1:-1]), line)
        elif word.lower() not in _NOISE:
            yield Word(_unescaped(word), line)


def _unescaped(text: str) -> str:
    """Return what a word stands for; numbers behind a backslash are decimal ones."""

    def value(found: "re.Match[str]") -> str:
        for digits, base in ((found[1], 16), (found[2], 8), (found[3], 10)):
            if digits:
                return chr(int(digits, base) & 0xFF)
        return _CONTROLS.get(found[4], found[4])

    return _ESCAPE.sub(value, text)
