"""The access table: every procedure x every role x every state a credential can be in x every transport.

What must come of it is worked out here from the rules alone; the guard is not asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

from perseus.database import admins
from perseus.model import Role
from tests.web.asking import OK, READS_ONLY, TRANSPORTS, WITH_PARAMS, Ask
from tests.web.site import BY, RULES_HERE, Site, stand_ins

_RANK = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.OWNER: 2}
_AT_ONCE = 12
COOKIE = "perseus_session"


class Shown(NamedTuple):
    """What a request shows, and what the most is it may do (None: nothing), or why it may not.

    `reads_as`: that for requests which only read, where it differs.
    """

    name: str
    headers: dict[str, str]
    role: Role | None
    reason: str = ""
    token: str | None = None
    reads_as: Role | None = None


def bearer(token: str) -> dict[str, str]:
    """The header a program sends. Its case is up to the sender."""
    return {"Authorization": f"bearer {token}"}


async def everything_shown(site: Site) -> list[Shown]:
    """People of each role, with each kind of credential in each state."""
    unknown = "perseus_" + "x" * 43
    shown = [
        Shown("nothing", {}, None, "missing"),
        Shown("malformed header", {"authorization": "Bearer"}, None, "malformed", token="short"),
        Shown("two headers in one", bearer(f"{unknown}, Bearer {unknown}"), None, "malformed"),
        Shown("no bearer", {"authorization": f"Digest {unknown}"}, None, "malformed"),
        Shown("unknown token", bearer(unknown), None, "unknown", token=unknown),
        Shown("unknown session", site.own | {"cookie": f"{COOKIE}={unknown}"}, None, "unknown"),
        Shown("malformed session", site.own | {"cookie": f"{COOKIE}=%00"}, None, "missing"),
    ]
    await site.admin("root@example.org", Role.OWNER)
    for role in Role:
        shown += await _tokens(site, role)
        shown += await _sessions(site, role)
    return shown


async def _tokens(site: Site, role: Role) -> list[Shown]:
    person = await site.admin(f"{role}@example.org", role)
    boss = await site.admin(f"boss-of-{role}@example.org", Role.OWNER)
    demoted = await site.admin(f"demoted-to-{role}@example.org", Role.OWNER)
    gone = await site.admin(f"gone-{role}@example.org", role)
    of_demoted = await site.token(demoted, Role.OWNER)
    of_gone = await site.token(gone, role)
    revoked = await site.token(person, role)
    await site.revoke(revoked)
    await site.set_active(gone.email, False)
    async with site.database.begin() as connection:
        await admins.set_role(connection, demoted.email, role, by=BY, now_ms=site.clock.wall_ms())
    found: list[tuple[str, str, Role | None, str]] = [
        (f"{role}'s token", await site.token(person, role), role, ""),
        (f"token of an owner for a {role}", await site.token(boss, role), role, ""),
        (f"owner's token of one who is {role} now", of_demoted, role, ""),
        (f"{role}'s expired token", await site.token(person, role, expires_in_s=-1), None, "expired"),
        (f"{role}'s revoked token", revoked, None, "revoked"),
        (f"token of a disabled {role}", of_gone, None, "disabled"),
    ]
    return [Shown(name, bearer(token), may, why, token=token) for name, token, may, why in found]


async def _sessions(site: Site, role: Role) -> list[Shown]:
    person = site.admins[f"{role}@example.org"]
    gone = await site.admin(f"left-{role}@example.org", role)
    of_gone = await site.session(gone)
    await site.set_active(gone.email, False)
    cookie = {"cookie": f"{COOKIE}={await site.session(person)}"}
    expired = {"cookie": f"{COOKIE}={await site.session(person, expires_in_s=-1)}"}
    no_token = {"authorization": "Bearer wrong-wrong-wrong-wrong"}
    return [
        Shown(f"{role}'s session", site.own | cookie, role),
        Shown(f"{role}'s session, no Sec-Fetch-Site", {"origin": site.url} | cookie, role),
        Shown(f"{role}'s expired session", site.own | expired, None, "expired"),
        Shown(f"session of a disabled {role}", site.own | {"cookie": f"{COOKIE}={of_gone}"}, None, "disabled"),
        Shown(f"{role}'s session under a bad token", site.own | cookie | no_token, None, "unknown"),
        Shown(f"{role}'s session from another site", {"sec-fetch-site": "cross-site"} | cookie, None, "cross_site"),
        Shown(f"{role}'s session from a neighbour", {"sec-fetch-site": "same-site"} | cookie, None, "cross_site"),
        Shown(f"{role}'s session of another origin", {"origin": "http://evil.example"} | cookie, None, "cross_site"),
        Shown(f"{role}'s session of no origin", {"origin": "null"} | cookie, None, "cross_site"),
        Shown(f"{role}'s session of nobody knows where", cookie, None, "cross_site", reads_as=role),
    ]


async def faults(site: Site, *, only: str = "") -> list[str]:
    """Every cell of the table that is not as it must be; `only`: of what is shown under a name with this in it."""
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def look(shown: Shown, path: str, ask: Ask) -> str | None:
        async with at_once:
            said = await ask(site, path, shown.headers, shown.token)
        wanted = _wanted(shown, path, ask)
        return None if said == wanted else f"{path} {ask.__name__} with {shown.name}: {said}, not {wanted}"

    cells = [
        look(shown, path, ask)
        for shown in await everything_shown(site)
        if only in shown.name
        for path, ask in _ways()
        if ask not in WITH_PARAMS or shown.token is not None
    ]
    assert cells
    return [fault for fault in await asyncio.gather(*cells) if fault is not None]


def _ways() -> Iterator[tuple[str, Ask]]:
    router = stand_ins()
    for path in router:
        for ask in TRANSPORTS[router[path].kind]:
            yield path, ask


def _wanted(shown: Shown, path: str, ask: Ask) -> str:
    role = shown.reads_as if shown.reads_as is not None and ask in READS_ONLY else shown.role
    if role is None:
        return f"UNAUTHORIZED {shown.reason}"
    return OK if _RANK[role] >= _RANK[RULES_HERE[path]] else "FORBIDDEN"
