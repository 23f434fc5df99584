"""`perseus incidents`, and what `status` and `doctor` say of alerts: as a person on call meets them."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perseus import keys
from perseus.clock import SystemClock, iso, unix_ms
from perseus.database import incidents
from perseus.database.engine import open_database
from perseus.database.incidents import IncidentRecord
from perseus.database.migration import take_back
from perseus.store import Store
from tests.cli.terminal import Terminal
from tests.database.people import HOUR, outage
from tests.support.notifying import channel, leading, say
from tests.support.processes import run_perseus
from tests.support.servers import Server, StoreServer

MINUTE = 60_000
NOBODY = "No alerts are being sent: no notifier runs."


def fill(database_url: str, *told: IncidentRecord) -> None:
    """Write down incidents, as the notifier does."""

    async def record() -> None:
        async with await open_database(database_url) as database, database.begin() as connection:
            for each in told:
                await incidents.record(connection, each)

    asyncio.run(record())


def perseus(database_url: str, data_dir: Path, *args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """`perseus incidents ARGS`, which must end with this code."""
    done = run_perseus("incidents", *args, data_dir=data_dir, settings={"DATABASE_URL": database_url})
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def listed(database_url: str, data_dir: Path, *args: str) -> list[dict[str, Any]]:
    """The items of --json."""
    answer = json.loads(perseus(database_url, data_dir, "list", "--json", *args).stdout)
    assert answer.keys() == {"incidents", "nextCursor"}
    found: list[dict[str, Any]] = answer["incidents"]
    return found


def test_person_on_call_sees_acknowledges_and_mutes(database_url: str, data_dir: Path) -> None:
    """From the exchange's name alone, on either database."""
    now_ms = SystemClock().wall_ms()
    down = outage(now_ms - 11 * MINUTE - 5000, hostname="fra-2", admin_email="ada@example.org")
    flaps = outage(now_ms - 2 * HOUR, exchange="kraken", exchange_id=4, cause="lease_lost", is_flapping=True, changes=6)
    ended = outage(now_ms - 9 * HOUR, resolved_at=iso(now_ms - 8 * HOUR), resolution="recovered")
    fill(database_url, ended, flaps, down)
    shown = perseus(database_url, data_dir, "list")
    head, blank, titles, first, second = shown.stdout.splitlines()
    assert (head, blank) == ("2 incidents are open.", "")
    assert titles.split() == ["exchange", "what", "for", "since", "(UTC)", "host", "admin", "id"]
    assert re.fullmatch(rf"binance +offline +12m \d+s +[\d-]+ [\d:]+ +fra-2 +ada@example\.org +{down.id}", first)
    assert re.fullmatch(
        rf"kraken +lease lost, flapping: 6 changes +2h 1m +[\d-]+ [\d:]+ +\? +not set +{flaps.id}", second
    )
    assert "`perseus incidents ack EXCHANGE --reason TEXT`" in shown.stderr
    noted = perseus(database_url, data_dir, "ack", "kraken", "--reason", "power cut").stdout
    assert noted.startswith(f"Acknowledged: kraken, lease lost for 2h 1m ({flaps.id}). Nobody is reminded")
    muted = perseus(database_url, data_dir, "mute", down.id, "--for", "2h").stdout
    assert re.match(rf"Muted until [\d-]+ [\d:]+ UTC: binance, offline for 12m \d+s \({down.id}\)\. ", muted)
    shown = perseus(database_url, data_dir, "list")
    below = [line for line in shown.stdout.splitlines() if line.startswith("  ")]
    assert re.fullmatch(r"  muted for 1h 59m more by \S+@\S+", below[0])
    assert re.fullmatch(r"  acknowledged \d+s ago by \S+@\S+: power cut", below[1])
    assert "perseus incidents ack" not in shown.stderr  # somebody cares for each
    found = listed(database_url, data_dir)
    assert [each["id"] for each in found] == [down.id, flaps.id]
    assert found[1]["acknowledgedReason"] == "power cut"
    assert 119 * MINUTE < unix_ms(found[0]["mutedUntil"]) - now_ms < 122 * MINUTE
    noted = perseus(database_url, data_dir, "ack", "binance").stdout
    assert re.search(r"reminded of it any more; muted until [\d-]+ [\d:]+ UTC, also its end\.", noted)
    assert perseus(database_url, data_dir, "unmute", "binance").stdout.startswith("Not muted: binance")
    assert [each["mutedUntil"] for each in listed(database_url, data_dir)] == [None, None]


