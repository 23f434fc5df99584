"""What a watcher makes of what it sees: one record for a tenure that ended without a word, none for a living one."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from perseus import lease
from perseus.clock import iso
from perseus.errors import UnreadableKey
from perseus.model import InstanceStatus
from perseus.network.losses import AT_EXPIRY_S, BLIND_S, RETURN_S, Look, Watched
from tests.network.records import BINANCE
from tests.support.instances import LAST, payload

TTL_S, INTERVAL_S = 45, 15
LONG = 86_400
START_MS = 1_795_378_000_000


class Sight:
    """One watcher's sight of one exchange, and a store that holds what the test says. Time stands until told."""

    def __init__(self, *, uptime_s: int = LONG) -> None:
        self.watched = Watched(BINANCE)
        self.now = 1000.0
        self.store_ms = START_MS
        self.uptime_s, self.run_id = uptime_s, "r1"
        self.status: InstanceStatus | bytes | None = None
        self.last: InstanceStatus | None = None
        self.expires_at: float | None = None  # None: a key without TTL

    def wait(self, seconds: int) -> None:
        """Look every second for so long."""
        for _ in range(seconds):
            self.let_pass(1)
            self.look()

    def let_pass(self, seconds: float) -> None:
        """Let time pass, in the store as well, without looking."""
        self.now += seconds
        self.store_ms += round(seconds * 1000)
        if self.uptime_s >= 0:
            self.uptime_s += round(seconds)

    def serve(self, *, instance: str = "i1", epoch: int = 7, **changes: Any) -> InstanceStatus:
        """One renewal of this tenure."""
        status = payload(instance_id=instance, epoch=epoch, ttl_s=TTL_S, last_heartbeat=iso(self.store_ms), **changes)
        self.status = self.last = status
        self.expires_at = self.now + TTL_S
        return status

    def claim(self, *, instance: str, epoch: int) -> None:
        """A claim that has not been renewed: `last` is still another's."""
        before = self.last
        self.serve(instance=instance, epoch=epoch, rev=0)
        self.last = before

    def vanish(self) -> None:
        """The key is gone."""
        self.status = None

    def look(self) -> list[str | None]:
        """Look once; the instances found lost so far."""
        if self.expires_at is not None and self.now >= self.expires_at:
            self.status = None
        ttl_ms = -1 if self.expires_at is None else round((self.expires_at - self.now) * 1000)
        raw = lease.encode_status(self.status) if isinstance(self.status, InstanceStatus) else self.status
        self.watched.see(
            Look(
                sent_at=self.now,
                received_at=self.now,
                store_ms=self.store_ms,
                uptime_s=self.uptime_s,
                run_id=self.run_id,
                ttl_ms=-2 if raw is None else ttl_ms,
                status=raw,
                last=None if self.last is None else lease.encode_status(self.last),
            )
        )
        return [dead.instance_id for dead in self.watched.unrecorded]

    def lost_after(self, *, most_s: float = 600) -> float:
        """Look once a second until a loss is found; how many seconds that took, or more than `most_s`."""
        waited = 0.0
        while not self.look() and waited <= most_s:
            self.let_pass(1)
            waited += 1
        return waited


@pytest.fixture
def sight() -> Sight:
    """A watcher that has seen a live instance, on a server that is up for long."""
    sight = Sight()
    sight.serve()
    assert sight.look() == []
    return sight


def never(seconds: float) -> bool:
    """Whether `lost_after` found nothing."""
    return seconds > 600


# -- deaths -----------------------------------------------------------------------------------------------------------


def test_lease_that_ran_out_is_lost_at_once(sight: Sight) -> None:
    """A crash is on record as soon as it is certain: everyone who waits for it waits for this."""
    assert sight.lost_after() == TTL_S
    assert sight.watched.unrecorded[0].last_heartbeat == iso(START_MS)


def test_late_renewal_moves_the_end(sight: Sight) -> None:
    """The lease counts from the last heartbeat seen, not from the first."""
    sight.wait(40)
    sight.serve()
    assert sight.lost_after() == TTL_S


