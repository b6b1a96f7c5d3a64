"""pymail with one line broken.  The suite has to notice each of them.

A mutant replaces text in one file; where that text is no longer there, making it fails, so
that nobody believes in a mutant that is none.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change of the source, and the cases of which one has to notice it."""

    title: str
    file: str
    old: str
    new: str
    noticed_by: tuple[str, ...] = ()


MUTANTS: dict[str, Mutant] = {}


def patch(name: str, package: str) -> None:
    """Break a copy of the package."""
    mutant = MUTANTS[name]
    path = f"{package}/{mutant.file}"
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if text.count(mutant.old) != 1:
        raise AssertionError(f"mutant {name}: {mutant.file} has {mutant.old!r} {text.count(mutant.old)} times, not once")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace(mutant.old, mutant.new))
