"""The letters about letters of cron that were folded: a recovery, a daily digest.  Pure."""

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pymail import address
from pymail.episode import Episode
from pymail.message import date
from pymail.words import unstructured


class Facts(NamedTuple):
    """What every letter needs: our host's name, its queue id, and the time (seconds).

    kept  where the letters are that were folded, in words
    """

    host: str
    qid: str
    now: int
    kept: str


def recovered(episode: Episode, thread: str, facts: Facts) -> bytes:
    """Return the letter that tells that a job is silent again."""
    lines = [
        f"Nothing has come from this job since {_when(episode.last)}:",
        "",
        f"    {episode.job}",
        "",
        "Before that it said:",
        "",
        *_outputs(episode),
        "",
        f"{_letters(episode.folded)} that said the same again are in {facts.kept}.",
    ]
    return _letter(f"Recovered: {episode.job}", lines, episode.to, thread, facts)


def digest(episodes: Iterable[Episode], to: Sequence[str], facts: Facts) -> bytes:
    """Return the letter that tells what was folded since the last one."""
    lines = ["These jobs go on saying what they have said before:", ""]
    total = 0
    for episode in sorted(episodes):
        fresh = episode.folded - episode.told
        total += fresh
        lines += [f"{episode.job}", f"    {_letters(fresh)} since the last digest", ""]
        lines += [*_outputs(episode), ""]
    lines.append(f"They are in {facts.kept}.")
    subject = f"Cron: {_letters(total)} that said the same again"
    return _letter(subject, lines, to, "", facts)


def _outputs(episode: Episode) -> Iterable[str]:
    for each in episode.outputs:
        span = _when(each.first) if each.times == 1 else f"{_when(each.first)} to "
        span += "" if each.times == 1 else _when(each.last)
        yield f"    {each.times} times, {span}:" if each.times > 1 else f"    once, {span}:"
        yield f"        {each.line or '(nothing but blanks)'}"


def _letter(
    subject: str, lines: Sequence[str], to: Sequence[str], thread: str, facts: Facts
) -> bytes:
    head = [
        f"Date: {date(facts.now)}",
        f"From: MAILER-DAEMON@{facts.host} (Cron Daemon)",
        unstructured("Subject", subject),
        f"To: {', '.join(map(address.quote, to))}",
        f"Message-Id: <{facts.qid}@{facts.host}>",
        *([f"References: {thread}"] if thread else []),
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
    ]
    return "\n".join([*head, "", *lines, ""]).encode("utf-8", "replace")


def _letters(count: int) -> str:
    return f"{count} letter{'s' * (count != 1)}"


def _when(moment: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))
