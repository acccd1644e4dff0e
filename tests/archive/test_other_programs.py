"""Archives that other programs wrote, and other programs on archives that we wrote."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.archives import LIMITS, contents, ends, pieces, repeated

from steelyard._archive import END, Compressed, Decompressed, Entry, Member, TarIndex, copy_range, layout, padding
from steelyard.errors import InvalidArchive

pytestmark = pytest.mark.anyio

LONG = "/".join(["directory-" * 9] * 3)
NAMES = ("a", "n" * 99, "n" * 100, "n" * 101, f"{'d' * 120}/{'e' * 50}", "größe/日本", f"{LONG}/{'f' * 140}")
SHORT = ("a", f"{'d' * 90}/{'e' * 80}", "n" * 90, "blobs/sha256/ab")


def needs(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def run(words: Sequence[str | Path], stdin: bytes = b"", *, cwd: Path | None = None) -> bytes:
    done = subprocess.run(words, input=stdin, capture_output=True, cwd=cwd, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert 0 == done.returncode, done.stderr.decode()
    return done.stdout


def plant(root: Path, names: Sequence[str]) -> Path:
    """Make files with these names, and links of both kinds to the last of them."""
    for number, name in enumerate(names):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.urandom(number * 300 + 1))
    (root / "b").mkdir()
    (root / "b" / names[-2][:120].replace("/", "-")).symlink_to(f".././{names[-1]}")
    os.link(root / names[-1], root / "hard")
    return root


def check(root: Path, names: Sequence[str], found: list[tuple[Entry, bytes]]) -> None:
    """Compare what was read with what is there."""
    entries = {entry.name: entry for entry, _ in found}
    data = {entry.name: data for entry, data in found if entry.kind == "regular"}
    leads = ends([entry for entry, _ in found])
    for name in (*names, "hard"):
        assert (root / name).read_bytes() == data[leads[name]], name
    links = [entry.target for entry in entries.values() if entry.kind == "symlink"]
    assert [names[-1]] == links
    assert {"regular", "symlink", "hardlink", "directory"} == {entry.kind for entry in entries.values()}


def names_for(form: str) -> Sequence[str]:
    return SHORT if form == "ustar" else NAMES


@pytest.mark.parametrize(
    ("program", "form"),
    [
        *[("tar", form) for form in ("gnu", "oldgnu", "pax", "posix", "ustar")],
        *[("bsdtar", form) for form in ("gnutar", "pax", "ustar")],
    ],
)
async def test_programs_of_all_formats(tmp_path: Path, program: str, form: str) -> None:
    root, archive = plant(tmp_path / "tree", names_for(form)), tmp_path / "a.tar"
    run([needs(program), f"--format={form}", "-C", root, "-cf", archive, "."])

    found = await contents(archive.read_bytes(), 10_000)

    check(root, names_for(form), found)
    with archive.open("rb") as file:
        index = TarIndex(file.fileno(), **LIMITS)
        assert [] == await repeated(index)
        assert [entry for entry, _ in found] == [index.find(entry.name) for entry, _ in found]


@pytest.mark.parametrize(
    ("form", "number"), [("ustar", tarfile.USTAR_FORMAT), ("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT)]
)
async def test_python_in_all_formats(tmp_path: Path, form: str, number: int) -> None:
    root, buffer = plant(tmp_path / "tree", names_for(form)), io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=number) as tar:
        tar.add(root, ".")

    check(root, names_for(form), await contents(buffer.getvalue(), 4444))


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["--format=v7"], "expected a header of ustar, PAX or GNU tar"),
        (["--label=name"], 'found an entry of type "V"'),
        (["--format=gnu", "--sparse"], "found a sparse file"),
        (["--format=posix", "--sparse"], "expected no sparse files and no volumes"),
        (["--format=gnu", "--listed-incremental=snapshot"], "expected zero bytes where GNU keeps what no image needs"),
        (["-P", "--transform=s,^,/,"], "expected a relative name"),
        (["-P", "--transform=s,^,../,"], 'expected a name without "[.][.]"'),
    ],
)
async def test_archives_of_gnu_tar_that_no_image_needs(tmp_path: Path, words: list[str], refusal: str) -> None:
    with (tmp_path / "hole").open("wb") as file:
        file.seek(10 << 20)
        file.write(b"x" * 100_000)
    archive = run([needs("tar"), *words, "-cf", "-", "hole"], cwd=tmp_path)

    with pytest.raises(InvalidArchive, match=refusal):
        await contents(archive)


async def test_devices_and_pipes_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for words, found in (([tmp_path, "pipe"], "a pipe"), (["/dev", "null"], "a character device")):
        archive = run([needs("tar"), "-cf", "-", "-C", *words])

        with pytest.raises(InvalidArchive, match=f"found {found}"):
            await contents(archive)


OURS = {name: os.urandom(size) for name, size in zip(NAMES, (0, 1, 511, 512, 513, 5000, 300_000), strict=True)}


def ours() -> bytes:
    planned = layout([Member("blobs", mode=0o755, directory=True), *(Member(name, len(OURS[name])) for name in OURS)])
    data = [b"", *OURS.values()]
    parts = [place.header + item + bytes(padding(len(item))) for place, item in zip(planned.places, data, strict=True)]
    whole = b"".join([*parts, END])
    assert planned.size == len(whole)
    return whole


@pytest.mark.parametrize("program", ["tar", "bsdtar"])
async def test_other_programs_unpack_what_we_write(tmp_path: Path, program: str) -> None:
    (tmp_path / "out").mkdir()
    run([needs(program), "-xf", "-", "-C", tmp_path / "out"], ours())

    assert OURS == {name: (tmp_path / "out" / name).read_bytes() for name in OURS}
    assert 0o444 == (tmp_path / "out" / "a").stat().st_mode & 0o777
    assert 0.0 == (tmp_path / "out" / "a").stat().st_mtime


async def test_python_reads_what_we_write() -> None:
    with tarfile.open(fileobj=io.BytesIO(ours())) as tar:
        assert OURS == {info.name: _data(tar, info) for info in tar if info.isreg()}
        assert {(0, 0, 0, "", "")} == {(info.mtime, info.uid, info.gid, info.uname, info.gname) for info in tar}


def _data(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(info)
    assert file is not None
    return file.read()


async def test_members_from_8_gib_on_are_read_by_all(tmp_path: Path) -> None:
    """The data is a hole, but for its end, so that it need not be read."""
    size = (8 << 30) + 5
    planned = layout([Member("large", size), Member("small", 3)])
    archive, small = tmp_path / "a.tar", tmp_path / "small"
    small.write_bytes(b"abc")
    with archive.open("w+b") as file, small.open("rb") as source:
        file.truncate(planned.size)
        for place in planned.places:
            os.pwrite(file.fileno(), place.header, place.header_offset)
        await copy_range(source.fileno(), 0, file.fileno(), planned.places[1].data_offset, 3)

        index = TarIndex(file.fileno(), **LIMITS)
        assert [] == await repeated(index)
        found = [index.find(name) for name in ("large", "small")]

        assert [("large", size), ("small", 3)] == [(entry.name, entry.size) for entry in found if entry]
    for program in ("tar", "bsdtar"):
        listed = run([needs(program), "-tvf", archive]).decode().split()
        assert str(size) in listed
        assert "small" in listed
    with tarfile.open(archive) as tar:
        assert [size, 3] == [info.size for info in tar]
        assert b"abc" == _data(tar, tar.getmember("small"))


@pytest.mark.parametrize("program", ["gzip", "xz", "zstd"])
async def test_compression_programs(program: str) -> None:
    data = ours()
    for words in ([], ["-9"]):
        packed = run([needs(program), "-c", *words], data)
        assert (
            data
            == b"".join([bytes(piece) async for piece in Decompressed(pieces(packed + packed, 70_000))])[len(data) :]
        )
    if program == "xz":
        return
    packed = b"".join(
        [bytes(piece) async for piece in Compressed(pieces(data), "gzip" if program == "gzip" else "zstd")]
    )
    assert data == run([program, "-dc"], packed)


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
async def test_archives_of_skopeo(tmp_path: Path, transport: str) -> None:
    umoci, skopeo = needs("umoci"), needs("skopeo")
    image = f"{tmp_path}/layout:one"
    run([umoci, "init", "--layout", tmp_path / "layout"])
    run([umoci, "new", "--image", image])
    (tmp_path / "file").write_bytes(os.urandom(300_000))
    run([umoci, "insert", "--image", image, tmp_path / "file", "/file"])
    run([skopeo, "--insecure-policy", "copy", f"oci:{image}", f"{transport}:{tmp_path}/a.tar:demo:1"])

    found = await contents((tmp_path / "a.tar").read_bytes(), 100_000)

    names = {entry.name for entry, _ in found}
    assert ("index.json" if transport == "oci-archive" else "manifest.json") in names
    if transport == "docker-archive":
        links = {entry.target for entry, _ in found if entry.kind == "symlink"}
        assert links
        assert links <= names
