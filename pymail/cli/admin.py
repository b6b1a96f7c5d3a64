"""pymail: everything that is not sendmail, mailq, newaliases, mail or flush.

What a command does is imported when it runs.  Nothing that comes from outside reaches the
terminal with control characters in it.
"""

import io
import json
import os
import sys
import time
from typing import TYPE_CHECKING

import click

from pymail import __version__, errors, paths
from pymail.cli import mailbox
from pymail.cli.setup import set_up
from pymail.cli.terminal import asked, say
from pymail.errors import DataError, UsageError
from pymail.spool import Spool

if TYPE_CHECKING:
    from pymail.config import Config
    from pymail.log import Log
    from pymail.nexthop import NextHop


def main() -> int:
    """Run the program."""
    return errors.run("pymail", _main)


def _main() -> int:
    if not isinstance(sys.stdout, io.TextIOWrapper):  # it was closed when we were started
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False))
    sys.stdout.reconfigure(errors="replace")  # a locale may not have every character
    arguments = _arguments()
    if not arguments:  # click 8.1 and 8.2 do not agree about it
        context = click.Context(face, info_name="pymail", **face.context_settings)
        sys.stderr.write(f"{face.get_help(context)}\n")
        return errors.EX_USAGE
    try:
        status = face.main(args=arguments, prog_name="pymail", standalone_mode=False)
    except click.UsageError as error:
        raise UsageError(error.format_message().rstrip(".")) from None
    except click.Abort:
        return 130
    return status if isinstance(status, int) else errors.EX_OK


def _arguments() -> list[str]:
    return [os.fsencode(word).decode("utf-8", "surrogateescape") for word in sys.argv[1:]]


