"""`python -m tests.bench [NAME …]`: measure, print tables, and keep docs/performance.md true.

Without names every bench runs, in a quarter of an hour, and the generated part of docs/performance.md is rewritten.
Run it when nothing else runs: ratios hold on a busy machine, single numbers do not.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path

import structlog

from tests.bench import report
from tests.bench.measure import Effort, Section

BENCHES = {
    "claim": "claim and release: round trips, processor time, against redis-py and python-redis-lock",
    "heartbeat": "one renewal: the same",
    "takeover": "kill -9, and release, until the next holder on another host, against etcd, too",
    "same_host": "kill -9 of a long lease until the next holder on the same host, against the same",
    "failover": "a store that loses its primary, or hands over: Sentinel and Cluster, against the same",
    "messages": "frames to candles, against the standard library and python-binance",
    "startup": "import, --help, status, spawn to registered",
    "api": "getInstances and getActivityLog under load, against @trpc/server with ioredis; dashboards told",
    "alerts": "from a kill -9 to the message in Discord, against a loop that polls and posts; what a notifier costs",
    "idle": "memory and processor time of a process that only holds an exchange",
}


def main() -> int:
    """Run what was asked for; 1 if a bench failed. No number ever makes it fail."""
    options = _options()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    names = options.names or list(BENCHES)
    load = [os.getloadavg()[0]]
    found, failed = _run(names, Effort(quick=options.quick))
    load.append(os.getloadavg()[0])
    machine = report.machine()
    if options.json:
        text = json.dumps(report.as_json(found, machine=machine, quick=options.quick), indent=2, ensure_ascii=False)
        options.json.write_text(text + "\n", encoding="utf-8")
    if failed:
        print(f"Failed: {', '.join(failed)}. docs/performance.md was left as it is.", file=sys.stderr)
        return 1
    if options.quick or options.names:
        print("docs/performance.md was left as it is: only a whole run writes it.")
    else:
        report.write_document(report.document(found, machine=machine, load=load))
        print("docs/performance.md has these numbers now.")
    return 0


def _options() -> argparse.Namespace:
    lines = "\n".join(f"  {name:10} {sentence}" for name, sentence in BENCHES.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Speed and size as ratios against named peers in the same run.",
        epilog=f"benches:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which benches; default: all")
    parser.add_argument("--quick", action="store_true", help="only show that everything runs; the numbers mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there too")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHES]
    if unknown:
        parser.error(f"there is no bench {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    return options


def _run(names: list[str], effort: Effort) -> tuple[dict[str, Section], list[str]]:
    found: dict[str, Section] = {}
    failed: list[str] = []
    for name in names:
        began = time.monotonic()
        try:
            found[name] = import_module(f"tests.bench.{name}").bench(effort)
        except Exception:  # noqa: BLE001  the others are still worth their minutes
            traceback.print_exc()
            failed.append(name)
            continue
        print(f"\n{found[name].title} ({name}, {time.monotonic() - began:.0f} s)")
        print(*report.table(found[name]), *(f"- {note}" for note in found[name].notes), sep="\n", flush=True)
    return found, failed


if __name__ == "__main__":
    sys.exit(main())
