"""What DNS says of names: asked within a time limit, remembered for as long as we run.

An Answer is a value; what follows from it for mail is decided by who asked.  Names are asked as
they are: no search list, no /etc/hosts.
"""

import functools
import re
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pymail import idn, network
from pymail.config import Config

if TYPE_CHECKING:
    from dns.resolver import Resolver

LIFETIME = 20
"""Seconds that all the questions about one destination may take together."""

LIFETIME_OFFLINE = 3
"""The same without a network; only a name server on this machine can answer then."""

KEEP = 300
KEEP_SILENCE = 30
MOST_KEPT = 4096
MOST_TOGETHER = 16
MOST_RECORDS = 100
_MOST_ALIASES = 8

Question = tuple[str, str]
"""A name, and a kind of record: MX, A, AAAA, TXT."""

_is_name = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\Z").match


class Answer(NamedTuple):
    """What DNS says: records as text, none where the name has none of that kind.

    fault  "absent" there is no such name, "silent" nobody says, "" neither
    words  Postfix's for it
    """

    records: tuple[str, ...] = ()
    fault: str = ""
    words: str = "Host found but no data record of requested type"


_ABSENT = Answer(fault="absent", words="Host not found")
_SILENT = Answer(fault="silent", words="Host not found, try again")


class _Memory:
    """A bounded table of answers, for all threads."""

    def __init__(self) -> None:
        self._answers: dict[Question, tuple[float, Answer]] = {}
        self._lock = threading.Lock()

    def find(self, question: Question) -> Answer | None:
        with self._lock:
            until, answer = self._answers.get(question, (0.0, _SILENT))
        return answer if time.monotonic() < until else None

    def keep(self, question: Question, answer: Answer) -> None:
        until = time.monotonic() + (KEEP_SILENCE if answer.fault == "silent" else KEEP)
        with self._lock:
            self._answers.pop(question, None)
            if len(self._answers) >= MOST_KEPT:
                del self._answers[next(iter(self._answers))]
            self._answers[question] = until, answer

    def forget(self) -> None:
        with self._lock:
            self._answers.clear()


_memory = _Memory()


def deadline() -> float:
    """Return when to give up on questions that begin now, by time.monotonic()."""
    return time.monotonic() + (LIFETIME if network.online() else LIFETIME_OFFLINE)


def is_name(text: str) -> bool:
    """Say whether a host or a domain can be called that, in letters that DNS has."""
    return bool(_is_name(text))


def ascii_name(domain: str) -> str:
    """Return a domain as DNS has it (RFC 5890), "" where it has no such form."""
    name = idn.to_ascii(domain.rstrip(".")).lower()
    return name if is_name(name) else ""


def ask(name: str, kind: str, until: float) -> Answer:
    """Return the records of one kind that a name has, those of its CNAME where it is one."""
    question = (name.lower(), kind)
    answer = _memory.find(question)
    if answer is None:
        answer = _asked(*question, until)
        _memory.keep(question, answer)
    return answer


def ask_all(questions: Sequence[Question], until: float) -> list[Answer]:
    """Return the answers to several questions, asked side by side."""
    answers = [_SILENT] * len(questions)

    def work(mine: Sequence[int]) -> None:
        for place in mine:
            answers[place] = ask(*questions[place], until)

    count = min(len(questions), MOST_TOGETHER) or 1
    shares = [range(first, len(questions), count) for first in range(count)]
    threads = [threading.Thread(target=work, args=(share,), daemon=True) for share in shares[1:]]
    begun = []
    for thread, share in zip(threads, shares[1:], strict=True):
        try:
            thread.start()
            begun.append(thread)
        except RuntimeError:  # this process has as many as it may have
            work(share)
    work(shares[0])
    for thread in begun:
        thread.join(max(until - time.monotonic(), 0) + 1)
    return answers


def helo_name(config: Config, here: str, *, direct: bool) -> str:
    """Return who we say we are to a server, of a connection from the address `here`.

    smtp_helo_name; else our name, if it has a dot and, where mail goes `direct` to strangers,
    DNS knows it; else the address (RFC 5321 4.1.3).  A relay knows us by our login.
    """
    given = config.smtp_helo_name
    if given.startswith("["):
        return given
    name = ascii_name(given or config.myhostname)
    if name and (given or ("." in name and not (direct and _is_unknown(name)))):
        return name
    return f"[IPv6:{here}]" if ":" in here else f"[{here}]"


def _is_unknown(name: str) -> bool:
    """Say whether DNS says that a name has no address: that nobody answers proves nothing."""
    until = time.monotonic() + LIFETIME_OFFLINE
    answers = ask_all([(name, "A"), (name, "AAAA")], until)
    return not any(answer.records or answer.fault == "silent" for answer in answers)


def forget() -> None:
    """Forget all answers, and where the name servers are."""
    _memory.forget()
    _resolver.cache_clear()


def _asked(name: str, kind: str, until: float) -> Answer:
    import dns.exception  # noqa: PLC0415  (80 ms that mail to a relay does not need)
    import dns.resolver  # noqa: PLC0415

    for _ in range(_MOST_ALIASES):
        if not is_name(name):
            return _ABSENT
        limit = until - time.monotonic()
        if limit <= 0:
            return _SILENT
        try:
            found = _resolver().resolve(
                f"{name}.", kind, lifetime=limit, search=False, raise_on_no_answer=False
            )
        except dns.resolver.NXDOMAIN:
            return _ABSENT
        except (dns.exception.DNSException, OSError):
            return _SILENT
        alias = found.canonical_name.to_text(omit_final_dot=True)
        if found.rrset is not None or alias.lower() == name.lower():
            return Answer(tuple(_text(kind, record) for record in found.rrset or ())[:MOST_RECORDS])
        name = alias  # the name server did not follow it by itself
    return _ABSENT


@functools.cache
def _resolver() -> "Resolver":
    import dns.inet  # noqa: PLC0415
    import dns.resolver  # noqa: PLC0415

    try:
        resolver = dns.resolver.Resolver()
    except (dns.resolver.NoResolverConfiguration, ValueError):
        pass
    else:  # dnspython before 2.4 takes anything for an address
        if all(dns.inet.is_address(str(each)) for each in resolver.nameservers):
            return resolver
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]  # resolv.conf(5): where none is named
    return resolver


def _text(kind: str, record: object) -> str:
    """Return a record as text: "10 mx.example.org", an address, the strings of TXT joined."""
    if kind == "TXT":
        return b"".join(getattr(record, "strings", ())).decode("ascii", "replace")
    return str(record).rstrip(".")
