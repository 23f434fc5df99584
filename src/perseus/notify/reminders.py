"""When people are reminded of an open incident, and what they did about it: acknowledged, muted. Pure."""

from __future__ import annotations

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
FIRST_REMINDERS_MS = (30 * _MINUTE_MS, 2 * _HOUR_MS, 6 * _HOUR_MS)  # after the incident was opened
REMIND_EVERY_MS = 12 * _HOUR_MS
TOGETHER_MS = _MINUTE_MS  # one message for what is due so close to each other


def next_reminder_ms(opened_ms: int, *, after_ms: int) -> int:
    """When a reminder is due next: 30 minutes, 2 hours, 6 hours after the opening, then every 12 hours."""
    for offset_ms in FIRST_REMINDERS_MS:
        if opened_ms + offset_ms > after_ms:
            return opened_ms + offset_ms
    last_ms = opened_ms + FIRST_REMINDERS_MS[-1]
    return last_ms + ((after_ms - last_ms) // REMIND_EVERY_MS + 1) * REMIND_EVERY_MS
