"""An image with layers of 100 MiB and more, of real files: memory, a second import, and one that is killed in the middle."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.ingested import ingested

from .programs import COMMAND, Image, Steelyard, blobs_in, environment, needs, raw, run, skopeo

pytestmark = pytest.mark.slow

MIB = 1 << 20
LAYER = 104 * MIB
NAME = "docker.io/demo/large:1"
WRITES = "write,pwrite64,writev,pwritev,pwritev2,copy_file_range,sendfile,splice,ioctl"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Give an image of two layers that umoci made and skopeo unpacked, as a layout."""
    folder = tmp_path_factory.mktemp("large")
    run("umoci", "init", "--layout", folder / "umoci")
    run("umoci", "new", "--image", f"{folder}/umoci:base")
    files = real_files()
    for number in range(2):
        layer = folder / f"layer-{number}"
        layer.mkdir()
        gather(files, layer)
        run("umoci", "insert", "--image", f"{folder}/umoci:base", layer, f"/layer-{number}")
    skopeo("copy", "--dest-decompress", f"oci:{folder}/umoci:base", f"dir:{folder}/dir")
    source = f"oci:{folder}/layout:demo"
    skopeo("copy", "--dest-oci-accept-uncompressed-layers", f"dir:{folder}/dir", source)
    [entry] = json.loads((folder / "layout" / "index.json").read_bytes())["manifests"]
    assert all(layer["size"] >= LAYER for layer in json.loads(raw(source))["layers"])
    return Image(source=source, digest=entry["digest"], blobs=blobs_in(folder / "layout"))


@pytest.fixture(scope="module")
def archive(large: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the same as an archive."""
    path = tmp_path_factory.mktemp("archive") / "a.tar"
    skopeo("copy", "--preserve-digests", large.source, f"oci-archive:{path}:demo/large:1")
    return path


def real_files() -> Iterator[Path]:
    """Yield files of this machine's."""
    for folder, folders, names in os.walk("/usr"):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
                yield path


def gather(files: Iterator[Path], folder: Path) -> None:
    """Copy files until there is enough for a layer."""
    size = 0
    for number, path in enumerate(files):
        size += (folder / f"{number}-{path.name}").write_bytes(path.read_bytes())
        if size >= LAYER:
            return
    pytest.skip("this machine has not enough files in /usr")


MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL, check=True)
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
"""
"""Run by a small process: the kernel counts what a process had before it became another program, and pytest has much."""


def peak(ours: Steelyard, *words: str | Path, source: Path | None = None) -> int:
    """Run our command, its input through a pipe of `cat`'s, and return the most memory it took."""
    told = ours.store.parent / "peak"
    with subprocess.Popen(["cat", str(source or "/dev/null")], stdout=subprocess.PIPE) as feeder:
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(told), *COMMAND, *map(str, words)],
            stdin=feeder.stdout,
            env=environment(STEELYARD_STORE=str(ours.store)),
        )
    assert 0 == done.returncode
    return int(told.read_text()) << 10


def test_it_goes_through_a_pipe_in_flat_memory_and_out_unchanged(
    ours: Steelyard, large: Image, archive: Path, tmp_path: Path
) -> None:
    ours("put", "-", stdin=b"a store that has been opened before")
    idle = peak(ours, "images", "ls")
    used = peak(ours, "import", "-", source=archive)
    exported = peak(ours, "export", tmp_path / "b.tar", NAME)
    skopeo("copy", "--preserve-digests", f"oci-archive:{tmp_path}/b.tar:1", f"oci:{tmp_path}/back:1")

    assert used - idle <= 128 * MIB
    assert exported - idle <= 128 * MIB
    assert large.digest == ours.digest(NAME)
    assert ours.complete(NAME)
    assert raw(large.source) == raw(f"oci:{tmp_path}/back:1")
    assert large.blobs == blobs_in(tmp_path / "back")


def written(ours: Steelyard, trace: Path, *words: str | Path) -> int:
    """Run our command under strace and return how many bytes it wrote to files of blobs."""
    needs("strace")
    options = ("--follow-forks", "--decode-fds=path", "--string-limit=0", f"--trace={WRITES}", "--output", trace)
    run("strace", *options, *COMMAND, *words, STEELYARD_STORE=str(ours.store))
    blobs = re.compile(rf"<{re.escape(str(ours.store))}/(?:blobs|ingest)\b")
    total, waiting = 0, set[str]()
    for line in trace.read_text(errors="replace").splitlines():
        thread = line.split(maxsplit=1)[0]
        is_ours = blobs.search(line) or (" resumed>" in line and thread in waiting)
        waiting.discard(thread)
        if is_ours and line.endswith("<unfinished ...>"):  # another thread's call comes before its result
            waiting.add(thread)
        elif is_ours and (found := re.search(r"= (\d+)$", line)):
            total += int(found.group(1))
    return total


def test_a_second_import_writes_no_byte_of_a_blob(ours: Steelyard, large: Image, archive: Path, tmp_path: Path) -> None:
    first = written(ours, tmp_path / "first", "import", archive)
    second = written(ours, tmp_path / "second", "import", archive)
    stream = written(ours, tmp_path / "stream", "import", large.source.split(":")[1], NAME)

    assert first >= 2 * LAYER
    assert (0, 0) == (second, stream)


@pytest.mark.parametrize("form", ["archive", "layout"])
def test_one_that_is_killed_names_nothing_and_its_repetition_ends_complete(
    ours: Steelyard, large: Image, archive: Path, form: str
) -> None:
    source = archive if form == "archive" else large.source.split(":")[1]
    with start(ours, "import", str(source), NAME) as process:
        while ingested(ours.store) <= 20 * MIB:
            assert process.poll() is None
            time.sleep(0.001)  # nothing else tells from outside how far it is
        process.kill()

    assert b"" == ours("images", "ls")
    ours("import", source, NAME)
    assert large.digest == ours.digest(NAME)
    assert large.blobs == ours.blobs()
    assert ours.complete(NAME)


def test_a_stream_that_is_killed_names_nothing_and_its_repetition_ends_complete(
    ours: Steelyard, large: Image, archive: Path
) -> None:
    with start(ours, "import", "-", NAME) as process, archive.open("rb") as source:
        assert process.stdin is not None
        for _ in range(150):
            process.stdin.write(source.read(MIB))
        process.stdin.flush()
        process.kill()

    assert b"" == ours("images", "ls")
    assert not large.blobs <= ours.blobs()
    with start(ours, "import", "-", NAME) as process, archive.open("rb") as source:
        assert process.stdin is not None
        shutil.copyfileobj(source, process.stdin, MIB)
    assert 0 == process.returncode
    assert large.digest == ours.digest(NAME)
    assert large.blobs == ours.blobs()
    assert ours.complete(NAME)


@contextmanager
def start(ours: Steelyard, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run our command with a pipe to write to; it has ended afterwards."""
    with subprocess.Popen(
        [*COMMAND, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=environment(STEELYARD_STORE=str(ours.store)),
    ) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise
