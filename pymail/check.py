"""What keeps mail from moving on this machine, or soon may, each with its remedy.

Looks, and changes nothing.  What may not be looked at is passed over: root sees most.
"""

from pymail import checkconfig, checkspool, config
from pymail.errors import MailError
from pymail.fault import Fault
from pymail.spool import Spool

_PARTS = (
    checkconfig.of_settings,
    checkconfig.of_secrets,
    checkconfig.of_keys,
    checkspool.of_spool,
    checkspool.of_disk,
    checkconfig.of_tables,
    checkconfig.of_aliases,
    checkconfig.of_roles,
    checkconfig.of_accounts,
    checkspool.of_runs,
)


def check(spool: Spool, now: int) -> list[Fault]:
    """Return everything that is wrong, the configuration first: the rest depends on it."""
    try:
        settings = config.here(spool.path)
    except MailError as error:
        return [Fault(str(error), "correct it; until then flush does not run", fatal=True)]
    return [fault for part in _PARTS for fault in part(settings, spool, now)]
