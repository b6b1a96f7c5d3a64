"""The documents say what the programs do: options, settings, exit statuses, commands."""

import ast
import functools
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import BIN, ROOT, Box, needs
from machine import Machine

from pymail import errors
from pymail.account import ROWS as ACCOUNT
from pymail.cli import sendmail
from pymail.config import SETTINGS

MAN = ROOT / "man"
COMPLETIONS = ROOT / "completions"
PAGES = sorted(MAN.iterdir())
README = (ROOT / "README.md").read_text()

# Programs without click, and the face each one is.
SIMPLE = ("mailq", "newaliases", "flush")


def manual(program: str) -> Path:
    """Return the manual page of a program."""
    return next(path for path in PAGES if path.stem == program and path.suffix in (".1", ".8"))


@functools.cache
def page(program: str) -> str:
    """Return the manual page of a program as plain text."""
    needs("mandoc")
    done = subprocess.run(["mandoc", "-Tascii", manual(program)], capture_output=True, check=True)
    return re.sub(".\b", "", done.stdout.decode())


def options(program: str) -> set[str]:
    """Return the options that the face of a program compares its arguments with."""
    tree = ast.parse((ROOT / "pymail" / "cli" / f"{program}.py").read_text())
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return {
        word for word in words if isinstance(word, str) and re.fullmatch("-[a-zA-Z]|--[a-z]+", word)
    }


def completed(program: str) -> dict[str, str]:
    """Return the completion of a program in each shell."""
    return {
        "bash": (COMPLETIONS / "bash" / program).read_text(),
        "zsh": (COMPLETIONS / "zsh" / f"_{program}").read_text(),
        "fish": (COMPLETIONS / "fish" / f"{program}.fish").read_text(),
    }


def knows(shell: str, text: str, option: str) -> bool:
    """Say whether a completion offers an option."""
    if shell == "fish":
        name = option.lstrip("-")
        way = "-l" if option.startswith("--") else "-s" if len(name) == 1 else "-o"
        loops = " ".join(re.findall(r"^for letter in (.*)$", text, re.MULTILINE)).split()
        found = re.search(rf"complete [^\n]*{way} {re.escape(name)}(\s|$)", text, re.MULTILINE)
        return found is not None or (way == "-s" and name in loops)
    return re.search(rf"(?<![\w-]){re.escape(option)}(?![\w])", text) is not None


# --- manual pages ---------------------------------------------------------------------------


