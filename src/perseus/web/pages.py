"""The pages around logging in: plain HTML, no script, one style sheet, and every word of a stranger escaped."""

from __future__ import annotations

from html import escape
from importlib.resources import files

STYLE_PATH = "/login.css"

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title} · Perseus</title>
<link rel="stylesheet" href=".{style}">
</head>
<body>
<main>
<h1>{title}</h1>
{kind}{body}
</main>
</body>
</html>
"""

_SIMULATED = "<p>Simulated network</p>\n"

_SIGN_IN = """{fault}<form method="post" action="login">
<input type="hidden" name="next" value="{next}">
<label for="email">E-mail address</label>
<input id="email" name="email" type="email" value="{email}"
  autocomplete="username" required maxlength="254"{focus_email}>
<label for="password">Password</label>
<input id="password" name="password" type="password"
  autocomplete="current-password" required maxlength="1024"{focus_password}>
<button>Sign in</button>
</form>"""

_SIGN_IN_BY_LINK = """<p>This link signs you in once, in this browser.</p>
<form method="post" action="login">
<input type="hidden" name="next" value="{next}">
<input type="hidden" name="token" value="{token}">
<button autofocus>Sign in</button>
</form>"""


def password_page(*, next_path: str, email: str = "", fault: str = "", is_simulated: bool) -> str:
    """Ask for e-mail address and password; `fault` says what was wrong with the last attempt."""
    body = _SIGN_IN.format(
        next=escape(next_path),
        email=escape(email),
        fault=f'<p class="fault" role="alert">{escape(fault)}</p>\n' if fault else "",
        focus_email="" if email else " autofocus",
        focus_password=" autofocus" if email else "",
    )
    return _page(body, is_simulated=is_simulated)


def link_page(*, token: str, next_path: str, is_simulated: bool) -> str:
    """A button that uses the one-time link: whoever only looks at the address (a preview, a scanner) uses nothing."""
    body = _SIGN_IN_BY_LINK.format(token=escape(token), next=escape(next_path))
    return _page(body, is_simulated=is_simulated)


def _page(body: str, *, is_simulated: bool) -> str:
    return _PAGE.format(title="Sign in", style=STYLE_PATH, kind=_SIMULATED if is_simulated else "", body=body)


def style_sheet() -> bytes:
    """The style sheet of these pages."""
    return files("perseus.web").joinpath("static", "login.css").read_bytes()
