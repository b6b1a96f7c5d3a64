"""Servers that tests talk to: a scripted LMTP server, and a real Dovecot."""

import os
import pwd
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from harness import PATH, needs

Answer = str | bytes | None | Callable[[socket.socket, str], "str | bytes | None"]


class FakeLmtp:
    """An LMTP server that answers as it is told, and remembers what it was told.

    `answers` is by verb (BANNER, LHLO, MAIL, RCPT, DATA, END, RSET, QUIT): one answer, a list of
    answers to be used one after another, or a function; None closes the connection.
    """

    def __init__(self, place: Path | None, answers: dict[str, "Answer | list[Answer]"]) -> None:
        self.answers = dict(answers)
        self.commands: list[str] = []
        self.messages: list[tuple[str, list[str], bytes]] = []
        self.connections = 0
        self.raw = bytearray()
        if place is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.address = f"inet:127.0.0.1:{self._listener.getsockname()[1]}"
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(place))
            self._listener.listen()
            self.address = f"unix:{place}"
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                there, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with there, suppress(ConnectionError):
                there.settimeout(10)
                self._talk(there)

    def _talk(self, there: socket.socket) -> None:
        if not self._say(there, "BANNER", "", "220 fake LMTP"):
            return
        sender = ""
        recipients: list[str] = []
        with there.makefile("rb") as lines:
            for raw in lines:
                self.raw += raw
                line = raw.decode("utf-8", "surrogateescape").rstrip("\r\n")
                self.commands.append(line)
                verb = line[:4].upper()
                told = self._say(there, verb, line, _usual(verb, recipients))
                if not told or verb == "QUIT":
                    return
                if verb in ("MAIL", "RSET"):
                    sender, recipients = line, []
                elif verb == "RCPT" and told.startswith(b"2"):
                    recipients.append(line)
                elif verb == "DATA" and told.startswith(b"354"):
                    if not self._message(there, lines, sender, recipients):
                        return
                    recipients = []

    def _message(
        self, there: socket.socket, lines: BinaryIO, sender: str, recipients: list[str]
    ) -> bool:
        """Take a message to its dot and answer for each recipient; say whether to go on."""
        data = bytearray()
        for text in lines:
            self.raw += text
            if text == b".\r\n":
                break
            data += text
        else:
            return False
        self.messages.append((sender, recipients, bytes(data)))
        return all(self._say(there, "END", to, "250 2.0.0 saved") for to in recipients)

    def _say(self, there: socket.socket, verb: str, line: str, usual: str) -> bytes:
        answer = self.answers.get(verb, usual)
        if isinstance(answer, list):
            answer = answer.pop(0) if answer else usual
        if callable(answer):
            answer = answer(there, line)
        if answer is None:
            return b""
        data = answer if isinstance(answer, bytes) else f"{answer}\r\n".encode()
        there.sendall(data)
        return data


def _usual(verb: str, recipients: list[str]) -> str:
    if verb == "DATA" and not recipients:
        return "503 5.5.1 no recipients"
    return {"LHLO": "250 fake", "QUIT": "221 bye", "DATA": "354 go"}.get(verb, "250 2.0.0 ok")


@contextmanager
def fake_lmtp(place: Path | None, **answers: "Answer | list[Answer]") -> Iterator[FakeLmtp]:
    """Run a scripted server."""
    server = FakeLmtp(place, answers)
    try:
        yield server
    finally:
        server.close()


@dataclass(frozen=True)
class Dovecot:
    """A running Dovecot with LMTP on a socket; mailboxes are Maildirs below `mail`."""

    root: Path
    address: str

    def letters(self, user: str) -> list[bytes]:
        """Return the messages in a user's inbox."""
        return [path.read_bytes() for path in sorted((self.root / "mail" / user).glob("new/*"))]


@contextmanager
def dovecot(root: Path, *users: str) -> Iterator[Dovecot]:
    """Run a real Dovecot, as an ordinary process with a configuration of its own.

    It needs root, for its users; any domain is taken, users outside of `users` are unknown.
    """
    needs("dovecot", "doveadm")
    owner = pwd.getpwnam("mail")
    root.mkdir(mode=0o755)
    for above in (root, *root.parents):  # its own users must get to the socket
        if above.stat().st_mode & 0o001 == 0:
            above.chmod(above.stat().st_mode | 0o001)
    (root / "mail").mkdir()
    os.chown(root / "mail", owner.pw_uid, owner.pw_gid)
    passwd = root / "passwd"
    passwd.write_text("".join(f"{user}:::::/nonexistent::\n" for user in users))
    config = root / "dovecot.conf"
    config.write_text(
        f"""
        base_dir = {root}/run
        state_dir = {root}/state
        instance_name = {root.name}
        log_path = {root}/log
        protocols = lmtp
        ssl = no
        listen = 127.0.0.1
        mail_uid = mail
        mail_gid = mail
        first_valid_uid = {owner.pw_uid}
        mail_home = {root}/mail/%n
        mail_location = maildir:{root}/mail/%n
        auth_username_format = %n
        lmtp_save_to_detail_mailbox = no
        recipient_delimiter = +
        passdb {{
          driver = passwd-file
          args = {passwd}
        }}
        userdb {{
          driver = passwd-file
          args = {passwd}
        }}
        service lmtp {{
          unix_listener {root}/lmtp {{
            mode = 0666
          }}
        }}
        service stats {{
          unix_listener stats-writer {{
            mode = 0666
          }}
        }}
        """
    )
    process = subprocess.Popen(
        [str(shutil.which("dovecot", path=PATH)), "-F", "-c", str(config)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            if (root / "lmtp").exists() or process.poll() is not None:
                break
            time.sleep(0.1)
        assert process.poll() is None, (root / "log").read_text()
        yield Dovecot(root, f"unix:{root}/lmtp")
    finally:
        process.terminate()
        process.wait(30)
