"""A real Dovecot that has mail: POP3 and IMAP, in plain, with STARTTLS and with TLS."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness import PATH, needs
from relays import free_port

USER, PASSWORD = "joe", "correct horse battery"


@dataclass(frozen=True)
class Store:
    """A running Dovecot; mailboxes are Maildirs below `mail`, the user is USER."""

    root: Path
    ports: dict[str, int]

    def put(self, *messages: bytes, folder: str = "") -> None:
        """Put messages into a folder, as if they had come."""
        place = self.root / "mail" / USER / (f".{folder}" if folder else "")
        owner = pwd.getpwnam("mail")
        for name in ("", "cur", "new", "tmp"):
            (place / name).mkdir(parents=True, exist_ok=True)
            os.chown(place / name, owner.pw_uid, owner.pw_gid)
        os.chown(place.parent, owner.pw_uid, owner.pw_gid)
        for number, message in enumerate(messages):
            path = place / "tmp" / f"{time.time_ns():020}.{number}.x"
            path.write_bytes(message)
            os.chown(path, owner.pw_uid, owner.pw_gid)
            path.rename(place / "new" / path.name)  # Dovecot may move it from there at once

    def letters(self, folder: str = "") -> list[bytes]:
        """Return what is in a folder."""
        place = self.root / "mail" / USER / (f".{folder}" if folder else "")
        found = []
        for path in sorted(place.glob("*/*.x*")):
            with suppress(FileNotFoundError):  # Dovecot still moves it
                found.append(path.read_bytes())
        return found

    def flags(self) -> list[str]:
        """Return the Maildir flags of what is in the inbox."""
        place = self.root / "mail" / USER
        return [path.name.partition(":2,")[2] for path in sorted(place.glob("*/*.x*"))]

    def log(self) -> str:
        """Return what Dovecot has logged."""
        return (self.root / "log").read_text()


@contextmanager
def dovecot(root: Path, certificate: Path, *more: str) -> Iterator[Store]:
    """Run it; `more` are lines of its configuration."""
    needs("dovecot")
    if not os.path.exists("/usr/lib/dovecot/pop3"):
        needs("dovecot-pop3d")
    owner = pwd.getpwnam("mail")
    root.mkdir(mode=0o755)
    for above in (root, *root.parents):  # its own users must get there
        if above.stat().st_mode & 0o001 == 0:
            above.chmod(above.stat().st_mode | 0o001)
    (root / "mail").mkdir()
    os.chown(root / "mail", owner.pw_uid, owner.pw_gid)
    (root / "passwd").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
    ports = {name: free_port() for name in ("pop3", "pop3s", "imap", "imaps")}
    listeners = "".join(
        f"""
        service {kind}-login {{
          inet_listener {kind} {{
            port = {ports[kind]}
          }}
          inet_listener {kind}s {{
            port = {ports[kind + "s"]}
            ssl = yes
          }}
        }}
        """
        for kind in ("pop3", "imap")
    )
    run = tempfile.mkdtemp(prefix="mail", dir="/tmp")  # the path of a socket must be short
    os.chmod(run, 0o755)
    config = root / "dovecot.conf"
    config.write_text(
        f"""
        base_dir = {run}
        state_dir = {root}/state
        instance_name = {root.name}
        log_path = {root}/log
        protocols = pop3 imap
        listen = 127.0.0.1
        ssl = yes
        ssl_cert = <{certificate}
        ssl_key = <{certificate}
        disable_plaintext_auth = no
        auth_mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256
        mail_uid = mail
        mail_gid = mail
        first_valid_uid = {owner.pw_uid}
        mail_home = {root}/mail/%n
        mail_location = maildir:{root}/mail/%n
        mail_fsync = never
        passdb {{
          driver = passwd-file
          args = {root}/passwd
        }}
        userdb {{
          driver = static
          args = uid=mail gid=mail home={root}/mail/%n
        }}
        namespace inbox {{
          inbox = yes
          separator = /
        }}
        {listeners}
        """
        + "\n".join(more)
    )
    process = subprocess.Popen(
        [str(shutil.which("dovecot", path=PATH)), "-F", "-c", str(config)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + 20
        while not all(map(_listens, ports.values())):
            log = (root / "log").read_text() if (root / "log").exists() else ""
            assert process.poll() is None, log + str(process.stderr and process.stderr.read())
            assert time.monotonic() < deadline, log
            time.sleep(0.05)
        yield Store(root, ports)
    finally:
        process.terminate()
        process.wait(30)
        assert process.stderr is not None
        process.stderr.close()
        shutil.rmtree(run, ignore_errors=True)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


class Mailutils:
    """GNU Mailutils' imap4d and pop3d, as inetd would start them; one user, one mbox, no TLS."""

    domain = "home.example"
    password = "secret-word"  # one word: pop3d looks no further

    def __init__(self, root: Path) -> None:
        needs("imap4d", "pop3d")
        self.box = root / "home" / "INBOX"
        self.box.parent.mkdir(parents=True)
        (root / "users").mkdir()
        made = subprocess.run(
            ["openssl", "passwd", "-6", self.password], capture_output=True, check=True, text=True
        )
        (root / "users" / self.domain).write_text(
            f"{USER}:{made.stdout.strip()}:{os.getuid()}:{os.getgid()}::{self.box.parent}:/bin/sh\n"
        )
        self._config = root / "mailutils.conf"
        self._config.write_text(
            'auth { authentication "generic:system"; authorization "virtdomain:system"; }\n'
            f"virtdomain {{ passwd-dir {root}/users; }}\n"
        )
        self._running: list[subprocess.Popen[bytes]] = []
        self._listeners = {"imap": ("imap4d", socket.create_server(("127.0.0.1", 0)))}
        self._listeners["pop3"] = ("pop3d", socket.create_server(("127.0.0.1", 0)))
        self.ports = {kind: each.getsockname()[1] for kind, (_, each) in self._listeners.items()}
        self._threads = [
            threading.Thread(target=self._serve, args=pair) for pair in self._listeners.values()
        ]
        for thread in self._threads:
            thread.start()

    def put(self, *messages: bytes) -> None:
        """Put messages into the mailbox."""
        with self.box.open("ab") as file:
            for message in messages:
                file.write(b"From a@x.org Thu Nov 26 00:00:00 2026\n" + message + b"\n")

    def close(self) -> None:
        """End all of it."""
        for _, listener in self._listeners.values():
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for thread in self._threads:
            thread.join(10)
        for process in self._running:
            process.kill()
            process.wait()

    def _serve(self, program: str, listener: socket.socket) -> None:
        path = str(shutil.which(program, path=PATH))
        while True:
            try:
                there, _ = listener.accept()
            except OSError:
                return
            argv = [path, f"--config-file={self._config}", "--set=.mode=inetd"]
            with there:
                self._running.append(subprocess.Popen(argv, stdin=there, stdout=there))


@contextmanager
def mailutils(root: Path) -> Iterator[Mailutils]:
    """Run them."""
    server = Mailutils(root)
    try:
        yield server
    finally:
        server.close()
