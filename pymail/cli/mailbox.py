"""pymail list, pymail show: mail for scripts."""

import json
import os
import shlex
import sys

import click

from pymail import errors
from pymail.errors import printable

_NONE = 1
"""The exit status where there is no mail."""

_FILE = click.option("-f", "--file", "path", metavar="PATH", help="A Maildir or mbox file.")
_USER = click.option("-u", "--user", help="The inbox of USER, where that is permitted.")


@click.command("list")
@_FILE
@_USER
@click.option("-j", "--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_mail(path: str | None, user: str | None, *, as_json: bool) -> int:
    """List the messages of the inbox, a Maildir or an mbox file.

    Status 1 if there are none.
    """
    from pymail import scripted  # noqa: PLC0415

    try:
        folder, letters = scripted.mail(path or "", user or "")
    except scripted.NoMailError:
        return _NONE
    further = "" if path or as_json else scripted.another(folder, user or "")
    if further:
        text = f"{further} has mail too: pymail list -f {shlex.quote(further)}"
        errors.complain("pymail", text)
    for number, letter in enumerate(letters, 1):
        if as_json:
            sys.stdout.write(f"{json.dumps(scripted.facts(number, folder, letter))}\n")
        else:
            sys.stdout.write(f"{scripted.row(number, letter, 120)}\n")
    return errors.EX_OK


@click.command("show")
@click.argument("which", metavar="NUMBER|ID")
@_FILE
@_USER
@click.option("--raw", is_flag=True, help="The message as it is, byte for byte.")
@click.option("-j", "--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--save", "directory", metavar="DIR", help="Save the attachments in DIR.")
def show_mail(
    which: str,
    path: str | None,
    user: str | None,
    *,
    raw: bool,
    as_json: bool,
    directory: str | None,
) -> None:
    """Show one message of the inbox, a Maildir or an mbox file.

    It stays new.  With --save print the paths of the files instead.
    """
    from pymail import scripted  # noqa: PLC0415

    folder, letters = scripted.mail(path or "", user or "")
    number, letter = scripted.chosen(letters, which)
    data = folder.read(letter)
    if sum((raw, as_json, directory is not None)) > 1:
        raise errors.UsageError("--raw, --json and --save do not go together")
    if directory is not None:
        for saved in scripted.save(data, directory):
            sys.stdout.write(f"{printable(os.path.abspath(saved))}\n")
    elif raw:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
    elif as_json:
        sys.stdout.write(f"{json.dumps(scripted.whole(number, folder, letter, data))}\n")
    else:
        for line in scripted.lines(data):
            sys.stdout.write(f"{line}\n")
