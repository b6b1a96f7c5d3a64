"""The configuration: what is accepted, what is refused, and how the mistake is told."""

import os
import re
import stat
from pathlib import Path

import pytest
from harness import Box

from pymail import config, configfile, settings
from pymail.config import SETTINGS, Config
from pymail.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def load(file: Path, mailname: str = "example.net", hostname: str = "box.example.net") -> Config:
    return config.load(str(file), hostname=hostname, mailname=mailname, aliases="/etc/the-aliases")


def written(file: Path, text: str) -> Config:
    file.write_text(text, encoding="utf-8")
    return load(file)


def refusal(file: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        written(file, text)
    assert caught.value.status == 78
    return str(caught.value)


def test_without_a_file_every_setting_has_its_default(file: Path) -> None:
    loaded = load(file)
    assert loaded.myhostname == "box.example.net"
    assert loaded.mydomain == "example.net"
    assert loaded.myorigin == "example.net"
    assert loaded.mydestination == (
        "box.example.net",
        "example.net",
        "localhost.example.net",
        "localhost",
    )
    assert loaded.alias_maps == ("/etc/the-aliases",)
    assert loaded.home_mailbox == "Maildir/"
    assert loaded.maximal_queue_lifetime == 432000
    assert loaded.append_dot_mydomain is False
    assert loaded.default_transport.startswith("error:5.4.4 outside mail")
    assert loaded.default_transport.endswith(str(file))
    assert {loaded.source(name) for name in SETTINGS} == {"default"}


def test_a_host_without_a_domain_is_in_localdomain(file: Path) -> None:
    loaded = load(file, mailname="", hostname="box")
    assert (loaded.mydomain, loaded.myorigin) == ("localdomain", "box")
    assert loaded.mydestination == ("box", "localhost.localdomain", "localhost")


def test_the_domain_follows_the_host_name_that_is_set(file: Path) -> None:
    loaded = written(file, 'myhostname = "mx.example.org"\n')
    assert loaded.mydomain == "example.org"
    assert "localhost.example.org" in loaded.mydestination


def test_conf_d_lies_over_the_hand_written_file_in_the_order_of_names(
    file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "10-a.toml").write_text('root_user = "a"\nmail_owner = "a"\n')
    (folder / "20-b.toml").write_text('root_user = "b"\n')
    (folder / ".hidden.toml").write_text("nonsense")
    (folder / "30-c.toml~").write_text("nonsense")
    loaded = written(file, '\n# by hand\nroot_user = "hand"\ndefault_privs = "hand"\n')
    assert (loaded.root_user, loaded.mail_owner, loaded.default_privs) == ("b", "a", "hand")
    assert loaded.source("root_user") == f"{folder}/20-b.toml, line 1"
    assert loaded.source("mail_owner") == f"{folder}/10-a.toml, line 2"
    assert loaded.source("default_privs") == f"{file}, line 4"


def test_conf_d_alone_is_enough(file: Path, tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "90-pymail.toml").write_text("hopcount_limit = 7\n")
    assert load(file).hopcount_limit == 7


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n\nmydestinaton = []\n", "line 3: unknown setting mydestinaton (did you mean mydest"),
        ("zzz = 1\n", "line 1: unknown setting zzz"),
        ("[fetsch.home]\n", "line 1: unknown table fetsch"),
        ("MyHostName = 'a'\n", "did you mean myhostname?"),
        ("hopcount_limit = '50'\n", "line 1: hopcount_limit must be a number, without quotes"),
        ("hopcount_limit = true\n", "hopcount_limit must be a number"),
        ("hopcount_limit = 0\n", "hopcount_limit 0 is out of range: from 1 to 10000"),
        ("message_size_limit = -1\n", "message_size_limit -1 is out of range: at least 0"),
        ("append_dot_mydomain = 'no'\n", "append_dot_mydomain must be true or false"),
        ("append_dot_mydomain = 0\n", "append_dot_mydomain must be true or false"),
        ("home_mailbox = 5\n", "home_mailbox must be a text, in quotes"),
        ("home_mailbox = '/var/mail/x'\n", "is not a path inside the user's home"),
        ("home_mailbox = '~/Maildir/'\n", "is not a path inside the user's home"),
        ("home_mailbox = '../x'\n", "is not a path inside the user's home"),
        ("home_mailbox = 'a/../x'\n", "is not a path inside the user's home"),
        ("home_mailbox = ''\n", "is not a path inside the user's home"),
        ("mydestination = 5\n", "mydestination must be a list of texts"),
        ("mydestination = [5]\n", "mydestination must be a list of texts"),
        ("mydestination = ['a b']\n", 'mydestination "a b" is not the name of a host or a domain'),
        ("maximal_queue_lifetime = '5'\n", '"5" is no time: write a number of seconds, or "30m"'),
        ("maximal_queue_lifetime = '5 years'\n", "is no time"),
        ("maximal_queue_lifetime = 1.5\n", "maximal_queue_lifetime must be a time"),
        ("maximal_queue_lifetime = true\n", "maximal_queue_lifetime must be a time"),
        ("maximal_queue_lifetime = '999w'\n", "out of range: from 0 to 31536000"),
        ("root_user = 'root'\n", '"root" is not the name of a user other than root'),
        ("default_privs = ''\n", "is not the name of a user other than root"),
        ("default_transport = 'carrier-pigeon:'\n", "is not a transport: one of error:, retry:"),
        ("recipient_delimiter = 'a'\n", "is not one or more of the characters"),
        ("allow_mail_to_files = ['aliases']\n", '"aliases" is not one of alias, forward, include'),
        ("alias_maps = ['aliases']\n", "is not the path of an aliases file"),
        ("forward_path = ['.forward']\n", "is not a path that starts with / or $home/"),
        ('mailbox_command = "a\\u0007b"\n', "has a control character in it"),
        ("myhostname = '$mydomain'\n", "refers to itself: $myhostname -> $mydomain -> $myhostname"),
        ("mydomain = '${mydomain}'\n", "line 1: mydomain refers to itself: $mydomain -> $mydomain"),
        ("mydomain = '$hostname'\n", "names an unknown setting: $hostname (did you mean"),
        ("mydomain = 'a$'\n", "names an unknown setting: $"),
        ("mydestination = ['$mydestination']\n", "refers to itself"),
        ("minimal_backoff_time = 5000\n", "(5000) is more than maximal_backoff_time (4000)"),
        ("a = 1\na = 2\n", "line 2"),
        ("a = \n", "Invalid value, line 1, column 5"),
        ("\na = .maildir/ # b\n", 'line 2: a text stands in quotes: a = ".maildir/"'),
        ("a = [b.c]:587\n", 'line 1: a text stands in quotes: a = "[b.c]:587"'),
        ("a = $b, c\r\n", 'line 1: a text stands in quotes: a = "$b, c"'),
        ("a = 4h", 'line 1: a text stands in quotes: a = "4h"'),
        ("a = b\\c", 'line 1: a text stands in quotes: a = "b\\\\c"'),
        ("a = [b, c]\n", 'line 1: the texts of a list stand in quotes: a = ["b", "c"]'),
        ("a = yes\n", "line 1: a flag is true or false: a = true"),
        ("a = 'b' c\n", "after a statement, line 1, column 9"),
        ("a = [\n  b\n]\n", "Invalid value, line 2, column 3"),
    ],
)
def test_a_mistake_is_refused_with_its_place_and_a_hint(file: Path, text: str, words: str) -> None:
    told = refusal(file, text)
    assert told.startswith("cannot ")
    assert str(file) in told
    assert words in told


