"""A scene, a fault, every call: verdicts and counts.

A Case is one run: the scene with the fault at one call, then the recovery that would follow in
life (boot, reader, another letter, flush), then a look at everything. What is wrong is said in
verdicts:

    LOST     was accepted, and no whole copy is anywhere
    UNSAFE   exit 0 from the submission itself, and no whole copy is anywhere
    TRUNC    a mailbox holds a file that is no whole letter
    DUP      more copies in a mailbox than letters sent to it
    GHOST    the submission said no, and yet the letter was delivered or queued
    STUCK    accepted, and still in the spool although it was due
    LITTER   something was left behind that a clean run does not leave
    WEDGED   a letter sent afterwards did not get through
    BADRC    a failed submission with another status than 75
    BOUNCED  trouble of the machine became a bounce
    FOREIGN  a mailbox holds a file of somebody else's
    SECRET   somebody can read or has changed what they must not
    FORGED   a letter goes by the name of somebody who did not send it
    CRASH    a program ended with a traceback
    HANG     the command, or what came after it, did not end

And one that is no fault, but counted:

    AGAIN    a relay got a letter twice, since the fault fell between its final 250 and our record
"""

import errno
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from . import clock, probe, scenes, stress, tracer
from .world import World

VERDICTS = {
    "LOST": "lost",
    "TRUNC": "truncated",
    "DUP": "doubled in a Maildir",
    "UNSAFE": '"exit 0 and not safe"',
    "GHOST": '"non-zero and yet delivered"',
    "STUCK": "stuck",
    "LITTER": "with something left behind",
    "WEDGED": "wedged",
    "BADRC": "with a wrong exit status",
    "BOUNCED": "bounced for trouble of our own",
    "FOREIGN": "with a foreign file in a mailbox",
    "SECRET": "with a secret told or changed",
    "FORGED": "in another's name",
    "CRASH": "with a traceback",
    "HANG": "hung",
    "AGAIN": "relayed again, after a fault between 250 and record",
}
NO_FAULT = frozenset({"AGAIN"})
ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EMFILE", "EINTR", "EACCES")

# A storm of signals ends some time: Python repeats an interrupted call for ever.
_ALWAYS, _STORM = 1 << 30, 5


