"""Recorded frames are played as they were recorded, to whoever connects."""

from __future__ import annotations

import json
import time
from pathlib import Path

import aiohttp
import pytest

from perseus.simulator.replay import read_recording
from perseus.simulator.server import serve

FRAMES = ['{"e":"trade","t":1}', "not json at all", '{"e":"trade","t":2}']


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Three received frames over four minutes, among other lines."""
    lines = [
        {"kind": "connect", "ts": 100.0, "url": "wss://example.invalid/ws"},
        {"kind": "send", "ts": 100.1, "data": "{}"},
        {"kind": "recv", "ts": 100.2, "data": FRAMES[0]},
        {"kind": "recv", "ts": None, "data": FRAMES[1], "trimmed": "nothing"},
        {"kind": "recv", "ts": 350.2, "data": FRAMES[2]},
    ]
    path = tmp_path / "recording.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return path


@pytest.mark.parametrize("path", ["/binance/ws", "/binance/stream?streams=a@trade", "/kraken/v2"])
async def test_frames_are_played_verbatim_at_their_pace(
    recording: Path, client: aiohttp.ClientSession, path: str
) -> None:
    """A capture that broke a parser once is played to it again, whichever venue it came from."""
    simulator = await serve(replay=recording, speed=1000)
    try:
        begun = time.monotonic()
        async with client.ws_connect(simulator.ws_url + path) as ws:
            assert [(await ws.receive_str()) for _ in FRAMES] == FRAMES
            assert time.monotonic() - begun >= 0.2
            await ws.send_str('{"method":"SUBSCRIBE","params":["a@trade"],"id":9}')
            assert await ws.receive_json() == {"result": None, "id": 9}
    finally:
        await simulator.aclose()


async def test_rest_goes_on_beside_a_replay(recording: Path, client: aiohttp.ClientSession) -> None:
    """An adapter loads its symbols before it connects."""
    simulator = await serve(replay=recording)
    try:
        async with client.get(f"{simulator.url}/binance/api/v3/ping") as response:
            assert response.status == 200
        async with client.get(f"{simulator.url}/nowhere") as response:
            assert response.status == 404
    finally:
        await simulator.aclose()


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"kind":"recv"\n', "line 1, is not"), ('{"kind":"connect","ts":1.0}\n', "no received frame")],
)
def test_unusable_recordings_are_refused(tmp_path: Path, text: str, message: str) -> None:
    """A file that plays nothing would look like a silent venue."""
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_recording(path)