def test_the_side_of_an_impossible_pair_that_was_set_is_named(file: Path) -> None:
    assert "line 1" in refusal(file, "maximal_backoff_time = 10\n")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("300", 300), ("'300s'", 300), ("'30m'", 1800), ("'1h'", 3600), ("'5d'", 432000),
     ("'2w'", 1209600), ("' 5 d '", 432000)],
)  # fmt: skip
def test_a_time_is_seconds_or_has_a_unit(file: Path, text: str, seconds: int) -> None:
    assert written(file, f"maximal_queue_lifetime = {text}\n").maximal_queue_lifetime == seconds


@pytest.mark.parametrize("form", ["$mydomain", "${mydomain}", "$(mydomain)"])
def test_a_name_with_a_dollar_is_replaced(file: Path, form: str) -> None:
    assert written(file, f'myorigin = "mail.{form}"\n').myorigin == "mail.example.net"


def test_a_flag_or_a_number_may_be_named_in_a_text(file: Path) -> None:
    loaded = written(file, 'home_mailbox = "$append_dot_mydomain-$hopcount_limit/"\n')
    assert loaded.home_mailbox == "no-50/"


def test_two_dollars_are_one(file: Path) -> None:
    assert written(file, 'home_mailbox = "a$$b"\n').home_mailbox == "a$b"


