"""Random kills under load: senders and flushes die all the time, a reader moves new to cur.

Afterwards every letter that a sender was told is accepted is in its mailbox, once and whole;
and of the others at most one copy.
"""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field

from .world import User, World

SENDERS, FLUSHERS = 4, 3


@dataclass(slots=True)
class Load:
    """What happened."""

    seconds: float = 0
    sent: int = 0
    accepted: set[str] = field(default_factory=set)
    killed: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        found = (
            ", ".join(f"{number} {word}" for word, number in self.verdicts.items()) or "all well"
        )
        return (
            f"random kills for {self.seconds:.0f} s: {self.sent} submissions,"
            f" {len(self.accepted)} accepted, {self.killed['sendmail']} senders and"
            f" {self.killed['flush']} flushes killed: {found}"
        )


class _Program:
    """A program that is killed after a while, or ends before."""

    def __init__(
        self, w: World, kind: str, letter: str, user: User | None, argv: list[str], stdin: str
    ) -> None:
        self.kind = kind
        self.letter = letter
        identity = (
            {"user": user.uid, "group": user.gid, "extra_groups": ()} if user and w.rooted else {}
        )
        with open(stdin, "rb") as source:
            self.process = subprocess.Popen(
                argv,
                stdin=source,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=w.environment(user),
                cwd="/",
                start_new_session=True,
                **identity,  # type: ignore[call-overload]
            )
        # Half of them live to their end; the others die at any moment of their life.
        longest = 0.06 if kind == "sendmail" else 0.4
        self.end = time.monotonic() + (random.uniform(0, longest) if random.random() < 0.5 else 60)

    def tend(self, load: Load) -> bool:
        """Kill it if its time has come; say whether it has ended."""
        if time.monotonic() > self.end and self.process.poll() is None:
            _kill_tree(self.process.pid)
            load.killed[self.kind] += 1
            self.end = float("inf")
        status = self.process.poll()
        if status == 0 and self.kind == "sendmail":
            load.accepted.add(self.letter)
        return status is not None


def run(w: World, seconds: float) -> Load:
    """Put a world under load for some time, then let it settle and look."""
    w.begin(())
    if w.rooted:
        w.system_spool()
    load = Load()
    begun = time.monotonic()
    programs: list[_Program] = []
    while time.monotonic() - begun < seconds:
        programs = [each for each in programs if not each.tend(load)]
        senders = sum(each.kind == "sendmail" for each in programs)
        if senders < SENDERS:
            programs.append(_sender(w, load))
        elif len(programs) - senders < FLUSHERS:
            user = None if w.system else w.users[0]
            programs.append(_Program(w, "flush", "", user, w.program("flush"), os.devnull))
        elif random.random() < 0.05:
            w.read_mail()
        else:
            time.sleep(0.002)
    load.seconds = time.monotonic() - begun
    for each in programs:
        _kill_tree(each.process.pid)
        each.process.wait()
        each.tend(load)
    time.sleep(0.5)  # agents of killed flushes end by themselves
    for _ in range(2):
        w.later()
        if w.flush() != 0:
            load.verdicts["wedged"] += 1
    _judge(w, load)
    return load


def _sender(w: World, load: Load) -> _Program:
    load.sent += 1
    user = random.choice(w.users)
    recipient = w.users[load.sent % len(w.users)]
    name = f"s{load.sent}"
    place = w.letter(name, recipient.name, lines=random.choice((10, 60, 3000)))
    program = _Program(
        w, "sendmail", name, user, w.program("sendmail", "-i", recipient.name), place
    )
    os.unlink(place)
    return program


def _judge(w: World, load: Load) -> None:
    view = w.look()
    copies: Counter[str] = Counter()
    for (_, name), number in view.delivered.items():
        copies[name] += number
    load.verdicts["lost"] += sum(
        copies[name] == 0 and not view.spooled[name] for name in load.accepted
    )
    load.verdicts["stuck"] += sum(
        copies[name] == 0 and view.spooled[name] > 0 for name in load.accepted
    )
    load.verdicts["doubled"] += sum(number > 1 for number in copies.values())
    load.verdicts["truncated"] += len(view.torn)
    load.verdicts["bounced"] += len(view.bounces)
    load.verdicts["left in the spool"] += sum(view.spooled.values())
    load.verdicts["foreign"] += len(view.foreign)
    load.verdicts["left behind"] += sum(
        place.startswith("spool/queue/") and place.rpartition("/")[2] not in (".boot", ".warned")
        for place in view.leftover
    )
    load.verdicts = +load.verdicts


def _kill_tree(pid: int) -> None:
    """Kill a program and its children, whatever sessions those have made."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(name))
    todo = [pid]
    for each in todo:
        todo += children.get(each, [])
    for each in todo:
        try:
            os.kill(each, signal.SIGKILL)
        except ProcessLookupError:
            continue
