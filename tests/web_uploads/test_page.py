"""The page docs/uploads.md: its programs, served, and its commands."""

from __future__ import annotations

import inspect
import subprocess
from pathlib import Path

import anyio
import pytest
from support.asgi_servers import SERVERS, serving

from steelyard import LocalStore
from steelyard.testing._values import digest_of
from steelyard.web.uploads import Uploads

from .clients import curl, uploaded
from .page import FASTAPI, GUARDED, PAGE, STARLETTE, blocks

PROGRAMS = {"fastapi": FASTAPI, "starlette": STARLETTE}


@pytest.mark.parametrize("framework", PROGRAMS)
def test_a_program_has_at_most_ten_lines(framework: str) -> None:
    lines = [line for line in PROGRAMS[framework].splitlines() if line.strip()]

    assert len(lines) <= 10
    assert framework in lines[0]


@pytest.mark.slow
@pytest.mark.parametrize("framework", PROGRAMS)
@pytest.mark.parametrize("server", SERVERS)
def test_the_programs_receive_uploads(framework: str, server: str, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(PROGRAMS[framework], encoding="utf-8")
    file = tmp_path / "wool.bin"
    file.write_bytes(b"ten pounds of wool" * 100_000)
    (commands,) = blocks("sh")
    with serving(server, "example:app", tmp_path) as running:
        urls = [uploaded(client, f"{running.url}/files/", file) for client in ("tuspy", "tus-js-client")]
        found = [curl("--head", url).headers["steelyard-digest"] for url in urls]
        text = commands.replace("http://localhost:8000", running.url)
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], capture_output=True, text=True)
        blob = f"{running.url}/blobs/{found[0]}"
        whole, part = curl(blob), curl("-H", "Range: bytes=9-19", blob)
        unknown = curl("--head", f"{running.url}/files/nothing")
        preflight = curl("-X", "OPTIONS", f"{running.url}/files/")

    assert [str(digest_of(file.read_bytes()))] * 2 == found
    assert done.stdout.startswith("HTTP/1.1 204"), done.stdout + done.stderr
    assert str(digest_of(b"ten pounds of wool")) in done.stdout
    assert (404, 204) == (unknown.status, preflight.status)
    assert "Traceback" not in running.said()
    names = anyio.run(image_names, tmp_path / "example-store")
    if framework == "starlette":
        assert {f"files/{url.rpartition('/')[2]}" for url in urls} < set(names)
        assert 3 == len(names)
    else:
        assert (200, file.read_text(encoding="ascii")) == (whole.status, whole.text)
        assert (206, file.read_text(encoding="ascii")[9:20]) == (part.status, part.text)


async def image_names(place: Path) -> list[str]:
    async with LocalStore(place) as store:
        return [image.name for image in await store.images.list()]


@pytest.mark.slow
def test_only_requests_with_the_token_pass(tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(GUARDED, encoding="utf-8")
    with serving("uvicorn", "example:uploads", tmp_path) as running:
        words = ("-X", "POST", "-H", "Upload-Length: 1", f"{running.url}/")
        right = ("-H", "Authorization: Bearer a long secret")

        assert [401, 401, 201] == [
            curl(*words).status,
            curl(*words, "-H", "Authorization: Bearer another").status,
            curl(*words, *right).status,
        ]


def test_the_page_gives_the_defaults() -> None:
    text = " ".join(PAGE.split())
    defaults = {name: one.default for name, one in inspect.signature(Uploads).parameters.items()}

    assert f"`stalled_after` ({defaults['stalled_after'].seconds} s)" in text
    assert f"`abandoned_after` ({defaults['abandoned_after'].seconds} s)" in text
    assert 7 == defaults["expires"].days
    assert "`expires` (seven days by default)" in text
    assert 1 == defaults["keep"].days
    assert "`keep` (a day by default)" in text
