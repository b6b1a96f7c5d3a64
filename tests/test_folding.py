"""Cron that does not flood: what goes out, what is kept, what is told; a month of it."""

import calendar
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from harness import Box, letters
from hypothesis import given
from hypothesis import strategies as st
from machine import Machine

from pymail import config, cronmail, episode, flush, folding
from pymail.envelope import Envelope
from pymail.episode import Episode
from pymail.log import Log
from pymail.spool import Spool

NOON = calendar.timegm((2036, 11, 27, 12, 0, 0))
FOLD = "[cron]\nfold = true\n"


def cron(job: str, output: str, who: str = "root@box", number: int = 0) -> bytes:
    """Return a letter as Debian's cron writes it."""
    return (
        f"From: root (Cron Daemon)\nTo: alice\nSubject: Cron <{who}> {job}\n"
        "MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n"
        "Content-Transfer-Encoding: 8bit\n"
        f"X-Cron-Env: <SHELL=/bin/sh>\nX-Cron-Env: <NUMBER={number}>\n\n{output}\n"
    ).encode()


def inbox(box: Box) -> list[bytes]:
    return box.maildir()


def folded(box: Box) -> list[bytes]:
    return box.maildir("Maildir/.Cron")


def test_the_same_again_is_kept_and_does_not_go_out(box: Box) -> None:
    box.config(FOLD)
    for output in ("disk full", "disk full", "disk sda failed", "disk full", "disk sdb failed"):
        box.send(cron("backup", output))
        box.flush()
    assert [each.split(b"\n\n", 1)[1] for each in inbox(box)] == [
        b"disk full\n",
        b"disk sda failed\n",
        b"disk sdb failed\n",
    ]
    assert [each.split(b"\n\n", 1)[1] for each in folded(box)] == [b"disk full\n"] * 2
    threads = {re.findall(rb"^References: (.*)$", each, re.MULTILINE)[0] for each in inbox(box)}
    assert len(threads) == 1
    assert box.queue() == []


def test_without_the_setting_everything_goes_out(box: Box) -> None:
    for _ in range(3):
        box.send(cron("backup", "disk full"))
    box.flush()
    assert len(inbox(box)) == 3
    assert not (box.spool / "cron").exists()
    assert b"References" not in inbox(box)[0]


def test_other_jobs_users_and_letters_are_others(box: Box) -> None:
    box.config(FOLD)
    box.send(cron("backup", "disk full"))
    box.send(cron("backup -v", "disk full"))
    box.send(cron("backup", "disk full", who="root@other"))
    box.send(b"Subject: hello\n\ndisk full\n")
    box.send(b"Subject: hello\n\ndisk full\n")
    box.flush()
    assert len(inbox(box)) == 5
    assert folded(box) == []


def test_a_letter_is_judged_once_and_the_verdict_stays(box: Box) -> None:
    """The first letter cannot be delivered: the second is one more, the first still goes out."""
    box.config(FOLD)
    (box.home / "Maildir").write_text("no directory")
    box.send(cron("backup", "disk full", number=1))
    box.flush()
    (box.home / "Maildir").unlink()
    box.send(cron("backup", "disk full", number=2))
    box.flush("-a")
    assert [b"NUMBER=1" in each for each in inbox(box)] == [True]
    assert [b"NUMBER=2" in each for each in folded(box)] == [True]


def test_a_damaged_record_is_begun_anew(box: Box) -> None:
    box.config(FOLD)
    box.send(cron("backup", "disk full"))
    box.flush()
    (record,) = [each for each in (box.spool / "cron").iterdir() if each.name[0] != "."]
    record.write_text("[1, 2")
    box.send(cron("backup", "disk full"))
    box.flush()
    assert len(inbox(box)) == 2
    assert "begun anew" in (box.spool / "log").read_text()


