"""A venue's clock, carried between its answers by our boot-time clock."""

from __future__ import annotations

from perseus.clock import Clock

WINDOW_MS = 10_000.0
ENOUGH = 5  # messages in a window before it may cast doubt
DOUBT_MS = 500.0  # the freshest message of a window is usually on its way for less


class VenueTime:
    """The exchange's time now. Units: Unix ms. Before the first answer: the host's wall clock, the only one there is.

    "Is this minute over" is a question about the exchange's clock; the host's may be wrong by days.
    """

    def __init__(self, clock: Clock) -> None:
        self.is_in_doubt = False  # the stream speaks of an earlier time than we do: ask the venue
        self._clock = clock
        self._offset_ms: float | None = None
        self._window_ends = 0.0
        self._heard = 0
        self._best = float("-inf")

    def now_ms(self) -> int:
        """The exchange's time now, a little late rather than early."""
        if self._offset_ms is None:
            return self._clock.wall_ms()
        return round(self._boot_ms() + self._offset_ms)

    def answered(self, venue_ms: int) -> None:
        """Take the time of an answer just received to a question about the time; replaces what was known.

        The answer has travelled, so the estimate is late by that: a minute is thought to end late, never early.
        """
        self._offset_ms = venue_ms - self._boot_ms()
        self.is_in_doubt = False
        self._start_window()

    def heard(self, venue_ms: int) -> None:
        """Take the time a message was sent.

        A message cannot come from the future, so a later time counts at once. When a whole window's messages speak of
        an earlier one, either the venue's clock was set back or the stream lags: only an answer can tell, so the
        estimate stays and is in doubt.
        """
        offset = venue_ms - self._boot_ms()
        self._heard += 1
        self._best = max(self._best, offset)
        if self._offset_ms is None or offset > self._offset_ms:
            self._offset_ms = offset
        if self._boot_ms() >= self._window_ends:
            if self._heard >= ENOUGH and self._best < self._offset_ms - DOUBT_MS:
                self.is_in_doubt = True
            self._start_window()

    def _start_window(self) -> None:
        self._window_ends = self._boot_ms() + WINDOW_MS
        self._heard, self._best = 0, float("-inf")

    def _boot_ms(self) -> float:
        return self._clock.now() * 1000
