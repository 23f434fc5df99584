"""The door: quick help, the documented exit codes, and one paragraph for every error."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from perseus.cli import COMMANDS
from tests.cli.terminal import Terminal
from tests.support.processes import COMMAND, run_perseus
from tests.support.proxy import FaultProxy
from tests.support.servers import Server
from tests.support.system import free_port

LOADED = """
import sys
from perseus.cli import main
try:
    main({args!r})
except SystemExit:
    pass
heavy = ("redis", "aiohttp", "structlog", "asyncio", "sqlalchemy", "asyncpg", "starlette")
print("LOADED", *(name for name in heavy if name in sys.modules))
"""


def refusal(*args: str, code: int, data_dir: Path, **settings: str) -> str:
    """The error of a command that must end with `code`: one paragraph on stderr, nothing on stdout, no traceback."""
    done = run_perseus(*args, data_dir=data_dir, settings=settings)
    assert (done.returncode, done.stdout) == (code, ""), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    (paragraph,) = done.stderr.strip().splitlines()
    return paragraph


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["nonsense"]])
def test_help_loads_none_of_the_heavy_libraries(args: list[str]) -> None:
    """Help must come at once; each of these costs as much as everything else together."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(args=args)], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.splitlines()[-1].split() == ["LOADED"]


def test_no_command_is_a_question_for_help(data_dir: Path) -> None:
    """The first thing a newcomer types."""
    done = run_perseus(data_dir=data_dir)
    assert all(name in done.stdout + done.stderr for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_loaded_and_explains_itself(name: str, data_dir: Path) -> None:
    """A wrong entry in the table of commands would show only when somebody needs it."""
    done = run_perseus(name, "--help", data_dir=data_dir)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: perseus {name}")


def test_status_loads_little_and_asks_little(proxy: FaultProxy, data_dir: Path) -> None:
    """Scripts ask every few seconds: what only servers and instances need costs more than everything else together."""
    code = LOADED.format(args=["status", "--store", proxy.url, "--data-dir", str(data_dir)])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.splitlines()[-1].split() == ["LOADED", "redis", "asyncio"]
    assert "never started" in done.stdout
    # for the exchanges, for the alerts, and as nobody tells them: whether the store takes writes
    assert 1 <= proxy.requests.chunks <= 3


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["statu"], "Did you mean status?"),
        (["status", "--jason"], "--json"),
        (["status", "bynance"], 'no exchange "bynance"'),
        (["log", "--since", "soon"], "--since 'soon' is no time"),
        (["log", "--count", "0"], "--count"),
        (["candles", "binance"], "SYMBOL"),
        (["candles", "binance", "BTC-USDT", "--timeframe", "2m"], "2m"),
        (["run", "binance", "--symbols", "0"], "too few"),
        (["run", "binance", "--symbols", "BTC-USDT,,ETH USDT"], "'ETH USDT' is no symbol"),
        (["run", "binance", "--timeframes", "1m,7m"], "'7m' is no timeframe"),
        (["run", "binance", "--timeframes", ","], "names none"),
        (["run", "kraken"], "no adapter for kraken"),
        (["run", "okx"], 'no adapter for "okx"; it has them for binance, binance_us. Nothing was started.'),
        (["up", "coinbase", "binance"], "no adapter for coinbase"),
        (["up", "--symbols", "x y"], "'X Y' is no symbol"),
        (["start", "nowhere"], 'no exchange "nowhere"'),
    ],
)
def test_bad_usage_is_64_with_what_would_do(args: list[str], words: str, data_dir: Path) -> None:
    """Scripts must be able to tell a typing error (64) from a network that is not well (1) or cannot be seen (2)."""
    assert words in refusal(*args, code=64, data_dir=data_dir)


@pytest.mark.parametrize("command", [["status"], ["log"], ["candles", "binance", "BTC-USDT"], ["stop", "binance"]])
def test_unreachable_store_is_2(command: list[str], data_dir: Path) -> None:
    """We are blind; that says nothing about the exchanges."""
    said = refusal(*command, code=2, data_dir=data_dir, STORE_URL=f"redis://:secret@127.0.0.1:{free_port()}")
    assert "cannot be reached" in said
    assert "secret" not in said


@pytest.mark.parametrize("command", [["status"], ["log"], ["start", "binance"]])
def test_embedded_store_that_does_not_run_is_2_and_is_not_started(command: list[str], data_dir: Path) -> None:
    """Looking must change nothing."""
    assert "perseus up" in refusal(*command, code=2, data_dir=data_dir)
    assert not (data_dir / "store").exists()


def test_unreachable_store_refuses_run_with_2(data_dir: Path) -> None:
    """Whether the exchange is taken cannot be told."""
    refusal("run", "binance", code=2, data_dir=data_dir, STORE_URL=f"redis://127.0.0.1:{free_port()}")


def test_wrong_password_is_78(start_server: Callable[..., Server], data_dir: Path) -> None:
    """A person must act; waiting will not help."""
    server = start_server(password="right")
    url = server.url_for("", "hunter2")
    for command in (["status"], ["run", "binance"]):
        said = refusal(*command, code=78, data_dir=data_dir, STORE_URL=url)
        assert "user and password" in said
        assert "hunter2" not in said


def test_bad_url_is_78(data_dir: Path) -> None:
    """With what would be a good one."""
    assert "redis://HOST:PORT" in refusal("status", code=78, data_dir=data_dir, STORE_URL="http://localhost")


