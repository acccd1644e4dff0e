"""A video in WebM, made of pictures: `cwebp` encodes each, and a lossy WebP is a key frame of VP8 in another container."""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path

__all__ = ("SECONDS", "make_video", "red_at")

WIDTH, HEIGHT = 480, 270
FRAMES_A_SECOND = 5
SECONDS = 60


def red_at(seconds: float) -> int:
    """Return how red the left half of the picture is at that time, of 255."""
    return 20 + 3 * int(seconds)


def make_video(directory: Path, cwebp: str) -> bytes:
    """Return a video: on the left a colour that tells the time, on the right noise, which makes it large."""
    noise = random.Random(5)
    pictures = []
    for second in range(SECONDS):
        picture = directory / "picture.ppm"
        left = bytes((red_at(second), 40, 90)) * (WIDTH // 2)
        rows = b"".join(left + noise.randbytes(3 * (WIDTH // 2)) for _ in range(HEIGHT))
        picture.write_bytes(b"P6\n%d %d\n255\n" % (WIDTH, HEIGHT) + rows)
        found = subprocess.run([cwebp, "-quiet", "-q", "90", str(picture), "-o", "-"], capture_output=True, check=True)
        pictures += [_key_frame(found.stdout)] * FRAMES_A_SECOND
    return _webm(pictures)


def _key_frame(webp: bytes) -> bytes:
    """Return the chunk ``VP8 `` of a WebP file."""
    place = 12
    while webp[place : place + 4] != b"VP8 ":
        place += 8 + (struct.unpack_from("<I", webp, place + 4)[0] + 1 & ~1)
    size = struct.unpack_from("<I", webp, place + 4)[0]
    return webp[place + 8 : place + 8 + size]


def _element(name: int, content: bytes | str | float) -> bytes:
    """Return an element of EBML (RFC 8794); numbers and sizes take eight bytes, so that nothing moves."""
    match content:
        case int():
            content = content.to_bytes(8, "big")
        case float():
            content = struct.pack(">d", content)
        case str():
            content = content.encode()
    return name.to_bytes((name.bit_length() + 7) // 8, "big") + (len(content) | 1 << 56).to_bytes(8, "big") + content


def _webm(pictures: list[bytes]) -> bytes:
    """Return a file as RFC 9559 describes it: the index of times stands before the pictures."""
    step = 1000 // FRAMES_A_SECOND
    header = _element(0x4282, "webm") + _element(0x4287, 4) + _element(0x4285, 2)
    info = _element(
        0x1549A966, _element(0x2AD7B1, 1_000_000) + _element(0x4489, float(len(pictures) * step)) + _names()
    )
    video = _element(0xE0, _element(0xB0, WIDTH) + _element(0xBA, HEIGHT))
    track = _element(0xD7, 1) + _element(0x73C5, 1) + _element(0x83, 1) + _element(0x86, "V_VP8") + video
    tracks = _element(0x1654AE6B, _element(0xAE, track))
    clusters = [
        _element(0x1F43B675, _element(0xE7, number * step) + _element(0xA3, b"\x81\x00\x00\x80" + picture))
        for number, picture in enumerate(pictures)
    ]
    places = [0] * len(clusters)
    place = len(info) + len(tracks) + len(_cues(places, step))
    for number, cluster in enumerate(clusters):
        places[number] = place
        place += len(cluster)
    segment = info + tracks + _cues(places, step) + b"".join(clusters)
    return _element(0x1A45DFA3, header) + _element(0x18538067, segment)


def _names() -> bytes:
    return _element(0x4D80, "tests") + _element(0x5741, "tests")


def _cues(places: list[int], step: int) -> bytes:
    points = (
        _element(0xBB, _element(0xB3, number * step) + _element(0xB7, _element(0xF7, 1) + _element(0xF1, place)))
        for number, place in enumerate(places)
    )
    return _element(0x1C53BB6B, b"".join(points))
