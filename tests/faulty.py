"""What the tests of faults share: the pool of worlds, how much is asked for, what is needed."""

import os
from dataclasses import replace

import pytest
from faults import attacks, plan, sweep, tracer, worker
from harness import missing

FULL = os.environ.get("PYMAIL_FAULTS") == "full"

# Under xdist every worker has a world of its own; alone, one for each core.
WORLDS = 1 if "PYTEST_XDIST_WORKER" in os.environ else os.cpu_count() or 1

__all__ = ["FULL", "attacks", "need_root", "need_tracer", "plan", "play", "pool"]


def need_tracer():
    """Ask for ptrace and seccomp on x86_64."""
    if os.uname().machine != "x86_64":
        missing("faults are injected on x86_64 only")
    try:
        result = tracer.run(tracer.Command(["/bin/true"]), tracer.Fault(), tracer.below("/"))
    except OSError as error:
        missing(f"no ptrace: {error.strerror}")
    else:
        if result.status != 0:
            missing("no ptrace and seccomp here")


def need_root(more=""):
    """Ask for root, and for whatever else is said to be missing."""
    if os.geteuid() != 0:
        missing("users of one's own need root")
    if more:
        missing(more)


def pool():
    """Return this process's pool of worlds."""
    need_tracer()
    return worker.shared(WORLDS)


def play(title, case, most, near="", mix=()):
    """Sweep, at `most` calls unless everything is asked for; fail with a report."""
    if sweep.scenes.SCENES[case.scene].system:
        need_root()
    if FULL:
        for fault in mix or [case.fault]:
            _judge(pool().sweep(f"{title}: {fault}", replace(case, fault=fault)))
    else:
        _judge(pool().sweep(title, case, most, near, mix))


def _judge(tally):
    print(tally)
    assert tally.points, f"{tally.title}: no call to strike at"
    if tally.bad:
        pytest.fail(tally.report(), pytrace=False)
