"""HTTP and WebSocket as the adapters use them: bounded, and every failure is one of two.

`VenueUnavailable`: no answer, or one that may be different in a while. `VenueRefused`: asking again will not help.
The socket is three operations wide, so that another client library can take its place.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple, Protocol

import aiohttp

from perseus.errors import VenueRefused, VenueUnavailable
from perseus.resolver import Resolver

REQUEST_TIMEOUT_S = 15.0
CONNECT_TIMEOUT_S = 10.0
PING_S = 15.0  # a dead peer is noticed within one and a half of these
LONGEST_EXCERPT = 160


class Answer(NamedTuple):
    """An HTTP answer: `headers` by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def excerpt(self) -> str:
        """The beginning of the body, on one line, for an error message."""
        return excerpt(self.body)


class Socket(Protocol):
    """An open WebSocket: text in, text out."""

    async def send(self, text: str) -> None:
        """Send one text frame. Raises: VenueUnavailable if the connection is gone."""
        ...

    async def receive(self) -> str:
        """The next text frame. Raises: VenueUnavailable, with the reason, when the connection is gone."""
        ...


def excerpt(raw: bytes | str) -> str:
    """The beginning of a text, on one line, for an error message."""
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_EXCERPT else line[:LONGEST_EXCERPT] + "…"


def new_session() -> aiohttp.ClientSession:
    """A session whose requests cannot outlast their timeout."""
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
    connector = aiohttp.TCPConnector(resolver=Resolver())
    return aiohttp.ClientSession(connector=connector, timeout=timeout, headers={"User-Agent": "perseus"})


async def get(session: aiohttp.ClientSession, url: str, query: Mapping[str, str]) -> Answer:
    """GET, whatever the status. Raises: VenueUnavailable if no answer came in time."""
    try:
        async with session.get(url, params=query) as response:
            body = await response.read()
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, headers, body)
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        raise VenueRefused(
            f"The URL {url!r} cannot be used: {type(error).__name__}. Correct the exchange's REST URL in the settings."
        ) from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise VenueUnavailable(f"GET {url} got no answer: {_reason(error)}.") from error


@asynccontextmanager
async def open_socket(session: aiohttp.ClientSession, url: str, *, has_worked: bool) -> AsyncIterator[Socket]:
    """A WebSocket for the block. `has_worked`: this URL was right before, so a 404 is a fault that passes.

    Raises: VenueUnavailable; VenueRefused where the handshake says we never may.
    """
    try:
        socket = await session.ws_connect(
            url, heartbeat=PING_S, timeout=aiohttp.ClientWSTimeout(ws_close=1.0), compress=0, max_msg_size=1 << 22
        )
    except aiohttp.WSServerHandshakeError as error:
        is_final = error.status == 451 or (error.status == 404 and not has_worked)
        kind = VenueRefused if is_final else VenueUnavailable
        raise kind(
            f"WebSocket {url} was not opened: HTTP {error.status} {error.message}. "
            f"Check the exchange's WS URL in the settings and whether it serves this location.",
            status=error.status,
        ) from error
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        raise VenueRefused(
            f"The URL {url!r} cannot be used: {type(error).__name__}. Correct the exchange's WS URL in the settings."
        ) from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise VenueUnavailable(f"WebSocket {url} was not opened: {_reason(error)}.") from error
    try:
        yield _AiohttpSocket(socket, url)
    finally:
        await socket.close()


class _AiohttpSocket:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse[bool], url: str) -> None:
        self._socket = socket
        self._url = url

    async def send(self, text: str) -> None:
        try:
            await self._socket.send_str(text)
        except (aiohttp.ClientError, OSError) as error:
            raise VenueUnavailable(f"WebSocket {self._url} is gone: {_reason(error)}.") from error

    async def receive(self) -> str:
        message = await self._socket.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            return str(message.data)
        if message.type is aiohttp.WSMsgType.BINARY:
            return bytes(message.data).decode("utf-8", "replace")
        said = str(message.extra) if message.type is aiohttp.WSMsgType.CLOSE and message.extra else ""
        raise VenueUnavailable(f"WebSocket {self._url} is gone: {self._why_closed(said)}.")

    def _why_closed(self, said: str) -> str:
        error = self._socket.exception()
        if error is not None:
            return _reason(error)
        return f"closed by the exchange with code {self._socket.close_code}" + (f" ({said})" if said else "")


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectionResetError):
        return "the connection was reset"  # its own text tells of our write that found it so
    return str(error) or type(error).__name__
