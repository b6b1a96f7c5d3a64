"""The command line of mail.

Three programs are called mail (BSD's, Heirloom's and its heirs, GNU's), and their options differ;
where one letter means several things, the argument decides.  Options may stand behind the
recipients, as GNU getopt allows; "--" ends them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from pymail.errors import UsageError

USAGE = """\
usage: mail [-dEFIintv~] [-s subject] [-c list] [-b list] [-r sender]
            [-a header|file] [-A file] [-q file] [-M type] [-S variable[=value]]
            [--] recipient ...
       mail -t [option ...] [recipient ...]
       mail [-NRn] [-S variable[=value]] [-f [file] | -u user]
       mail -e | -H [-f [file] | -u user]
       mail --help | --version
"""

_FLAGS = {
    "d": "debug",
    "e": "exists",
    "F": "record",
    "f": "file",
    "H": "headers_only",
    "I": "interactive",
    "i": "ignore",
    "N": "no_listing",
    "n": "no_system",
    "R": "read_only",
    "t": "template",
    "V": "version",
    "v": "verbose",
    "~": "escapes",
}
_ONE = {"s": "subject", "r": "sender", "M": "content_type", "u": "user"}
_MANY = {
    "c": "cc",
    "b": "bcc",
    "A": "attachments",
    "q": "bodies",
    "E": "commands",
    "S": "settings",
}
_LONG = {
    "append": "a",
    "attach": "A",
    "content-type": "M",
    "debug": "d",
    "exec": "E",
    "exist": "e",
    "file": "f",
    "headers": "H",
    "help": "help",
    "ignore": "i",
    "norc": "n",
    "nosum": "N",
    "return-address": "r",
    "subject": "s",
    "to": "t",
    "user": "u",
    "version": "V",
}
_HEADER = re.compile(r"([!-9;-~]+):[ ](.*)", re.DOTALL)
_TIGHT_HEADER = re.compile(r"([!-9;-~]+):(.*)", re.DOTALL)


@dataclass(slots=True)
class Options:
    """What the command line asks for, as strings that are not yet interpreted.

    settings  arguments of `set`, from -S
    commands  lines for the interpreter of ~/.mailrc, from `-E 'set ...'`
    headers   (name, value) from -a
    """

    subject: str | None = None
    sender: str | None = None
    content_type: str = ""
    user: str = ""
    cc: list[str] = field(default_factory=list)
    bcc: list[str] = field(default_factory=list)
    headers: list[tuple[str, str]] = field(default_factory=list)
    attachments: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    operands: list[str] = field(default_factory=list)
    not_empty: bool = False
    help: bool = False
    debug: bool = False
    escapes: bool = False
    exists: bool = False
    file: bool = False
    headers_only: bool = False
    ignore: bool = False
    interactive: bool = False
    no_listing: bool = False
    no_system: bool = False
    read_only: bool = False
    record: bool = False
    template: bool = False
    verbose: bool = False
    version: bool = False

    @property
    def sends(self) -> bool:
        """Whether a message is to be sent; otherwise mail is read."""
        if self.file or self.user or self.exists or self.headers_only:
            return False
        return bool(self.operands or self.template or self._says())

    def _says(self) -> bool:
        """Say whether any option was given that only sending has."""
        lists = self.cc or self.bcc or self.headers or self.attachments or self.bodies
        return bool(
            lists
            or self.content_type
            or self.not_empty
            or self.escapes
            or self.record
            or self.subject is not None
            or self.sender is not None
        )


def parse(args: list[str], is_file: Callable[[str], bool]) -> Options:
    """Return what `args` ask for; `is_file` says whether a path can be read as a file.

    Raise UsageError for what is unknown, or makes no sense together.
    """
    options = Options()
    rest = args[::-1]
    while rest:
        word = rest.pop()
        if word == "--":
            options.operands += rest[::-1]
            break
        if word.startswith("--"):
            _long(options, word, rest, is_file)
        elif word == "-":
            raise UsageError("a lone - is no recipient")
        elif word.startswith("-"):
            _bundle(options, word[1:], rest, is_file)
        else:
            options.operands.append(word)
    _check(options)
    return options


def _long(options: Options, word: str, rest: list[str], is_file: Callable[[str], bool]) -> None:
    name, equals, value = word[2:].partition("=")
    letter = _LONG.get(name)
    if letter is None or (equals and letter in _FLAGS and letter != "f"):
        raise UsageError(f"option {word} not supported; see mail --help")
    if letter == "help":
        options.help = True
    elif letter in _FLAGS:
        _flag(options, letter)
        options.operands += [value] if equals else []
    elif equals:
        _argument(options, letter, value, is_file)
    elif rest:
        _argument(options, letter, rest.pop(), is_file)
    else:
        raise UsageError(f"option {word} needs an argument")


def _bundle(
    options: Options, letters: str, rest: list[str], is_file: Callable[[str], bool]
) -> None:
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter in _FLAGS:
            _flag(options, letter)
        elif letter not in {"a", *_ONE, *_MANY}:
            raise UsageError(f"option -{letter} not supported; see mail --help")
        elif letter in "EMq" and not _takes(letter, letters or (rest or [""])[-1], is_file):
            # Alone these are flags: of BSD's (-E), and of GNU's mail (-M and -q), without effect.
            options.not_empty = options.not_empty or letter == "E"
        else:
            if not letters and not rest:
                raise UsageError(f"option -{letter} needs an argument")
            _argument(options, letter, letters or rest.pop(), is_file)
            return


def _takes(letter: str, word: str, is_file: Callable[[str], bool]) -> bool:
    """Say whether `word` is the argument of an option that may be without one."""
    if letter == "E":
        # GNU's: a command for the interpreter.  fail2ban passes -E 'set escape'.
        return word.startswith(("set ", "unset "))
    if letter == "M":
        return "/" in word and not word.startswith(("-", "/", "."))
    return bool(word) and not word.startswith("-") and is_file(word)


def _flag(options: Options, letter: str) -> None:
    setattr(options, _FLAGS[letter], True)


def _argument(options: Options, letter: str, value: str, is_file: Callable[[str], bool]) -> None:
    if letter == "a":
        _header_or_file(options, value, is_file)
    elif letter in _ONE:
        setattr(options, _ONE[letter], value)
    else:
        getattr(options, _MANY[letter]).append(value)


def _header_or_file(options: Options, value: str, is_file: Callable[[str], bool]) -> None:
    found = _HEADER.fullmatch(value)
    if found is None and not is_file(value):
        found = _TIGHT_HEADER.fullmatch(value)
        if found is None:
            raise UsageError(f"cannot use -a {value}: neither a header (Name: value) nor a file")
    if found is None:
        options.attachments.append(value)
    else:
        options.headers.append((found[1], found[2]))


def _check(options: Options) -> None:
    """Refuse what makes no sense together."""
    if options.help or options.version:
        return
    if options.sends:
        if options.read_only:
            raise UsageError("option -R is for reading mail")
        named = [*options.operands, *options.cc, *options.bcc]
        named += [v for n, v in options.headers if n.lower() in {"to", "cc", "bcc"}]
        if not any(text.strip() for text in named) and not options.template:
            raise UsageError("no recipients: name them on the command line, or use -t")
    elif len(options.operands) > (1 if options.file else 0):
        raise UsageError("too many arguments: reading mail takes one file with -f")
    elif options.file and options.user:
        raise UsageError("options -f and -u do not go together")
