"""Here `store` and `proxy` stand before both servers, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from perseus.store import Store
from tests.support.proxy import FaultProxy
from tests.support.servers import Server


@pytest.fixture
def store(server: Server, connect: Callable[..., Store]) -> Store:
    """A connection to `server`."""
    return connect(server.url)


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultProxy]:
    """A faulty network in front of `server`."""
    with FaultProxy(server.url) as proxy:
        yield proxy
