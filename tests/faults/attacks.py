"""What a user may do to root's flush while it stands still, and to what it finds.

The attacker is the first user of the world. Their letter `own` lies in their drop directory;
the second user's letter `theirs` goes to the third and to the attacker. At one call of the
flush the attacker acts. Whatever that does to the attacker's own letters and mailbox: the
others' letters arrive, the flush ends, no secret is told or changed, nobody's mail is sent in
another's name, and no file in a mailbox belongs to anybody but its owner.

Two files that the attacker must not read, each a perfect queue file: `secret` of root and
`diary` of the second user. With fs.protected_hardlinks=0 the attacker could link them; such a
link is made here by root in the attacker's place, so that the setting of the machine, which is
everybody's, need not be touched.
"""

import contextlib
import fcntl
import mmap
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterable

from . import probe
from .sweep import Other
from .world import User, World

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Attack(Other):
    """An act of the attacker; a subclass says which."""

    untidy = True
    own_mailbox_suffers = False

    def prepare(self, w: World) -> None:
        a, b, c = w.users
        w.system_spool()
        for maker, name, recipient in ((None, "secret", a), (b, "diary", a)):
            w.submit(maker, name, recipient.name)
            place = f"{w.spool}/queue" if maker is None else drop(w, b)
            (file,) = os.listdir(place)
            os.rename(f"{place}/{file}", f"{w.etc}/{name}")
        os.rmdir(drop(w, b))
        w.submit(a, "own", b.name)
        w.submit(b, "theirs", c.name, a.name)
        for user in w.users:
            as_user(user, lambda user=user: _maildir(user))

    def act(self, w: World) -> Iterable[str]:
        as_user(w.users[0], lambda: self.attack(w))
        return ()

    def attack(self, w: World) -> None:
        """Act as the attacker; an error is the attacker's bad luck."""

    def expected(self, w: World, *, acted: bool) -> dict[tuple[str, str], int]:
        a, b, c = (user.name for user in w.users)
        return {(b, "own"): 1, (c, "theirs"): 1, (a, "theirs"): 1}

    def forfeits(self, w: World, mailbox: str, name: str) -> bool:
        return name == "own" or (self.own_mailbox_suffers and mailbox == w.users[0].name)

    def judge(self, w: World, view: probe.View) -> set[str]:
        verdicts = set()
        if any(name in ("secret", "diary") for _, name in view.delivered):
            verdicts.add("SECRET")
        for name, uid in (("secret", 0), ("diary", w.users[1].uid)):
            state = os.stat(f"{w.etc}/{name}")
            with open(f"{w.etc}/{name}", "rb") as file:
                whole = list(probe.copies(file.read())) == [(name, True)]
            if not whole or state.st_uid != uid or state.st_mode & 0o777 != 0o600:
                verdicts.add("SECRET")
        return verdicts | self._told(w) | self._forged(w)

    def _told(self, w: World) -> set[str]:
        """Look whether the attacker can now read anything of the secrets."""
        a = w.users[0]
        for top in (a.home, f"{w.spool}/drop"):
            for base, _, names in os.walk(top):
                for name in names:
                    with contextlib.suppress(OSError):
                        state = os.lstat(f"{base}/{name}")
                        if (
                            state.st_uid == a.uid
                            and 0 < state.st_size < 1 << 20
                            and not os.path.islink(f"{base}/{name}")
                        ):
                            with open(f"{base}/{name}", "rb") as file:
                                data = file.read()
                            if b"probe secret begins" in data or b"probe diary begins" in data:
                                return {"SECRET"}
        return set()

    def _forged(self, w: World) -> set[str]:
        """Look whether a letter that the attacker forged goes by another's name."""
        for user in w.users:
            for base, _, names in os.walk(f"{user.home}/Maildir/new"):
                for name in names:
                    with open(f"{base}/{name}", "rb") as file:
                        data = file.read()
                    if (
                        b"probe forged begins" in data
                        and w.users[0].name.encode() not in data.split(b"\n", 1)[0]
                    ):
                        return {"FORGED"}
        return set()


class Own(Attack):
    """An attack on the attacker's own dropped letter, with its path and a free id beside it."""

    def attack(self, w: World) -> None:
        folder = drop(w, w.users[0])
        name = next((name for name in sorted(os.listdir(folder)) if not name.startswith(".")), "")
        if name:
            self.hurt(w, f"{folder}/{name}", f"{folder}/{sibling(name)}")
        else:  # already picked up: do it to a name that may come back
            with contextlib.suppress(FileNotFoundError):
                self.hurt(w, f"{folder}/{self.first}", f"{folder}/{sibling(self.first)}")

    def ready(self, w: World) -> None:
        (self.first,) = (
            name for name in os.listdir(drop(w, w.users[0])) if not name.startswith(".")
        )

    def hurt(self, w: World, path: str, beside: str) -> None:
        """Act on the letter."""


