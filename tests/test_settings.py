"""Settings: later sources win, every value knows where it came from, every fault is told at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perseus.errors import BadConfiguration
from perseus.settings import Settings, VenueUrls, load_settings, redacted
from perseus.timing import LeaseTiming

_SEVERAL = ("redis+cluster://u:hun,ter2@h1,h2", "redis+sentinel://:hun,ter2@h1,h2/s?sentinel_password=hunter2")


def load(directory: Path, environ: dict[str, str] | None = None, **flags: str | None) -> Settings:
    """Settings of this directory with this environment and nothing of the test's own."""
    return load_settings(flags=flags, environ=environ or {}, directory=directory)


def faults(directory: Path, environ: dict[str, str]) -> tuple[str, ...]:
    """What is wrong with this environment."""
    with pytest.raises(BadConfiguration) as caught:
        load(directory, environ)
    return caught.value.faults


def test_defaults_work_without_any_configuration(tmp_path: Path) -> None:
    """The first command of a newcomer must not ask for anything."""
    settings = load(tmp_path)
    assert settings.is_embedded
    assert (settings.heartbeat_interval, settings.lease_ttl) == (15.0, 45)
    assert settings.candles_kept == 1500
    assert settings.public_ip_urls[0] == "https://api.ipify.org"
    assert len(settings.public_ip_urls) == 3
    assert set(settings.sources.values()) == {"default"}


def test_later_source_wins_and_is_remembered(tmp_path: Path) -> None:
    """Without the order and the source, nobody can find out why a value is what it is."""
    (tmp_path / "perseus.toml").write_text('port = 1001\nhostname = "toml"\nadmin_name = "toml"\nlog_level = "debug"\n')
    (tmp_path / ".env").write_text("PERSEUS_PORT=1002\nPERSEUS_HOSTNAME=dotenv\nPERSEUS_ADMIN_NAME=dotenv\nOTHER=1\n")
    settings = load(tmp_path, {"PERSEUS_PORT": "1003", "PERSEUS_HOSTNAME": "env", "HOME": "/"}, PORT="1004")
    assert (settings.port, settings.sources["PORT"]) == (1004, "flag")
    assert (settings.hostname, settings.sources["HOSTNAME"]) == ("env", "environment")
    assert (settings.admin_name, settings.sources["ADMIN_NAME"]) == ("dotenv", ".env")
    assert (settings.log_level, settings.sources["LOG_LEVEL"]) == ("debug", "perseus.toml")
    assert settings.sources["HOST"] == "default"


def test_name_without_the_prefix_in_dotenv_is_told(tmp_path: Path) -> None:
    """It has no effect, and whoever wrote it believes that it has; other programs may share the file."""
    text = "DISCORD_WEBHOOK_URLS=x\nPORT=1\nHOST=a\nPERSEUS_HOST=b\nOTHER=1\nEXCHANGE_KRAKEN_WS_URL=w\nLOG_LEVEL=d\n"
    (tmp_path / ".env").write_text(text)
    settings = load(tmp_path, {"PERSEUS_LOG_LEVEL": "debug", "ADMIN_EMAIL": "a@b"})
    assert settings.overlooked == ("DISCORD_WEBHOOK_URLS", "PORT", "EXCHANGE_KRAKEN_WS_URL")
    assert (settings.port, settings.discord_webhooks) == (8777, ())


def test_flag_that_was_not_given_changes_nothing(tmp_path: Path) -> None:
    """Commands pass all their options, given or not."""
    assert load(tmp_path, {"PERSEUS_STORE_URL": "redis://a"}, STORE_URL=None).store_url == "redis://a"


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    """Repairing settings one error at a time wastes a start for each."""
    (tmp_path / "perseus.toml").write_text("colour = 1\n")
    environ = {
        "PERSEUS_HEARTBEAT_INTERVAL": "30",
        "PERSEUS_LEASE_TTL": "45",
        "PERSEUS_PORT": "99999",
        "PERSEUS_STORE_URL": "http://x",
        "PERSEUS_LOG_FORMAT": "xml",
        "PERSEUS_CANDELS_KEPT": "10",
        "PERSEUS_EXCHANGE_BINANCE_REST_URL": "ftp://x",
        "PERSEUS_STORE_WAIT_REPLICAS": "-2",
        "PERSEUS_ADMIN_EMAIL": "nobody",
    }
    told = faults(tmp_path, environ)
    assert len(told) == 9
    text = "\n".join(told)
    assert "PERSEUS_CANDELS_KEPT (environment) is no setting. Did you mean CANDLES_KEPT?" in text
    assert "COLOUR (perseus.toml)" in text
    assert "HEARTBEAT_INTERVAL 30 s and LEASE_TTL 45 s contradict each other" in text
    assert "Set LEASE_TTL to" in text
    assert "STORE_WAIT_REPLICAS '-2' (environment) must be between 0" in text


