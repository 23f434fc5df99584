"""Pauses that grow with each attempt in vain."""

from __future__ import annotations

import random

LONGEST_DOUBLING = 30  # 2.0 to the power of an outage's thousandth attempt is no float any more


def doubled(first_s: float, times: int, *, most_s: float) -> float:
    """`first_s` doubled so many times, however many, up to `most_s`. Units: seconds."""
    return min(most_s, first_s * 2.0 ** min(times, LONGEST_DOUBLING))


def spread(seconds: float) -> float:
    """Anything between nothing and `seconds`: what failed together must not come back together."""
    return random.uniform(0, seconds)  # noqa: S311  no secret: full jitter
