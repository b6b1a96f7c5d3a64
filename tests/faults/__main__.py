"""Play everything, or one case or sweep, and print the counts.

    python -m tests.faults --full                 everything: some two hours on two cores
    python -m tests.faults --full --only TEXT     the sweeps with TEXT in their title
    python -m tests.faults --case 'scene=flush fault=kill at=7'     as a report names it
    python -m tests.faults --sweep 'scene=flush fault=EIO'          one case at every call

The exit status is 0 where all is well.
"""

import argparse
import os
import sys
import time

from . import clock, mutants, plan, scenes, sweep, worker


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--full", action="store_true", help="everything")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="of everything, what has TEXT in its title"
    )
    parser.add_argument(
        "--most", type=int, default=0, metavar="N", help="at N calls of each sweep only"
    )
    parser.add_argument("--seconds", type=int, default=60, help="how long the load lasts")
    parser.add_argument("--case", help="one case")
    parser.add_argument("--sweep", help="one case, at every call")
    given = parser.parse_args()
    if not (given.full or given.case or given.sweep):
        parser.error("nothing to do: --full, --case or --sweep")
    pool = worker.Pool(os.cpu_count() or 1)
    try:
        if given.case:
            (outcome,) = pool.play([sweep.Case.parse(given.case)])
            print(*outcome.trace, outcome, sep="\n")
            return bool(outcome.verdicts)
        if given.sweep:
            tally = pool.sweep(given.sweep, sweep.Case.parse(given.sweep), given.most)
            print(tally.report())
            return bool(tally.bad)
        return full(pool, given.only, given.most, given.seconds)
    finally:
        pool.close()


def full(pool: worker.Pool, only: str, most: int, seconds: int) -> int:
    """Play everything and print the counts; return the exit status."""
    begun, bad = time.monotonic(), 0
    total = sweep.Tally("in total")
    for each in plan.everything():
        if only not in each.title:
            continue
        if os.geteuid() != 0 and (each.case.disks or scenes.SCENES[each.case.scene].system):
            print(f"{each.title}: left out, not root", flush=True)
        else:
            tally = pool.sweep(each.title, each.case, most)
            print(tally.report(), flush=True)
            total.merge(tally)
    if only in "random kills under load":
        load = pool.stress(seconds)
        print(load, flush=True)
        bad += sum(load.verdicts.values())
    if only in "clock jumps":
        for words in pool.jump(clock.JUMPS):
            print(words, flush=True)
            bad += not words.endswith("all well")
    for name, mutant in mutants.MUTANTS.items():
        if only in f"mutant: {mutant.title}":
            noticed = pool.notices(name)
            print(f"mutant: {mutant.title}: {noticed or 'NOT NOTICED'}", flush=True)
            bad += not noticed
    print(f"\n{total.points} points in {time.monotonic() - begun:.0f} s\n{total.totals()}")
    return bool(total.bad or bad)


sys.exit(main())
