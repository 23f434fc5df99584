"""Deliberately broken servers: each breaks one rule of the wire, and names the checks that must notice."""

from __future__ import annotations

from tests.trpc.broken import errors, handshakes, http, sockets, streams
from tests.trpc.broken.wrapping import Variant

VARIANTS: dict[str, Variant] = (
    http.VARIANTS | errors.VARIANTS | streams.VARIANTS | sockets.VARIANTS | handshakes.VARIANTS
)


def table() -> str:
    """All of them in Markdown: name, rule, what catches it."""
    rows = (f"| `{name}` | {one.breaks} | {'; '.join(one.caught_by)} |" for name, one in VARIANTS.items())
    return "\n".join(["| server | breaks | caught by |", "| --- | --- | --- |", *rows]) + "\n"
