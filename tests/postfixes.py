"""Real mail servers to send to: Postfix, with SASL by Dovecot, each with a place of its own."""

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import PATH, needs, needs_root
from relays import free_port

MASTER = "/usr/lib/postfix/sbin/master"
MECHANISMS = "plain login cram-md5 scram-sha-1 scram-sha-256"

_SERVICES = """\
{smtp}{submission}{smtps}pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True)
class Postfix:
    """A running Postfix; what it takes lies in Maildirs below `root`/mail/DOMAIN/USER."""

    root: Path
    address: str
    ports: dict[str, int]

    def hop(self, service: str = "submission") -> str:
        """Return the next hop that leads to a service."""
        return f"[{self.address}]:{self.ports[service]}"

    def letters(self, domain: str, user: str, count: int = 1, patience: float = 30) -> list[bytes]:
        """Return the letters of a mailbox, once there are as many as `count`."""
        place = self.root / "mail" / domain / user / "new"
        deadline = time.monotonic() + patience
        while True:
            paths = sorted(place.glob("*"))
            if len(paths) >= count or time.monotonic() > deadline:
                return [path.read_bytes() for path in paths]
            time.sleep(0.05)

    def log(self) -> str:
        """Return what it has logged."""
        return (self.root / "log").read_text()


@contextmanager
def dovecot_auth(root: Path, users: dict[str, str], introspection: str = "") -> Iterator[Path]:
    """Run Dovecot as a server of SASL; yield its socket.

    With the URL of a service that knows tokens (RFC 7662) it takes these as well.
    """
    needs("dovecot")
    root.mkdir(mode=0o755)
    (root / "passwd").write_text("".join(f"{u}:{{PLAIN}}{p}\n" for u, p in users.items()))
    tokens, passdb = "", ""
    if introspection:
        (root / "oauth2").write_text(
            f"introspection_mode = get\nintrospection_url = {introspection}\n"
            "username_attribute = email\nactive_attribute = active\nactive_value = true\n"
        )
        tokens = " xoauth2 oauthbearer"
        passdb = (
            "passdb {\n driver = oauth2\n mechanisms = xoauth2 oauthbearer\n"
            f" args = {root}/oauth2\n}}\n"
        )
    config = root / "dovecot.conf"
    config.write_text(
        f"base_dir = {root}/run\nstate_dir = {root}/state\ninstance_name = {root.name}\n"
        f"log_path = {root}/log\nprotocols =\nssl = no\nauth_mechanisms = {MECHANISMS}{tokens}\n"
        "disable_plaintext_auth = no\nauth_failure_delay = 0\n"
        f"{passdb}passdb {{\n driver = passwd-file\n args = {root}/passwd\n}}\n"
        "userdb {\n driver = static\n args = uid=nobody gid=nogroup home=/nonexistent\n}\n"
        f"service auth {{\n unix_listener {root}/auth {{\n mode = 0666\n }}\n}}\n"
        # Else a wrong password makes the next right one wait, or fail.
        "service anvil {\n unix_listener anvil-auth-penalty {\n mode = 0\n }\n}\n"
        "service stats {\n unix_listener stats-writer {\n mode = 0666\n }\n}\n"
    )
    program = str(shutil.which("dovecot", path=PATH))
    with running([program, "-F", "-c", str(config)]) as process:
        _await((root / "auth").exists, process, root / "log")
        yield root / "auth"


@contextmanager
def postfix(
    root: Path,
    *,
    hostname: str = "mx.example.org",
    domains: tuple[str, ...] = ("example.org",),
    users: tuple[str, ...] = ("joe", "ann"),
    address: str = "127.0.0.1",
    tls: Path | None = None,
    sasl: Path | None = None,
    smtp_port: int = 0,
    settings: dict[str, str] | None = None,
    within: tuple[str, ...] = (),
) -> Iterator[Postfix]:
    """Run a Postfix that takes mail for `users` of `domains` into Maildirs.

    With `sasl`, who logs in may send anywhere, which means here: into the Maildir of "joe" at
    "relayed".  `within` is a command that runs others elsewhere.
    """
    needs_root()
    needs("postfix", MASTER)
    ports = {"smtp": smtp_port or free_port()}
    if tls:
        ports |= {"submission": free_port(), "smtps": free_port()}
    root.mkdir(mode=0o755)
    for above in (root, *root.parents):  # Postfix's users must get there
        if above.stat().st_mode & 0o011 != 0o011:
            above.chmod(above.stat().st_mode | 0o011)
    owner = pwd.getpwnam("postfix")
    mailman = pwd.getpwnam("mail")
    for name in ("etc", "spool", "data", "mail"):
        (root / name).mkdir(mode=0o755)
    os.chown(root / "data", owner.pw_uid, owner.pw_gid)
    os.chown(root / "mail", mailman.pw_uid, mailman.pw_gid)
    boxes = [f"{user}@{domain}" for domain in domains for user in users]
    if sasl:
        boxes.append("joe@relayed")
    lines = [f"{box} {box.partition('@')[2]}/{box.partition('@')[0]}/\n" for box in boxes]
    (root / "etc" / "boxes").write_text("".join(lines))
    facts = {
        "compatibility_level": "3.6",
        "queue_directory": f"{root}/spool",
        "data_directory": f"{root}/data",
        "maillog_file": f"{root}/log",
        "maillog_file_prefixes": f"{root}",
        "myhostname": hostname,
        "inet_interfaces": address,
        "inet_protocols": "all",
        "mydestination": "",
        "mynetworks": "127.0.0.254/32",
        "alias_maps": "",
        "virtual_mailbox_domains": " ".join((*domains, *(("relayed",) if sasl else ()))),
        "virtual_mailbox_maps": f"texthash:{root}/etc/boxes",
        "virtual_mailbox_base": f"{root}/mail",
        "virtual_uid_maps": f"static:{mailman.pw_uid}",
        "virtual_gid_maps": f"static:{mailman.pw_gid}",
        "smtpd_peername_lookup": "no",
        "smtputf8_enable": "yes",
        "message_size_limit": "20480000",
        "virtual_mailbox_limit": "0",
        "virtual_minimum_uid": "1",
        **(settings or {}),
    }
    if tls:
        facts |= {"smtpd_tls_chain_files": str(tls), "smtpd_tls_security_level": "may"}
    if sasl:
        facts |= {
            "smtpd_sasl_type": "dovecot",
            "smtpd_sasl_path": str(sasl),
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
            "transport_maps": f"texthash:{root}/etc/transport",
            "virtual_alias_domains": "",
            "virtual_alias_maps": f"regexp:{root}/etc/aliases",
        }
        (root / "etc" / "transport").write_text("")
        kept = "|".join(map(str, boxes))
        (root / "etc" / "aliases").write_text(f"/^({kept})$/ $1\n/./ joe@relayed\n")
    (root / "etc" / "main.cf").write_text("".join(f"{k} = {v}\n" for k, v in facts.items()))
    (root / "etc" / "master.cf").write_text(_services(ports, address))
    environment = {"PATH": PATH, "MAIL_CONFIG": f"{root}/etc"}
    check = [*within, "postfix", "-c", f"{root}/etc", "check"]
    subprocess.run(check, env=environment, check=True, capture_output=True)
    with running([*within, MASTER, "-c", f"{root}/etc", "-d"], environment) as process:
        _await((root / "spool" / "public" / "qmgr").exists, process, root / "log")
        if not within:
            _await(lambda: all(_listens(address, p) for p in ports.values()), process, root / "log")
        yield Postfix(root, address, ports)


@contextmanager
def running(
    command: list[str], environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server; stop it in the end."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _services(ports: dict[str, int], address: str) -> str:
    where = f"[{address}]" if ":" in address else address

    def service(name: str, *options: str) -> str:
        if name not in ports:
            return ""
        words = "".join(f" -o {option}" for option in options)
        return f"{where}:{ports[name]} inet n - n - - smtpd{words}\n"

    login = ("smtpd_tls_security_level=encrypt", "smtpd_tls_auth_only=yes")
    return _SERVICES.format(
        smtp=service("smtp"),
        submission=service("submission", *login),
        smtps=service("smtps", "smtpd_tls_wrappermode=yes", "smtpd_sasl_auth_enable=yes"),
    )


def _listens(address: str, port: int) -> bool:
    import socket

    try:
        with socket.create_connection((address, port), 5):
            return True
    except OSError:
        return False


def _await(ready, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert process.poll() is None, log.read_text() if log.exists() else "it has ended"
        assert time.monotonic() < deadline, log.read_text() if log.exists() else "it does not start"
        time.sleep(0.05)
