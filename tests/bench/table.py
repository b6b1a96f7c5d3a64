"""What was measured, as a table of medians, ratios to the peers, and targets with a verdict."""

from collections.abc import Iterable
from statistics import median

from . import shells

Samples = dict[tuple[str, str], list[float]]  # (row, column) to one value a run

PIP = "pymail (pip)"
COLUMNS = ("pymail", PIP, "Postfix", "dma")

# row, unit, factor from what is kept, and whether more is better
ROWS = (
    ("python3 -I -S -c pass", "ms", 1e3, False),
    ("sendmail, 1 KiB", "ms", 1e3, False),
    ("submissions one after another", "a second", 1, True),
    ("submissions 8 at a time", "a second", 1, True),
    ("sendmail, 10 MB", "ms", 1e3, False),
    ("dd with fsync, 10 MB", "ms", 1e3, False),
    ("sendmail, 10 MB: memory", "MiB", 1 / 2**20, False),
    *(
        (f"{count} queued to {users} Maildir{'s' * (users > 1)}", "a second", 1, True)
        for count in ("1,000", "10,000")
        for users in (1, 50)
    ),
    ("flush of 10,000: memory", "MiB", 1 / 2**20, False),
    ("resident while idle", "MiB", 1 / 2**20, False),
    ("mailq on 10,000", "ms", 1e3, False),
    ("flush with nothing to do", "ms", 1e3, False),
    ("index 100,000 aliases", "ms", 1e3, False),
    ("flush of one message, no aliases", "ms", 1e3, False),
    ("flush of one message, 100,000 aliases", "ms", 1e3, False),
    ("1,000 to an SMTP sink", "a second", 1, True),
    ("10,000 to an SMTP sink", "a second", 1, True),
    ("200 to a sink far away", "a second", 1, True),
    ("connections for 200 far away", "", 1, False),
    ("200 to a sink far away, 1 connection", "a second", 1, True),
    ("round trips a message", "", 1, False),
    ("1,000 beside 1,000 for a dead server", "a second", 1, True),
    *(
        (row.format(shell), "ms", 1e3, False)
        for shell in shells.STARTS
        for row in (shells.BARE, shells.WITH)
    ),
)


def middle(samples: Samples, row: str, column: str = "pymail") -> float | None:
    """Return the median over the runs, or None where nothing was measured."""
    values = samples.get((row, column))
    return median(values) if values else None


def table(samples: Samples) -> Iterable[str]:
    """Yield the lines of the table; the last two columns are pymail against each peer."""
    yield (
        f"{'median':<40}{'':<10}"
        + "".join(f"{name:>14}" for name in COLUMNS)
        + (f"{'/ Postfix':>12}{'/ dma':>8}")
    )
    for row, unit, factor, _ in ROWS:
        values = [middle(samples, row, column) for column in COLUMNS]
        if all(value is None for value in values):
            continue
        cells = "".join(f"{number(value, factor):>14}" for value in values)
        ours = values[0]
        ratios = [f"{ours / peer:.2f}" if ours and peer else "-" for peer in values[2:]]
        yield f"{row:<40}{unit:<10}{cells}{ratios[0]:>12}{ratios[1]:>8}"


def number(value: float | None, factor: float) -> str:
    """Return a value in its unit, with three figures or so."""
    if value is None:
        return "-"
    scaled = value * factor
    return f"{scaled:,.0f}" if scaled >= 100 else f"{scaled:.1f}"


def ratio(samples: Samples, row: str, other: tuple[str, str]) -> float | None:
    """Return pymail's median of a row divided by another one."""
    ours, theirs = middle(samples, row), middle(samples, *other)
    return ours / theirs if ours is not None and theirs else None


