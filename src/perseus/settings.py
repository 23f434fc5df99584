"""One frozen Settings: read once, validated as a whole, every value with the place it came from.

Later wins: defaults, `perseus.toml`, `.env`, environment (`PERSEUS_…`), flags. All faults are reported at once.
Imports nothing slow: `perseus --help` reads this module.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import socket
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from perseus.errors import BadConfiguration, BadFlag
from perseus.model import SEEDED_EXCHANGES
from perseus.timing import timing_faults
from perseus.webhooks import KINDS, Webhook, parse_announced, parse_role, parse_webhooks, without_token

PREFIX = "PERSEUS_"
EMBEDDED = "embedded"
SIMULATED = "simulated network"  # the source of what a simulated network has of its own
_STORE_SCHEMES = tuple(tls + kind for kind in ("", "+cluster", "+sentinel") for tls in ("redis", "rediss"))
_PUBLIC_IP_URLS = "https://api.ipify.org,https://checkip.amazonaws.com,https://icanhazip.com"
# Read by the test suite from the same environment; they configure no product behaviour.
_NOT_SETTINGS = re.compile(r"PERSEUS_(TEST_\w+|CAPTURES|REQUIRE_SERVERS|FAULT_TRIALS)")
_VENUE = re.compile(r"EXCHANGE_(?P<exchange>[A-Z0-9_-]+)_(?P<kind>REST|WS)_URL")


class VenueUrls(NamedTuple):
    """Where an exchange is reached instead of its own hosts; None keeps the adapter's default."""

    rest: str | None = None
    ws: str | None = None


class SettingRow(NamedTuple):
    """One setting as `perseus doctor` shows it: secrets redacted, with the source of its value."""

    name: str
    value: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be configured. Units: seconds, unless the name says otherwise."""

    store_url: str
    store_wait_replicas: int
    database_url: str  # sqlite:///PATH | postgresql://…
    data_dir: Path
    heartbeat_interval: float
    lease_ttl: int
    hostname: str
    admin_email: str
    admin_name: str
    public_ip_urls: tuple[str, ...]  # empty: switched off
    candles_kept: int
    log_format: str  # console | json
    log_level: str  # debug | info | warning | error
    host: str
    port: int
    public_url: str  # an origin, `https://perseus.example`; empty: none
    trusted_proxies: tuple[str, ...]  # addresses and networks
    rate_limit: int  # requests a second and client; 0: switched off
    discord_webhooks: tuple[Webhook, ...]  # empty: no alerts are sent
    discord_mention_role: str  # a role's id; empty: nobody is mentioned
    discord_announce: tuple[str, ...]  # kinds of messages
    venue_urls_by_exchange: Mapping[str, VenueUrls] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    overlooked: tuple[str, ...] = ()  # names of settings that stand in .env without PERSEUS_, and have no effect

    @property
    def is_embedded(self) -> bool:
        """Whether the store is a server of our own in DATA_DIR."""
        return self.store_url == EMBEDDED

    @property
    def has_own_database(self) -> bool:
        """Whether the database is the file in DATA_DIR."""
        return self.database_url == sqlite_url(database_file(self.data_dir))

    @property
    def is_simulated(self) -> bool:
        """Whether these are the settings of a simulated network."""
        return self.sources.get("STORE_URL") == SIMULATED

    def venue_urls(self, exchange: str) -> VenueUrls:
        """The URLs given for this exchange, both None where its own hosts are meant."""
        return self.venue_urls_by_exchange.get(exchange, VenueUrls())

    def rows(self) -> list[SettingRow]:
        """Every setting with its source, redacted, in the order of the documentation."""
        return [SettingRow(name, _shown(self, name), source) for name, source in self.sources.items()]


def load_settings(
    *,
    flags: Mapping[str, str | None] | None = None,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Settings:
    """Read and validate the settings. `flags` are named like settings (`STORE_URL`); None means not given.

    Raises: BadConfiguration with every fault there is, not only the first; BadFlag where only flags are at fault.
    """
    reading = _Reading()
    directory = directory or Path.cwd()
    reading.take_defaults()
    reading.take_toml(directory / "perseus.toml")
    reading.take_dotenv(directory / ".env")
    reading.take_environment(os.environ if environ is None else environ)
    reading.take({name: value for name, value in (flags or {}).items() if value is not None}, source="flag")
    return reading.finish()


def redacted(url: str) -> str:
    """The URL for logs and errors: password and webhook token masked, options left out.

    Holds for a URL that cannot be parsed, too.
    """
    credentials, at, place = without_token(url).rpartition("@")
    place = place.partition("?")[0]
    if not at:
        return place
    scheme, separator, user = credentials.partition("://")
    if not separator:
        return f"***@{place}"
    user, colon, _ = user.partition(":")
    return f"{scheme}://{user}{':***' if colon else ''}@{place}"


def near_match(name: str, known: list[str]) -> str:
    """` Did you mean X?` where a known name is close, else nothing."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""