@pytest.mark.parametrize("source", PAGES, ids=lambda path: path.name)
def test_a_manual_page_is_clean_mdoc(source: Path) -> None:
    needs("mandoc")
    done = subprocess.run(
        ["mandoc", "-Tlint", "-W", "warning,stop", source], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("source", PAGES, ids=lambda path: path.name)
def test_a_manual_page_fits_a_terminal_of_80_columns(source: Path) -> None:
    # A table that is too wide has one word a line, far to the right: "can't break line".
    needs("groff")
    done = subprocess.run(
        ["groff", "-Kutf8", "-mandoc", "-Tutf8", "-rLL=80n", "-wbreak", source],
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""


@pytest.mark.parametrize("source", PAGES, ids=lambda path: path.name)
def test_no_macro_eats_quotes_that_a_reader_wants(source: Path) -> None:
    # A quote around an argument is mdoc's own; \(dq is one for the reader.
    eaten = re.compile(r'\.(?!Bl )\w+ (?!"[^"]*"$).*"')
    assert [line for line in source.read_text().splitlines() if eaten.match(line)] == []


def test_every_program_and_file_has_its_page() -> None:
    wanted = {"sendmail.8", "mailq.1", "newaliases.1", "mail.1", "mailx.1", "flush.8", "pymail.1"}
    wanted |= {"pymail.7", "pymail.toml.5", "pymail-aliases.5"}
    assert {source.name for source in PAGES} == wanted


@pytest.mark.parametrize("source", PAGES, ids=lambda path: path.name)
def test_a_page_refers_to_pages_that_exist(source: Path) -> None:
    own = {path.name for path in PAGES}
    elsewhere = {
        "cron.8",
        "crontab.1",
        "crontab.5",
        "syslog.3",
        "jq.1",
        "procmail.1",
        "maildrop.1",
        "postmap.1",
        "dpkg-divert.1",
        "sudo.8",
    }
    elsewhere |= {"mutt.1", "aliases.5", "sh.1", "postconf.5", "editor.1", "less.1", "maildir.5"}
    elsewhere |= {"adduser.8", "hostname.1", "mailname.5", "passwd.5", "environ.7", "sysexits.3"}
    named = {
        f"{name}.{section}"
        for name, section in re.findall(r"^\.Xr (\S+) (\d)", source.read_text(), re.MULTILINE)
    }
    assert named - own - elsewhere == set()


# --- options ----------------------------------------------------------------------------------


def letters() -> str:
    return sendmail._NOTHING + sendmail._ARGUMENT + sendmail._ATTACHED + "b"


@pytest.mark.parametrize("letter", sorted(set(letters())))
def test_every_option_of_sendmail_stands_in_its_page_and_completions(letter: str) -> None:
    assert re.search(rf"(?<![\w-])-{letter}", page("sendmail"))
    for shell, text in completed("sendmail").items():
        joined = {"b": "-bm", "o": "-o" if shell == "zsh" else "-oi"}
        option = joined.get(letter, f"-{letter}")
        assert knows(shell, text, option), shell


@pytest.mark.parametrize("program", SIMPLE)
def test_every_option_of_a_program_stands_in_its_page_and_completions(program: str) -> None:
    text = page(program)
    for option in options(program):
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), f"{option} not in the manual"
        for shell, words in completed(program).items():
            assert knows(shell, words, option), f"{option} not in the completion for {shell}"


@pytest.mark.parametrize("program", SIMPLE)
def test_a_page_and_the_completions_speak_of_no_option_that_is_not_there(program: str) -> None:
    offered = options(program)
    for letter in re.findall(r"^\.It Fl (\S+)", manual(program).read_text(), re.MULTILINE):
        assert f"-{letter}" in offered, "the manual speaks of it"
    for word in re.findall(r"(?<![\w-])--?[a-zA-Z]+\b", completed(program)["zsh"]):
        assert word in offered | {"-s", "-S"}, "the completion for zsh speaks of it"


def test_every_option_of_mail_stands_in_its_page_and_completions() -> None:
    text = page("mail")
    for option in options("mail"):
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), f"{option} not in the manual"
        for shell, words in completed("mail").items():
            assert knows(shell, words, option), f"{option} not in the completion for {shell}"


def commands() -> Iterator[tuple[tuple[str, ...], set[str]]]:
    """Walk through pymail's commands: (path of the command, its options)."""
    import click

    from pymail.cli import admin

    def walk(
        path: tuple[str, ...], command: click.Command
    ) -> Iterator[tuple[tuple[str, ...], set[str]]]:
        found: set[str] = set()
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                found |= {*parameter.opts, *parameter.secondary_opts}
        yield path, found
        if isinstance(command, click.Group):
            for name, inner in command.commands.items():
                if not inner.hidden:
                    yield from walk((*path, name), inner)

    return walk((), admin.face)


def test_the_help_of_pymail_fits_a_screen() -> None:
    import click

    from pymail.cli import admin

    told = admin.face.get_help(click.Context(admin.face, info_name="pymail", terminal_width=80))
    assert "..." not in told.split("Commands:")[1]
    assert len(told.splitlines()) <= 24


def test_every_command_and_option_of_pymail_stands_in_its_page_and_completions() -> None:
    text = page("pymail")
    shells = completed("pymail")
    for path, offered in commands():
        for word in [*path, *offered]:
            place = " ".join(["pymail", *path])
            assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text), f"{place}: {word}"
            for shell, words in shells.items():
                name = word.lstrip("-") if shell == "fish" else word
                assert re.search(rf"(?<![\w]){re.escape(name)}(?![\w-])", words), (
                    shell,
                    place,
                    word,
                )


