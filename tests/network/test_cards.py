"""Cards: what is concluded from status, TTL, last snapshot and log; never blank, never offline out of blindness."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perseus.clock import iso
from perseus.errors import PerseusError, StoreUnavailable, UnreadableKey
from perseus.model import WarmupProgress
from perseus.network.cards import RAN_OUT_UNSEEN, VANISHED, Card, Health, Record, conclude, view
from perseus.store import Entry
from tests.network.records import BINANCE, NOW_MS, REQUIRED, card, entry, foreign, payload

PROGRESS = WarmupProgress(percent=44.0, eta_seconds=12.0, current_symbol="BTC-USDT", done=11, total=25)


@pytest.mark.parametrize(
    ("state", "health"),
    [
        ("idle", Health.IDLE),
        ("starting", Health.TRANSITION),
        ("warming", Health.TRANSITION),
        ("active", Health.ACTIVE),
        ("stopping", Health.TRANSITION),
        ("stopped", Health.STOPPED),
    ],
)
def test_fresh_status_is_believed(state: str, health: Health) -> None:
    """While the lease runs, the instance's own word counts."""
    seen = card(payload(connectionState=state))
    assert (seen.health, seen.online) == (health, True)
    assert seen.status is not None


def test_age_comes_from_the_ttl_where_plausible() -> None:
    """PTTL counts in the store alone; a timestamp went through the instance."""
    seen = card(payload(age_ms=9_000), pttl=33_000)
    assert (seen.age_ms, seen.expires_in_ms) == (12_000, 33_000)


@pytest.mark.parametrize("pttl", [-1, 0, -2, 60_000])
def test_age_comes_from_the_heartbeat_where_the_ttl_is_implausible(pttl: int) -> None:
    """A key without TTL, expired between two reads, or extended by a clock step says nothing about the heartbeat."""
    assert card(payload(age_ms=9_000), pttl=pttl).age_ms == 9_000


def test_age_is_never_negative() -> None:
    """An instance's idea of the store's time may be ahead by a moment."""
    assert card(payload(age_ms=-500), pttl=-1).age_ms == 0


@pytest.mark.parametrize(("age_ms", "health"), [(29_999, Health.ACTIVE), (30_000, Health.LATE), (44_000, Health.LATE)])
def test_two_intervals_without_heartbeat_are_late(age_ms: int, health: Health) -> None:
    """The red threshold, scaled by the instance's own interval."""
    seen = card(payload(age_ms=age_ms), pttl=45_000 - age_ms)
    assert seen.health is health
    assert seen.online


def test_late_scales_with_the_instances_interval() -> None:
    """An instance that heartbeats every minute is not late after thirty seconds."""
    slow = payload(age_ms=100_000, heartbeatIntervalMs=60_000, ttlMs=180_000)
    assert card(slow, pttl=80_000).health is Health.ACTIVE


def test_foreign_payload_with_only_required_fields_is_a_card() -> None:
    """Other programs of the network write the same key."""
    seen = card(foreign(age_ms=5_000), pttl=40_000)
    assert (seen.health, seen.age_ms, seen.should_run) == (Health.ACTIVE, 5_000, True)
    assert card(foreign(age_ms=31_000), pttl=14_000).health is Health.LATE


@pytest.mark.parametrize("missing", REQUIRED)
def test_payload_without_a_required_field_is_unreadable(missing: str) -> None:
    """Never offline: somebody holds the key, we cannot read who."""
    seen = card(payload(drop=(missing,)))
    assert (seen.health, seen.online, seen.status) == (Health.UNREADABLE, True, None)
    assert missing in str(seen.reason)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"exchangeId":"2"}',
        payload(connectionState="dancing"),
        payload(hostname="x").replace(b'"x"', b'"\xff"'),
        payload(theirField="x").replace(b'"x"', b'"\xff"'),
        payload(lastHeartbeat="yesterday"),
        payload(lastHeartbeat="2026-02-10T14:02:11"),
        payload(exchangeName="kraken"),
    ],
)
def test_malformed_value_is_unreadable_with_its_reason_and_keeps_what_is_known(raw: bytes) -> None:
    """A malformed value must neither break the page nor look like an outage."""
    seen = card(raw, last=payload(age_ms=90_000))
    assert (seen.health, seen.online, seen.status) == (Health.UNREADABLE, True, None)
    assert seen.reason
    assert seen.last_known is not None
    assert seen.last_known.hostname == "fra-2"


def test_key_of_another_type_is_unreadable() -> None:
    """One foreign key affects one card."""
    assert card(UnreadableKey("x", key="k", reason="WRONGTYPE")).reason == "WRONGTYPE"
    assert card(UnreadableKey("x", key="k", reason="WRONGTYPE")).health is Health.UNREADABLE


