"""`perseus doctor` about this host and the leases held now."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perseus.cli.host import file_system_of
from tests.cli.terminal import Terminal
from tests.support.namespaces import as_pid_1
from tests.support.processes import COMMAND, PerseusProcess, run_perseus
from tests.support.servers import Server
from tests.support.system import free_port
from tests.support.waiting import wait_until

MOUNTS = """\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
45 21 0:40 / /mnt/our\\040data rw,relatime shared:2 - nfs4 server:/export rw,vers=4.2
46 45 0:41 / /mnt/our\\040data/fast rw - xfs /dev/vdb rw
47 21 0:42 / /mnt/share rw,relatime - cifs //server/share rw
48 21 0:43 / /mnt/share rw,relatime - tmpfs tmpfs rw
"""

CLUSTERED = {"cluster-enabled": "yes", "cluster-port": str(free_port())}


def findings(said: str) -> dict[str, dict[str, Any]]:
    """Of `--json`, by name."""
    return {finding["name"]: finding for finding in json.loads(said)["findings"]}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/perseus", "ext4"),
        ("/mnt/our data/perseus", "nfs4"),
        ("/mnt/our data", "nfs4"),
        ("/mnt/our database", "ext4"),
        ("/mnt/our data/fast/perseus", "xfs"),
        ("/mnt/share/perseus", "tmpfs"),
    ],
)
def test_file_system_is_that_of_the_innermost_and_last_mount(path: str, kind: str) -> None:
    """A lock on a network file system is another host's word."""
    assert file_system_of(Path(path), MOUNTS) == kind


def test_network_file_system_is_a_warning(data_dir: Path) -> None:
    """No server for one is here, so the kernel's table of mounts is told; the look at it is the real one."""
    code = f"""
from pathlib import Path
from perseus.cli import host
host._MOUNTS = Path({str(data_dir / "mounts")!r})
finding = host._file_system(Path("/mnt/our data/perseus"))
print(finding.severity, finding.says, finding.fix)
"""
    (data_dir / "mounts").write_text(MOUNTS.replace("/mnt/our\\040data ", "/ "))
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("warn")
    assert "nfs4" in said
    assert "PERSEUS_DATA_DIR" in said


def test_host_without_timers_is_a_warning(valkey: Server, data_dir: Path) -> None:
    """Where no fence can be made a paused process runs on until it looks at the clock."""
    code = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, 0))
from perseus.cli import main
sys.argv = ["perseus", "doctor", "--json", "--store", {valkey.url!r}, "--data-dir", {str(data_dir)!r}]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=data_dir)
    fence = findings(done.stdout)["fence"]
    assert (done.returncode, fence["severity"]) == (0, "warn")
    assert "no timer can be made" in fence["says"]


def test_first_process_of_a_container_is_told_that_it_is(valkey: Server, data_dir: Path) -> None:
    """The kernel spares PID 1, so instances run in its child there."""
    command = (*COMMAND, "doctor", "--json", "--store", valkey.url, "--data-dir", str(data_dir))
    done = subprocess.run(as_pid_1(command), capture_output=True, text=True, check=False, cwd=data_dir)
    fence = findings(done.stdout)["fence"]
    assert (done.returncode, fence["severity"], "PID 1" in fence["says"]) == (0, "ok", True)


def test_instance_with_another_ttl_is_named(
    perseus: Callable[..., PerseusProcess], valkey: Server, data_dir: Path
) -> None:
    """After a restart of the store claimers wait for their own TTL: too short for another's lease."""
    perseus("run", "binance", "--idle").wait_for_state("idle")
    done = run_perseus("doctor", "--json", data_dir=data_dir, store_url=valkey.url)
    holders = findings(done.stdout)["holders"]
    assert (done.returncode, holders["severity"]) == (0, "warn")
    assert "binance on host-a: 4 s" in holders["says"]
    same = {"LEASE_TTL": "4", "HEARTBEAT_INTERVAL": "1"}
    done = run_perseus("doctor", "--json", data_dir=data_dir, store_url=valkey.url, settings=same)
    assert findings(done.stdout)["holders"]["severity"] == "ok"


