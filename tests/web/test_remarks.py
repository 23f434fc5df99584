"""What uvicorn says is in our log, and no client can make it long."""

from __future__ import annotations

import asyncio
import logging

import pytest
from structlog.testing import capture_logs

from perseus.web import remarks
from tests.support.waiting import wait_until_async
from tests.web.site import Site

SAYS = "Invalid HTTP request received."


async def test_garbage_is_logged_once_and_then_counted(
    site: Site, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A line on stderr for each, in no format of ours, was a way to fill a disk with a few bytes at a time."""
    monkeypatch.setattr(remarks, "EVERY_S", 0.3)
    port = int(site.url.rpartition(":")[2])
    with capture_logs() as logs:
        for _ in range(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"garbage\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 400")
            writer.close()

        def counted() -> bool:
            return sum(int(log.get("times", 1)) for log in logs if log.get("says") == SAYS) == 20

        await wait_until_async(counted, description="all are counted")
    assert {log["event"] for log in logs} == {"web_server_remark"}
    assert {log["says"] for log in logs} == {SAYS}
    assert len(logs) < 10
    assert logs[0]["log_level"] == "warning"
    assert SAYS not in capfd.readouterr().err


async def test_failure_is_logged_with_its_cause() -> None:
    """What nobody expected must be found again; of another place in the code it is another remark."""
    uvicorn = logging.getLogger("uvicorn.error")
    with capture_logs() as logs, remarks.logged():
        for _ in range(3):
            uvicorn.error("it failed\n", exc_info=RuntimeError("why"))
        uvicorn.error("and more")
        uvicorn.info("nothing to say")
    assert [(log["says"], log["log_level"]) for log in logs] == [("it failed", "error"), ("and more", "error")]
    assert str(logs[0]["exc_info"][1]) == "why"
