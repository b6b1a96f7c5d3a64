"""The systems that are measured: how each is set up, filled, run and emptied.

All of them have the same shape, so that the worker knows nothing of any of them.
"""

import os
import shutil
import subprocess
import tempfile
import time
from typing import Any

from . import packages
from .sink import DEAD
from .stage import POSTDROP, SENDER, USERS, Stage

ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
Command = tuple[str, ...]
DOMAIN = "example.net"
ELSEWHERE, NOWHERE = "example.org", "example.com"  # by the relay, and by a dead server
WRITERS = 8  # at once: the disk commits several messages in one go
HELD = ("defer_transports=local,smtp", "in_flow_delay=0")
FREE = ("defer_transports=", "in_flow_delay=1s")
LIMIT = 50_000_000  # bytes of a message: the big one must fit everywhere


def submit(sendmail: Command, count: int, to: Command, message: str, **how: Any) -> None:
    """Submit `count` messages to those recipients in turn, in SMTP dialogues side by side."""
    lines = message.replace("\n", "\r\n")
    one = "MAIL FROM:<{}@{}>\r\nRCPT TO:<{}>\r\nDATA\r\n{}.\r\n"
    running = []
    for first in range(WRITERS):
        mails = (
            one.format(SENDER[0], DOMAIN, to[number % len(to)], lines)
            for number in range(first, count, WRITERS)
        )
        with tempfile.TemporaryFile() as file:
            file.write(f"EHLO localhost\r\n{''.join(mails)}QUIT\r\n".encode())
            file.seek(0)
            command = [*sendmail, "-bs"]
            running.append(subprocess.Popen(command, stdin=file, stdout=-3, **how))
    statuses = [each.wait() for each in running]
    if any(statuses):
        raise RuntimeError("the queue cannot be filled")


def locals_(users: int) -> Command:
    """Return the addresses of that many users."""
    return tuple(f"{name}@{DOMAIN}" for name in USERS[:users])


class System:
    """What every system has; a system that lacks a thing leaves its command empty."""

    name = ""
    sendmail: Command
    mailq: Command
    flush: Command
    aliases: Command = ()  # reads aliases_file and writes an index
    aliases_file = ""
    env = ENV

    def __init__(self, stage: Stage, store: str) -> None:
        self.stage = stage
        self.store = store

    def start(self) -> None:
        """Build the stage and start what must run."""
        raise NotImplementedError

    def hold(self) -> None:
        """From now on only queue, and deliver nothing."""

    def release(self) -> None:
        """Undo hold, short of delivering."""

    def fill(self, count: int, to: Command, message: str) -> None:
        """Put messages into the queue, to those recipients in turn, and hold them there."""
        raise NotImplementedError

    def relay(self, port: int, connections: int) -> None:
        """From now on send what leaves to that port, over so many connections at the most."""
        raise NotImplementedError

    def pending(self) -> bool:
        """Say whether anything is still to be delivered, after flush has ended."""
        return False

    def empty(self) -> None:
        """Throw away the queue and all mail."""
        raise NotImplementedError


