"""What became of a delivery.  Pure."""

from typing import NamedTuple


class Outcome(NamedTuple):
    """What became of one delivery.

    sent      it is there, durably
    deferred  not now; tried again until the message is too old, then bounced
    bounced   never
    kept      trouble of this machine (disk, descriptors, permissions of our own): tried again,
              never too old, never bounced
    offline   this machine has no network: no attempt was made, and the message does not age
    `dsn` is an RFC 3463 status, `words` what a person reads in mailq, log and bounce.

    Of a delivery to another server also:
    relay    the server, "host[address]:port"
    reply    what it replied, "" where it said nothing
    passed   it has taken over the duty to report success (RFC 3461)
    """

    status: str
    dsn: str
    words: str
    relay: str = ""
    reply: str = ""
    passed: bool = False


def sent(words: str, dsn: str = "2.0.0") -> Outcome:
    """Return the outcome of a delivery that is durably there."""
    return Outcome("sent", dsn, words)


def deferred(dsn: str, words: str) -> Outcome:
    """Return the outcome of a delivery to be tried again while the message is young."""
    return Outcome("deferred", dsn, words)


def bounced(dsn: str, words: str) -> Outcome:
    """Return the outcome of a delivery that can never succeed."""
    return Outcome("bounced", dsn, words)


def kept(dsn: str, words: str) -> Outcome:
    """Return the outcome of a delivery that trouble of this machine prevents."""
    return Outcome("kept", dsn, words)


def offline(words: str) -> Outcome:
    """Return the outcome of a delivery that needs a network where there is none."""
    return Outcome("offline", "4.4.0", words)
