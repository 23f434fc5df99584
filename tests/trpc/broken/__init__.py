"""Deliberately broken servers: each breaks one rule of the wire, and names the checks that must notice."""

from __future__ import annotations

from collections.abc import Iterable

from tests.trpc.broken import errors, everywhere, handshakes, http, jsonl, reading, socket_subscriptions, sockets, sse
from tests.trpc.broken.everywhere import HTTP_LINKS, LINKS, each_link
from tests.trpc.broken.wrapping import Variant

GROUPS = (everywhere, reading, http, errors, jsonl, sse, sockets, socket_subscriptions, handshakes)
VARIANTS: dict[str, Variant] = {name: one for group in GROUPS for name, one in group.VARIANTS.items()}


def table() -> str:
    """All of them in Markdown: name, rule, what catches it."""
    rows = (f"| `{name}` | {one.breaks} | {'; '.join(_shown(one.caught_by))} |" for name, one in VARIANTS.items())
    return "\n".join(["| server | breaks | caught by |", "| --- | --- | --- |", *rows]) + "\n"


def _shown(checks: Iterable[str]) -> list[str]:
    """Names of checks; those of one fact through every link as one."""
    shown = list(dict.fromkeys(checks))
    for word, links in (("every link", LINKS), ("every HTTP link", HTTP_LINKS)):
        for fact in [check.partition(": ")[2] for check in shown]:
            if set(together := each_link(fact, links=links)) <= set(shown):
                shown[shown.index(together[0])] = f"{word}: {fact}"
                shown = [check for check in shown if check not in together]
    return shown