class Pymail(System):
    """pymail in system mode, by the launcher that `pymail setup` installs."""

    name = "pymail"

    def __init__(self, stage: Stage, store: str) -> None:
        super().__init__(stage, store)
        spool, config = f"{stage.place}/spool", f"{stage.place}/config"
        self.env = {
            **ENV,
            "PYMAIL_SPOOL": spool,
            "PYMAIL_CONFIG": f"{config}/config.toml",
        }
        self.spool, self.config = spool, config
        programs = f"{store}/launchers"
        self.sendmail = (f"{programs}/sendmail",)
        self.mailq = (f"{programs}/mailq",)
        self.flush = (f"{programs}/flush",)
        self.aliases = (f"{programs}/newaliases",)
        self.aliases_file = f"{config}/aliases"

    def start(self) -> None:
        self.stage.build()
        os.mkdir(self.config)
        self._configure("")
        self.empty()

    def _configure(self, more: str) -> None:
        with open(f"{self.config}/config.toml", "w") as file:
            file.write(f'myhostname = "bench.{DOMAIN}"\nmyorigin = "{DOMAIN}"\n')
            file.write(f'mydestination = ["{DOMAIN}"]\nmessage_size_limit = {LIMIT}\n{more}')

    def relay(self, port: int, connections: int) -> None:
        self._configure(
            f'relayhost = "[127.0.0.1]:{port}"\nmail_owner = "pymail"\n'
            f"smtp_destination_concurrency_limit = {connections}\n"
            f'[transport_maps]\n"{NOWHERE}" = "smtp:[127.0.0.1]:{DEAD}"\n'
        )

    def fill(self, count: int, to: Command, message: str) -> None:
        uid = SENDER[1]
        submit(self.sendmail, count, to, message, env=self.env, user=uid, group=uid)

    def empty(self) -> None:
        self.stage.discard(self.spool)
        os.mkdir(self.spool)
        os.mkdir(f"{self.spool}/drop")
        os.chmod(f"{self.spool}/drop", 0o1733)
        os.mkdir(f"{self.spool}/queue", 0o700)
        self.stage.sweep()


class Postfix(System):
    """Postfix from Debian's package, as it comes; Maildir delivery by local(8)."""

    name = "Postfix"
    sendmail = ("/usr/sbin/sendmail",)
    mailq = ("/usr/sbin/sendmail", "-bp")
    flush = ("/usr/sbin/postqueue", "-f")
    aliases = ("/usr/sbin/postalias", "hash:/etc/aliases.many")
    aliases_file = "/etc/aliases.many"
    settings = FREE

    def start(self) -> None:
        package = packages.unpack("postfix", self.store)
        for program in ("postdrop", "postqueue"):
            os.chown(f"{package}/usr/sbin/{program}", 0, POSTDROP)
            os.chmod(f"{package}/usr/sbin/{program}", 0o2755)
        self.stage.build(package)
        self.queue = f"{self.stage.place}/queue"
        self.package = package
        os.mkdir(f"{self.stage.place}/data")
        shutil.chown(f"{self.stage.place}/data", "postfix")
        shutil.copy(f"{package}/usr/share/postfix/master.cf.dist", "/etc/postfix/master.cf")
        with open("/etc/postfix/main.cf", "w") as file:
            file.write(
                f"compatibility_level = 3.6\nqueue_directory = {self.queue}\n"
                f"data_directory = {self.stage.place}/data\ninet_interfaces = loopback-only\n"
                f"myhostname = bench.{DOMAIN}\nmyorigin = {DOMAIN}\nmydestination = {DOMAIN}\n"
                f"home_mailbox = Maildir/\nmailbox_size_limit = 0\n"
                f"message_size_limit = {LIMIT}\nbiff = no\nalias_maps = hash:/etc/aliases\n"
            )
        master = "/etc/postfix/master.cf"
        with open(master) as file:
            text = file.read().replace("smtp      inet", "#smtp      inet")
        with open(master, "w") as file:
            file.write(text)
        self._call("postalias", "hash:/etc/aliases")
        self._begin()

    def _begin(self) -> None:
        """Start with an empty queue directory."""
        shutil.copytree(f"{self.package}/var/spool/postfix", self.queue)
        self._call("postfix", "check")
        self.master = subprocess.Popen(["/usr/lib/postfix/sbin/master", "-d"], env=ENV)
        deadline = time.monotonic() + 20
        while not os.path.exists(f"{self.queue}/public/qmgr"):
            if time.monotonic() > deadline:
                raise RuntimeError("Postfix does not start")
            time.sleep(0.05)
        time.sleep(1.5)

    def _call(self, *command: str) -> None:
        subprocess.run(command, env=ENV, check=True, stdout=-3, stderr=-3)

    def _set(self, settings: Command) -> None:
        """Change the configuration; a daemon that reloads is slow for a while."""
        if settings == self.settings:
            return
        self.settings = settings
        self._call("postconf", "-e", *settings)
        self._call("postfix", "reload")
        time.sleep(1.5)

    def _count(self, *names: str) -> int:
        return sum(len(files) for name in names for _, _, files in os.walk(f"{self.queue}/{name}"))

    def hold(self) -> None:
        self._set(HELD)

    def relay(self, port: int, connections: int) -> None:
        table = f"inline:{{ {NOWHERE}=smtp:[127.0.0.1]:{DEAD} }}"
        settings = (f"relayhost=[127.0.0.1]:{port}", f"transport_maps={table}")
        limit = f"smtp_destination_concurrency_limit={connections}"
        self._call("postconf", "-e", *settings, limit)
        self._call("postfix", "reload")
        time.sleep(1.5)

    def fill(self, count: int, to: Command, message: str) -> None:
        self.hold()
        submit(self.sendmail, count, to, message, env=ENV)
        deadline = time.monotonic() + 300
        while self._count("deferred") < count or self._count("incoming", "active", "maildrop"):
            if time.monotonic() > deadline:
                raise RuntimeError("Postfix does not defer what it was told to defer")
            time.sleep(0.1)

    def release(self) -> None:
        self._set(FREE)

    def pending(self) -> bool:
        return bool(self._count("deferred", "incoming", "active", "maildrop"))

    def empty(self) -> None:
        self._call("postsuper", "-d", "ALL")
        self.release()
        self.stage.sweep()


