"""What is remembered of the headers in a Maildir, so that a large one opens quickly.

One file a Maildir, named after its path, in ~/.cache/pymail:

    pymail summaries 1 CRC32
    {"UNIQUE": [inode, size, mtime_ns, field, ...], ...}

An entry counts only while the file has the same inode, size and time.  The file is replaced as a
whole; one that is damaged, or cannot be read or written, is as good as none.
"""

import hashlib
import json
import os
import zlib
from typing import NamedTuple

from pymail.summary import Summary

_WORTH = 200
"""A Maildir with fewer messages is read as fast without."""

_MAGIC = b"pymail summaries 1 "


class Known(NamedTuple):
    """A summary, and the inode, size and time (ns) of the file that it is of."""

    mark: tuple[int, int, int]
    about: Summary


Cache = dict[str, Known]


def load(directory: str, maildir: str) -> Cache:
    """Return what is remembered of a Maildir; nothing where `directory` is ""."""
    if not directory:
        return {}
    try:
        with open(_file(directory, maildir), "rb") as file:
            first, _, data = file.read().partition(b"\n")
    except OSError:
        return {}
    if first != _head(data):
        return {}
    entries = json.loads(data)
    return {name: Known(tuple(e[:3]), Summary(*e[3:])) for name, e in entries.items()}


def store(directory: str, maildir: str, cache: Cache) -> None:
    """Remember the summaries of a Maildir, where that is worth it and possible."""
    if not directory or len(cache) < _WORTH:
        return
    data = json.dumps({name: [*k.mark, *k.about] for name, k in cache.items()}).encode()
    path = _file(directory, maildir)
    draft = f"{path}.{os.getpid()}"
    try:
        os.makedirs(directory, 0o700, exist_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(fd, "wb") as file:
            file.write(_head(data) + b"\n" + data)
        os.rename(draft, path)
    except OSError:
        return  # the next time it is read from the messages again


def _head(data: bytes) -> bytes:
    return _MAGIC + b"%08x" % zlib.crc32(data)


def _file(directory: str, maildir: str) -> str:
    name = os.fsencode(os.path.realpath(maildir))
    return f"{directory}/{hashlib.sha256(name).hexdigest()[:32]}"
