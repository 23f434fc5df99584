"""The Admin UI's files, as Vite built them from `ui/`: read once, handed out compressed, found from any path.

Addresses in the page are relative, so nothing here needs to know under which path a proxy serves us; the proxy takes
its path off before it asks us. The page shows nothing by itself: what it shows comes from the API, which asks who.
"""

from __future__ import annotations

import mimetypes
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from perseus.errors import DatabaseUnavailable, NotSignedIn
from perseus.web.identity import Identities
from perseus.web.origins import Came, OurNames

BUILT = files("perseus.web").joinpath("static", "ui")
FOR_EVER = "public, max-age=31536000, immutable"  # their names tell their content
_LONGEST = 2048  # bytes of an address: it comes back in the redirect to the login page
_DEEPEST = 16  # slashes: each makes every address in the page three characters longer
_ENCODINGS = (("br", ".br"), ("gzip", ".gz"))  # what we would rather send first
_NOT_BUILT = (
    "The Admin UI was not built into this installation; the API at /trpc works. In a clone `make run` builds it, and "
    "so does `pip install .`\n"
)


class _File(NamedTuple):
    """One file: its content by `content-encoding`, `""` for as it is."""

    media_type: str
    content: dict[str, bytes]


class AdminUI:
    """The routes of the pages and of what they load. `is_simulated`: each page says that the network is no real one."""

    def __init__(
        self, identities: Identities, *, names: OurNames, is_simulated: bool = False, built: Traversable = BUILT
    ) -> None:
        self._identities, self._names = identities, names
        page = built.joinpath("index.html")
        self._page = page.read_text("utf-8") if page.is_file() else None
        if self._page is not None and is_simulated:  # in the page itself: no answer has to come before it says so
            self._page = self._page.replace("<html ", "<html data-simulated ", 1)
        self._assets = _assets(built.joinpath("assets"))

    def routes(self) -> list[Route]:
        """`/`, the addresses the page itself knows, and `/assets`."""
        return [
            Route("/", _to_network),
            Route("/network", self._show),
            Route("/network/", _to_network_without_slash),
            Route("/network/{below:path}", self._show),
            Route("/notifications", self._show),
            Route("/assets/{name}", self._asset),
        ]

    async def _show(self, request: Request) -> Response:
        """The page. Who is certainly not signed in is sent to sign in, and comes back.

        Certainly: a browser withholds the session's cookie where a link elsewhere led here. The page then asks itself.
        """
        if self._page is None:
            return PlainTextResponse(_NOT_BUILT, 503)
        raw: bytes = request.scope["raw_path"]
        if len(raw) + len(request.scope["query_string"]) > _LONGEST:
            return PlainTextResponse(f"No page has an address longer than {_LONGEST} bytes.\n", 414)
        path = raw.decode("ascii", "replace")  # as in the browser: %2F is no slash there
        if path.count("/") > _DEEPEST:
            return PlainTextResponse("There is no such page.\n", 404)
        to_base = "../" * (path.count("/") - 1)
        if self._names.whence(request.scope) is Came.FROM_US and not await self._knows(request):
            query = request.url.query
            asked = f"{path}?{query}" if query else path
            return RedirectResponse(f"{to_base}login?next={quote(asked, safe='/')}", 303)
        page = self._page.replace('"./', f'"{to_base or "./"}')
        return Response(page, media_type="text/html", headers={"cache-control": "no-cache"})

    async def _knows(self, request: Request) -> bool:
        """Whether somebody is signed in; also if nobody can tell, for then the page says what is wrong."""
        try:
            await self._identities.identify(request.scope)
        except NotSignedIn:
            return False
        except DatabaseUnavailable:
            return True
        return True

    async def _asset(self, request: Request) -> Response:
        file = self._assets.get(request.path_params["name"])
        if file is None:
            return PlainTextResponse("There is no such file; the page that asked for it is of another version.\n", 404)
        encoding = _encoding(request.headers.get("accept-encoding", ""), file)
        headers = {"cache-control": FOR_EVER, "vary": "accept-encoding"}
        if encoding:
            headers["content-encoding"] = encoding
        return Response(file.content[encoding], media_type=file.media_type, headers=headers)


def _assets(folder: Traversable) -> dict[str, _File]:
    if not folder.is_dir():
        return {}
    content = {each.name: each.read_bytes() for each in folder.iterdir()}
    suffixes = tuple(suffix for _, suffix in _ENCODINGS)
    assets = {}
    for name, plain in content.items():
        if not name.endswith(suffixes):
            packed = {encoding: content[name + suffix] for encoding, suffix in _ENCODINGS if name + suffix in content}
            assets[name] = _File(_media_type(name), {**packed, "": plain})
    return assets


def _media_type(name: str) -> str:
    """What a file is; the system's own table, which `mimetypes` reads as well, must not call scripts plain text."""
    if name.endswith(".js"):
        return "text/javascript"
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def _encoding(accepted: str, file: _File) -> str:
    """The first of our encodings that a client takes; `""` for none."""
    weights = {}
    for each in accepted.split(","):
        name, _, weight = each.partition(";")
        weights[name.strip().lower()] = weight.replace(" ", "").lower()
    taken = (name for name, _ in _ENCODINGS if name in file.content)
    return next((name for name in taken if name in weights and weights[name] not in ("q=0", "q=0.0", "q=0.00")), "")


async def _to_network(_: Request) -> Response:
    return RedirectResponse("network", 307, {"cache-control": "no-store"})


async def _to_network_without_slash(_: Request) -> Response:
    return RedirectResponse("../network", 307, {"cache-control": "no-store"})
