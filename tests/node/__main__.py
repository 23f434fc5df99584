"""`python -m tests.node ci` installs what the lock file names; `lock` writes it anew, without addresses."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.node import HERE, NPM


def _lock() -> None:
    subprocess.run([*NPM, "install", "--package-lock-only", "--silent"], cwd=HERE, check=True)
    path = HERE / "package-lock.json"
    lock = json.loads(path.read_text())
    for package in lock["packages"].values():
        for field in ("funding", "resolved"):
            package.pop(field, None)
    path.write_text(json.dumps(lock, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["lock"]:
        _lock()
    else:
        sys.exit(subprocess.run([*NPM, *sys.argv[1:]], cwd=HERE, check=False).returncode)
