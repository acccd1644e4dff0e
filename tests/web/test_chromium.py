"""The FastAPI program of docs/web.md serves a video to Chromium, which seeks in it. The screenshot is kept below `target/`."""

from __future__ import annotations

import re
from pathlib import Path

import anyio
import pytest
from support.asgi_servers import SERVERS, serving

from steelyard import LocalStore

from .browser import browsing
from .programs import program
from .test_frameworks import FASTAPI
from .webm import SECONDS, make_video, red_at

pytestmark = pytest.mark.slow

SCREENSHOTS = Path(__file__).parents[2] / "target" / "screenshots"
SEEK = """
new Promise((resolve, reject) => {
  const video = document.querySelector("video");
  const canvas = document.createElement("canvas");
  video.onerror = () => reject(video.error.message);
  video.pause();
  video.onseeked = () => {
    canvas.width = video.videoWidth; canvas.height = video.videoHeight;
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0);
    const [red] = context.getImageData(20, 20, 1, 1).data;
    resolve({at: video.currentTime, red, duration: video.duration, seekable: video.seekable.end(0)});
  };
  video.currentTime = %d + 0.5;
})
"""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Give a video of a minute and some 20 MiB."""
    return make_video(tmp_path_factory.mktemp("pictures"), program("cwebp", "webp"))


@pytest.mark.parametrize("name", SERVERS)
def test_a_video_with_seeking(name: str, video: bytes, tmp_path: Path) -> None:
    async def put() -> str:
        async with LocalStore(tmp_path / "example-store") as store:
            return str((await store.put(video)).digest)

    digest = anyio.run(put)
    (tmp_path / "program.py").write_text(FASTAPI, encoding="utf-8")
    profile = tmp_path / "profile"
    profile.mkdir()
    with (
        serving(name, "program:app", tmp_path) as server,
        browsing(program("chromium", "chromium"), profile) as browser,
    ):
        browser.command("Network.enable")
        browser.command("Page.enable")
        browser.command("Page.navigate", url=f"{server.url}/video/{digest}")
        wait = "new Promise(resolve => { const look = () => document.querySelector('video')?.readyState >= 1 ? resolve() : setTimeout(look, 20); look(); })"
        browser.evaluate(wait)
        for second in (50, 3, 31, 58):
            found = browser.evaluate(SEEK % second)
            assert (SECONDS, SECONDS) == (found["duration"], found["seekable"])
            assert second + 0.5 == pytest.approx(found["at"])
            assert red_at(second) == pytest.approx(found["red"], abs=2), f"another picture than that of second {second}"
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        picture = SCREENSHOTS / f"video-{name}.png"
        browser.screenshot(picture)
        print("screenshot:", picture)
        assert picture.read_bytes().startswith(b"\x89PNG")
        answers = [
            event["params"]["response"] for event in browser.events if event.get("method") == "Network.responseReceived"
        ]
    ranges = [
        {key.lower(): value for key, value in answer["headers"].items()}["content-range"]
        for answer in answers
        if answer["status"] == 206
    ]
    print("ranges:", ranges)
    starts = [int(match[1]) for value in ranges if (match := re.match(r"bytes (\d+)-", value)) is not None]
    assert any(start > len(video) // 2 for start in starts), "it did not ask for the second half by itself"
