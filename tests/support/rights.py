"""The users docs/store.md tells a person to create."""

from __future__ import annotations

import re
from pathlib import Path

_DOCUMENT = Path(__file__).parents[2] / "docs" / "store.md"


def documented_users() -> list[str]:
    """The documented lines without `ACL SETUSER`, the password `secret` filled in; the Sentinels' is the last."""
    lines = re.findall(r"^ACL SETUSER (.+)$", _DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    names = [line.split()[0] for line in lines]
    assert names == ["perseus-instance", "perseus-control", "perseus-viewer", "perseus-web", "perseus-sentinel"]
    return [line.replace(">PASSWORD", ">secret") for line in lines]