class Symlink(Own):
    def hurt(self, w: World, path: str, beside: str) -> None:
        os.symlink(f"{w.etc}/secret", beside)
        _replace(path, lambda: os.symlink(f"{w.etc}/secret", path))


class Fifo(Own):
    def hurt(self, w: World, path: str, beside: str) -> None:
        os.mkfifo(beside)
        _replace(path, lambda: os.mkfifo(path))


class Directory(Own):
    def hurt(self, w: World, path: str, beside: str) -> None:
        os.mkdir(beside)
        _replace(path, lambda: os.mkdir(path))


class Socket(Own):
    def hurt(self, w: World, path: str, beside: str) -> None:
        folder, name = os.path.split(path)
        os.chdir(folder)  # the name of a socket is short
        _replace(name, lambda: socket.socket(socket.AF_UNIX).bind(name))


class Device(Own):
    """Only root makes devices: done in the attacker's place, as if a backup had restored one."""

    def act(self, w: World) -> Iterable[str]:
        path = f"{drop(w, w.users[0])}/{sibling(self.first)}"
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            os.mknod(path, 0o20666, os.makedev(1, 5))  # /dev/zero
            os.chown(path, w.users[0].uid, -1)
        return ()


class EvilNames(Own):
    def hurt(self, w: World, path: str, beside: str) -> None:
        folder = os.path.dirname(path).encode()
        name = os.path.basename(beside)
        other = name[:16] + _digits(w.users[1].uid)
        names = [
            b"-rf",
            b"new\nline",
            b"\xff\xfe",
            b"a" * 255,
            b".",
            b"..",
            b".status",
            b"a,b",
            b"%s%n",
        ]
        names += [
            b"." + name.encode(),
            f".u0,{name}".encode(),
            other.encode(),
            name[:16].encode() + b"0",
            b"x" * 17,
        ]
        names += [
            name.encode() + b".damaged",
            "ключ".encode(),
            b"\x1b[2J",
            name.encode() + b"0000000",
        ]
        with open(path, "rb") as file:
            data = file.read()
        for each in names:
            with contextlib.suppress(OSError), open(folder + b"/" + each, "wb") as file:
                file.write(data)


class Hardlink(Own):
    """As the machine is set: mostly fs.protected_hardlinks=1, and nothing comes of it."""

    def hurt(self, w: World, path: str, beside: str) -> None:
        for source in ("secret", "diary"):
            with contextlib.suppress(OSError):
                os.link(f"{w.etc}/{source}", beside)


class HardlinkUnprotected(Own):
    source = "secret"

    def act(self, w: World) -> Iterable[str]:
        folder = drop(w, w.users[0])
        uid = os.stat(f"{w.etc}/{self.source}").st_uid
        # Under an id of the attacker's, under one of the file's owner's, and in the letter's place.
        for name in (sibling(self.first), sibling(self.first)[:16] + _digits(uid), self.first):
            with contextlib.suppress(FileNotFoundError):
                _replace(
                    f"{folder}/{name}",
                    lambda name=name: os.link(f"{w.etc}/{self.source}", f"{folder}/{name}"),
                )
        return ()


class HardlinkDiary(HardlinkUnprotected):
    source = "diary"


class ExtraLink(Own):
    """The letter has a second name, elsewhere, for later."""

    def hurt(self, w: World, path: str, beside: str) -> None:
        os.link(path, f"{w.users[0].home}/kept")


class Swap(Own):
    """Another file of the attacker's takes the letter's name."""

    def hurt(self, w: World, path: str, beside: str) -> None:
        with open(f"{w.users[0].home}/other", "wb") as file:
            file.write(b"garbage\n" * 1000)
        os.replace(f"{w.users[0].home}/other", path)


class SwapBack(Own):
    """The letter goes away and comes back under another id, a link of it stays."""

    def hurt(self, w: World, path: str, beside: str) -> None:
        os.rename(path, beside)
        os.link(beside, path)


class Held(Own):
    """A descriptor held since before the flush writes into the letter."""

    file = None

    def ready(self, w: World) -> None:
        super().ready(w)
        self.file = open(f"{drop(w, w.users[0])}/{self.first}", "r+b", buffering=0)  # noqa: SIM115

    def act(self, w: World) -> Iterable[str]:
        size = os.fstat(self.file.fileno()).st_size
        os.pwrite(self.file.fileno(), b"garbled", max(size - 500, 0))
        return ()

    def done(self) -> None:
        if self.file:
            self.file.close()


