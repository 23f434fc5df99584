"""The real @trpc/client and raw requests against our server, against the reference, and against broken servers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import pytest

from tests.node import HERE, NODE
from tests.support.servers import missing
from tests.trpc.broken import GROUPS, VARIANTS, table
from tests.trpc.conformance import PATIENT, TOKEN, Check, Outcome, Target, all_checks, run, serving

Outcomes = Mapping[tuple[str, str], Outcome]
INTACT = "intact"


def _checks() -> tuple[Check, ...]:
    try:
        return all_checks()
    except (OSError, subprocess.CalledProcessError):
        return ()  # test_the_checks_can_be_run says what to do


def _no_checks() -> NoReturn:
    missing("what the checks run with, Node's packages,", remedy="make .venv/.test")


CHECKS = _checks()
pytestmark = pytest.mark.xdist_group("trpc-conformance")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    """Every outcome that a test of this run asks for, from one Node process against three servers at once."""
    if not CHECKS:
        _no_checks()
    logs = tmp_path_factory.mktemp("conformance")
    wanted: dict[str, list[str]] = {}
    for item in request.session.items:
        asked = getattr(item, "callspec", None)
        if asked and item.path == Path(__file__):
            for server, check in asked.params["asked"]:
                wanted.setdefault(server, []).append(check)
    app = (sys.executable, "-m", "tests.trpc.app", "--port", "0", "--token", TOKEN)
    with (
        serving(*app, log=logs / "ours") as (ours, _),
        serving(NODE, HERE / "reference.mjs", "--token", TOKEN, log=logs / "reference") as (reference, _),
        serving(sys.executable, "-m", "tests.trpc.broken", log=logs / "broken") as (broken, _),
    ):
        places = {"ours": ours, "reference": reference}
        targets = [
            Target(
                name,
                places.get(name, f"{broken}/{name}/trpc"),
                checks=checks,
                patience=1 if name in VARIANTS else PATIENT,
            )
            for name, checks in wanted.items()
        ]
        yield {(outcome.server, outcome.check): outcome for outcome in run(targets)}


def test_the_checks_can_be_run() -> None:
    """Without Node's packages every test below would be missing, silently."""
    if not CHECKS:
        _no_checks()


@pytest.mark.parametrize("asked", [[("ours", check.name)] for check in CHECKS], ids=[check.name for check in CHECKS])
def test_ours(asked: list[tuple[str, str]], outcomes: Outcomes) -> None:
    """What a client relies on holds for our server."""
    [one] = asked
    assert outcomes[one].error is None, outcomes[one].error


COMMON = [check for check in CHECKS if not check.ours_only]


@pytest.mark.parametrize("asked", [[("reference", check.name)] for check in COMMON], ids=[c.name for c in COMMON])
def test_reference(asked: list[tuple[str, str]], outcomes: Outcomes) -> None:
    """A check that the server by tRPC's authors fails would ask for something else than tRPC."""
    [one] = asked
    assert outcomes[one].error is None, outcomes[one].error


@pytest.mark.parametrize(
    "asked", [[(name, check) for check in VARIANTS[name].caught_by] for name in VARIANTS], ids=VARIANTS
)
def test_broken_server_is_caught(asked: list[tuple[str, str]], outcomes: Outcomes) -> None:
    """A check that no broken server fails proves nothing."""
    missed = [check for server, check in asked if outcomes[server, check].error is None]
    assert not missed, f"{missed} did not notice"


RELIED_ON = sorted({check for variant in VARIANTS.values() for check in variant.caught_by})


@pytest.mark.parametrize("asked", [[(INTACT, name)] for name in RELIED_ON], ids=RELIED_ON)
def test_wrapper_that_changes_nothing_is_not_caught(asked: list[tuple[str, str]], outcomes: Outcomes) -> None:
    """Otherwise a broken server would be caught for being wrapped, not for being broken."""
    [one] = asked
    assert outcomes[one].error is None, outcomes[one].error


CAUGHT_BY_NONE: Mapping[str, str] = {}  # a check that no server can fail alone, and why it is there nevertheless


def test_every_check_is_failed_by_a_broken_server() -> None:
    """A new check is a new rule: without a server that breaks it nobody knows whether it notices anything."""
    if not CHECKS:
        _no_checks()
    unproven = {check.name for check in CHECKS} - set(RELIED_ON)
    assert unproven == set(CAUGHT_BY_NONE), "name them in `caught_by` of a server in tests/trpc/broken that breaks them"


def test_no_two_broken_servers_have_one_name() -> None:
    """The second would take the first one's place, whose rule nobody breaks any more."""
    names = [name for group in GROUPS for name in group.VARIANTS]
    assert len(names) == len(set(names)), [name for name in names if names.count(name) > 1]


def test_the_table_of_broken_servers_is_true() -> None:
    """The README is where one looks for what is covered."""
    assert table() in (Path(__file__).parent / "README.md").read_text()
