"""A program that records losses, as `perseus up` does beside its view, and writes down what it does.

`python -m tests.support.watcher --history FILE`; the store comes from the environment as for `perseus`. A line of FILE:
{"kind": "look", "at"}, {"kind": "record", "at", "instance"} or {"kind": "trouble", "at", "text"}; times are boot-time
seconds. Every look is complete when its line is there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from perseus.clock import SystemClock
from perseus.network.losses import LOOK_EVERY_S, LossWatch
from perseus.settings import load_settings
from perseus.store import Store


def main() -> None:
    """Watch until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--history", type=Path, required=True)
    parser.add_argument("--variant", default="", help="a deliberately broken product (tests/faults/variants.py)")
    options = parser.parse_args()
    if options.variant:
        from tests.faults.variants import break_product

        break_product(options.variant)
    asyncio.run(_watch(options.history))


async def _watch(history: Path) -> None:
    clock, settings = SystemClock(), load_settings()
    with history.open("a", buffering=1) as file:

        def write(kind: str, **facts: Any) -> None:
            file.write(json.dumps({"kind": kind, "at": clock.now(), **facts}) + "\n")

        watch = LossWatch(
            Store(settings.store_url),
            clock=clock,
            detected_by=f"watcher on {settings.hostname}",
            on_record=lambda dead: write("record", instance=dead.instance_id),
            on_trouble=lambda text: write("trouble", text=text),
        )
        while True:
            await watch.look()
            write("look")
            await clock.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    main()
