"""Procedures and routers: what annotations say, and mistakes that show when the program starts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from perseus.web.trpc import (
    Encoded,
    Limits,
    Procedure,
    Router,
    Server,
    Tracked,
    TRPCError,
    mutation,
    query,
    subscription,
)
from perseus.web.trpc.errors import error_shape
from tests.trpc.wire import get, post, running


class Input(msgspec.Struct, rename="camel"):
    some_name: str = "x"


NO_INPUT = Input()


async def plain(context: Any) -> list[int]:
    return [1]


async def with_input(context: Any, input: Input) -> None:
    pass


async def with_default(context: Any, input: Input = NO_INPUT) -> Encoded:
    return Encoded(b'{"already":\n"JSON"}')


async def values(context: Any, input: Input | None) -> AsyncIterator[Tracked[Input]]:
    yield Tracked("1", Input())


def test_types_are_read_from_annotations() -> None:
    """What is generated for TypeScript is read from here."""
    assert (query(plain).input, query(plain).output, query(plain).input_is_optional) == (None, list[int], True)
    assert (mutation(with_input).input, mutation(with_input).input_is_optional) == (Input, False)
    assert (query(with_default, output=list[str]).output, query(with_default).input_is_optional) == (list[str], True)
    assert subscription(values).output == Tracked[Input]
    assert subscription(values).input_is_optional


def test_mistakes_show_at_the_start() -> None:
    """Not when the first client calls."""

    def not_async(context: Any) -> int:
        return 1

    async def too_many(context: Any, one: int, two: int) -> int:
        return 1

    for wrong in (not_async, too_many):
        with pytest.raises(TypeError):
            query(wrong)
    for path in ("", "a,b", "/a", "a/"):
        with pytest.raises(ValueError, match="No client can call"):
            Router({path: query(plain)})
    with pytest.raises(ValueError, match="must be less than"):
        Limits(events_ping_s=5, events_reconnect_s=5)


def test_router_can_be_looked_into() -> None:
    """Access tables and type generators go through it."""
    router = Router({"b.x": query(plain), "a": mutation(plain)})
    assert list(router) == ["b.x", "a"]
    assert len(router) == 2
    assert router["a"].kind == router.procedures["a"].kind == "mutation"
    assert router.get("__class__") is None


def test_data_of_an_error_cannot_lie_about_its_code() -> None:
    """Clients decide by it."""
    shape = error_shape(TRPCError("NOT_FOUND", data={"code": "OK", "httpStatus": 200, "observedAt": "now"}), "a.b")
    assert shape == {
        "message": "NOT_FOUND",
        "code": -32004,
        "data": {"observedAt": "now", "code": "NOT_FOUND", "httpStatus": 404, "path": "a.b"},
    }


class StoreAway(Exception):
    """An exception of the program."""


async def test_own_exceptions_are_described(capsys: pytest.CaptureFixture[str]) -> None:
    """By the program, with data; where the describing fails itself, the client still gets an answer."""

    def describe(error: Exception) -> TRPCError | None:
        if isinstance(error, StoreAway):
            return TRPCError("SERVICE_UNAVAILABLE", "The store is away", {"observedAt": "12:00"})
        if isinstance(error, KeyError):
            raise RuntimeError("describing failed")  # noqa: TRY004 - a fault of the describing itself
        return None

    async def away(context: Any) -> int:
        raise StoreAway

    async def broken(context: Any) -> int:
        raise KeyError("secret")

    async def unfit(context: Any) -> object:
        return object()

    async def unfit_data(context: Any) -> int:
        raise TRPCError("CONFLICT", "so it is", {"what": object()})

    async def context(_: Any) -> None:
        return None

    procedures = {"away": away, "broken": broken, "unfit": unfit, "unfitData": unfit_data, "fine": with_default}
    router = Router({name: query(one) for name, one in procedures.items()})
    with running(Server(router, context=context, describe_error=describe)) as url:
        answer = await get(url, "/away")
        assert (answer.status, answer.error["data"]["observedAt"]) == (503, "12:00")
        for path in ("/broken", "/unfit"):
            answer = await get(url, path)
            assert answer.status == 500
            assert answer.error["message"].startswith("Internal server error (reference ")
        assert (await get(url, "/unfitData")).error["data"] == {
            "code": "CONFLICT",
            "httpStatus": 409,
            "path": "unfitData",
        }
        assert (await get(url, "/fine")).body == b'{"result":{"data":{"already": "JSON"}}}'
        reference = answer.error["message"].split("reference ")[1].rstrip(")")
    assert reference in capsys.readouterr().out


async def test_what_may_be_refused() -> None:
    """Batches, and queries by POST."""

    async def context(_: Any) -> None:
        return None

    router = Router({"plain": query(plain)})
    with running(Server(router, context=context, batching=False, method_override=False)) as url:
        assert (await get(url, "/plain?batch=1")).error["message"] == "Batching is not enabled on the server"
        answer = await post(url, "/plain", b"")
        assert (answer.status, answer.headers["allow"]) == (405, "GET")


async def test_guard_may_wait() -> None:
    """Whether someone may call can be a question to a database; what it raises is the answer."""
    asked: list[tuple[str, str]] = []

    async def context(_: Any) -> str:
        return "guest"

    async def authorize(context: str, path: str, procedure: Procedure) -> None:
        asked.append((path, procedure.kind))
        raise TRPCError("FORBIDDEN", f"{context} may not")

    with running(Server(Router({"plain": query(plain)}), context=context, authorize=authorize)) as url:
        answer = await get(url, "/plain")
    assert (answer.status, answer.error["message"], asked) == (403, "guest may not", [("plain", "query")])
