"""What must hold of the repository itself: locks without addresses, packaged completely, layers declared."""

from __future__ import annotations

import json
import re
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
NODE_LOCKS = ("ui/package-lock.json", "tests/node/package-lock.json")
LOCKS = ("requirements-installer.lock", "requirements.lock", "requirements-dev.lock")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
_SOURCES = {".py", ".lua"}
_ADDRESS = re.compile(r"https?://|index-url|find-links|file:|@ |git\+", re.IGNORECASE)


def locked(name: str) -> dict[str, str]:
    """Version by package of a lock file."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE))


def group(name: str) -> list[Requirement]:
    """The requirements of a dependency group, those of included groups too."""
    found: list[Requirement] = []
    for entry in PYPROJECT["dependency-groups"][name]:
        found += [Requirement(entry)] if isinstance(entry, str) else group(entry["include-group"])
    return found


RUNTIME = [Requirement(text) for text in PYPROJECT["project"]["dependencies"]]


@pytest.mark.parametrize("name", LOCKS)
def test_lock_names_no_address_and_hashes_everything(name: str) -> None:
    """A lock with addresses works on one machine only; a package without a hash could be anything."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not _ADDRESS.findall(text)
    entries = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert entries
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize(
    ("name", "requirements"),
    [
        ("requirements-installer.lock", group("installer")),
        ("requirements.lock", RUNTIME + group("build")),
        ("requirements-dev.lock", RUNTIME + group("dev")),
    ],
)
def test_lock_satisfies_pyproject(name: str, requirements: list[Requirement]) -> None:
    """A dependency added without `make lock` would be missing for everyone else."""
    versions = locked(name)
    unmet = [
        str(each)
        for each in requirements
        if (version := versions.get(canonicalize_name(each.name))) is None or version not in each.specifier
    ]
    assert not unmet, f"{name} does not satisfy pyproject.toml (run `make lock`): {unmet}"


def test_tests_run_on_the_versions_users_get() -> None:
    """Tests that passed on other versions say nothing about the program people run."""
    dev = locked("requirements-dev.lock")
    assert {name: dev.get(name) for name in locked("requirements.lock")} == locked("requirements.lock")


@pytest.mark.parametrize("name", NODE_LOCKS)
def test_node_lock_names_no_address_and_every_platform(name: str) -> None:
    """As for Python; and npm leaves out what it finds missing while it locks, with which nobody can install then."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not _ADDRESS.findall(text.replace('"node_modules/@', "").replace('"@', ""))
    packages = json.loads(text)["packages"]
    assert [path for path, package in packages.items() if path and "integrity" not in package] == []
    optional = {name for package in packages.values() for name in package.get("optionalDependencies", {})}
    assert {name for name in optional if not any(path.endswith(f"node_modules/{name}") for path in packages)} == set()


def test_wheel_contains_every_file_of_the_package(tmp_path: Path) -> None:
    """The scripts are not Python: a wheel without them imports, then fails at the first claim."""
    package = ROOT / "src"
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if name.startswith("perseus/")}
    files = {path.relative_to(package).as_posix() for path in (package / "perseus").rglob("*") if path.is_file()}
    assert "perseus/web/static/ui/index.html" in files
    assert inside == {name for name in files if "__pycache__" not in name}


def test_no_source_file_exceeds_500_lines() -> None:
    """A longer file is split, or says why here."""
    sources = [path for folder in ("src", "tests") for path in (ROOT / folder).rglob("*") if path.suffix in _SOURCES]
    too_long = [str(path) for path in sources if len(path.read_text(encoding="utf-8").splitlines()) > 500]
    assert sources
    assert not too_long
