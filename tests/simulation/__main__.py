"""`python -m tests.simulation`: many schedules on all processors. `make simulate SCHEDULES=100000 SEED=1` calls it.

SCHEDULES: how many, from SEED on. With SEED alone, one schedule, told in full; a failure prints its seed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from multiprocessing.pool import Pool

from tests.simulation.schedule import Outcome, run_schedule
from tests.simulation.variants import VARIANTS, run_broken

_SHOWN = 5  # failures told in full


def main() -> int:
    """Run what was asked for; 1 if a schedule broke a promise."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--schedules", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=None, help="as many as there are processors")
    parser.add_argument("--variant", choices=VARIANTS, help="a broken product: which schedules catch it")
    options = parser.parse_args()
    if options.variant:
        return _catching(options.variant, options.seed, options.schedules, options.processes)
    if options.schedules == 1:
        outcome = run_schedule(options.seed)
        print(story(outcome))
        return int(bool(outcome.violations))
    return _many(options.seed, options.schedules, options.processes)


def story(outcome: Outcome) -> str:
    """A schedule told from its beginning to its judgement."""
    judgement = outcome.violations or ["every promise was kept"]
    return "\n".join([f"SEED={outcome.seed}: {', '.join(outcome.faults)}", *outcome.timeline, *judgement])


def _many(first: int, count: int, processes: int | None) -> int:
    began = time.monotonic()
    faults: Counter[str] = Counter()
    failed: list[int] = []
    recoveries: list[float] = []
    virtual_s = 0.0
    with Pool(processes) as pool:
        for done, outcome in enumerate(_outcomes(pool, first, count), 1):
            faults.update(outcome.faults)
            virtual_s += outcome.virtual_s
            recoveries.append(outcome.recovery_s)
            if outcome.violations:
                failed.append(outcome.seed)
                if len(failed) <= _SHOWN:
                    print(story(run_schedule(outcome.seed)), flush=True)
            if done % 10_000 == 0:
                print(f"{done} schedules, {len(failed)} failed, {time.monotonic() - began:.0f} s", flush=True)
    recoveries.sort()
    print(f"{count} schedules (SEED {first} to {first + count - 1}) in {time.monotonic() - began:.0f} s:")
    print(f"  {virtual_s / 3600:.0f} virtual hours; faults: {dict(faults.most_common())}")
    print(
        f"  one active again after the last fault: median {recoveries[count // 2]:.1f} s, worst {recoveries[-1]:.1f} s"
    )
    print(f"  {len(failed)} broke a promise" + (f": SEED={failed[:100]}" if failed else ""))
    return int(bool(failed))


def _catching(variant: str, first: int, count: int, processes: int | None) -> int:
    """Print the schedules that catch a broken product, and how; 1 if none does."""
    caught = 0
    with Pool(processes) as pool:
        for outcome in pool.imap(partial(run_broken, variant), range(first, first + count), chunksize=20):
            if outcome.violations:
                caught += 1
                print(f"SEED={outcome.seed}: {outcome.violations[0]}", flush=True)
                if caught == _SHOWN:
                    break
    return int(not caught)


def _outcomes(pool: Pool, first: int, count: int) -> Iterator[Outcome]:
    yield from pool.imap_unordered(_without_timeline, range(first, first + count), chunksize=20)


def _without_timeline(seed: int) -> Outcome:
    outcome = run_schedule(seed)
    outcome.timeline = []
    return outcome


if __name__ == "__main__":
    sys.exit(main())
