"""What every transport promises, asked of every one."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import letters
from peers import fake_lmtp
from transports import BODY, HEADER, content, delivery, filed

from pymail.agent import transport
from pymail.transport import Content, Transport


@dataclass(frozen=True)
class Station:
    """A transport with a target that works, one that does not, and a look at what arrived."""

    deliver: Transport
    argument: str
    broken: str
    arrived: Callable[[], list[bytes]]


def _maildir(place: Path) -> Iterator[Station]:
    (place / "file").write_text("")
    yield Station(
        transport("maildir"),
        f"{place}/Maildir/",
        f"{place}/file/Maildir/",
        lambda: [letter.data for letter in letters(place / "Maildir")],
    )


def _unquoted(data: bytes) -> list[bytes]:
    """Return the messages of an mbox as they were before they were put there."""
    found = []
    for text in data.split(b"\nFrom ") if data else []:
        lines = text.removesuffix(b"\n").split(b"\n")[1:]
        found.append(
            b"\n".join(ln[1:] if ln.lstrip(b">").startswith(b"From ") else ln for ln in lines)
        )
    return [text + b"\n" if not text.endswith(b"\n") else text for text in found]


def _mbox(place: Path) -> Iterator[Station]:
    box = place / "box"
    yield Station(
        transport("mbox"),
        str(box),
        f"{place}/no/box",
        lambda: _unquoted(box.read_bytes() if box.exists() else b""),
    )


def _command(place: Path) -> Iterator[Station]:
    (place / "got").mkdir()
    yield Station(
        transport("command"),
        f"file=$(mktemp -p {place}/got) && cat > $file",
        "exit 75",
        lambda: [
            path.read_bytes().partition(b"\n")[2] for path in sorted((place / "got").iterdir())
        ],
    )


def _lmtp(place: Path) -> Iterator[Station]:
    with fake_lmtp(place / "socket") as server:
        yield Station(
            transport("lmtp"),
            server.address,
            "unix:/no/such/socket",
            lambda: [
                data.replace(b"\r\n", b"\n").replace(b"\n..", b"\n.")
                for _, _, data in server.messages
            ],
        )


@pytest.fixture(params=["maildir", "mbox", "command", "lmtp"])
def station(request, tmp_path) -> Iterator[Station]:
    makers = {"maildir": _maildir, "mbox": _mbox, "command": _command, "lmtp": _lmtp}
    yield from makers[request.param](tmp_path)


def numbered(station: Station, count: int, **facts) -> list:
    """Return deliveries of different messages."""
    return [
        delivery(
            station.argument,
            number=number,
            qid=f"{number:016}0",
            content=content(b"Subject: %03d\n" % number, b"body %d\n" % number),
            **facts,
        )
        for number in range(10, 10 + count)
    ]


def test_a_message_arrives_to_the_byte(station):
    ((number, outcome),) = station.deliver([delivery(station.argument)])
    assert (number, outcome.status, outcome.dsn) == (7, "sent", "2.0.0")
    assert station.arrived() == [HEADER + b"\n" + BODY]


BODIES = {
    "empty": b"",
    "one-newline": b"\n",
    "from": b"From a\n>From b\n\nFrom c\n",
    "dots": b".\n..\n.a\n\n.\n",
    "binary": bytes(range(256)).replace(b"\r", b"") + b"\n",
    "long-line": b"x" * 100_000 + b"\n",
    "big": b"".join(b"%063d\n" % n for n in range(40_000)),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("where", ["memory", "file"])
def test_any_body_arrives_to_the_byte(station, tmp_path, name, where):
    body = BODIES[name]
    text = content(HEADER, body) if where == "memory" else filed(tmp_path, HEADER, body)
    ((_, outcome),) = station.deliver([delivery(station.argument, content=text)])
    assert outcome.status == "sent", outcome
    assert station.arrived() == [HEADER + b"\n" + body]


def test_a_batch_is_answered_once_for_each_delivery(station):
    batch = numbered(station, 30)
    outcomes = list(station.deliver(batch))
    assert sorted(number for number, _ in outcomes) == [d.number for d in batch]
    assert {outcome.status for _, outcome in outcomes} == {"sent"}
    expected = [d.content.header + b"\n" + d.content.body for d in batch]
    assert sorted(station.arrived()) == expected


def test_an_empty_batch_does_nothing(station):
    assert list(station.deliver([])) == []
    assert station.arrived() == []


def test_a_failure_is_an_outcome_and_stops_no_other(station):
    first, second, third = numbered(station, 3)
    broken = delivery(station.broken, number=second.number, qid=second.qid)
    outcomes = dict(station.deliver([first, broken, third]))
    assert [outcomes[d.number].status for d in (first, second, third)] == [
        "sent",
        "deferred",
        "sent",
    ]
    assert outcomes[second.number].dsn.startswith("4.")
    assert len(station.arrived()) == 2


def test_a_queue_file_that_cannot_be_read_is_kept_and_nothing_arrives(station, tmp_path):
    first, second, third = numbered(station, 3)
    cut = delivery(
        station.argument,
        number=second.number,
        qid=second.qid,
        content=filed(tmp_path, HEADER, b"short\n", claim=5000),
    )
    outcomes = dict(station.deliver([first, cut, third]))
    assert [outcomes[d.number].status for d in (first, second, third)] == ["sent", "kept", "sent"]
    assert len(station.arrived()) == 2


def test_outcomes_come_as_they_are_certain(station):
    """A caller that stops to listen has still heard of what was done."""
    outcomes = station.deliver(numbered(station, 3))
    number, outcome = next(outcomes)
    assert outcome.status == "sent"
    assert b"Subject: %03d" % number in b"".join(station.arrived())
    outcomes.close()


@pytest.mark.parametrize(
    "facts",
    [
        {"sender": ""},
        {"sender": "ü@example.org", "recipient": "alice@example.net"},
        {"sender": "\udcff@example.org"},
        {"original": "x" * 5000},
        {"extension": "\n\0"},
        {"doubtful": True},
        {"time_limit": 1},
        {"arrived": 0},
    ],
)
def test_no_fact_of_a_delivery_breaks_it(station, facts):
    ((_, outcome),) = station.deliver([delivery(station.argument, **facts)])
    assert outcome.status in ("sent", "bounced")


def test_nothing_stays_open(station):
    list(station.deliver(numbered(station, 3)))
    list(station.deliver([delivery(station.broken)]))
    before = set(os.listdir("/proc/self/fd"))
    list(station.deliver(numbered(station, 5)))
    list(station.deliver([delivery(station.broken)]))
    for _ in range(100):  # a fake server, in a thread of this process, may close a moment later
        if set(os.listdir("/proc/self/fd")) <= before:
            break
        time.sleep(0.1)
    assert set(os.listdir("/proc/self/fd")) <= before


def test_content_in_memory_and_in_a_file_are_the_same(tmp_path):
    for body in BODIES.values():
        there = filed(tmp_path, HEADER, body)
        assert b"".join(there.pieces()) == b"".join(Content(HEADER, body).pieces())
