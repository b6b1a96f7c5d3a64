"""Where a recipient's mail goes: aliases, .forward, mailbox, other domains.

One pure router for flush, which delivers, and for explain, which tells: a second code path
would lie.  What has to be looked up (aliases, users, .forward and include files) comes through
the World that the caller gives.

An address ends in one or more Targets.  Expansion is bounded: a .forward file is followed once on
the way to a target, an alias once between two of them, the depth is 10, one recipient has at most
10,000 members on the way and 1,000 targets, and each target is kept once.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from pymail import address, outside
from pymail.aliases import Entry
from pymail.config import Config
from pymail.identity import Identity
from pymail.keys import Found, Key
from pymail.members import Item
from pymail.outcome import Outcome, bounced, deferred, kept

DEPTH = 10
MOST_TARGETS = 1000
MOST_MEMBERS = 10 * MOST_TARGETS
"""Few names that all lead to each other have few targets but no end of ways to them."""

MOST_INCLUDES = 100
"""Each is a file to be read as somebody; a recipient has fewer members where there are some."""

LOOPBACK = ("[127.0.0.1]", "[ipv6:::1]")
"""Domains that are this machine whatever is configured (RFC 5321 4.1.3)."""

MOST_REMEMBERED = 1000
"""Recipients whose plans are kept: much mail goes to few of them."""


class Lines(NamedTuple):
    """A file of members as it was read: .forward or :include:.

    `items` is None where there is no such file; `trouble` is set where it exists and cannot
    be used now.  `owner` may run what an include file names.
    """

    path: str
    items: tuple[Item, ...] | None = None
    owner: Identity | None = None
    trouble: str = ""
    warning: str = ""


class World(Protocol):
    """What the router asks of the machine."""

    config: Config

    def alias(self, key: str) -> Entry | None:
        """Return the alias of that name."""

    def user(self, name: str) -> Identity | None:
        """Return the user of that name."""

    def single(self) -> Identity | None:
        """Return the one user of user mode, None in system mode."""

    def forward(self, user: Identity, extension: str) -> Lines:
        """Return the user's .forward, read with the user's rights."""

    def include(self, path: str, reader: Identity | None) -> Lines:
        """Return an include file, read with the rights of `reader` where a .forward names it."""

    def lookup(self, setting: str, keys: Iterator[Key]) -> Found | None:
        """Return the first of the keys that is in the table of a setting."""


class Target(NamedTuple):
    """One last hop of a recipient.

    kind       maildir, mbox, command, lmtp, smtp, or outcome (decided here, no delivery)
    recipient  the final address; Delivered-To
    name       tells this target from the others, also at the next attempt
    user       whose rights the delivery is done with; None for kind "outcome"
    argument   path, command line, LMTP destination or list of next hops
    sender     the envelope sender where owner-LIST replaces it, else None
    outcome    for kind "outcome"
    loop_key   the address whose Delivered-To would show a loop
    steps      how the recipient came here, for explain
    filter     a command line that the message goes through first, or ""
    """

    kind: str
    recipient: str
    name: str
    user: Identity | None = None
    argument: str = ""
    extension: str = ""
    sender: str | None = None
    outcome: Outcome | None = None
    loop_key: str = ""
    steps: tuple[str, ...] = ()
    filter: str = ""


class _Here(NamedTuple):
    """How far the expansion of a recipient has come.

    within    whose members these are: an alias that has its own name means the user
    names     what was expanded since the last .forward: to meet one of them again is a loop.
              A .forward may lead back to a list that its user is on (local(8))
    forwards  the files that were followed: who leads back to one of them gets the mail
    """

    origin: str = "envelope"
    within: str = ""
    names: tuple[str, ...] = ()
    forwards: tuple[str, ...] = ()
    rights: Identity | None = None
    reader: Identity | None = None
    sender: str | None = None
    depth: int = 0
    loop_key: str = ""
    steps: tuple[str, ...] = ()

    def then(self, step: str, **changes: Any) -> "_Here":  # noqa: ANN401 -- its own fields
        return self._replace(steps=(*self.steps, step), **changes)

    def into(self, name: str, step: str, **changes: Any) -> "_Here":  # noqa: ANN401
        """Expand a name of the aliases, or a role that has another."""
        names = (*self.names, name)
        return self.then(step, within=name, names=names, depth=self.depth + 1, **changes)


class _TooManyError(Exception):
    """A recipient has more members than any list of people."""


class Router:
    """Plans recipients in one World; what was looked up is looked up once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._config = world.config
        self._local = {*LOOPBACK, *(domain.lower() for domain in world.config.mydestination)}
        self._members = 0
        self._sender = ""
        self._plans: dict[tuple[str, str], list[Target]] = {}

    def plan(self, recipient: str, sender: str = "") -> list[Target]:
        """Return the targets of a qualified recipient; there is always at least one.

        The relay may depend on `sender`, the envelope sender.
        """
        key = (recipient, sender if self._config.sender_dependent_relayhost_maps else "")
        if key not in self._plans:
            if len(self._plans) >= MOST_REMEMBERED:
                self._plans.clear()
            self._plans[key] = self._planned(recipient, sender)
        return self._plans[key]

    def _planned(self, recipient: str, sender: str) -> list[Target]:
        self._members = 0
        self._sender = sender
        try:
            targets = self._targets(recipient)
        except _TooManyError:
            words = f"{recipient} expands to more than {MOST_TARGETS} addresses"
            return [_decided(recipient, bounced("5.4.6", words), _Here())]
        # Aliases that lead only to themselves leave nothing: that must not pass for success.
        if not targets:
            outcome = bounced("5.1.1", f"nothing is left of {recipient}")
            return [_decided(recipient, outcome, _Here())]
        return list(targets.values())

    def qualify(self, recipient: str) -> str:
        """Return the recipient with a domain, and with a dot in it where that is wished."""
        recipient = address.qualify(recipient, self._config.myorigin)
        local, domain = address.split(recipient)
        dotted = "." in domain or "[" in domain or domain.lower() in self._local
        if dotted or not self._config.append_dot_mydomain:
            return recipient
        return f"{local}@{domain}.{self._config.mydomain}"

    def is_local(self, recipient: str) -> bool:
        """Say whether a qualified address belongs to this machine."""
        return address.split(recipient)[1].lower() in self._local

    def _targets(self, recipient: str) -> dict[str, Target]:
        """Return the targets by their names.  Raise _TooManyError."""
        targets: dict[str, Target] = {}
        for target in self._address(recipient, _Here(steps=(recipient,))):
            targets.setdefault(target.name, target)
            if len(targets) > MOST_TARGETS:
                raise _TooManyError
        return targets

    def _address(self, recipient: str, here: _Here) -> Iterator[Target]:
        recipient = self.qualify(recipient)
        local, domain = address.split(recipient)
        if here.depth > DEPTH:
            words = f"alias nesting of {recipient} is deeper than {DEPTH}"
            yield _decided(recipient, bounced("5.4.6", words), here)
        elif not local or not domain or "\ufffd" in recipient or not address.is_safe(recipient):
            yield _decided(recipient, bounced("5.1.3", f"bad address syntax: {recipient}"), here)
        else:
            yield from self._delivered(recipient, local, domain, here)

    def _delivered(self, recipient: str, local: str, domain: str, here: _Here) -> Iterator[Target]:
        """Find the transport of a sound address: ours by its tables, or what serves others."""
        sender = self._sender if here.sender is None else here.sender
        choice = outside.choose(
            self._config,
            self._world.lookup,
            recipient,
            sender,
            ours=domain.lower() in self._local,
        )
        for step in choice.steps:
            here = here.then(step)
        if choice.kind == "local":
            yield from self._name(recipient, local, here)
        else:
            yield self._transport(choice.kind, choice.argument, recipient, here)

    def _transport(self, kind: str, argument: str, recipient: str, here: _Here) -> Target:
        if kind in ("lmtp", "smtp"):
            user = self._world.single() or self._world.user(self._config.mail_owner)
            user = user or self._world.user("nobody")
            # Who has it already gets it once though the relay is another one by now.
            name = address.fold(f"smtp:{recipient}")
            if kind == "lmtp":
                name = _name(kind, user, argument, recipient)
            return Target(
                kind, recipient, name, user, argument, sender=here.sender, steps=here.steps
            )
        if kind == "discard":
            outcome = Outcome("sent", "2.0.0", argument or "discarded")
        elif kind == "hold":
            outcome = Outcome("held", "4.0.0", argument or "held by the transport")
        elif kind == "retry":
            outcome = deferred(*_coded(argument, "4.0.0"))
        else:
            outcome = bounced(*_coded(argument, "5.0.0"))
        return _decided(recipient, outcome, here)

    def _name(self, recipient: str, local: str, here: _Here) -> Iterator[Target]:
        base, extension = self._split(local)
        for key in dict.fromkeys((local, base)):
            entry = self._world.alias(key)
            folded = address.fold(key)
            if entry is None or folded == here.within:
                continue
            if folded in here.names:
                last = here.names[-1]  # the one that leads back, as Postfix has it
                words = f"alias database loop for {last}"
                yield _decided(self.qualify(last), bounced("5.4.6", words), here)
                return
            step = f"{key} is an alias ({entry.file}, line {entry.line})"
            yield from self._alias(recipient, folded, entry, here.then(step))
            return
        yield from self._user(recipient, base, extension, here)

    def _split(self, local: str) -> tuple[str, str]:
        """Return user name and extension, as recipient_delimiter parts them.

        The extension is in lower case, as local(8) has it: it names a file and is shown to
        commands.  The user's name stays as written; passwd may have capitals.
        """
        delimiters = self._config.recipient_delimiter
        places = [at for at in (local.find(d, 1) for d in delimiters) if at > 0]
        if not places or address.fold(local) in ("mailer-daemon", "double-bounce"):
            return local, ""
        at = min(places)
        return local[:at], address.fold(local[at + 1 :])

    def _alias(self, recipient: str, key: str, entry: Entry, here: _Here) -> Iterator[Target]:
        rights = self._world.single() or self._world.user(self._config.default_privs)
        here = here.into(
            key,
            ", ".join(_shown(item) for item in entry.items),
            origin="alias",
            rights=rights,
            reader=None,
            sender=self._owner(key) or here.sender,
            loop_key=recipient,
        )
        yield from self._items(recipient, entry.items, here)

    def _owner(self, key: str) -> str | None:
        """Return the sender that mail of the list `key` gets: owner-LIST, where it exists."""
        if not self._config.owner_request_special or key.startswith("owner-"):
            return None
        if key.endswith("-request"):
            return None
        owner = self._world.alias(f"owner-{key}")
        if owner is None:
            return None
        if self._config.expand_owner_alias and owner.items[0].kind == "address":
            return self.qualify(owner.items[0].value)
        return self.qualify(f"owner-{key}")

    def _items(self, recipient: str, items: Sequence[Item], here: _Here) -> Iterator[Target]:
        for item in items:
            self._members += 1
            if self._members > MOST_MEMBERS:
                raise _TooManyError
            match item.kind:
                case "address":
                    yield from self._address(item.value, here)
                case "final":
                    yield from self._final(item.value, here)
                case "include":
                    yield from self._include(recipient, item.value, here)
                case "command" | "file":
                    yield self._program(recipient, item, here)
                case "fail":
                    yield _decided(recipient, bounced(*_coded(item.value, "5.7.1")), here)
                case "defer":
                    yield _decided(recipient, deferred(*_coded(item.value, "4.7.1")), here)
                case _:
                    yield _decided(recipient, Outcome("sent", "2.0.0", "blackhole"), here)

    def _final(self, name: str, here: _Here) -> Iterator[Target]:
        recipient = self.qualify(name)
        local, domain = address.split(recipient)
        if domain.lower() not in self._local:
            yield from self._address(recipient, here)
            return
        base, extension = self._split(local)
        yield from self._user(recipient, base, extension, here.then(f"\\{local}"), final=True)

    def _include(self, recipient: str, path: str, here: _Here) -> Iterator[Target]:
        self._members += MOST_MEMBERS // MOST_INCLUDES
        if self._members > MOST_MEMBERS:
            raise _TooManyError
        lines = self._world.include(path, here.reader)
        here = here.then(f":include:{path}", origin="include", depth=here.depth + 1)
        if lines.trouble or lines.items is None:
            words = f"cannot read {path}: {lines.trouble or 'no such file'}"
            # A user's mistake is no trouble of this machine: that mail is returned one day.
            wait = kept if here.reader is None else deferred
            yield _decided(recipient, wait("4.2.4", words), here)
            return
        here = here.then(", ".join(map(_shown, lines.items)), rights=lines.owner or here.rights)
        if here.depth > DEPTH:
            yield _decided(recipient, bounced("5.4.6", f"{path} includes itself"), here)
            return
        yield from self._items(recipient, lines.items, here)

    def _program(self, recipient: str, item: Item, here: _Here) -> Target:
        command = item.kind == "command"
        setting = "allow_mail_to_commands" if command else "allow_mail_to_files"
        allowed = (
            self._config.allow_mail_to_commands if command else self._config.allow_mail_to_files
        )
        if here.origin not in allowed:
            words = f"mail to {item.kind}s is restricted: {setting} has no {here.origin!r}"
            return _decided(recipient, bounced("5.7.1", words), here)
        if here.rights is None or (here.rights.uid == 0 and self._world.single() is None):
            words = f"no user to deliver to {_shown(item)}: set default_privs"
            return _decided(recipient, kept("4.3.5", words), here)
        kind = "command" if command else "mbox"
        path = item.value
        if not command and path.startswith("~/"):
            path = f"{here.rights.home}/{path[2:]}"
        if not command and path.endswith("/"):
            kind = "maildir"
        return Target(
            kind,
            recipient,
            _name(kind, here.rights, path, recipient),
            here.rights,
            path,
            self._split(address.split(recipient)[0])[1],
            sender=here.sender,
            loop_key=here.loop_key,
            steps=here.then(f"{_shown(item)}, as {here.rights.name}").steps,
        )

    def _user(
        self, recipient: str, name: str, extension: str, here: _Here, *, final: bool = False
    ) -> Iterator[Target]:
        single = self._world.single()
        user = self._known(name, single)
        if user is None or (single is not None and user.uid == 0 != single.uid):
            fallback = self._fallback(name)
            if fallback is None:
                yield _decided(recipient, self._unknown(name), here)
                return
            step = f"{name} has no alias: {fallback}"
            if address.fold(fallback) in here.names:
                words = f"mail for {name} has no place: set an alias for root, or root_user"
                yield _decided(recipient, kept("4.3.5", words), here)
                return
            yield from self._address(fallback, here.into(address.fold(name), step))
            return
        if single is not None and single.uid not in (user.uid, 0):
            words = (
                f"{name} is another user: in user mode mail is delivered to {single.name} only;"
                " a system spool (pymail(7)) serves everybody"
            )
            yield _decided(recipient, bounced("5.1.1", words), here)
            return
        if user.uid == 0 and single is None:
            yield from self._root(recipient, here)
            return
        here = here.then(f"{user.name} is a user, home {user.home}")
        if not final:
            lines = self._world.forward(user, extension)
            if lines.trouble:
                # A home that never comes back must not keep mail for ever.
                yield _decided(recipient, deferred("4.3.0", lines.trouble), here)
                return
            if lines.items and lines.path not in here.forwards:
                own = here.then(
                    f"{lines.path}: {', '.join(map(_shown, lines.items))}",
                    origin="forward",
                    within=address.fold(address.split(recipient)[0]),
                    names=(),
                    forwards=(*here.forwards, lines.path),
                    rights=user,
                    reader=user,
                    depth=here.depth + 1,
                    loop_key=recipient,
                )
                yield from self._items(recipient, lines.items, own)
                return
        yield self._mailbox(recipient, user, extension, here)

    def _known(self, name: str, single: Identity | None) -> Identity | None:
        if single is not None and address.fold(name) == address.fold(single.name):
            return single
        return self._world.user(address.fold(name)) or self._world.user(name)

    def _fallback(self, name: str) -> str | None:
        """Return who answers for a role that RFC 5321 4.5.1 wants to exist."""
        folded = address.fold(name)
        single = self._world.single()
        if folded in ("mailer-daemon", "double-bounce", "abuse"):
            return "postmaster"
        if folded == "postmaster":
            return single.name if single else "root"
        if folded == "root" and single:
            return single.name
        return None

    def _root(self, recipient: str, here: _Here) -> Iterator[Target]:
        # Nothing is ever delivered as root: a reader or filter of root's would run as root.
        name = self._config.root_user
        user = self._world.user(name) if name else None
        if user is None or user.uid == 0:
            words = "mail for root has no place: set an alias for root, or root_user"
            yield _decided(recipient, kept("4.3.5", words), here)
            return
        step = f"root has no alias: root_user = {name} ({self._config.source('root_user')})"
        yield from self._address(name, here.into("root", step))

    def _unknown(self, name: str) -> Outcome:
        words = f'unknown user: "{address.fold(name)}"'
        if self._config.unknown_local_recipient_reject_code < 500:
            return deferred("4.1.1", words)
        return bounced("5.1.1", words)

    def _mailbox(self, recipient: str, user: Identity, extension: str, here: _Here) -> Target:
        config = self._config
        if config.mailbox_transport:
            setting = f"mailbox_transport = {config.mailbox_transport}"
            here = here.then(f"{setting} ({config.source('mailbox_transport')})")
            kind, _, argument = config.mailbox_transport.partition(":")
            return self._transport(kind, argument, recipient, here)
        if config.filter:
            here = here.then(f"filter = {config.filter} ({config.source('filter')})")
        if config.mailbox_command:
            kind, argument = "command", config.mailbox_command
            step = f"mailbox_command = {argument} ({config.source('mailbox_command')})"
        else:
            kind = "maildir" if config.home_mailbox.endswith("/") else "mbox"
            argument = f"{user.home}/{config.home_mailbox}"
            step = f"{argument} (home_mailbox, {config.source('home_mailbox')})"
        # A mailbox is the same one though the host or home_mailbox got another name meanwhile:
        # who has the message already gets no second copy.
        local = address.split(recipient)[0]
        return Target(
            kind,
            recipient,
            address.fold(f"mailbox:{user.name}:{local}"),
            user,
            argument,
            extension,
            sender=here.sender,
            loop_key=recipient,
            steps=here.then(step).steps,
            filter=config.filter,
        )


def _name(kind: str, user: Identity | None, argument: str, recipient: str) -> str:
    return address.fold(f"{kind}:{user.name if user else ''}:{argument}:{recipient}")


def _decided(recipient: str, outcome: Outcome, here: _Here) -> Target:
    steps = (*here.steps, outcome.words)
    # The words are part of the name: one recipient may fail in several ways.
    name = address.fold(f"outcome::{outcome.words}:{recipient}")
    return Target("outcome", recipient, name, sender=here.sender, outcome=outcome, steps=steps)


def _coded(text: str, default: str) -> tuple[str, str]:
    """Return DSN status and words of "5.1.2 words"; the class follows the default's."""
    first, _, rest = text.strip().partition(" ")
    parts = first.split(".")
    if len(parts) == 3 and all(p.isdecimal() and len(p) <= 3 for p in parts):
        return default[0] + first[1:], rest.strip() or "no reason given"
    return default, text.strip() or "no reason given"


def _shown(item: Item) -> str:
    marks = {"command": "|", "final": "\\", "include": ":include:"}
    if item.kind in ("fail", "defer", "blackhole"):
        return f":{item.kind}: {item.value}".strip()
    return f"{marks.get(item.kind, '')}{item.value}"