def test_lease_is_told_lost_once(sight: Sight) -> None:
    """The script would say so too, but must not be asked every second for 90 days."""
    sight.lost_after()
    sight.watched.unrecorded.clear()
    assert never(sight.lost_after())


def test_tenure_found_lost_on_a_primary_cut_off_from_it_is_watched_again(sight: Sight) -> None:
    """What that primary had on record went with it; the script refuses a second record where there is a first."""
    sight.lost_after()
    sight.watched.unrecorded.clear()
    sight.run_id = "r2"
    sight.serve()
    assert sight.look() == []
    assert not never(sight.lost_after())


def test_watcher_just_started_finds_who_died_before() -> None:
    """Nobody watched while it died; only the last snapshot tells. It gets an interval more."""
    sight = Sight()
    sight.serve()
    sight.let_pass(TTL_S + INTERVAL_S - 5)
    assert sight.lost_after() == INTERVAL_S  # an end already past counts as of the first look


def test_death_among_watching_is_found_after_a_program_that_records_nothing_took_over(sight: Sight) -> None:
    """A foreign holder writes neither `last` nor losses."""
    sight.wait(TTL_S - 1)
    sight.let_pass(1)
    sight.status, sight.expires_at = json.dumps(_foreign(sight)).encode(), None
    assert sight.lost_after() == INTERVAL_S


def _foreign(sight: Sight) -> dict[str, Any]:
    whole = json.loads(lease.encode_status(payload(last_heartbeat=iso(sight.store_ms))))
    return {name: whole[name] for name in whole if name not in ("instanceId", "epoch", "claimId", "rev")}


def test_claim_that_died_unrenewed_hides_no_loss(sight: Sight) -> None:
    """The heir died before it recorded the loss; it was never a holder itself."""
    sight.wait(TTL_S - 1)
    sight.let_pass(1)
    sight.claim(instance="i2", epoch=8)
    sight.lost_after()
    assert sight.look() == ["i1"]


# -- no deaths --------------------------------------------------------------------------------------------------------


def test_released_lease_is_no_loss(sight: Sight) -> None:
    """A clean end."""
    assert sight.last is not None
    sight.last = msgspec.structs.replace(sight.last, released_at=iso(sight.store_ms), released_by="signal")
    sight.vanish()
    assert never(sight.lost_after())


def test_heir_records_the_loss_itself(sight: Sight) -> None:
    """It claims, records, and renews: nothing is left for us."""
    sight.wait(TTL_S - 1)
    sight.let_pass(1)
    sight.claim(instance="i2", epoch=8)
    assert sight.look() == []
    sight.let_pass(1)
    sight.serve(instance="i2", epoch=8)
    assert sight.look() == []


def test_claim_never_renewed_is_no_loss() -> None:
    """It was never a holder."""
    sight = Sight()
    sight.claim(instance="i1", epoch=7)
    assert never(sight.lost_after())


def test_key_vanished_early_is_unknown_until_an_interval_past_its_expiry(sight: Sight) -> None:
    """The store lost it: a living holder claims again within an interval."""
    sight.wait(5)
    sight.vanish()
    assert sight.lost_after() == TTL_S - 5 + INTERVAL_S


def test_instance_that_claims_again_is_not_lost(sight: Sight) -> None:
    """A higher epoch of the same instance: it lives."""
    sight.wait(5)
    sight.vanish()
    sight.look()
    sight.wait(TTL_S)
    sight.claim(instance="i1", epoch=8)
    for _ in range(30):
        assert sight.look() == []
        sight.let_pass(1)


def test_instance_that_returns_before_its_loss_is_on_record_is_acquitted(sight: Sight) -> None:
    """The log was down; by then the instance tells of its lapse itself."""
    assert sight.lost_after() == TTL_S
    sight.claim(instance="i1", epoch=8)
    assert sight.look() == []


def test_renewal_unseen_before_the_store_lost_it_counts(sight: Sight) -> None:
    """Between two looks it renewed and the key was deleted: its expiry is that of the last heartbeat."""
    sight.wait(TTL_S - 1)
    sight.look()
    sight.let_pass(0.4)
    sight.serve()
    sight.vanish()
    sight.let_pass(0.6)
    assert sight.lost_after() >= TTL_S - 1 + INTERVAL_S


