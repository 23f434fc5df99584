"""How `run` and `up` log: one structlog configuration, on stderr, secrets redacted."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from perseus.settings import Settings, redacted

_SECRET = re.compile(r"password|secret|token|webhook|authorization|api_?key", re.IGNORECASE)
_URL = re.compile(r"[a-z+]+://[^\s'\"]+", re.IGNORECASE)
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logging(settings: Settings) -> None:
    """Send every log line to stderr in LOG_FORMAT, from LOG_LEVEL up, times in UTC."""
    if settings.log_format == "json":
        renderers: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        renderers = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=24)]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            redact,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.log_level]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def redact(_logger: Any, _method: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide values with a secret's name, and passwords in any URL."""
    for name, value in facts.items():
        if _SECRET.search(name):
            facts[name] = "***"
        elif isinstance(value, str) and "://" in value:
            facts[name] = _URL.sub(lambda url: redacted(url[0]), value)
    return facts
