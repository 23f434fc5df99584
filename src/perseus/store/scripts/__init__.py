"""The Lua scripts: one atomic, single-slot operation a file, its KEYS, ARGV and replies documented on top.

Scripts compose no JSON (cjson writes 16-digit integers as `1.78e+15` and `[]` as `{}`); values come ready from the
client, and numbers leave Lua through `string.format('%.0f')` only.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Script:
    """A script's text and the SHA-1 by which the server knows it."""

    name: str
    text: str
    sha: str


def _read(name: str) -> Script:
    text = (Path(__file__).parent / f"{name}.lua").read_text(encoding="utf-8")
    return Script(name=name, text=text, sha=hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


APPEND = _read("append")
CLAIM = _read("claim")
LEAD = _read("lead")
LOOK = _read("look")
RECORD_LOSS = _read("record_loss")
RELEASE = _read("release")
REMEMBER = _read("remember")
RENEW = _read("renew")
WRITE_CANDLES = _read("write_candles")
WRITE_VALUE = _read("write_value")
