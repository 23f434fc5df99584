"""`perseus simulate` as a process: what it prints, how it ends, what it refuses."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.support.processes import PerseusProcess, run_perseus
from tests.support.waiting import wait_until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_announces_its_urls_and_ends_on_a_signal(tmp_path: Path, number: int) -> None:
    """`perseus up --simulate` runs it as a child and ends it this way."""
    with PerseusProcess("simulate", "--port", "0", "--seed", "3", data_dir=tmp_path) as process:
        found = wait_until(
            lambda: re.search(r"binance: (http://127\.0\.0\.1:\d+/binance)", process.output),
            description="the base URLs are printed",
        )
        assert found is not None
        with urllib.request.urlopen(f"{found[1]}/api/v3/ping", timeout=5) as answer:
            assert answer.status == 200
        assert process.stop_signal(number) == 0
    assert "Traceback" not in process.output


def test_a_port_in_use_is_one_clear_paragraph(tmp_path: Path) -> None:
    """With the port named and what to do, and the exit code for bad configuration."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = run_perseus("simulate", "--port", str(port), data_dir=tmp_path)
    assert ended.returncode == 78
    assert f"127.0.0.1:{port}" in ended.stderr.replace("\n", " ")
    assert "--port" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [("--replay", "missing.jsonl"), ("--tls-port", "0"), ("--tls-port", "0", "--tls-cert", "a", "--tls-key", "b")],
)
def test_unusable_files_are_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Nothing is half-started."""
    ended = run_perseus("simulate", "--port", "0", *arguments, data_dir=tmp_path)
    assert ended.returncode == 78
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


@pytest.mark.skipif(shutil.which("openssl") is None, reason="a certificate is made with the openssl command")
def test_tls_serves_the_same_venues(tmp_path: Path) -> None:
    """With a certificate of one's own; none is made."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        (
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(key), "-out", str(cert), "-days", "1", "-subj", "/CN=localhost"),
        ),
        check=True,
        capture_output=True,
    )
    options = ("--port", "0", "--tls-port", "0", "--tls-cert", str(cert), "--tls-key", str(key))
    with PerseusProcess("simulate", *options, data_dir=tmp_path) as process:
        found = wait_until(
            lambda: re.search(r"binance: https://127\.0\.0\.1:(\d+)/binance", process.output),
            description="the TLS URL is printed",
        )
        assert found is not None
        body = subprocess.run(
            ["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{found[1]}"],
            input=b"GET /binance/api/v3/ping HTTP/1.0\r\n\r\n",
            capture_output=True,
            timeout=10,
            check=False,
        ).stdout
    assert body.endswith(b"{}")
