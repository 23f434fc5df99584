"""Who may call what: one table, procedure path → the least role that may.

Wiring (`web/app.py`):

    check_rules(router)                               # at start: a procedure without a rule never gets served
    Server(router, context=…, authorize=Access(identities).authorize, count=counted(…), allow_origin=("*",), …)

`context` awaits `identities.identify(connection.scope, connection.connection_params)` and keeps it as `context.caller`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from typing import Protocol

from perseus.errors import NotAllowed
from perseus.model import Role
from perseus.web.identity import Caller, Identities, Identity
from perseus.web.limits import RateLimit
from perseus.web.proxies import client_key
from perseus.web.trpc import Count, Procedure

RULES: Mapping[str, Role] = {
    "network.getInstances": Role.VIEWER,
    "network.getActivityLog": Role.VIEWER,
    "network.getExchangeStatus": Role.VIEWER,
    "network.getWarmupStats": Role.VIEWER,
    "network.onChange": Role.VIEWER,
    "notify.getStatus": Role.VIEWER,
    "notify.getIncidents": Role.VIEWER,
    "notify.acknowledge": Role.OPERATOR,
    "notify.mute": Role.OPERATOR,
    "notify.unmute": Role.OPERATOR,
    "notify.test": Role.OPERATOR,
}

_RANK = {role: rank for rank, role in enumerate(Role)}


def counted(calls: RateLimit | None) -> Count | None:
    """What counts each call of a batch or a WebSocket for its client, as the door counts requests only.

    It raises TooOften for one too many.
    """
    return None if calls is None else lambda connection: calls.take(client_key(connection.scope))


class HasCaller(Protocol):
    """What a context must have."""

    @property
    def caller(self) -> Caller:
        """Who calls."""
        ...


def check_rules(paths: Iterable[str], rules: Mapping[str, Role] = RULES) -> None:
    """Compare the router with the table. Raises: RuntimeError naming every path that stands in only one of them."""
    served, ruled = set(paths), set(rules)
    faults = [f"{path} has no rule" for path in sorted(served - ruled)]
    faults += [f"{path} is not served" for path in sorted(ruled - served)]
    if faults:
        raise RuntimeError(f"web/access.py and the router differ: {', '.join(faults)}. Every procedure needs one rule.")


class Access:
    """Lets calls pass by the table of rules."""

    def __init__(self, identities: Identities, *, rules: Mapping[str, Role] = RULES) -> None:
        self._identities, self._rules = identities, rules

    def authorize(self, context: HasCaller, path: str, _procedure: Procedure) -> Awaitable[None] | None:
        """Let a call pass, before its input is read. Raises: NotAllowed; of a WebSocket, NotSignedIn."""
        if context.caller.is_lasting:  # it may have been opened by somebody who is out by now
            return self._authorize_again(context.caller, path)
        self._check(context.caller.identity, path)
        return None

    async def _authorize_again(self, caller: Caller, path: str) -> None:
        await self._identities.look_again(caller)
        self._check(caller.identity, path)

    def _check(self, identity: Identity, path: str) -> None:
        needed = self._rules[path]
        if _RANK[identity.role] >= _RANK[needed]:
            return
        whose = f"{identity.email} has" if identity.via == "session" else "this token has"
        raise NotAllowed(
            f"{path} needs the role {needed}, and {whose} {identity.role}. Ask an owner of this Perseus for more.",
            needed=needed,
            role=identity.role,
        )
