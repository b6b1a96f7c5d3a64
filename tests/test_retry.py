"""When a deferred message is tried again, and when it is given up."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymail import config as configuration
from pymail.retry import LEAST_ATTEMPTS, SETTLED, delay, due, expired, warns

DAY = 86400
SECONDS = st.integers(0, 2**40)


def settings(tmp_path: Path, text: str = "") -> configuration.Config:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return configuration.load(
        str(path), hostname="box.example.net", mailname="", aliases="/etc/aliases"
    )


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> configuration.Config:
    return settings(tmp_path_factory.mktemp("config"))


@pytest.mark.parametrize(
    ("age", "wait"), [(0, 300), (299, 300), (1000, 1000), (4000, 4000), (10**6, 4000)]
)
def test_the_delay_is_the_age_of_the_message_within_the_bounds(config, age, wait):
    assert delay(config, age, 0) == wait


def test_the_bounds_are_those_of_the_configuration(tmp_path):
    own = settings(tmp_path, 'minimal_backoff_time = "1m"\nmaximal_backoff_time = "2m"\n')
    assert [delay(own, age, 0) for age in (0, 90, 1000)] == [60, 90, 120]


@given(age=SECONDS, noise=st.integers(0, 255))
def test_messages_that_failed_together_are_spread_over_a_tenth(config, age, noise):
    base = delay(config, age, 0)
    assert base <= delay(config, age, noise) <= base + base // 10


@given(now=SECONDS, ahead=SECONDS)
def test_a_time_further_ahead_than_any_delay_comes_from_a_wrong_clock(now, ahead):
    longest = 4000
    assert due(now, now + ahead, longest) == (ahead == 0 or ahead > 2 * longest)


@given(now=SECONDS, back=SECONDS)
def test_what_is_past_is_due(now, back):
    assert due(now, now - back, 4000)


def test_a_message_expires_when_it_is_old_was_tried_often_and_the_machine_runs_long(config):
    facts = {"age": 5 * DAY, "attempts": LEAST_ATTEMPTS, "uptime": SETTLED}
    assert expired(config, **facts, null_sender=False)
    for name, least in facts.items():
        assert not expired(config, **{**facts, name: least - 1}, null_sender=False), name


def test_a_report_has_a_lifetime_of_its_own(tmp_path):
    own = settings(tmp_path, 'bounce_queue_lifetime = "1d"\n')
    assert expired(own, DAY, 8, SETTLED, null_sender=True)
    assert not expired(own, DAY, 8, SETTLED, null_sender=False)


def test_a_delay_is_told_only_where_it_is_asked_for(tmp_path, config):
    assert not warns(config, 10**6)
    own = settings(tmp_path, 'delay_warning_time = "4h"\n')
    assert [warns(own, age) for age in (4 * 3600 - 1, 4 * 3600)] == [False, True]