@pytest.mark.parametrize(
    "url",
    [
        *("redis+cluster://a", "rediss+cluster://u:p@a:1,b:2?ssl_ca_certs=c"),
        *("redis+sentinel://a,b:2/main", "rediss+sentinel://u:p@a/main/0?sentinel_password=p"),
    ],
)
def test_store_of_several_hosts_is_taken(tmp_path: Path, url: str) -> None:
    """With replicas to wait for, which the embedded store has not."""
    settings = load(tmp_path, {"PERSEUS_STORE_URL": url, "PERSEUS_STORE_WAIT_REPLICAS": "1"})
    assert (settings.store_url, settings.store_wait_replicas) == (url, 1)
    (fault,) = faults(tmp_path, {"PERSEUS_STORE_WAIT_REPLICAS": "1"})
    assert "the embedded store has none" in fault


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("sqlite:////var/lib/perseus.db", "sqlite:////var/lib/perseus.db"),
        ("sqlite+aiosqlite:////var/lib/perseus.db", "sqlite:////var/lib/perseus.db"),
        ("postgresql+asyncpg://u:p@h/x", "postgresql://u:p@h/x"),
        ("postgresql://h1:5432,h2:5433/x?sslmode=require", "postgresql://h1:5432,h2:5433/x?sslmode=require"),
        ("postgresql:///x?host=/run/postgresql", "postgresql:///x?host=/run/postgresql"),
    ],
)
def test_database_of_every_kind_is_taken(tmp_path: Path, given: str, kept: str) -> None:
    """Written as SQLAlchemy or as libpq knows it."""
    assert load(tmp_path, {"PERSEUS_DATABASE_URL": given}).database_url == kept


