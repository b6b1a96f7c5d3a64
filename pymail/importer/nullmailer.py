"""The control files of nullmailer (nullmailer-send(8)), a line each in one directory."""

from collections.abc import Callable

from pymail.importer import Imported, Machine
from pymail.importer.nullclient import SUBMISSIONS, Relay, forward, relay, senders, words

_WITHOUT = {
    "doublebounceto": "what nobody gets goes to postmaster",
    "idhost": "Message-ID has the name of this machine",
    "sendtimeout": "the time-outs of SMTP are smtp_*_timeout",
    "bouncelifetime": "bounce_queue_lifetime is that",
}


def read(remotes: str, machine: Machine) -> Imported:
    """Return what remotes says, and the other files in its directory."""
    result = Imported()

    def line(name: str) -> str:
        return (machine.read(name) or "").strip().partition("\n")[0]

    relays = _relays(remotes, result)
    relay(result, relays)
    origin = _names(line, machine, result)
    if administrator := line("adminaddr"):
        # Whatever has no domain, or that of this machine, is the administrator's.
        for user in ("root", *machine.users):
            result.aliases[user] = administrator.replace(" ", "")
    if relays:
        forward(result, relays[0])
    else:
        result.lost.append("remotes has no host that speaks SMTP")
    if sender := line("allmailfrom"):
        senders(result, {f"@{origin}": sender})
    for name, setting in (
        ("pausetime", "minimal_backoff_time"),
        ("maxpause", "maximal_backoff_time"),
        ("queuelifetime", "maximal_queue_lifetime"),
    ):
        if line(name).isdecimal() and int(line(name)):
            result.settings[setting] = int(line(name))
    for name, why in _WITHOUT.items():
        if line(name):
            result.lost.append(f"{name} {line(name)}: {why}")
    return result


def _relays(remotes: str, result: Imported) -> list[Relay]:
    """Return the hosts that speak SMTP; what speaks something else is lost, line by line."""
    relays: list[Relay] = []
    for number, given in enumerate(map(words, remotes.splitlines()), 1):
        protocol = "".join(given[1:2]) or "smtp"
        if given and protocol != "smtp":
            what = f"{given[0]} {protocol.partition('=')[0]}"  # what is behind it may be a password
            result.lost.append(f"remotes, line {number}: {what}: only SMTP is spoken")
        elif given:
            relays.append(_relay(given, result))
    return relays


def _relay(given: list[str], result: Imported) -> Relay:
    host, *options = given
    found: dict[str, str] = {}
    for option in options[1:]:
        key, _, value = option.removeprefix("--").partition("=")
        found["tls" if key == "ssl" else key] = value
    wrapped = "tls" in found
    secured = wrapped or "starttls" in found
    known = {"tls", "starttls", "port", "user", "pass", "insecure", "x509cafile", "auth-login"}
    for key in found.keys() - known:
        result.lost.append(f"remotes: {host}: {key}: pymail has no such setting")
    port = found.get("port", "")
    return Relay(
        host,
        int(port) if port.isdecimal() else SUBMISSIONS if wrapped else 25,
        found.get("user", ""),
        found.get("pass", ""),
        level="" if not secured else "encrypt" if "insecure" in found else "secure",
        wrapped=wrapped,
        authorities=found.get("x509cafile", ""),
        mechanism="login" if "auth-login" in found else "",
    )


def _names(line: Callable[[str], str], machine: Machine, result: Imported) -> str:
    """Carry over how addresses and we ourselves are called; return the domain of addresses."""
    host, domain = line("defaulthost"), line("defaultdomain")
    if host and domain and "." not in host:
        host = f"{host}.{domain}"
    if host:
        result.settings["myorigin"] = host
    if name := line("me"):
        result.settings["myhostname"] = name
    if hello := line("helohost"):
        result.settings["smtp_helo_name"] = hello
    return host or line("me") or machine.origin
