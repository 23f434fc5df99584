"""Where the server may listen before anybody could sign in."""

from __future__ import annotations

import pytest

from perseus.clock import SystemClock
from perseus.errors import BadConfiguration
from perseus.model import Role
from perseus.web.binding import check_binding, is_loopback
from tests.web.site import PASSWORD, Site

PUBLIC = ("0.0.0.0", "::", "192.168.1.5", "fra-2.example.org", "")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((host, True) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost", "LocalHost", "::ffff:127.0.0.1")),
        *((host, False) for host in (*PUBLIC, "localhost.evil.example", "127.0.0.1.evil.example", "2130706433")),
    ],
)
def test_loopback_is_only_what_nobody_else_reaches(host: str, expected: bool) -> None:
    """A name may be anybody's; only addresses and `localhost` are known to be ours alone."""
    assert is_loopback(host) is expected


@pytest.mark.parametrize("host", PUBLIC)
async def test_open_door_without_a_key_is_not_opened(site: Site, host: str) -> None:
    """No admin, an admin without anything to sign in with, a disabled one: none of them is a key."""
    clock = SystemClock()
    await check_binding("127.0.0.1", site.database, clock=clock)
    await site.admin("root@example.org", Role.OWNER)
    await site.admin("off@example.org", password=PASSWORD)
    ada = await site.admin("ada@example.org")
    await site.set_active("off@example.org", False)
    await site.token(ada, Role.VIEWER, expires_in_s=-1)
    revoked = await site.token(ada, Role.VIEWER)
    await site.revoke(revoked)
    with pytest.raises(BadConfiguration, match=r"perseus admins add EMAIL --role owner") as refused:
        await check_binding(host, site.database, clock=clock)
    assert refused.value.exit_code == 78


@pytest.mark.parametrize("key", ["password", "token"])
async def test_admin_who_can_sign_in_opens_it(site: Site, key: str) -> None:
    """One is enough, of either kind."""
    ada = await site.admin("ada@example.org", password=PASSWORD if key == "password" else None)
    if key == "token":
        await site.token(ada, Role.VIEWER, expires_in_s=60)
    await check_binding("0.0.0.0", site.database, clock=SystemClock())
