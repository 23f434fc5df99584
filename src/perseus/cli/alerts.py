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
    """The sentence for a person, if there is one to say."""
    if isinstance(seen, PerseusError):
        return f"Whether alerts are being sent cannot be told: {seen}"
    return seen.why


async def check_alerts(store: Store) -> Finding:
    """The finding about alerts. Instances need none, so it is a warning at worst."""
    from perseus.store.findings import Finding, Severity, fine

    seen = await look_at(store)
    says = remark(seen)
    if isinstance(seen, PerseusError):
        fix = "See what `perseus status` says; docs/store.md has the ACL line for each role."
        return Finding(name="alerts", severity=Severity.UNKNOWN, says=says or "", fix=fix)
    if says is not None or seen.holder is None:
        what, _, fix = (says or "").partition(". ")
        return Finding(name="alerts", severity=Severity.WARN, says=f"{what}.", fix=fix)
    channels = seen.health.channels if seen.health else ()
    names = ", ".join(channel.name for channel in channels if channel.state != "dead")
    return fine("alerts", f"Sent by {seen.holder.hostname} since {seen.holder.since} to {names}.")