class HeldTruncate(Held):
    def act(self, w: World) -> Iterable[str]:
        os.ftruncate(self.file.fileno(), os.fstat(self.file.fileno()).st_size - 700)
        return ()


class HeldLate(Own):
    """A descriptor opened while the flush stands still writes, and stays open."""

    file = None

    def act(self, w: World) -> Iterable[str]:
        with contextlib.suppress(FileNotFoundError):
            self.file = open(f"{drop(w, w.users[0])}/{self.first}", "r+b", buffering=0)  # noqa: SIM115
            os.pwrite(self.file.fileno(), b"garbled", 900)
        return ()

    def done(self) -> None:
        if self.file:
            self.file.close()
        self.file = None


class Mapped(Own):
    """The letter is mapped since before, its descriptor closed; the mapping writes."""

    memory = None

    def ready(self, w: World) -> None:
        super().ready(w)
        with open(f"{drop(w, w.users[0])}/{self.first}", "r+b", buffering=0) as file:
            self.memory = mmap.mmap(file.fileno(), 0)

    def act(self, w: World) -> Iterable[str]:
        self.memory[1000:1007] = b"garbled"
        return ()

    def done(self) -> None:
        if self.memory:
            self.memory.close()


class Lease(Own):
    """A write lease, which makes others' open() wait for 45 seconds."""

    file = None

    def act(self, w: World) -> Iterable[str]:
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        with contextlib.suppress(OSError):
            self.file = open(f"{drop(w, w.users[0])}/{self.first}", "r+b", buffering=0)  # noqa: SIM115
            fcntl.fcntl(self.file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        return ()

    def done(self) -> None:
        if self.file:
            self.file.close()
        self.file = None


class Locked(Lease):
    """The lock that says "still being written", held for ever."""

    def act(self, w: World) -> Iterable[str]:
        with contextlib.suppress(OSError):
            self.file = open(f"{drop(w, w.users[0])}/{self.first}", "rb", buffering=0)  # noqa: SIM115
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return ()


class Truncate(Own):
    def hurt(self, w: World, path: str, beside: str) -> None:
        os.truncate(path, 0)


class TruncateHalf(Own):
    def hurt(self, w: World, path: str, beside: str) -> None:
        os.truncate(path, os.path.getsize(path) // 2)


class Unlink(Own):
    def hurt(self, w: World, path: str, beside: str) -> None:
        os.unlink(path)


class Append(Own):
    def hurt(self, w: World, path: str, beside: str) -> None:
        with open(path, "ab") as file:
            for status in (b"sent", b"bounced", b"reported", b"kept", b"deferred", b"held", b"x"):
                for index in (b"0", b"99", b"9" * 50):
                    line = (
                        index,
                        index,
                        status,
                        b"2.0.0",
                        b"99 \x1fx y\x1f" + b"9" * 5000 + b" z",
                        b"\xff\x1b[2J",
                    )
                    file.write(b"\t".join(line) + b"\n")
            file.write(b"\0garbage")


class Overwrite(Own):
    """The states in the file say that all is delivered, or are none at all."""

    def hurt(self, w: World, path: str, beside: str) -> None:
        with open(path, "r+b") as file:
            file.seek(64)
            file.write(b"-99dddd")


class Garbage(Own):
    def hurt(self, w: World, path: str, beside: str) -> None:
        with open(path, "wb") as file:
            file.write(os.urandom(3000))


class Sparse(Own):
    def hurt(self, w: World, path: str, beside: str) -> None:
        for each in (path, beside):
            with open(each, "ab") as file, contextlib.suppress(OSError):
                file.truncate(1 << 40)


class Forge(Own):
    """A perfect queue file in which root says that root sent it."""

    def prepare(self, w: World) -> None:
        super().prepare(w)
        w.submit(None, "forged", w.users[2].name)
        (file,) = os.listdir(f"{w.spool}/queue")
        os.rename(f"{w.spool}/queue/{file}", f"{w.top}/kept-forged")

    def act(self, w: World) -> Iterable[str]:
        a = w.users[0]
        for name in (sibling(self.first), sibling(self.first)[:16] + "0"):
            shutil.copyfile(f"{w.top}/kept-forged", f"{a.home}/forged")
            os.chown(f"{a.home}/forged", a.uid, a.gid)
            with contextlib.suppress(OSError):
                os.rename(f"{a.home}/forged", f"{drop(w, a)}/{name}")
        return ()

    def expected(self, w: World, *, acted: bool) -> dict[tuple[str, str], int]:
        return super().expected(w, acted=acted) | {(w.users[2].name, "forged"): 1}

    def forfeits(self, w: World, mailbox: str, name: str) -> bool:
        return name == "forged" or super().forfeits(w, mailbox, name)


class Flood(Own):
    """Hundreds of files that look like letters."""

    def hurt(self, w: World, path: str, beside: str) -> None:
        for number in range(300):
            with open(
                beside[:-9] + f"{number:07}"[:0] + beside[-9:-6] + f"{number:03}" + beside[-3:],
                "wb",
            ) as file:
                file.write(b"pymail1 " + b"0" * (number * 7))


class ManyDirectories(Own):
    """Hundreds of drop directories of one user."""

    def hurt(self, w: World, path: str, beside: str) -> None:
        for number in range(200):
            with contextlib.suppress(FileExistsError):
                os.mkdir(f"{w.spool}/drop/u{w.users[0].uid}.{number:016x}", 0o700)


class Squat(Attack):
    """The attacker has taken the names of the others' drop directories before their first mail."""

    def prepare(self, w: World) -> None:
        super().prepare(w)
        a, b, c = w.users
        as_user(a, lambda: os.mkdir(drop(w, c), 0o777))
        w.submit(c, "squatted", b.name)

    def attack(self, w: World) -> None:
        with contextlib.suppress(OSError):
            os.rmdir(drop(w, w.users[2]))

    def expected(self, w: World, *, acted: bool) -> dict[tuple[str, str], int]:
        return super().expected(w, acted=acted) | {(w.users[1].name, "squatted"): 1}


class OpenDrop(Attack):
    """Everybody may write into the attacker's drop directory, and somebody does."""

    def attack(self, w: World) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.chmod(drop(w, w.users[0]), 0o777)


class DropSymlink(Attack):
    """The drop directory is a symbolic link to somewhere that root can read."""

    def attack(self, w: World) -> None:
        path = drop(w, w.users[0])
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, path + ".gone")
        with contextlib.suppress(FileExistsError):
            os.symlink(self.target(w), path)

    def target(self, w: World) -> str:
        """Return what the link points to."""
        return w.etc


class DropSymlinkOther(DropSymlink):
    def target(self, w: World) -> str:
        return drop(w, w.users[1])


class DropSymlinkQueue(DropSymlink):
    def target(self, w: World) -> str:
        return f"{w.spool}/queue"


class DropFile(DropSymlink):
    """The drop directory is a FIFO."""

    def attack(self, w: World) -> None:
        path = drop(w, w.users[0])
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, path + ".gone")
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path)


