"""What all messages of a run of flush share."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from pymail.config import Config
from pymail.log import Log
from pymail.outbound import Outbound
from pymail.rewrite import Rewriting
from pymail.route import Router
from pymail.sites import Logins
from pymail.spool import Spool
from pymail.users import User, user_of

if TYPE_CHECKING:
    from pymail.folding import Folding


class Run(NamedTuple):
    """A run's tools; `users` are those that were looked up, `uptime` is in seconds."""

    spool: Spool
    config: Config
    router: Router
    log: Log
    tell: Callable[[str], None]
    uptime: int
    outbound: Outbound
    rewriting: Rewriting
    logins: Callable[[str, str], Logins]
    users: dict[int, User]
    folding: "Folding | None" = None

    def user(self, uid: int) -> User:
        """Return name and full name of the user with that uid."""
        if uid not in self.users:
            self.users[uid] = user_of(uid)
        return self.users[uid]
