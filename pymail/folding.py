"""Cron that does not flood: which letters of cron go out, and what is told of the others.

SPOOL/cron/KEY       the episode of one job (episode.py), replaced as a whole
SPOOL/cron/.digest   when the last digest was made, in seconds
SPOOL/cron/kept      a Maildir for originals that have no user's Maildir to go to

The time of change of the directory is when there is something to do without a letter, so that a
flush with nothing to do asks for one time only.  The verdict on a letter is written down before
the letter goes anywhere: first in its episode, then in its own queue file, where it stays.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pymail import cronmail, cronreport, durable, episode, peek
from pymail.active import Active
from pymail.config import Config
from pymail.cronmail import Letter
from pymail.cronreport import Facts
from pymail.entry import Attempt
from pymail.envelope import Envelope
from pymail.episode import Episode
from pymail.errors import printable
from pymail.identity import Identity, lookup
from pymail.queuefile import ATTEMPTED, make_id
from pymail.route import Target
from pymail.spool import Spool
from pymail.transport.maildir import WITHIN
from pymail.users import user_of

MOST_JOBS = 500
"""Jobs of one user that are known; letters of any further one all go out."""

_DAY = 86400
_FOLDED, _FIRST = "folded", "first"
_DIGEST = ".digest"


class Folding:
    """The episodes of the jobs of a spool, and what the configuration wants of them."""

    def __init__(
        self, spool: Spool, config: Config, single: Identity | None, say: Callable[[str], None]
    ) -> None:
        """Look after the letters of a spool; `say` hears of what cannot be read."""
        self._spool = spool
        self._config = config
        self._single = single
        self._say = say
        self._path = spool.cron

    def folds(self, letter: Letter, active: Active, recipients: Sequence[str], body: int) -> bool:
        """Say whether a letter is to be kept only; the answer stays the same.  OSError."""
        if not self._config.cron_fold:
            return False
        for attempt in active.attempts():
            if attempt.status in (_FOLDED, _FIRST):
                return attempt.status == _FOLDED
        if active.head.size > cronmail.LIMIT:
            return False
        output, sent = active.message()[body:], active.head.arrived
        mark = cronmail.fingerprint(output, sent)
        with self._locked():
            known = self._load(letter.key)
            if known and sent >= known.over:
                self._end(letter.key, known)
                known = None
            if known is None and self._is_full(letter.key):
                return False
            before = known or Episode(letter.job, tuple(recipients), sent, sent)
            same = before.known(mark)
            if before.newest == active.qid:  # a run that died had come so far
                folded = same is not None and same.times > 1
            else:
                folded = same is not None
                line = cronmail.first_line(output)
                self._save(letter.key, before.heard(active.qid, mark, line, sent))
            words = "the job has said the same before" if folded else "the job says this first"
            status = _FOLDED if folded else _FIRST
            active.note(Attempt(int(time.time()), 0, status, "2.0.0", letter.key, words))
            active.sync()
        return folded

    def original(self, target: Target, uid: int) -> Target:
        """Return where a folded letter goes that was for `target`: the Maildir of a user."""
        if target.kind == "outcome":
            return target
        if target.kind == "maildir" and target.user:
            user, path = target.user, f"{target.argument.rstrip('/')}/{WITHIN}/"
        else:
            user, path = self._keeper(uid)
        name = f"cron:{user.name}:{path}"
        return Target(
            "maildir", target.recipient, name, user, path, sender=target.sender, steps=target.steps
        )

    def thread(self, letter: Letter) -> str:
        """Return the id that all letters of a job refer to, so that readers show one thread.

        It is "" where letters are not folded.
        """
        host = self._config.myhostname
        return f"<cron.{letter.key}@{host}>" if self._config.cron_fold else ""

    def quiet_until(self, now: int) -> int:
        """Return when the quiet hours end, 0 where there are none now."""
        begin, _, end = self._config.cron_quiet.partition("-")
        if not end:
            return 0
        starts, ends = _next(begin, now), _next(end, now)
        return ends if ends < starts else 0

    def tend(self, now: int) -> bool:
        """Tell of jobs that are silent again, and give the digest when it is time.

        Say whether it was time for anything.  OSError, TempError.
        """
        if not os.path.isdir(self._path) or os.stat(self._path).st_mtime > now:
            return False
        with self._locked():
            held = dict(self._episodes())
            for key, each in list(held.items()):
                if now >= each.over:
                    self._end(key, each)
                    del held[key]
            self._digest(held, now)
        return True

    def _keeper(self, uid: int) -> tuple[Identity, str]:
        """Return who keeps the originals that `uid` submitted and that leave the machine."""
        user = self._single or lookup(self._name(uid))
        if user is None or (user.uid == 0 and not self._single):
            root = lookup("root")
            assert root is not None  # noqa: S101  (we are root here)
            return root, f"{self._path}/kept/"
        mailbox = self._config.home_mailbox
        folder = mailbox if mailbox.endswith("/") else "Maildir/"
        return user, f"{user.home}/{folder}{WITHIN}/"

    def _name(self, uid: int) -> str:
        return user_of(uid).name if uid else self._config.root_user or "root"

    def _end(self, key: str, each: Episode) -> None:
        """Forget an episode; tell of it if something was folded."""
        if each.folded:
            now = int(time.time())
            what = f"recovered\0{key}\0{each.first}"
            qid = self._id(each.last, what)
            thread = self.thread(Letter(each.job, key))
            data = cronreport.recovered(each, thread, self._facts(qid, now))
            self._insert(qid, each.to, data, now)
        os.unlink(f"{self._path}/{key}")
        durable.sync(self._path)

    def _digest(self, held: dict[str, Episode], now: int) -> None:
        if not self._config.cron_digest:
            return
        if now < _next(self._config.cron_digest, self._last_digest()):
            return
        by_reader: dict[tuple[str, ...], dict[str, Episode]] = {}
        for key, each in held.items():
            if each.folded > each.told:
                by_reader.setdefault(each.to, {})[key] = each
        for to, episodes in by_reader.items():
            what = "\0".join(["digest", *to, *(f"{k} {e.folded}" for k, e in episodes.items())])
            qid = self._id(max(each.last for each in episodes.values()), what)
            data = cronreport.digest(episodes.values(), to, self._facts(qid, now))
            self._insert(qid, to, data, now)
            for key, each in episodes.items():
                self._save(key, each._replace(told=each.folded))
        durable.replace(f"{self._path}/{_DIGEST}", f"{now}\n", 0o600)

    def _last_digest(self) -> int:
        try:
            return int(peek.text(f"{self._path}/{_DIGEST}"))
        except ValueError:
            return 0

    def _facts(self, qid: str, now: int) -> Facts:
        kept = f"the folder {WITHIN} of the Maildir"
        if self._spool.system:
            kept += f", or in {self._path}/kept"
        return Facts(self._config.myhostname, qid, now, kept)

    def _id(self, moment: int, what: str) -> str:
        noise = hashlib.sha256(what.encode("utf-8", "surrogateescape")).digest()
        return make_id(moment * 1_000_000, noise, os.getuid())

    def _insert(self, qid: str, to: Sequence[str], data: bytes, now: int) -> None:
        """Queue a letter of our own, which comes after the quiet hours."""
        envelope = Envelope(os.getuid(), list(to), sender="", kind="bounce", body="8BITMIME")
        self._spool.insert(qid, envelope, data, ATTEMPTED)
        if until := self.quiet_until(now):
            os.utime(f"{self._spool.queue}/{qid}", (now, until))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the directory, which is made; set when there is something to do."""
        try:
            os.mkdir(self._path, 0o700)
            durable.sync(self._spool.path)
            durable.replace(f"{self._path}/{_DIGEST}", f"{int(time.time())}\n", 0o600)
        except FileExistsError:
            pass
        lock = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
            os.utime(lock, (time.time(), self._next()))
        finally:
            os.close(lock)

    def _next(self) -> int:
        """Return when there will be something to do."""
        times = [each.over for _, each in self._episodes()]
        if self._config.cron_digest:
            times.append(_next(self._config.cron_digest, self._last_digest()))
        return min(times, default=int(time.time()) + _DAY)

    def _episodes(self) -> Iterator[tuple[str, Episode]]:
        for key in peek.names(self._path):
            if key[0].isdigit() and (each := self._load(key)):
                yield key, each

    def _is_full(self, key: str) -> bool:
        owner = key.partition("-")[0] + "-"
        return sum(name.startswith(owner) for name in peek.names(self._path)) >= MOST_JOBS

    def _load(self, key: str) -> Episode | None:
        try:
            with open(f"{self._path}/{key}", encoding="utf-8") as file:
                return episode.loaded(file.read())
        except FileNotFoundError:
            return None
        except (IsADirectoryError, ValueError) as error:
            self._say(f"warning: {self._path}/{key}: {printable(str(error))}; begun anew")
            return None

    def _save(self, key: str, each: Episode) -> None:
        durable.replace(f"{self._path}/{key}", episode.dumped(each), 0o600)


def _next(clock: str, after: int) -> int:
    """Return the next moment after that one at which it is HH:MM here."""
    hour, _, minute = clock.partition(":")
    day = time.localtime(after)
    for ahead in (0, 1, 2):
        date = (day.tm_year, day.tm_mon, day.tm_mday + ahead, int(hour), int(minute), 0, 0, 0, -1)
        moment = int(time.mktime(date))
        if moment > after:
            return moment
    raise AssertionError(clock)