def test_what_leaves_the_machine_is_kept_here(machine: Machine) -> None:
    machine.config('root_user = "alice"\nrelayhost = "[127.0.0.1]:1"\n' + FOLD)
    for number in range(3):
        machine.send("bob", cron("backup", "disk full", number=number), "me@isp.example")
    machine.send("root", cron("backup", "disk full"), "me@isp.example")
    machine.send("root", cron("backup", "disk full"), "me@isp.example")
    machine.flush()
    assert len(machine.queue()) == 2  # bob's first and root's first wait for the relay
    kept = machine.mail("bob", "Maildir/.Cron")
    assert len(kept) == 2
    assert {(each.uid, each.mode) for each in kept} == {(kept[0].path.parent.stat().st_uid, 0o600)}
    assert len(machine.mail("alice", "Maildir/.Cron")) == 1


def test_originals_of_nobody_lie_in_the_spool(machine: Machine) -> None:
    machine.config('relayhost = "[127.0.0.1]:1"\n' + FOLD)
    for _ in range(3):
        machine.send("root", cron("backup", "disk full"), "me@isp.example")
    machine.flush()
    kept = letters(machine.spool / "cron" / "kept")
    assert [each.uid for each in kept] == [0, 0]
    assert (machine.spool / "cron").stat().st_mode & 0o7777 == 0o700


def test_a_user_cannot_hide_the_letters_of_another(machine: Machine) -> None:
    machine.config(FOLD)
    machine.send("bob", cron("backup", "disk full"), "-f", "root", "alice")
    machine.send("root", cron("backup", "disk full"), "alice")
    machine.flush()
    assert len(machine.mail("alice")) == 2
    assert machine.mail("alice", "Maildir/.Cron") == []


class Clock:
    """The time of the whole program, set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, now: float) -> None:
        self.now = now
        monkeypatch.setattr(time, "time", lambda: self.now)
        monkeypatch.setattr(time, "time_ns", lambda: int(self.now * 1e9))


class Play:
    """A spool of our own user, whose flush runs in this process, with a clock set by hand."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        self.home, self.number = place / "home", 0
        self.home.mkdir()
        file = place / "config.toml"
        file.write_text(text)
        monkeypatch.setenv("HOME", str(self.home))
        monkeypatch.setenv("PYMAIL_CONFIG", str(file))
        monkeypatch.setenv("PYMAIL_SPOOL", str(place / "spool"))
        monkeypatch.setenv("TZ", "UTC")
        time.tzset()
        self.clock = Clock(monkeypatch, NOON - 43200)
        self.spool = Spool(str(place / "spool"))
        self.log = Log(str(place / "log"))

    def submit(self, job: str, output: str) -> None:
        self.number += 1
        self.clock.now += 0.001  # letters are taken in the order in which they came
        data = cron(job, output, number=self.number)
        self.spool.submit(Envelope(os.getuid(), ["root"]), data)

    def flush(self) -> None:
        config_here = config.here(self.spool.path)
        flush.run(
            self.spool, config_here, self.log, selection=flush.Selection(), tell=lambda _: None
        )

    def subjects(self, folder: str = "Maildir") -> Counter[str]:
        return Counter(each.values("subject")[0] for each in letters(self.home / folder))


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Play]]:
    yield lambda text: Play(tmp_path, monkeypatch, text)
    monkeypatch.undo()
    time.tzset()