def test_a_command_keeps_its_dollars_for_the_shell(file: Path) -> None:
    text = '/usr/bin/procmail -a "$EXTENSION" $HOME'
    assert written(file, f"mailbox_command = '''{text}'''\n").mailbox_command == text


def test_a_list_may_be_written_as_postfix_writes_it(file: Path) -> None:
    loaded = written(file, 'mydestination = "$myhostname, a.example  b.example,\\tlocalhost"\n')
    assert loaded.mydestination == ("box.example.net", "a.example", "b.example", "localhost")
    loaded = written(file, 'mydestination = ""\n')
    assert loaded.mydestination == ()


def test_a_list_named_in_a_list_is_spliced_and_nothing_is_twice(file: Path) -> None:
    loaded = written(
        file, 'allow_mail_to_commands = ["include", "$allow_mail_to_files", "alias"]\n'
    )
    assert loaded.allow_mail_to_commands == ("include", "alias", "forward")
    loaded = written(file, 'allow_mail_to_commands = "$allow_mail_to_files include"\n')
    assert loaded.allow_mail_to_commands == ("alias", "forward", "include")


def test_postfix_map_types_of_aliases_are_dropped(file: Path) -> None:
    loaded = written(file, 'alias_maps = ["hash:/etc/aliases", "/etc/a b", "lmdb:/x:y"]\n')
    assert loaded.alias_maps == ("/etc/aliases", "/etc/a b", "/x:y")


def test_the_origin_may_be_the_first_line_of_a_file(file: Path, tmp_path: Path) -> None:
    name = tmp_path / "mailname"
    name.write_text("\n mail.example.org \n")
    assert written(file, f'myorigin = "{name}"\n').myorigin == "mail.example.org"
    name.write_text("")
    assert "is not the name of a host" in refusal(file, f'myorigin = "{name}"\n')
    name.unlink()
    assert "cannot be read: No such file" in refusal(file, f'myorigin = "{name}"\n')


def test_a_byte_order_mark_is_no_mistake(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfhopcount_limit = 9\n")
    assert load(file).hopcount_limit == 9


def test_what_is_not_text_is_refused_with_its_line(file: Path) -> None:
    file.write_bytes(b"hopcount_limit = 9\n# caf\xe9\n")
    with pytest.raises(ConfigError, match="line 2: not UTF-8"):
        load(file)


def test_a_fifo_is_refused_and_not_waited_for(file: Path) -> None:
    os.mkfifo(file)
    with pytest.raises(ConfigError, match="not a file"):
        load(file)


def test_a_huge_file_is_refused(file: Path) -> None:
    file.write_bytes(b"#" * (configfile.LIMIT + 1))
    with pytest.raises(ConfigError, match="larger than"):
        load(file)


def test_a_dangling_link_is_a_mistake_and_not_the_defaults(file: Path) -> None:
    file.symlink_to("nowhere")
    with pytest.raises(ConfigError, match="No such file"):
        load(file)


def test_dev_null_is_an_empty_configuration() -> None:
    assert load(Path(os.devnull)).hopcount_limit == 50


def status(mode: int, uid: int, gid: int = 0) -> os.stat_result:
    return os.stat_result((mode, 1, 1, 1, uid, gid, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "why"),
    [
        (stat.S_IFREG | 0o644, 0, 0, ""),
        (stat.S_IFREG | 0o664, 0, 0, ""),
        (stat.S_IFREG | 0o664, 0, 8, "the group 8 can write to it"),
        (stat.S_IFREG | 0o646, 0, 0, "anybody can write to it"),
        (stat.S_IFREG | 0o600, 1000, 1000, "its owner is uid 1000"),
        (stat.S_IFDIR | 0o1777, 0, 0, ""),
    ],
)
def test_what_root_may_trust(mode: int, uid: int, gid: int, why: str) -> None:
    assert configfile.unsafe(status(mode, uid, gid), 0) == why


def test_a_user_may_trust_the_own_file() -> None:
    assert configfile.unsafe(status(stat.S_IFREG | 0o600, 1000), 1000) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_refuses_a_file_that_others_may_change(file: Path, tmp_path: Path) -> None:
    file.write_text("")
    file.chmod(0o666)
    with pytest.raises(ConfigError, match="anybody can write to it, and root would obey it"):
        load(file)
    file.chmod(0o644)
    os.chown(file, 1234, 0)
    with pytest.raises(ConfigError, match="its owner is uid 1234"):
        load(file)
    os.chown(file, 0, 0)
    folder = tmp_path / "conf.d"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match=r"conf\.d: anybody can write to it"):
        load(file)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_default_is_what_the_setting_may_hold(name):
    setting = SETTINGS[name]
    words = setting.default if isinstance(setting.default, tuple) else (setting.default,)
    for word in words:
        if isinstance(word, str) and setting.pattern and "$" not in word:
            assert re.fullmatch(setting.pattern, word), setting.wanted


