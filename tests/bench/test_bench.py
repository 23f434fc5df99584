"""The benches run, and what they report is complete. How fast anything is, is never asserted: machines differ."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import report
from tests.bench.__main__ import BENCHES
from tests.bench.children import ROOT
from tests.bench.measure import OURS, Measure, Section, by_subject, interleaved

QUICK_MOST_S = 90


@pytest.mark.parametrize("name", BENCHES)
def test_bench_reports_ours_beside_a_peer(name: str, tmp_path: Path) -> None:
    """A bench that broke unnoticed would leave old numbers standing in the documentation."""
    written = tmp_path / "found.json"
    command = [sys.executable, "-m", "tests.bench", "--quick", "--json", str(written), name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=QUICK_MOST_S, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    bench = json.loads(written.read_text(encoding="utf-8"))["benches"][name]
    assert bench["notes"]
    assert any(len(measure["subjects"]) > 1 for measure in bench["measures"])
    for measure in bench["measures"]:
        assert OURS in measure["subjects"], measure["what"]
        for subject, said in measure["subjects"].items():
            assert said["samples"] >= 1, (measure["what"], subject)
            assert math.isfinite(said["median"]), (measure["what"], subject)


def test_heartbeat_is_one_round_trip(tmp_path: Path) -> None:
    """A count, not a time: a second round trip would double what a far store costs and widen every race."""
    written = tmp_path / "found.json"
    command = [sys.executable, "-m", "tests.bench", "--quick", "--json", str(written), "heartbeat"]
    subprocess.run(command, cwd=ROOT, capture_output=True, timeout=QUICK_MOST_S, check=True)
    trips = json.loads(written.read_text(encoding="utf-8"))["benches"]["heartbeat"]["measures"][0]
    assert trips["subjects"][OURS]["median"] == 1


def test_document_has_a_generated_part_with_every_bench() -> None:
    """Numbers written by hand age; those of a bench that was added must not be forgotten."""
    _, begin, rest = report.DOCUMENT.read_text(encoding="utf-8").partition(report.BEGIN)
    generated, end, _ = rest.partition(report.END)
    assert begin
    assert end
    assert generated.count("### ") == len(BENCHES), "run `make bench`"


def test_samples_are_taken_in_turn() -> None:
    """Whatever disturbs the machine for a while must disturb ours and the peers alike."""
    order: list[str] = []
    interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3)
    assert "".join(order) == "abbaab"


def test_ratio_is_ours_divided_by_the_peer() -> None:
    """Turned around it would praise what is slow."""
    measure = Measure(what="x", unit="ms", samples=by_subject({OURS: [4.0, 6.0, 90.0], "peer": [3.0]}))
    assert measure.ratio("peer") == 2
    assert measure.ratio(OURS) is None
    (_, _, row) = report.table(Section(title="t", measures=[measure]))
    assert "**6**" in row
    assert "3 (x2)" in row
