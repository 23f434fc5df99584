"""Foreign text as Discord shows it letter by letter, and the few marks of our own. Pure.

Error texts, host names, reasons and names come from exchanges, from other programs and from whoever may write to the
store: none of it may mention anybody, link anywhere, hide anything or look like ours.
"""

from __future__ import annotations

import re
import unicodedata

# Emphasis, code, spoilers, links, mentions, times, emoji, headers, quotes. `:` takes `https://` and `:emoji:` apart.
# Discord shows a backslash and any ASCII sign as that sign. One `_` within a word stays: phones show backslashes.
_SPECIAL = re.compile(r"[\\*~|`<>\[\]()@#:]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LEADING = re.compile(r"^(\d*)([-+.])(?=\s|\\|$)")  # lists and subtext: at the beginning of a line only
# not seen, although their category says otherwise: joiners, fillers, an empty Braille cell, selectors of variants
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
_MARKS = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
_STACKED = re.compile(f"([{_MARKS}]{{2}})[{_MARKS}]+")  # accents on accents, which cover the lines around


def cleaned(text: str) -> str:
    """The text on one line, without what is not seen or turns around what follows."""
    seen = "".join(map(_seen, text))
    return " ".join(_STACKED.sub(r"\1", _UNSEEN.sub("", seen)).split())


def escaped(text: str, limit: int = 200) -> str:
    """Foreign text for a message, to be shown letter by letter; of a longer one `limit` characters with a `…`."""
    text = cleaned(text)
    if len(text) > limit:
        text = text[: limit - 1].rstrip() + "…"
    return _LEADING.sub(r"\1\\\2", _SPECIAL.sub(r"\\\g<0>", text))


def moment(ms: int) -> str:
    """A moment by the reader's own clock, and how long ago that is."""
    return f"<t:{ms // 1000}:f> ({ago(ms)})"


def ago(ms: int) -> str:
    """How long ago a moment is; Discord keeps it true."""
    return f"<t:{ms // 1000}:R>"


def _seen(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Cc", "Zl", "Zp", "Zs"):
        return " "
    if category == "Cs":
        return "\ufffd"
    return "" if category in ("Cf", "Co", "Cn") else character
