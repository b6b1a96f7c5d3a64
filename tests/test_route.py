"""The router: aliases, .forward, mailbox, elsewhere; it always ends."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymail import config as configuration
from pymail.aliases import Entry
from pymail.config import Config
from pymail.errors import ConfigError
from pymail.identity import Identity
from pymail.keys import Found, Key
from pymail.maps import Map
from pymail.members import Item, parse_rhs
from pymail.route import DEPTH, MOST_TARGETS, Lines, Router, Target

BASE = """
myhostname = "box.example.net"
myorigin = "example.net"
recipient_delimiter = "+"
"""
USERS = {name: 1001 + n for n, name in enumerate(("alice", "bob", "carol", "erin"))}


def person(name: str, uid: int) -> Identity:
    return Identity(name, uid, uid, f"/home/{name}", "/bin/sh")


@pytest.fixture(scope="module")
def configured(tmp_path_factory):
    """Make configurations of what a test writes."""

    def make(text: str = "") -> Config:
        path = tmp_path_factory.mktemp("etc") / "config.toml"
        path.write_text(BASE + text)
        return configuration.load(
            str(path), hostname="box.example.net", mailname="", aliases="/etc/aliases"
        )

    return make


@dataclass
class World:
    """A machine that exists in the test only."""

    config: Config
    aliases: dict[str, tuple[Item, ...]] = field(default_factory=dict)
    forwards: dict[str, Lines] = field(default_factory=dict)
    includes: dict[str, Lines] = field(default_factory=dict)
    one: Identity | None = None

    def alias(self, key: str) -> Entry | None:
        items = self.aliases.get(key.lower())
        return None if items is None else Entry(items, "/etc/aliases", 1)

    def user(self, name: str) -> Identity | None:
        known = {**USERS, "root": 0, "nobody": 65534, "pymail": 999}
        return person(name, known[name]) if name in known else None

    def single(self) -> Identity | None:
        return self.one

    def forward(self, user: Identity, extension: str) -> Lines:
        named = self.forwards.get(f"{user.name}+{extension}")
        return named or self.forwards.get(user.name, Lines(""))

    def include(self, path: str, reader: Identity | None) -> Lines:
        return self.includes.get(path, Lines(path))

    def lookup(self, setting: str, keys: Iterator[Key]) -> Found | None:
        table = getattr(self.config, setting)
        return Map(table, self.config.source(setting)).first(keys)


@pytest.fixture
def plan(configured):
    """Plan one recipient in a world of aliases and forwards written as text."""

    def route(
        recipient: str,
        text: str = "",
        *,
        config: str = "",
        one: Identity | None = None,
        sender: str = "",
        **files: str,
    ) -> list[Target]:
        world = World(configured(config), one=one)
        for line in text.splitlines():
            key, _, value = line.partition(":")
            world.aliases[key.strip()] = tuple(parse_rhs(value))
        for file, value in files.items():
            name, _, extension = file.partition("_")
            path = f"/home/{name}/.forward" + (f"+{extension}" if extension else "")
            key = file.replace("_", "+")
            world.forwards[key] = Lines(path, tuple(parse_rhs(value)), person(name, USERS[name]))
        return Router(world).plan(recipient, sender)

    return route


def ends(targets: list[Target]) -> list[str]:
    """Write targets so that a person can compare them."""
    found = []
    for t in targets:
        if t.outcome is not None:
            found.append(f"{t.outcome.status} {t.outcome.dsn} {t.recipient}")
        else:
            assert t.user is not None
            found.append(f"{t.kind} {t.user.name} {t.argument}".replace("/home/", "~"))
    return found


def words(targets: list[Target]) -> str:
    (target,) = targets
    assert target.outcome is not None
    return target.outcome.words


# Users


def test_a_user_gets_mail_into_the_maildir_at_home(plan):
    assert ends(plan("alice@example.net")) == ["maildir alice ~alice/Maildir/"]


@pytest.mark.parametrize("name", ["ALICE", "Alice", "alice"])
@pytest.mark.parametrize("domain", ["example.net", "BOX.example.net", "localhost"])
def test_case_matters_in_no_part_of_a_local_address(plan, name, domain):
    assert ends(plan(f"{name}@{domain}")) == ["maildir alice ~alice/Maildir/"]


@pytest.mark.parametrize(
    ("setting", "end"),
    [
        ('home_mailbox = ".maildir/"', "maildir alice ~alice/.maildir/"),
        ('home_mailbox = "Mailbox"', "mbox alice ~alice/Mailbox"),
        ('mailbox_command = "/usr/bin/procmail -t"', "command alice /usr/bin/procmail -t"),
        ('mailbox_transport = "lmtp:unix:/run/lmtp"', "lmtp pymail unix:/run/lmtp"),
        (
            'mailbox_command = "x"\nmailbox_transport = "lmtp:unix:/run/lmtp"',
            "lmtp pymail unix:/run/lmtp",
        ),
    ],
)
def test_the_mailbox_is_what_is_configured(plan, setting, end):
    assert ends(plan("alice@example.net", config=setting)) == [end]


@pytest.mark.parametrize(("code", "end"), [(550, "bounced 5.1.1"), (450, "deferred 4.1.1")])
def test_an_unknown_user_is_refused_or_waited_for(plan, code, end):
    setting = f"unknown_local_recipient_reject_code = {code}"
    found = plan("Nosuch@example.net", config=setting)
    assert ends(found) == [f"{end} Nosuch@example.net"]
    assert words(found) == 'unknown user: "nosuch"'


@pytest.mark.parametrize("local", ["alice+list", "alice+", "alice+a+b"])
def test_an_extension_is_dropped_to_find_the_user(plan, local):
    (target,) = plan(f"{local}@example.net")
    assert (target.user and target.user.name, target.extension) == ("alice", local[6:])
    assert target.recipient == f"{local}@example.net"


def test_without_a_delimiter_there_are_no_extensions(configured):
    config = configured()
    config.recipient_delimiter = ""
    world = World(config)
    assert ends(Router(world).plan("alice+x@example.net")) == ["bounced 5.1.1 alice+x@example.net"]


@pytest.mark.parametrize("local", ["+alice", "+"])
def test_a_delimiter_at_the_start_begins_no_extension(plan, local):
    assert ends(plan(f"{local}@example.net")) == [f"bounced 5.1.1 {local}@example.net"]


# Elsewhere


def test_without_configuration_mail_for_elsewhere_says_what_to_set(plan):
    found = plan("joe@example.org")
    assert ends(found) == ["bounced 5.4.4 joe@example.org"]
    assert "default_transport" in words(found)


@pytest.mark.parametrize(
    ("setting", "end", "why"),
    [
        ("error:5.7.1 not here", "bounced 5.7.1 joe@example.org", "not here"),
        ("error:no", "bounced 5.0.0 joe@example.org", "no"),
        ("error:", "bounced 5.0.0 joe@example.org", "no reason given"),
        ("error:4.2.1 tempted", "bounced 5.2.1 joe@example.org", "tempted"),
        ("error:5.2", "bounced 5.0.0 joe@example.org", "5.2"),
        ("error:5.7.1", "bounced 5.7.1 joe@example.org", "no reason given"),
        ("retry:4.4.1 later", "deferred 4.4.1 joe@example.org", "later"),
        ("retry:5.4.1 later", "deferred 4.4.1 joe@example.org", "later"),
        ("discard:", "sent 2.0.0 joe@example.org", "discarded"),
        ("discard:gone", "sent 2.0.0 joe@example.org", "gone"),
    ],
)
def test_elsewhere_goes_where_default_transport_says(plan, setting, end, why):
    found = plan("joe@example.org", config=f'default_transport = "{setting}"')
    assert (ends(found), words(found)) == ([end], why)


def test_an_lmtp_transport_runs_as_the_mail_owner(plan):
    setting = 'default_transport = "lmtp:unix:/run/lmtp"\n'
    assert ends(plan("joe@example.org", config=setting)) == ["lmtp pymail unix:/run/lmtp"]
    other = setting + 'mail_owner = "nosuch"'
    assert ends(plan("joe@example.org", config=other)) == ["lmtp nobody unix:/run/lmtp"]


@pytest.mark.parametrize("bad", ["a\x1bb@example.net", "@example.net", "a\ufffdb@x", "alice\n@x"])
def test_what_is_no_address_goes_nowhere(plan, bad):
    assert [end.split()[:2] for end in ends(plan(bad))] == [["bounced", "5.1.3"]]


def test_a_domain_of_one_label_gets_a_dot_where_that_is_wished(plan):
    dotted = "append_dot_mydomain = true"
    assert ends(plan("joe@other", config=dotted)) == ["bounced 5.4.4 joe@other.example.net"]
    assert ends(plan("alice@box", config=dotted)) == ["maildir alice ~alice/Maildir/"]
    assert ends(plan("alice@localhost", config=dotted)) == ["maildir alice ~alice/Maildir/"]
    assert ends(plan("joe@[192.0.2.1]", config=dotted)) == ["bounced 5.4.4 joe@[192.0.2.1]"]
    assert ends(plan("joe@other")) == ["bounced 5.4.4 joe@other"]


# Aliases


def test_an_alias_leads_to_its_members_each_once(plan):
    found = plan("list@example.net", "list: alice, bob, ALICE, joe@example.org, alice@localhost")
    # alice@localhost is another address for the same place; Delivered-To tells them apart
    assert sorted(set(ends(found))) == [
        "bounced 5.4.4 joe@example.org",
        "maildir alice ~alice/Maildir/",
        "maildir bob ~bob/Maildir/",
    ]


def test_an_alias_for_itself_and_others_reaches_the_user(plan):
    found = plan("alice@example.net", "alice: alice, bob")
    assert ends(found) == ["maildir alice ~alice/Maildir/", "maildir bob ~bob/Maildir/"]


def test_an_alias_that_leads_only_to_itself_is_no_user(plan):
    assert ends(plan("self@example.net", "self: self")) == ["bounced 5.1.1 self@example.net"]


def test_a_loop_of_aliases_bounces_and_the_other_members_get_the_mail(plan):
    found = plan("one@example.net", "one: two, alice\ntwo: three\nthree: one, bob")
    assert ends(found) == [
        "bounced 5.4.6 three@example.net",
        "maildir bob ~bob/Maildir/",
        "maildir alice ~alice/Maildir/",
    ]


def test_a_backslash_goes_past_aliases_and_forward(plan):
    found = plan("alice@example.net", "alice: bob\nlist: \\alice", alice="carol")
    assert ends(found) == ["maildir bob ~bob/Maildir/"]
    found = plan("list@example.net", "alice: bob\nlist: \\alice", alice="carol")
    assert ends(found) == ["maildir alice ~alice/Maildir/"]


def test_a_backslash_before_an_address_elsewhere_changes_nothing(plan):
    found = plan("list@example.net", "list: \\joe@example.org")
    assert ends(found) == ["bounced 5.4.4 joe@example.org"]


def test_the_whole_name_is_looked_up_before_the_one_without_extension(plan):
    text = "alice+x: bob\nalice: carol"
    assert ends(plan("alice+x@example.net", text)) == ["maildir bob ~bob/Maildir/"]
    assert ends(plan("alice+y@example.net", text)) == ["maildir carol ~carol/Maildir/"]


def test_commands_and_files_of_aliases_run_as_nobody(plan):
    found = plan("x@example.net", 'x: "|cat", /var/log/x, /var/spool/x/')
    assert ends(found) == [
        "command nobody cat",
        "mbox nobody /var/log/x",
        "maildir nobody /var/spool/x/",
    ]


@pytest.mark.parametrize("privs", ["root", "nosuch"])
def test_commands_never_run_as_root(configured, privs):
    config = configured()
    config.default_privs = privs
    world = World(config, {"x": (Item("command", "cat"), Item("file", "/f"))})
    assert {end.split()[0] for end in ends(Router(world).plan("x@example.net"))} == {"kept"}


@pytest.mark.parametrize("setting", ["root_user", "default_privs"])
def test_no_setting_can_name_root(configured, setting):
    with pytest.raises(ConfigError, match="root"):
        configured(f'{setting} = "root"')


def test_commands_and_files_can_be_forbidden(plan):
    setting = 'allow_mail_to_commands = ["forward"]\nallow_mail_to_files = []'
    found = plan("x@example.net", 'x: "|cat", /f, alice', config=setting)
    assert [end.split()[:2] for end in ends(found)][:2] == [["bounced", "5.7.1"]] * 2
    assert ends(found)[2] == "maildir alice ~alice/Maildir/"


def test_recipients_that_look_like_commands_are_names(plan):
    for recipient in ("|id", "/etc/passwd", ":include:/etc/passwd", "~/x"):
        found = plan(f"{recipient}@example.net")
        assert ends(found) == [f"bounced 5.1.1 {recipient}@example.net"]


def test_the_words_of_exim_work(plan):
    found = plan("x@example.net", "x: :fail: 5.2.2 go away")
    assert (ends(found), words(found)) == (["bounced 5.2.2 x@example.net"], "go away")
    assert ends(plan("x@example.net", "x: :defer: later")) == ["deferred 4.7.1 x@example.net"]
    assert ends(plan("x@example.net", "x: :blackhole:")) == ["sent 2.0.0 x@example.net"]


def test_a_list_with_an_owner_has_its_sender(plan):
    text = "list: alice, bob\nowner-list: carol"
    assert {t.sender for t in plan("list@example.net", text)} == {"owner-list@example.net"}
    assert {t.sender for t in plan("owner-list@example.net", text)} == {None}
    assert {t.sender for t in plan("bob@example.net", text)} == {None}
    text = "list-request: alice\nowner-list-request: bob"
    assert {t.sender for t in plan("list-request@example.net", text)} == {None}


def test_the_owner_can_be_expanded_or_left_out(plan):
    text = "list: alice\nowner-list: carol, bob"
    own = plan("list@example.net", text, config="expand_owner_alias = true")
    assert [t.sender for t in own] == ["carol@example.net"]
    none = plan("list@example.net", text, config="owner_request_special = false")
    assert [t.sender for t in none] == [None]


# Roles and root


def test_mail_for_root_needs_an_alias_or_root_user(plan):
    assert ends(plan("root@example.net")) == ["kept 4.3.5 root@example.net"]
    assert ends(plan("root@example.net", "root: alice")) == ["maildir alice ~alice/Maildir/"]
    own = 'root_user = "alice"'
    assert ends(plan("root@example.net", config=own)) == ["maildir alice ~alice/Maildir/"]
    own = 'root_user = "nosuch"'
    assert ends(plan("root@example.net", config=own)) == ["kept 4.3.5 root@example.net"]


@pytest.mark.parametrize("role", ["postmaster", "MAILER-DAEMON", "abuse", "double-bounce"])
def test_roles_that_must_exist_end_at_root(plan, role):
    assert ends(plan(f"{role}@example.net", "root: alice")) == ["maildir alice ~alice/Maildir/"]


def test_roles_that_lead_to_each_other_are_kept(plan):
    found = plan("root@example.net", "root: postmaster")
    assert ends(found) == ["kept 4.3.5 postmaster@example.net"]


# .forward


def test_a_forward_file_replaces_the_mailbox(plan):
    assert ends(plan("alice@example.net", alice="bob")) == ["maildir bob ~bob/Maildir/"]


@pytest.mark.parametrize("own", ["alice", "\\alice", "alice@example.net", "ALICE@localhost"])
def test_ones_own_name_in_it_keeps_a_copy(plan, own):
    found = plan("alice@example.net", alice=f"{own}, bob")
    assert ends(found) == ["maildir alice ~alice/Maildir/", "maildir bob ~bob/Maildir/"]


def test_two_forwards_to_each_other_end_in_both_mailboxes_at_most(plan):
    found = plan("alice@example.net", alice="bob", bob="alice")
    assert ends(found) == ["maildir alice ~alice/Maildir/"]


@pytest.mark.parametrize(
    ("recipient", "files", "users"),
    [
        ("alice+x", {"alice_x": "alice, carol", "alice": "bob"}, "bob carol"),
        ("alice", {"alice_x": "bob", "alice": "alice+x"}, "bob"),
        ("alice+x", {"alice_x": "alice+y", "alice_y": "bob"}, "bob"),
        ("alice+x", {"alice_x": "alice", "alice": "alice+x"}, "alice"),
        ("alice+x", {"alice_x": "alice+x, bob"}, "alice bob"),
    ],
)
def test_each_forward_file_of_a_user_is_followed_once(plan, recipient, files, users):
    """What Postfix 3.7 does: a file counts as seen, not its user."""
    found = plan(f"{recipient}@example.net", **files)
    assert ends(found) == [f"maildir {user} ~{user}/Maildir/" for user in users.split()]


@pytest.mark.parametrize(
    ("recipient", "own", "users"),
    [
        ("lst", "lst", "alice bob"),
        ("lst", "lst, \\alice", "alice bob"),
        ("root", "root", "alice"),
        ("root", "root, bob", "alice bob"),
        ("root", "postmaster", "alice"),
        ("postmaster", "root", "alice"),
        ("abuse", "abuse", "alice"),
        ("alice", "lst", "alice bob"),
    ],
)
def test_a_forward_that_leads_back_to_its_alias_keeps_a_copy(plan, recipient, own, users):
    """What Postfix 3.7 does: nobody hears of an unknown user, or of a loop."""
    text = "postmaster: root\nroot: alice\nlst: alice, bob"
    found = plan(f"{recipient}@example.net", text, alice=own)
    assert ends(found) == [f"maildir {user} ~{user}/Maildir/" for user in users.split()]


def test_a_loop_of_aliases_behind_a_forward_bounces(plan):
    found = plan("alice@example.net", "x: y\ny: x", alice="x")
    assert ends(found) == ["bounced 5.4.6 y@example.net"]
    assert words(found) == "alias database loop for y"


def test_everybody_on_a_list_may_forward_to_it(plan):
    found = plan("x@example.net", "x: alice, bob, carol", alice="x", bob="x", carol="x")
    assert ends(found) == [f"maildir {user} ~{user}/Maildir/" for user in ("alice", "bob", "carol")]


def test_commands_and_files_of_a_forward_run_as_its_user(plan):
    found = plan("alice@example.net", alice='"|cat", ~/box, /var/x/')
    assert ends(found) == [
        "command alice cat",
        "mbox alice ~alice/box",
        "maildir alice /var/x/",
    ]


def test_a_command_is_told_the_extension_of_the_address_that_led_to_it(plan):
    """What Postfix 3.7 shows in $EXTENSION."""
    mine, text = {"alice": "|cat"}, "x: |cat\ny+z: |cat\nlist: alice+q"
    expected = {"alice+xy": "xy", "alice+x+y": "x+y", "alice": "", "alice+": ""}
    expected |= {"x+ext": "ext", "y+z": "z", "list": "q", "list+e": "q"}
    found = {name: plan(f"{name}@example.net", text, **mine)[0].extension for name in expected}
    assert found == expected


def test_an_extension_is_in_lower_case_for_files_and_commands(configured):
    world = World(configured(), {"x": (Item("command", "cat"),)})
    world.forwards["alice+xy"] = Lines("/home/alice/.forward+xy", (Item("command", "cat"),))
    for written in ("alice+XY@example.net", "Alice+xY@Box.Example.NET", "X+Xy@example.net"):
        (target,) = Router(world).plan(written)
        assert (target.kind, target.extension, target.recipient) == ("command", "xy", written)


def test_trouble_with_a_forward_defers_the_mail(configured):
    world = World(configured())
    world.forwards["alice"] = Lines("/home/alice/.forward", trouble="home is missing")
    (target,) = Router(world).plan("alice@example.net")
    assert ends([target]) == ["deferred 4.3.0 alice@example.net"]


def test_the_place_where_a_loop_would_show_is_the_forwarding_address(plan):
    assert [t.loop_key for t in plan("alice@example.net", alice="bob")] == ["bob@example.net"]
    assert [t.loop_key for t in plan("alice@example.net", alice="|cat")] == ["alice@example.net"]
    assert [t.loop_key for t in plan("x@example.net", "x: |cat")] == ["x@example.net"]


# Include files


def test_an_include_file_has_members_with_the_rights_of_its_owner(configured):
    setting = 'allow_mail_to_commands = ["alias", "include"]'
    world = World(configured(setting), {"x": (Item("include", "/list"),)})
    items = (Item("address", "bob"), Item("command", "cat"))
    world.includes["/list"] = Lines("/list", items, person("carol", 1003))
    found = Router(world).plan("x@example.net")
    assert ends(found) == ["maildir bob ~bob/Maildir/", "command carol cat"]
    world.config = configured()
    assert ends(Router(world).plan("x@example.net"))[1] == "bounced 5.7.1 x@example.net"


def test_an_include_file_that_cannot_be_read_keeps_the_mail(configured):
    world = World(configured(), {"x": (Item("include", "/list"),)})
    found = Router(world).plan("x@example.net")
    assert (ends(found), words(found)) == (
        ["kept 4.2.4 x@example.net"],
        "cannot read /list: no such file",
    )
    world.includes["/list"] = Lines("/list", trouble="Permission denied")
    assert words(Router(world).plan("x@example.net")) == "cannot read /list: Permission denied"


def test_an_include_file_that_includes_itself_ends(configured):
    world = World(configured(), {"x": (Item("include", "/list"),)})
    world.includes["/list"] = Lines("/list", (Item("include", "/list"), Item("address", "bob")))
    found = ends(Router(world).plan("x@example.net"))
    assert "bounced 5.4.6 x@example.net" in found
    assert "maildir bob ~bob/Maildir/" in found


def test_an_empty_include_file_does_not_pass_for_success(configured):
    world = World(configured(), {"x": (Item("include", "/list"),)})
    world.includes["/list"] = Lines("/list", ())
    assert ends(Router(world).plan("x@example.net")) == ["bounced 5.1.1 x@example.net"]


# User mode


ME = person("alice", 1001)


def test_in_user_mode_everything_is_done_as_the_one_user(plan):
    found = plan("x@example.net", 'x: "|cat", /f, alice', one=ME)
    assert ends(found) == ["command alice cat", "mbox alice /f", "maildir alice ~alice/Maildir/"]


def test_in_user_mode_another_user_has_no_mailbox(plan):
    found = plan("bob@example.net", one=ME)
    assert ends(found) == ["bounced 5.1.1 bob@example.net"]
    assert "user mode" in words(found)


@pytest.mark.parametrize("role", ["root", "postmaster", "mailer-daemon"])
def test_in_user_mode_the_user_is_root_and_postmaster(plan, role):
    assert ends(plan(f"{role}@example.net", one=ME)) == ["maildir alice ~alice/Maildir/"]


def test_root_in_user_mode_is_a_user_like_others(plan):
    root = Identity("root", 0, 0, "/root", "/bin/sh")
    assert ends(plan("root@example.net", one=root)) == ["maildir root /root/Maildir/"]
    assert ends(plan("x@example.net", "x: |cat", one=root)) == ["command root cat"]


# It always ends

NAMES = [f"n{i}" for i in range(6)]
MEMBER = st.one_of(
    st.sampled_from(
        [
            Item("address", name)
            for name in [*NAMES, *USERS, "alice+x", "bob+x", "root", "joe@example.org"]
        ]
    ),
    st.sampled_from([Item("final", name) for name in [*NAMES, *USERS]]),
    st.sampled_from([Item("include", f"/{name}") for name in NAMES]),
    st.sampled_from([Item("command", "cat"), Item("file", "/f"), Item("file", "~/f/")]),
    st.sampled_from([Item("fail", "x"), Item("defer", "x"), Item("blackhole", "")]),
)
MEMBERS = st.lists(MEMBER, max_size=5).map(tuple)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from([*NAMES, "alice", "bob", "root"]), MEMBERS),
    st.dictionaries(st.sampled_from([*USERS, "alice+x", "bob+x"]), MEMBERS),
    st.dictionaries(st.sampled_from([f"/{name}" for name in NAMES]), MEMBERS),
    st.sampled_from([*NAMES, *USERS, "root", "postmaster", "alice+x"]),
)
def test_any_graph_of_aliases_ends_in_targets_each_once(
    configured, aliases, forwards, includes, name
):
    world = World(configured(), aliases)
    world.forwards = {name: Lines(f"/home/{name}", items) for name, items in forwards.items()}
    world.includes = {path: Lines(path, items) for path, items in includes.items()}
    found = Router(world).plan(f"{name}@example.net")
    assert 1 <= len(found) <= MOST_TARGETS
    assert len({target.name for target in found}) == len(found)
    for target in found:
        assert (target.outcome is None) == (target.user is not None)
        assert target.user is None or target.user.uid != 0


def test_a_bomb_of_forwards_is_bounced_in_a_moment(configured):
    world = World(configured())
    members = tuple(Item("address", f"alice+{n}") for n in range(30))
    for n in range(30):
        world.forwards[f"alice+{n}"] = Lines(f"/home/alice/.forward+{n}", members)
    started = time.monotonic()
    found = Router(world).plan("alice+0@example.net")
    assert time.monotonic() - started < 5
    assert ends(found) == ["bounced 5.4.6 alice+0@example.net"]


def test_one_address_too_many_bounces_the_whole(plan):
    text = f"x: {', '.join(f'u{n}@example.org' for n in range(MOST_TARGETS))}"
    assert len(plan("x@example.net", text)) == MOST_TARGETS
    found = plan("x@example.net", f"{text}, one@example.com")
    assert ends(found) == ["bounced 5.4.6 x@example.net"]
    assert words(found) == f"x@example.net expands to more than {MOST_TARGETS} addresses"


def test_a_bomb_of_few_names_is_bounced_in_a_moment(configured):
    """Ten levels of thirty names, each of which has all names of the next level: 30^10 ways."""
    world = World(configured())
    for level in range(DEPTH + 2):
        members = tuple(Item("address", f"n{level + 1}-{n}") for n in range(30))
        for n in range(30):
            world.aliases[f"n{level}-{n}"] = members
    started = time.monotonic()
    found = Router(world).plan("n0-0@example.net")
    assert time.monotonic() - started < 5
    assert ends(found) == ["bounced 5.4.6 n0-0@example.net"]


def test_a_chain_that_is_too_long_bounces(plan):
    def text(length: int) -> str:
        chain = [f"n{n}: n{n + 1}" for n in range(length - 1)]
        return "\n".join([*chain, f"n{length - 1}: alice"])

    assert ends(plan("n0@example.net", text(DEPTH))) == ["maildir alice ~alice/Maildir/"]
    (end,) = ends(plan("n0@example.net", text(DEPTH + 1)))
    assert end.startswith("bounced 5.4.6")


@given(st.text(max_size=30))
def test_no_recipient_is_too_strange_to_be_planned(configured, text):
    assert Router(World(configured())).plan(text)


def test_a_target_has_the_same_name_at_every_attempt(plan):
    text = 'x: alice, "|cat", /f, joe@example.org'
    own = 'default_transport = "error:no"'
    names = [t.name for t in plan("x@example.net", text, config=own)]
    assert len(set(names)) == 4
    assert names == [t.name for t in plan("X@Example.Net", text, config=own)]


# --- other domains --------------------------------------------------------------------------

RELAY = "relayhost = ['[a]:587', '[b]']\n"


@pytest.mark.parametrize(
    ("config", "end"),
    [
        (RELAY, "smtp pymail [a]:587, [b]"),
        ("default_transport = 'smtp'\n", "smtp pymail example.org"),
        ("default_transport = 'smtp:[c]'\n" + RELAY, "smtp pymail [c]"),
        (RELAY + "[transport_maps]\n'example.org' = 'smtp:'\n", "smtp pymail example.org"),
        (RELAY + "[transport_maps]\n'example.org' = ':[d]'\n", "smtp pymail [d]"),
        (RELAY + "[transport_maps]\n'*' = 'relay:[e]:26'\n", "smtp pymail [e]:26"),
        (RELAY + "[transport_maps]\n'.org' = 'discard:'\n", "sent 2.0.0 joe@example.org"),
        (RELAY + "[transport_maps]\n'joe@example.org' = 'hold:'\n", "held 4.0.0 joe@example.org"),
        (RELAY + "[transport_maps]\n'example.org' = 'error:5.1.6 moved'\n", "bounced 5.1.6"),
        (RELAY + "[transport_maps]\n'example.org' = 'uucp:x'\n", "deferred 4.3.5"),
        (RELAY + "[transport_maps]\n'example.org' = 'smtp:[x'\n", "deferred 4.3.5"),
        (RELAY + "[transport_maps]\n'example.org' = 'lmtp:'\n", "deferred 4.3.5"),
        (RELAY + "[transport_maps]\n'example.org' = 'relay'\n", "smtp pymail example.org"),
        (RELAY + "[transport_maps]\n'example.org' = ':'\n'*' = 'error:no'\n", "smtp pymail [a]"),
        ("[transport_maps]\n'example.org' = ':[d]'\n", "smtp pymail [d]"),
        ("[transport_maps]\n'example.net' = ':[d]'\n", "bounced 5.4.4"),
        (
            RELAY + "[sender_dependent_relayhost_maps]\n'@isp.example' = '[x'\n",
            "deferred 4.3.5",
        ),
        (
            RELAY + "[sender_dependent_relayhost_maps]\n'@isp.example' = '[f]'\n",
            "smtp pymail [f]",
        ),
        (
            RELAY + "[sender_dependent_relayhost_maps]\n'@isp.example' = 'DUNNO'\n",
            "smtp pymail [a]:587, [b]",
        ),
    ],
)
def test_mail_for_elsewhere_takes_the_way_that_postfix_would_choose(plan, config, end) -> None:
    (found,) = ends(plan("joe@example.org", config=config, sender="me@isp.example"))
    assert found.startswith(end)


def test_a_transport_can_take_what_is_ours_and_give_what_is_not(plan) -> None:
    tables = "[transport_maps]\n'alice@example.net' = 'smtp:[a]'\n'example.org' = 'local:'\n"
    config = "mydestination = ['example.net']\n" + tables
    assert ends(plan("alice@example.net", config=config)) == ["smtp pymail [a]"]
    assert ends(plan("bob@example.org", config=config)) == ["maildir bob ~bob/Maildir/"]


def test_a_next_hop_alone_is_nothing_to_what_is_ours(plan) -> None:
    config = "[transport_maps]\n'*' = ':[gateway]'\n"
    assert ends(plan("alice@example.net", config=config)) == ["maildir alice ~alice/Maildir/"]
    assert ends(plan("joe@example.org", config=config)) == ["smtp pymail [gateway]"]
    config = "[transport_maps]\n'example.net' = ':'\n'*' = 'smtp:[gateway]'\n"
    assert ends(plan("alice@example.net", config=config)) == ["maildir alice ~alice/Maildir/"]
    assert ends(plan("alice@localhost", config=config)) == ["smtp pymail [gateway]"]


def test_a_bounce_has_a_relay_of_its_own(plan) -> None:
    config = RELAY + "[sender_dependent_relayhost_maps]\n'<>' = '[b]'\n"
    assert ends(plan("joe@example.org", config=config, sender="")) == ["smtp pymail [b]"]


def test_a_domain_that_is_no_next_hop_returns_the_mail(plan) -> None:
    config = "default_transport = 'smtp'\n"
    assert ends(plan("joe@a/b", config=config)) == ["bounced 5.1.2 joe@a/b"]
    assert ends(plan("joe@[192.0.2.1]", config=config)) == ["smtp pymail [192.0.2.1]"]


@pytest.mark.parametrize("domain", ["[127.0.0.1]", "[IPv6:::1]"])
@pytest.mark.parametrize("config", ["", "mydestination = []\n", "relayhost = 'smtp.example.org'\n"])
def test_the_loopback_address_in_brackets_is_this_machine(plan, domain, config) -> None:
    found = plan(f"x+y@{domain}", f"x: alice@{domain}, \\bob@{domain}", config=config)
    assert ends(found) == ["maildir alice ~alice/Maildir/", "maildir bob ~bob/Maildir/"]


@pytest.mark.parametrize("domain", ["[127.8.8.8]", "[IPv6:::]", "[0.0.0.0]"])
def test_mail_for_an_address_of_this_machine_itself_does_not_go_round(plan, domain) -> None:
    found = ends(plan(f"joe@{domain}", config="default_transport = 'smtp'\n"))
    assert found == [f"bounced 5.4.6 joe@{domain}"]
    # Another mail system of this machine may be the relay.
    config = "relayhost = ['[127.0.0.1]']\n"
    assert ends(plan("joe@example.org", config=config)) == ["smtp pymail [127.0.0.1]"]


def test_a_list_goes_to_the_relay_of_its_owner(plan) -> None:
    config = RELAY + "[sender_dependent_relayhost_maps]\n'owner-l@example.net' = '[o]'\n"
    aliases = "l: joe@example.org\nowner-l: alice\n"
    found = plan("l@example.net", aliases, config=config, sender="me@isp.example")
    assert ends(found) == ["smtp pymail [o]"]


def test_the_way_is_told_with_the_settings_that_chose_it(plan) -> None:
    (target,) = plan("joe@example.org", config=RELAY)
    assert "default_transport = smtp (default)" in target.steps[-2]
    assert target.steps[-1].startswith("relayhost = [a]:587, [b] (")
    assert target.steps[-1].endswith("config.toml, line 5)")
    (target,) = plan("joe@example.org", config="default_transport = 'smtp'\n")
    assert target.steps[-1] == "no relayhost: to the servers of example.org"
    tables = "[transport_maps]\n'*' = ':'\n"
    (target,) = plan("joe@example.org", config=RELAY + tables)
    assert target.steps[1].startswith("* is in transport_maps: : (")
    assert target.steps[1].endswith("config.toml, line 6)")
    assert target.name == "smtp:joe@example.org"