@pytest.mark.parametrize("name", SETTINGS)
def test_every_default_can_be_written_back_as_it_is_shown(file: Path, name: str) -> None:
    loaded = load(file)
    value = getattr(loaded, name)
    text = settings.shown(value).replace("$", "$$" if not SETTINGS[name].raw else "$")
    assert getattr(written(file, f"{name} = {text}\n"), name) == value


def test_values_are_shown_as_toml() -> None:
    assert settings.shown('a "b" \\ \x07') == '"a \\"b\\" \\\\ \\u0007"'
    assert settings.shown(("a", "b")) == '["a", "b"]'
    assert settings.shown(value=True) == "true"
    assert settings.shown(5) == "5"


def test_a_lookup_table_is_a_table_or_files_of_postfix(file: Path) -> None:
    loaded = written(
        file,
        'transport_maps = "hash:/etc/postfix/transport, regexp:/etc/postfix/tr"\n'
        '[smtp_generic_maps]\n"root@box" = "me@isp.example"\n',
    )
    assert loaded.transport_maps.files == ("/etc/postfix/transport", "regexp:/etc/postfix/tr")
    assert loaded.smtp_generic_maps.rows == (("root@box", "me@isp.example"),)
    assert settings.shown(loaded.smtp_generic_maps) == '{ "root@box" = "me@isp.example" }'
    assert loaded.source("smtp_generic_maps") == f"{file}, line 2"
    assert not loaded.sender_canonical_maps


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("transport_maps = 'ldap:/etc/x'\n", '"ldap:/etc/x" is not the path of a file'),
        ("transport_maps = 5\n", "must be a table, or a list of files"),
        ("[transport_maps]\na = 1\n", "must have a text behind each key"),
        ("relayhost = '[a'\n", '"[a" is not a host: domain, [host]'),
        ("relayhost = ['b', '[a]:99999']\n", 'relayhost "[a]:99999" is no next hop: a port is 1'),
        ("smtp_fallback_relay = 'a:0'\n", 'smtp_fallback_relay "a:0" is no next hop'),
        ("default_transport = 'smtp:[a]:sbmt'\n", 'default_transport "[a]:sbmt" is no next hop'),
        ("mailbox_transport = 'relay:a:70000'\n", 'mailbox_transport "a:70000" is no next hop'),
    ],
)
def test_what_is_no_lookup_table_or_host_is_refused(file: Path, text: str, words: str) -> None:
    assert words in refusal(file, text)


def test_a_port_that_there_is_not_is_refused_wherever_it_is_set(box: Box) -> None:
    words = b'"[a]:99999" is no next hop: a port is 1 to 65535, smtp, submission'
    done = box.run("pymail", "config", "set", "relayhost", "[a]:99999")
    assert (done.returncode, b"cannot set relayhost: " + words in done.stderr) == (65, True)
    done = box.run("pymail", "config", env={"PYMAIL_RELAYHOST": "[a]:99999"})
    assert (done.returncode, words in done.stderr) == (78, True)


def test_with_a_relayhost_outside_mail_goes_by_smtp(file: Path) -> None:
    assert written(file, "relayhost = '[smtp.isp.example]:587'\n").default_transport == "smtp"