@pytest.mark.foreign_keys
def test_status_that_cannot_be_read_is_unknown(valkey: Server, data_dir: Path) -> None:
    """Another program's; nobody can say for how long it holds."""
    valkey.call("SET", "exchange:2:status", "not JSON")
    done = run_perseus("doctor", "--json", data_dir=data_dir, store_url=valkey.url)
    assert findings(done.stdout)["holders"]["severity"] == "unknown"


def test_frozen_store_does_not_hold_doctor_up(start_server: Callable[..., Server], data_dir: Path) -> None:
    """It is run when something is wrong."""
    server = start_server()
    server.pause()
    done = run_perseus("doctor", data_dir=data_dir, store_url=server.url)  # it has seconds, not minutes
    assert done.returncode == 2
    assert "did not answer" in done.stdout
    assert "Instances cannot run here: store." in done.stdout
    server.resume()


def test_credentials_without_the_right_to_find_the_nodes_are_78(
    start_server: Callable[..., Server], data_dir: Path
) -> None:
    """Then nothing can be said of the Cluster, but how to go on."""
    node = start_server(config=CLUSTERED, acl=["us on >secret allkeys &* +@all -cluster"])
    url = node.url_for("us", "secret").replace("redis://", "redis+cluster://")
    done = run_perseus("doctor", "--json", data_dir=data_dir, store_url=url)
    store = findings(done.stdout)["store"]
    assert (done.returncode, store["severity"]) == (78, "refuse")
    assert "`ACL SETUSER us +cluster|slots`" in store["fix"]


def test_url_of_another_kind_of_store_is_told_with_a_fix(start_server: Callable[..., Server], data_dir: Path) -> None:
    """A Cluster that is none, a node that is not named as one, a Sentinel taken for a server."""
    server, node = start_server(), start_server(config=CLUSTERED)
    for url, code, fix in (
        (server.url.replace("redis:", "redis+cluster:"), 2, "STORE_URL"),
        (f"{server.url.replace('redis:', 'redis+sentinel:')}/service", 2, "STORE_URL"),
        (node.url, 1, "redis+cluster://"),
    ):
        done = run_perseus("doctor", "--json", data_dir=data_dir, store_url=url)
        found = findings(done.stdout)
        assert done.returncode == code
        assert fix in found["role" if code == 1 else "store"]["fix"]


def test_webhook_that_leads_to_strangers_is_a_warning(valkey: Server, data_dir: Path) -> None:
    """A typo sends them the token with every message; a proxy looks the same."""
    path = f"/api/webhooks/1/{'secret' * 10}"
    urls = f"ops=https://discord.com{path} dev=https://discrod.com{path}"
    (data_dir / ".env").write_text("DISCORD_WEBHOOK_URLS=x\n")
    done = run_perseus("doctor", "--json", data_dir=data_dir, store_url=valkey.url)
    found = findings(done.stdout)
    assert (done.returncode, "webhooks" in found, found[".env"]["severity"]) == (0, False, "warn")
    assert found[".env"]["says"].startswith("It has DISCORD_WEBHOOK_URLS without PERSEUS_")
    settings = {"DISCORD_WEBHOOK_URLS": urls}
    done = run_perseus("doctor", "--json", data_dir=data_dir, store_url=valkey.url, settings=settings)
    found = findings(done.stdout)
    assert (done.returncode, found["webhooks"]["severity"], ".env" in found) == (0, "warn", False)
    assert found["webhooks"]["says"] == "dev goes to discrod.com: not Discord's; a proxy of yours?"
    assert "secret" not in done.stdout


def test_person_reads_the_verdict_last_and_no_line_is_cut(start_server: Callable[..., Server], data_dir: Path) -> None:
    """In a terminal of 100 columns."""
    server = start_server(config={"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"})
    with Terminal("doctor", "--store", server.url, directory=data_dir, environment={"NO_COLOR": "1"}) as terminal:
        assert terminal.wait() == 1
        wait_until(lambda: "cannot run here" in terminal.seen, description="the verdict is shown")
        lines = terminal.seen.splitlines()
    assert lines[-1].startswith("Instances cannot run here: eviction.")
    findings_shown = lines[: next(n for n, line in enumerate(lines) if line.startswith("Settings"))]
    assert max(len(line) for line in findings_shown) <= 100
    assert [line for line in findings_shown if line and line[0] != " "] == [
        "The store",
        "Leases",
        "Alerts",
        "The database",
        "This host",
    ]
