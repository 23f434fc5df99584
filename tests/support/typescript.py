"""The real TypeScript compiler over a few files of a test."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.node import HERE, TSC

# Strict, with what careful projects turn on besides; modules as bundlers resolve them.
OPTIONS = {
    "strict": True,
    "noEmit": True,
    "noUncheckedIndexedAccess": True,
    "exactOptionalPropertyTypes": True,
    "verbatimModuleSyntax": True,
    "skipLibCheck": True,
    "module": "esnext",
    "moduleResolution": "bundler",
    "target": "es2022",
    "lib": ["es2022", "dom", "dom.iterable"],
    "types": [],
}
_ERROR = re.compile(r"^(?P<file>[^\s(]+)\((?P<line>\d+),\d+\): error (?P<what>TS\d+: .*)$")


def faults(directory: Path, files: Mapping[str, str]) -> dict[str, list[str]]:
    """What the compiler says about each file, as `line: TSnnnn: …`; an empty list for one without faults.

    Raises: AssertionError if it said anything else.
    """
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8")
    (directory / "tsconfig.json").write_text(json.dumps({"compilerOptions": OPTIONS, "files": list(files)}))
    packages = directory / "node_modules"
    if not packages.exists():
        packages.symlink_to(HERE / "node_modules")
    command = [*TSC, "--pretty", "false", "--project", "tsconfig.json"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)
    found: dict[str, list[str]] = {name: [] for name in files}
    for line in done.stdout.splitlines():
        match = _ERROR.match(line)
        if match:
            found[match["file"]].append(f"{match['line']}: {match['what']}")
        else:
            assert line.startswith(" "), f"{done.stdout}{done.stderr}"  # the rest of a message
    assert done.returncode == 0 or any(found.values()), f"{done.stdout}{done.stderr}"
    return found
