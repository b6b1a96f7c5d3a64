"""pymail setup: install it, take it away, send through an account at a provider."""

import os
from typing import TYPE_CHECKING

import click

from pymail import paths
from pymail.cli.terminal import asked, person, say

if TYPE_CHECKING:
    from pymail.provider import Submission
    from pymail.step import Step


@click.command("setup")
@click.argument("address", required=False)
@click.option("-n", "--dry-run", "dry", is_flag=True, help="Show what would be done, do nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask whether to go on.")
@click.option("--remove", is_flag=True, help="Take it away, put back what was there.")
@click.option("--start", type=click.Choice(["cron", "systemd", "none"]), help="What starts flush.")
@click.option("--relay", metavar="HOST[:PORT]", help="The server that takes mail from ADDRESS.")
@click.option("--user", metavar="NAME", help="The login there, where it is not ADDRESS.")
@click.option("--no-test", "untested", is_flag=True, help="Store the login without using it.")
def set_up(  # noqa: PLR0913
    address: str | None,
    *,
    dry: bool,
    yes: bool,
    remove: bool,
    start: str | None,
    relay: str | None,
    user: str | None,
    untested: bool,
) -> None:
    """Install pymail for this machine (as root), or for yourself.

    With ADDRESS, send through the account that it belongs to: the provider's server is found, the
    password is asked for, or is the first line of standard input, and a letter is sent.
    """
    from pymail import setup  # noqa: PLC0415

    if remove:
        _remove(dry=dry, ask=not yes and person())
        return
    steps = setup.plan(start or "")
    account = _account(address, relay, user) if address else None
    if dry:
        for line in setup.todo(steps):
            say(line)
        reader = setup.reader_of_root()
        if reader:
            say(_told(reader))
    else:
        _install(steps, ask=not yes and person())
    if account is None or address is None:
        return
    say(f"{address}: mail is handed in at {account.hop} as {account.user} ({account.source})")
    if account.note:
        say(f"{address}: {account.note}")
    if not dry:
        _join(address, account, untested=untested)


def _account(address: str, relay: str | None, user: str | None) -> "Submission":
    from pymail import config, discovery, login  # noqa: PLC0415
    from pymail.provider import Submission  # noqa: PLC0415

    settings = config.here(paths.spool())
    if relay is None:
        found = discovery.submission(address, settings)
        return found._replace(user=user or found.user)
    hop = login.server(relay, settings)
    return Submission(hop.host, hop.port, user or address, "--relay")


def _remove(*, dry: bool, ask: bool) -> None:
    from pymail import setup  # noqa: PLC0415

    steps = setup.done()
    if dry or ask:
        for line in setup.undoing(steps):
            say(line)
    if dry:
        return
    if ask:
        click.confirm("Go on?", abort=True, err=True)
    for line in setup.take_back(steps):
        say(line)


def _install(steps: "list[Step]", *, ask: bool) -> None:
    from pymail import config, overlay, setup  # noqa: PLC0415

    plan = [line for line in setup.todo(steps) if not line.startswith(" ")]
    if plan and ask:
        reader = setup.reader_of_root()
        for line in [*plan, *([_told(reader)] if reader else [])]:
            say(line.removesuffix(":"))
        click.confirm("Go on?", abort=True, err=True)
    for line in setup.carry_out(steps):
        say(line)
    spool = paths.spool()
    misplaced = setup.misplaced() if os.getuid() == 0 else ""
    if misplaced:
        say(f"{misplaced}: not for the machine's mail: move what is there to /etc/pymail")
    reader = setup.reader_of_root()
    if reader and paths.is_system(spool):
        facts = config.machine(spool)
        overlay.set_value(facts["config"], facts, "root_user", reader)
        say(_told(reader))


def _told(reader: str) -> str:
    return f"root_user = {reader}: gets root's mail"


def _join(address: str, account: "Submission", *, untested: bool) -> None:
    from pymail import customer  # noqa: PLC0415

    password = asked(f"Password of {account.user} at {account.host}: ", hidden=True)
    for line in customer.join(address, account, password, untested=untested):
        say(line)
    if not untested:
        for line in customer.greet(address):
            say(line)
