"""What Discord takes at most of a message, and how texts are cut to that. Pure.

Source: Discord's documentation (message resource, embed limits). Discord counts code points; other programs in between
may count UTF-16 units, of which there are never fewer, so those are counted here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

CONTENT = 2000
TITLE = 256
DESCRIPTION = 4096
FIELD_NAME = 256
FIELD_VALUE = 1024
FIELDS = 25
URL = 2048
# all embeds of a message together may have 6000: no limit of ours, for one embed of several lines has no fields, and
# those of a single line are short

# what is taken as a whole or not at all: an escaped character, a time, a mention, a character
_ATOM = re.compile(r"\\.|\*\*|<t:-?\d+(?::[a-zA-Z])?>|<@&\d+>|.", re.DOTALL)
_ELLIPSIS = "…"


def units(text: str) -> int:
    """The length of a text in UTF-16 units; in code points it is at most as long."""
    return len(text) + sum(character > "\uffff" for character in text)


def cut(text: str, limit: int) -> str:
    """The text, or as many whole characters, escapes and times of it as fit, then `…`."""
    if units(text) <= limit:
        return text
    kept, left = [], limit - units(_ELLIPSIS)
    for atom in _ATOM.findall(text):
        left -= units(atom)
        if left < 0:
            break
        kept.append(atom)
    return "".join(kept).rstrip() + _ELLIPSIS


def and_more(count: int) -> str:
    """What stands for `count` things that did not fit."""
    return f"… and {count} more"


def joined(
    parts: Sequence[str], limit: int, *, between: str, at_most: int | None = None, more: Callable[[int], str] = and_more
) -> str:
    """The parts that fit, whole, in order; then what `more` says of how many did not. Not one fits: the first, cut."""
    kept = min(len(parts), limit if at_most is None else at_most)  # of thousands most cannot fit: none is that short
    while kept > 1 and units(_with_rest(parts, kept, between, more)) > limit:
        kept -= 1
    rest = _with_rest(["", *parts[1:]], kept, between, more)
    return cut(parts[0], limit - units(rest)) + rest if parts else ""


def _with_rest(parts: Sequence[str], kept: int, between: str, more: Callable[[int], str]) -> str:
    rest = len(parts) - kept
    return between.join([*parts[:kept], *([more(rest)] if rest else [])])