def test_a_job_that_is_silent_again_is_told_of_once(play: Callable[[str], Play]) -> None:
    here = play(FOLD)
    for _ in range(5):
        here.submit("backup", "disk full")
        here.flush()
        here.clock.now += 3600
    here.clock.now += 1.4 * 3600  # 2.4 hours since the last one
    here.flush()
    assert here.subjects() == {"Cron <root@box> backup": 1}
    for _ in range(3):
        here.clock.now += 600
        here.flush()
    assert here.subjects() == {"Cron <root@box> backup": 1, "Recovered: Cron <root@box> backup": 1}
    told = message_from_bytes(
        next(each.data for each in letters(here.home / "Maildir") if b"Recovered" in each.data),
        policy=policy.default,
    )
    text = told.get_content()
    assert "5 times, 2036-11-27 00:00 to 2036-11-27 04:00:" in text
    assert "disk full" in text
    assert "4 letters that said the same again" in text
    first = next(each for each in letters(here.home / "Maildir") if b"Recovered" not in each.data)
    assert told["References"] == first.values("References")[0]
    here.submit("backup", "disk full")  # it begins again, and goes out
    here.flush()
    assert here.subjects()["Cron <root@box> backup"] == 2


def test_a_letter_in_the_quiet_hours_comes_when_they_are_over(play: Callable[[str], Play]) -> None:
    here = play(FOLD + 'quiet = "22:00-07:00"\n')
    for _ in range(3):
        here.submit("backup", "disk full")
        here.flush()
        here.clock.now += 3600
    assert here.subjects() == {}
    assert here.subjects("Maildir/.Cron") == {"Cron <root@box> backup": 2}
    here.clock.now = NOON - 5 * 3600 - 1
    here.flush()
    assert here.subjects() == {}
    here.clock.now += 1
    here.flush()
    job = "Cron <root@box> backup"
    assert here.subjects() == {job: 1, f"Recovered: {job}": 1}  # it was silent since 2:00


def test_letters_that_waited_for_flush_are_no_silence(play: Callable[[str], Play]) -> None:
    here = play(FOLD)
    for number in range(30):
        here.submit("backup", "disk full")
        if number < 3:
            here.flush()
        here.clock.now += 3600
    here.flush()
    assert here.subjects() == {"Cron <root@box> backup": 1}
    assert here.subjects("Maildir/.Cron") == {"Cron <root@box> backup": 29}


