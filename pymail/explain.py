"""The way that mail to an address takes, told by the router that delivers.

Only what the caller may not read is left out: the .forward of another user.
"""

import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pymail import address
from pymail.aliases import Entry
from pymail.departure import Departure, Departures
from pymail.errors import DataError
from pymail.identity import Identity
from pymail.keys import Found, Key
from pymail.route import Lines, Router, Target, World

WORDS = {
    "maildir": "Maildir",
    "mbox": "mbox file",
    "command": "command",
    "lmtp": "LMTP",
    "smtp": "SMTP to",
}


class Limited:
    """The World as a user who is not root can see it."""

    def __init__(self, world: World, uid: int) -> None:
        self.config = world.config
        self.notes: list[str] = []
        self._world = world
        self._uid = uid

    def alias(self, key: str) -> Entry | None:
        """Return the alias of that name."""
        return self._world.alias(key)

    def user(self, name: str) -> Identity | None:
        """Return the user of that name."""
        return self._world.user(name)

    def single(self) -> Identity | None:
        """Return the one user of user mode, None in system mode."""
        return self._world.single()

    def forward(self, user: Identity, extension: str) -> Lines:
        """Return the user's .forward, where this process can become the user."""
        if self._uid not in {0, user.uid}:
            self._note(f"{user.name}'s .forward is not in this: only root and {user.name} read it")
            return Lines("")
        lines = self._world.forward(user, extension)
        if lines.warning:
            self._note(lines.warning)
        return lines

    def include(self, path: str, reader: Identity | None) -> Lines:
        """Return an include file."""
        return self._world.include(path, reader)

    def lookup(self, setting: str, keys: Iterator[Key]) -> Found | None:
        """Return the first of the keys that is in the table of a setting."""
        return self._world.lookup(setting, keys)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


class Route(NamedTuple):
    """Where mail to an address goes, and what else a person should know of that.

    `departures` are those of the targets of kind "smtp", by their names.
    """

    recipient: str
    targets: tuple[Target, ...]
    notes: tuple[str, ...]
    departures: Mapping[str, Departure]

    @property
    def status(self) -> str:
        """The worst that becomes of it: bounced, kept, held, deferred or sent."""
        statuses = [t.outcome.status if t.outcome else "sent" for t in self.targets]
        return min(statuses, key=("bounced", "kept", "held", "deferred", "sent").index)


def routes(world: World, text: str, sender: str, *, net: bool = False) -> list[Route]:
    """Return the route of each address in `text`, a list as in a header, for mail from `sender`.

    With `net`, name servers are asked for the servers of what leaves.
    """
    found: list[Route] = []
    for mailbox, valid in address.mailboxes(text):
        if not valid:
            raise DataError(f"cannot explain {mailbox}: bad address syntax")
        limited = Limited(world, os.geteuid())
        router = Router(limited)
        recipient = router.qualify(mailbox)
        single = world.single()
        home = single.home if single else ""
        outside = Departures(world.config, limited.lookup, home, net=net)
        origin = router.qualify(sender) if sender else ""
        targets = router.plan(recipient, outside.sender(origin))
        leaving = {t.name: outside.of(t, origin) for t in targets if t.kind == "smtp"}
        found.append(Route(recipient, tuple(targets), tuple(limited.notes), leaving))
    if not found:
        raise DataError("cannot explain an empty address")
    return found


def originator(text: str) -> str:
    """Return the sender that a person names; "<>" is the null sender.  DataError."""
    if text.strip() in ("", "<>"):
        return ""
    named = address.mailboxes(text)
    if len(named) != 1 or not named[0][1]:
        raise DataError(f"cannot use the sender {text}: bad address syntax")
    return named[0][0]


def lines(route: Route) -> list[str]:
    """Return the route for a person: the steps indented, what they share only once."""
    out: list[str] = []
    last: tuple[str, ...] = ()
    for target in route.targets:
        # The last step of what is decided here says what its end says.
        steps = target.steps if target.outcome is None else target.steps[:-1]
        shared = 0
        while shared < min(len(last), len(steps)) and last[shared] == steps[shared]:
            shared += 1
        last = steps
        out += ["  " * depth + steps[depth] for depth in range(shared, len(steps))]
        out.append("  " * len(steps) + "=> " + end(target))
        if target.name in route.departures:
            more = route.departures[target.name].lines
            out += ["  " * len(steps) + "   " + line for line in more]
    return out + [f"note: {note}" for note in route.notes]


def end(target: Target) -> str:
    """Return in words what becomes of the mail at a target."""
    if target.outcome is not None:
        status = {"kept": "waits", "held": "waits", "deferred": "waits"}.get(target.outcome.status)
        status = status or target.outcome.status
        return f"{status} {target.outcome.dsn} ({target.outcome.words})"
    who = f", as {target.user.name}" if target.user else ""
    return f"{WORDS[target.kind]} {target.argument}{who}"


def facts(route: Route) -> dict[str, object]:
    """Return the route for a program."""
    return {
        "recipient": route.recipient,
        "status": route.status,
        "targets": [
            {
                "kind": target.kind,
                "recipient": target.recipient,
                "user": target.user.name if target.user else None,
                "argument": target.argument,
                "extension": target.extension,
                "sender": target.sender,
                "status": target.outcome.status if target.outcome else "sent",
                "dsn": target.outcome.dsn if target.outcome else "2.0.0",
                "words": target.outcome.words if target.outcome else "",
                "steps": list(target.steps),
                **_departure(route.departures.get(target.name)),
            }
            for target in route.targets
        ],
        "notes": list(route.notes),
    }


def _departure(departure: Departure | None) -> dict[str, object]:
    if not departure:
        return {}
    hops = [hop._asdict() for hop in departure.hops]
    return {"departure": {**departure._asdict(), "hops": hops}}


def verified(route: Route) -> list[str]:
    """Return what `sendmail -bv` says, in the words of Sendmail."""
    out: list[str] = []
    for target in route.targets:
        name = target.recipient
        if target.outcome is None:
            if target.kind == "smtp":
                out.append(f"{name}... deliverable: mailer esmtp, host {target.argument}")
                continue
            user = target.user.name if target.user else name
            mailer = {"command": "prog", "mbox": "*file*"}.get(target.kind, "local")
            what = target.argument if mailer != "local" else user
            out.append(f"{name}... deliverable: mailer {mailer}, user {what}")
        elif target.outcome.status == "sent":
            out.append(f"{name}... deliverable: mailer {target.outcome.words}")
        elif target.outcome.dsn == "5.1.1":
            out.append(f"{name}... User unknown")
        elif target.outcome.status == "bounced":
            out.append(f"{name}... not deliverable: {target.outcome.words}")
        else:
            out.append(f"{name}... deliverable later: {target.outcome.words}")
    return out
