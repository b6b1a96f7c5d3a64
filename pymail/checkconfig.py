"""What is wrong with the settings, and with the tables, secrets and aliases that they name."""

import functools
import os
import shlex
import stat
from collections.abc import Iterator

from pymail import (
    aliascheck,
    aliases,
    child,
    config,
    dkim,
    dkimkeys,
    fetched,
    peek,
    secret,
    world,
)
from pymail.config import Config
from pymail.errors import MailError
from pymail.explain import end
from pymail.fault import Fault, as_user, login
from pymail.identity import Identity, lookup
from pymail.maps import Map
from pymail.paths import SYSTEM_CONFIG, home
from pymail.route import Router
from pymail.spool import Spool

_MOST_RECORDS = 20
_PRIVATE = frozenset(
    ("alt", "example", "home", "internal", "invalid", "lan", "local", "localdomain", "localhost")
)
_APART = "put the tables with passwords into {0}, and chmod 600 {0}".format(
    f"{os.path.dirname(SYSTEM_CONFIG)}/conf.d/private.toml"
)


def of_settings(settings: Config, spool: Spool, _now: int) -> Iterator[Fault]:
    """Find settings that fit neither the machine nor one another."""
    if settings.myorigin.lower() not in {name.lower() for name in settings.mydestination}:
        yield Fault(
            f"myorigin {settings.myorigin} is not in mydestination, so mail to a bare name leaves",
            "add it: pymail config set mydestination '$myhostname $myorigin localhost'",
        )
    if _leaves(settings) and _is_private(settings.myorigin) and not settings.smtp_generic_maps:
        yield Fault(
            f"mail leaves as user@{settings.myorigin}, which others may refuse",
            "name an address that they know: pymail config set smtp_generic_maps "
            + shlex.quote(f'{{ "@{settings.myorigin}" = "you@provider.example" }}'),
        )
    if settings.mailbox_transport and settings.mailbox_command:
        yield Fault(
            "mailbox_command is set, but mailbox_transport counts before it",
            "pymail config unset one of them, or remove it from config.toml",
        )
    if settings.mailbox_transport and settings.filter:
        yield Fault(
            "filter is set, but mail that mailbox_transport takes goes through no filter",
            "have that server filter, or unset one of them",
        )
    if settings.delay_warning_time >= settings.maximal_queue_lifetime > 0:
        yield Fault(
            "delay_warning_time is not below maximal_queue_lifetime, so nobody is ever warned",
            "lower it",
        )
    users = {"default_privs": settings.default_privs, "root_user": settings.root_user}
    if settings.source("mail_owner") != "default":
        users["mail_owner"] = settings.mail_owner
    for name, user in users.items():
        if spool.system and user and lookup(user) is None:
            # Who gets root's mail is to read it.
            kind = "" if name == "root_user" else "--system "
            remedy = f"adduser {kind}{shlex.quote(user)}, or pymail config set {name} LOGIN"
            yield Fault(f"{name}: there is no user {user}", remedy, fatal=True)
    yield from _programs(settings)


def _leaves(settings: Config) -> bool:
    """Say whether mail for other domains leaves this machine."""
    return settings.default_transport.partition(":")[0] in ("smtp", "relay")


def _is_private(domain: str) -> bool:
    """Say whether nobody outside can know a domain (RFC 6761, 6762, 8375, 9476)."""
    _, dot, last = domain.lower().rpartition(".")
    return not dot or last in _PRIVATE or domain.lower().endswith(".home.arpa")


def _programs(settings: Config) -> Iterator[Fault]:
    for name in ("mailbox_command", "password_command", "filter"):
        try:
            program = shlex.split(getattr(settings, name))[:1]
        except ValueError:
            program = []  # the shell understands more than shlex
        if program and program[0].startswith("/") and not os.access(program[0], os.X_OK):
            words = f"{name}: {program[0]} is not there, or cannot be run"
            # Mail goes past a filter that fails.
            yield Fault(words, f"install it, or change {name}", fatal=name != "filter")
    for name in ("mailbox_transport", "default_transport"):
        kind, _, place = getattr(settings, name).partition(":")
        path = place.removeprefix("unix:")
        if kind == "lmtp" and path.startswith("/") and not os.path.exists(path):
            yield Fault(f"{name}: there is no socket {path}", "start the LMTP server")


def of_secrets(settings: Config, spool: Spool, _now: int) -> Iterator[Fault]:
    """Find files with passwords that others may read; those that are in use are not used then."""
    used = list(dict.fromkeys(secret.files(settings)))
    for file in filter(_is_open, used):
        words = f"{file} has a password, and others may read it, so it is not used"
        yield Fault(words, _kept_private(file), fatal=True)
    status = peek.status(SYSTEM_CONFIG) if spool.system else None
    if status and not status.st_mode & stat.S_IROTH:
        words = f"users cannot read {SYSTEM_CONFIG}, and so not find their mail"
        yield Fault(words, f"{_APART}; then chmod 644 {SYSTEM_CONFIG}")
    folder = os.path.dirname(config.machine(spool.path)["config"])
    for place in (folder, f"{folder}/conf.d"):
        for name in peek.names(place):
            status = peek.status(f"{place}/{name}")
            private = any(word in name.lower() for word in ("passw", "secret", "sasl", ".key"))
            path = f"{place}/{name}"
            if private and path not in used and status and status.st_mode & 0o077:
                yield Fault(f"others may read {path}", f"chmod 600 {shlex.quote(path)}")


def _kept_private(file: str) -> str:
    """Return how the passwords in a file are kept from others.

    That of the machine's settings is not to be hidden: users look into it for their mailbox.
    """
    if file == SYSTEM_CONFIG:
        return _APART
    return f"chmod 600 {shlex.quote(file)}"