def test_unwritable_data_directory_is_78(valkey: Server, data_dir: Path) -> None:
    """Locks and the embedded store live there. (A path below a file cannot be written even by root.)"""
    (data_dir / "file").touch()
    bad = str(data_dir / "file" / "below")
    assert "cannot be written" in refusal(
        "run", "binance", "--data-dir", bad, "--store", valkey.url, code=78, data_dir=data_dir
    )
    assert "Nothing was started" in refusal("up", "--data-dir", bad, code=78, data_dir=data_dir)
    assert valkey.all_keys() == []


def test_evicting_store_is_78_unless_asked_for(start_server: Callable[..., Server], data_dir: Path) -> None:
    """It could drop a lease; nothing may be claimed there by accident."""
    server = start_server(config={"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"})
    said = refusal("run", "binance", code=78, data_dir=data_dir, STORE_URL=server.url)
    assert "maxmemory-policy" in said
    assert "--unsafe-store" in said
    assert server.all_keys() == []
    assert "maxmemory-policy" in refusal("up", "--store", server.url, code=78, data_dir=data_dir).replace("Real", "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("serve", "--port", "70000"), "between 0 and 65535"),
        (("serve", "--store", "http://localhost"), "redis://HOST:PORT"),
        (("up", "--port", "x", "--simulate"), "PORT"),
        (("exchanges", "list", "--database", "mysql://localhost/x"), "postgresql://"),
    ],
)
def test_bad_flag_is_64_like_any_other_usage(data_dir: Path, words: tuple[str, ...], says: str) -> None:
    """Whoever typed it is there to correct it; nobody has to look for a file."""
    assert says in refusal(*words, code=64, data_dir=data_dir)


def test_bad_flag_beside_a_bad_setting_is_78(data_dir: Path) -> None:
    """The setting has to be corrected in any case."""
    done = run_perseus("serve", "--port", "x", data_dir=data_dir, settings={"LOG_LEVEL": "loud"})
    assert (done.returncode, done.stderr.splitlines()[0]) == (78, "2 settings cannot work; nothing was started.")


def test_ctrl_c_while_it_is_loaded_ends_quietly() -> None:
    """A tenth of a second is long enough to see the wrong command, and a traceback says that something broke."""
    interrupted = (
        "import os, runpy, signal, sys\n"
        "class Impatient:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'click':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Impatient())\n"
        "runpy.run_module('perseus', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", interrupted], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_contradictory_settings_are_78_all_at_once(data_dir: Path) -> None:
    """A list, one fault a line, each with its numbers."""
    settings = {"HEARTBEAT_INTERVAL": "30", "LEASE_TTL": "45", "PORT": "x"}
    done = run_perseus("run", "binance", data_dir=data_dir, settings=settings)
    assert done.returncode == 78
    head, *listed = done.stderr.strip().splitlines()
    assert head == "2 settings cannot work; nothing was started."
    assert [line[:4] for line in listed] == ["  - ", "  - "]
    assert "45" in done.stderr


def test_debug_shows_the_traceback(data_dir: Path) -> None:
    """For those who look for the place; nobody else should meet one."""
    done = run_perseus("status", "--debug", data_dir=data_dir)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "No embedded store runs" in done.stderr


def test_output_that_nobody_reads_to_its_end_is_no_error(valkey: Server, data_dir: Path) -> None:
    """`perseus log | head` is ordinary use."""
    for n in range(2000):
        valkey.call("XADD", "logs:network:binance", "*", "event", "error", "error", f"{n} {'x' * 100}")
    process = subprocess.Popen(
        [*COMMAND, "log", "--count", "2000", "--store", valkey.url, "--data-dir", str(data_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=data_dir,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    complaint = process.stderr.read()
    process.stderr.close()
    assert (process.wait(20), complaint) == (0, b"")


def test_full_disk_is_no_defect_of_ours(data_dir: Path) -> None:
    """`perseus types > FILE` where there is no room: nobody should be sent to report a bug."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "types"], stdout=full, stderr=subprocess.PIPE, text=True, cwd=data_dir, check=False
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "defect" not in done.stderr


def test_colour_is_for_terminals_that_want_it(valkey: Server, data_dir: Path) -> None:
    """Piped output and NO_COLOR must carry no control sequences."""
    assert "\x1b" not in run_perseus("status", data_dir=data_dir, store_url=valkey.url).stdout
    for extra, coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        with Terminal("status", "--store", valkey.url, directory=data_dir, environment=extra) as terminal:
            assert terminal.wait() == 0
            assert ("\x1b[" in terminal.seen) is coloured


def test_terminal_without_unicode_gets_plain_marks(valkey: Server, data_dir: Path) -> None:
    """A dot that cannot be encoded must not end the command."""
    done = run_perseus("status", "coinbase", data_dir=data_dir, store_url=valkey.url)
    assert "○" in done.stdout
    environment = {"PYTHONIOENCODING": "ascii:replace", "TERM": "dumb"}
    with Terminal("status", "--store", valkey.url, directory=data_dir, environment=environment) as terminal:
        assert terminal.wait() == 0
        assert "o Coinbase" in terminal.seen


def test_error_is_wrapped_for_a_terminal(data_dir: Path) -> None:
    """A paragraph of 300 characters on one line is unreadable."""
    with Terminal("status", directory=data_dir, environment={}) as terminal:
        assert terminal.wait() == 2
        lines = terminal.seen.splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= 100
