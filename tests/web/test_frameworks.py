"""The programs of docs/web.md, each in a server: with FastAPI, with Starlette and without a framework."""

from __future__ import annotations

import importlib.util
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.routing import Route
from support.asgi_servers import SERVERS, serving

from steelyard import DataCorrupt, LocalStore
from steelyard.web import lifespan
from steelyard.web.starlette import BlobResponse

from .asking import Answer, ask

PAGE = (Path(__file__).parents[2] / "docs" / "web.md").read_text(encoding="utf-8")
FASTAPI, STARLETTE, PLAIN, _ = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
DATA = random.Random(4).randbytes((5 << 20) + 9)


def lines(program: str) -> int:
    return len([line for line in program.splitlines() if line.strip()])


def test_the_programs_have_ten_lines() -> None:
    assert (10, 10) == (lines(FASTAPI), lines(STARLETTE))


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("program", [FASTAPI, STARLETTE, PLAIN], ids=["fastapi", "starlette", "plain"])
def test_the_programs_serve(name: str, program: str, tmp_path: Path) -> None:
    async def put() -> str:
        async with LocalStore(tmp_path / "example-store") as store:
            return str((await store.put(DATA)).digest)

    digest = anyio.run(put)
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    with serving(name, "program:app", tmp_path) as server:
        connection = server.http()
        for method, headers, status, body in (
            ("GET", {}, 200, DATA),
            ("HEAD", {}, 200, b""),
            ("GET", {"Range": "bytes=5-1999999"}, 206, DATA[5:2000000]),
            ("GET", {"If-None-Match": f'"{digest}"'}, 304, b""),
            ("GET", {"Range": "bytes=999999999-"}, 416, b"range not satisfiable\n"),
        ):
            connection.request(method, f"/video/{digest}", headers=headers)
            answer = connection.getresponse()
            assert (status, body) == (answer.status, answer.read())
        connection.request("GET", "/video/sha256:" + "00" * 32)
        answer = connection.getresponse()
        assert (404, b"not found\n") == (answer.status, answer.read())
        connection.close()
        assert "Traceback" not in server.said()


@pytest.fixture
async def opened(tmp_path: Path, anyio_backend: str) -> AsyncIterator[tuple[LocalStore, str]]:  # noqa: ARG001
    async with LocalStore(tmp_path / "store") as store:
        yield store, str((await store.put(b"some bytes")).digest)


@pytest.mark.anyio
async def test_headers_cookies_and_a_background_task_of_starlette(opened: tuple[LocalStore, str]) -> None:
    store, digest = opened
    done: list[int] = []

    async def endpoint(_request: Request) -> BlobResponse:
        response = BlobResponse(store, digest, headers={"X-One": "1"}, background=BackgroundTask(done.append, 1))
        response.headers["x-two"] = "2"
        response.set_cookie("three", "3")
        return response

    answer = await ask(Starlette(routes=[Route("/", endpoint)]), query_string=b"", root_path="")

    assert (200, b"some bytes", [1]) == (answer.status, answer.body, done)
    assert ("1", "2") == (answer.fields["x-one"], answer.fields["x-two"])
    assert answer.fields["set-cookie"].startswith("three=3")


@pytest.mark.anyio
async def test_a_damaged_small_blob_is_handled_as_any_error(opened: tuple[LocalStore, str]) -> None:
    """Nothing was sent, so the handlers of the framework answer."""
    store, digest = opened
    path = Path(await store.path_of(digest))
    path.chmod(0o644)  # noqa: ASYNC240
    path.write_bytes(b"Some bytes")  # noqa: ASYNC240

    async def endpoint(_request: Request) -> BlobResponse:
        return BlobResponse(store, digest)

    async def handler(_request: Request, error: Exception) -> Any:
        assert isinstance(error, DataCorrupt)
        return BlobResponse(store, "gone")

    app = Starlette(routes=[Route("/", endpoint)], exception_handlers={DataCorrupt: handler})
    assert 404 == (await ask(app, query_string=b"", root_path="")).status
    answer = Answer()
    with pytest.raises(DataCorrupt):
        await ask(Starlette(routes=[Route("/", endpoint)]), answer=answer, query_string=b"", root_path="")
    assert 500 == answer.status


@pytest.mark.anyio
async def test_lifespan_opens_stores_and_closes_them(tmp_path: Path, anyio_backend: str) -> None:  # noqa: ARG001
    first, second = LocalStore(tmp_path / "1"), LocalStore(tmp_path / "2")
    async with lifespan(first, second)(None):
        await first.put(b"1")
        await second.put(b"2")
    for store in (first, second):
        with pytest.raises(Exception, match="not open"):
            await store.put(b"3")


def test_the_library_does_not_load_a_framework() -> None:
    import subprocess  # noqa: PLC0415
    import sys  # noqa: PLC0415

    program = (
        "import sys, steelyard.web; print([name for name in sys.modules if name.startswith(('starlette', 'fastapi'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "[]" == done.stdout.strip()
    assert importlib.util.find_spec("starlette") is not None
