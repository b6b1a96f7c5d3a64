"""A user attacks root's flush while it stands still, at every call.

By default at a few calls each: those that touch what the attack is about.
"""

import pytest
from faults.attacks import ATTACKS, Forward, Mailbox, Status
from faults.sweep import Case
from faulty import FULL, need_root, play

pytestmark = pytest.mark.timeout(0 if FULL else 300)

_NEAR = ((Mailbox, "/Maildir"), (Forward, "/home"), (Status, "/drop"))


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attacked_flush_tells_no_secret_and_delivers_what_is_others(name):
    need_root()
    near = next((words for kind, words in _NEAR if isinstance(ATTACKS[name], kind)), "/drop/")
    play(f"attack: {name}", Case("attacked", "pause", other=name), 3, near)
