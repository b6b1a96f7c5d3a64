"""pymail login: logins for servers, stored and proved."""

from typing import TYPE_CHECKING

import click

from pymail import paths
from pymail.cli.terminal import asked, say
from pymail.errors import DataError, UsageError

if TYPE_CHECKING:
    from pymail.config import Config
    from pymail.nexthop import NextHop


@click.command("login")
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
    """Store the login for a mail server, and prove that it works.

    HOST is the server.  The password is asked for, or is the first line of standard input.
    Status 77 if the server refuses it.
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
    login.confirm(hop)
    say(f"{hop.shown}: the login works, also from cron; stored in {place}")
    if hop.shown not in settings.relayhost:
        say(f"To send through it: pymail config set relayhost '{hop.shown}'")