def test_store_that_lost_everything_tells_of_no_loss(sight: Sight) -> None:
    """Nothing in it says that there ever was an instance."""
    sight.vanish()
    sight.last = None
    assert never(sight.lost_after())


def test_older_data_bring_no_loss(sight: Sight) -> None:
    """A store restored from a backup holds tenures that were given back since."""
    sight.wait(5)
    newer = sight.serve(instance="i2", epoch=9)
    sight.look()
    sight.last = msgspec.structs.replace(newer, instance_id="i1", epoch=7, last_heartbeat=iso(START_MS))
    sight.vanish()
    assert never(sight.lost_after())


@pytest.mark.parametrize("raw", [b"[]", b"{", b"\xff", b""])
def test_unreadable_status_is_never_a_loss(sight: Sight, raw: bytes) -> None:
    """Somebody holds the key, whoever it is: nothing is known."""
    sight.status, sight.expires_at = raw, None
    assert never(sight.lost_after())


def test_key_left_without_ttl_is_no_recorded_loss(sight: Sight) -> None:
    """It holds the exchange for ever, so the lease is not over; the card says what to do. Deleted, it is a loss."""
    sight.expires_at = None
    assert never(sight.lost_after())
    sight.vanish()
    sight.look()
    assert sight.look() == ["i1"]


def test_key_without_ttl_deleted_early_is_unknown_until_its_heartbeat_is_old(sight: Sight) -> None:
    """A person cleared it; its holder, if it lives, claims again within an interval."""
    sight.expires_at = None
    sight.wait(5)
    sight.vanish()
    assert sight.lost_after() == TTL_S - 5 + INTERVAL_S


def test_key_that_was_missing_for_a_moment_runs_out_like_any_other(sight: Sight) -> None:
    """A server that lagged behind answered one look."""
    key = sight.status
    sight.wait(5)
    sight.vanish()
    sight.look()
    sight.status = key
    sight.look()
    assert sight.lost_after() == TTL_S - 5


# -- stores that cannot be trusted ------------------------------------------------------------------------------------


@pytest.mark.parametrize("uptime_s", [0, 20, -1])
def test_server_just_started_is_given_time(uptime_s: int) -> None:
    """Living holders wait for its uptime before they claim again; one that does not say counts from the first look."""
    sight = Sight(uptime_s=uptime_s)
    sight.serve()
    sight.let_pass(TTL_S * 10)
    sight.uptime_s = uptime_s
    assert sight.lost_after() == TTL_S + INTERVAL_S + RETURN_S - max(0, uptime_s)


@pytest.mark.parametrize("is_renewed", [False, True])
def test_lease_written_since_the_server_is_up_needs_no_time(is_renewed: bool) -> None:
    """Whoever tries this kills an instance a minute after starting the store: told at once as any other death."""
    sight = Sight(uptime_s=0)
    if is_renewed:
        sight.serve()
    sight.look()
    sight.let_pass(1)
    sight.serve()
    assert sight.lost_after() == TTL_S


def test_lease_the_server_came_back_with_is_given_time() -> None:
    """Old data may show a lease that was given back long ago; nobody renews it, and it runs out under our eyes."""
    sight = Sight(uptime_s=0)
    sight.serve()
    assert sight.lost_after() == TTL_S + INTERVAL_S + RETURN_S


def test_lease_written_before_a_restart_is_given_time(sight: Sight) -> None:
    """What was written under our eyes was written by the server as it was before."""
    sight.wait(1)
    sight.serve()
    sight.wait(1)
    sight.run_id = "r2"
    assert sight.lost_after() == TTL_S + INTERVAL_S + RETURN_S


def test_store_that_was_away_is_given_time(sight: Sight) -> None:
    """Away for longer than every lease: all keys have expired, and no instance knows yet that it may claim."""
    sight.watched.lost_sight()
    sight.let_pass(TTL_S * 3)
    sight.watched.lost_sight()
    assert sight.lost_after() == TTL_S + INTERVAL_S + RETURN_S


