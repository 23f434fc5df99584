"""What a DATABASE_URL names: a SQLite file, or a PostgreSQL server."""

from __future__ import annotations

from pathlib import Path

from perseus.errors import BadConfiguration
from perseus.settings import redacted


def sqlite_file(url: str) -> Path | None:
    """The file of `sqlite:///PATH`; None for PostgreSQL. Raises: BadConfiguration for anything else."""
    scheme, _, rest = url.partition("://")
    match scheme.partition("+")[0]:
        case "sqlite" if rest.startswith("/") and rest.strip("/"):
            return Path(rest[1:])
        case "postgresql":
            return None
    raise BadConfiguration(f"DATABASE_URL {redacted(url)!r} is not sqlite:///PATH or postgresql://HOST/DATABASE.")


def postgresql_dsn(url: str) -> str:
    """The URL as libpq and asyncpg read it: several hosts, `sslmode` and the like mean what they mean there."""
    return "postgresql://" + url.partition("://")[2]
