"""What upkeep remembers of one symbol, and what that symbol needs. Pure: times are given.

| need | when | what is asked |
| --- | --- | --- |
| `warm-up` | no history yet, too long a hole, or a candle that nothing else can close | its whole history |
| `gap` | its connection or subscription was interrupted | minutes since the last closed one |
| `close` | a minute is over and the stream has not said so | the same |
| `trades` | trade ids are missing and no candle has caught up | the same |
| `first` | nothing at all came since its connection was subscribed | the same: was there anything to say? |
| `silence` | nothing came for much longer than usual | the same: a quiet market, or a dead subscription? |
| `reconcile` | every five minutes | the last quarter of an hour: the exchange may have revised it |
"""

from __future__ import annotations

from dataclasses import dataclass, field

from perseus.instances.backoff import doubled, spread
from perseus.instances.followed import MINUTE_MS, FollowedSymbol
from perseus.instances.links import Link
from perseus.instances.warmup import Counts
from perseus.model import Timeframe

CLOSE_GRACE_MS = 2_500  # the exchange's own word has been seen 1.8 s after the minute
TRADES_GRACE_S = 2.5  # candle updates come every 1-2 s and settle most of it
FIRST_WORD_S = 8.0  # a connection just subscribed may be silent for so long before we ask
SILENCE_LEAST_S, SILENCE_MOST_S, SILENCE_TIMES = 10.0, 60.0, 20.0
VERDICT_S = 3.0  # a message the exchange had when we asked may still be on its way
RETRY_MOST_S = 60.0
FUTILE_S, FUTILE_MOST_S = 1.0, 15.0
GIVE_UP_AFTER = 3  # failed warm-ups after which the others do not wait for this symbol any longer


@dataclass
class Care:
    """What is remembered of one symbol. Units: boot-time seconds."""

    followed: FollowedSymbol
    link: Link
    reconcile_at: float
    subscription: int = 0  # of the link, when last looked
    heard_from: int = 0  # Unix ms by the exchange: from this minute on the stream should have said everything
    has_agreed: bool = False  # the exchange was asked, and there was nothing to hear since the subscription
    gap: str = ""  # why its data is known to be incomplete
    is_busy: bool = False
    not_before: float = 0.0
    failures: int = 0
    futile: int = 0  # answers in a row that left the same need behind
    quiet_until: float = 0.0  # the exchange agreed that there was nothing to hear
    quiet_checks: int = 0
    missed_at: float | None = None  # the exchange knew of trades that the stream had not brought
    resubscriptions: int = 0
    resubscribe_at: float = 0.0
    listed_until: int = 0  # Unix ms by the exchange: up to here its flat minutes are explained, it was asked for
    counts: Counts = field(default_factory=Counts)
    last_failure: str = ""

    @property
    def is_given_up(self) -> bool:
        """Whether the others no longer wait for its first history; it goes on being asked for."""
        return not self.followed.was_warm and self.failures >= GIVE_UP_AFTER

    @property
    def patience_s(self) -> float:
        """How long it may be silent before we ask, scaled to how often it usually speaks."""
        return min(SILENCE_MOST_S, max(SILENCE_LEAST_S, SILENCE_TIMES * self.followed.usual_gap_s))

    def need(self, *, now: float, now_ms: int) -> str:
        """What has to be asked of the exchange now, if anything."""
        followed = self.followed
        if not followed.is_warm or followed.is_stuck:
            return "warm-up"
        if self.gap:
            return "gap"
        if followed.is_overdue(now_ms, grace_ms=CLOSE_GRACE_MS):
            return "close"
        missing_since = followed.trades_missing_since
        if missing_since is not None and now - missing_since > TRADES_GRACE_S:
            return "trades"
        return self._doubt(now) or ("reconcile" if now >= self.reconcile_at else "")

    def notice_subscription(self, now_ms: int) -> None:
        """See whether the connection was interrupted since the last look."""
        if self.subscription == self.link.subscriptions:
            return
        if self.followed.is_warm or self.is_busy:
            self.gap = f"the connection was interrupted: {self.link.why_down}"
        self.subscription = self.link.subscriptions
        self.begin_hearing(now_ms)

    def begin_hearing(self, now_ms: int) -> None:
        """From now on the stream should say everything."""
        self.heard_from = Timeframe.M1.open_of(now_ms) + MINUTE_MS
        self.has_agreed = False
        self.missed_at = None
        self.followed.expect_gap()

    def is_dead(self, now: float) -> bool:
        """Whether its subscription brings nothing although the exchange traded, for longer than a message travels."""
        if self.missed_at is None:
            return False
        if self.followed.last_message > self.missed_at:
            self.missed_at, self.resubscriptions = None, 0
            return False
        return self.link.is_up and now - self.missed_at > VERDICT_S

    def judge(self, need: str, *, news: bool, now: float) -> None:
        """Tell a quiet market from a dead subscription; ever less often while it stays quiet."""
        if need not in {"close", "first", "silence"}:
            return
        silent_s = now - self.followed.last_message
        if news and silent_s > VERDICT_S:
            self.missed_at = self.missed_at or now
            self.not_before = now + VERDICT_S
            self.quiet_until = now + self.patience_s
        elif need == "first":
            self.has_agreed = not news
        elif need == "silence":
            self.quiet_checks = 0 if silent_s < self.patience_s else self.quiet_checks + 1
            self.quiet_until = now + self.patience_s * 2 ** min(self.quiet_checks, 5)

    def answered(self, need: str, *, open_from: int, now: float, now_ms: int) -> None:
        """The exchange answered; where that left the same need behind, ask ever less often.

        `open_from`: the symbol's oldest open minute before; one that has advanced since was no answer in vain.
        """
        self.failures, self.last_failure = 0, ""
        if self.followed.open_from != open_from or self.need(now=now, now_ms=now_ms) != need:
            self.futile = 0
            return
        self.futile += 1
        most_s = RETRY_MOST_S if need == "warm-up" else FUTILE_MOST_S
        self.not_before = max(self.not_before, now + doubled(FUTILE_S, self.futile - 1, most_s=most_s))

    def failed(self, error: Exception, *, now: float) -> None:
        """The exchange did not answer: leave the symbol alone for a while."""
        self.failures += 1
        self.last_failure = str(error)
        self.not_before = now + spread(doubled(1.0, self.failures, most_s=RETRY_MOST_S))

    def _doubt(self, now: float) -> str:
        link = self.link
        is_new = link.is_up and not link.has_heard and not self.has_agreed
        if is_new and now - link.up_since > FIRST_WORD_S:
            return "first"
        is_silent = now >= self.quiet_until and now - self.followed.last_message > self.patience_s
        return "silence" if is_silent else ""
