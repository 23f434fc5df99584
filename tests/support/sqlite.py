"""A SQLite database that somebody else writes to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


@contextmanager
def written_elsewhere(file: Path) -> Iterator[None]:
    """Hold the one right to write for the block, as a backup or another host's migration does, and change nothing."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
