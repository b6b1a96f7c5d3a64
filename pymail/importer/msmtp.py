"""msmtprc (msmtp(1)): the default account is the relay, others serve senders of their own."""

from fnmatch import fnmatchcase

from pymail.importer import Imported, Machine
from pymail.importer.nullclient import SUBMISSIONS, Relay, forward, relay, senders

_ON = ("", "on", "auto")
_DIGESTS = {40: "sha1", 64: "sha256", 128: "sha512"}
_USED = frozenset(
    (
        "host", "port", "auth", "user", "password", "passwordeval", "tls", "tls_starttls", "from",
        "tls_certcheck", "tls_trust_file", "tls_fingerprint", "domain", "maildomain", "timeout",
        "aliases", "source_ip", "auto_from", "protocol",
    )
)  # fmt: skip
_NEEDLESS = {
    "logfile": "pymail writes to the system log",
    "logfile_time_format": "pymail writes to the system log",
    "syslog": "pymail always writes to the system log",
    "set_date_header": "Date is completed by itself",
    "set_msgid_header": "Message-ID is completed by itself",
    "remove_bcc_headers": "Bcc never leaves the machine",
    "undisclosed_recipients": "messages leave as they are",
    "add_missing_from_header": "From is completed by itself",
    "add_missing_date_header": "Date is completed by itself",
    "allow_from_override": "sendmail -f always counts",
}

_Account = dict[str, str]


def read(text: str, machine: Machine) -> Imported:
    """Return the relay of the default account, and those of the others by sender."""
    result = Imported()
    accounts = _accounts(text, result)
    name = "default" if "default" in accounts else next(iter(accounts), "")
    if not name or not accounts[name].get("host"):
        result.lost.append("there is no account with a host")
        return result
    main = accounts[name]
    first = _relay(main, result)
    relay(result, [first])
    _names(main, machine, result)
    _senders(accounts, main, result)
    if path := main.get("aliases", ""):
        _aliases(path, machine, result)
    forward(result, first)
    for key, value in main.items():
        if key not in _USED:
            why = _NEEDLESS.get(key, "pymail has no such setting")
            result.lost.append(f"{key} {value}: {why}")
    return result


def _accounts(text: str, result: Imported) -> dict[str, _Account]:
    """Return the accounts with what they have from the defaults and from one another."""
    defaults: _Account = {}
    accounts: dict[str, _Account] = {}
    here = defaults
    for line in text.splitlines():
        command, *rest = line.split(maxsplit=1) or [""]
        argument = "".join(rest).strip()
        if len(argument) > 1 and argument[0] == argument[-1] == '"':
            argument = argument[1:-1]
        if not command or command.startswith("#"):
            continue
        if command == "defaults":
            here = defaults
        elif command == "account":
            name, _, parents = (part.strip() for part in argument.partition(":"))
            here = accounts[name] = dict(defaults)
            for parent in parents.split(","):
                here |= accounts.get(parent.strip(), {})
        elif command == "eval":
            result.lost.append(f"eval {argument}: run it, and put its output here")
        else:
            here[command] = argument
    return accounts or ({"default": defaults} if defaults else {})


def _relay(account: _Account, result: Imported) -> Relay:
    secured = account.get("tls", "off") in _ON
    wrapped = secured and account.get("tls_starttls", "on") not in _ON
    port = account.get("port", "")
    auth = account.get("auth", "off")
    user = account.get("user", "") if auth != "off" else ""
    level = "secure" if secured else "" if user else "none"
    if secured and account.get("tls_certcheck", "on") not in _ON:
        level = "encrypt"
    digits = account.get("tls_fingerprint", "")
    if digest := _DIGESTS.get(len(digits.replace(":", ""))):
        level = "fingerprint"
        result.settings["smtp_tls_fingerprint_cert_match"] = [digits]
        result.settings["smtp_tls_fingerprint_digest"] = digest
    elif digits:
        result.lost.append("tls_fingerprint: a fingerprint is made with SHA-1 or SHA-256")
    if account.get("protocol", "smtp") != "smtp":
        result.lost.append(f"protocol {account['protocol']}: only SMTP is spoken")
    return Relay(
        account["host"],
        int(port) if port.isdecimal() else SUBMISSIONS if wrapped else 25,
        user,
        account.get("password", ""),
        account.get("passwordeval", ""),
        level,
        wrapped,
        account.get("tls_trust_file", ""),
        "" if auth in (*_ON, "off") else auth,
    )


def _names(account: _Account, machine: Machine, result: Imported) -> None:
    """Carry over how addresses and we ourselves are called."""
    settings = result.settings
    origin = account.get("maildomain", "")
    if origin:
        settings["myorigin"] = origin
    sender = account.get("from", "").replace("%U", "").replace("%H", origin or machine.origin)
    if sender and not _is_pattern(sender) and sender != f"@{origin or machine.origin}":
        senders(result, {f"@{origin or machine.origin}": sender})
    for theirs, ours in (("domain", "smtp_helo_name"), ("source_ip", "smtp_bind_address")):
        if account.get(theirs):
            settings[ours] = account[theirs]
    if account.get("timeout", "").isdecimal() and int(account["timeout"]):
        settings["smtp_connect_timeout"] = int(account["timeout"])


def _senders(accounts: dict[str, _Account], main: _Account, result: Imported) -> None:
    """Carry over the accounts of other senders."""
    hosts: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name, account in accounts.items():
        sender = account.get("from", "")
        same = all(account.get(key) == main.get(key) for key in ("host", "port", "user", "from"))
        why = "" if same else _reason(sender, main.get("from", ""), taken)
        if why:
            result.lost.append(f"account {name}: {why}")
        elif sender:
            taken[sender] = name
        if same or why or not account.get("host"):
            continue
        other = _relay(account, result)
        key = sender.removeprefix("*") if sender.startswith("*@") else sender
        hosts[key] = other.hop
        if other.user:
            result.logins[key] = other.login
        for setting, value in other.manners.items():
            if result.settings.get(setting) != value:
                result.lost.append(
                    f"account {name}: {setting} = {value}: one value holds for all relays"
                )
    if hosts:
        result.settings["sender_dependent_relayhost_maps"] = hosts
        result.settings["smtp_sender_dependent_authentication"] = True


def _reason(sender: str, main: str, taken: dict[str, str]) -> str:
    """Say why an account cannot be that of its sender, or return ""."""
    if "@" not in sender or sender == main:
        return "it is used with msmtp -a only"
    if "%" in sender:
        return f"from {sender}: that is another sender for each user"
    if _is_pattern(sender.removeprefix("*@")):
        return (
            f"from {sender}: of patterns only *@DOMAIN can be carried over; a file regexp:/PATH in"
            " sender_dependent_relayhost_maps can have others"
        )
    if fnmatchcase(main, sender):
        return f"from {sender}: the default account has such a sender; name those of this one"
    # As in msmtp, the first account counts that fits.
    first = next((name for pattern, name in taken.items() if fnmatchcase(sender, pattern)), "")
    return f"from {sender}: account {first} is chosen for it" if first else ""


def _is_pattern(sender: str) -> bool:
    return any(mark in sender for mark in "?*[")


def _aliases(path: str, machine: Machine, result: Imported) -> None:
    text = machine.read(path)
    if text is None:
        result.lost.append(f"aliases {path}: cannot be read")
    for line in (text or "").splitlines():
        name, colon, members = line.partition("#")[0].partition(":")
        if not colon:
            continue
        if name.strip() == "default":
            for user in machine.users:
                result.aliases.setdefault(user, members.strip())
        else:
            result.aliases[name.strip()] = members.strip()
