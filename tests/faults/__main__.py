"""Play one case, or everything."""

import argparse
import sys

from . import sweep, worker


def main() -> int:
    """Say what came of it; the exit status says whether all is well."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--case", help="one case, as a report names it")
    parser.add_argument("--sweep", help="one case, at every call")
    parser.add_argument("--most", type=int, default=0, help="at so many calls only")
    given = parser.parse_args()
    pool = worker.Pool(2)
    try:
        if given.case:
            for outcome in pool.play([sweep.Case.parse(given.case)]):
                print("\n".join([*outcome.trace, str(outcome)]))
                return bool(outcome.verdicts)
        if given.sweep:
            tally = pool.sweep(given.sweep, sweep.Case.parse(given.sweep), given.most)
            print(tally.report())
            return bool(tally.bad)
    finally:
        pool.close()
    return 0


sys.exit(main())
