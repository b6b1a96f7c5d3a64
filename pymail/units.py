"""What starts flush: texts for cron and for systemd.  Pure."""

from collections.abc import Sequence

from pymail import paths
from pymail.launcher import MARK

SERVICE = "pymail-flush.service"
TIMER = "pymail-flush.timer"
PATH = "pymail-flush.path"
INLET = "pymail-submit.socket"
RECEIVE = "pymail-submit@.service"


def table(command: str) -> str:
    """Return the text of a file in /etc/cron.d: what root's shell is to do each minute."""
    return f"# Deliver mail. Written {MARK}.\n{each_minute(command, 'root')}\n"


def each_minute(command: str, user: str = "") -> str:
    """Return a line of a crontab for a shell's command; one for the whole system names the user."""
    escaped = command.replace("%", "\\%")  # to cron, % is the end of a line
    return " ".join(filter(None, ("* * * * *", user, escaped)))


def service(flush: str) -> str:
    """Return the service that the timer and the path start: one run, then it is over."""
    return (
        f"# Written {MARK}.\n[Unit]\nDescription=Deliver mail\nDocumentation=man:flush(8)\n"
        # With the usual limit, six letters in ten seconds would end the path unit for good.
        "StartLimitIntervalSec=0\n\n"
        # Once more: a path unit does not see what comes while the service that it starts runs.
        f"[Service]\nType=oneshot\nExecStart={_word(flush)}\nExecStart={_word(flush)}\n"
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
    watched = "".join(f"PathChanged={_literal(place)}\n" for place in places)
    return (
        f"# Written {MARK}.\n[Unit]\nDescription=Deliver mail when some comes\n\n"
        f"[Path]\n{watched}Unit={SERVICE}\n\n[Install]\nWantedBy=paths.target\n"
    )


def inlet() -> str:
    """Return the socket for services that cannot write to the spool: see inlet.py."""
    return (
        f"# Written {MARK}.\n[Unit]\nDescription=Take mail from sandboxed services\n\n"
        f"[Socket]\nListenStream={paths.INLET}\nSocketMode=0666\nAccept=yes\n"
        # Else a user who connects often enough would close it for all.
        "TriggerLimitIntervalSec=0\nMaxConnections=64\n"
        # Of one user; systemd before 256 counts only those who come from a network.
        "MaxConnectionsPerSource=16\n\n[Install]\nWantedBy=sockets.target\n"
    )


def receive(program: str, spool: str) -> str:
    """Return the service of one connection: it becomes the caller, and needs nothing else."""
    sandbox = "".join(
        f"{name}=yes\n"
        for name in (
            "NoNewPrivileges",
            "PrivateDevices",
            "PrivateNetwork",
            "PrivateTmp",
            "ProtectHome",
            "ProtectControlGroups",
            "ProtectKernelLogs",
            "ProtectKernelModules",
            "ProtectKernelTunables",
            "LockPersonality",
            "RestrictNamespaces",
            "RestrictRealtime",
        )
    )
    return (
        f"# Written {MARK}.\n[Unit]\nDescription=Take one letter\n"
        "CollectMode=inactive-or-failed\n\n"
        f"[Service]\nExecStart=-{_word(program)}\nStandardInput=socket\nStandardOutput=null\n"
        "StandardError=journal\nRuntimeMaxSec=600\n"
        f"ExecStopPost=-+systemctl start --no-block {SERVICE}\n"
        f"CapabilityBoundingSet=CAP_SETUID CAP_SETGID\nProtectSystem=strict\n"
        f"ReadWritePaths={_word(spool)}\nRestrictAddressFamilies=AF_UNIX\n{sandbox}"
    )


def _literal(text: str) -> str:
    """Return text in which systemd replaces nothing (systemd.unit(5), specifiers)."""
    return text.replace("%", "%%")


def _word(text: str) -> str:
    """Return a path as one word of a command line of systemd (systemd.service(5))."""
    word = _literal(text).replace("\\", "\\\\").replace("$", "$$").replace('"', '\\"')
    return word if word == text and len(text.split()) == 1 else f'"{word}"'