def _is_open(file: str) -> bool:
    try:
        return secret.is_open(file)
    except OSError:
        return False  # of_tables tells that it is not there


def of_keys(settings: Config, _spool: Spool, _now: int) -> Iterator[Fault]:
    """Find what keeps mail from being signed, and so from leaving."""
    try:
        found = list(dkimkeys.keys(settings.dkim_directory))
        if found and not dkim.is_installed():
            words = f"the keys in {settings.dkim_directory} cannot sign"
            yield Fault(words, dkimkeys.EXTRA, fatal=True)
        for key in found:
            if dkimkeys.is_open(key):
                remedy = f"chmod 640 {shlex.quote(key.path)}"
                yield Fault(f"others may read {key.path}", remedy, fatal=True)
    except OSError:
        return  # not ours to see


def of_tables(settings: Config, spool: Spool, _now: int) -> Iterator[Fault]:
    """Find tables that cannot be read, and lines of them that say nothing."""
    if spool.system and os.geteuid() != 0:
        return
    for name, setting in config.SETTINGS.items():
        if setting.kind != "map":
            continue
        yield from _misplaced(settings, name)
        if name == secret.SETTING and not settings.smtp_sasl_auth_enable:
            continue
        try:
            table = Map(getattr(settings, name), settings.source(name))
        except MailError as error:
            remedy = f"make it or correct it, or change {name}; until then mail waits"
            yield Fault(str(error), remedy, fatal=True)
            continue
        for mistake in table.mistakes:
            yield Fault(mistake, "correct it; the line is passed over")


def _misplaced(settings: Config, name: str) -> Iterator[Fault]:
    """Find settings that are rows of a table, since they stand below its head."""
    for key, _ in getattr(settings, name).rows:
        if key in config.SETTINGS:
            place = f"the table {name} ({settings.source(name)})"
            words = f"{key} stands in {place}, not in the settings"
            yield Fault(words, "move it above the first line in brackets")


def of_aliases(settings: Config, spool: Spool, _now: int) -> Iterator[Fault]:
    """Find mistakes in the aliases files, and indexes that are older than they are."""
    for file in settings.alias_maps:
        examined = aliascheck.Examined(file)
        if examined.status is None and not examined.mistakes:
            if settings.source("alias_maps") != "default":
                yield Fault(f"{file} is not there", "make it, or change alias_maps")
            continue
        for mistake in examined.mistakes:
            if mistake.line:
                yield Fault(str(mistake), "correct it", fatal=mistake.fatal)
            else:
                yield Fault(f"{mistake}, so flush does not run", _trusted(file), fatal=True)
        if examined.status is not None and examined.status.st_size > aliases.INDEXED:
            from pymail import aliasindex  # noqa: PLC0415 -- sqlite3 only where there is an index

            if aliasindex.fresh(spool.path, file, examined.status) is None:
                yield Fault(f"{file} is large and has no index of now", "newaliases")


def _trusted(file: str) -> str:
    """Return the command that makes a file one that is obeyed, where a command can."""
    try:
        about = os.stat(file)
    except OSError:
        return "correct it"
    name = shlex.quote(file)
    commands = []
    if about.st_uid not in {0, os.geteuid()}:
        commands.append(f"chown {login(os.geteuid())} {name}")
    if about.st_mode & 0o022:
        commands.append(f"chmod go-w {name}")
    return " && ".join(commands) or "correct it"


def of_roles(settings: Config, spool: Spool, _now: int) -> Iterator[Fault]:
    """Find mail for root or postmaster that has no place to go."""
    if spool.system and os.geteuid() != 0:
        return
    try:
        machine = world.open_machine(settings, spool.path)
    except MailError:
        return  # of_tables or of_aliases tells it
    router = Router(machine)
    for role in ("root", "postmaster"):
        for target in router.plan(router.qualify(role)):
            outcome = target.outcome
            if outcome is not None and outcome.status != "sent":
                yield Fault(f"mail for {role} {end(target)}", _place(role, settings), fatal=True)


def _place(role: str, settings: Config) -> str:
    """Return how mail for a role gets a place to go: by an alias, or a better one."""
    for file in settings.alias_maps:
        for line in peek.text(file).splitlines():
            name = line.partition(":")[0].strip().lower()
            if ":" in line and name in {role, "root"}:
                return f"correct {name} in {file}, then newaliases; pymail explain {role} shows why"
    file = shlex.quote(next(iter(settings.alias_maps), "/etc/aliases"))
    return f"echo 'root: LOGIN' >>{file} && newaliases"


def of_accounts(settings: Config, spool: Spool, _now: int) -> Iterator[Fault]:
    """Find records of accounts that are not in the configuration any more."""
    for user, accounts in _fetching(settings, spool):
        folder = fetched.place(spool, user.home)
        try:
            names = child.ask(user, functools.partial(peek.names, folder))
        except OSError:
            continue  # not ours to see
        stray = [name for name in names if name not in accounts and not name.startswith(".")]
        for name in stray[:_MOST_RECORDS]:
            files = fetched.files(folder, name)
            words = f"{files[0]} records what was fetched, but there is no such account"
            yield Fault(words, as_user(user.uid, ["rm", "-f", *files]))


def _fetching(settings: Config, spool: Spool) -> Iterator[tuple[Identity, set[str]]]:
    """Yield who fetches mail, "" for the caller, and the accounts of each."""
    if not (spool.system and os.geteuid() == 0):
        own = Identity("", os.getuid(), os.getgid(), home(os.getuid()), "")
        yield own, set(settings.accounts)
        return
    for name in {account.to for account in settings.accounts.values()}:
        user = lookup(name)
        if user:
            yield user, {each.name for each in settings.accounts.values() if each.to == name}
