"""`perseus admins token`, `tokens` and `revoke`: what programs show instead of a password."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
import msgspec

from perseus.cli.data import Change, changing, looking
from perseus.cli.options import database_options
from perseus.cli.output import columns, echo_json, say
from perseus.clock import SystemClock, unix_ms
from perseus.errors import BadUsage
from perseus.model import Role
from perseus.settings import Settings

if TYPE_CHECKING:  # slow to import: only the commands do
    from perseus.database.admins import Admin
    from perseus.database.engine import Transaction
    from perseus.database.tokens import Token

_LASTS = re.compile(r"(?P<count>\d{1,5})(?P<unit>[hdwy])")
_UNIT_MS = {"h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "y": 31_536_000_000}


class TokenView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A token as JSON. `state` is valid, expired, revoked or disabled (its admin is)."""

    id: int
    name: str
    email: str
    role: Role
    state: str
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None


class TokensView(msgspec.Struct, frozen=True, kw_only=True):
    """What `perseus admins tokens --json` prints."""

    tokens: Sequence[TokenView]


@click.command()
@click.argument("email")
@click.option("--name", required=True, metavar="TEXT", help="What it is for.")
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    default=Role.VIEWER.value,
    show_default=True,
    help="The most it may do; never more than its owner.",
)
@click.option("--expires", default="90d", show_default=True, metavar="WHEN", help="12h, 90d, 8w, 1y or never.")
@database_options
def token(*, email: str, name: str, role: str, expires: str, settings: Settings) -> int:
    """Make an API token of the admin EMAIL and print it: it is shown this once and kept nowhere."""
    from perseus.database import admins, tokens

    lasts_ms = _lasts_ms(expires)

    async def work(change: Change) -> tuple[str, Token]:
        connection, by, now_ms = change
        admin = await admins.named(connection, email)
        return await tokens.create(
            connection,
            admin,
            name=name,
            role=Role(role),
            expires_ms=None if lasts_ms is None else now_ms + lasts_ms,
            by=by,
            now_ms=now_ms,
        )

    secret, made = changing(settings, work)
    until = f"until {made.expires_at[:16].replace('T', ' ')} UTC" if made.expires_at else "until it is revoked"
    say(f"Token {made.id} of {email}, {made.role}, valid {until}. It is shown this once:")
    click.echo(secret)
    return 0


@click.command()
@click.argument("email", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object (docs/cli.md).")
@database_options
def tokens(*, email: str | None, as_json: bool, settings: Settings) -> int:
    """The API tokens of all admins, or of EMAIL: what they may do, until when, and when they were last used."""
    from perseus.database import admins, tokens

    async def work(connection: Transaction) -> list[TokenView]:
        admin_id = None if email is None else (await admins.named(connection, email)).id
        owners = {admin.id: admin for admin in await admins.read_all(connection)}
        found = await tokens.read_all(connection, admin_id=admin_id)
        return [_view(each, owners[each.admin_id], now_ms=SystemClock().wall_ms()) for each in found]

    views = looking(settings, work)
    if as_json:
        echo_json(msgspec.json.encode(TokensView(tokens=views)))
        return 0
    rows = [["id", "name", "of", "role", "", "expires", "last used (UTC)"]]
    for each in views:
        expires, used = each.expires_at or "never", each.last_used_at or "never"
        texts = [each.name, each.email, each.role, each.state, expires[:10], used[:16].replace("T", " ")]
        rows.append([str(each.id), *texts])
    for line in columns(rows, right=(0,), dim=lambda row: row[4] != "valid"):
        click.echo(line)
    return 0


@click.command()
@click.argument("token_id", metavar="ID", type=int)
@database_options
def revoke(*, token_id: int, settings: Settings) -> int:
    """Make the token ID (`perseus admins tokens`) useless, for good."""
    from perseus.database import tokens

    async def work(change: Change) -> Token:
        return await tokens.revoke(change.connection, token_id, by=change.by, now_ms=change.now_ms)

    revoked = changing(settings, work)
    click.echo(f"Token {revoked.id} ({revoked.name}) is revoked since {revoked.revoked_at}.")
    return 0


def _view(token: Token, owner: Admin, *, now_ms: int) -> TokenView:
    return TokenView(
        id=token.id,
        name=token.name,
        email=owner.email,
        role=token.role,
        state=_state(token, owner, now_ms=now_ms),
        created_at=token.created_at,
        expires_at=token.expires_at,
        revoked_at=token.revoked_at,
        last_used_at=token.last_used_at,
    )


def _state(token: Token, owner: Admin, *, now_ms: int) -> str:
    if token.revoked_at is not None:
        return "revoked"
    if token.expires_at is not None and unix_ms(token.expires_at) <= now_ms:
        return "expired"
    return "valid" if owner.is_active else "disabled"


def _lasts_ms(text: str) -> int | None:
    """Milliseconds of `90d`; None for `never`. Raises: BadUsage."""
    match = _LASTS.fullmatch(text)
    if text == "never":
        return None
    if match is None or match["count"].strip("0") == "":
        raise BadUsage(f"--expires {text!r} is no time. Give 12h, 90d, 8w, 1y or never.")
    return int(match["count"]) * _UNIT_MS[match["unit"]]
