"""`perseus admins`: who may look at the network and command it, and how they prove who they are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import click
import msgspec

from perseus.cli import tokens
from perseus.cli.data import Change, changing, looking
from perseus.cli.options import database_options
from perseus.cli.output import columns, echo_json, say
from perseus.cli.simulated import find
from perseus.errors import BadUsage
from perseus.model import Role
from perseus.settings import Settings

if TYPE_CHECKING:  # slow to import: only the commands do
    from perseus.database.admins import Admin
    from perseus.database.audit import AuditEntry

_ROLE = click.Choice([role.value for role in Role])


class AdminsView(msgspec.Struct, frozen=True, kw_only=True):
    """What `perseus admins list --json` prints."""

    admins: Sequence[Admin]


class AuditView(msgspec.Struct, frozen=True, kw_only=True):
    """What `perseus admins audit --json` prints, newest first."""

    entries: Sequence[AuditEntry]


@click.group()
def admins() -> None:
    """The people who may look at the network, and those who may command it.

    A viewer looks; an operator also acknowledges and mutes incidents, and tests channels; an owner may do no more over
    the API yet. A token never does more than its owner.
    """


for command in (tokens.token, tokens.tokens, tokens.revoke):
    admins.add_command(command)


@admins.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object (docs/cli.md).")
@database_options
def list_(*, as_json: bool, settings: Settings) -> int:
    """Every admin, by e-mail address."""
    from perseus.database import admins

    found = looking(settings, admins.read_all)
    if as_json:
        echo_json(msgspec.json.encode(AdminsView(admins=found)))
        return 0
    if not found:
        say("There are no admins yet. Add the first one: `perseus admins add EMAIL --role owner`.")
        return 0
    rows = [["e-mail address", "name", "role", "", "password", "since"]]
    for each in found:
        activity = "active" if each.is_active else "disabled"
        password = "yes" if each.has_password else "no"
        rows.append([each.email, each.display_name, each.role, activity, password, each.created_at[:10]])
    for line in columns(rows, dim=lambda row: row[3] == "disabled"):
        click.echo(line)
    return 0


@admins.command()
@click.argument("email")
@click.option("--role", type=_ROLE, default=Role.VIEWER.value, show_default=True, help="The most they may do.")
@click.option("--name", default="", metavar="TEXT", help="As people read it. Default: from the e-mail address.")
@click.option("--password", "asks", is_flag=True, help="Ask for a password, or read it from stdin. Default: none.")
@database_options
def add(*, email: str, role: str, name: str, asks: bool, settings: Settings) -> int:
    """Add the admin EMAIL. Without a password they log in by a link (`perseus admins link`)."""
    from perseus.database import admins, passwords

    password = read_password() if asks else None

    async def work(change: Change) -> Admin:
        kept = None if password is None else await passwords.hashed(password)
        return await admins.add(
            change.connection,
            email,
            display_name=name,
            role=Role(role),
            password_hash=kept,
            by=change.by,
            now_ms=change.now_ms,
        )

    added = changing(settings, work)
    how = "with the password given" if asks else f"by `perseus admins link {added.email}`"
    click.echo(f"Added {added.email} ({added.display_name}) as {added.role}. They log in {how}.")
    return 0


@admins.command()
@click.argument("email")
@click.option("--role", type=_ROLE, help="The most they may do from now on.")
@click.option("--enable/--disable", "is_active", default=None, help="Let them in again, or keep them out.")
@click.option("--password", "asks", is_flag=True, help="Ask for a new password, or read it from stdin.")
@click.option("--no-password", is_flag=True, help="Forget the password: they log in by a link only.")
@database_options
def change(
    *, email: str, role: str | None, is_active: bool | None, asks: bool, no_password: bool, settings: Settings
) -> int:
    """Change what EMAIL may do or how they log in. A new password, and --disable, end their sessions."""
    from perseus.database import admins, passwords

    if role is None and is_active is None and not asks and not no_password:
        raise BadUsage("Nothing to change. Give --role, --enable, --disable, --password or --no-password.")
    if asks and no_password:
        raise BadUsage("Give --password or --no-password, not both.")
    password = read_password() if asks else None

    async def work(change: Change) -> Admin:
        connection, by, now_ms = change
        admin = await admins.named(connection, email)
        if role is not None:
            admin = await admins.set_role(connection, email, Role(role), by=by, now_ms=now_ms)
        if asks or no_password:
            kept = None if password is None else await passwords.hashed(password)
            admin = await admins.set_password(connection, email, kept, by=by, now_ms=now_ms)
        if is_active is not None:
            admin = await admins.set_active(connection, email, is_active, by=by, now_ms=now_ms)
        return admin

    changed = changing(settings, work)
    with_password = "with" if changed.has_password else "without"
    activity = "active" if changed.is_active else "disabled"
    click.echo(f"{changed.email} is {changed.role}, {activity}, {with_password} a password.")
    return 0


@admins.command()
@click.argument("email")
@database_options
def link(*, email: str, settings: Settings) -> int:
    """Print a link that logs EMAIL in once, within 15 minutes. Whoever has it is let in."""
    from perseus.database import admins, login_links

    async def work(change: Change) -> str:
        admin = await admins.named(change.connection, email)
        return await login_links.create(change.connection, admin, by=change.by, now_ms=change.now_ms)

    secret = changing(settings, work)
    url, doubt = address(settings)
    say(
        f"This logs {email} in once, within {login_links.LIFETIME_MS // 60_000} minutes; send it to nobody else.{doubt}"
    )
    click.echo(f"{url}/login?token={secret}")
    return 0


@admins.command()
@click.option("--count", default=50, show_default=True, type=click.IntRange(1, 100_000), help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object (docs/cli.md).")
@database_options
def audit(*, count: int, as_json: bool, settings: Settings) -> int:
    """Who changed what: the newest entries of the audit log, newest first."""
    from perseus.database import audit

    found = looking(settings, partial(audit.entries, count=count))
    if as_json:
        echo_json(msgspec.json.encode(AuditView(entries=found)))
        return 0
    rows = [["when (UTC)", "who", "what", "subject", "details"]]
    for each in found:
        details = msgspec.json.encode(each.details).decode() if each.details else ""
        rows.append([each.at[:19].replace("T", " "), each.actor, each.action, each.subject, details])
    for line in columns(rows):
        click.echo(line)
    return 0


def address(settings: Settings) -> tuple[str, str]:
    """Where browsers find the pages, and what a person should know of it where that is not certain.

    PUBLIC_URL; else where the `perseus up` on this database says it is; else where HOST and PORT would have it.
    """
    if settings.public_url:
        return settings.public_url, ""
    running = find(settings.data_dir) if settings.has_own_database else None
    if running is not None and running.url is not None:
        return running.url, ""
    host = {"0.0.0.0": "localhost", "::": "localhost"}.get(settings.host, settings.host)  # noqa: S104  it is compared
    default = "the default " if settings.sources["PORT"] == "default" else ""
    doubt = (
        f" It is for a web server at {default}port {settings.port} of this machine; if it is elsewhere, set "
        f"PERSEUS_PUBLIC_URL to the address people use, or PERSEUS_PORT, and make another."
    )
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}", doubt


def read_password() -> str:
    """A password from the terminal, typed twice, or the first line of stdin. Never from the command line, which others
    can see.
    """
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt="Once more"))
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise BadUsage("There is no password on stdin: give it as one line, or run this in a terminal.")
    return password
