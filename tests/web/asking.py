"""Calling a procedure over each transport, and what came of it in one word."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from tests.web.site import Site, stand_ins

Ask = Callable[..., Awaitable[str]]
OK = "ok"
_WITHIN_S = 20.0


async def by_get(site: Site, path: str, headers: Mapping[str, str], token: str | None) -> str:
    """GET, one call."""
    async with site.http.get(f"{site.url}/trpc/{path}", headers=headers) as response:
        return _said(await response.json(content_type=None))


async def by_post(site: Site, path: str, headers: Mapping[str, str], token: str | None) -> str:
    """POST, one call: a mutation, or a query sent that way."""
    json = {"content-type": "application/json"}
    async with site.http.post(f"{site.url}/trpc/{path}", headers={**headers, **json}, data=b"") as response:
        return _said(await response.json(content_type=None))


async def by_get_batch(site: Site, path: str, headers: Mapping[str, str], token: str | None) -> str:
    """GET, a batch of three, all of which must say the same."""
    async with site.http.get(f"{site.url}/trpc/{path},{path},{path}?batch=1&input=%7B%7D", headers=headers) as response:
        return _all_said(await response.json(content_type=None))


async def by_post_batch(site: Site, path: str, headers: Mapping[str, str], token: str | None) -> str:
    """POST, a batch of two."""
    url, json = f"{site.url}/trpc/{path},{path}?batch=1", {"content-type": "application/json"}
    async with site.http.post(url, headers={**headers, **json}, data=b"{}") as response:
        return _all_said(await response.json(content_type=None))


async def by_jsonl(site: Site, path: str, headers: Mapping[str, str], token: str | None) -> str:
    """GET, a batch answered line by line."""
    url = f"{site.url}/trpc/{path},{path}?batch=1&input=%7B%7D"
    async with site.http.get(url, headers={**headers, "trpc-accept": "application/jsonl"}) as response:
        lines = (await response.text()).strip().splitlines()
    return _all_said([msgspec.json.decode(line)[2][0][0] for line in lines[1:]])


async def by_events(site: Site, path: str, headers: Mapping[str, str], token: str | None) -> str:
    """An event stream, as a program opens it."""
    return await _events(site, f"{site.url}/trpc/{path}", headers)


async def by_events_with_params(site: Site, path: str, headers: Mapping[str, str], token: str | None) -> str:
    """An event stream as a browser opens it, with the token in the URL."""
    params = quote(msgspec.json.encode({"token": token}).decode())
    return await _events(site, f"{site.url}/trpc/{path}?connectionParams={params}", {})


async def by_socket(site: Site, path: str, headers: Mapping[str, str], token: str | None) -> str:
    """A WebSocket with what it takes in the handshake."""
    async with site.http.ws_connect(f"{site.url}/trpc", headers=headers, origin=None) as socket:
        return await _call(socket, path)


async def by_socket_with_params(site: Site, path: str, headers: Mapping[str, str], token: str | None) -> str:
    """A WebSocket with the token in its first frame."""
    async with site.http.ws_connect(f"{site.url}/trpc?connectionParams=1") as socket:
        await socket.send_json({"method": "connectionParams", "data": {"authorization": f"Bearer {token}"}})
        return await _call(socket, path)


TRANSPORTS: dict[str, tuple[Ask, ...]] = {
    "query": (by_get, by_post, by_get_batch, by_post_batch, by_jsonl, by_socket, by_socket_with_params),
    "mutation": (by_post, by_post_batch, by_socket, by_socket_with_params),
    "subscription": (by_events, by_events_with_params, by_socket, by_socket_with_params),
}
WITH_PARAMS = (by_events_with_params, by_socket_with_params)
READS_ONLY = (by_get, by_get_batch, by_jsonl, by_events)


async def _events(site: Site, url: str, headers: Mapping[str, str]) -> str:
    async with asyncio.timeout(_WITHIN_S):
        async with site.http.get(url, headers={**headers, "accept": "text/event-stream"}) as response:
            if response.content_type != "text/event-stream":
                return _said(await response.json(content_type=None))
            event = ""
            async for line in response.content:
                if line.startswith(b"event: "):
                    event = line[7:].strip().decode()
                elif line.startswith(b"data: ") and event in ("", "serialized-error"):
                    return OK if not event else _error(msgspec.json.decode(line[6:]))
                elif not line.strip():
                    event = ""
    return "nothing"


async def _call(socket: aiohttp.ClientWebSocketResponse, path: str) -> str:
    async with asyncio.timeout(_WITHIN_S):
        await socket.send_json({"id": 1, "method": stand_ins()[path].kind, "params": {"path": path}})
        async for frame in socket:
            if frame.type is aiohttp.WSMsgType.TEXT and frame.data not in ("PING", "PONG"):
                return _said(msgspec.json.decode(frame.data))
    return f"closed {socket.close_code}"


def _all_said(answers: Any) -> str:
    if not isinstance(answers, list):
        return _said(answers)
    said = {_said(each) for each in answers}
    return said.pop() if len(said) == 1 else f"different: {sorted(said)}"


def _said(answer: Any) -> str:
    return OK if "result" in answer else _error(answer["error"])


def _error(error: Any) -> str:
    data = error["data"]
    return " ".join([data["code"], *([data["reason"]] if "reason" in data else [])])