def test_all_shows_those_that_are_over_too(database_url: str, data_dir: Path) -> None:
    """How it ended and how long it lasted, when the morning asks."""
    now_ms = SystemClock().wall_ms()
    for n, how in enumerate(("recovered", "stopped", "switched_off", "unknown")):
        at_ms = now_ms - (n + 2) * HOUR
        fill(database_url, outage(at_ms, resolved_at=iso(at_ms + 9 * MINUTE), resolution=how))
    assert perseus(database_url, data_dir, "list").stdout == "No incident is open.\n"
    lines = perseus(database_url, data_dir, "list", "--all").stdout.splitlines()
    assert lines[0] == "No incident is open."
    assert [re.split(r" {2,}", line)[1:3] for line in lines[3:]] == [
        ["offline (recovered)", "10m"],
        ["offline (stopped)", "10m"],
        ["offline (switched off)", "10m"],
        ["offline (its end was missed)", "10m"],
    ]
    few = perseus(database_url, data_dir, "list", "--all", "--count", "2")
    assert len(few.stdout.splitlines()) == 5
    assert "the newest 2" in few.stderr
    assert len(listed(database_url, data_dir, "--all")) == 4


def test_mistakes_are_told_apart(data_dir: Path) -> None:
    """What cannot be meant is 64; an incident that ended meanwhile is nobody's mistake."""
    database_url = f"sqlite:///{data_dir / 'perseus.db'}"
    over = outage(resolved_at=iso(SystemClock().wall_ms()), resolution="recovered")
    fill(database_url, over, outage(exchange="kraken", exchange_id=4))
    for args, code, says in (
        (("ack", "binance"), 1, "binance has no open incident"),
        (("unmute", "binance"), 1, "binance has no open incident"),
        (("ack", "binanse"), 64, "neither an incident nor an exchange"),
        (("ack", over.id), 1, r"has been over since \S+ \(binance recovered\)"),
        (("mute", "kraken"), 64, "--for"),
        (("mute", "kraken", "--for", "ever"), 64, "30m, 2h or 7d"),
        (("mute", "kraken", "--for", "0m"), 64, "a minute at least"),
        (("mute", "kraken", "--for", "31d"), 64, "30 days at most"),
        (("unmute", over.id), 1, "has been over since"),
    ):
        assert re.search(says, perseus(database_url, data_dir, *args, code=code).stderr), args


def test_listing_changes_nothing(data_dir: Path) -> None:
    """Neither makes it a database, nor does it migrate what older hosts still use."""
    url = f"sqlite:///{data_dir / 'perseus.db'}"
    assert perseus(url, data_dir, "list", "--all").stdout == "There was no incident yet.\n"
    assert list(data_dir.iterdir()) == []

    async def to_the_version_before() -> None:
        async with await open_database(url) as database:
            await take_back(database, to="0001")

    asyncio.run(to_the_version_before())
    before = (data_dir / "perseus.db").read_bytes()
    assert listed(url, data_dir) == []
    assert (data_dir / "perseus.db").read_bytes() == before


async def test_list_says_when_it_may_be_incomplete(
    valkey: Server, store: Store, data_dir: Path, start_server: Callable[..., StoreServer]
) -> None:
    """No incident on record is good news only where somebody records."""

    async def said(store_url: str) -> str:
        settings = {"STORE_URL": store_url}
        done = await asyncio.to_thread(run_perseus, "incidents", "list", data_dir=data_dir, settings=settings)
        assert done.stdout == "No incident is open.\n"
        return done.stderr

    assert "No notifier runs, so what is going on now may be missing" in await said(valkey.url)
    server = start_server()
    server.kill()
    assert "The store cannot be read, so what is going on now may be missing" in await said(server.url)
    async with leading(store):
        assert await said(valkey.url) == ""


async def test_status_ends_with_whether_anybody_is_told(valkey: Server, store: Store, data_dir: Path) -> None:
    """Who looks at the cards and sees nothing wrong must know that nobody would tell."""

    async def status(*args: str) -> str:
        done = await asyncio.to_thread(run_perseus, "status", *args, data_dir=data_dir, store_url=valkey.url)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert (await status()).splitlines()[-1].startswith(f"{NOBODY} Start `perseus serve`")
    assert (await status("kraken")).splitlines()[-1].startswith(NOBODY)
    alerts = json.loads(await status("--json"))["alerts"]
    assert (alerts["alerts"], alerts["holder"]) == ("none", None)
    async with leading(store, channel("ops")):
        assert "lerts" not in await status()
    async with leading(store, channel("ops"), channel("boss", "dead", reason="401: Unauthorized")):
        assert (await status()).splitlines()[-1].startswith("Alerts are sent to ops, but not to boss: 401: Unauth")
        alerts = json.loads(await status("kraken", "--json"))["alerts"]
    assert (alerts["alerts"], "PERSEUS_DISCORD_WEBHOOK_URLS on fra-2" in alerts["why"]) == ("sent", True)
    assert alerts["holder"]["hostname"] == "fra-2"
    assert [(each["name"], each["state"]) for each in alerts["channels"]] == [("ops", "ok"), ("boss", "dead")]


