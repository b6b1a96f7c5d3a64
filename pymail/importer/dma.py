"""dma.conf and auth.conf (dma(8))."""

import re

from pymail.importer import Imported, Machine
from pymail.importer.nullclient import Relay, forward, relay, senders

_NEEDLESS = {
    "SPOOLDIR": "for dma's own files",
    "DEFER": "mail is tried by each run of flush",
    "FULLBOUNCE": "a bounce has the header, and bounce_size_limit bytes of a small message",
    "CERTFILE": "no client certificate is shown: there are logins",
    "SECURE": "a password never goes out in the clear unless smtp_tls_security_level says so",
    "INSECURE": "a password never goes out in the clear unless smtp_tls_security_level says so",
}


def read(text: str, machine: Machine) -> Imported:
    """Return what dma.conf says, and the file of logins that it names."""
    result = Imported()
    given = _given(text)
    port = given.pop("PORT", "")
    mark = given.pop("FINGERPRINT", "")
    hub = Relay(
        given.pop("SMARTHOST", ""),
        int(port) if port.isdecimal() else 25,
        level="fingerprint" if mark else _level(given),
        wrapped="SECURETRANSFER" in given and "STARTTLS" not in given,
    )
    if mark:
        result.settings["smtp_tls_fingerprint_cert_match"] = [mark]
    logins = _logins(machine.read(given.pop("AUTHPATH", "")) or "")
    if hub.host in logins:
        user, _, password = logins.pop(hub.host).partition(":")
        hub = hub._replace(user=user, password=password)
    if hub.host:
        relay(result, [hub])
    else:
        result.settings.update({"default_transport": "smtp", **hub.manners})
    for host, login in logins.items():
        result.logins[f"[{host}]"] = login
    for name in ("SECURETRANSFER", "STARTTLS", "OPPORTUNISTIC_TLS"):
        given.pop(name, "")
    everything = bool(hub.host) and "NULLCLIENT" in given
    _local(given, hub, machine, result)
    _names(given, machine, result, everything=everything)
    for key, value in given.items():
        why = _NEEDLESS.get(key, "pymail has no such setting")
        result.lost.append(f"{key} {value}: {why}")
    return result


def _local(given: dict[str, str], hub: Relay, machine: Machine, result: Imported) -> None:
    """Carry over what becomes of mail for users of this machine."""
    if "NULLCLIENT" not in given:
        result.notes.append("dma wrote to /var/mail/USER, pymail writes to ~/Maildir/")
    elif hub.host:
        forward(result, hub)
    given.pop("NULLCLIENT", "")
    aliases = given.pop("ALIASES", "")
    if aliases and "mydestination" not in result.settings:  # a null client reads none
        result.settings["alias_maps"] = [aliases]
        if re.search(r"^\s*\*\s*:", machine.read(aliases) or "", re.MULTILINE):
            result.lost.append(f"{aliases}: * is no alias here: name the users")


def _given(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.strip().replace("\t", " ").partition(" ")
        if key and not key.startswith("#"):
            # The manual calls it by the short name, the program by the long one.
            found["SECURETRANSFER" if key == "SECURETRANS" else key] = value.strip()
    return found


def _level(given: dict[str, str]) -> str:
    """Return the level of TLS; dma asks no certificate for its name."""
    if "SECURETRANSFER" not in given:
        return ""
    return "may" if "OPPORTUNISTIC_TLS" in given else "encrypt"


def _logins(text: str) -> dict[str, str]:
    """Return the lines user|host:password as user:password by host."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        user, bar, rest = line.strip().partition("|")
        host, _, password = rest.partition(":")
        if bar and not user.startswith("#"):
            found[host] = f"{user}:{password}"
    return found


def _names(given: dict[str, str], machine: Machine, result: Imported, *, everything: bool) -> None:
    """Carry over how addresses and we ourselves are called; `everything` goes to the relay."""
    origin = machine.origin
    if name := given.pop("MAILNAME", ""):
        result.settings["myorigin"] = name
        if not name.startswith("/"):
            result.settings["smtp_helo_name"] = origin = name
        elif line := (machine.read(name) or "").strip():
            origin = line.split()[0]
    if mask := given.pop("MASQUERADE", ""):
        local, at, domain = mask.rpartition("@")
        mask = f"{local}@{domain or origin}" if at else f"@{mask}"
        if everything:
            senders(result, {f"@{origin}": mask})
        else:  # what stays here keeps its header, as it did
            result.settings["smtp_generic_maps"] = {f"@{origin}": mask}
