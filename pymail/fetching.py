"""Who fetches: each user their own mail; root, for each account, as the user who gets it."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence

from pymail import child, complaint
from pymail.account import Account
from pymail.config import Config
from pymail.errors import ConfigError, MailError, PermError, TempError, UsageError
from pymail.fetch import Fetch, Progress, Summary
from pymail.fetched import place
from pymail.identity import Identity, lookup
from pymail.paths import home
from pymail.settings import nearest
from pymail.spool import Spool
from pymail.users import user_of

PATIENCE = 3600
"""Seconds that the fetch of one account may take where root has it done."""

_KINDS = {kind.__name__: kind for kind in (ConfigError, PermError, TempError)}


def chosen(config: Config, names: Sequence[str]) -> Iterable[Account]:
    """Return the accounts of these names, or all.  UsageError, or ConfigError without any."""
    accounts = config.accounts
    for name in names:
        if name not in accounts:
            raise UsageError(f"unknown account {name}{nearest(name, accounts)}")
    if not accounts:
        raise ConfigError("cannot fetch: the configuration has no [fetch.NAME], see pymail.toml(5)")
    return [accounts[name] for name in names] or list(accounts.values())


def fetch(
    account: Account, config: Config, spool: Spool, *, dry: bool, said: bool
) -> Iterator[str]:
    """Fetch an account; yield what a person wants to read.  MailError."""
    if spool.system and os.geteuid() == 0:
        lines = _as_user(account, config, spool, dry=dry, said=said)
    else:
        lines = _as_oneself(account, config, spool, dry=dry, said=said)
    if dry or said or sys.stderr.isatty():
        yield from lines
    else:
        yield from _news(lines, f"{_complaint(account, spool)}.warnings")
    complaint.forget(_complaint(account, spool))


def _news(lines: Iterator[str], told: str) -> Iterator[str]:
    """Yield what cron has not mailed in the last day: a message may stay where it is for long."""
    warnings: list[str] = []
    trouble: MailError | None = None
    try:
        warnings.extend(lines)
    except MailError as error:
        trouble = error
    if not warnings:
        complaint.forget(told)
    elif not complaint.said_today(told, "\n".join(warnings)):
        yield from warnings
    if trouble:
        raise trouble


def _as_oneself(
    account: Account, config: Config, spool: Spool, *, dry: bool, said: bool
) -> Iterator[str]:
    own = user_of(os.getuid())
    user = Identity(own.name, os.getuid(), os.getgid(), home(os.getuid()), "")
    show = _Meter(account.name) if sys.stderr.isatty() else None
    work = Fetch(account, config, spool, user, show or (lambda _: None))
    try:
        lines, trouble = _outcome(account, work, dry=dry, said=said)
    finally:
        if show:
            show.end()
    yield from lines
    if trouble:
        raise trouble


def said_today(account: Account, spool: Spool, words: str) -> bool:
    """Say whether cron has mailed this in the last day already."""
    if sys.stderr.isatty():
        return False
    return complaint.said_today(_complaint(account, spool), words)


def _complaint(account: Account, spool: Spool) -> str:
    if spool.system and os.geteuid() == 0:
        return f"{spool.queue}/.complaint-{account.name}"
    # The queue is root's, or not there before the first letter.
    return f"{place(spool, home(os.getuid()))}/.{account.name}.complaint"


def _as_user(
    account: Account, config: Config, spool: Spool, *, dry: bool, said: bool
) -> Iterator[str]:
    """Have the user who gets the mail fetch it: root speaks with no server."""
    user = lookup(account.to) if account.to else None
    if user is None or user.uid == 0:
        raise ConfigError(
            f"cannot fetch {account.name}: set `to` to the user who gets the mail,"
            f" in [fetch.{account.name}] of {account.place}"
        )
    owner = user

    def work() -> list[str]:
        fetch = Fetch(account, config, spool, owner)
        lines, trouble = _outcome(account, fetch, dry=dry, said=said)
        return [type(trouble).__name__ if trouble else "", str(trouble or ""), *lines]

    try:
        kind, words, *lines = child.ask(owner, work, PATIENCE)
    except OSError as error:
        raise TempError(f"cannot fetch {account.name}: {error.strerror}") from None
    yield from lines
    if kind:
        raise _KINDS.get(kind, TempError)(words)


def _outcome(
    account: Account, work: Fetch, *, dry: bool, said: bool
) -> tuple[list[str], MailError | None]:
    """Fetch; return what a person wants to read, and what went wrong.

    What is told of messages that are here does not come a second time, so it counts always.
    """
    trouble: MailError | None = None
    lines: list[str] = []
    try:
        summary = work.run(dry=dry)
        lines.extend(_counted(account, summary, dry=dry, said=said))
        trouble = TempError(summary.trouble) if summary.trouble else None
    except MailError as error:
        trouble = error
    return [*(f"{account.name}: {warning}" for warning in work.summary.warnings), *lines], trouble


def _counted(account: Account, summary: Summary, *, dry: bool, said: bool) -> Iterator[str]:
    if dry:
        yield f"{account.name}: {summary.waiting} to fetch"
    elif said:
        yield f"{account.name}: {summary.messages} fetched, {summary.size} bytes"


class _Meter:
    """A line on the terminal that says how far it is."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._begun = time.monotonic()
        self._shown = 0.0

    def __call__(self, progress: Progress) -> None:
        """Show it, a few times a second."""
        now = time.monotonic()
        if now - self._shown > 0.2 or progress.done == progress.all:
            self._shown = now
            rate = progress.size / max(now - self._begun, 0.001)
            sys.stderr.write(
                f"\r{self._name}: {progress.done} of {progress.all},"
                f" {progress.size / 1e6:.1f} MB, {rate / 1e6:.1f} MB/s \x1b[K"
            )
            sys.stderr.flush()

    def end(self) -> None:
        """Leave the line."""
        if self._shown:
            sys.stderr.write("\n")
