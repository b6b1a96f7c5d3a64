"""ssmtp.conf and revaliases (ssmtp.conf(5)): everything goes to mailhub."""

from pymail.importer import Imported, Machine
from pymail.importer.nullclient import SUBMISSIONS, Relay, endpoint, forward, relay, senders

_USED = frozenset(
    (
        "root", "mailhub", "rewritedomain", "fromlineoverride", "usetls", "usestarttls",
        "tls_ca_file", "tls_ca_dir", "authuser", "authpass", "authmethod", "hostname",
    )
)  # fmt: skip


def read(text: str, machine: Machine) -> Imported:
    """Return what ssmtp.conf says, and revaliases where ssmtp looks for it."""
    result = Imported()
    given: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith("#"):
            key = key.strip().lower()
            # A comment may stand behind a value; where ssmtp takes a password, it has none.
            value = value if key == "authpass" else value.partition("#")[0]
            given[key] = value.strip()
    host, port = endpoint(given.get("mailhub", "mail"), 25)
    wrapped = _yes(given, "usetls") and not _yes(given, "usestarttls")
    hub = Relay(
        host,
        port if port != 25 or not wrapped else SUBMISSIONS,
        given.get("authuser", ""),
        given.get("authpass", ""),
        wrapped=wrapped,
        authorities=given.get("tls_ca_file", ""),
        mechanism=given.get("authmethod", ""),
    )
    relay(result, [hub])
    if directory := given.get("tls_ca_dir", ""):
        result.settings["smtp_tls_CApath"] = directory
    if name := given.get("hostname", ""):
        result.settings.update({"myhostname": name, "myorigin": name})
    origin = given.get("hostname") or machine.origin
    _revaliases(machine.read("revaliases") or "", origin, result)
    if domain := given.get("rewritedomain", ""):
        result.settings["smtp_generic_maps"] = {f"@{origin}": f"@{domain}"}
    if root := given.get("root", ""):
        result.aliases["root"] = root
        if "@" not in root and root not in machine.users:  # as Debian has it: postmaster, there
            result.settings["transport_maps"] = {f"{root}@{origin}": f"smtp:{hub.hop}"}
    forward(result, hub)
    for key, value in given.items():
        if key not in _USED:
            result.lost.append(f"{key} = {value}: pymail has no such setting")
    return result


def _yes(given: dict[str, str], key: str) -> bool:
    return given.get(key, "").lower() == "yes"


def _revaliases(text: str, origin: str, result: Imported) -> None:
    """Carry over the addresses and hubs of single users: user:address:hub."""
    written: dict[str, str] = {}
    hubs: dict[str, str] = {}
    for line in text.splitlines():
        user, _, rest = line.strip().partition(":")
        sender, _, hub = rest.partition(":")
        if not user or user.startswith("#") or not sender:
            continue
        written[f"{user}@{origin}"] = sender.strip()
        if hub.strip():
            host, port = endpoint(hub, 25)
            hubs[sender.strip()] = Relay(host, port).hop
    if written:
        senders(result, written)
    if hubs:
        result.settings["sender_dependent_relayhost_maps"] = hubs
