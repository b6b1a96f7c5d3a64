"""esmtprc (esmtprc(5)): the default identity is the relay, others serve their own sender."""

import re

from pymail.importer import Imported, Machine
from pymail.importer.nullclient import Relay, endpoint, forward, relay, senders

SUBMISSION = 587
_LEVELS = {"required": "secure", "enabled": "may"}
_LINE = re.compile(
    r"\s*(force[ _]\w+|\w+)\s*[=\s]\s*(?:\"((?:\\.|[^\"])*)\"|'((?:\\.|[^'])*)'|([^#]*))"
)

_Identity = dict[str, str]


def read(text: str, machine: Machine) -> Imported:
    """Return the relay of the default identity, and those of the others by sender."""
    result = Imported()
    identities = _identities(text)
    main = identities.pop("")
    if main.keys() <= {"mda"} and identities:
        main |= identities.pop(next(iter(identities)))
    if not main.get("hostname"):
        result.lost.append("there is no identity with a hostname")
        return result
    first = _relay(main)
    relay(result, [first])
    origin = main.get("qualifydomain") or machine.origin
    if main.get("qualifydomain"):
        result.settings["myorigin"] = origin
    if main.get("helo"):
        result.settings["smtp_helo_name"] = main["helo"]
    sender = main.get("force reverse_path", "").replace("%u", "")
    written = {} if sender in ("", f"@{origin}") else {f"@{origin}": sender}
    if command := main.get("mda", ""):
        if written:
            result.settings["smtp_generic_maps"] = written
        result.settings["mailbox_command"] = command.replace("%T", '"$USER"').replace(
            "%F", '"$SENDER"'
        )
    else:
        if written:
            senders(result, written)
        elif main.get("qualifydomain"):
            result.notes.append(
                f"esmtp wrote senders as user@{machine.origin}, pymail writes user@{origin}"
            )
        forward(result, first)
    _senders(identities, result)
    used = {"hostname", "username", "password", "starttls", "helo", "qualifydomain", "mda"}
    for key in main.keys() - used - {"force reverse_path", "default"}:
        shown = "" if key == "certificate_passphrase" else f" {main[key]}"
        result.lost.append(f"{key}{shown}: pymail has no such setting")
    return result


def _identities(text: str) -> dict[str, _Identity]:
    """Return the identities by address; that of the global section by ""."""
    found: dict[str, _Identity] = {"": {}}
    here = ""
    for line in text.splitlines():
        match = _LINE.match(line)
        if not match or line.lstrip().startswith("#"):
            continue
        quoted = match[2] or match[3]
        value = re.sub(r"\\(.)", r"\1", quoted) if quoted else (match[4] or "").strip()
        key = match[1].replace("force_", "force ")
        if key == "identity":
            here = value
            found[here] = {}
        else:  # mda is for all, wherever it stands
            found["" if key == "mda" else here][key] = value
    return found


def _relay(identity: _Identity) -> Relay:
    host, port = endpoint(identity["hostname"], SUBMISSION)
    level = _LEVELS.get(identity.get("starttls", ""), "")
    return Relay(
        host,
        port,
        identity.get("username", ""),
        identity.get("password", ""),
        level="" if identity.get("username") and level == "may" else level,
    )


def _senders(identities: dict[str, _Identity], result: Imported) -> None:
    """Carry over the identities of other senders."""
    hosts: dict[str, str] = {}
    for sender, identity in identities.items():
        if not identity.get("hostname"):
            result.lost.append(f"identity {sender}: it has no hostname")
            continue
        result.lost.extend(
            f"identity {sender}: {key}: it holds for the default identity only"
            for key in identity.keys() - {"hostname", "username", "password", "starttls"}
        )
        other = _relay(identity)
        hosts[sender] = other.hop
        if other.user:
            result.logins[sender] = other.login
    if hosts:
        result.settings["sender_dependent_relayhost_maps"] = hosts
        result.settings["smtp_sender_dependent_authentication"] = True
