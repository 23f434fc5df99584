"""docs/security.md: the nginx configuration is run, what it says of roles and bounds is compared."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from perseus.model import Role
from perseus.web import identity, limits
from tests.support.servers import missing
from tests.support.system import die_with_parent, free_port
from tests.support.waiting import wait_until
from tests.web.conftest import database_template, site_database  # noqa: F401  fixtures
from tests.web.site import PASSWORD, running_site

TEXT = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
NAME = "perseus.example"


@contextmanager
def nginx_as_documented(directory: Path, *, perseus_port: int) -> Iterator[int]:
    """nginx with the configuration of the page, on ports and paths of this test. The port of https."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        missing("nginx", "apt-get install nginx")
    certificate, key = directory / "cert.pem", directory / "key.pem"
    request = f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={NAME} -addext subjectAltName=DNS:{NAME}"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *request.split(), *files], check=True, capture_output=True)
    (block,) = re.findall(r"```nginx\n(.+?)```", TEXT, re.DOTALL)
    https, http = free_port(), free_port()
    here = {
        "listen 443 ssl": f"listen 127.0.0.1:{https} ssl",
        "listen 80": f"listen 127.0.0.1:{http}",
        "/etc/ssl/perseus.example.pem": str(certificate),
        "/etc/ssl/perseus.example.key": str(key),
        "/var/log/nginx/perseus.log": str(directory / "access.log"),
        "127.0.0.1:8777": f"127.0.0.1:{perseus_port}",
    }
    for documented, ours in here.items():
        assert documented in block
        block = block.replace(documented, ours)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {directory}/{kind};\n" for kind in kinds)
    configuration = directory / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    error_log = directory / "error.log"
    configuration.write_text(
        f"daemon off; {user} pid {directory}/pid; error_log {error_log}; events {{}}\n"
        f"http {{ access_log off; {temporary} {block} }}\n"
    )
    process = subprocess.Popen(
        [binary, "-p", str(directory), "-c", str(configuration), "-e", str(error_log)],
        preexec_fn=die_with_parent(),  # noqa: PLW1509  from the main thread
    )
    try:
        wait_until(lambda: _listens(https) or process.poll() is not None, description="nginx listens")
        assert process.poll() is None, error_log.read_text()
        yield https
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_site_works_behind_the_documented_nginx(site_database: str, tmp_path: Path) -> None:  # noqa: F811
    """Signing in, an event stream and a WebSocket through real TLS; and no link in the proxy's log."""
    settings = {"PUBLIC_URL": f"https://{NAME}", "TRUSTED_PROXIES": "127.0.0.1"}
    async with running_site(site_database, directory=tmp_path, settings=settings) as site:
        ada = await site.admin("ada@example.org", Role.VIEWER, password=PASSWORD)
        link = await site.link(ada)
        with nginx_as_documented(tmp_path, perseus_port=int(site.url.rpartition(":")[2])) as port:
            trusting = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
            reached = {"host": NAME, "origin": f"https://{NAME}"}
            connector = aiohttp.TCPConnector(ssl=trusting)
            url = f"https://127.0.0.1:{port}"
            async with aiohttp.ClientSession(
                connector=connector, headers=reached, cookie_jar=aiohttp.DummyCookieJar()
            ) as http:
                more = {"server_hostname": NAME, "allow_redirects": False}
                await (await http.get(f"{url}/login?token={link}", **more)).read()  # type: ignore[arg-type]
                signed_in = await http.post(f"{url}/login", data={"token": link}, **more)  # type: ignore[arg-type]
                assert signed_in.status == 303
                cookie = signed_in.headers["set-cookie"].partition(";")[0]
                assert cookie.startswith("__Host-perseus_session=")
                headers = {"host": NAME, "cookie": cookie, "accept": "text/event-stream"}
                stream = urllib.request.Request(f"{url}/trpc/test.viewer.subscription", headers=headers)
                await asyncio.to_thread(_read_until, b"ada@", stream, certificate=tmp_path / "cert.pem")
                async with (
                    http.ws_connect(f"{url}/trpc", headers={"cookie": cookie}, server_hostname=NAME) as socket,
                    asyncio.timeout(5),
                ):
                    call = {"id": 1, "method": "query", "params": {"path": "test.viewer.query"}}
                    await socket.send_json(call)
                    assert (await socket.receive_json())["result"]["data"] == "ada@example.org"
        log = (tmp_path / "access.log").read_text()
        assert "POST /login 303" in log
        assert link not in log


def _read_until(wanted: bytes, stream: urllib.request.Request, *, certificate: Path) -> None:
    """Read an event stream so far: it comes at once, or never while it is open.

    Not by aiohttp, which leaves the socket of a broken-off answer over TLS to the garbage collector.
    """
    trusting = ssl.create_default_context(cafile=str(certificate))
    trusting.check_hostname = False  # it is reached by its address
    with urllib.request.urlopen(stream, timeout=5, context=trusting) as answer:
        while wanted not in answer.readline():
            pass


def test_both_guides_pass_on_the_same_headers() -> None:
    """Of two guides that differ one is wrong: a client whose claims are passed on chooses its own address."""
    deploy = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text(encoding="utf-8")
    ours, theirs = (re.findall(r"proxy_(?:set_header|buffering|read).+;", text) for text in (TEXT, deploy))
    assert ours == theirs
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in ours


def test_page_names_every_role_and_the_real_bounds() -> None:
    """A page that promises other bounds than the program has is worse than none."""
    assert re.findall(r"^\| `(\w+)` \| ", TEXT, re.MULTILINE) == list(Role)
    assert "believed for 3 s" in TEXT
    assert identity.FRESH_S == 3
    assert (identity.IDLE_MS, identity.ABSOLUTE_MS) == (7 * 86_400_000, 30 * 86_400_000)
    defaults = limits.LoginLimit.__init__.__kwdefaults__ or {}
    assert (defaults["by_account"].free, defaults["by_account"].longest_s) == (5, 300)
    assert (defaults["by_address"].free, defaults["by_address"].longest_s) == (20, 900)
