"""SMTP: every dialogue of tests/data/dialogues, and what dialogues cannot say."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from authority import Authority
from dialogues import heard, is_like, playing, read
from harness import DATA

DIALOGUES = sorted((DATA / "dialogues").glob("*.txt"))


@pytest.fixture(scope="session")
def authority(tmp_path_factory) -> Iterator[Authority]:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.parametrize("path", DIALOGUES, ids=[path.stem for path in DIALOGUES])
def test_a_dialogue_goes_as_it_is_written(path: Path, authority: Authority):
    dialogue = read(path, authority.file)
    with playing(dialogue.talks, authority) as player:
        lines = heard(dialogue, player.port)
    wrong = [line for line in player.mistakes if not line.startswith("SSL")]
    assert not wrong
    expected = [line.replace("$port", str(player.port)) for line in dialogue.expected]
    assert len(lines) == len(expected), lines
    for line, pattern in zip(lines, expected, strict=True):
        assert is_like(pattern, line), lines
    assert player.connections == len(dialogue.talks)
