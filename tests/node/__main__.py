"""`python -m tests.node ci` installs what the lock file names; `lock` writes it and the Admin UI's anew.

Without addresses: where packages come from is the machine's own configuration.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.node import HERE, NPM

UI = HERE.parents[1] / "ui"


def _lock(directory: Path) -> None:
    subprocess.run([*NPM, "install", "--package-lock-only", "--silent"], cwd=directory, check=True)
    path = directory / "package-lock.json"
    lock = json.loads(path.read_text())
    for package in lock["packages"].values():
        for field in ("funding", "resolved"):
            package.pop(field, None)
    path.write_text(json.dumps(lock, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["lock"]:
        for each in (HERE, UI):
            _lock(each)
    else:
        sys.exit(subprocess.run([*NPM, *sys.argv[1:]], cwd=HERE, check=False).returncode)