@pytest.mark.parametrize("dies", ["after the episode", "after the note", "after the letter"])
def test_a_run_that_dies_folds_no_first_letter_and_counts_none_twice(
    play: Callable[[str], Play], monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    here = play(FOLD)

    def dead(*_: object, **__: object) -> None:
        os._exit(9)

    where = {
        "after the episode": ("pymail.folding.Active.note", dead),
        "after the note": ("pymail.job.Job.start", dead),
        "after the letter": ("pymail.job.Job.finish", dead),
    }[dies]
    for _ in range(2):
        here.submit("backup", "disk full")
        child = os.fork()
        if not child:
            monkeypatch.setattr(*where)
            here.flush()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        here.flush()
        here.clock.now += 60
    assert here.subjects() == {"Cron <root@box> backup": 1}
    assert here.subjects("Maildir/.Cron") == {"Cron <root@box> backup": 1}
    (record,) = [each for each in os.listdir(here.spool.cron) if each[0] != "."]
    known = episode.loaded(Path(here.spool.cron, record).read_text())
    assert (known.folded, known.outputs[0].times) == (1, 2)


def test_a_full_disk_for_the_records_stops_no_other_mail(
    play: Callable[[str], Play], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = play(FOLD)
    for _ in range(2):
        here.submit("backup", "disk full")
        here.flush()
        here.clock.now += 3600
    here.clock.now += 86400

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    here.submit("other", "hello")
    here.spool.submit(Envelope(os.getuid(), ["root"]), b"Subject: a letter\n\nx\n")
    with monkeypatch.context() as patch:
        patch.setattr("pymail.folding.durable.replace", full)
        patch.setattr("pymail.folding.Folding._insert", full)
        here.flush()
    assert here.subjects() == {"Cron <root@box> backup": 1, "a letter": 1}
    assert (
        "cannot tell of jobs of cron: No space left" in Path(here.spool.path, "../log").read_text()
    )
    here.flush()
    assert here.subjects()["Cron <root@box> other"] == 1
    assert here.subjects()["Recovered: Cron <root@box> backup"] == 1


def stamp(now: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now))


def hours(first: int, last: int, each: int = 1) -> Callable[[int], bool]:
    return lambda hour: first <= hour < last and hour % each == 0


MONTH: dict[str, tuple[Callable[[int], bool], Callable[[int, float], str], int, int, int]] = {
    # job: when (hours), what, letters in all, in the inbox, recoveries told
    "always": (hours(0, 720, 3), lambda _, __: "disk full", 240, 1, 0),
    "always with a time": (hours(0, 720, 3), lambda _, t: f"{stamp(t - 9)} failed", 240, 1, 0),
    "daily": (hours(0, 720, 24), lambda _, __: "no backup", 30, 1, 0),
    "daily with a time": (hours(0, 720, 24), lambda _, now: f"{stamp(now)}: no", 30, 1, 0),
    "weekly": (hours(0, 720, 168), lambda _, __: "renew failed", 5, 1, 0),
    "once": (hours(100, 101), lambda _, __: "hello", 1, 1, 0),
    "days 3 to 5": (hours(72, 120), lambda _, __: "no route", 48, 1, 1),
    "twice": (lambda h: 72 <= h < 96 or 360 <= h < 372, lambda _, __: "x", 36, 2, 2),
    "two in turn": (hours(48, 96), lambda h, _: "AB"[h % 2], 48, 2, 1),
    "a number": (hours(0, 720, 24), lambda h, _: f"{h} errors", 30, 30, 0),
    "a disk": (hours(0, 48), lambda h, _: f"sd{chr(97 + h // 2)} failed", 48, 24, 1),
    "a status": (hours(0, 20), lambda h, _: f"exit status {h % 5}", 20, 5, 1),
    "an old time": (hours(0, 10), lambda h, _: f"2026-11-0{h} 10:00:00 lost", 10, 10, 0),
    "a date to come": (hours(0, 720, 24), lambda h, _: f"ends 2027-01-{h // 24 + 1:02}", 30, 30, 0),
    "growing": (hours(0, 12), lambda h, _: "line\n" * (h + 1), 12, 12, 0),
    "in Russian": (hours(0, 24), lambda _, __: "диск полон", 24, 1, 1),
    "blanks count": (hours(0, 4), lambda h, _: " " * h + "x", 4, 4, 0),
    "nothing at all": (hours(0, 24, 6), lambda _, __: "", 4, 1, 1),
    "every five hours": (hours(0, 700, 5), lambda _, __: "late", 140, 1, 1),
    "a changing error": (hours(0, 72), lambda h, _: f"error {h // 24}", 72, 3, 1),
}


def test_a_month_of_twenty_jobs(play: Callable[[str], Play]) -> None:
    """Counts what arrives; each letter is in one place, and none that differs was folded."""
    here = play(FOLD + 'digest = "08:00"\n')
    begin = here.clock.now
    said: dict[int, str] = {}
    for hour in range(720):
        here.clock.now = begin + hour * 3600
        for job, (when, what, *_) in MONTH.items():
            if when(hour):
                here.submit(job, what(hour, here.clock.now))
                said[here.number] = job
        if hour % 4 == 0:
            here.flush()
    here.flush()
    arrived, kept = here.subjects(), here.subjects("Maildir/.Cron")
    for job, (_, _, total, out, recoveries) in MONTH.items():
        name = f"Cron <root@box> {job}"
        counts = arrived[name], arrived[name] + kept[name], arrived[f"Recovered: {name}"]
        assert counts == (out, total, recoveries), job
    digests = [each for each in letters(here.home / "Maildir") if b"Subject: Cron: " in each.data]
    assert len(digests) == 30
    mail = letters(here.home / "Maildir") + letters(here.home / "Maildir" / ".Cron")
    numbers = Counter(re.findall(rb"NUMBER=(\d+)", b"".join(each.data for each in mail)))
    assert len(numbers) == len(said)
    assert set(numbers.values()) == {1}
    # Of each job, what was folded says what one that went out said.
    outputs: dict[str, set[str]] = {}
    for each in letters(here.home / "Maildir"):
        outputs.setdefault(each.values("subject")[0], set()).add(masked(each.body))
    for each in letters(here.home / "Maildir" / ".Cron"):
        assert masked(each.body) in outputs[each.values("subject")[0]]


def masked(body: bytes) -> str:
    return re.sub(r"^2036-1[12]-\d\d \d\d:\d\d:\d\d", "NOW", body.decode())


CLOCKS = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%dT%H:%M:%S.123456+0000",
    "%b %e %H:%M:%S",
    "%a %b %e %H:%M:%S %Y",
    "%a %b %e %H:%M:%S UTC %Y",
    "%a, %d %b %Y %H:%M:%S +0000",
    "%H:%M:%S",
)