# --- exit statuses ------------------------------------------------------------------------------


def statuses(program: str) -> set[int]:
    """Return the statuses that a page promises."""
    part = page(program).partition("EXIT STATUS")[2]
    part = re.split(r"\n[A-Z]", part)[0]
    return {int(number) for number in re.findall(r"^ +(\d+)\b", part, re.MULTILINE)}


def raised(module: Path) -> set[int]:
    """Return the statuses of the errors that a module raises, and of those it returns."""
    kinds = {
        name: kind.status
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.MailError)
    }
    constants = {name: value for name, value in vars(errors).items() if name.startswith("EX_")}
    known = {**kinds, **constants}
    tree = ast.parse(module.read_text())
    raises = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc]
    names = {n.id for exc in raises for n in ast.walk(exc) if isinstance(n, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return {known[name] for name in names if name in known} - {errors.MailError.status}


@pytest.mark.parametrize("program", ["sendmail", "mailq", "newaliases", "flush", "mail", "pymail"])
def test_every_exit_status_of_a_program_stands_in_its_page(program: str) -> None:
    face = ROOT / "pymail" / "cli" / f"{'admin' if program == 'pymail' else program}.py"
    promised = statuses(program)
    assert 0 in promised
    assert raised(face) - promised == set()


# --- settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_every_setting_stands_in_the_manual_of_the_configuration(name: str) -> None:
    source = (MAN / "pymail.toml.5").read_text()
    assert re.search(rf"^\.It (?:Va|Ic|Sy|Cm|Li) {name}\b", source, re.MULTILINE)


def test_it_says_which_settings_keep_their_dollar_signs() -> None:
    source = (MAN / "pymail.toml.5").read_text()
    kept = source.partition("for a dollar sign.\n")[2].partition("must not be doubled.\n")[0]
    raw = {name for name, setting in SETTINGS.items() if setting.raw}
    assert set(re.findall(r"^\.Va (\w+)", kept, re.MULTILINE)) == raw


def test_everything_of_an_account_stands_there_too() -> None:
    source = (MAN / "pymail.toml.5").read_text().partition(".Sh ACCOUNTS")[2]
    assert re.findall(r"^\.It Ic ([a-z_]+) Pq", source, re.MULTILINE) == list(ACCOUNT)


def test_the_manual_of_the_configuration_speaks_of_no_setting_that_is_not_there() -> None:
    source = (MAN / "pymail.toml.5").read_text().partition(".Sh ACCOUNTS")[0]
    known = set(SETTINGS)
    for name in re.findall(r"^\.It (?:Va|Ic|Sy|Cm|Li) ([a-z_]+)\b", source, re.MULTILINE):
        assert name in known


# --- completions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completions_are_sound_in_their_shell(shell: str) -> None:
    needs(shell)
    check = {"bash": ["bash", "-n"], "zsh": ["zsh", "-n"], "fish": ["fish", "--no-execute"]}
    for script in sorted((COMPLETIONS / shell).iterdir()):
        done = subprocess.run([*check[shell], script], capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b""), script


def test_the_completions_of_bash_pass_shellcheck() -> None:
    needs("shellcheck")
    scripts = sorted((COMPLETIONS / "bash").iterdir())
    done = subprocess.run(["shellcheck", "-s", "bash", *scripts], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode()


BASH = """
source "$1/bash/$2"
read -ra COMP_WORDS <<<"$3"
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
found=$(complete -p "$2")
found=${found##*-F }
"${found%% *}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
FISH = "source $argv[1]/fish/$argv[2].fish; complete -C $argv[3]"


def offers(shell: str, line: str) -> list[str]:
    """Ask a real shell what it would offer at the end of a command line."""
    needs(shell)
    start = ["bash", "-c", BASH, "-"] if shell == "bash" else ["fish", "-N", "-c", FISH]
    program = line.split(" ", maxsplit=1)[0]
    done = subprocess.run([*start, COMPLETIONS, program, line], capture_output=True, check=False)
    assert done.stderr == b""
    return [row.split("\t")[0] for row in done.stdout.decode().splitlines()]


@pytest.mark.parametrize("shell", ["bash", "fish"])
@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("sendmail -N ne", "never"),
        ("sendmail -R f", "full"),
        ("sendmail roo", "root"),
        ("mailq -", "-j"),
        ("newaliases --h", "--help"),
        ("flush --s", "--site"),
        ("pymail shell-init z", "zsh"),
        ("pymail list --j", "--json"),
        ("pymail show --s", "--save"),
        ("mail -S html", "html_filter="),
    ],
)
def test_a_shell_offers_what_fits(shell: str, line: str, wanted: str) -> None:
    assert wanted in offers(shell, line)


def test_zsh_loads_the_completions() -> None:
    needs("zsh")
    names = " ".join(path.name for path in sorted((COMPLETIONS / "zsh").iterdir()))
    script = f"fpath=({COMPLETIONS}/zsh $fpath); autoload -Uz +X {names} && whence -w {names}"
    done = subprocess.run(["zsh", "-f", "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b": function") == len(names.split())


# --- README -----------------------------------------------------------------------------------


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_readme_names_programs_and_commands_that_exist() -> None:
    known = {" ".join(path) for path, _ in commands()}
    shown = re.findall(r"^pymail ([\w-]+)", "\n".join(blocks("sh")), re.MULTILINE)
    shown += re.findall(r"`pymail ([\w-]+)", README)
    assert len(shown) > 4
    for command in shown:
        assert command in known, command
    for option in re.findall(r"flush (--?\w+)", README):
        assert option in options("flush"), option
    for name, section in re.findall(r"`([a-z.-]+)\((\d)\)`", README):
        assert (MAN / f"{name}.{section}").exists(), name


def test_readme_shows_scripts_that_a_shell_can_read() -> None:
    needs("shellcheck")
    for script in blocks("sh"):
        assert subprocess.run(["bash", "-n"], input=script.encode(), check=False).returncode == 0


def test_readme_shows_a_configuration_that_holds(box: Box) -> None:
    for text in blocks("toml"):
        box.config(text)
        done = box.run("pymail", "config", "-n")
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("user", ["alice", "root"])
def test_the_first_command_of_readme_shows_a_letter(machine: Machine, user: str) -> None:
    """Run it with the installation replaced: that part is tried without a network elsewhere."""
    shutil.rmtree(machine.spool)  # a machine that has never seen pymail
    first = blocks("sh")[0]
    assert first.startswith("python3 -m venv .venv && .venv/bin/pip install . &&\n")
    for program in ("sendmail", "flush"):
        script = (BIN / program).read_text().replace("#!python", f"#!{sys.executable}", 1)
        machine.write(user, f".venv/bin/{program}", script, mode=0o755)
    done = machine.run(user, "sh", "-c", first.partition("&&\n")[2], cwd=machine.home(user))
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\nSubject: hello\n" in done.stdout
    assert done.stdout.endswith(b"\n\nIt works.\n")
    (letter,) = machine.mail(user)
    assert letter.path.parent.name == "new"
    assert (letter.uid, letter.mode) == (machine.home(user).stat().st_uid, 0o600)


def test_the_tests_that_readme_runs_are_those_of_ci() -> None:
    second = blocks("sh")[1]
    assert second == ".venv/bin/pip install -e '.[dev]' && .venv/bin/python -m pytest\n"
    script = (ROOT / ".ci" / "run").read_text()
    assert "pip install -q -e '.[dev]'" in script
    assert "coverage run -m pytest\n" in script


def test_the_changelog_speaks_of_this_version() -> None:
    import pymail

    assert pymail.__version__ in (ROOT / "CHANGELOG.md").read_text()


def test_no_document_has_a_dead_link() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_every_document_is_installed_with_the_package() -> None:
    source = (ROOT / "pyproject.toml").read_text()
    for path in PAGES:
        assert f'"man/{path.name}" = "share/man/man{path.suffix[1:]}/{path.name}"' in source
