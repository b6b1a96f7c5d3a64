"""Letters of real programs through a relay: the same bytes, or the same content."""

import base64
import email
import json
from collections.abc import Callable
from email.policy import default
from typing import Any

import pytest
from harness import corpus
from machine import Machine
from relays import Taken, relay
from test_readers import MADE, kept, observed
from test_recode import leaves

LETTERS = {**MADE, **observed()}
CASES = [json.loads(line) for line in (corpus() / "relay.jsonl").read_text().splitlines()]
SMALL = ("8BITMIME", "SMTPUTF8", "SIZE")
LONGEST = 998
MADE_ANEW = {
    "received",
    "mime-version",
    *(f"{r}{n}" for r in ("", "resent-") for n in ("date", "message-id")),
}


def relayed(machine: Machine, letters: dict[str, bytes], lacks: tuple[str, ...]) -> dict[str, Any]:
    """Send letters to bob@example.org by a relay; return what it took, by name."""
    with relay(lacks=lacks) as server:
        machine.config(
            f"relayhost = '{server.hop}'\nsmtp_tls_security_level = 'none'\n"
            "message_size_limit = 20971520\n"
        )
        machine.send("bob", b"", "carol")
        machine.flush()  # this tells sendmail of the limit
        for number, data in enumerate(letters.values()):
            line_end = b"\r\n" if b"\r\n" in data.partition(b"\n\n")[0] else b"\n"
            field = b"X-Case: %d" % number + line_end
            machine.send("alice", field + data, "-i", "bob@example.org")
        said = machine.flush("-v").stdout
        assert machine.queue() == [], said[-2000:]
        names = list(letters)
        found: dict[str, Taken] = {}
        for taken in server.taken:
            number = taken.data.partition(b"X-Case: ")[2].partition(b"\r\n")[0]
            assert found.setdefault(names[int(number)], taken) is taken
        assert len(found) == len(letters)
        return found


@pytest.fixture(scope="module")
def full(factory: Callable[[], Machine]) -> dict[str, Taken]:
    return relayed(factory(), LETTERS, ())


@pytest.fixture(scope="module")
def small(factory: Callable[[], Machine]) -> dict[str, Taken]:
    return relayed(factory(), LETTERS, SMALL)


def body(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").partition(b"\n\n")[2]


def content(data: bytes) -> list[bytes]:
    """Return the content of all parts, whatever line ends it has, and how many at its end."""
    return [leaf.replace(b"\r\n", b"\n").rstrip(b"\n") for leaf in leaves(data)]


def given_content(data: bytes) -> list[bytes]:
    """Return the content of a letter as sendmail keeps its lines."""
    head, _, _ = data.replace(b"\r\n", b"\n").partition(b"\n\n")
    return content(head + b"\n\n" + kept(data))


@pytest.mark.parametrize("name", LETTERS)
def test_a_server_that_takes_eight_bits_gets_the_same_bytes(full, name):
    taken, given = full[name].data, LETTERS[name]
    assert b"\n" not in taken.replace(b"\r\n", b"")
    assert b"\r" not in taken.replace(b"\r\n", b"")
    assert max(map(len, taken.split(b"\r\n"))) <= LONGEST
    lines = kept(given).split(b"\n")
    if max(map(len, lines)) <= LONGEST:
        assert body(taken) == kept(given)
    else:
        assert content(taken) == given_content(given)


@pytest.mark.parametrize("name", LETTERS)
def test_a_server_of_seven_bits_gets_the_same_content(small, name):
    """Text that is 8-bit and does not say what it is gets a charset, and is encoded."""
    taken, given = small[name].data, LETTERS[name]
    assert taken.isascii()
    assert max(map(len, taken.split(b"\r\n"))) <= LONGEST
    assert content(taken) == given_content(given)


@pytest.mark.parametrize("name", LETTERS)
def test_header_fields_say_the_same_to_both(full, small, name):
    first, second = (email.message_from_bytes(t[name].data, policy=default) for t in (full, small))
    same = [k for k in first if k.lower() not in MADE_ANEW]
    same = [k for k in same if not k.lower().startswith("content-")]
    for field in same:
        assert first.get_all(field) == second.get_all(field)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['id']}-{case['server'][:4]}")
def test_a_message_of_the_corpus_is_relayed_as_by_postfix(machine: Machine, case: dict[str, Any]):
    """But for what is said in pymail(7): long lines are encoded, not cut, and headers too."""
    whole = case["server"].startswith("full")
    with relay(lacks=() if whole else SMALL) as server:
        machine.config(f"relayhost = '{server.hop}'\nsmtp_tls_security_level = 'none'\n")
        machine.send("alice", base64.b64decode(case["stdin_b64"]), *case["argv"][1:])
        machine.flush()
        (taken,) = server.taken
    assert machine.queue() == []
    assert taken.sender == "alice@example.net"
    assert taken.recipients == [case["argv"][-1]]
    for wanted in case["smtp"]:
        wire = base64.b64decode(wanted["data_b64"])
        if "long" not in case["id"]:
            assert content(taken.data) == content(wire)
        if whole and "long" not in case["id"]:
            assert body(taken.data) == body(wire)
