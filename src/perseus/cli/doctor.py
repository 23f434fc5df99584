"""`perseus doctor`: what is wrong with store, database, host and settings, and a fix with every failure."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import click
import msgspec

from perseus.cli.alerts import check_alerts, check_webhooks
from perseus.cli.host import check_host
from perseus.cli.leases import check_holders, check_timing
from perseus.cli.options import reading, settings_options
from perseus.cli.output import echo_json, glyph, painted, wrapped
from perseus.errors import PerseusError, StoreDenied, StoreUnavailable
from perseus.settings import SettingRow, Settings
from perseus.store import Store
from perseus.store.check import check_usable
from perseus.store.facts import user_of
from perseus.store.findings import Finding, Severity, fine, grant
from perseus.store.rights import rights_denied
from perseus.timing import LeaseTiming

_LOOKS = {
    Severity.OK: ("✔", "ok", "green"),
    Severity.UNKNOWN: ("?", "??", "cyan"),
    Severity.WARN: ("▲", "!!", "yellow"),
    Severity.DOWN: ("✖", "XX", "red"),
    Severity.REFUSE: ("✖", "XX", "red"),
}
_KEEPS_FROM_RUNNING = (Severity.DOWN, Severity.REFUSE)
_NAME_WIDE = 14


class SettingView(msgspec.Struct, frozen=True, kw_only=True):
    """A setting as JSON."""

    name: str
    value: str
    source: str


class DoctorView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What `perseus doctor --json` prints. `exit_code` as the process ends with it."""

    findings: list[Finding]
    settings: list[SettingView]
    exit_code: int


class _Diagnosis(NamedTuple):
    """What is said of the store, its leases and alerts. `exit_code`: 0, or why the store could not be looked at."""

    store: list[Finding]
    leases: list[Finding]
    exit_code: int
    alerts: Sequence[Finding] = ()


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object (docs/cli.md).")
@settings_options
def doctor(*, as_json: bool, settings: Settings) -> int:
    """Look at everything an instance needs, and say how to repair what is wrong.

    Exit code 0 if instances can run here (warnings are worth a look), 1 if not, 2 if the store cannot be reached, 78
    if it refuses our credentials.
    """
    of_host = [*check_host(settings), *check_webhooks(settings)]
    diagnosis = asyncio.run(_diagnosis(settings))
    of_database = [asyncio.run(_database(settings))]
    findings = [*diagnosis.store, *diagnosis.leases, *diagnosis.alerts, *of_database, *of_host]
    refused = any(finding.severity in _KEEPS_FROM_RUNNING for finding in findings)
    exit_code = diagnosis.exit_code or int(refused)
    if as_json:
        rows = [SettingView(name=row.name, value=row.value, source=row.source) for row in settings.rows()]
        echo_json(msgspec.json.encode(DoctorView(findings=findings, settings=rows, exit_code=exit_code)))
        return exit_code
    parts = (
        ("The store", diagnosis.store),
        ("Leases", diagnosis.leases),
        *([("Alerts", diagnosis.alerts)] if diagnosis.alerts else []),
        ("The database", of_database),
        ("This host", of_host),
    )
    for title, those in parts:
        click.echo(painted(title, bold=True))
        for line in _findings_text(those):
            click.echo(line)
        click.echo()
    for line in (*_settings_text(settings.rows()), "", _summary(findings, exit_code=exit_code)):
        click.echo(line)
    return exit_code


async def _database(settings: Settings) -> Finding:
    from perseus.database.check import check_database

    return await check_database(settings.database_url)


async def _diagnosis(settings: Settings) -> _Diagnosis:
    from perseus.clock import SystemClock

    timing = LeaseTiming(settings.heartbeat_interval, settings.lease_ttl)
    said = check_timing(timing)
    try:
        async with reading(settings) as store:
            try:
                usable, holders, alerts = await asyncio.gather(
                    check_usable(store, clock=SystemClock(), timing=timing, replicas=settings.store_wait_replicas),
                    check_holders(store, timing),
                    check_alerts(store),
                )
            except StoreDenied as error:
                return _Diagnosis([_denied(error, store)], [said], error.exit_code)
            return _Diagnosis([fine("store", f"{store.url} answers."), *usable], [said, *holders], 0, alerts)
    except StoreUnavailable as error:
        if settings.is_embedded:
            return _Diagnosis([await _embedded_could_run(settings)], [said], error.exit_code)
        says, _, fix = str(error).partition(" Check ")
        fix = f"Check {fix}" if fix else "See that STORE_URL names it rightly; docs/store.md has every form."
        return _Diagnosis([Finding(name="store", severity=Severity.DOWN, says=says, fix=fix)], [said], error.exit_code)


def _denied(error: StoreDenied, store: Store) -> Finding:
    says, _, fix = str(error).partition(" Check ")
    right = rights_denied(error)
    return Finding(
        name="store",
        severity=Severity.REFUSE,
        says=says,
        fix=grant(user_of(store), right) if right else f"Check {fix}",
    )


async def _embedded_could_run(settings: Settings) -> Finding:
    from perseus.store.embedded import server_binary

    try:
        binary = server_binary()
    except PerseusError as error:
        says, _, fix = str(error).partition(" Run ")
        return Finding(name="store", severity=Severity.REFUSE, says=says, fix=f"Run {fix}")
    return Finding(
        name="store",
        severity=Severity.WARN,
        says=f"The embedded store of {settings.data_dir} does not run now ({binary.name} is installed).",
        fix="Start it with `perseus up` or `perseus run`, or set PERSEUS_STORE_URL.",
    )


def _findings_text(findings: Sequence[Finding]) -> list[str]:
    lines = []
    indent = " " * (_NAME_WIDE + 5)
    for finding in findings:
        symbol, plain, colour = _LOOKS[finding.severity]
        mark = painted(glyph(symbol, plain), colour, bold=True)
        text = wrapped(f"{indent}{finding.text}", stream=sys.stdout, indent=indent)[len(indent) :]
        lines.append(f"  {mark} {finding.name:<{_NAME_WIDE}} {text}")
        if finding.fix and finding.severity is not Severity.OK:
            lines.append(painted(wrapped(f"{indent}Fix: {finding.fix}", stream=sys.stdout, indent=indent), bold=True))
    return lines


def _settings_text(rows: Sequence[SettingRow]) -> list[str]:
    wide = max(len(row.name) for row in rows)
    long = max(len(row.value) for row in rows)
    lines = [painted("Settings (later wins: defaults, perseus.toml, .env, environment, flags)", bold=True)]
    return lines + [
        f"  {row.name:<{wide}}  {row.value:<{min(long, 50)}}  {painted(row.source, dim=True)}" for row in rows
    ]


def _summary(findings: Sequence[Finding], *, exit_code: int) -> str:
    """What it comes to: the last line, where a terminal shows it."""
    stops = dict.fromkeys(finding.name for finding in findings if finding.severity in _KEEPS_FROM_RUNNING)
    counts = Counter(finding.severity for finding in findings)
    warnings, unknown = counts[Severity.WARN], counts[Severity.UNKNOWN]
    rest = [f"{warnings} to be looked at"] if warnings else []
    rest += [f"{unknown} not known"] if unknown else []
    if stops:
        verdict = painted(f"Instances cannot run here: {', '.join(stops)}.", "red", bold=True)
    elif exit_code:
        verdict = painted("Half is not known: no store runs.", "yellow", bold=True)
    else:
        verdict = painted("Instances can run here.", "green", bold=True)
    return f"{verdict} {', '.join(rest).capitalize()}." if rest else verdict
