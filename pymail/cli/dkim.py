"""pymail dkim: keys that sign."""

import time

import click

from pymail import paths
from pymail.cli.terminal import say
from pymail.errors import DataError, UsageError


@click.group("dkim")
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