def test_key_that_cannot_be_read_is_unknown() -> None:
    """The store refused one key (a slot is down): that says nothing about the exchange."""
    seen = card(StoreUnavailable("CLUSTERDOWN"), last=payload(age_ms=500_000))
    assert (seen.health, seen.online, seen.status, seen.reason) == (Health.UNKNOWN, True, None, "CLUSTERDOWN")


def test_payload_older_than_its_ttl_is_offline_although_the_key_is_there() -> None:
    """A key without TTL, left by a program that died, must not shine for ever."""
    seen = card(foreign(age_ms=45_001), pttl=-1)
    assert (seen.health, seen.online, seen.status) == (Health.OFFLINE, False, None)
    assert seen.offline_since == iso(NOW_MS - 45_001)
    assert "no TTL" in str(seen.reason)
    assert seen.last_known is not None
    assert seen.last_known.source == "status"
    assert card(foreign(age_ms=44_000), pttl=-1).online


def test_nothing_at_all_is_never_started() -> None:
    """An exchange nobody has ever run is no outage."""
    seen = card()
    assert (seen.health, seen.online, seen.should_run, seen.needs_attention) == (Health.NEVER, False, False, False)


def test_expired_lease_is_offline_since_the_last_heartbeat_and_keeps_the_card() -> None:
    """The outage began when the instance was last heard, not when somebody looked."""
    seen = card(last=payload(age_ms=60_000, lastError="boom"))
    assert (seen.health, seen.online, seen.offline_since) == (Health.OFFLINE, False, iso(NOW_MS - 60_000))
    known = seen.last_known
    assert known is not None
    assert (known.source, known.hostname, known.ip_address, known.admin_email) == (
        "last",
        "fra-2",
        "203.0.113.7",
        "ada@example.org",
    )
    assert (known.symbol_count, known.last_error, known.connection_state) == (25, "boom", "active")
    assert seen.needs_attention


def test_released_lease_is_stopped_by_whom_and_when() -> None:
    """A planned end is no outage."""
    at = iso(NOW_MS - 5_000)
    released = payload(age_ms=5_000, connectionState="stopped", releasedAt=at, releasedBy="signal")
    seen = card(last=released)
    assert (seen.health, seen.stopped_by, seen.stopped_at, seen.online) == (Health.STOPPED, "signal", at, False)
    assert seen.should_run  # it was ended, but nobody asked for it to stay stopped


def test_stop_command_names_its_issuer() -> None:
    """Who stopped it is the first question."""
    at = iso(NOW_MS - 60_000)
    stopped = payload(connectionState="stopped", desiredState={"state": "stopped", "by": "ada@example.org", "at": at})
    seen = card(stopped)
    assert (seen.health, seen.stopped_by, seen.stopped_at, seen.online) == (Health.STOPPED, "ada@example.org", at, True)
    assert not seen.should_run
    assert not seen.needs_attention


def test_instance_that_died_while_stopped_stays_stopped() -> None:
    """Its work had ended on purpose; no loss is recorded for it either."""
    assert card(last=payload(age_ms=500_000, connectionState="stopped")).health is Health.STOPPED


def test_key_that_vanished_before_it_could_expire_is_unknown_until_one_interval_past_that() -> None:
    """A store restarted empty under live instances must not report them all dead."""
    last = payload(age_ms=10_000)
    seen = card(last=last)
    assert (seen.health, seen.online, seen.status) == (Health.UNKNOWN, True, None)
    assert "vanished" in str(seen.reason)
    expiry = NOW_MS + 35_000
    later = card(last=last, now_ms=expiry + 14_999, previous=seen)
    assert later.health is Health.UNKNOWN
    assert card(last=last, now_ms=expiry + 15_000, previous=later).health is Health.OFFLINE


def test_vanished_key_is_remembered_by_the_observer_when_everything_is_gone() -> None:
    """The store came back empty: what this observer saw a moment ago is all there is."""
    before = card(payload(), pttl=30_000)
    seen = card(newest=entry(toState="active", hostname="fra-2"), now_ms=NOW_MS + 1_000, previous=before)
    assert seen.health is Health.UNKNOWN


def test_key_that_expired_in_its_time_is_offline_at_once() -> None:
    """An ordinary crash must not hide behind doubt."""
    before = card(payload(), pttl=45_000)
    assert card(last=payload(), now_ms=NOW_MS + 45_001, previous=before).health is Health.OFFLINE


def test_without_a_snapshot_the_newest_log_entry_tells() -> None:
    """Another program wrote the status and left no `last` (UI-03)."""
    newest = entry(age_ms=4_000, fromState="warming", toState="active", hostname="ams-1", ip="198.51.100.4")
    seen = card(newest=newest)
    assert (seen.health, seen.offline_since, seen.should_run) == (Health.OFFLINE, None, True)
    known = seen.last_known
    assert known is not None
    assert (known.source, known.hostname, known.ip_address) == ("log", "ams-1", "198.51.100.4")
    assert (known.connection_state, known.timestamp) == ("active", iso(NOW_MS - 4_000))