class Dma(System):
    """dma from Debian's package: no Maildir, and its mbox is not synced."""

    name = "dma"
    sendmail = ("/usr/sbin/dma",)
    mailq = ("/usr/sbin/dma", "-bp")
    flush = ("/usr/sbin/dma", "-q")

    def __init__(self, stage: Stage, store: str) -> None:
        super().__init__(stage, store)
        self.queue = f"{stage.place}/queue"

    def start(self) -> None:
        self.stage.build(packages.unpack("dma", self.store))
        self.smarthost = ""
        self._configure("")
        self.empty()

    def relay(self, port: int, connections: int) -> None:
        self.smarthost = f"SMARTHOST 127.0.0.1\nPORT {port}\n"

    def _configure(self, more: str) -> None:
        more += self.smarthost
        with open("/etc/dma/dma.conf", "w") as file:
            file.write(f"SPOOLDIR {self.queue}\nMAILNAME {DOMAIN}\nALIASES /etc/aliases\n{more}")

    def fill(self, count: int, to: Command, message: str) -> None:
        """Submit one message a recipient, then copy its two queue files: a fill costs forks."""
        self.hold()
        uid = SENDER[1]
        made = {}
        for name in to:
            before = set(os.listdir(self.queue))
            subprocess.run(
                [*self.sendmail, name], input=message.encode(), env=ENV, check=True, user=uid,
                group=uid,
            )  # fmt: skip
            made[name] = {file[1:] for file in set(os.listdir(self.queue)) - before}.pop()
        for number in range(len(to), count):
            original = made[to[number % len(to)]]
            copied = f"f{number:05x}.{original.partition('.')[2]}"
            for letter in "MQ":
                with open(f"{self.queue}/{letter}{original}", "rb") as file:
                    data = file.read().replace(original.encode(), copied.encode())
                target = f"{self.queue}/{letter}{copied}"
                with open(target, "wb") as file:
                    file.write(data)
                shutil.copymode(f"{self.queue}/{letter}{original}", target)
                shutil.chown(target, "root", "mail")

    def hold(self) -> None:
        self._configure("DEFER\n")

    def release(self) -> None:
        self._configure("")

    def pending(self) -> bool:
        return any(name.startswith("Q") for name in os.listdir(self.queue))

    def empty(self) -> None:
        self.stage.discard(self.queue)
        os.mkdir(self.queue)
        shutil.chown(self.queue, "root", "mail")
        os.chmod(self.queue, 0o2775)
        self.release()
        self.stage.sweep()


ALL = {system.name: system for system in (Pymail, Postfix, Dma)}
