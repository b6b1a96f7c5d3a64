"""Calls fail or fall short; the caller hears it, and mail waits."""

import pytest
from faults import clock
from faults.plan import DELIVERIES, SUBMISSIONS
from faults.sweep import ERRORS, Case
from faulty import FULL, need_root, play, pool
from harness import missing

pytestmark = pytest.mark.timeout(0 if FULL else 300)


MANY = {"flush": 15, "relay-own": 4, "relay-later": 4}
MIX = [*ERRORS, *(f"{name}+" for name in ERRORS)]


@pytest.mark.parametrize("scene", SUBMISSIONS)
def test_a_submission_that_meets_an_error_says_so_and_leaves_nothing(scene):
    play(f"{scene}, errors", Case(scene, "EIO"), 9, mix=MIX)
    play(f"{scene}, short transfers", Case(scene, "short"), 3)


@pytest.mark.parametrize("scene", [*DELIVERIES, "newaliases"])
def test_a_program_that_meets_an_error_loses_doubles_and_bounces_nothing(scene):
    play(f"{scene}, errors", Case(scene, "EIO"), MANY.get(scene, 7), mix=MIX)
    play(f"{scene}, short transfers", Case(scene, "short"), 3)


@pytest.mark.parametrize("when", clock.JUMPS)
def test_a_clock_that_jumps_bounces_nothing_and_holds_nothing_back(when):
    need_root()
    if clock.missing():
        missing(clock.missing())
    (words,) = pool().jump([when])
    assert words.endswith("all well"), words
