"""The stand-in as a process of its own, for tests of processes and browsers, and how they tell it what to do."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self
from urllib.request import Request, urlopen

from aiohttp import web

from tests.support.discord import Posted, StandIn, Version
from tests.support.system import die_with_parent, free_port


class StandInProcess:
    """`python -m tests.support.discord` in the background. A context manager; start it from the main thread only."""

    def __init__(self) -> None:
        self.port, self._control = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        arguments = ("--port", str(self.port), "--control-port", str(self._control))
        self._process = subprocess.Popen(
            (sys.executable, "-m", "tests.support.discord", *arguments),
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            preexec_fn=die_with_parent(),  # noqa: PLW1509  started from the main thread, nothing else runs in it
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "the stand-in did not start"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def setting(self, *names: str) -> str:
        """DISCORD_WEBHOOK_URLS for these channels."""
        return str(self._do("setting", names=names))

    def messages(self, name: str) -> list[Posted]:
        """What people see in a channel, oldest first."""
        return [_posted(one) for one in self._do("messages", name=name)]

    def verdict(self) -> dict[str, int]:
        """`provoked` and `premature` requests, and how many were `asked`."""
        verdict: dict[str, int] = self._do("verdict")
        return verdict

    def play(self, form: str, **options: Any) -> None:
        """Let this happen to the next requests; see `StandIn.play`."""
        self._do("play", form=form, **options)

    def stop_playing(self) -> None:
        """No more faults."""
        self._do("stop_playing")

    def delete(self, message_id: str) -> None:
        """A person deletes a message."""
        self._do("delete", message_id=message_id)

    def remove(self, name: str) -> None:
        """A person removes a webhook."""
        self._do("remove", name=name)

    def refuse(self) -> None:
        """Refuse connections, until `listen`."""
        self._do("refuse")

    def listen(self) -> None:
        """Take connections again."""
        self._do("listen")

    def _do(self, what: str, **options: Any) -> Any:
        request = Request(f"http://127.0.0.1:{self._control}/{what}", data=json.dumps(options).encode())
        with urlopen(request, timeout=10) as answer:
            return json.load(answer)


def main() -> None:
    """Run the stand-in until it is killed. Prints one line of JSON when it listens."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="where Discord is played (0: a free one)")
    parser.add_argument("--control-port", type=int, default=0, help="where POST /play and the others are taken")
    parser.add_argument("--channels", nargs="*", default=["discord"], help="channels whose webhooks are printed")
    options = parser.parse_args()
    asyncio.run(_serve(options.port, options.control_port or free_port(), options.channels))


async def _serve(port: int, control_port: int, channels: list[str]) -> None:
    async with StandIn(port=port) as stand_in:
        app = web.Application()
        app["stand_in"] = stand_in
        app.router.add_post("/{what}", lambda request: _told(stand_in, request))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", control_port).start()
        urls = {name: stand_in.url(name) for name in channels}
        print(json.dumps({"port": stand_in.port, "control_port": control_port, "webhooks": urls}), flush=True)
        await asyncio.Event().wait()


async def _told(stand_in: StandIn, request: web.Request) -> web.Response:
    options = await request.json()
    match request.match_info["what"]:
        case "setting":
            return web.json_response(stand_in.setting(*options["names"]))
        case "messages":
            return web.json_response([asdict(one) for one in stand_in.messages(options["name"])])
        case "verdict":
            counts = {"provoked": stand_in.provoked, "premature": stand_in.premature, "asked": len(stand_in.asked)}
            return web.json_response(counts)
        case "refuse" | "listen" as what:
            await getattr(stand_in, what)()
        case "play" | "stop_playing" | "delete" | "remove" as what:
            getattr(stand_in, what)(**options)
        case _:
            raise web.HTTPNotFound
    return web.json_response(None)


def _posted(one: dict[str, Any]) -> Posted:
    versions = [Version(*version) for version in one["versions"]]
    return Posted(**one | {"versions": versions, "pinged": tuple(one["pinged"])})
