"""`perseus doctor`: what is wrong with store, host and settings, and a fix with every failure."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from typing import NamedTuple

import click
import msgspec

from perseus.cli.options import reading, settings_options
from perseus.cli.output import echo_json, glyph, painted
from perseus.errors import PerseusError, StoreDenied, StoreUnavailable, UnreadableKey
from perseus.settings import SettingRow, Settings
from perseus.store import Store
from perseus.store.check import Finding, Severity, check_store
from perseus.store.rights import check_rights

_LOOKS = {
    Severity.OK: ("✔", "ok", "green"),
    Severity.WARN: ("▲", "!!", "yellow"),
    Severity.REFUSE: ("✖", "XX", "red"),
}


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
    findings: list[Finding]
    exit_code: int


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object (docs/cli.md).")
@settings_options
def doctor(*, as_json: bool, settings: Settings) -> int:
    """Look at everything an instance needs, and say how to repair what is wrong.

    Exit code 0 if instances can run here (warnings are worth a look), 1 if not, 2 if the store cannot be reached, 78
    if it refuses our credentials.
    """
    of_store = asyncio.run(_store(settings))
    findings = [*of_store.findings, _data_dir(settings), _admin(settings), _port(settings)]
    refused = any(finding.severity is Severity.REFUSE for finding in findings)
    exit_code = of_store.exit_code or int(refused)
    if as_json:
        rows = [SettingView(name=row.name, value=row.value, source=row.source) for row in settings.rows()]
        echo_json(msgspec.json.encode(DoctorView(findings=findings, settings=rows, exit_code=exit_code)))
    else:
        for line in [*_findings_text(findings), "", *_settings_text(settings.rows())]:
            click.echo(line)
    return exit_code


async def _store(settings: Settings) -> _Diagnosis:
    from perseus.clock import SystemClock

    try:
        async with reading(settings) as store:
            findings = await check_store(store, clock=SystemClock())
            return _Diagnosis([_reached(store), *findings, *await check_rights(store)], 0)
    except (StoreUnavailable, StoreDenied, UnreadableKey) as error:
        if settings.is_embedded and isinstance(error, StoreUnavailable):
            return _Diagnosis([await _embedded_could_run(settings)], error.exit_code)
        says, check, fix = str(error).partition(" Check ")
        finding = Finding(name="store", severity=Severity.REFUSE, says=says, fix=f"{check.strip()} {fix}".strip())
        return _Diagnosis([finding], error.exit_code)


def _reached(store: Store) -> Finding:
    return Finding(name="store", severity=Severity.OK, says=f"{store.url} answers.")


async def _embedded_could_run(settings: Settings) -> Finding:
    from perseus.store.embedded import server_binary

    try:
        binary = server_binary()
    except PerseusError as error:
        return Finding(name="store", severity=Severity.REFUSE, says=str(error), fix="")
    return Finding(
        name="store",
        severity=Severity.WARN,
        says=f"The embedded store of {settings.data_dir} does not run now ({binary.name} is installed).",
        fix="Start it with `perseus up` or `perseus run`, or set PERSEUS_STORE_URL.",
    )


def _data_dir(settings: Settings) -> Finding:
    path = settings.data_dir
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return Finding(name="data directory", severity=Severity.OK, says=f"{path} can be written.")
    return Finding(
        name="data directory",
        severity=Severity.REFUSE,
        says=f"{path} cannot be written ({existing} {'is no directory' if not existing.is_dir() else 'refuses it'}).",
        fix="Make it writable, or set PERSEUS_DATA_DIR to a directory that is.",
    )


def _admin(settings: Settings) -> Finding:
    if settings.admin_email:
        return Finding(name="admin", severity=Severity.OK, says=f"{settings.admin_email} is shown on the cards.")
    return Finding(
        name="admin",
        severity=Severity.WARN,
        says="ADMIN_EMAIL is not set: nobody can tell whose instance this is.",
        fix="Set PERSEUS_ADMIN_EMAIL and PERSEUS_ADMIN_NAME.",
    )


def _port(settings: Settings) -> Finding:
    where = f"{settings.host}:{settings.port}"
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.host, settings.port))
    except OSError as error:
        used = error.errno == errno.EADDRINUSE
        return Finding(
            name="port",
            severity=Severity.WARN,
            says=f"{where} is in use by another program." if used else f"{where} cannot be used: {error.strerror}.",
            fix="Set PERSEUS_PORT (or PERSEUS_HOST) to a free one before a web server is started here.",
        )
    return Finding(name="port", severity=Severity.OK, says=f"{where} is free.")


def _findings_text(findings: Sequence[Finding]) -> list[str]:
    lines = []
    for finding in findings:
        symbol, plain, colour = _LOOKS[finding.severity]
        lines.append(f"{painted(glyph(symbol, plain), colour, bold=True)} {finding.name:<15} {finding.says}")
        if finding.fix and finding.severity is not Severity.OK:
            lines.append(f"  {'':<15} {painted(f'Fix: {finding.fix}', bold=True)}")
    return lines


def _settings_text(rows: Sequence[SettingRow]) -> list[str]:
    wide = max(len(row.name) for row in rows)
    long = max(len(row.value) for row in rows)
    lines = [painted("Settings (later wins: defaults, perseus.toml, .env, environment, flags)", bold=True)]
    return lines + [
        f"  {row.name:<{wide}}  {row.value:<{min(long, 50)}}  {painted(row.source, dim=True)}" for row in rows
    ]
