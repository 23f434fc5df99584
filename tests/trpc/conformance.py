"""The conformance suite as a program: the real @trpc/client and raw requests, in one Node process, against any server.

    python -m tests.trpc.conformance http://127.0.0.1:8080/trpc --token T [--only WORDS]

The server must be the application described in README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from tests.node import HERE, NODE
from tests.support.system import die_with_parent
from tests.support.waiting import wait_until

TOKEN = "conformance-token"
ROOT = Path(__file__).parents[2]
_RUNNER = HERE / "conformance" / "run.mjs"
PATIENT = 5
_READY_LINE = "ready "


@dataclass(frozen=True, slots=True)
class Check:
    """One fact about a server, as the Node program declares it."""

    name: str
    section: str
    ours_only: str | None


@dataclass(frozen=True, slots=True)
class Target:
    """A server, and which checks to run against it (None: all).

    `patience`: how many times as long as usual to wait for it. What a broken server never sends is waited for in vain.
    """

    name: str
    url: str
    token: str = TOKEN
    checks: Sequence[str] | None = None
    patience: int = PATIENT


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one check went: `error` is None or what was wrong. Units: milliseconds."""

    server: str
    check: str
    error: str | None
    ms: int


@cache
def all_checks() -> tuple[Check, ...]:
    """Every check there is, in order. Raises: CalledProcessError without the packages of tests/node."""
    listed = subprocess.run(_command("--list"), check=True, capture_output=True, text=True).stdout
    return tuple(Check(one["name"], one["section"], one["oursOnly"]) for one in json.loads(listed))


def run(targets: Iterable[Target], *, timeout_s: float = 150) -> list[Outcome]:
    """Run the checks of every target in one Node process, many at once, and say how each went."""
    servers = [asdict(target) for target in targets]
    finished = subprocess.run(
        _command(),
        input=json.dumps({"servers": servers}),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        preexec_fn=die_with_parent(),
    )
    assert finished.returncode == 0, f"the checks themselves failed:\n{finished.stderr}"
    return [Outcome(**json.loads(line)) for line in finished.stdout.splitlines()]


@contextmanager
def serving(*command: str | Path, log: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a server that prints `ready URL` once it listens; its URL and process. It is gone at the end.

    Raises: AssertionError with its log if it ended instead.
    """
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            preexec_fn=die_with_parent(),  # noqa: PLW1509  started from the main thread, nothing else runs in it
        )

    def ready_url() -> str | None:
        assert process.poll() is None, f"the server ended before it was ready:\n{log.read_text()}"
        ready = [line for line in log.read_text().splitlines() if line.startswith(_READY_LINE)]
        return ready[0].removeprefix(_READY_LINE) if ready else None

    with process:
        try:
            url = wait_until(ready_url, description=f"{command} is ready", timeout=20)
            assert url is not None
            yield url, process
        finally:
            process.kill()


def _command(*args: str) -> list[str]:
    return [str(NODE), "--no-warnings", str(_RUNNER), *args]


def main() -> int:
    """Run the suite against the server that the command line names, and print what failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.trpc.conformance", description=__doc__)
    parser.add_argument("url", help="where the server answers tRPC, as http://HOST:PORT/trpc")
    parser.add_argument("--token", default=TOKEN, help="what the server was told to accept")
    parser.add_argument("--only", default="", metavar="WORDS", help="only checks whose name contains this")
    parser.add_argument("--reference", action="store_true", help="leave out what the reference server does otherwise")
    args = parser.parse_args()
    names = [
        check.name for check in all_checks() if args.only in check.name and not (args.reference and check.ours_only)
    ]
    outcomes = run([Target("server", args.url, args.token, names)])
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in sorted(failed, key=lambda outcome: names.index(outcome.check)):
        print(f"FAILED  {outcome.check}\n        {outcome.error}")
    print(f"{len(outcomes) - len(failed)} of {len(outcomes)} checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