def targets(samples: Samples) -> Iterable[tuple[str, float | None, str, float]]:
    """Yield what is promised: words, what was measured, "<=" or ">=", and the bound."""
    bare, mail = "python3 -I -S -c pass", "sendmail, 1 KiB"
    one, eight = "submissions one after another", "submissions 8 at a time"
    yield (
        "sendmail, against the bare interpreter",
        ratio(samples, mail, (bare, "pymail")),
        "<=",
        1.25,
    )
    yield "sendmail, against Postfix", ratio(samples, mail, (mail, "Postfix")), "<=", 1.0
    pip, venv = middle(samples, mail, PIP), middle(samples, bare, PIP)
    added = None if pip is None or venv is None else (pip - venv) * 1e3
    yield "pip's script: ms more than its bare interpreter", added, "<=", 4.0
    yield (
        "sendmail, 10 MB, against dd with fsync",
        ratio(samples, "sendmail, 10 MB", ("dd with fsync, 10 MB", "pymail")),
        "<=",
        1.5,
    )
    memory = middle(samples, "sendmail, 10 MB: memory")
    yield "sendmail, 10 MB: MiB", None if memory is None else memory / 2**20, "<=", 16.0
    yield (
        "8 at a time, against one after another",
        ratio(samples, eight, (one, "pymail")),
        ">=",
        1.4,
    )
    yield "8 at a time, against Postfix", ratio(samples, eight, (eight, "Postfix")), ">=", 1.0
    for row, *_ in ROWS:
        if "queued to" in row:
            yield f"{row}, against Postfix", ratio(samples, row, (row, "Postfix")), ">=", 2.5
    for users in ("1 Maildir", "50 Maildirs"):
        many, few = f"10,000 queued to {users}", f"1,000 queued to {users}"
        words = f"{users}: rate at 10,000 against 1,000"
        yield words, ratio(samples, many, (few, "pymail")), ">=", 0.8
    yield (
        "mailq, against Postfix",
        ratio(samples, "mailq on 10,000", ("mailq on 10,000", "Postfix")),
        "<=",
        1.0,
    )
    yield (
        "idle flush, against the bare interpreter",
        ratio(samples, "flush with nothing to do", (bare, "pymail")),
        "<=",
        1.3,
    )
    index = "index 100,000 aliases"
    yield "newaliases, against postalias", ratio(samples, index, (index, "Postfix")), "<=", 1.5
    yield (
        "flush with 100,000 aliases, against none",
        ratio(
            samples,
            "flush of one message, 100,000 aliases",
            ("flush of one message, no aliases", "pymail"),
        ),
        "<=",
        1.25,
    )
    memory = middle(samples, "flush of 10,000: memory")
    yield "flush of 10,000: MiB", None if memory is None else memory / 2**20, "<=", 64.0
    for row in ("1,000 to an SMTP sink", "10,000 to an SMTP sink"):
        yield f"{row}, against Postfix", ratio(samples, row, (row, "Postfix")), ">=", 3.0
    far = "200 to a sink far away"
    yield f"{far}, against Postfix", ratio(samples, far, (far, "Postfix")), ">=", 1.5
    yield "round trips a message", middle(samples, "round trips a message"), "<=", 2.0
    beside, alone = "1,000 beside 1,000 for a dead server", "1,000 to an SMTP sink"
    yield f"{beside}, against alone", ratio(samples, beside, (alone, "pymail")), ">=", 0.8
    for shell in shells.STARTS:
        bare, lines = shells.BARE.format(shell), shells.WITH.format(shell)
        alone, told = middle(samples, bare), middle(samples, lines)
        added = None if alone is None or told is None else (told - alone) * 1e3
        yield f"no mail, told to {shell}: ms more than its start", added, "<=", 5.0
        yield f"{lines}, against bare", ratio(samples, lines, (bare, "pymail")), "<=", 2.0
    resident = middle(samples, "resident while idle")
    yield "resident while idle: MiB", None if resident is None else resident / 2**20, "<=", 0.0


def verdicts(samples: Samples) -> Iterable[str]:
    """Yield a line a target."""
    for words, value, sign, bound in targets(samples):
        if value is None:
            yield f"{words:<52}{'-':>9}  {sign} {bound:<6g} not measured"
            continue
        good = value <= bound if sign == "<=" else value >= bound
        yield f"{words:<52}{value:>9.2f}  {sign} {bound:<6g} {'reached' if good else 'NOT reached'}"
