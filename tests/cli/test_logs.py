"""What a log line shows of a failure: where it happened, and no secret that was at hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from perseus.cli.logs import redact

FAILING = """
import sys
from pathlib import Path
import structlog
from perseus.cli.logs import configure_logging
from perseus.settings import load_settings

configure_logging(load_settings(flags={"LOG_FORMAT": sys.argv[1]}, environ={}, directory=Path.cwd()))

def authorize(headers):
    raise RuntimeError(f"not let in: {headers['authorization']} by redis://user:hunter2@store:6379")

try:
    authorize({"authorization": "Bearer hunter2", "cookie": "hunter2-local", "x": "perseus_" + "hunter2-" * 4})
except RuntimeError:
    structlog.get_logger().exception("request_failed", path="/login?token=hunter2")
"""


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_failure_is_logged_with_its_place_and_without_secrets(log_format: str, tmp_path: Path) -> None:
    """Tracebacks with the values of variables hold whole requests, cookies and all."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FAILING, log_format],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    logged = json.loads(done.stderr)["exception"] if log_format == "json" else done.stderr
    assert "in authorize" in logged
    assert "RuntimeError: not let in: Bearer *** by redis://user:***@store:6379" in logged
    assert "hunter2" not in done.stderr + done.stdout


def test_names_of_settings_are_no_secrets() -> None:
    """A line that says which setting is missing must say it; a token looks much like one."""
    told = {"remark": "PERSEUS_DISCORD_WEBHOOK_URLS is not set", "asked": f"by perseus_{'aB3-' * 9}"}
    assert redact(None, "info", dict(told)) == told | {"asked": "by perseus_***"}
