"""`python -m tests.trpc.broken`: every broken server at /NAME/trpc, and one that changes nothing at /intact/trpc."""

from __future__ import annotations

import socket
import sys
from typing import Any

import uvicorn

from tests.trpc.app import application, log_plainly
from tests.trpc.broken import VARIANTS, table
from tests.trpc.broken.wrapping import App, Receive, Send, Wrap, answered, asked, events, frames, lines
from tests.trpc.conformance import TOKEN


def _intact(app: App) -> App:
    """Every kind of wrapper, changing nothing."""
    kinds: tuple[Wrap, ...] = (
        asked(lambda request: None),
        answered(lambda answer: None),
        events(lambda block, flow: block),
        lines(lambda line, flow: line),
        frames(to_server=lambda text, flow: [text], to_client=lambda text, flow: [text]),
    )
    for wrap in kinds:
        app = wrap(app)
    return app


class _Shop:
    """Hands each request to the server its path begins with."""

    def __init__(self) -> None:
        wraps = {"intact": _intact} | {name: variant.wrap for name, variant in VARIANTS.items()}
        self._apps = {name: wrap(application(TOKEN)) for name, wrap in wraps.items()}

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        name = scope["path"].split("/")[1]
        prefix = f"/{name}"
        changed = scope | {
            "path": scope["path"].removeprefix(prefix),
            "raw_path": scope["raw_path"].removeprefix(prefix.encode()),
        }
        await self._apps[name](changed, receive, send)


def main() -> None:
    """Serve them on a port of the system's choice, and say which; or print the table of them."""
    if sys.argv[1:] == ["--table"]:
        print(table(), end="")
        return
    log_plainly()
    listening = socket.create_server(("127.0.0.1", 0))
    print(f"ready http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        _Shop(), ws="websockets-sansio", ws_ping_interval=None, lifespan="off", log_level="error", access_log=False
    )
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
