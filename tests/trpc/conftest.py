"""The test application, running."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.trpc.app import trpc_server
from tests.trpc.wire import running

TOKEN = "open-sesame"


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    """A running test application without a token, shared by all tests."""
    with running(trpc_server()) as one:
        yield one


@pytest.fixture(scope="session")
def guarded_url() -> Iterator[str]:
    """A running test application that wants TOKEN for `demo.*`, shared by all tests."""
    with running(trpc_server(TOKEN)) as one:
        yield one