# --- one parser a kind of value; each raises ValueError with the rest of the sentence `NAME "value" …` ---


def _store_url(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if text == EMBEDDED or (scheme == "unix" and separator):
        return text
    if scheme not in _STORE_SCHEMES or not separator:
        raise ValueError(
            "is not `embedded`, redis://HOST:PORT, rediss://HOST:PORT, unix:///PATH, redis+cluster://HOST,HOST "
            "or redis+sentinel://HOST,HOST/SERVICE"
        )
    credentials, at, place = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")
    hosts = place.split(",") if "+" in scheme else [place]
    if not all(_hostname(f"{scheme}://{credentials}{at}{host}") for host in hosts):
        raise ValueError(f"names no host; give {scheme}://HOST:PORT")
    if scheme.endswith("sentinel") and not urlsplit(rest.removeprefix(place)).path.strip("/"):
        raise ValueError(f"names no service; give {scheme}://HOST,HOST/SERVICE, by the Sentinels' name for the primary")
    return text


def _hostname(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # a bad one raises here
    except ValueError as error:  # its own words may quote a password
        raise ValueError("has a malformed host or port (percent-encode special characters in a password)") from error
    return parts.hostname


def _database_url(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    kind = {"sqlite+aiosqlite": "sqlite", "postgresql+asyncpg": "postgresql"}.get(scheme, scheme)
    if not separator or kind not in ("sqlite", "postgresql"):
        raise ValueError("is not sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE")
    if kind == "postgresql":
        credentials, at, places = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")
        for place in places.split(","):
            _hostname(f"{kind}://{credentials}{at}{place}")  # none is fine: libpq's defaults and ?host= count
        return f"{kind}://{rest}"
    if not rest.startswith("/") or not rest.strip("/") or "?" in rest:
        raise ValueError("names no file; give sqlite:///PATH (an absolute path begins with a slash of its own)")
    return sqlite_url(Path(rest[1:]).expanduser())


def sqlite_url(path: Path) -> str:
    """The DATABASE_URL of this SQLite file."""
    return f"sqlite:///{path.absolute()}"


def database_file(data_dir: Path) -> Path:
    """The SQLite file of a data directory: the database where no DATABASE_URL is given."""
    return data_dir / "perseus.db"


def _directory(text: str) -> Path:
    if not text:
        raise ValueError("is empty; name a directory that may be written")
    return Path(text).expanduser().absolute()


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ValueError("is not a whole number") from error


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise ValueError("is not a number of seconds") from error
    if not (math.isfinite(value) and value > 0):
        raise ValueError("must be more than 0 seconds")
    return value


def _within(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = _integer(text)
        if not low <= value <= high:
            raise ValueError(f"must be between {low} and {high}")
        return value

    return parse


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(
                f"must be one of {', '.join(choices)}.{near_match(text.lower(), list(choices))}".rstrip(".")
            )
        return text.lower()

    return parse


def _email(text: str) -> str:
    if text and not re.fullmatch(r"[^@\s]+@[^@\s]+", text):
        raise ValueError("is not an e-mail address")
    return text


def _not_empty(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return text.strip()


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.partition("://")[0] not in schemes or not _hostname(text):
            raise ValueError(f"is not a {':// or '.join(schemes)}:// URL")
        return text.rstrip("/")

    return parse


def _public_ip_urls(text: str) -> tuple[str, ...]:
    if text.strip().lower() == "off":
        return ()
    urls = tuple(part.strip() for part in text.split(",") if part.strip())
    if not urls:
        raise ValueError("is empty; give URLs separated by commas, or `off`")
    return tuple(map(_url("http", "https"), urls))


def _origin(text: str) -> str:
    if not text:
        return text
    parts = urlsplit(_url("http", "https")(text))
    if parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("must be scheme, host and perhaps port only, like https://perseus.example")
    return f"{parts.scheme}://{parts.netloc}".lower()


def _networks(text: str) -> tuple[str, ...]:
    import ipaddress

    try:
        return tuple(str(ipaddress.ip_network(part.strip())) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(
            "is not a list of addresses or networks separated by commas, like 127.0.0.1,10.0.0.0/8"
        ) from error


def _rate(text: str) -> int:
    return 0 if text.strip().lower() == "off" else _within(1, 1_000_000)(text)


def _data_home() -> str:
    return str(Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "perseus")


class _Spec(NamedTuple):
    """How one setting is parsed, and the text of its default (None: derived from others)."""

    parse: Callable[[str], Any]
    default: Callable[[], str] | str | None
    is_secret: bool = False  # as it was written; a fault does not quote it
    attribute: str = ""  # of Settings, where it is not the name


_SPECS: dict[str, _Spec] = {
    "STORE_URL": _Spec(_store_url, EMBEDDED),
    "STORE_WAIT_REPLICAS": _Spec(_within(0, 100), "0"),
    "DATABASE_URL": _Spec(_database_url, None),
    "DATA_DIR": _Spec(_directory, _data_home),
    "HEARTBEAT_INTERVAL": _Spec(_seconds, "15"),
    "LEASE_TTL": _Spec(_seconds, None),
    "HOSTNAME": _Spec(_not_empty, socket.gethostname),
    "ADMIN_EMAIL": _Spec(_email, ""),
    "ADMIN_NAME": _Spec(str.strip, ""),
    "PUBLIC_IP_URLS": _Spec(_public_ip_urls, _PUBLIC_IP_URLS),
    "CANDLES_KEPT": _Spec(_within(60, 1_000_000), "1500"),
    "LOG_FORMAT": _Spec(_one_of("console", "json"), "console"),
    "LOG_LEVEL": _Spec(_one_of("debug", "info", "warning", "error"), "info"),
    "HOST": _Spec(_not_empty, "127.0.0.1"),
    "PORT": _Spec(_within(0, 65_535), "8777"),
    "PUBLIC_URL": _Spec(_origin, ""),
    "TRUSTED_PROXIES": _Spec(_networks, ""),
    "RATE_LIMIT": _Spec(_rate, "200"),
    "DISCORD_WEBHOOK_URLS": _Spec(parse_webhooks, "", is_secret=True, attribute="discord_webhooks"),
    "DISCORD_MENTION_ROLE": _Spec(parse_role, ""),
    "DISCORD_ANNOUNCE": _Spec(parse_announced, ",".join(KINDS)),
}


class _Reading:
    """Texts and their sources as they are gathered, and what is wrong with them."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._sources: dict[str, str] = {}
        self._faults: list[str] = []
        self._faulty_flags = 0
        self._unprefixed: list[str] = []

    def take_defaults(self) -> None:
        for name, spec in _SPECS.items():
            default = spec.default() if callable(spec.default) else spec.default
            self._sources[name] = "default"
            if default is not None:
                self._texts[name] = default

    def take(self, texts: Mapping[str, str], *, source: str) -> None:
        for name, text in texts.items():
            if name in _SPECS or _known_venue(name):
                self._texts[name] = text
                self._sources[name] = source
            else:
                known = [
                    *_SPECS,
                    *(f"EXCHANGE_{e.name.upper()}_{k}_URL" for e in SEEDED_EXCHANGES for k in ("REST", "WS")),
                ]
                shown = PREFIX + name if source in ("environment", ".env") else name
                self._faults.append(f"{shown} ({source}) is no setting.{near_match(name, known)}")

    def take_toml(self, path: Path) -> None:
        try:
            text = path.read_text(encoding="utf-8")
            self.take(dict(_flat(tomllib.loads(text))), source=path.name)
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            self._faults.append(f"{path} cannot be read: {error}. Correct it or move it away.")

    def take_dotenv(self, path: Path) -> None:
        if not path.is_file():
            return
        from dotenv import dotenv_values

        try:
            values = dotenv_values(path, interpolate=False)
        except (OSError, UnicodeDecodeError) as error:
            self._faults.append(f"{path} cannot be read: {error}. Correct it or move it away.")
            return
        self._unprefixed = [name for name in values if name in _SPECS or _known_venue(name)]
        self.take(_ours({name: value or "" for name, value in values.items()}), source=path.name)

    def take_environment(self, environ: Mapping[str, str]) -> None:
        self.take(_ours(environ), source="environment")

    def finish(self) -> Settings:
        values = {name: self._parsed(name, _SPECS[name].parse) for name in _SPECS if name in self._texts}
        venues = self._venues()
        if values["DATA_DIR"] is not None:
            values.setdefault("DATABASE_URL", sqlite_url(database_file(values["DATA_DIR"])))
        if values["HEARTBEAT_INTERVAL"] is not None:
            values.setdefault("LEASE_TTL", float(max(3, math.ceil(3 * values["HEARTBEAT_INTERVAL"]))))
            if values["LEASE_TTL"] is not None:
                self._faults += timing_faults(values["HEARTBEAT_INTERVAL"], values["LEASE_TTL"])
        if values["STORE_WAIT_REPLICAS"] and values["STORE_URL"] == EMBEDDED:
            self._faults.append(
                "STORE_WAIT_REPLICAS waits for replicas, and the embedded store has none; leave it at 0."
            )
        if self._faults:
            raise _bad(self._faults, are_flags=self._faulty_flags == len(self._faults))
        values["LEASE_TTL"] = int(values["LEASE_TTL"])
        fields = {_attribute(name): value for name, value in values.items()}
        overlooked = tuple(name for name in self._unprefixed if self._sources.get(name, "default") == "default")
        return Settings(**fields, venue_urls_by_exchange=venues, sources=self._sources, overlooked=overlooked)

    def _parsed(self, name: str, parse: Callable[[str], Any]) -> Any:
        text = self._texts[name]
        try:
            return parse(text)
        except ValueError as error:
            is_secret = name in _SPECS and _SPECS[name].is_secret
            shown = "" if is_secret else f"{_safe(text)!r} "
            self._faults.append(f"{name} {shown}({self._sources[name]}) {error}.")
            self._faulty_flags += self._sources[name] == "flag"
            return None

    def _venues(self) -> dict[str, VenueUrls]:
        venues: dict[str, VenueUrls] = {}
        for name in self._texts:
            match = _VENUE.fullmatch(name)
            if match is None:
                continue
            kind = match["kind"].lower()
            url = self._parsed(name, _url("http", "https") if kind == "rest" else _url("ws", "wss"))
            exchange = match["exchange"].lower()
            venues[exchange] = venues.get(exchange, VenueUrls())._replace(**{kind: url})
        return venues


def _bad(faults: list[str], *, are_flags: bool) -> BadConfiguration:
    count = "One setting" if len(faults) == 1 else f"{len(faults)} settings"
    error = BadFlag if are_flags else BadConfiguration
    return error(f"{count} cannot work; nothing was started. " + " ".join(faults), faults=tuple(faults))


def _ours(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix(PREFIX): text
        for name, text in environ.items()
        if name.startswith(PREFIX) and not _NOT_SETTINGS.fullmatch(name)
    }


def _known_venue(name: str) -> bool:
    match = _VENUE.fullmatch(name)
    return match is not None and any(match["exchange"].lower() == exchange.name for exchange in SEEDED_EXCHANGES)


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """TOML as setting names: `[exchange.binance] rest_url` is EXCHANGE_BINANCE_REST_URL; lists become commas."""
    for name, value in table.items():
        full = f"{prefix}{name}".upper()
        if full == "DISCORD_WEBHOOK_URLS":
            yield full, _pairs(value)
        elif isinstance(value, dict):
            yield from _flat(value, f"{full}_")
        elif isinstance(value, list):
            yield full, ",".join(map(str, value))
        else:
            yield full, str(value)


def _pairs(value: Any) -> str:
    """TOML's ways to name things, as text: `{ops = URL}`, `["ops=URL"]`, `[{name = "ops", url = URL}]`."""
    if isinstance(value, dict):
        named = {value["name"]: value["url"]} if value.keys() == {"name", "url"} else value
        return ",".join(f"{name}={url}" for name, url in named.items())
    return ",".join(map(_pairs, value)) if isinstance(value, list) else str(value)


def _attribute(name: str) -> str:
    return _SPECS[name].attribute or name.lower()


def _safe(value: str) -> str:
    # a list of URLs; a comma elsewhere is one of a URL with several hosts, or of its password
    return ",".join(map(redacted, re.split(r",(?=\s*[a-z+]+://)", value))) if "://" in value else value


def _shown(settings: Settings, name: str) -> str:
    match = _VENUE.fullmatch(name)
    if match is not None:
        return _safe(str(getattr(settings.venue_urls(match["exchange"].lower()), match["kind"].lower())))
    value = getattr(settings, _attribute(name))
    if name == "DISCORD_WEBHOOK_URLS":
        return ",".join(map(str, value))  # which masks the tokens
    if isinstance(value, tuple):
        return _safe(",".join(value)) or {"PUBLIC_IP_URLS": "off", "DISCORD_ANNOUNCE": "none"}.get(name, "")
    if name == "RATE_LIMIT":
        return str(value) if value else "off"
    return f"{value:g}" if isinstance(value, float) else _safe(str(value))
