"""Close a port, and lose none of the connections that came through it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence


async def take_no_more(listeners: Sequence[asyncio.Server]) -> None:
    """Close their ports. Whoever is being accepted just now is accepted first.

    asyncio would lose that connection, and leave its socket open for the garbage collector to find.
    """
    loop = asyncio.get_running_loop()
    for door in [door for listener in listeners for door in listener.sockets]:
        loop.remove_reader(door.fileno())
    await asyncio.sleep(0)
    for listener in listeners:
        listener.close()