@dataclass(frozen=True, slots=True)
class Case:
    """One run, in words that a command line can repeat."""

    scene: str
    fault: str = "none"  # none, kill, kill-one, mid-write, short, pause, an errno, an errno and +
    at: int = 0
    disks: tuple[str, ...] = ()
    cut: bool = False
    settled: str = ""  # the disk of "spool" or "homes" that has been written when the power fails
    reader: bool = False
    other: str = ""  # who acts in a pause
    mutant: str = ""

    def __str__(self) -> str:
        words = [f"scene={self.scene}", f"fault={self.fault}", f"at={self.at}"]
        words += [f"disks={'+'.join(self.disks)}"] * bool(self.disks)
        words += [f"settled={self.settled}"] * bool(self.settled)
        words += ["cut=yes"] * self.cut + ["reader=yes"] * self.reader
        words += [f"other={self.other}"] * bool(self.other) + [f"mutant={self.mutant}"] * bool(
            self.mutant
        )
        return " ".join(words)

    @classmethod
    def parse(cls, text: str) -> "Case":
        """Read what str() wrote."""
        words = dict(word.split("=", 1) for word in text.split())
        return cls(
            scene=words["scene"],
            fault=words.get("fault", "none"),
            at=int(words.get("at", "0")),
            disks=tuple(filter(None, words.get("disks", "").split("+"))),
            cut="cut" in words,
            settled=words.get("settled", ""),
            reader="reader" in words,
            other=words.get("other", ""),
            mutant=words.get("mutant", ""),
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case."""

    case: Case
    verdicts: tuple[str, ...]
    struck: str  # the call, "" where the command ended before
    status: int | None
    calls: int
    words: str = ""
    trace: tuple[str, ...] = ()  # every call, of a run without a fault

    def __str__(self) -> str:
        place = f"at {self.struck or 'its end'}, status {self.status}"
        return f"{' '.join(self.verdicts)}: {self.case}\n    {place}{self.words}"


@dataclass(slots=True)
class Tally:
    """The counts of a sweep, or of many."""

    title: str = ""
    points: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    bad: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count one run."""
        self.points += 1
        self.counts.update(outcome.verdicts)
        if not NO_FAULT.issuperset(outcome.verdicts):
            self.bad.append(outcome)

    def merge(self, other: "Tally") -> None:
        """Count another sweep in."""
        self.points += other.points
        self.counts.update(other.counts)
        self.bad += other.bad

    def __str__(self) -> str:
        found = ", ".join(
            f"{number} {VERDICTS.get(word, word)}" for word, number in self.counts.items()
        )
        return f"{self.title}: {self.points} points, {found or 'all well'}"

    def report(self) -> str:
        """Say what went wrong, for a failing test: three examples of each kind."""
        lines, seen = [str(self)], Counter[tuple[str, ...]]()
        for outcome in self.bad:
            seen[outcome.verdicts] += 1
            if seen[outcome.verdicts] <= 3:
                lines.append(f"  {outcome}\n    python -m tests.faults --case '{outcome.case}'")
        return "\n".join(lines)

    def totals(self) -> str:
        """Say the numbers that have to be nought."""
        return "\n".join(f"{self.counts[word]:7} {words}" for word, words in VERDICTS.items())


def fault(case: Case, act: Callable[[tracer.Call], object]) -> tracer.Fault:
    """Make the fault of a case; `act` is what somebody else does in a pause."""
    match case.fault:
        case "none":
            return tracer.Fault()
        case "kill":
            return tracer.KillTree(case.at)
        case "kill-one":
            return tracer.KillOne(case.at)
        case "mid-write":
            return tracer.KillMidWrite(case.at)
        case "short":
            return tracer.Short(case.at)
        case "pause":
            return tracer.Pause(case.at, act)
    code = getattr(errno, case.fault.rstrip("+"))
    if not case.fault.endswith("+"):
        return tracer.Fail(case.at, code)
    return tracer.Fail(case.at, code, _STORM if code == errno.EINTR else _ALWAYS)


class Stage:
    """A world with a scene in it, ready to be played again and again."""

    def __init__(self, world: World, others: "dict[str, Other]") -> None:
        self.world = world
        self._others = others
        self._set: tuple[object, ...] = ()
        self._usual: set[str] = set()

    def play(self, case: Case) -> Outcome:
        """Play one case and judge it."""
        w, scene = self.world, scenes.SCENES[case.scene]
        other = self._others[case.other] if case.other else Other()
        key = (case.scene, case.disks, case.other, case.mutant)
        if key != self._set:
            self._set = ()
            w.mutate(case.mutant)
            w.begin(case.disks)
            scene.prepare(w)
            other.prepare(w)
            w.keep()
            self._set = key
            self._usual = set()
            clean = self._once(replace(case, at=0, cut=False), scene, other)
            if clean.verdicts and not case.mutant:
                raise AssertionError(f"not even a clean run is well: {clean}")
            if not case.at:
                return clean
        return self._once(case, scene, other)

    def jump(self, when: str) -> str:
        """Let the clock jump."""
        self._set = ()
        self.world.mutate("")
        return clock.jump(self.world, when)

    def stress(self, seconds: float) -> stress.Load:
        """Put the world under load."""
        self._set = ()
        self.world.mutate("")
        return stress.run(self.world, seconds)

    def _once(self, case: Case, scene: scenes.Scene, other: "Other") -> Outcome:
        w = self.world
        w.restore()
        w.output()
        other.ready(w)
        troubles: list[str] = []
        user, argv, stdin = scene.command(w)
        result = w.trace(
            user, fault(case, lambda _call: troubles.extend(other.act(w))), argv, stdin
        )
        said = w.output()
        heard = Counter((recipient, name) for recipient, name, _ in w.relay.accepted())
        if case.cut and case.at:
            w.power_cut(case.settled)
        expected = scene.expected(w) | other.expected(w, acted=result.struck is not None)
        if case.reader:
            w.read_mail()
        scene.repair(w)
        troubles += _recover(w, scene)
        other.done()
        view = w.look()
        if not case.at:
            self._usual |= view.leftover
        if result.hung:
            troubles.append("HANG")
        excused = {key for key in expected if other.forfeits(w, *key)}
        again = set()
        if result.struck is not None and case.fault != "pause":
            # Once in the run that the fault struck, and once in the one that followed it.
            again = {key for key in expected if heard[key] == 1 and view.delivered[key] == 2}
        view.delivered.subtract(again)
        verdicts = judge(scene.kind, result.status, expected, excused, view)
        verdicts |= {"AGAIN"} if again else set()
        verdicts |= set(troubles) | other.judge(w, view)
        if view.leftover - self._usual and not other.untidy:
            verdicts.add("LITTER")
        if scene.kind == scenes.SUBMISSION and result.status not in (0, None, 75):
            verdicts.add("BADRC")
        said += w.output()
        if "Traceback" in said:
            verdicts.add("CRASH")
        words = ""
        if verdicts:
            words = f"\n    delivered {dict(view.delivered)} spooled {dict(view.spooled)}"
            words += f" left {sorted(view.leftover - self._usual)[:6]} torn {view.torn}"
            words += "".join(f"\n    | {line}" for line in said.splitlines()[-8:])
        return Outcome(
            case,
            tuple(sorted(verdicts)),
            self._label(result.struck),
            result.status,
            len(result.calls),
            words,
            tuple(map(self._label, result.calls)) if not case.at else (),
        )

    def _label(self, call: tracer.Call | None) -> str:
        return str(call).replace(self.world.one, "") if call else ""


_AFTERWARDS = ("after", "old", "new")


def _recover(w: World, scene: scenes.Scene) -> list[str]:
    """Do what follows in life: somebody sends another letter, and the queue is run."""
    troubles = []
    if scene.kind == scenes.INDEX:
        b = w.users[1]
        troubles += _must(w.submit(b, "old", "team"))
        w.later()
        troubles += _must(w.flush())
        troubles += _must(w.run(None, w.program("newaliases")))
        troubles += _must(w.submit(b, "new", "team"))
    else:
        sender = w.users[1 if scene.kind == scenes.ATTACKED else 0]
        troubles += _must(w.submit(sender, "after", sender.name))
    w.later()
    troubles += _must(w.flush())
    if w.queued():  # a report made anew of what was delivered already: the next run knows it
        w.later()
        troubles += _must(w.flush())
    return troubles


def _must(status: int | None) -> list[str]:
    return ["HANG"] if status is None else ["WEDGED"] if status else []


def judge(
    kind: str,
    status: int | None,
    expected: dict[tuple[str, str], int],
    excused: set[tuple[str, str]],
    view: probe.View,
) -> set[str]:
    """Compare what came of a run with what had to; of the excused anything may have become."""
    verdicts = set()
    accepted = kind != scenes.SUBMISSION or status == 0
    exists = view.names()
    for (mailbox, name), wanted in expected.items():
        if (mailbox, name) in excused:
            continue
        copies = view.delivered[mailbox, name]
        if copies > wanted:
            verdicts.add("DUP")
        # A submission that was killed has said nothing: all of its letter, or nothing of it.
        own = kind == scenes.SUBMISSION and name == "m1"
        if copies < wanted and (accepted or not own or (status is None and name in exists)):
            kind_of_loss = "UNSAFE" if own and status == 0 else "LOST"
            verdicts.add("STUCK" if view.spooled[name] else kind_of_loss)
        if own and status not in (0, None) and name in exists:
            verdicts.add("GHOST")
    verdicts |= _judge_afterwards(kind, view)
    if view.torn:
        verdicts.add("TRUNC")
    # Who writes into a letter of theirs that it bounced gets the bounce.
    if kind != scenes.ATTACKED and len(view.bounces) > sum(
        name.startswith("bounce-of-") for _, name in expected
    ):
        verdicts.add("BOUNCED")
    if view.foreign:
        verdicts.add("FOREIGN")
    strays = [key for key in view.delivered if key not in expected and key[1] not in _AFTERWARDS]
    if any(kind != scenes.ATTACKED or not name.startswith("bounce-of-") for _, name in strays):
        verdicts.add("DUP")  # in a mailbox to which it was not sent
    return verdicts


def _judge_afterwards(kind: str, view: probe.View) -> set[str]:
    """The letters of _recover(): they went through, once."""
    for name in ("old", "new") if kind == scenes.INDEX else ("after",):
        copies = sum(number for (_, letter), number in view.delivered.items() if letter == name)
        if copies != 1:
            return {"WEDGED" if copies < 1 else "DUP"}
    return set()


class Other:
    """Who acts while the command stands still, and what that changes: here nobody and nothing."""

    untidy = False

    def ready(self, w: World) -> None:
        """Take position, before each run."""

    def done(self) -> None:
        """Let go, after each run."""

    def prepare(self, w: World) -> None:
        """Set up what is needed, before the command."""

    def act(self, w: World) -> Iterable[str]:
        """Act; return verdicts."""
        return ()

    def expected(self, w: World, *, acted: bool) -> dict[tuple[str, str], int]:
        """Return the letters that come in addition."""
        return {}

    def forfeits(self, w: World, mailbox: str, name: str) -> bool:
        """Say whether a letter may be lost or doubled, by its owner's own doing."""
        return False

    def judge(self, w: World, view: probe.View) -> set[str]:
        """Look for what only this one could have brought about."""
        return set()


class Flusher(Other):
    """A second flush runs from start to end."""

    def act(self, w: World) -> Iterable[str]:
        return _must(w.flush())


class Submitter(Other):
    """Somebody sends a letter."""

    def act(self, w: World) -> Iterable[str]:
        return _must(w.submit(w.users[0], "m9", w.users[0].name))

    def expected(self, w: World, *, acted: bool) -> dict[tuple[str, str], int]:
        return {(w.users[0].name, "m9"): 1} if acted else {}


OTHERS: dict[str, Other] = {"flush": Flusher(), "submission": Submitter()}
