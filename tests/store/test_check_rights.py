"""Which rights the store's user lacks, each with the fragment that grants it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.store.checking import OK, REFUSE, commands_in, follow, looked_at
from tests.support.servers import BINARIES, Server

KEYS = "~{exchange:*:status}:* ~exchange:*:status ~logs:network:*"
NEEDED = (
    *("time", "get", "pttl", "set", "del", "expire", "xadd", "xrevrange", "xread", "zadd", "zrange"),
    *("zremrangebyscore", "zremrangebyrank", "publish", "evalsha", "eval"),
)


@pytest.fixture
def server_with_user(kind: str, _running_servers: Callable[[str], Server]) -> Iterator[Callable[[str], Server]]:
    """The shared server of this kind with a user `us` of these rights."""
    server = _running_servers(kind)
    server.call("FLUSHALL")

    def with_user(line: str) -> Server:
        server.call("ACL", "SETUSER", "us", "reset", "on", ">secret", *line.split())
        return server

    yield with_user
    server.call("ACL", "DELUSER", "us")


@pytest.mark.parametrize("kind", sorted(BINARIES))
@pytest.mark.parametrize(
    ("line", "missing"),
    [
        *((f"{KEYS} &* +@all -{command}", [f"+{command}"]) for command in NEEDED),
        (f"{KEYS} resetchannels +@all", ["&network:wake"]),
        ("~{exchange:*:status}:* ~logs:network:* &* +@all", ["~exchange:*:status"]),
        ("~exchange:*:status ~logs:network:* &* +@all", ["~{exchange:*:status}:*"]),
        ("~{exchange:*:status}:* ~exchange:*:status &* +@all", ["~logs:network:*"]),
        (f"{KEYS.replace('~', '%R~')} &* +@all", ["~{exchange:*:status}:*", "~exchange:*:status", "~logs:network:*"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_missing_right_is_named_and_granted_by_the_fix(
    server_with_user: Callable[[str], Server], line: str, missing: list[str]
) -> None:
    """Otherwise an instance fails in the middle of its work, one right at a time."""
    server = server_with_user(line)
    rights = (await looked_at(server.url_for("us", "secret")))["rights"]
    assert rights.severity is REFUSE
    (((*_setuser, user), granted),) = ((words[:3], words[3:]) for words in commands_in(rights.fix))
    assert (user, sorted(granted)) == ("us", sorted(missing))
    follow(rights.fix, server)
    assert (await looked_at(server.url_for("us", "secret")))["rights"].severity is OK
    assert server.all_keys() == []
