"""How `run` and `up` log: one structlog configuration, on stderr, secrets redacted."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from perseus.settings import Settings, redacted

_SECRET = re.compile(r"password|secret|token|webhook|authorization|api_?key|cookie", re.IGNORECASE)
_URL = re.compile(r"[a-z+]+://[^\s'\"]+", re.IGNORECASE)
# What lets somebody in, wherever it stands: our tokens (not the names of settings), bearer headers, session cookies,
# login links.
_KEYS = re.compile(
    r"(perseus_session=|bearer\s+|[?&](?:token|connectionParams)=)[^\s&;,'\"]+|(?-i:(perseus_))[A-Za-z0-9_-]{20,}",
    re.IGNORECASE,
)
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logging(settings: Settings, *, to: TextIO | None = None) -> None:
    """Send every log line to stderr, or the file `to`, in LOG_FORMAT, from LOG_LEVEL up, times in UTC."""
    to = to or sys.stderr
    if settings.log_format == "json":
        renderer: Any = structlog.processors.JSONRenderer()
    else:
        plain = structlog.dev.plain_traceback  # a text by then, as it has been redacted
        renderer = structlog.dev.ConsoleRenderer(colors=to.isatty(), pad_event_to=24, exception_formatter=plain)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,  # before `redact`: what failed may quote a secret
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.log_level]),
        logger_factory=structlog.WriteLoggerFactory(file=to),
        cache_logger_on_first_use=True,
    )


def redact(_logger: Any, _method: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide values with a secret's name, passwords in any URL, and whatever lets somebody in."""
    for name, value in facts.items():
        if _SECRET.search(name):
            facts[name] = "***"
        elif isinstance(value, str):
            text = _URL.sub(lambda url: redacted(url[0]), value) if "://" in value else value
            facts[name] = _KEYS.sub(lambda key: f"{key[1] or key[2]}***", text)
    return facts
