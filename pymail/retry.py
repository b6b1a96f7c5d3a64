"""When a deferred message is tried again, and when it is given up.  Pure."""

from collections.abc import Iterable

from pymail.config import Config
from pymail.entry import Attempt

LEAST_ATTEMPTS = 8
"""Attempts before a message can expire, however old it is: a clock may have jumped."""

SETTLED = 3600
"""Seconds since boot before anything expires: a clock without a battery needs time."""


def due(now: int, next_attempt: int, longest: int) -> bool:
    """Say whether the next attempt may start.

    A time further ahead than any delay comes from a clock that was wrong.
    """
    return next_attempt <= now or next_attempt > now + 2 * longest


def delay(config: Config, age: int, noise: int) -> int:
    """Return the seconds until the next attempt: the message's age, within the bounds.

    `noise` (0 to 255) spreads messages that failed together over a tenth of the delay.
    """
    base = max(config.minimal_backoff_time, min(age, config.maximal_backoff_time))
    return base + base * (noise & 255) // 2560


OFFLINE = 60
"""Seconds until a message is looked at again that waits for a network."""


def offline(past: Iterable[Attempt], now: int) -> int:
    """Return the seconds during which a message waited only because there was no network.

    A period begins with an "offline" line of the tail and ends with any other.
    """
    total, since = 0, None
    for attempt in past:
        if attempt.status == "offline":
            since = attempt.time if since is None else since
        elif since is not None:
            total += max(attempt.time - since, 0)
            since = None
    return total + (max(now - since, 0) if since is not None else 0)


def expired(config: Config, age: int, attempts: int, uptime: int, *, null_sender: bool) -> bool:
    """Say whether a message is too old to be tried again."""
    lifetime = config.bounce_queue_lifetime if null_sender else config.maximal_queue_lifetime
    return age >= lifetime and attempts >= LEAST_ATTEMPTS and uptime >= SETTLED


def warns(config: Config, age: int) -> bool:
    """Say whether the sender is to be told that the message is late."""
    return 0 < config.delay_warning_time <= age