def test_store_that_missed_one_answer_is_given_time(sight: Sight) -> None:
    """It may have been restarted in between; INFO may be denied, so nothing else would tell."""
    sight.wait(TTL_S - 1)
    sight.watched.lost_sight()
    sight.let_pass(2)
    assert sight.lost_after() == TTL_S + INTERVAL_S + RETURN_S


def test_expiry_moved_by_the_stores_clock_is_the_one_that_counts(sight: Sight) -> None:
    """Its clock was set back by a minute: what vanishes before the expiry it now says vanished early."""
    assert sight.expires_at is not None
    sight.expires_at += 60
    sight.wait(TTL_S + 10)
    sight.vanish()
    assert sight.lost_after() == 50 + INTERVAL_S


def test_heartbeat_dated_by_an_older_clock_brings_no_earlier_end(sight: Sight) -> None:
    """The store's clock was stepped ahead just before an unseen renewal, whose writer does not know yet."""
    sight.wait(1)
    assert sight.last is not None
    sight.last = msgspec.structs.replace(sight.last, last_heartbeat=iso(START_MS - 60_000))
    sight.vanish()
    assert sight.lost_after() == TTL_S - 1 + INTERVAL_S


def test_store_away_at_the_first_look_is_given_time() -> None:
    """A watcher started during an outage of the store."""
    sight = Sight()
    sight.serve()
    sight.watched.lost_sight()
    sight.let_pass(TTL_S * 3)
    assert sight.lost_after() == TTL_S + INTERVAL_S + RETURN_S


def test_another_server_behind_the_address_is_given_time(sight: Sight) -> None:
    """A failover that no look failed in: the new primary may lack the last writes, though it is up for long."""
    sight.wait(TTL_S - 1)
    sight.look()
    sight.run_id = "r2"
    sight.let_pass(2)
    assert sight.lost_after() == TTL_S + INTERVAL_S + RETURN_S


def test_watcher_that_was_paused_gives_time(sight: Sight) -> None:
    """A suspended machine suspends its instances too: they wake with us, and claim again."""
    sight.let_pass(TTL_S + BLIND_S)
    assert sight.lost_after() == TTL_S + INTERVAL_S + RETURN_S


def test_stepped_store_clock_is_no_loss(sight: Sight) -> None:
    """Its keys expire at once; the living holder claims again within an interval."""
    sight.wait(1)
    sight.look()
    sight.store_ms += 60_000
    sight.vanish()
    assert sight.lost_after() == TTL_S - 1 + INTERVAL_S


@pytest.mark.parametrize("heartbeat", [iso(START_MS + 3_600_000), "yesterday", ""])
def test_heartbeat_that_cannot_be_dated_counts_from_the_first_look(heartbeat: str) -> None:
    """The store's clock was set back, or another program wrote it."""
    sight = Sight()
    status = sight.serve()
    sight.last = msgspec.structs.replace(status, last_heartbeat=heartbeat)
    sight.vanish()
    assert sight.lost_after() == TTL_S + INTERVAL_S


@pytest.mark.parametrize("field", ["ttl_ms", "heartbeat_interval_ms"])
def test_lease_no_float_can_hold_is_not_over(field: str) -> None:
    """Another program's number must not end the watch over everyone else."""
    sight = Sight()
    sight.last = msgspec.structs.replace(sight.serve(), **{field: 10**400})
    sight.vanish()
    sight.wait(120)
    assert list(sight.watched.unrecorded) == []


def test_key_gone_just_before_its_expiry_has_expired(sight: Sight) -> None:
    """Two clocks are read some milliseconds apart."""
    sight.wait(TTL_S - 1)
    sight.let_pass(1 - AT_EXPIRY_S)
    sight.vanish()
    assert sight.look() == ["i1"]


def test_unreadable_last_concludes_nothing(sight: Sight) -> None:
    """Nobody knows whose tenure it was."""
    error = UnreadableKey("x", key=LAST, reason="x")
    with pytest.raises(UnreadableKey):
        sight.watched.see(Look(sight.now, sight.now, sight.store_ms, LONG, "r1", -2, None, error))
    assert list(sight.watched.unrecorded) == []
