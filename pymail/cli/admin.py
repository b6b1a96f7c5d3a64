"""pymail: everything that is not sendmail, mailq, newaliases, mail or flush.

What a command does is imported when it runs.  Nothing that comes from outside reaches the
terminal with control characters in it.
"""

import json
import os
import sys
import time

import click

from pymail import __version__, errors, paths
from pymail.cli.config import configuration
from pymail.cli.dkim import dkim_face
from pymail.cli.login import log_in
from pymail.cli.mailbox import list_mail, show_mail
from pymail.cli.queue import queue_face
from pymail.cli.setup import set_up
from pymail.cli.terminal import say
from pymail.errors import UsageError
from pymail.spool import Spool

_NO_COMMAND = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""What click says, from 8.2 on, where a group is called without a command."""


def main() -> int:
    """Run the program."""
    return errors.run("pymail", _main)


def _main() -> int:
    arguments = _arguments()
    if not arguments:  # click 8.1 and 8.2 do not agree about it
        context = click.Context(face, info_name="pymail", **face.context_settings)
        sys.stderr.write(f"{face.get_help(context)}\n")
        return errors.EX_USAGE
    try:
        status = face.main(args=arguments, prog_name="pymail", standalone_mode=False)
    except click.UsageError as error:
        if isinstance(error, _NO_COMMAND):
            sys.stderr.write(f"{error.format_message()}\n")
            return errors.EX_USAGE
        raise UsageError(error.format_message().rstrip(".")) from None
    except click.Abort:
        return 130
    return status if isinstance(status, int) else errors.EX_OK


def _arguments() -> list[str]:
    return [os.fsencode(word).decode("utf-8", "surrogateescape") for word in sys.argv[1:]]


@click.group("pymail", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="pymail %(version)s")
def face() -> None:
    """Look after mail that pymail takes, keeps and delivers."""


for command in (configuration, queue_face, log_in, dkim_face, set_up, list_mail, show_mail):
    face.add_command(command)


@face.command("fetch")
@click.argument("names", nargs=-1, metavar="[ACCOUNT...]")
@click.option("-n", "--dry-run", "dry", is_flag=True, help="Only say how many there are.")
@click.option("-v", "--verbose", is_flag=True, help="Say what was fetched.")
@click.option("--list", "listed", is_flag=True, help="Show the names of the accounts.")
def fetch_mail(names: tuple[str, ...], *, dry: bool, verbose: bool, listed: bool) -> int:
    """Fetch mail from every ACCOUNT, or from those named."""
    from pymail import config, fetching  # noqa: PLC0415

    spool = Spool(paths.spool())
    held = config.here(spool.path)
    status = errors.EX_OK
    told: set[str] = set()
    for account in fetching.chosen(held, names):
        if listed:
            say(account.name)
            continue
        try:
            for line in fetching.fetch(account, held, spool, dry=dry, said=verbose or dry):
                say(line)
        except errors.MailError as error:
            status = error.status
            # With -n or -v a person asks, not cron.  What concerns several accounts is said once.
            new = verbose or dry or not fetching.said_today(account, spool, str(error))
            if new and str(error) not in told:
                errors.complain("pymail", str(error))
            told.add(str(error))
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
    """Write our configuration as that of another program.

    It goes into a new DIRECTORY.  KIND is postfix: main.cf and its tables.  What cannot be
    carried over is told.
    """
    from pymail import config, export  # noqa: PLC0415

    del kind  # there is one
    for line in export.postfix(config.here(paths.spool()), os.path.abspath(directory)):
        say(line)


@face.command("check")
def check_machine() -> int:
    """Look for what keeps mail from moving, and tell the remedy.

    One line each; silent when all is well.  Status 78 if mail does not move until something is
    done.
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
    """Look at all that mail depends on, here and outside.

    One line each, with what to do.  Status 78 if mail does not move, or is refused, until
    something is done.
    """
    from pymail import doctor  # noqa: PLC0415

    fatal = False
    for finding in doctor.examine(Spool(paths.spool()), int(time.time()), address):
        fatal |= finding.fatal
        say(json.dumps(finding._asdict()) if as_json else str(finding))
    return errors.EX_CONFIG if fatal else errors.EX_OK


@face.command("explain")
@click.argument("addresses", nargs=-1, required=True, metavar="ADDRESS...")
@click.option("-j", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("-f", "sender", help="The envelope sender; you if not said, <> for a bounce.")
@click.option("--net", is_flag=True, help="Ask name servers for the servers of what leaves.")
@click.option("--verify", is_flag=True, help="One line for each end, as sendmail -bv.")
def explain_addresses(
    addresses: tuple[str, ...], *, as_json: bool, sender: str | None, net: bool, verify: bool
) -> int:
    """Show step by step where mail to ADDRESS goes.

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


@face.command("notice")
def tell_news() -> None:
    """Tell in one line of new mail, and of what is stuck.

    Silent when there is nothing.  It takes 5 seconds at most.
    """
    from pymail import notice  # noqa: PLC0415

    text = notice.line()
    if text:
        say(text)


@face.command("shell-init")
@click.argument("shell", type=click.Choice(["bash", "zsh", "sh", "fish"]))
def print_snippet(shell: str) -> None:
    """Print lines for a startup file that tell of new mail.

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