class DropGone(Attack):
    """The drop directory and all that is in it are gone."""

    def attack(self, w: World) -> None:
        shutil.rmtree(drop(w, w.users[0]), ignore_errors=True)


class Status(Attack):
    """Where root writes what the user's mailq shows: a link to a secret is there."""

    def attack(self, w: World) -> None:
        path = f"{drop(w, w.users[0])}/.status"
        with contextlib.suppress(FileNotFoundError):
            _replace(path, lambda: self.put(w, path))

    def put(self, w: World, path: str) -> None:
        """Put something in its place."""
        os.symlink(f"{w.etc}/secret", path)


class StatusFifo(Status):
    def put(self, w: World, path: str) -> None:
        os.mkfifo(path)


class StatusDirectory(Status):
    def put(self, w: World, path: str) -> None:
        os.makedirs(f"{path}/full")


class StatusLink(Status):
    """A hard link to another's file, made by root in the attacker's place, see above."""

    def act(self, w: World) -> Iterable[str]:
        self.attack(w)
        return ()

    def put(self, w: World, path: str) -> None:
        os.link(f"{w.etc}/diary", path)


class Mailbox(Attack):
    """The attacker's mailbox is not what it seems."""

    own_mailbox_suffers = True

    def attack(self, w: World) -> None:
        box = f"{w.users[0].home}/Maildir"
        with contextlib.suppress(OSError):
            os.rename(box, f"{box}.old")
        with contextlib.suppress(FileExistsError):
            self.put(w, box)

    def put(self, w: World, box: str) -> None:
        """Put something in its place."""
        os.symlink(f"{w.users[1].home}/Maildir", box)


class MailboxEtc(Mailbox):
    def put(self, w: World, box: str) -> None:
        os.symlink(w.etc, box)


