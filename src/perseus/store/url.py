"""STORE_URL: what may be in one, and how it is shown."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

from perseus.errors import BadConfiguration
from perseus.settings import redacted

_SCHEMES = ("redis", "rediss", "unix")
_TLS_OPTIONS = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname", "ssl_cert_reqs")


def check_url(url: str) -> None:
    """Refuse what the client library would misunderstand in silence. Raises: BadConfiguration with the reason."""
    fault = _fault(url)
    if fault:
        raise BadConfiguration(
            f"STORE_URL {redacted(url)!r} cannot be used: {fault}. "
            f"Give `embedded`, redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH."
        )


def _fault(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # a bad one raises here
    except ValueError:
        # its own words may quote the password
        return "it is not a URL (a host or port is malformed; percent-encode special characters in a password)"
    if parts.scheme not in _SCHEMES or "://" not in url:
        return "it does not begin with redis://, rediss:// or unix://"
    if parts.scheme == "unix" and not parts.path:
        return "it names no socket"
    if parts.scheme != "unix" and not re.fullmatch(r"/?\d*", parts.path):
        return f"{parts.path!r} is not a database number"
    known = ("db",) if parts.scheme != "rediss" else ("db", *_TLS_OPTIONS)
    unknown = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if name not in known]
    return f"option {unknown[0]!r} is not known (there are {', '.join(known)})" if unknown else None
