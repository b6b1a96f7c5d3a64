"""The courier as its parent sees it: what is given to it, and when it is heard."""

import time
from pathlib import Path

from dialogues import configured
from relays import free_port
from test_agent import batch, me

from pymail.agent import wait
from pymail.courier import Courier


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
