"""Perseus: every exchange has exactly one live instance, and everyone can see it."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # as type checkers know it: `typing` itself takes as long to load as all the rest here

if TYPE_CHECKING:
    from typing import Any

    from perseus.errors import ExchangeClaimed, LeaseLost, PerseusError, StopRequested
    from perseus.instances.instance import Instance
    from perseus.instances.run import instance
    from perseus.network.observe import Network

# Loaded on first use: `import perseus` must not cost what the store's client does.
_HOME = {
    "ExchangeClaimed": "perseus.errors",
    "Instance": "perseus.instances.instance",
    "LeaseLost": "perseus.errors",
    "Network": "perseus.network.observe",
    "PerseusError": "perseus.errors",
    "StopRequested": "perseus.errors",
    "instance": "perseus.instances.run",
}

__all__ = ["ExchangeClaimed", "Instance", "LeaseLost", "Network", "PerseusError", "StopRequested", "instance"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'perseus' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
