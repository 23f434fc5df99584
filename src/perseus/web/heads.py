"""uvicorn's HTTP protocol with bounds on a request's head, which it has none for.

Without them a client holds a connection for as long as it likes without asking anything, and fills the memory with
headers that never end.
"""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD = 64 * 1024
HEAD_WITHIN_S = 15.0
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain\r\nconnection: close\r\n"
    b"content-length: 40\r\n\r\nURL and headers are longer than 64 KiB.\n"
)


class BoundedHttp(HttpToolsProtocol):
    """Ends a connection whose request line and headers do not come in time, or never end."""

    _waiting_for_head: asyncio.TimerHandle | None = None
    _is_in_head = False
    _steps = 0  # heads begun and completed, pieces of bodies: everything that comes further
    _bytes_without_step = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Expect a head from now on."""
        super().connection_made(cast(asyncio.Transport, transport))
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless a URL, a header, or what comes after the pieces of a body goes on and on."""
        steps = self._steps
        super().data_received(data)
        if self._is_in_head and self._waiting_for_head is None:
            self._expect_head()  # most come whole, and need no clock
        if steps != self._steps:
            self._bytes_without_step = 0
            return
        if self._waiting_for_head is None and (self.cycle is None or self.cycle.response_complete):
            self._expect_head()  # what came between two requests ended uvicorn's own wait for the next one
        self._bytes_without_step += len(data)
        if self._bytes_without_step > LARGEST_HEAD and not self.transport.is_closing():
            self._stop_waiting()
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Another request begins."""
        super().on_message_begin()
        self._steps += 1
        self._is_in_head = True
        self._stop_waiting()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._steps += 1
        self._is_in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body; how long it may be is the application's to say."""
        self._steps += 1
        super().on_body(body)

    def _expect_head(self) -> None:
        self._stop_waiting()
        self._waiting_for_head = self.loop.call_later(HEAD_WITHIN_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._waiting_for_head is not None:
            self._waiting_for_head.cancel()
            self._waiting_for_head = None

    def _give_up(self) -> None:
        self._waiting_for_head = None
        self.transport.close()
