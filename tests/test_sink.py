"""Much mail for Postfix's smtp-sink with each of its faults: every message has one fate.

20 messages each, or 1,000 with --whole; `pytest -s` prints the counts.
"""

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Box
from test_transport_smtp_real import FAULTS, smtp_sink

STATUS = re.compile(rb"^(\w+): to=<x@relayed\.example>.* status=(\w+) ", re.MULTILINE)
SUBJECT = re.compile(rb"^Subject: (\w+)\r?$", re.MULTILINE)
SLOW = {"slow"}  # a second a message


@pytest.fixture
def dumps() -> Iterator[Path]:
    """A directory in which the server, which is nobody, writes what it gets."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


def queue(box: Box, count: int) -> None:
    """Submit so many messages in one dialogue."""
    letters = (
        f"MAIL FROM:<{box.user}@localhost>\r\nRCPT TO:<x@relayed.example>\r\nDATA\r\n"
        f"Subject: m{number}\r\n\r\ntext\r\n.\r\n"
        for number in range(count)
    )
    done = box.run("sendmail", "-bs", stdin=f"EHLO x\r\n{''.join(letters)}QUIT\r\n".encode())
    assert done.stdout.count(b"queued as") == count


@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", FAULTS)
def test_each_message_is_delivered_once_or_waits_or_comes_back(
    box: Box, dumps: Path, fault: str, *, whole: bool
) -> None:
    count = 1000 if whole else 3 if fault in SLOW else 20
    options, expected = FAULTS[fault]
    queue(box, count)
    with smtp_sink(*options, "-d", f"{dumps}/m.") as port:
        box.config(f"relayhost = '[127.0.0.1]:{port}'\nsmtp_tls_security_level = 'none'\n")
        said = box.flush("-v").stdout
    fates = dict(STATUS.findall(said))
    counts = Counter(fates.values())
    line = ", ".join(f"{number} {word.decode()}" for word, number in sorted(counts.items()))
    print(f"{fault}: {count} messages: {line}")
    assert len(STATUS.findall(said)) == len(fates) == count
    assert {word.decode() for word in counts} <= {word.split()[-1] for word in expected}
    waiting = [json.loads(each) for each in box.run("mailq", "-j").stdout.splitlines()]
    deferred = {qid.decode() for qid, status in fates.items() if status == b"deferred"}
    assert {each["queue_id"] for each in waiting} == deferred
    assert len(box.maildir()) == counts[b"bounced"]
    # The server may have ended in the middle of one.
    got = Counter(s for dump in dumps.iterdir() for s in SUBJECT.findall(dump.read_bytes()))
    assert max(got.values(), default=0) <= 1
    assert len(got) >= counts[b"sent"]
    if expected == {"sent"}:
        assert len(got) == count
