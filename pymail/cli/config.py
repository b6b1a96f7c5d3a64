"""pymail config: settings shown and set."""

import os
import stat

import click

from pymail import errors, paths
from pymail.cli.terminal import say
from pymail.errors import DataError, UsageError


class _Config(click.Group):
    """`config` with names, or without, shows; `set` and `unset` change."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in self.commands:
            return super().resolve_command(ctx, args)
        return "show", self.commands["show"], args


@click.group("config", cls=_Config, invoke_without_command=True)
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
    from pymail import confidential, config  # noqa: PLC0415
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
            value = confidential.hidden(name, getattr(held, name))
            say(f"{name} = {shown(value)}  # {source}")


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
    file = source.partition(", line ")[0]
    if overlay.NAME not in source:
        errors.complain("pymail", f"warning: {source} counts before what was set now")
    elif paths.is_system(spool) and not os.stat(file).st_mode & stat.S_IROTH:
        why = f"users cannot read {file}, and ignore it: keep passwords in another file"
        errors.complain("pymail", f"warning: {why}, see pymail.toml(5)")


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
