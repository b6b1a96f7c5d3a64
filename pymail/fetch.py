"""Fetch mail from the accounts of the configuration: POP3 and IMAP.

What is on the server and not in the account's record is retrieved in groups, handed to its
destination, recorded, shown, and only then deleted, flagged or moved on the server.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import zip_longest
from typing import NamedTuple

from pymail import secret, tls
from pymail.account import Account, After
from pymail.config import Config
from pymail.destination import Destination, destination, digest
from pymail.errors import ConfigError, PermError, TempError
from pymail.fetched import Fetched, place
from pymail.filter import through
from pymail.identity import Identity
from pymail.nexthop import NextHop
from pymail.source import AGAIN, MOST_TEXT, RefusedError, Remote, Source, Text
from pymail.source.imap import Imap
from pymail.source.pop3 import Pop3
from pymail.source.response import PART
from pymail.source.talk import LIMIT, EndlessError, Talk
from pymail.spool import Spool
from pymail.transport.connect import reach
from pymail.transport.tunnel import Tunnel
from pymail.transport.wire import LostError

_SOURCES: dict[str, Callable[[Talk], Source]] = {"imap": Imap, "pop3": Pop3}
_MARK = 32
GROUP, GROUP_SIZE = 100, 1 << 23
"""Messages, and bytes of them, that are retrieved before they are recorded together."""


class Progress(NamedTuple):
    """How far a fetch is: messages and bytes so far, and messages in all."""

    done: int
    size: int
    all: int


MOST_CULPRITS = 10
"""Messages over which a connection is lost, before the fetch is given up."""


class Summary:
    """What came of one account: messages fetched, their bytes, and what a person must hear.

    left     messages that were to be fetched, and stay on the server
    trouble  what could not be done, though the rest was; "" for nothing
    """

    def __init__(self) -> None:
        self.messages = self.size = self.waiting = self.left = 0
        self.warnings: list[str] = []
        self.trouble = ""


class Fetch:
    """One fetch of one account."""

    def __init__(
        self,
        account: Account,
        config: Config,
        spool: Spool,
        user: Identity,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self._account = account
        self._config = config
        self._spool = spool
        self._user = user
        self._progress = progress
        self._marks: dict[str, str] = {}
        self._awaited = ""
        self._culprits: set[str] = set()
        self._large: set[str] = set()
        self._most = min(account.size_limit or MOST_TEXT, MOST_TEXT)
        self.summary = Summary()

    def run(self, *, dry: bool = False) -> Summary:
        """Fetch what is new; `dry` only counts it.

        TempError where that cannot be done now, PermError where the login is refused,
        ConfigError where the account cannot be used as it is.
        """
        account = self._account
        try:
            whose = f"{account.protocol} {account.server} {account.user}"
            folder = place(self._spool, self._user.home)
            with closing(Fetched(folder, account.name, whose)) as record:
                limit = self._config.command_time_limit
                there = None if dry else destination(account, self._spool, self._user, limit)
                if there:
                    there.recover(_Recorded(account.name, record))
                while True:
                    try:
                        self._session(record, there)
                        break
                    except LostError as lost:
                        if not self._goes_on(lost):
                            raise
        except LostError as lost:
            if lost.kind == "login":
                raise PermError(f"cannot fetch {account.name}: {lost}") from None
            raise TempError(f"cannot fetch {account.name}: {lost}") from None
        if self.summary.left:
            self._fail(f"messages that stay on the server: {self.summary.left}")
        return self.summary

    def _session(self, record: Fetched, there: Destination | None) -> None:
        """Fetch over one connection."""
        source = self._connected()
        present: set[str] = set()
        whole = True
        try:
            for box in source.boxes(self._account.folders):
                try:
                    present |= self._box(source, box, record, there)
                except RefusedError as error:
                    self._fail(str(error))
                    whole = False
            # Before they are deleted: the next message may get the UIDL of one that is.
            times = {key: record.time(key) for key in source.doomed()}
            record.retire(times)
            record.restore({key: times[key] for key in source.settle()})
            self._quit(source)
            if whole:
                record.keep(present)
        except BaseException:
            source.close()
            raise

    def _quit(self, source: Source) -> None:
        try:
            source.quit()
        except RefusedError as error:
            self._fail(str(error))

    def _goes_on(self, lost: LostError) -> bool:
        """Say whether to go on without the message over which a connection was lost."""
        key, self._awaited = self._awaited, ""
        if not key or len(self._culprits) == MOST_CULPRITS:
            return False
        self._culprits.add(key)
        if isinstance(lost, EndlessError) and self._account.size_limit:
            self._leave_large(key, f"more than {self._most}")
        else:
            self._fail(f"message {key}: {lost}")
        self.summary.waiting = self.summary.messages
        return True

    def _fail(self, words: str) -> None:
        summary = self.summary
        summary.trouble = summary.trouble or f"cannot fetch all of {self._account.name}: {words}"

    def _box(
        self, source: Source, box: str, record: Fetched, there: Destination | None
    ) -> set[str]:
        """Fetch what is new in a folder; return the keys of all that is in it."""
        account, after = self._account, self._account.after
        remotes = source.look(box)
        new = [e for e in remotes if e.key not in record and e.key not in self._culprits]
        for each in new:
            if 0 < account.size_limit < each.size:
                self._leave_large(each.key, str(each.size))
        wanted = [each for each in new if each.key not in self._large]
        self.summary.waiting += len(wanted)
        present = {each.key for each in remotes}
        if there is None:
            return present
        if after.verb in ("delete", "move"):  # a fetch that died had no time for it
            self._finish(source, [each for each in remotes if each.key in record], after)
        elif account.delete_after:
            until = time.time() - account.delete_after
            old = [e for e in remotes if e.key in record and record.time(e.key) < until]
            self._finish(source, old, After("delete"))
        groups = list(_groups(wanted))
        for group, then in zip_longest(groups, groups[1:], fillvalue=()):
            taken = self._group(source, group, then, record, there)
            self._finish(source, taken, after)
        return present

    def _finish(self, source: Source, remotes: Sequence[Remote], after: After) -> None:
        try:
            source.finish(remotes, after)
        except RefusedError as error:
            self._fail(str(error))

    def _group(
        self,
        source: Source,
        group: Sequence[Remote],
        then: Sequence[Remote],
        record: Fetched,
        there: Destination,
    ) -> list[Remote]:
        """Retrieve messages and hand them over; return those that are safe here."""
        taken: list[Remote] = []
        waiting = {each.key: None for each in group}
        self._awaited = group[0].key
        try:
            for remote, text in source.retrieve(group, then, self._most):
                del waiting[remote.key]
                self._awaited = next(iter(waiting), "")
                if isinstance(text, str):
                    self._leave(remote, f"the server says: {text}")
                elif text.size > self._most:
                    text.close()
                    self._leave_large(remote.key, f"more than {self._most}")
                elif remote.size and not text.size:
                    text.close()
                    self._leave(remote, f"the server gives nothing of its {remote.size} bytes")
                elif (source.reuses_keys and self._is_known(remote, text, record)) or self._hand(
                    remote, text, there
                ):
                    taken.append(remote)
                    if not there.certain:
                        record.add({remote.key: self._marks.get(remote.key, "")})
        finally:
            # Also when the connection broke off: what came whole is here.
            there.settle()
            new = [each.key for each in taken if each.key not in record]
            record.add({key: self._marks.get(key, "") for key in new})
            there.release()
        self._awaited = ""
        return taken

    def _is_known(self, remote: Remote, text: Text, record: Fetched) -> bool:
        """Say whether a message is one that came before under the same key."""
        hashed = hashlib.sha256()
        for piece in text.pieces():
            hashed.update(piece)
        mark = self._marks[remote.key] = hashed.hexdigest()[:_MARK]
        first = remote.key.partition(AGAIN)[0]
        before = {record.digest(remote.key), record.digest(first)}
        if first != remote.key:
            before.add(self._marks.get(first, ""))
        if mark not in before:
            return False
        text.close()
        return True

    def _hand(self, remote: Remote, text: Text, there: Destination) -> bool:
        """Hand a message over, through the filter where there is one; say whether it was taken."""
        summary, size = self.summary, text.size
        whole: Text | None = text
        if self._account.filter:
            whole, words = through(self._account.filter, text, self._user)
            if words:
                self._warn(remote, words)
        try:
            why = there.take(self._named(remote), whole) if whole else ""
        finally:
            (whole or text).close()
        if why:
            self._leave(remote, why)
            return False
        summary.messages += 1
        summary.size += size
        self._progress(Progress(summary.messages, summary.size, summary.waiting))
        return True

    def _named(self, remote: Remote) -> str:
        """Return a name for a message that no other has: its key alone may be given again."""
        return digest(self._account.name, _whole(remote.key, self._marks.get(remote.key, "")))

    def _leave_large(self, key: str, size: str) -> None:
        """Tell once of a message that is over the limit, whatever the server said before."""
        if key not in self._large:
            self._large.add(key)
            self.summary.warnings.append(
                f"left on the server: a message of {size} bytes (size_limit)"
            )

    def _leave(self, remote: Remote, words: str) -> None:
        self.summary.left += 1
        self._warn(remote, words)

    def _warn(self, remote: Remote, words: str) -> None:
        self.summary.warnings.append(f"message {remote.key}: {words}")

    def _connected(self) -> Source:
        """Return the server, greeted, secured and logged in at."""
        account = self._account
        hop = NextHop(account.server, account.port, mx=False)
        home = "" if self._spool.system else self._user.home
        login = secret.reveal(secret.of_account(account, home), hop)
        talk = Talk(reach(account.server, account.port, LIMIT))
        try:
            if account.wrapped:
                talk.secure(self._tunnel())
            source = _SOURCES[account.protocol](talk)
            if account.tls_security_level != "none" and not account.wrapped:
                source.secure(self._tunnel())
            source.log_in(login, account.sasl_mechanism_filter)
        except tls.UntrustedError as error:
            talk.close()
            raise LostError("4.7.5", f"cannot trust {account.server}: {error}") from None
        except OSError as error:
            talk.close()
            words = f"cannot start TLS with {account.server}: {error.strerror}"
            raise LostError("4.7.5", words) from None
        except BaseException:
            talk.close()
            raise
        return source

    def _tunnel(self) -> Tunnel:
        account = self._account
        names = ((tls.to_ascii(account.server),),) * (account.tls_security_level == "secure")
        policy = tls.Policy(account.tls_security_level, account.wrapped, names)
        try:
            return Tunnel(self._config, policy, account.server)
        except OSError as error:
            raise ConfigError(f"cannot read smtp_tls_CAfile: {error.strerror}") from None


class _Recorded:
    """The digests of the messages that are recorded."""

    def __init__(self, account: str, record: Fetched) -> None:
        self._account = account
        self._record = record
        self._digests: set[str] | None = None

    def __contains__(self, each: object) -> bool:
        if self._digests is None:
            record = self._record
            self._digests = {
                digest(self._account, _whole(key, record.digest(key))) for key in record
            }
        return each in self._digests


def _whole(key: str, mark: str) -> str:
    return f"{key} {mark}" if mark else key


def _groups(remotes: Iterable[Remote]) -> Iterator[list[Remote]]:
    """Yield messages in groups that are retrieved, and most often recorded, together."""
    group: list[Remote] = []
    size = 0
    for each in remotes:
        # A large one comes in parts, which takes no other with it.
        alone = group and max(each.size, group[-1].size) > PART
        if group and (len(group) == GROUP or size + each.size > GROUP_SIZE or alone):
            yield group
            group, size = [], 0
        group.append(each)
        size += each.size
    if group:
        yield group
