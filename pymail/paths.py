"""Where the spool, the configuration and the aliases are, and which of two ways we run.

User mode: one user, everything in that user's home.  System mode: /var/spool/pymail with a
drop directory for everybody.  A spool is a system spool exactly when it has `drop/`.

Who we are is getuid(), nothing else: cron and at start sendmail as the user but with root's
HOME, dovecot-lda with no environment at all.
"""

import os
import pwd
import sys

SYSTEM_SPOOL = "/var/spool/pymail"
INLET = "/run/pymail/submit"
"""The socket for those who cannot write to the system spool: see inlet.py."""

SYSTEM_CONFIG = "/etc/pymail/config.toml"
SYSTEM_ALIASES = "/etc/aliases"


def _own_home(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        # A container's arbitrary uid has no passwd entry; then HOME is all there is.
        return os.environ.get("HOME") or "/"


def home(uid: int) -> str:
    """Return the home directory of `uid`: the passwd entry's.

    In a trial (PYMAIL_SPOOL names a spool in user mode) the own home is $HOME, so that
    nothing outside the trial is touched.
    """
    trial = os.environ.get("PYMAIL_SPOOL")
    if trial and uid == os.getuid() and not is_system(trial):
        return os.environ.get("HOME") or _own_home(uid)
    return _own_home(uid)


def _xdg(own: str, variable: str, default: str) -> str:
    """Return an XDG base directory; the variable counts only where HOME is our `own` home."""
    base = os.environ.get(variable, "")
    if base.startswith("/") and os.environ.get("HOME") == own:
        return base
    return f"{own}/{default}"


def spool() -> str:
    """Return the spool directory: PYMAIL_SPOOL, else this user's own, else the system's.

    A user who has a configuration of pymail runs in user mode; everybody else uses the system
    spool where there is one, and falls back to user mode.
    """
    named = os.environ.get("PYMAIL_SPOOL")
    if named:
        return named
    # In a sandbox the spool may be out of sight.
    there = is_system(SYSTEM_SPOOL) or os.path.exists(INLET)
    if there and not os.path.exists(own_config()):
        return SYSTEM_SPOOL
    return own_spool()


def own_spool() -> str:
    """Return the spool of this user in user mode."""
    return _xdg(_own_home(os.getuid()), "XDG_STATE_HOME", ".local/state") + "/pymail/spool"


def own_config() -> str:
    """Return the path of this user's configuration in user mode."""
    return _xdg(_own_home(os.getuid()), "XDG_CONFIG_HOME", ".config") + "/pymail/config.toml"


def is_system(spool: str) -> bool:
    """Say whether `spool` is a system spool: one with a drop directory."""
    return os.path.isdir(f"{spool}/drop")


def config(spool: str) -> str:
    """Return the path of the configuration file that goes with `spool`."""
    named = os.environ.get("PYMAIL_CONFIG")
    if named:
        return named
    return SYSTEM_CONFIG if is_system(spool) else own_config()


def cache() -> str:
    """Return the directory of what may be lost: the user's cache."""
    return _xdg(home(os.getuid()), "XDG_CACHE_HOME", ".cache") + "/pymail"


def aliases(spool: str) -> str:
    """Return the path of the aliases file where the configuration names none."""
    if is_system(spool) and not os.environ.get("PYMAIL_CONFIG"):
        return SYSTEM_ALIASES
    return os.path.dirname(config(spool)) + "/aliases"


def program(name: str, *args: str) -> list[str]:
    """Return the command line that runs another program of pymail in this interpreter.

    The flags of this interpreter (isolated, without site) are kept, and nothing is looked up
    in PATH or in the current directory (-P: else -c puts that before the standard library).
    """
    # Only `pymail` itself needs packages of others.
    no_site = sys.flags.no_site and name != "admin"
    flags = f"-P{'I' * sys.flags.isolated}{'S' * no_site}"
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    code = (
        f"import sys; sys.path.insert(0, {here!r}); sys.argv[0] = {name!r}; "
        f"from pymail.cli.{name} import main; from pymail.errors import leave; leave(main())"
    )
    return [sys.executable, flags, "-c", code, *args]
