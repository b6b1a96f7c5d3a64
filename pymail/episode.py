"""What a cron job has said since it began to say something, and when that is over.  Pure.

The first letter with an output goes out; each further one that says the same is folded, which
means counted.  When the job has said nothing for long, it has recovered.
"""

import json
from typing import NamedTuple

PATIENCE = 2.5
"""How many times its longest pause a job must be silent to have recovered."""

SHORTEST = 3600
"""Seconds of silence that are too short for that in any case: some jobs come and go."""

LONGEST = 40 * 86400
"""Seconds after which a job that spoke once is forgotten: those of every month go on."""

MOST_OUTPUTS = 50
"""Different outputs of one episode that are known; any further one goes out."""


class Output(NamedTuple):
    """One output: its fingerprint, first line, when it came first and last, and how often."""

    print: str
    line: str
    first: int
    last: int
    times: int


class Episode(NamedTuple):
    """All letters of a job since its last silence.

    to       the recipients
    pause    the longest time between two letters, in seconds; 0 after one
    folded   letters that did not go out
    told     how many of them the last digest has counted
    newest   the queue id of the letter that was heard last
    """

    job: str
    to: tuple[str, ...]
    first: int
    last: int
    pause: int = 0
    folded: int = 0
    told: int = 0
    newest: str = ""
    outputs: tuple[Output, ...] = ()

    def heard(self, qid: str, fingerprint: str, line: str, sent: int) -> "Episode":
        """Return the episode with one letter more."""
        last = max(self.last, sent)
        others = tuple(each for each in self.outputs if each.print != fingerprint)
        same = self.known(fingerprint)
        if same:
            now = same._replace(last=max(same.last, sent), times=same.times + 1)
        else:
            now = Output(fingerprint, line, sent, sent, 1)
        return self._replace(
            last=last,
            pause=max(self.pause, last - self.last),
            folded=self.folded + (same is not None),
            newest=qid,
            outputs=(*others, now)[-MOST_OUTPUTS:],
        )

    def known(self, fingerprint: str) -> Output | None:
        """Return the output with that fingerprint."""
        return next((each for each in self.outputs if each.print == fingerprint), None)

    @property
    def over(self) -> int:
        """When it is over, if nothing more comes (seconds)."""
        return self.last + (max(SHORTEST, int(PATIENCE * self.pause)) if self.pause else LONGEST)


def dumped(episode: Episode) -> str:
    """Return an episode as text."""
    return json.dumps(episode._replace(outputs=()))[:-1] + f", {json.dumps(episode.outputs)}]"


def loaded(text: str) -> Episode:
    """Return the episode of a text that dumped() has made.  ValueError if it is no such thing."""
    try:
        job, to, first, last, pause, folded, told, newest, _, outputs = json.loads(text)
        heard = tuple(Output(*each) for each in outputs)
        return Episode(job, tuple(to), first, last, pause, folded, told, newest, heard)
    except (TypeError, ValueError) as error:
        raise ValueError(f"no episode of a job: {error}") from None
