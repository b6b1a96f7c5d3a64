"""Send through an account at a provider: prove its login, store it, make it the way out."""

import subprocess
from collections.abc import Iterator

from pymail import config, login, nexthop, overlay, paths
from pymail.errors import TempError, printable
from pymail.provider import Submission
from pymail.transport import Login

PATIENCE = 300
"""Seconds that the first letter may take."""


def join(address: str, place: Submission, password: str, *, untested: bool) -> Iterator[str]:
    """Store the login, and let mail leave through it under that address; yield what was done.

    Nothing is changed where the login is refused: PermError, TempError.
    """
    spool = paths.spool()
    settings = config.here(spool)
    hop = nexthop.parse(place.hop)
    fresh = Login(place.user, password)
    if not untested:
        login.attempt(hop, fresh, settings)
    kept = login.store(hop, fresh)
    proved = "" if untested else "works, "
    yield f"login of {place.user} at {hop.shown}: {proved}stored in {kept}"
    facts = config.machine(spool)
    written = dict(settings.smtp_generic_maps.rows)
    written[f"@{settings.myorigin}"] = address
    overlay.set_value(facts["config"], facts, "relayhost", [hop.shown])
    yield f"relayhost = {hop.shown}: mail for other domains goes there"
    if settings.smtp_generic_maps.files:
        yield f"smtp_generic_maps is in files: add @{settings.myorigin} {address}"
    else:
        overlay.set_value(facts["config"], facts, "smtp_generic_maps", written)
        yield f"there, users of this machine are {address} (smtp_generic_maps)"
    if not untested:
        login.confirm(hop)


def greet(address: str) -> Iterator[str]:
    """Send a letter to an address as cron would; yield what became of it.  TempError."""
    letter = (
        f"To: {address}\nSubject: pymail works\nContent-Type: text/plain; charset=utf-8\n\n"
        f"This letter was sent by pymail setup on {config.here(paths.spool()).myhostname}.\n"
    )
    _run("sendmail", "-i", address, text=letter)
    said = _run("flush", "-v", text="")
    lines = [line for line in said.splitlines() if f"<{address}>" in line]
    # What systemd starts when a letter comes may have been faster.
    yield from lines or [f"the letter to {address} is on its way; mailq shows it while it waits"]


def _run(program: str, *args: str, text: str) -> str:
    try:
        done = subprocess.run(
            paths.program(program, *args),
            input=text,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TempError(f"cannot run {program}: {printable(str(error))}") from None
    if done.returncode:
        raise TempError(f"{program}: {printable(done.stderr.strip())}")
    return done.stdout