def test_database_is_a_file_in_the_data_directory_unless_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is one of the working directory, now and after anybody changes it."""
    settings = load(tmp_path, DATA_DIR=str(tmp_path / "data"))
    assert settings.database_url == f"sqlite:///{tmp_path}/data/perseus.db"
    assert settings.sources["DATABASE_URL"] == "default"
    monkeypatch.chdir(tmp_path)
    assert load(tmp_path, DATABASE_URL="sqlite:///x.db").database_url == f"sqlite:///{tmp_path}/x.db"


def test_message_of_several_faults_says_nothing_was_started(tmp_path: Path) -> None:
    """A person must know what is true now."""
    with pytest.raises(BadConfiguration, match=r"2 settings cannot work; nothing was started") as caught:
        load(tmp_path, {"PERSEUS_PORT": "x", "PERSEUS_CANDLES_KEPT": "1"})
    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("STORE_URL", "redis+other://a,b", "is not `embedded`"),
        ("STORE_URL", "redis+cluster://", "names no host"),
        ("STORE_URL", "redis+cluster://a:port,b", "malformed host or port"),
        ("STORE_URL", "redis+sentinel://a,b", "names no service"),
        ("STORE_WAIT_REPLICAS", "-1", "must be between 0"),
        ("STORE_WAIT_REPLICAS", "some", "is not a whole number"),
        ("STORE_URL", "redis://", "names no host"),
        ("STORE_URL", "localhost:6379", "is not `embedded`"),
        ("STORE_URL", "redis://h:port", "malformed host or port"),
        ("HEARTBEAT_INTERVAL", "soon", "is not a number of seconds"),
        ("HEARTBEAT_INTERVAL", "-1", "must be more than 0"),
        ("HEARTBEAT_INTERVAL", "nan", "must be more than 0"),
        ("LEASE_TTL", "45.5", "whole seconds"),
        ("LEASE_TTL", "2", "at least 3"),
        ("HOSTNAME", " ", "is empty"),
        ("DATA_DIR", "", "is empty"),
        ("PUBLIC_IP_URLS", "ipify", "is not a http:// or https:// URL"),
        ("PUBLIC_IP_URLS", ",", "or `off`"),
        ("CANDLES_KEPT", "59", "must be between 60"),
        ("LOG_LEVEL", "warn", "Did you mean warning?"),
        ("PORT", "-1", "must be between 0 and 65535"),
        ("PUBLIC_URL", "perseus.example", "is not a http:// or https:// URL"),
        ("PUBLIC_URL", "https://perseus.example/ui", "must be scheme, host and perhaps port only"),
        ("TRUSTED_PROXIES", "10.0.0.0/33", "is not a list of addresses or networks"),
        ("RATE_LIMIT", "0", "must be between 1 and 1000000"),
        ("DISCORD_WEBHOOK_URLS", "https://discord.com/", "its path must be /api/webhooks/ID/TOKEN"),
        ("DISCORD_MENTION_ROLE", "@ops", "is no role's id"),
        ("DISCORD_ANNOUNCE", "ofline", "must be `all`, `none`, or some of started"),
        ("DATABASE_URL", "mysql://h/x", "is not sqlite:///PATH or postgresql://"),
        ("DATABASE_URL", "postgresql:h", "is not sqlite:///PATH or postgresql://"),
        ("DATABASE_URL", "sqlite://", "names no file"),
        ("DATABASE_URL", "sqlite:///", "names no file"),
        ("DATABASE_URL", "sqlite:///x.db?mode=ro", "names no file"),
        ("DATABASE_URL", "postgresql://h:port/x", "malformed host or port"),
        ("DATABASE_URL", "postgresql://h,[::1/x", "malformed host or port"),
        ("EXCHANGE_KRAKEN_WS_URL", "http://x", "is not a ws:// or wss:// URL"),
        ("EXCHANGE_BINANCE_REST_URL", "http://h:99999", "malformed host or port"),
    ],
)
def test_unusable_value_is_refused_with_its_reason(tmp_path: Path, name: str, text: str, words: str) -> None:
    """Each fault names the setting, its value, where it came from, and what would do."""
    (fault,) = faults(tmp_path, {f"PERSEUS_{name}": text})
    assert words in fault
    assert name in fault


def test_unknown_exchange_in_a_url_setting_is_refused(tmp_path: Path) -> None:
    """A misspelt override would silently leave the real exchange in place."""
    (fault,) = faults(tmp_path, {"PERSEUS_EXCHANGE_BINANSE_REST_URL": "http://x"})
    assert "Did you mean EXCHANGE_BINANCE_REST_URL?" in fault


def test_exchange_urls_are_found_by_exchange(tmp_path: Path) -> None:
    """Names with an underscore are exchanges too: binance_us is not an exchange `us`."""
    settings = load(
        tmp_path,
        {
            "PERSEUS_EXCHANGE_BINANCE_US_REST_URL": "http://h/binance_us/",
            "PERSEUS_EXCHANGE_BINANCE_WS_URL": "ws://h/binance",
        },
    )
    assert settings.venue_urls("binance_us") == VenueUrls("http://h/binance_us", None)
    assert settings.venue_urls("binance") == VenueUrls(None, "ws://h/binance")
    assert settings.venue_urls("kraken") == VenueUrls(None, None)


def test_toml_tables_and_lists_name_settings(tmp_path: Path) -> None:
    """A configuration file should read like one."""
    (tmp_path / "perseus.toml").write_text(
        'public_ip_urls = ["http://a", "http://b"]\nheartbeat_interval = 0.5\n'
        '[exchange.binance]\nrest_url = "http://h"\n'
    )
    settings = load(tmp_path)
    assert settings.public_ip_urls == ("http://a", "http://b")
    assert settings.venue_urls("binance").rest == "http://h"
    assert (settings.heartbeat_interval, settings.lease_ttl) == (0.5, 3)


@pytest.mark.parametrize("content", ["port = ", "\x00", "\udcff"])
def test_file_that_cannot_be_read_is_a_fault_not_a_traceback(tmp_path: Path, content: str) -> None:
    """An unreadable file must not be skipped: its settings were meant."""
    (tmp_path / "perseus.toml").write_bytes(content.encode("utf-8", "surrogateescape"))
    (fault,) = faults(tmp_path, {})
    assert "perseus.toml cannot be read" in fault


def test_public_ip_detection_can_be_switched_off(tmp_path: Path) -> None:
    """Some hosts must not call out."""
    settings = load(tmp_path, {"PERSEUS_PUBLIC_IP_URLS": "off"})
    assert settings.public_ip_urls == ()
    assert ("PUBLIC_IP_URLS", "off", "environment") in settings.rows()


def test_what_the_test_suite_reads_is_no_setting(tmp_path: Path) -> None:
    """A developer who exports these must still be able to run the product."""
    ours = ("PERSEUS_CAPTURES", "PERSEUS_REQUIRE_SERVERS", "PERSEUS_FAULT_TRIALS", "PERSEUS_TEST_PG")
    load(tmp_path, dict.fromkeys(ours, "1"))


def test_data_dir_follows_the_users_data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data belongs where the platform keeps data."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert load(tmp_path).data_dir == tmp_path / "share" / "perseus"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load(tmp_path, {"PERSEUS_DATA_DIR": "~/x"}).data_dir == tmp_path / "x"


@pytest.mark.parametrize(
    "url", ["redis://user:hunter2@host:1/0", "redis://:hunter2@host", "redis://a:hunter2@[bad", *_SEVERAL]
)
def test_password_is_never_shown(tmp_path: Path, url: str) -> None:
    """`doctor` output ends up in tickets; errors in logs."""
    assert "ter2" not in redacted(url)
    try:
        shown = str(load(tmp_path, {"PERSEUS_STORE_URL": url}).rows())
    except BadConfiguration as error:
        shown = str(error) + str(error.faults)
    assert "ter2" not in shown
    assert "***" in shown


def test_password_with_a_slash_is_not_quoted_in_the_fault(tmp_path: Path) -> None:
    """The parser would take it for a port and name it in its own words."""
    (fault,) = faults(tmp_path, {"PERSEUS_STORE_URL": "redis://u:hunter/2@host"})
    assert "hunter" not in fault.replace("percent-encode", "")


_TOKEN = "tokenTOKEN" * 6
_HOOK = f"https://discord.com/api/webhooks/123456/{_TOKEN}"


def test_webhooks_are_read_and_shown_without_their_tokens(tmp_path: Path) -> None:
    """Whoever has the URL can write to the channel; `doctor` shows settings, and a crash shows what it holds."""
    environ = {
        "PERSEUS_DISCORD_WEBHOOK_URLS": f"ops={_HOOK}?thread_id=9, {_HOOK}x",
        "PERSEUS_DISCORD_MENTION_ROLE": "42",
        "PERSEUS_DISCORD_ANNOUNCE": "offline recovered",
    }
    settings = load(tmp_path, environ)
    assert [webhook.name for webhook in settings.discord_webhooks] == ["ops", "discord"]
    assert settings.discord_webhooks[0].url.endswith(f"/api/v10/webhooks/123456/{_TOKEN}?thread_id=9")
    assert (settings.discord_mention_role, settings.discord_announce) == ("42", ("offline", "recovered"))
    shown = {row.name: row.value for row in settings.rows()}
    masked = "https://discord.com/api/webhooks/123456/***"
    assert shown["DISCORD_WEBHOOK_URLS"] == f"ops={masked}?thread_id=9,discord={masked}"
    assert shown["DISCORD_ANNOUNCE"] == "offline,recovered"
    assert _TOKEN not in repr(settings) + str(settings.rows())
    assert _TOKEN not in redacted(_HOOK)


def test_no_webhook_and_every_kind_are_the_defaults(tmp_path: Path) -> None:
    """Alerts need a channel, and nothing else to be thought of."""
    settings = load(tmp_path)
    assert (settings.discord_webhooks, settings.discord_mention_role) == ((), "")
    assert "lease_lost" in settings.discord_announce
    announced = load(tmp_path, {"PERSEUS_DISCORD_ANNOUNCE": "none"})
    assert ("DISCORD_ANNOUNCE", "none", "environment") in announced.rows()


@pytest.mark.parametrize(
    "text",
    [
        f'discord_webhook_urls = "ops={_HOOK}"',
        f'discord_webhook_urls = ["ops={_HOOK}"]',
        f'[discord_webhook_urls]\nops = "{_HOOK}"',
        f'[[discord_webhook_urls]]\nname = "ops"\nurl = "{_HOOK}"',
        f'[discord]\nwebhook_urls = {{ops = "{_HOOK}"}}',
    ],
)
def test_webhooks_are_named_in_toml_as_one_would(tmp_path: Path, text: str) -> None:
    """Lists and tables are what TOML is for."""
    (tmp_path / "perseus.toml").write_text(text)
    assert [webhook.name for webhook in load(tmp_path).discord_webhooks] == ["ops"]


@pytest.mark.parametrize(
    "text",
    [
        f'discord_webhook_urls = "ops={_HOOK}/slack"',
        f'discord_webhook_urls = [["{_HOOK}y", 5]]',
        f'discord_webhook_urls = "http://discord.com/{_TOKEN}"',
        f'[discord_webhook_urls.ops]\nurl = "{_HOOK}"',
        f'discord_webhook_url = "{_HOOK}"',
    ],
)
def test_unusable_webhook_is_not_quoted(tmp_path: Path, text: str) -> None:
    """The fault is printed, and logged by whatever starts us."""
    (tmp_path / "perseus.toml").write_text(text)
    with pytest.raises(BadConfiguration) as caught:
        load(tmp_path)
    assert _TOKEN not in str(caught.value) + repr(caught.value) + str(caught.value.faults)
    assert "DISCORD_WEBHOOK_URL" in caught.value.faults[0]


@given(
    interval=st.floats(0.1, 100, allow_nan=False).map(lambda value: round(value, 2)),
    ttl=st.integers(1, 400),
)
def test_settings_accept_exactly_what_a_lease_accepts(interval: float, ttl: int) -> None:
    """Were they to differ, an instance would be refused after it had begun to start."""
    try:
        LeaseTiming(interval, ttl)
        usable = True
    except BadConfiguration:
        usable = False
    environ = {"PERSEUS_HEARTBEAT_INTERVAL": str(interval), "PERSEUS_LEASE_TTL": str(ttl)}
    if usable:
        assert load(Path("/nonexistent"), environ).lease_ttl == ttl
    else:
        assert faults(Path("/nonexistent"), environ)


@given(interval=st.floats(0.05, 1000, allow_nan=False))
def test_default_ttl_works_with_every_interval(interval: float) -> None:
    """Whoever sets the interval alone must not be told that the default contradicts it."""
    assert load(Path("/nonexistent"), {"PERSEUS_HEARTBEAT_INTERVAL": str(interval)}).lease_ttl >= 3


@pytest.mark.parametrize(
    ("flags", "environ", "code"),
    [
        ({"PORT": "x"}, {}, 64),
        ({"PORT": "x", "HOST": ""}, {}, 64),
        ({"PORT": "x"}, {"PERSEUS_PORT": "y"}, 64),
        ({"PORT": "x"}, {"PERSEUS_LOG_LEVEL": "loud"}, 78),
        ({"PORT": "1"}, {"PERSEUS_LOG_LEVEL": "loud"}, 78),
        ({"STORE_URL": "embedded"}, {"PERSEUS_STORE_WAIT_REPLICAS": "1"}, 78),
    ],
)
def test_flags_alone_are_bad_usage(flags: dict[str, str], environ: dict[str, str], code: int, tmp_path: Path) -> None:
    """A supervisor and a script tell a mistyped flag from settings that somebody must repair by the exit code."""
    with pytest.raises(BadConfiguration) as caught:
        load_settings(flags=flags, environ=environ, directory=tmp_path)
    assert caught.value.exit_code == code