@pytest.mark.parametrize("entry_id", ["18446744073709551615-18446744073709551615", "253402300800000-0"])
def test_entry_of_no_moment_says_nothing_of_when(entry_id: str) -> None:
    """One entry of another program must not leave the whole network unseen."""
    known = card(newest=Entry(entry_id, {"event": "x", "epoch": "9" * 5000})).last_known
    assert known is not None
    assert (known.timestamp, known.epoch) == (None, None)


def test_log_that_ends_with_stopped_is_stopped() -> None:
    """Another program ended on purpose and deleted its key."""
    assert card(newest=entry(toState="stopped")).health is Health.STOPPED


def test_recorded_loss_says_when_the_outage_began() -> None:
    """`instance_lost` carries the last heartbeat."""
    lost = entry("instance_lost", state="active", lastHeartbeat=iso(NOW_MS - 300_000), hostname="fra-2")
    assert card(newest=lost).offline_since == iso(NOW_MS - 300_000)


def test_later_tenure_without_snapshot_outweighs_an_old_one() -> None:
    """Our snapshot of last week must not call an exchange stopped that another program lost a minute ago."""
    old = payload(age_ms=600_000_000, connectionState="stopped", releasedAt=iso(NOW_MS - 600_000_000))
    seen = card(last=old, newest=entry(age_ms=60_000, toState="active", hostname="ams-1"))
    assert seen.health is Health.OFFLINE
    assert seen.last_known is not None
    assert seen.last_known.hostname == "ams-1"


def test_entries_of_the_same_tenure_do_not_outweigh_its_snapshot() -> None:
    """The loss of an instance is logged after its last snapshot; the snapshot knows more."""
    lost = entry("instance_lost", instanceId="i1", state="active")
    seen = card(last=payload(age_ms=60_000), newest=lost)
    assert seen.last_known is not None
    assert seen.last_known.source == "last"


def test_unreadable_snapshot_is_said_and_proves_nothing() -> None:
    """With no status and a snapshot we cannot read, `never started` would be a lie."""
    seen = card(last=b"nonsense")
    assert seen.health is Health.UNKNOWN
    assert "last snapshot cannot be read" in str(seen.reason)
    assert card(payload(), last=b"nonsense").health is Health.ACTIVE


@pytest.mark.parametrize(
    ("desired", "state", "should_run"),
    [
        ({"state": "running"}, "idle", True),
        ({"state": "stopped"}, "idle", False),
        (None, "idle", False),
        (None, "active", True),
        (None, "stopped", False),
    ],
)
def test_should_run_is_what_was_last_asked_for(desired: object, state: str, should_run: bool) -> None:
    """`perseus status` fails for an exchange that should run and does not, for no other."""
    assert card(payload(connectionState=state, desiredState=desired)).should_run is should_run
    assert card(last=payload(age_ms=99_000, connectionState=state, desiredState=desired)).should_run is should_run


def test_warmup_is_decoration() -> None:
    """A report that cannot be read leaves the card as it is."""
    good = msgspec.json.encode(PROGRESS)
    assert card(payload(connectionState="warming"), warmup=good).warmup == PROGRESS
    assert card(payload(connectionState="warming"), warmup=b"nonsense").warmup is None
    assert card(payload(), warmup=UnreadableKey("x", key="k", reason="WRONGTYPE")).health is Health.ACTIVE


def test_json_has_the_promised_shape() -> None:
    """Clients exist that were written for it; unknown fields of other programs survive."""
    raw = payload(theirField=[1, 2])
    item = json.loads(msgspec.json.encode(view(card(raw, last=payload()))))
    assert item["status"] == json.loads(raw)
    assert item | {"status": 0, "lastKnown": 0} == {
        "exchangeId": 2,
        "exchangeName": "binance",
        "displayName": "Binance",
        "online": True,
        "status": 0,
        "health": "active",
        "lastKnown": 0,
        "offlineSince": None,
        "stoppedBy": None,
        "stoppedAt": None,
        "reason": None,
        "heartbeatAgeMs": 0,
        "expiresInMs": 45_000,
        "shouldRun": True,
        "warmup": None,
    }
    offline = json.loads(msgspec.json.encode(view(card(last=payload(age_ms=60_000)))))
    assert (offline["online"], offline["status"], offline["health"]) == (False, None, "offline")
    assert offline["lastKnown"]["hostname"] == "fra-2"


junk = st.one_of(st.none(), st.binary(max_size=40), st.sampled_from([payload(), foreign(), payload(age_ms=90_000)]))