@pytest.mark.parametrize("form", CLOCKS)
def test_a_time_within_the_hour_before_the_letter_makes_no_difference(form: str) -> None:
    def output(ago: int, sent: int) -> str:
        text = time.strftime(form, time.gmtime(sent - ago))
        return cronmail.fingerprint(f"[{text}] box job[12]: failed".encode(), sent)

    for sent in (NOON, NOON + 12 * 3600 + 5, calendar.timegm((2037, 1, 1, 0, 0, 30))):
        assert output(0, NOON) == output(3500, sent)
        if "%d" in form or "%e" in form:  # else it is a time of some day
            assert output(0, NOON) != output(90000, sent)
        assert output(0, NOON) != output(7300, sent)


@given(
    st.text(st.sampled_from("ab0129:- .+TZ\0\n")),
    st.text(st.sampled_from("ab0129:- .+TZ\0\n")),
    st.integers(0, 3600),
)
def test_outputs_that_differ_in_anything_else_differ(one: str, other: str, ago: int) -> None:
    now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(NOON - ago))
    marks = {cronmail.fingerprint(f"{each}\n{now}\n{each}".encode(), NOON) for each in (one, other)}
    clock = re.compile(r"\d\d:\d\d:\d\d")
    if not clock.search(one) and not clock.search(other):
        assert len(marks) == len({one, other})


@given(st.binary(max_size=300))
def test_any_output_has_a_fingerprint_and_a_line(output: bytes) -> None:
    assert len(cronmail.fingerprint(output, NOON)) == 64
    assert cronmail.first_line(output).isprintable()


@given(st.text(max_size=80))
def test_an_episode_is_read_as_it_was_written(text: str) -> None:
    known = Episode(text, (text, "bob"), 1, 2).heard("Q", text, text, 9).heard("R", "p", "", 11)
    assert episode.loaded(episode.dumped(known)) == known


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "[1,2,3]", '["a",1,1,1,1,1,1,"",[],[]]'])
def test_what_is_no_episode_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="no episode"):
        episode.loaded(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('cron_quiet = "22-7"', 'cron_quiet "22-7" is not two times of day such as "22:00-07:00"'),
        ('[cron]\ndigest = "24:00"', 'cron_digest "24:00" is not a time of day such as "08:00"'),
        ("[cron]\nfolds = true", "unknown setting cron_folds (did you mean cron_fold?)"),
    ],
)
def test_mistakes_are_told(box: Box, text: str, words: str) -> None:
    box.config(text)
    done = box.run("flush", "-a")
    assert done.returncode == 78
    assert words in done.stderr.decode()


def test_more_jobs_than_are_known_all_go_out(
    play: Callable[[str], Play], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "MOST_JOBS", 2)
    here = play(FOLD)
    for _ in range(2):
        for job in "abc":
            here.submit(job, "x")
        here.flush()
    assert here.subjects() == {f"Cron <root@box> {job}": 1 + (job == "c") for job in "abc"}
