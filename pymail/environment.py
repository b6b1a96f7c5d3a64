"""Settings in the environment, for containers: PYMAIL_RELAYHOST is relayhost.

They count more than any file.  A value is written as after `pymail config set`; a list may have
commas.
"""

from collections.abc import Mapping

from pymail.configfile import Given
from pymail.errors import ConfigError, MailError
from pymail.settings import Setting, nearest

PREFIX = "PYMAIL_"
_OTHERS = frozenset(
    ("CONFIG", "CORPUS", "FAULTS", "FAULTS_PACKAGE", "HOST", "LOG", "SPOOL", "USER")
)
"""What is no setting: places, and what our own programs and tests tell one another."""


def given(environ: Mapping[str, str], settings: Mapping[str, Setting]) -> Given:
    """Return what the environment sets.  ConfigError names a variable that cannot be used."""
    found: Given = {}
    for variable, text in environ.items():
        name = variable.removeprefix(PREFIX)
        if name == variable or name in _OTHERS:
            continue
        setting = next((each for each in settings if each.upper() == name), "")
        if not setting:
            raise ConfigError(
                f"cannot use {variable} of the environment: unknown setting"
                f"{nearest(name.lower(), settings)}"
            )
        from pymail import overlay  # noqa: PLC0415 -- start-up

        try:
            found[setting] = overlay.value(setting, [text]), f"{variable} of the environment"
        except MailError as error:
            raise ConfigError(f"cannot use {variable} of the environment: {error}") from None
    return found
