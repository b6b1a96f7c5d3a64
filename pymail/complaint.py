"""What cron is told: a reason why no mail moves, once a day and not each time.

The file at `path` has the last complaint; its mtime is when that was said.
"""

import os
import time

HALTED = "cannot go on with the queue"
"""How flush complains of trouble in the midst of its work.

Anything else that it complains of it has read before its work, as `pymail check` does: the
configuration, tables and aliases.
"""

_DAY = 86400


def said_today(path: str, text: str) -> bool:
    """Say whether this was said in the last day; remember that it is said now."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            if file.read() == text and time.time() - os.fstat(file.fileno()).st_mtime < _DAY:
                return True
    except OSError:
        pass  # the first complaint, or none that can be read
    try:
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
    except OSError:
        return False
    return False


def forget(path: str) -> None:
    """Let the next complaint be heard, though it be the same again."""
    try:
        os.unlink(path)
    except OSError:
        return  # there was none
