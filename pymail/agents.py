"""The agents of a run: those at work, and a few that wait for more mail of their user."""

import time
from collections import deque

from pymail import agent
from pymail.agent import Agent
from pymail.identity import Identity
from pymail.nursery import Nursery

MOST_AGENTS = 64
MOST_LIVELY, LIVELY = 5, 2
"""Agents at work for fewer seconds than that; one that takes longer holds up nobody else."""

MOST_IDLE = 4
"""Agents that are kept for the next mail of their user: each costs memory."""


class Agents:
    """The agents of a run, at most `most_commands` of a user for commands, and one else."""

    def __init__(self, most_commands: int, *, system: bool) -> None:
        """Start none yet.  `system` says whether they become users by themselves."""
        self._most_commands = most_commands
        self._system = system
        self._running: list[Agent] = []
        self._dismissed: deque[Agent] = deque()
        self._nursery: Nursery | None = None

    def busy(self) -> list[Agent]:
        """Return those at work."""
        return [each for each in self._running if each.pending]

    def drop(self, ended: Agent) -> None:
        """Forget one that has ended, if it is of these."""
        if ended in self._running:
            self._running.remove(ended)

    def abandon(self) -> None:
        """Stop agents in their work: what they did from here on, nobody would record."""
        for each in self.busy():
            if each.alive:
                each.kill()

    def close(self) -> None:
        """End all of them."""
        for each in self._running:
            each.dismiss()
        for each in (*self._dismissed, *self._running):
            each.close()
        self._running = []
        if self._nursery:
            self._nursery.close()

    def idle(self, user: Identity, kind: str) -> Agent | None:
        """Return an agent of that user with nothing to do, a new one where that is allowed.

        Raise OSError where none can be started.
        """
        command = kind == "command"
        own = [each for each in self._running if each.user == user]
        for each in own:
            if not each.pending:
                return each
        most = self._most_commands if command else 1
        if len(own) >= most or (not command and self._are_lively()):
            return None
        idle = [each for each in self._running if not each.pending]
        while idle and (len(idle) >= MOST_IDLE or len(self._running) >= MOST_AGENTS):
            self._dismiss(idle.pop(0))
        if len(self._running) >= MOST_AGENTS:
            return None
        fresh = Agent(user, nursery=self._nursed(), kind=kind)
        self._running.append(fresh)
        return fresh

    def _dismiss(self, spare: Agent) -> None:
        """Let an idle agent end, which takes longer than to make another do some work."""
        spare.dismiss()
        self._running.remove(spare)
        self._dismissed.append(spare)
        if len(self._dismissed) > MOST_IDLE:
            self._dismissed.popleft().close()

    def _nursed(self) -> Nursery | None:
        """Return what makes agents; where all of them are one user, flush does it itself."""
        if not self._system:
            return None
        if self._nursery is None or not self._nursery.alive:
            self._nursery = Nursery(agent.transport, agent.serve_batches)
        return self._nursery

    def _are_lively(self) -> bool:
        """Say whether enough agents are at work; those that hang do not count."""
        since = time.monotonic() - LIVELY
        return sum(1 for a in self._running if a.pending and a.began > since) >= MOST_LIVELY
