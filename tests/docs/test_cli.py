"""docs/cli.md: its examples are run, its tables are complete."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perseus import keys
from perseus.cli import COMMANDS
from perseus.network.cards import Health
from perseus.settings import database_file, load_settings, sqlite_url
from perseus.store.findings import Severity
from tests.cli.test_incidents import fill
from tests.database.people import outage
from tests.support.processes import run_perseus
from tests.support.servers import Server
from tests.support.trials import FeedProcess
from tests.support.waiting import wait_until

TEXT = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```console\n\$ perseus ([^\n]+)\n```\n\n```json\n(.+?)```", TEXT, re.DOTALL)


@pytest.fixture
def network(valkey: Server, data_dir: Path) -> Iterator[Server]:
    """A store with binance active on it."""
    settings = {"HEARTBEAT_INTERVAL": "1", "LEASE_TTL": "4"}
    feed = FeedProcess("binance", data_dir=data_dir / "host", store_url=valkey.url, settings=settings)
    with feed as process:
        process.wait_for_state("active")
        key = keys.candles(2, "BTC-USDT", "1m")
        wait_until(lambda: (valkey.call("ZCARD", key) or 0) > 0, description="a candle is kept")
        yield valkey


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> str:
    """DATABASE_URL of a database with an admin, a token of theirs, and an open incident."""
    directory = tmp_path_factory.mktemp("people")
    for command in (
        "admins add ada@example.org --role owner",
        "admins token ada@example.org --name grafana",
    ):
        assert run_perseus(*command.split(), data_dir=directory).returncode == 0
    url = sqlite_url(database_file(directory))
    fill(url, outage())
    return url


def mismatches(documented: Any, actual: Any, where: str = "$") -> list[str]:
    """What the documentation promises and the answer lacks, or has with another type; null stands for any type."""
    if documented is None or actual is None:
        return []
    if isinstance(documented, dict) and isinstance(actual, dict):
        missing = [f"{where}.{name} is missing" for name in documented if name not in actual]
        below = [mismatches(documented[name], actual[name], f"{where}.{name}") for name in documented if name in actual]
        return missing + [each for found in below for each in found]
    if isinstance(documented, list) and isinstance(actual, list):
        return mismatches(documented[0], actual[0], f"{where}[0]") if documented and actual else []
    same = isinstance(actual, int | float) if isinstance(documented, float) else type(documented) is type(actual)
    return [] if same else [f"{where} is {actual!r}, documented as {documented!r}"]


@pytest.mark.parametrize(("command", "documented"), EXAMPLES, ids=[command for command, _ in EXAMPLES])
def test_example_has_the_shape_of_the_real_answer(
    network: Server, people: str, data_dir: Path, command: str, documented: str
) -> None:
    """Programs are written from this page."""
    settings = {"DATABASE_URL": people}
    done = run_perseus(*command.split(), data_dir=data_dir, store_url=network.url, settings=settings)
    # the example's candles are of long ago; and no notifier runs here
    remark = {"candles": "Not current", "incidents": "No notifier"}.get(command.partition(" ")[0], "")
    assert (done.returncode, done.stderr[: len(remark)]) == (0, remark)
    actual = json.loads(done.stdout)
    assert mismatches(json.loads(documented), actual) == []
    assert set(json.loads(documented)) == set(actual)


def test_there_is_an_example_for_each_json_output() -> None:
    """A shape nobody can read is no promise."""
    documented = {" ".join(word for word in command.split()[:2] if word.isalpha()) for command, _ in EXAMPLES}
    assert documented >= {"incidents list", "exchanges list", "admins list", "admins tokens", "admins audit"}
    assert {command.split()[0] for command, _ in EXAMPLES} == {
        *("status", "log", "candles", "doctor", "incidents", "exchanges", "admins")
    }


def test_card_is_documented_with_exactly_its_fields(network: Server, data_dir: Path) -> None:
    """A new field of ours belongs on the page with the release that brings it."""
    (documented,) = [json.loads(text)["instances"][0] for command, text in EXAMPLES if command.startswith("status")]
    done = run_perseus("status", "binance", "--json", data_dir=data_dir, store_url=network.url)
    assert set(documented) == set(json.loads(done.stdout)["instances"][0])


def test_every_command_health_and_setting_is_documented(tmp_path: Path) -> None:
    """What is not on the page is looked for in the source."""
    for name in COMMANDS:
        assert f"`perseus {name}" in TEXT
    assert re.findall(r"^\| `(\w+)` \| ", TEXT.partition("| `health` |")[2], re.MULTILINE) == [h.value for h in Health]
    documented = dict(re.findall(r"^\| `([A-Z_]+)` \|([^|]*)\|", TEXT, re.MULTILINE))
    settings = load_settings(environ={}, directory=tmp_path)
    assert list(documented) == [row.name for row in settings.rows()]
    for row in settings.rows():
        if row.name not in ("DATABASE_URL", "DATA_DIR", "HOSTNAME", "LEASE_TTL", "PUBLIC_IP_URLS", "DISCORD_ANNOUNCE"):
            assert documented[row.name].strip(" `") == row.value


def test_every_severity_is_documented() -> None:
    """Programs branch on it."""
    listed = re.findall(r"^- `(\w+)`: ", TEXT.partition("`severity` is one of:")[2], re.MULTILINE)
    assert listed == list(Severity)


def test_example_configuration_is_accepted(tmp_path: Path) -> None:
    """It will be copied."""
    (example,) = re.findall(r"```toml\n(.+?)```", TEXT, re.DOTALL)
    (tmp_path / "perseus.toml").write_text(example)
    settings = load_settings(environ={}, directory=tmp_path)
    assert settings.admin_email == tomllib.loads(example)["admin_email"]
    assert settings.venue_urls("binance").rest == "https://data-api.binance.vision"


@pytest.mark.parametrize(
    ("documented", "actual"), [({"a": 1}, {}), ({"a": 1}, {"a": "1"}), ([{"a": 1}], [{"a": []}]), (1.0, "1")]
)
def test_a_wrong_example_would_be_found(documented: Any, actual: Any) -> None:
    """The comparison itself must be able to fail."""
    assert mismatches(documented, actual)


def test_exit_codes_are_those_of_the_errors() -> None:
    """Two tables that must agree."""
    from perseus import errors

    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)}
    raised = {each.exit_code for each in vars(errors).values() if _is_error(each)}
    assert raised <= documented


def _is_error(each: object) -> bool:
    from perseus.errors import PerseusError

    return isinstance(each, type) and issubclass(each, PerseusError)
