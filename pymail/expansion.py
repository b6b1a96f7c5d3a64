"""`$name` in a setting stands for another setting.  Pure.

`$name`, `${name}` and `$(name)` are the same; `$$` is a dollar sign.
"""

import re
from collections.abc import Callable, Mapping

from pymail.configfile import Given
from pymail.errors import ConfigError
from pymail.settings import Setting, Value, checked, elements, nearest

_NAME = r"\$(?:\$|\{(?P<braces>[^}]*)\}|\((?P<parens>[^)]*)\)|(?P<plain>\w+)|)"
_reference = re.compile(_NAME)
_whole = re.compile(_NAME + r"\Z")


class Expansion:
    """The values of one configuration: what is given, the defaults, and `$name` in both.

    `machine` returns what a default of ours says for a name that is no setting ($hostname);
    `finish` gives a checked value its final form.
    """

    def __init__(
        self,
        settings: Mapping[str, Setting],
        given: Given,
        machine: "Callable[[str, Expansion], str]",
        finish: Callable[[str, Value], Value],
    ) -> None:
        self._settings = settings
        self._given = given
        self._machine = machine
        self._finish = finish
        self._done: dict[str, Value] = {}
        self._under_way: list[str] = []

    def value(self, name: str) -> Value:
        """Return a setting's final value.  ConfigError says where the mistake is."""
        if name in self._done:
            return self._done[name]
        if name in self._under_way:
            raise self._loop(name)
        self._under_way.append(name)
        setting = self._settings[name]
        raw, place = self._given.get(name, (setting.default, ""))
        try:
            value = checked(setting, self._expanded(setting, raw, own=not place))
            self._done[name] = self._finish(name, value)
        except ValueError as error:
            where = place or f"the default of {name}"
            raise ConfigError(f"cannot use {where}: {name} {error}") from None
        self._under_way.pop()
        return self._done[name]

    def text(self, name: str) -> str:
        """Return a setting as it stands where another names it.  ValueError for no setting."""
        if name not in self._settings:
            message = f"names an unknown setting: ${name}{nearest(name, self._settings)}"
            raise ValueError(message)
        return _flat(self.value(name))

    def _expanded(self, setting: Setting, raw: object, *, own: bool) -> object:
        """Replace every `$name`; only our own defaults may name what the machine says."""
        if setting.raw or setting.kind not in {"text", "list"}:
            return raw

        def resolve(name: str) -> str:
            return (
                self._machine(name, self) if own and name not in self._settings else self.text(name)
            )

        if isinstance(raw, str):
            text = _replaced(raw, resolve)
            return elements(text) if setting.kind == "list" else text
        if not isinstance(raw, list | tuple):
            return raw
        words: list[object] = []
        for word in raw:
            if not isinstance(word, str):
                words.append(word)
            elif isinstance(members := self._list_named(word), tuple):
                words.extend(members)
            else:
                words.append(_replaced(word, resolve))
        return words

    def _list_named(self, word: str) -> Value:
        """Return the members if a word is `$name` of a list and nothing else."""
        match = _whole.match(word)
        name = _name(match) if match else ""
        listed = name in self._settings and self._settings[name].kind == "list"
        return self.value(name) if listed else ""

    def _loop(self, name: str) -> ConfigError:
        loop = [*self._under_way[self._under_way.index(name) :], name]
        place = next(self._given[step][1] for step in loop if step in self._given)
        steps = " -> ".join(f"${step}" for step in loop)
        return ConfigError(f"cannot use {place}: {name} refers to itself: {steps}")


def _replaced(text: str, resolve: Callable[[str], str]) -> str:
    return _reference.sub(lambda m: "$" if m[0] == "$$" else resolve(_name(m)), text)


def _name(match: re.Match[str]) -> str:
    return match["braces"] or match["parens"] or match["plain"] or ""


def _flat(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, tuple) else str(value)
