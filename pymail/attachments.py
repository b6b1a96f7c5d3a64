"""Parts of a message saved as files, under names that are harmless whatever the sender wrote."""

import mimetypes
import os
import re
from collections.abc import Sequence

from pymail import legible
from pymail.mime import Part

_LONGEST = 200
"""Bytes of a name; a file system takes 255."""

_LONGEST_END = 20

_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\:*?\"<>|]")


def save(directory: str, parts: Sequence[Part]) -> list[str]:
    """Write each part to a new file in `directory`; return the paths.

    Nothing that exists is overwritten: a name that is taken gets a number.  Raise OSError; what
    is there then is whole.
    """
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return [os.path.join(directory, _write(place, part)) for part in parts]
    finally:
        os.close(place)


def name(part: Part) -> str:
    """Return the name under which a part is saved: no path, no hidden file, no option."""
    shown = legible.line(re.split(r"[/\\]", part.name)[-1])
    safe = _UNSAFE.sub("_", shown).strip(" ").lstrip(".-~ ")
    if not safe.strip("._ "):
        safe = f"part-{part.number}{mimetypes.guess_extension(part.kind) or '.bin'}"
    stem, ext = _split(safe)
    return _cut(stem, _LONGEST) + ext


def _split(name: str) -> tuple[str, str]:
    """Return a name without its extension, and the extension, if it is no longer than one is."""
    stem, ext = os.path.splitext(name)
    return (stem, ext) if len(ext.encode()) <= _LONGEST_END else (name, "")


def _write(place: int, part: Part) -> str:
    stem, ext = _split(name(part))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    number = 0
    while True:
        chosen = f"{stem}-{number}{ext}" if number else f"{stem}{ext}"
        try:
            fd = os.open(chosen, flags, 0o600, dir_fd=place)
        except FileExistsError:
            number += 1
            continue
        try:
            with open(fd, "wb") as file:
                file.write(part.content)
        except OSError:  # half of it would pass for the whole
            os.unlink(chosen, dir_fd=place)
            raise
        return chosen


def _cut(text: str, most: int) -> str:
    return text.encode()[:most].decode("utf-8", "ignore")
