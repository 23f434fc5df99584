"""Whether alerts are sent, for the commands that say so beside something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perseus.cli.options import reading
from perseus.errors import PerseusError, StoreDenied, StoreUnavailable, UnreadableKey
from perseus.settings import Settings

if TYPE_CHECKING:  # importing the store costs more than the rest of a command
    from perseus.alerting import Alerting
    from perseus.store import Store
    from perseus.store.findings import Finding

WEBHOOKS = "DISCORD_WEBHOOK_URLS"
_UNTOLD = (StoreUnavailable, StoreDenied, UnreadableKey)


async def look(settings: Settings) -> Alerting | None:
    """Whether alerts are sent; None if the store does not tell."""
    from perseus import alerting

    try:
        async with reading(settings) as store:
            return await alerting.read(store)
    except _UNTOLD:
        return None


async def look_at(store: Store) -> Alerting | PerseusError:
    """The same on an open store, or why it does not tell."""
    from perseus import alerting

    try:
        return await alerting.read(store)
    except _UNTOLD as error:
        return error


def remark(seen: Alerting | PerseusError) -> str | None:
    """The sentences for a person, if there are any to say: who is not told, and what else the notifier cannot do."""
    if isinstance(seen, PerseusError):
        return f"Whether alerts are being sent cannot be told: {seen}"
    return " ".join(said for said in (seen.why, _trouble(seen)) if said) or None


def untold(settings: Settings) -> str | None:
    """What a server says that has nobody to tell; None if it has."""
    if settings.discord_webhooks:
        return None
    overlooked = " (.env has it without PERSEUS_)" if is_overlooked(settings) else ""
    return f"No alerts are sent from here: PERSEUS_{WEBHOOKS} is not set{overlooked}; docs/alerts.md says how"


def is_overlooked(settings: Settings) -> bool:
    """Whether webhooks were meant to be set, and are not."""
    return WEBHOOKS in settings.overlooked


def check_webhooks(settings: Settings) -> list[Finding]:
    """A finding about the webhooks set here if one is not Discord's, which a typo is as well as a proxy."""
    from perseus.store.findings import Finding, Severity

    foreign = [webhook for webhook in settings.discord_webhooks if not webhook.is_discords]
    if not foreign:
        return []
    said = ", ".join(f"{webhook.name} goes to {webhook.host}" for webhook in foreign)
    fix = (
        f"If it is, all is well. If it is a typo, correct PERSEUS_{WEBHOOKS} and make a new webhook in Discord: that "
        f"host may have been sent the token."
    )
    return [Finding(name="webhooks", severity=Severity.WARN, says=f"{said}: not Discord's; a proxy of yours?", fix=fix)]


async def check_alerts(store: Store) -> list[Finding]:
    """The findings about alerts. Instances need none, so each is a warning at worst."""
    from perseus.store.findings import Finding, Severity

    seen = await look_at(store)
    if isinstance(seen, PerseusError):
        fix = "See what `perseus status` says; docs/store.md has the ACL line for each role."
        return [Finding(name="alerts", severity=Severity.UNKNOWN, says=remark(seen) or "", fix=fix)]
    found = [_sent(seen)]
    if (says := _trouble(seen)) is not None and seen.holder is not None:
        fix = f"See the log of the web server on {seen.holder.hostname}; `perseus doctor` there looks at its database."
        found.append(Finding(name="notifier", severity=Severity.WARN, says=says, fix=fix))
    return found


def _sent(seen: Alerting) -> Finding:
    from perseus.store.findings import Finding, Severity, fine

    if seen.complaint is not None:
        says, fix = seen.complaint
        return Finding(name="alerts", severity=Severity.WARN, says=says, fix=fix)
    view = seen.view()
    by = f" by {view.holder.hostname} since {view.holder.since}" if view.holder else ""
    to = f" to {', '.join(channel.name for channel in view.channels)}" if view.channels else ""
    return fine("alerts", f"Sent{by}{to}.")


def _trouble(seen: Alerting) -> str | None:
    """What the notifier that runs cannot do besides, as a sentence."""
    trouble = seen.view().trouble
    return f"{trouble.rstrip('.')}." if trouble else None
