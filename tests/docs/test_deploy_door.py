"""The guide's nginx before a real `perseus serve`: every transport passes, and nobody is taken for somebody else."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest

from tests.docs.guide import section
from tests.docs.machines import Machine, clean_environment
from tests.support.processes import PerseusProcess, run_perseus
from tests.support.servers import Server, missing
from tests.support.system import die_with_parent, free_port
from tests.support.waiting import wait_until

PASSWORD = "correct horse battery staple"


class Door(NamedTuple):
    """The site as people reach it. `plain` is its port without TLS."""

    url: str
    plain: str
    trusted: ssl.SSLContext
    token: str
    serve: PerseusProcess


@pytest.fixture
def door(valkey: Server, data_dir: Path) -> Iterator[Door]:
    """The guide's proxy and the guide's settings of the server behind it."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        missing("nginx", "apt-get install nginx")
    ports = {name: str(free_port()) for name in ("80", "443", "8777")}
    machine = Machine(
        data_dir,
        words={
            "https://perseus.example": f"https://localhost:{ports['443']}",
            "perseus.example": "localhost",
            "[::]:": "127.0.0.2:",
            "listen 80": f"listen 127.0.0.1:{ports['80']}",
            "listen 443": f"listen 127.0.0.1:{ports['443']}",
            ":80;": f":{ports['80']};",
            ":443 ": f":{ports['443']} ",
            "8777": ports["8777"],
        },
        environment=clean_environment(),
    )
    certificate = _certificate(data_dir / "etc/ssl/perseus")
    _as_debian_has_it(machine, program)
    text = next(block for block in section(2) if "PERSEUS_PUBLIC_URL" in block)
    settings = dict(re.findall(r"^PERSEUS_(PORT|PUBLIC_URL|TRUSTED_PROXIES)=(.+)$", machine.here(text), re.MULTILINE))
    web = data_dir / "web"
    web.mkdir()
    with ExitStack() as cleanup:
        assert run_perseus("admins", "add", "ada@example.org", "--role", "owner", data_dir=web).returncode == 0
        token = run_perseus("admins", "token", "ada@example.org", "--name", "test", data_dir=web).stdout.strip()
        serve = cleanup.enter_context(PerseusProcess("serve", data_dir=web, store_url=valkey.url, settings=settings))
        machine.run(section(4)[0].replace("sudo systemctl reload nginx", ""))
        process = subprocess.Popen(
            [program, *_where(machine)],
            preexec_fn=die_with_parent(),  # noqa: PLW1509  started from the main thread, nothing else runs in it
        )
        cleanup.callback(process.wait, 10)
        cleanup.callback(process.terminate)
        wait_until(lambda: _answers(ports["443"]), description="nginx listens")
        wait_until(lambda: "serving" in serve.output, description="the server listens", timeout=20)
        trusted = ssl.create_default_context(cafile=str(certificate))
        yield Door(f"https://localhost:{ports['443']}", f"http://127.0.0.1:{ports['80']}", trusted, token, serve)


def _certificate(folder: Path) -> Path:
    folder.mkdir(parents=True)
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost "
        "-addext subjectAltName=DNS:localhost -keyout privkey.pem -out fullchain.pem"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder / "fullchain.pem"


def _as_debian_has_it(machine: Machine, program: str) -> None:
    """The main configuration, with everything below the machine's root, and `nginx` meaning it."""
    root = machine.root
    for folder in ("etc/nginx/sites-available", "etc/nginx/sites-enabled", "var/log/nginx", "var/lib/nginx"):
        (root / folder).mkdir(parents=True)
    temporary = "\n".join(
        f"{kind}_temp_path {root}/var/lib/nginx/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (root / "etc/nginx/nginx.conf").write_text(
        f"daemon off;\nworker_processes 1;\npid {root}/nginx.pid;\nerror_log {root}/var/log/nginx/error.log;\n"
        f"events {{}}\nhttp {{\n{temporary}\naccess_log {root}/var/log/nginx/access.log;\n"
        f"include {root}/etc/nginx/sites-enabled/*;\n}}\n"
    )
    shim = root / "shims/nginx"
    shim.write_text(f'#!/bin/sh\nexec {program} {" ".join(_where(machine))} "$@"\n')
    shim.chmod(0o755)


def _where(machine: Machine) -> list[str]:
    root = machine.root
    return ["-p", str(root), "-c", f"{root}/etc/nginx/nginx.conf", "-e", f"{root}/var/log/nginx/error.log"]


def _answers(port: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


async def test_every_transport_passes_the_proxy(door: Door) -> None:
    """What works on one machine fails behind a proxy that buffers, or that forgets to upgrade."""
    headers = {"authorization": f"Bearer {door.token}"}
    connector = aiohttp.TCPConnector(ssl=door.trusted)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(15)) as http:
        async with http.get(f"{door.url}/trpc/network.getInstances", headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            assert len((await answer.json())["result"]["data"]["instances"]) == 3
        async with http.get(f"{door.url}/trpc/network.getInstances") as answer:
            assert answer.status == 401
        # by another client: this one leaves the socket of a broken-off answer over TLS to the garbage collector
        stream = urllib.request.Request(
            f"{door.url}/trpc/network.onChange", headers={**headers, "accept": "text/event-stream"}
        )
        with urllib.request.urlopen(stream, timeout=15, context=door.trusted) as events:
            assert events.readline().startswith(b"event: connected")
        async with http.ws_connect(f"{door.url}/trpc?connectionParams=1") as ws:
            await ws.send_json({"method": "connectionParams", "data": {"token": door.token}})
            await ws.send_json({"id": 1, "method": "subscription", "params": {"path": "network.onChange"}})
            assert (await ws.receive_json())["result"]["type"] == "started"
        async with http.get(f"{door.url}/readyz") as answer:
            assert answer.status == 200


async def test_client_is_who_the_proxy_sees_and_its_cookie_is_for_https(door: Door) -> None:
    """A client that chooses its own address has no rate limit; a cookie that goes without TLS is anybody's."""
    named = run_perseus(
        "admins", "link", "ada@example.org", data_dir=door.serve.data_dir, settings={"PUBLIC_URL": door.url}
    )
    link = re.search(r"https://\S+", named.stdout)
    assert link is not None, named.stderr
    assert link[0].startswith(f"{door.url}/login?token=")
    headers = {"x-forwarded-for": "203.0.113.9", "origin": door.url, "sec-fetch-site": "same-origin"}
    connector = aiohttp.TCPConnector(ssl=door.trusted)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(15)) as http:
        form = {"token": link[0].partition("token=")[2]}
        async with http.get(
            f"{door.plain}/login?token=a", headers={"host": "localhost"}, allow_redirects=False
        ) as told:
            assert (told.status, told.headers["location"]) == (301, f"{door.url}/login?token=a")
        async with http.post(f"{door.url}/login", data=form, headers=headers, allow_redirects=False) as answer:
            assert answer.status == 303, await answer.text()
            assert answer.headers["set-cookie"].startswith("__Host-")
            assert "secure" in answer.headers["set-cookie"].lower()
    audit = run_perseus("admins", "audit", "--json", data_dir=door.serve.data_dir).stdout
    assert '"127.0.0.1"' in audit
    assert "203.0.113.9" not in audit
    logs = door.serve.data_dir.parent / "var/log/nginx"
    logged = (logs / "perseus.log").read_text()
    assert "/login" in logged
    assert "?" not in logged + (logs / "access.log").read_text()
