"""`perseus types`: the module on stdout or in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from perseus.web.router import ROUTER
from perseus.web.typescript import typescript
from tests.support.processes import run_perseus


def test_module_goes_to_stdout_or_to_the_file(data_dir: Path, tmp_path: Path) -> None:
    """Both ways are documented, and neither may need a store."""
    shown = run_perseus("types", data_dir=data_dir)
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, typescript(ROUTER), "")
    out = tmp_path / "perseus.ts"
    written = run_perseus("types", "--out", str(out), data_dir=data_dir)
    assert (written.returncode, written.stdout) == (0, "")
    assert str(out) in written.stderr
    assert out.read_text(encoding="utf-8") == shown.stdout


@pytest.mark.parametrize("name", ["api.d.ts", "api.js", "api"])
def test_a_name_that_would_take_the_types_away_is_refused(data_dir: Path, tmp_path: Path, name: str) -> None:
    """In a `.d.ts` a wrong name silently becomes `any`."""
    done = run_perseus("types", "--out", str(tmp_path / name), data_dir=data_dir)
    assert done.returncode == 64
    assert ".d.ts" in done.stderr
    assert not (tmp_path / name).exists()


def test_a_file_that_cannot_be_written_is_told(data_dir: Path, tmp_path: Path) -> None:
    """Told as a sentence, without a traceback."""
    done = run_perseus("types", "--out", str(tmp_path / "missing" / "api.ts"), data_dir=data_dir)
    assert done.returncode == 1
    assert "No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr
