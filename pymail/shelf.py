"""Where manual pages and completions are looked for: folders with links to ours.

An installation in a virtual environment has them in share/ there, where no man and no shell
looks.
"""

import os
import sys
from collections.abc import Iterator
from typing import NamedTuple

from pymail import peek
from pymail.launcher import PROGRAMS
from pymail.step import Undoing

_OURS = {*PROGRAMS, "pymail-aliases"}
_PLACES = {
    "the manual pages": "man",
    "the completions of bash": "bash-completion/completions",
    "the completions of zsh": "zsh/site-functions",
    "the completions of fish": "fish/vendor_completions.d",
}
_KEPT = ("/usr/local/share/man", "/usr/local/share/zsh/site-functions")
"""Folders that Debian has made, with nothing in them."""

_OF_USERS = frozenset(_PLACES) - {"the completions of zsh"}


class Shelf(NamedTuple):
    """Links in one folder to all that is ours in another, and in those below it."""

    name: str
    path: str
    source: str

    def todo(self) -> Iterator[str]:
        """Yield as Step."""
        if self._missing():
            yield f"link {self.name} into {self.path}"

    def do(self) -> None:
        """Do it."""
        for link, target in self._missing():
            os.makedirs(os.path.dirname(link), exist_ok=True)
            if os.path.islink(link):
                os.unlink(link)
            os.symlink(target, link)

    def undo(self) -> Iterator[Undoing]:
        """Remove the links, and the folders that are empty then."""
        if self._links():
            yield f"remove the links to {self.name} from {self.path}", self._remove

    def _remove(self) -> None:
        for link in self._links():
            os.unlink(link)
            _prune(os.path.dirname(link))

    def _missing(self) -> list[tuple[str, str]]:
        """Return link and target of what is not there; what others have there is theirs.

        A link that leads nowhere is that of an installation which has gone.
        """
        pairs = ((f"{self.path}/{name}", f"{self.source}/{name}") for name in _names(self.source))
        return [(link, target) for link, target in pairs if not os.path.exists(link)]

    def _links(self) -> list[str]:
        places = (f"{self.path}/{name}" for name in _names(self.path))
        start = f"{self.source}/"
        return [p for p in places if os.path.islink(p) and os.readlink(p).startswith(start)]


def shelves(share: str) -> list[Shelf]:
    """Return the steps that fill the machine's `share`, or with fewer kinds that of a user.

    There are none where Python is the machine's own, which has its files in place.
    """
    if sys.prefix == sys.base_prefix:
        return []
    wanted = _PLACES if os.getuid() == 0 else _OF_USERS
    return [
        Shelf(name, f"{share}/{place}", f"{sys.prefix}/share/{place}")
        for name, place in _PLACES.items()
        if name in wanted
    ]


def _prune(folder: str) -> None:
    """Remove a folder, and those above it, where nothing is in them."""
    while folder not in _KEPT:
        try:
            os.rmdir(folder)
        except OSError:
            return  # others are there
        folder = os.path.dirname(folder)


def _names(folder: str) -> Iterator[str]:
    """Yield the files of pymail in a folder and in the folders of a manual, by their names."""
    for name in peek.names(folder):
        if name.lstrip("_").partition(".")[0] in _OURS:
            yield name
        elif name.startswith("man"):
            yield from (f"{name}/{page}" for page in _names(f"{folder}/{name}"))
