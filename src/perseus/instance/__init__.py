"""The producer: one process able to serve one exchange. Start reading at `run.py`.

The package can be called: `perseus.instance("kraken")` is documented, and once anything in here has been imported,
Python makes that name this package. What it calls is `run.instance`.
"""

from __future__ import annotations

import sys
from contextlib import AbstractAsyncContextManager
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perseus.instance.instance import Instance
    from perseus.settings import Settings


class _CallablePackage(ModuleType):
    def __call__(
        self, exchange: str, *, store: str | None = None, settings: Settings | None = None
    ) -> AbstractAsyncContextManager[Instance]:
        """See `perseus.instance.run.instance`."""
        from perseus.instance.run import instance

        return instance(exchange, store=store, settings=settings)


sys.modules[__name__].__class__ = _CallablePackage
