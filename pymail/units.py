"""What starts flush: texts for cron and for systemd.  Pure."""

from collections.abc import Sequence

from pymail.launcher import MARK

SERVICE = "pymail-flush.service"
TIMER = "pymail-flush.timer"
PATH = "pymail-flush.path"


def table(flush: str) -> str:
    """Return the text of a file in /etc/cron.d: root's flush, each minute."""
    return f"# Deliver mail. Written {MARK}.\n* * * * * root {flush}\n"


def service(flush: str) -> str:
    """Return the service that the timer and the path start: one run, then it is over."""
    return (
        f"# Written {MARK}.\n[Unit]\nDescription=Deliver mail\nDocumentation=man:flush(8)\n\n"
        f"[Service]\nType=oneshot\nExecStart={flush}\n"
        # A |command of a user may leave something running, as under cron.
        "KillMode=process\n"
    )


def timer() -> str:
    """Return the timer: each minute, and soon after the start of the machine."""
    return (
        f"# Written {MARK}.\n[Unit]\nDescription=Deliver mail each minute\n\n"
        "[Timer]\nOnBootSec=30s\nOnUnitInactiveSec=1min\nAccuracySec=1s\n\n"
        "[Install]\nWantedBy=timers.target\n"
    )


def path(places: Sequence[str]) -> str:
    """Return the path unit: a letter that comes into one of the directories starts a run."""
    watched = "".join(f"PathChanged={place}\n" for place in places)
    return (
        f"# Written {MARK}.\n[Unit]\nDescription=Deliver mail when some comes\n\n"
        f"[Path]\n{watched}Unit={SERVICE}\n\n[Install]\nWantedBy=paths.target\n"
    )
