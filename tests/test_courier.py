"""The courier as its parent sees it: what is given to it, and when it is heard."""

import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from dialogues import configured
from relays import free_port, relay
from test_agent import batch, me
from transports import delivery

from pymail import hosts
from pymail.agent import wait
from pymail.carrier import Carrier
from pymail.courier import Courier
from pymail.hopqueue import HopQueue
from pymail.nexthop import NextHop
from pymail.report import Report
from pymail.transport.smtp import Server


def test_mail_can_be_given_while_nobody_hears_what_became_of_the_rest(tmp_path: Path) -> None:
    config = configured(smtp_tls_security_level="none")
    courier = Courier(me(), config, str(tmp_path), time.monotonic() + 600)
    hop = f"[127.0.0.1]:{free_port()}"
    heard: list[int] = []

    def listen() -> None:
        for _ in wait([courier], 30):
            heard.extend(number for number, _ in courier.outcomes())

    courier.post(batch(0, argument=hop))
    while courier.alive and not heard:
        listen()
    for number in range(40):  # more than the channel holds
        courier.post(batch(*range(1 + number * 500, 501 + number * 500), argument=hop))
    while courier.alive and courier.pending:
        listen()
    assert courier.failure == ""
    assert sorted(heard) == list(range(20_001))
    courier.dismiss()
    courier.close()


@pytest.mark.parametrize(("limit", "asked"), [(2, 2), (3, 3), (0, 4)])
def test_each_next_hop_has_its_own_limit_of_sessions(monkeypatch, limit: int, asked: int) -> None:
    """Four servers of a domain put the recipient off; then the fallback relay is there."""
    here, there = socket.socketpair()
    with here, there, ExitStack() as stack:
        grey = {"joe@example.org": "450 4.7.1 greylisted"}
        grumpy = [stack.enter_context(relay(refuse=grey)) for _ in range(4)]
        last = stack.enter_context(relay())

        def servers(hop: NextHop, *_: object) -> list[Server]:
            its = grumpy if hop.mx else [last]
            return [Server("127.0.0.1", "127.0.0.1", each.port, hop) for each in its]

        monkeypatch.setattr(hosts, "servers", servers)
        config = configured(
            smtp_mx_session_limit=limit,
            smtp_fallback_relay=[last.hop],
            smtp_tls_security_level="none",
        )
        letter = delivery("example.org", recipient="joe@example.org")
        report = Report(here)
        report.hold([letter])
        carrier = Carrier(HopQueue("example.org", letter, config, ""), report)
        assert carrier.carry([letter])
        carrier.end()
        assert sum(each.connections for each in grumpy) == asked
    assert len(last.taken) == 1
