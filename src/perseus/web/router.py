"""Every procedure of the API: its name and the function behind it, one table. Who may call it: `access.py`."""

from __future__ import annotations

from perseus.web import network, notify
from perseus.web.trpc import Router

ROUTER = Router({**network.PROCEDURES, **notify.PROCEDURES})