class _Config(click.Group):
    """`config` with names, or without, shows; `set` and `unset` change."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in self.commands:
            return super().resolve_command(ctx, args)
        return "show", self.commands["show"], args


@click.group("pymail", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="pymail %(version)s")
def face() -> None:
    """Look after mail that pymail takes, keeps and delivers."""


face.add_command(set_up)


@face.group("config", cls=_Config, invoke_without_command=True)
@click.option("-n", "changed", is_flag=True, help="Only settings that are not the default.")
@click.option("-d", "defaults", is_flag=True, help="The defaults, whatever the files say.")
@click.pass_context
def configuration(ctx: click.Context, *, changed: bool, defaults: bool) -> None:
    """Show settings: value, and where it is from.  Or: set KEY VALUE, unset KEY.

    With NAMEs only these.
    """
    ctx.obj = (changed, defaults)
    if ctx.invoked_subcommand is None:
        ctx.invoke(show_configuration)


@configuration.command("show", hidden=True)
@click.argument("names", nargs=-1)
@click.pass_context
def show_configuration(ctx: click.Context, names: tuple[str, ...] = ()) -> None:
    """Show settings."""
    from pymail import config  # noqa: PLC0415
    from pymail.settings import nearest, shown  # noqa: PLC0415

    changed, defaults = ctx.obj
    for name in names:
        if name not in config.SETTINGS:
            raise UsageError(f"unknown setting {name}{nearest(name, config.SETTINGS)}")
    spool = paths.spool()
    held = config.combine({}, config.machine(spool)) if defaults else config.here(spool)
    for name in names or config.SETTINGS:
        source = held.source(name)
        if not changed or source != "default":
            say(f"{name} = {shown(getattr(held, name))}  # {source}")


@configuration.command("set")
@click.argument("key")
@click.argument("words", nargs=-1, required=True, metavar="VALUE...")
def set_configuration(key: str, words: tuple[str, ...]) -> None:
    """Set KEY, in a file of its own over config.toml.

    A list may be given as several VALUEs, as one with commas, or as TOML.
    """
    from pymail import config, overlay  # noqa: PLC0415

    spool = paths.spool()
    facts = config.machine(spool)
    overlay.set_value(facts["config"], facts, key, overlay.value(key, list(words)))
    source = config.here(spool).source(key)
    if overlay.NAME not in source:
        errors.complain("pymail", f"warning: {source} counts before what was set now")


@configuration.command("unset")
@click.argument("key")
def unset_configuration(key: str) -> None:
    """Take back what `config set` has set for KEY."""
    from pymail import config, overlay  # noqa: PLC0415

    def edit(table: overlay.Table) -> None:
        if key not in table:
            raise DataError(f"cannot unset {key}: it was not set with pymail config set")
        del table[key]

    facts = config.machine(paths.spool())
    overlay.change(facts["config"], facts, edit)


@face.command("fetch")
@click.argument("names", nargs=-1, metavar="[ACCOUNT...]")
@click.option("-n", "--dry-run", "dry", is_flag=True, help="Only say how many there are.")
@click.option("-v", "--verbose", is_flag=True, help="Say what was fetched.")
@click.option("--list", "listed", is_flag=True, help="Show the names of the accounts.")
def fetch_mail(names: tuple[str, ...], *, dry: bool, verbose: bool, listed: bool) -> int:
    """Fetch mail from every ACCOUNT of the configuration, or from some."""
    from pymail import config, fetching  # noqa: PLC0415

    spool = Spool(paths.spool())
    held = config.here(spool.path)
    status = errors.EX_OK
    for account in fetching.chosen(held, names):
        if listed:
            say(account.name)
            continue
        try:
            for line in fetching.fetch(account, held, spool, dry=dry, said=verbose or dry):
                say(line)
        except errors.MailError as error:
            status = error.status
            # With -n or -v a person asks, not cron.
            if verbose or dry or not fetching.said_today(account, spool, str(error)):
                errors.complain("pymail", str(error))
    return status


@face.command("import")
@click.option("-w", "--write", is_flag=True, help="Write it down, logins and aliases too.")
@click.argument("kind")
@click.argument("file", default="")
def import_configuration(kind: str, file: str, *, write: bool) -> None:
    """Take over the configuration of another program.

    KIND is postfix, msmtp, ssmtp, dma, nullmailer, esmtp, fetchmail or getmail, or the name of its
    file.  Without FILE it is where that program looks for it.  What cannot be carried over is
    told.
    """
    from pymail import moving  # noqa: PLC0415

    for line in (moving.written if write else moving.printed)(kind, file):
        say(line)


@face.command("export")
@click.argument("kind", type=click.Choice(["postfix"]))
@click.argument("directory")
def export_configuration(kind: str, directory: str) -> None:
    """Write our configuration as another program's into a new DIRECTORY.

    KIND is postfix: main.cf and its tables.  What cannot be carried over is told.
    """
    from pymail import config, export  # noqa: PLC0415

    del kind  # there is one
    for line in export.postfix(config.here(paths.spool()), os.path.abspath(directory)):
        say(line)


@face.command("check")
def check_machine() -> int:
    """Look for what keeps mail from moving: one line each, with the remedy.

    Silent when all is well.  Status 78 if mail does not move until something is done.
    """
    from pymail import check  # noqa: PLC0415

    found = check.check(Spool(paths.spool()), int(time.time()))
    for finding in found:
        say(f"{'error' if finding.fatal else 'warning'}: {finding}")
    return errors.EX_CONFIG if any(finding.fatal for finding in found) else errors.EX_OK


@face.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--address", default="", help="The address that others see this machine under.")
def examine(address: str, *, as_json: bool) -> int:
    """Look at all that mail depends on, here and outside, and tell what to do.

    Status 78 if mail does not move, or is refused, until something is done.
    """
    from pymail import doctor  # noqa: PLC0415

    fatal = False
    for finding in doctor.examine(Spool(paths.spool()), int(time.time()), address):
        fatal |= finding.fatal
        say(json.dumps(finding._asdict()) if as_json else str(finding))
    return errors.EX_CONFIG if fatal else errors.EX_OK


@face.group("queue")
def queue_face() -> None:
    """Look at messages in the queue, and change what becomes of them."""


@queue_face.command("list")
@click.option("-j", "as_json", is_flag=True, help="One JSON object a line.")
def list_queue(*, as_json: bool) -> None:
    """Show the queue, as mailq does."""
    sys.stdout.flush()
    argv = paths.program("mailq", *(["-j"] if as_json else []))
    os.execv(argv[0], argv)


@queue_face.command("show")
@click.argument("qid", metavar="ID")
@click.option("-e", "envelope", is_flag=True, help="Only envelope and attempts.")
@click.option("-m", "message", is_flag=True, help="Only the message.")
@click.option("--raw", is_flag=True, help="The message as it is, byte for byte.")
def show_message(qid: str, *, envelope: bool, message: bool, raw: bool) -> None:
    """Show one message: envelope, what happened so far, and the text."""
    from pymail import queued  # noqa: PLC0415

    active, state = queued.read(Spool(paths.spool()), qid)
    try:
        if raw:
            sys.stdout.flush()
            sys.stdout.buffer.write(active.message())
            return
        if not message:
            for line in queued.about(active, state):
                say(line)
        if not message and not envelope:
            say("")
        if not envelope:
            for part in active.message().decode("utf-8", "replace").splitlines():
                say(part.expandtabs())
    finally:
        active.close()


def _apply(verb: str, ids: tuple[str, ...]) -> int:
    from pymail import queued  # noqa: PLC0415

    spool = Spool(paths.spool())
    log = _log(spool)

    def tell(qid: str, words: str) -> None:
        log.event("postsuper", f"{qid}: {words}")
        say(f"{qid}: {words}")

    troubles = queued.apply(spool, verb, ids, tell)
    for trouble in troubles:
        errors.complain("pymail", trouble)
    return errors.EX_DATAERR if troubles else errors.EX_OK


def _log(spool: Spool) -> "Log":
    from pymail.log import Log  # noqa: PLC0415

    return Log(None if spool.system else f"{spool.path}/log")


_IDS = click.argument("ids", nargs=-1, required=True, metavar="ID...|ALL")


@queue_face.command("try")
@click.argument("qid", metavar="ID")
def try_message(qid: str) -> int:
    """Try to deliver one message now, as sendmail -odi does.

    Status 69 if it comes back to its sender. If it has to wait: 0 where something starts flush
    again and again; else it is removed, the status is 75, and the reason is told.
    """
    from pymail import attempt  # noqa: PLC0415

    return attempt.status(Spool(paths.spool()), qid)


@queue_face.command("hold")
@_IDS
def hold_messages(ids: tuple[str, ...]) -> int:
    """Keep messages from being tried until they are released."""
    return _apply("hold", ids)


@queue_face.command("release")
@_IDS
def release_messages(ids: tuple[str, ...]) -> int:
    """Let messages on hold be tried by the next flush."""
    return _apply("release", ids)


@queue_face.command("delete")
@_IDS
def delete_messages(ids: tuple[str, ...]) -> int:
    """Remove messages from the queue; nobody is told."""
    return _apply("delete", ids)


@queue_face.command("requeue")
@_IDS
def requeue_messages(ids: tuple[str, ...]) -> int:
    """Let messages be tried by the next flush, on hold or not yet due."""
    return _apply("requeue", ids)


@face.command("login")
@click.argument("host", required=False)
@click.argument("user", required=False)
@click.option("--check", "only_check", is_flag=True, help="Use the login that is stored.")
@click.option("--list", "listed", is_flag=True, help="Show servers, users and sources.")
@click.option("--remove", "removed", is_flag=True, help="Forget the login.")
@click.option("--no-test", "untested", is_flag=True, help="Store it without asking the server.")
def log_in(
    host: str | None,
    user: str | None,
    *,
    only_check: bool,
    listed: bool,
    removed: bool,
    untested: bool,
) -> None:
    """Store the login for the mail server HOST, and prove that it works.

    The password is asked for, or is the first line of standard input. Status 77 if the server
    refuses it.
    """
    from pymail import config, login  # noqa: PLC0415

    settings = config.here(paths.spool())
    if listed:
        for shown, found in login.known(settings):
            say(f"{shown} {found.user} ({found.source})")
        return
    if not host:
        raise UsageError("name the server: pymail login HOST [USER]")
    hop = login.server(host, settings)
    if only_check:
        say(f"{hop.shown}: the login works ({login.check(hop, settings)})")
    elif removed:
        if not login.remove(hop):
            raise DataError(f"no login for {hop.shown} is stored")
        say(f"{hop.shown}: forgotten")
    else:
        _store_login(hop, user, settings, untested=untested)


def _store_login(hop: "NextHop", user: str | None, settings: "Config", *, untested: bool) -> None:
    from pymail import login  # noqa: PLC0415
    from pymail.transport import Login  # noqa: PLC0415

    user = user or asked(f"User at {hop.host}: ", hidden=False)
    fresh = Login(user, asked(f"Password of {user} at {hop.host}: ", hidden=True))
    if not untested:
        login.attempt(hop, fresh, settings)
    place = login.store(hop, fresh)
    if untested:
        say(f"{hop.shown}: stored in {place}, not tested")
        return
    login.prove(hop)
    say(f"{hop.shown}: the login works, also from cron; stored in {place}")
    if hop.shown not in settings.relayhost:
        say(f"To send through it: pymail config set relayhost '{hop.shown}'")


@face.group("dkim")
def dkim_face() -> None:
    """Make and show the keys that sign mail sent directly (DKIM)."""


@dkim_face.command("new")
@click.argument("domain")
@click.option("--selector", help="The name of the key in DNS; today's date if not said.")
@click.option("--bits", type=click.IntRange(1024, 4096), help="Length of an RSA key; 2048.")
@click.option("--ed25519", is_flag=True, help="A short key, which not everybody understands.")
def new_key(domain: str, selector: str | None, bits: int | None, *, ed25519: bool) -> None:
    """Make a key for DOMAIN and print the DNS record to publish."""
    from pymail import config, dkimkeys, world  # noqa: PLC0415

    if bits and ed25519:
        raise UsageError("an Ed25519 key has no --bits")
    spool = paths.spool()
    settings = config.here(spool)
    owner = world.open_machine(settings, spool).user(settings.mail_owner)
    group = owner.gid if owner and paths.is_system(spool) else -1
    selector = selector or time.strftime("e%Y%m%d" if ed25519 else "d%Y%m%d")
    length = 0 if ed25519 else bits or 2048
    key = dkimkeys.create(settings.dkim_directory, domain, selector, length, group)
    say(f"{key.path}: made. Publish this record; mail from {key.domain} is signed from now on:")
    say(dkimkeys.record(key))


@dkim_face.command("show")
@click.argument("domain")
def show_keys(domain: str) -> None:
    """Print the DNS records of the keys of DOMAIN."""
    from pymail import config, dkimkeys  # noqa: PLC0415

    directory = config.here(paths.spool()).dkim_directory
    try:
        found = list(dkimkeys.keys(directory, domain.lower()))
    except OSError as error:
        raise DataError(f"cannot read {directory}: {error.strerror}") from None
    if not found:
        raise DataError(f"no key for {domain}: pymail dkim new {domain}")
    for key in found:
        say(dkimkeys.record(key))


@face.command("explain")
@click.argument("addresses", nargs=-1, required=True, metavar="ADDRESS...")
@click.option("-j", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("-f", "sender", help="The envelope sender; you if not said, <> for a bounce.")
@click.option("--net", is_flag=True, help="Ask name servers for the servers of what leaves.")
@click.option("--verify", is_flag=True, help="One line for each end, as sendmail -bv.")
def explain_addresses(
    addresses: tuple[str, ...], *, as_json: bool, sender: str | None, net: bool, verify: bool
) -> int:
    """Show step by step where mail to ADDRESS goes, with file and line.

    Status 67 if an address is unknown or its mail is returned, 75 if it would wait.
    """
    from pymail import config, explain, world  # noqa: PLC0415
    from pymail.users import user_of  # noqa: PLC0415

    spool = paths.spool()
    machine = world.open_machine(config.here(spool), spool)
    status = errors.EX_OK
    origin = user_of(os.getuid()).name if sender is None else explain.originator(sender)
    routes = [each for x in addresses for each in explain.routes(machine, x, origin, net=net)]
    for number, route in enumerate(routes):
        if as_json:
            sys.stdout.write(f"{json.dumps(explain.facts(route))}\n")
        else:
            if number and not verify:
                say("")
            for line in explain.verified(route) if verify else explain.lines(route):
                say(line)
        if route.status == "bounced":
            status = errors.EX_NOUSER
        elif route.status != "sent":
            status = status or errors.EX_TEMPFAIL
    return status


face.add_command(mailbox.list_mail)
face.add_command(mailbox.show_mail)


@face.command("notice")
def tell_news() -> None:
    """Tell of new mail, and of what is stuck in the queue: one line, or nothing.

    It takes 5 seconds at most.
    """
    from pymail import notice  # noqa: PLC0415

    text = notice.line()
    if text:
        say(text)


@face.command("shell-init")
@click.argument("shell", type=click.Choice(["bash", "zsh", "sh", "fish"]))
def print_snippet(shell: str) -> None:
    """Print the lines for the startup file of SHELL that tell of new mail.

    They start no program unless there is something to tell.
    """
    from pymail import config, shellinit  # noqa: PLC0415

    spool = paths.spool()
    text = shellinit.snippet(
        shell,
        os.path.abspath(sys.argv[0]) if "/" in sys.argv[0] else "pymail",
        home=paths.home(os.getuid()),
        mailbox=config.here(spool).home_mailbox,
        spool=os.path.abspath(spool),
        system=paths.is_system(spool),
    )
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(text))
