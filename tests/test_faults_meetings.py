"""Two programs meet: one stands still at every call while the other runs from start to end."""

import pytest
from faults.plan import PAUSES
from faults.sweep import Case
from faulty import FULL, play

pytestmark = pytest.mark.timeout(0 if FULL else 300)


@pytest.mark.parametrize(("scene", "other"), PAUSES)
def test_programs_that_meet_at_any_call_lose_and_double_nothing(scene, other):
    play(
        f"{scene}, stopped for a {other}",
        Case(scene, "pause", other=other),
        12 if scene == "flush" else 5,
    )