class MailboxNew(Mailbox):
    """A Maildir whose new/ is another's."""

    def put(self, w: World, box: str) -> None:
        for name in ("", "/tmp", "/cur"):
            os.mkdir(box + name)
        os.symlink(f"{w.users[1].home}/Maildir/new", f"{box}/new")


class MailboxTmp(Mailbox):
    """A Maildir whose tmp/ is another's."""

    def put(self, w: World, box: str) -> None:
        for name in ("", "/new", "/cur"):
            os.mkdir(box + name)
        os.symlink(f"{w.users[1].home}/Maildir/tmp", f"{box}/tmp")


class MailboxFifo(Mailbox):
    def put(self, w: World, box: str) -> None:
        os.mkfifo(box)


class MailboxForeign(Mailbox):
    """A Maildir that belongs to another, left by some administrator."""

    def act(self, w: World) -> Iterable[str]:
        for base, _, _ in os.walk(f"{w.users[0].home}/Maildir"):
            os.chown(base, w.users[1].uid, w.users[1].gid)
        return ()


class Forward(Attack):
    """The attacker's .forward cannot be opened without waiting, or is a secret."""

    own_mailbox_suffers = True

    def attack(self, w: World) -> None:
        path = f"{w.users[0].home}/.forward"
        with contextlib.suppress(FileExistsError):
            self.put(w, path)

    def put(self, w: World, path: str) -> None:
        """Put something there."""
        os.mkfifo(path)


class ForwardSecret(Forward):
    def put(self, w: World, path: str) -> None:
        os.symlink(f"{w.etc}/secret", path)


class ForwardWrites(Forward):
    """A .forward that names files of others as mailboxes."""

    def put(self, w: World, path: str) -> None:
        with open(path, "w", encoding="ascii") as file:
            theirs = w.users[1].home
            file.write(f"{w.etc}/secret, {w.etc}/diary, {theirs}/Maildir/, {theirs}/planted\n")


class ForwardLease(Forward):
    """A .forward under a write lease: open() waits for 45 seconds."""

    file = None

    def act(self, w: World) -> Iterable[str]:
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        path = f"{w.users[0].home}/.forward"
        as_user(w.users[0], lambda: open(path, "w", encoding="ascii").write("\\nobody\n"))  # noqa: SIM115
        self.file = open(path, "r+b", buffering=0)  # noqa: SIM115
        with contextlib.suppress(OSError):
            fcntl.fcntl(self.file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        return ()

    def done(self) -> None:
        if self.file:
            self.file.close()
        self.file = None


def drop(w: World, user: User) -> str:
    """Return a user's drop directory."""
    return f"{w.spool}/drop/u{user.uid}"


def sibling(name: str) -> str:
    """Return another queue id of the same user at the same time."""
    return name[:15] + ("1" if name[15] == "0" else "0") + name[16:]


def as_user(user: User, act: Callable[[], object]) -> None:
    """Do something as a user, in a process of its own; what they may not do, they do not."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(user.gid)
            os.setuid(user.uid)
            act()
        except OSError:
            pass
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def _digits(uid: int) -> str:
    digits = ""
    while uid or not digits:
        uid, digit = divmod(uid, 62)
        digits = _DIGITS[digit] + digits
    return digits


def _maildir(user: User) -> None:
    for name in ("", "/tmp", "/new", "/cur"):
        os.mkdir(f"{user.home}/Maildir{name}", 0o700)


def _replace(path: str, put: Callable[[], object]) -> None:
    """Put something in the place of what is there, or where something could be."""
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, f"{os.path.dirname(path) or '.'}/.was{time.time_ns()}")
    put()


def _name(attack: type) -> str:
    return "".join(
        f"-{letter.lower()}" if letter.isupper() else letter for letter in attack.__name__
    )[1:]


ATTACKS: dict[str, Other] = {
    _name(attack): attack()
    for attack in (
        Symlink, Fifo, Directory, Socket, Device, EvilNames,
        Hardlink, HardlinkUnprotected, HardlinkDiary, ExtraLink,
        Swap, SwapBack, Held, HeldTruncate, HeldLate, Mapped, Lease, Locked,
        Truncate, TruncateHalf, Unlink, Append, Overwrite, Garbage, Sparse, Forge,
        Flood, ManyDirectories, Squat, OpenDrop,
        DropSymlink, DropSymlinkOther, DropSymlinkQueue, DropFile, DropGone,
        Status, StatusFifo, StatusDirectory, StatusLink,
        Mailbox, MailboxEtc, MailboxNew, MailboxTmp, MailboxFifo, MailboxForeign,
        Forward, ForwardSecret, ForwardWrites, ForwardLease,
    )
}  # fmt: skip
