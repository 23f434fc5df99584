"""The commands of docs/deploy.md, block by block."""

from __future__ import annotations

import re
from pathlib import Path

TEXT = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text(encoding="utf-8")
# Each section's blocks of commands, by its number.
SECTIONS = {
    int(heading[0]): re.findall(r"```sh\n(.+?)```", body, re.DOTALL)
    for heading, body in (part.split("\n", 1) for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:])
}
_NOT_RUN = re.compile(r"^sudo (apt-get|python3 -m venv|/opt/\S+/pip) .*\n", re.MULTILINE)


def section(number: int) -> list[str]:
    """Its blocks, without what installs packages."""
    return [cleaned for block in SECTIONS[number] if (cleaned := _NOT_RUN.sub("", block))]
