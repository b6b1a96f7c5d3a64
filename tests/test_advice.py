"""The sentences of cause and cure, against replies that real servers give."""

import re
import time
import tomllib

import pytest
from harness import DATA
from hypothesis import given
from hypothesis import strategies as st

from pymail.advice import RULES, cure, wants_relay

REPLIES = tomllib.loads((DATA / "replies.toml").read_text())["reply"]


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: f"{reply['who']}-{reply['text'][:30]}")
def test_a_known_reply_has_its_cure(reply: dict[str, str]) -> None:
    assert re.search(reply["cure"], cure(reply["text"])), cure(reply["text"])


def test_there_are_enough_rules_and_each_is_a_sentence() -> None:
    assert len(RULES) >= 45
    for _, words in RULES:
        assert words.endswith(".")
        assert words[0].isupper()
        assert words.isprintable()


def test_each_rule_is_the_answer_to_a_reply() -> None:
    answers = {cure(reply["text"]) for reply in REPLIES}
    assert answers == {words for _, words in RULES}


@pytest.mark.parametrize(
    "text", ["", "599 9.9.9 Zzzz", "250 2.0.0 ok: queued as 538DEAD5530", "450 possible"]
)
def test_an_unknown_reply_has_no_cure(text: str) -> None:
    assert cure(text) == ""


@pytest.mark.parametrize(
    ("text", "wants"),
    [
        ("554 5.7.1 Service unavailable; client [192.0.2.1] blocked using zen.spamhaus.org", True),
        ("550 5.7.1 mail from dynamic IP addresses is not accepted", True),
        ("550 5.7.25 no name", True),
        ("550 5.1.1 user unknown (from 95.7.25.3)", False),
        ("550 5.7.1 mailbox owner does not accept your mail", False),
        ("554 5.7.1 virus found, client 45.7.25.11", False),
        ("550 relay 1.5.7.25.example.org says no", False),
    ],
)
def test_another_way_out_is_only_for_who_is_refused_for_the_address(text, wants) -> None:
    assert wants_relay(text) == wants


@given(text=st.text(max_size=300))
def test_any_text_is_survived(text: str) -> None:
    assert cure(text) in {"", *(words for _, words in RULES)}


def test_a_hostile_reply_costs_no_time() -> None:
    began = time.process_time()
    for piece in (
        "a" * 100_000,
        "exceeded " * 10_000,
        "5.7.1 " * 10_000,
        "connect to " * 10_000,
        "user is " * 10_000,
        "1.1" * 10_000,
    ):
        cure(piece)
    assert time.process_time() - began < 5
