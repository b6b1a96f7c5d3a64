"""MTA-STS (RFC 8461): which servers a domain says are its own, and that TLS with them is a must.

A TXT record at _mta-sts.DOMAIN says that there is a policy and which one it is; the policy is
at https://mta-sts.DOMAIN/.well-known/mta-sts.txt.  It holds as long as it says itself, also
when somebody hides the record or the server from us: that is what it is for.

What is known of a domain is kept in a directory, one file a domain, JSON:

    id                of the policy
    mode, mx          what it says
    fetched, until    seconds: when it was read, how long it holds
    failed            seconds: when it could last not be read; with "id" "", there is none yet
"""

import json
import os
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

from pymail import names
from pymail.config import Config

SIZE = 1 << 16
FETCH_TIME = 20
"""Seconds that a fetch may take, from the first look-up to the last byte."""

REFRESH = 86400
"""Seconds after which a policy is read again though it is said to be the same."""

REST = 300
"""Seconds after a failed fetch before the next (RFC 8461 3.3)."""

MOST_AGE = 31557600
MOST_PATTERNS = 100
MOST_DOMAINS = 10000

_record = re.compile(r"v=STSv1[ \t]*;(.*)", re.DOTALL).fullmatch
_id = re.compile(r"(?:^|;)[ \t]*id[ \t]*=[ \t]*([A-Za-z0-9]{1,32})[ \t]*(?=;|$)").search


class Policy(NamedTuple):
    """What is known of a domain's policy; see above."""

    id: str = ""
    mode: str = "none"
    mx: tuple[str, ...] = ()
    fetched: int = 0
    until: int = 0
    failed: int = 0


def question(domain: str) -> names.Question:
    """Return what DNS is asked first; whoever asks it beside other things saves the time."""
    return f"_mta-sts.{domain}", "TXT"


def policy(domain: str, config: Config, cache: str, now: int) -> tuple[str, ...]:
    """Return the patterns that every server of `domain` must fit, () where nothing is enforced.

    `domain` is as DNS has it, `cache` the directory, "" for none.
    """
    known = _read(cache, domain)
    live = known if known.until > now else Policy(failed=known.failed)
    current = identify(names.ask(*question(domain), names.deadline()).records)
    fresh = live.id == current and now - live.fetched < REFRESH
    if current and not fresh and not 0 <= now - live.failed < REST:
        text = _fetch(domain, config)
        live = parse(text, current, now) or live._replace(failed=now)
        _write(cache, domain, live, now)
    return live.mx if live.mode == "enforce" else ()


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Say whether a server's name fits a pattern, where "*." stands for one label."""
    name = name.lower().rstrip(".")
    parent = name.partition(".")[2]
    return any(
        name == pattern or (pattern.startswith("*.") and parent == pattern[2:])
        for pattern in patterns
    )


def identify(records: tuple[str, ...]) -> str:
    """Return the id in the TXT records of _mta-sts.DOMAIN, "" where they announce no policy."""
    found = [match[1] for record in records if (match := _record(record))]
    if len(found) != 1:
        return ""  # RFC 8461 3.1: several are none
    match = _id(found[0])
    return match[1] if match else ""


def parse(text: str, known_as: str, now: int) -> Policy | None:
    """Return the policy that a file says, None where it says none."""
    fields: dict[str, str] = {}
    patterns = []
    for key, value in _fields(text):
        if key == "mx":
            patterns.append(value.lower().rstrip("."))
        else:
            fields.setdefault(key, value)
    mode, age = fields.get("mode", ""), fields.get("max_age", "")
    good = all(names.is_name(pattern.removeprefix("*.")) for pattern in patterns)
    if fields.get("version") != "STSv1" or mode not in ("enforce", "testing", "none"):
        return None
    if not (age.isascii() and age.isdecimal() and len(age) <= 10 and good):
        return None
    if mode != "none" and not 0 < len(patterns) <= MOST_PATTERNS:
        return None
    until = now + min(int(age), MOST_AGE)
    return Policy(known_as, mode, tuple(patterns), fetched=now, until=until)


def _fields(text: str) -> Iterator[tuple[str, str]]:
    for line in text.split("\n"):
        key, colon, value = line.partition(":")
        if colon:
            yield key.strip(" \t"), value.strip(" \t\r")


def _fetch(domain: str, config: Config) -> str:
    """Return the text of a domain's policy, "" where it cannot be had.

    The thread is left behind where it does not end in time: a server that sends a byte a
    second holds nobody up.
    """
    texts: list[str] = []
    thread = threading.Thread(
        target=lambda: texts.append(_got(domain, config)), name="mta-sts", daemon=True
    )
    try:
        thread.start()
    except RuntimeError:  # this process has as many as it may have
        return ""
    thread.join(FETCH_TIME)
    return texts[0] if texts else ""


def _got(domain: str, config: Config) -> str:
    import http.client  # noqa: PLC0415  (few domains have a policy)

    try:
        context = ssl.create_default_context(
            cafile=config.smtp_tls_CAfile or None, capath=config.smtp_tls_CApath or None
        )
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        there = http.client.HTTPSConnection(
            f"mta-sts.{domain}", timeout=FETCH_TIME, context=context
        )
        with closing(there):
            there.request("GET", "/.well-known/mta-sts.txt", headers={"Connection": "close"})
            response = there.getresponse()
            kind = response.headers.get_content_type()
            # A redirect, a page for people, a file without end: none of them is a policy.
            if response.status != http.client.OK or kind != "text/plain":
                return ""
            data = response.read(SIZE + 1)
            return data.decode("utf-8", "replace") if len(data) <= SIZE else ""
    except (OSError, http.client.HTTPException, ValueError):
        return ""


def _read(cache: str, domain: str) -> Policy:
    try:
        with open(f"{cache}/{domain}", encoding="ascii") as file:
            fields = json.loads(file.read(SIZE))
        found = Policy(**{**fields, "mx": tuple(map(str, fields["mx"]))})
        times = found.fetched, found.until, found.failed
        return found if all(isinstance(each, int) for each in times) else Policy()
    except (OSError, ValueError, TypeError, KeyError):
        return Policy()


def _write(cache: str, domain: str, policy: Policy, now: int) -> None:
    """Remember a policy; where there is no room, the next run finds out by itself."""
    if not cache:
        return
    temporary = f"{cache}/.{os.getpid()}.{threading.get_ident()}"
    try:
        _make_room(cache, now)
        with open(temporary, "w", encoding="ascii") as file:
            json.dump(policy._asdict(), file)
        os.utime(temporary, (now, max(policy.until, now + REST)))
        os.rename(temporary, f"{cache}/{domain}")
    except OSError:
        return


def _make_room(cache: str, now: int) -> None:
    """Remove what does not hold any more, once there is much of it; its mtime says when."""
    if len(os.listdir(cache)) < MOST_DOMAINS:
        return
    with os.scandir(cache) as entries:
        for entry in entries:
            if entry.stat(follow_symlinks=False).st_mtime < now:
                os.unlink(entry)
