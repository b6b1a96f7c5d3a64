"""Processes die at every call; nothing is lost, doubled or left behind."""

import pytest
from faults.plan import DELIVERIES, SUBMISSIONS
from faults.sweep import Case
from faulty import FULL, play, pool

MANY = {"flush": 8, "relay-own": 3, "relay-later": 3}

pytestmark = pytest.mark.timeout(0 if FULL else 300)


@pytest.mark.parametrize("scene", SUBMISSIONS)
def test_a_submission_killed_at_any_call_is_whole_or_was_never_there(scene):
    play(f"{scene}, killed", Case(scene, "kill"), 6)
    play(f"{scene}, one process killed", Case(scene, "kill-one"), 3)
    play(f"{scene}, killed in the middle of a write", Case(scene, "mid-write"), 2)


@pytest.mark.parametrize("scene", DELIVERIES)
def test_a_flush_killed_at_any_call_has_delivered_once_when_the_next_has_run(scene):
    play(f"{scene}, killed", Case(scene, "kill"), MANY.get(scene, 4))
    play(f"{scene}, one process killed", Case(scene, "kill-one"), 3)
    play(f"{scene}, killed in the middle of a write", Case(scene, "mid-write"), 2)


@pytest.mark.parametrize("scene", ["flush", "flush-own"])
def test_a_letter_that_was_read_meanwhile_is_not_delivered_again(scene):
    play(f"{scene}, killed, reader", Case(scene, "kill", reader=True), 5)
    play(f"{scene}, one process killed, reader", Case(scene, "kill-one", reader=True), 5)
    case = Case(scene, "EIO", reader=True)
    play(f"{scene}, errors, reader", case, 5, "Maildir", ("EIO", "EIO+"))


def test_newaliases_killed_at_any_call_leaves_one_whole_index():
    play("newaliases, killed", Case("newaliases", "kill"), 6)
    play("newaliases, killed in the middle of a write", Case("newaliases", "mid-write"), 3)


def test_random_kills_under_load_lose_and_double_nothing():
    load = pool().stress(60 if FULL else 8)
    print(load)
    assert load.accepted
    assert not load.verdicts, str(load)