@given(status=junk, last=junk, warmup=junk, pttl=st.integers(-2, 10**13), now_ms=st.integers(0, 4 * 10**12))
def test_no_record_breaks_a_card(
    status: bytes | None, last: bytes | None, warmup: bytes | None, pttl: int, now_ms: int
) -> None:
    """Whatever stands in the store, one card is affected and it can be encoded."""
    seen = card(status, pttl=pttl, last=last, warmup=warmup, now_ms=now_ms)
    assert seen.online or seen.health in (Health.OFFLINE, Health.NEVER, Health.STOPPED)
    assert json.loads(msgspec.json.encode(view(seen)))["health"] == seen.health.value


def test_key_that_ran_out_unseen_is_unknown_for_an_interval() -> None:
    """The store was away: perhaps its holder could not renew either, and claims again in a moment."""
    seen = card(payload(age_ms=1000), pttl=44_000)
    later = NOW_MS + 60_000
    blind = conclude(_record(last=payload()), now_ms=later, previous=seen, was_blind=True)
    assert (blind.health, blind.unknown_until_ms) == (Health.UNKNOWN, later + 15_000)
    assert blind.reason == RAN_OUT_UNSEEN
    assert conclude(_record(last=payload()), now_ms=later, previous=seen).health is Health.OFFLINE
    still = conclude(_record(last=payload()), now_ms=later + 14_999, previous=blind)
    assert (still.health, still.reason) == (Health.UNKNOWN, RAN_OUT_UNSEEN)
    assert conclude(_record(last=payload()), now_ms=later + 15_000, previous=still).health is Health.OFFLINE


def test_one_node_that_was_away_is_blindness_for_its_exchanges() -> None:
    """On a Cluster the others were read all the time."""
    away = conclude(_record(status=StoreUnavailable("away"), last=payload()), now_ms=NOW_MS)
    back = conclude(_record(last=payload()), now_ms=NOW_MS + 60_000, previous=away)
    assert (back.health, back.reason) == (Health.UNKNOWN, RAN_OUT_UNSEEN)


def test_offline_stays_offline_when_the_store_was_away() -> None:
    """Blindness proves nothing, also not that the dead live."""
    dead = card(last=payload(age_ms=60_000))
    assert conclude(_record(last=payload(age_ms=60_000)), now_ms=NOW_MS, previous=dead, was_blind=True).health is (
        Health.OFFLINE
    )


def test_store_that_went_back_in_time_does_not_stop_a_living_instance() -> None:
    """Restored from an old copy it tells of a tenure given back long ago, and knows nothing of the one we saw."""
    seen = card(payload(epoch=7), pttl=44_000)
    old = payload(age_ms=3_600_000, epoch=6, releasedAt=iso(NOW_MS - 3_500_000), connectionState="stopped")
    went_back = conclude(_record(last=old), now_ms=NOW_MS + 1000, previous=seen)
    assert (went_back.health, went_back.reason) == (Health.UNKNOWN, VANISHED)
    released = payload(epoch=7, releasedAt=iso(NOW_MS), connectionState="stopped")
    assert conclude(_record(last=released), now_ms=NOW_MS + 1000, previous=seen).health is Health.STOPPED


def test_warmup_report_that_cannot_be_read_says_why() -> None:
    """Only where the report itself is asked for."""
    assert "truncated" in str(card(payload(), warmup=b"{").warmup_fault)
    assert "WRONGTYPE" in str(card(payload(), warmup=UnreadableKey("WRONGTYPE", key="k", reason="")).warmup_fault)
    assert card(payload(), warmup=None).warmup_fault is None


def test_payload_is_handed_on_in_one_line() -> None:
    """Other programs indent it; a line break would end a message in a stream of answers."""
    raw = json.dumps(json.loads(payload(lastError="two\nlines")), indent=2).encode()
    handed_on = card(raw).payload
    assert handed_on is not None
    assert b"\n" not in handed_on
    assert json.loads(handed_on) == json.loads(raw)


@pytest.mark.parametrize(
    ("seen", "due_in_ms"),
    [
        (card(payload(), pttl=40_000), 40_000),
        (card(payload(age_ms=5000), pttl=-1), 40_001),  # without a TTL it ends by its heartbeat
        (card(foreign(age_ms=5000), pttl=-1), 40_001),
        (card(last=payload(age_ms=60_000)), None),
        (card(b"junk"), None),
        (card(), None),
    ],
)
def test_it_is_known_when_time_alone_changes_a_conclusion(seen: Card, due_in_ms: int | None) -> None:
    """Whoever looks again just then notices an expiry when it is due."""
    assert seen.due_in_ms == due_in_ms


def _record(*, status: bytes | PerseusError | None = None, last: bytes | None = None) -> Record:
    return Record(exchange=BINANCE, status=status, ttl_ms=-2, last=last, warmup=None, newest=None)
