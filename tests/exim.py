"""Exim, a relay that is no Postfix: from Debian's package, unpacked and not installed.

It lives in a machine of the test's own (tests/machine.py), whose /etc gets Exim's user.
"""

import os
import pwd
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import Letter, letters, needs
from postfixes import running
from relays import free_port

PROGRAM = Path("/var/tmp/pymail-peers/exim4/usr/sbin/exim4")
OWNER, UID = "Debian-exim", 60910

_CONFIGURATION = """\
primary_hostname = relay.example
exim_path = {program}
spool_directory = {root}/spool
log_file_path = {root}/log/%s
pid_file_path = {root}/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {ports[smtp]} : {ports[submission]} : {ports[smtps]}
tls_on_connect_ports = {ports[smtps]}
tls_advertise_hosts = *
tls_certificate = {root}/cert
tls_privatekey = {root}/key
deliver_drop_privilege = true
smtp_accept_max_per_connection = 1000
acl_smtp_rcpt = rcpt
begin acl
rcpt:
  accept authenticated = *
  deny message = relay not permitted
begin routers
everything:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  directory = {root}/mail
  maildir_format
  envelope_to_add
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{{user}}}}}{{eq{{$auth3}}{{{password}}}}}}}}}
  server_set_id = $auth2
  server_advertise_condition = ${{if def:tls_in_cipher}}
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${{if and{{{{eq{{$auth1}}{{{user}}}}}{{eq{{$auth2}}{{{password}}}}}}}}}
  server_set_id = $auth1
  server_advertise_condition = ${{if def:tls_in_cipher}}
cram:
  driver = cram_md5
  public_name = CRAM-MD5
  server_secret = ${{if eq{{$auth1}}{{{user}}}{{{password}}}fail}}
  server_set_id = $auth1
"""


@dataclass(frozen=True)
class Exim:
    """A running Exim."""

    root: Path
    ports: dict[str, int]

    def hop(self, service: str) -> str:
        """Return the next hop that leads to a service."""
        return f"[127.0.0.1]:{self.ports[service]}"

    def letters(self, count: int, patience: float = 30) -> list[Letter]:
        """Return the letters it has taken, once there are so many."""
        deadline = time.monotonic() + patience
        while len(letters(self.root / "mail")) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        return letters(self.root / "mail")

    def log(self) -> str:
        """Return what it has logged."""
        return (self.root / "log" / "main").read_text()


@contextmanager
def exim(root: Path, certificate: Path, user: str, password: str) -> Iterator[Exim]:
    """Run it; who logs in, over TLS only, may send anywhere, which means into one Maildir."""
    needs(str(PROGRAM))
    if OWNER not in {entry.pw_name for entry in pwd.getpwall()}:
        with open("/etc/passwd", "a") as passwd, open("/etc/group", "a") as group:
            passwd.write(f"{OWNER}:x:{UID}:{UID}::/nonexistent:/usr/sbin/nologin\n")
            group.write(f"{OWNER}:x:{UID}:\n")
    ports = {"submission": free_port(), "smtps": free_port(), "smtp": free_port()}
    root.mkdir(mode=0o755)
    for above in root.parents:  # Exim's user must get there
        if above.stat().st_mode & 0o011 != 0o011:
            above.chmod(above.stat().st_mode | 0o011)
    for name in ("spool", "log", "mail"):
        (root / name).mkdir()
    key, _, chain = certificate.read_text().partition("-----BEGIN CERT")
    (root / "key").write_text(key)
    (root / "cert").write_text(f"-----BEGIN CERT{chain}")
    for path in (root, *root.iterdir()):
        os.chown(path, UID, UID)
    config = root / "exim.conf"
    facts = {"program": PROGRAM, "root": root, "ports": ports, "user": user, "password": password}
    config.write_text(_CONFIGURATION.format(**facts))
    config.chmod(0o644)
    with running([str(PROGRAM), "-bdf", "-C", str(config)]) as process:
        deadline = time.monotonic() + 30
        while not (root / "log" / "main").exists() or "listening" not in Exim(root, ports).log():
            assert process.poll() is None, "Exim has ended"
            assert time.monotonic() < deadline, "Exim does not start"
            time.sleep(0.05)
        yield Exim(root, ports)
