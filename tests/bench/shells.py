"""What the lines of `pymail shell-init` cost a shell that starts while there is no mail."""

import os
import shutil

from pymail import shellinit

# Nobody's own startup files; interactive, since a script is told nothing.
STARTS = {
    "bash": ("--norc", "--noprofile", "-i", "-c"),
    "zsh": ("-f", "-i", "-c"),
    "dash": ("-i", "-c"),
    "fish": ("-N", "-i", "-c"),
}
BARE, WITH = "{} starts", "{} starts with the lines"


def commands(shell: str, place: str, spool: str) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Make a home with an empty Maildir; return {row: command} of a shell there, and its HOME.

    Both commands read a file, so that the lines are all that is between them.
    """
    program = shutil.which(shell)
    if program is None:
        raise RuntimeError(f"no {shell}")
    home = f"{place}/shells"
    for folder in ("cur", "new", "tmp"):
        os.makedirs(f"{home}/Maildir/{folder}", exist_ok=True)
    os.chmod(home, 0o777)  # fish makes directories
    lines = shellinit.snippet(
        "sh" if shell == "dash" else shell,
        "/bin/false",  # not started, or the measurement fails
        home=home,
        mailbox="Maildir/",
        spool=spool,
        system=True,
    )
    found = {}
    for row, text in ((BARE, ""), (WITH, lines)):
        file = f"{home}/{shell}.{'lines' if text else 'empty'}"
        with open(file, "w") as out:
            out.write(text)
        found[row.format(shell)] = [program, *STARTS[shell], f". {file}"]
    return found, {"HOME": home}