@pytest.mark.foreign_keys
def test_status_shows_the_cards_where_alerts_cannot_be_told(valkey: Server, data_dir: Path) -> None:
    """One key that is another's, or that this user may not read, must not hide the network."""
    valkey.call("SET", keys.notifier(), "gibberish", "EX", 60)
    done = run_perseus("status", data_dir=data_dir, store_url=valkey.url)
    assert (done.returncode, done.stderr, "3 never started" in done.stdout) == (0, "", True)
    assert done.stdout.splitlines()[-1].startswith(f"No alerts are being sent: key {keys.notifier()} holds something")
    valkey.call("ACL", "SETUSER", "narrow", "on", ">secret", "+@all", "~{*", "~exchange:*", "~logs:*")
    try:
        narrow = valkey.url_for("narrow", "secret")
        done = run_perseus("status", data_dir=data_dir, store_url=narrow)
        assert (done.returncode, done.stderr, "3 never started" in done.stdout) == (0, "", True)
        assert done.stdout.splitlines()[-1].startswith("Whether alerts are being sent cannot be told: ")
        done = run_perseus("status", "--json", data_dir=data_dir, store_url=narrow)
        assert json.loads(done.stdout)["alerts"] is None
    finally:
        valkey.call("ACL", "DELUSER", "narrow")


async def test_watch_says_when_alerts_end(valkey: Server, store: Store, data_dir: Path) -> None:
    """It is what hangs on the wall."""

    def watch() -> None:
        with Terminal("status", "--watch", "--store", valkey.url, directory=data_dir, environment={}) as terminal:
            terminal.wait_for("never started")
            assert "alerts" not in terminal.seen
            valkey.call("DEL", keys.notifier())
            terminal.wait_for("No alerts are being sent")
            assert terminal.interrupt() == 0

    async with leading(store, channel()):
        await asyncio.to_thread(watch)


@pytest.mark.foreign_keys
async def test_doctor_has_a_row_for_alerts(valkey: Server, store: Store, data_dir: Path) -> None:
    """With the fix, and never a reason not to run."""

    async def alerts() -> dict[str, Any]:
        settings = {"STORE_URL": valkey.url}
        done = await asyncio.to_thread(run_perseus, "doctor", "--json", data_dir=data_dir, settings=settings)
        assert done.returncode == 0, done.stdout
        (found,) = [each for each in json.loads(done.stdout)["findings"] if each["name"] == "alerts"]
        return dict(found)

    found = await alerts()
    assert (found["severity"], found["says"]) == ("warn", NOBODY)
    assert "`perseus serve`" in found["fix"]
    async with leading(store):
        found = await alerts()
    assert (found["severity"], "PERSEUS_DISCORD_WEBHOOK_URLS" in found["fix"]) == ("warn", True)
    async with leading(store, channel()):
        found = await alerts()
    assert (found["severity"], found["fix"]) == ("ok", "")
    assert re.fullmatch(r"Sent by fra-2 since \S+ to ops\.", found["says"])
    async with leading(store, channel(), channel("boss", "dead", reason="Who are you? No. Never (401)")):
        found = await alerts()
    assert found["says"] == "Alerts are sent to ops, but not to boss: Who are you? No. Never (401)."
    assert (found["severity"], found["fix"].startswith("Make a new webhook for boss")) == ("warn", True)
    await store.pipeline(["SET", keys.notifier(), "[]", "EX", 60])
    found = await alerts()
    assert (found["severity"], f"`redis-cli DEL {keys.notifier()}`" in found["fix"]) == ("warn", True)


async def test_what_the_notifier_cannot_do_besides_is_said(valkey: Server, store: Store, data_dir: Path) -> None:
    """Every channel works, and still the record of incidents is not kept: only the page said so."""

    async def said(*args: str) -> str:
        settings = {"STORE_URL": valkey.url}
        done = await asyncio.to_thread(run_perseus, *args, data_dir=data_dir, settings=settings)
        assert done.returncode == 0, done.stderr
        return done.stdout

    async with leading(store, channel()) as tenure:
        await say(tenure, [channel()], trouble="Incidents are not recorded: the database is full")
        text = await said("status")
        findings = json.loads(await said("doctor", "--json"))["findings"]
        await say(tenure, [channel("ops", "dead", reason="404")], trouble="Incidents are not recorded: it is full.")
        both = await said("status")
    assert text.splitlines()[-1] == "Incidents are not recorded: the database is full."
    (found,) = [each for each in findings if each["name"] == "notifier"]
    assert (found["severity"], found["says"]) == ("warn", "Incidents are not recorded: the database is full.")
    assert "the log of the web server on fra-2" in found["fix"]
    assert re.fullmatch(r"No alerts are being sent: .* Incidents are not recorded: it is full\.", both.splitlines()[-1])
