"""Letters that prove themselves whole, and the one who looks where they are.

The body of a letter is

    probe NAME begins SHA256
    lines, among them `.` and `From `
    probe NAME ends

so a copy is found, and found whole or not, in any file of any format.
"""

import hashlib
import os
import random
import re
import stat
from collections import Counter
from collections.abc import Iterator

_SUBJECT = re.compile(rb"^Subject: probe ([\w-]+)$", re.MULTILINE)
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)
_BEGINS = re.compile(rb"^probe ([\w-]+) begins ([0-9a-f]{64})\n", re.MULTILINE)


def letter(name: str, recipients: str, lines: int = 60) -> bytes:
    """Make the letter `name`; its size is about 65 bytes a line."""
    random_bytes = random.Random(name).randbytes
    body = [random_bytes(32).hex() for _ in range(lines)]
    body[lines // 2 : lines // 2] = [".", "From here the letter goes on ", "", "с кириллицей\x0c"]
    payload = "".join(line + "\n" for line in body).encode()
    head = f"From: Probe <probe@localhost>\nTo: {recipients}\nSubject: probe {name}\n\n"
    digest = hashlib.sha256(payload).hexdigest()
    return (
        f"{head}probe {name} begins {digest}\n".encode() + payload + f"probe {name} ends\n".encode()
    )


def copies(data: bytes) -> Iterator[tuple[str, bool]]:
    """Yield every copy in some bytes: its name, and whether it is whole."""
    for match in _BEGINS.finditer(data):
        name = match[1]
        end = data.find(b"probe " + name + b" ends\n", match.end())
        whole = (
            end >= 0 and hashlib.sha256(data[match.end() : end]).hexdigest().encode() == match[2]
        )
        yield name.decode(), whole


class View:
    """What stood in the mailboxes and in the spool at one moment.

    A bounce is delivered under the name `bounce-of-` and that of the letter it returns.
    """

    __slots__ = ("bounces", "delivered", "foreign", "leftover", "spooled", "torn")

    def __init__(self) -> None:
        self.delivered: Counter[tuple[str, str]] = Counter()  # (mailbox, letter) of whole copies
        self.spooled: Counter[str] = Counter()
        self.torn: list[str] = []  # files in mailboxes that hold no whole letter
        self.bounces: list[str] = []
        self.foreign: list[str] = []  # files in mailboxes that are not their owner's
        self.leftover: set[str] = set()  # everything else

    def names(self) -> set[str]:
        """Say which letters exist anywhere."""
        return {letter for _, letter in self.delivered} | set(self.spooled)


def look(spool: str, homes: dict[str, tuple[str, int]]) -> View:
    """Look at a spool and at homes, {user: (directory, uid)}, as root or as their owner."""
    view = View()
    for path, state in _files(spool):
        found = [name for name, whole in copies(_read(path, state)) if whole]
        view.spooled.update(found)
        if not found and not path.endswith("/.sites"):  # what flush remembers of dead servers
            view.leftover.add("spool/" + os.path.relpath(path, spool))
    for user, (home, uid) in homes.items():
        for path, state in _files(home):
            place = os.path.relpath(path, home)
            # A user may have got a directory of another user's, but nothing of root's.
            if state.st_uid == 0 or (state.st_uid != uid and not stat.S_ISDIR(state.st_mode)):
                view.foreign.append(f"{user}/{place}")
            if place == "mbox" or place.split("/")[-2:-1] in (["new"], ["cur"]):
                _mailed(view, user, path, state)
            else:
                view.leftover.add(f"{user}/{place}")
    return view


def _mailed(view: View, user: str, path: str, state: os.stat_result) -> None:
    data = _read(path, state)
    if path.endswith("/mbox"):
        data = _QUOTED.sub(rb"\1", data)
    found = list(copies(data))
    view.delivered.update((user, name) for name, whole in found if whole)
    if not found and b"delivery-status" in data:
        view.bounces.append(path)
        view.delivered.update(
            (user, "bounce-of-" + name.decode()) for name in _SUBJECT.findall(data)
        )
    elif not all(whole for _, whole in found) or (not found and not path.endswith("/mbox")):
        view.torn.append(path)


def _files(top: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield everything below a directory, empty directories of one level included."""
    for base, directories, names in os.walk(top):
        for name in sorted(directories + names):
            path = os.path.join(base, name)
            try:
                yield path, os.lstat(path)
            except FileNotFoundError:
                continue  # somebody is at work


def _read(path: str, state: os.stat_result) -> bytes:
    if not stat.S_ISREG(state.st_mode) or state.st_size > 64 << 20:
        return b""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""
