"""Everything that is swept, in the order in which it is told."""

from collections.abc import Iterator
from dataclasses import dataclass

from . import attacks, disk
from .scenes import SCENES
from .sweep import ERRORS, Case

SUBMISSIONS = ("submit", "submit-t", "submit-first", "submit-big", "drop", "drop-t", "drop-first")
DELIVERIES = (
    "flush", "flush-own", "flush-retry", "flush-bounce", "flush-file",
    "relay-own", "relay-later", "relay",
)  # fmt: skip
KILLS = {
    "kill": "killed",
    "kill-one": "one process killed",
    "mid-write": "killed in the middle of a write",
}
PAUSES = (
    ("flush", "flush"), ("flush-own", "flush"), ("flush-retry", "flush"), ("flush-bounce", "flush"),
    ("flush", "submission"), ("flush-own", "submission"),
    ("drop", "flush"), ("drop-first", "flush"), ("submit", "flush"), ("submit-first", "submission"),
    ("newaliases", "flush"),
    ("relay-own", "flush"), ("relay-later", "flush"), ("relay", "flush"), ("relay", "submission"),
)  # fmt: skip
CUTS = (
    "submit",
    "submit-first",
    "submit-big",
    "drop",
    "drop-first",
    "flush",
    "flush-own",
    "flush-bounce",
    "relay-own",
    "relay",
)


@dataclass(frozen=True, slots=True)
class Sweep:
    """A line of the plan."""

    title: str
    case: Case
    near: str = ""


def kills() -> Iterator[Sweep]:
    """Yield the sweeps in which processes die."""
    for scene in (*SUBMISSIONS, *DELIVERIES, "newaliases"):
        for fault, words in KILLS.items():
            yield Sweep(f"{SCENES[scene].title}: {words} at every call", Case(scene, fault))
    for scene in DELIVERIES:
        words = "killed at every call, a reader moves new to cur"
        yield Sweep(f"{SCENES[scene].title}: {words}", Case(scene, "kill", reader=True))
        words = "one process killed at every call, a reader moves new to cur"
        yield Sweep(f"{SCENES[scene].title}: {words}", Case(scene, "kill-one", reader=True))


def errors() -> Iterator[Sweep]:
    """Yield the sweeps in which calls fail or fall short."""
    for scene in (*SUBMISSIONS, *DELIVERIES, "newaliases"):
        yield Sweep(f"{SCENES[scene].title}: short reads and writes", Case(scene, "short"))
        for name in ERRORS:
            yield Sweep(f"{SCENES[scene].title}: {name} once, at every call", Case(scene, name))
            yield Sweep(
                f"{SCENES[scene].title}: {name} from every call on", Case(scene, name + "+")
            )


def read_meanwhile() -> Iterator[Sweep]:
    """Yield the sweeps in which a delivery fails and what it left is read."""
    for scene in ("flush", "flush-own"):
        for name in ("EIO", "EIO+"):
            words = f"{name} at every call, a reader moves new to cur"
            yield Sweep(f"{SCENES[scene].title}: {words}", Case(scene, name, reader=True))


def pauses() -> Iterator[Sweep]:
    """Yield the sweeps in which two programs meet."""
    for scene, other in PAUSES:
        words = f"stopped at every call, a {other} runs"
        yield Sweep(f"{SCENES[scene].title}: {words}", Case(scene, "pause", other=other))


def cuts(kind: str) -> Iterator[Sweep]:
    """Yield the sweeps in which the power fails on a kind of file system."""
    for scene in CUTS:
        yield Sweep(
            f"{SCENES[scene].title}: power cut after every call, {kind}",
            Case(scene, "kill", disks=(kind,), cut=True),
        )
    for settled in ("", "spool", "homes"):
        words = f"power cut after every call, spool on {kind}, homes on another {kind}"
        words += f", the one of the {settled} was written" * bool(settled)
        case = Case("flush", "kill", disks=(kind, kind), cut=True, reader=True, settled=settled)
        yield Sweep(f"{SCENES['flush'].title}: {words}", case)


def mixed() -> Iterator[Sweep]:
    """Yield the sweeps in which spool and homes are on file systems of different kinds."""
    for first, second in (("ext4", "xfs"), ("xfs", "btrfs"), ("btrfs", "ext4")):
        words = f"power cut after every call, spool on {first}, homes on {second}"
        case = Case("flush", "kill", disks=(first, second), cut=True, settled="spool")
        yield Sweep(f"{SCENES['flush'].title}: {words}", case)


def assaults() -> Iterator[Sweep]:
    """Yield the sweeps in which a user attacks."""
    for name in attacks.ATTACKS:
        yield Sweep(
            f"flush as root, attacked at every call: {name}", Case("attacked", "pause", other=name)
        )


def everything() -> Iterator[Sweep]:
    """Yield all of it."""
    yield from kills()
    yield from errors()
    yield from read_meanwhile()
    yield from pauses()
    for kind in disk.KINDS:
        yield from cuts(kind)
    yield from mixed()
    yield from assaults()
