"""Names, trees and digests as files and directories."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fsspec.callbacks import Callback
from support.made_trees import build_tree
from trees.conftest import FILES
from trees.made import CONFIG, MANIFEST, TREE, document, keep, manifest_of

from steelyard import Descriptor, Digest, Store
from steelyard.errors import DataCorrupt, NotFound
from steelyard.fs import SteelyardFileSystem
from steelyard.images.leases import lease_guard
from steelyard.images.media_types import OCI_INDEX
from steelyard.trees import Entry

from .conftest import on_store


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_the_root_has_the_first_parts_of_names(tree: SteelyardFileSystem) -> None:
    tree.pipe("docker.io/library/alpine:3.20", b"{}")
    tree.pipe("alone", b"1")

    assert ["alone", "docker.io", "work"] == tree.ls("", detail=False)
    assert ["file", "directory", "directory"] == [each["type"] for each in tree.ls("steelyard://")]
    assert ["docker.io/library/alpine:3.20"] == tree.ls("docker.io/library/", detail=False)
    assert tree.isfile("docker.io/library/alpine:3.20")
    assert tree.isdir("docker.io/library")
    assert not tree.exists("docker.io/lib")


def test_a_tree_is_a_directory(tree: SteelyardFileSystem) -> None:
    found = {path.removeprefix("work/tree/"): info for path, info in tree.find("work/tree", detail=True).items()}

    assert {*FILES, "link", "a/dangling"} == found.keys()
    assert {"a", "a.txt", "empty", "link", "nothing", "run.sh"} == {
        path.removeprefix("work/tree/") for path in tree.ls("work/tree", detail=False)
    }
    assert {f"work/tree/{name}": data for name, data in FILES.items()} == tree.cat(
        [f"work/tree/{name}" for name in FILES]
    )
    assert "directory" == tree.info("work/tree/nothing/here")["type"]
    assert [] == tree.ls("work/tree/nothing/here")
    assert {name: len(data) for name, data in FILES.items()} == {name: found[name]["size"] for name in FILES}


def test_a_malformed_tree_is_a_file_and_other_names_are_listed(files: SteelyardFileSystem) -> None:
    async def keep_bad(store: Store) -> None:
        await keep(store, "trees/out", await manifest_of(store, [("../x", b"1")]))
        await keep(store, "trees/twice", await manifest_of(store, [("x", b"1"), ("x", b"2")]))
        missing = {"mediaType": CONFIG, "digest": sha256(b"missing"), "size": 7}
        value = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": TREE, "config": missing, "layers": []}
        await keep(store, "trees/without", await document(store, value, MANIFEST))

    files.pipe("trees/good", b"1")
    on_store(files, keep_bad)
    names = [f"trees/{name}" for name in ("good", "out", "twice", "without")]
    assert names == files.ls("trees", detail=False) == files.find("trees") == files.glob("trees/*")
    assert all(files.isfile(name) for name in names)
    assert files.cat("trees/out").startswith(b"{")
    files.rm(names)
    assert [] == files.find("")


def test_info_has_digest_mode_and_times(tree: SteelyardFileSystem, tmp_path: Path) -> None:
    script, plain, top = (tree.info(f"work/tree{name}") for name in ("/run.sh", "/a/one", ""))
    changed = datetime.fromtimestamp((tmp_path / "source/run.sh").stat().st_mtime, UTC)

    assert sha256(FILES["run.sh"]) == script["digest"] == tree.ukey("work/tree/run.sh")
    assert (0o100755, 0o100644) == (script["mode"], plain["mode"])
    assert stat.S_ISDIR(top["mode"])
    assert timedelta(seconds=-1) < script["mtime"] - changed < timedelta(seconds=1)
    assert script["mtime"] == tree.modified("work/tree/run.sh")
    assert OCI_INDEX.replace("index", "manifest") == top["media_type"]
    assert tree.created("work/tree") <= tree.modified("work/tree")
    with pytest.raises(NotImplementedError, match="created"):
        tree.created("work/tree/run.sh")


def test_a_digest_is_a_file_and_that_of_a_tree_a_directory(tree: SteelyardFileSystem) -> None:
    blob, top = sha256(FILES["a.txt"]), tree.info("work/tree")["digest"]

    assert FILES["a.txt"] == tree.cat(blob) == tree.cat(f"steelyard://{blob}")
    assert ("file", 5, blob) == tuple(tree.info(blob)[key] for key in ("type", "size", "digest"))
    assert [blob] == tree.ls(blob, detail=False)
    assert tree.isdir(top)
    assert FILES["a/one"] == tree.cat(f"{top}/a/one")
    assert f"{top}/a/b/deep" in tree.find(top)
    assert tree.cat(top).startswith(b'{"schemaVersion":2')  # the bytes of its document


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("nothing", FileNotFoundError),
        ("work/nothing", FileNotFoundError),
        ("work/tree/nothing/else", FileNotFoundError),
        ("work/tree/a.txt/below", FileNotFoundError),
        ("work/tree/../tree/a.txt", FileNotFoundError),
        ("work/tree//a.txt", FileNotFoundError),
        ("work/tree/a/dangling", FileNotFoundError),
        ("work/tree/\udce9", FileNotFoundError),
        ("sha256:", FileNotFoundError),
        (f"sha256:{64 * '0'}", FileNotFoundError),
        (f"sha256:{64 * '0'}/below", FileNotFoundError),
        ("work/tree", IsADirectoryError),
        ("work", IsADirectoryError),
        ("", IsADirectoryError),
    ],
)
def test_errors_are_those_of_files(tree: SteelyardFileSystem, path: str, kind: type[OSError]) -> None:
    with pytest.raises(kind) as caught:
        tree.cat_file(path)
    assert path == caught.value.filename
    with pytest.raises(kind):
        tree.open(path)
    assert kind is type(tree.cat_ranges([path], 0, 1)[0])


def test_the_typed_error_is_the_cause(tree: SteelyardFileSystem) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        tree.info(f"sha256:{64 * '0'}")
    assert isinstance(caught.value.__cause__, NotFound)


def test_a_path_below_a_blob_is_no_directory(tree: SteelyardFileSystem) -> None:
    path = f"{sha256(FILES['a.txt'])}/below"
    with pytest.raises(NotADirectoryError):
        tree.info(path)
    assert not tree.exists(path)


class Linked:
    """A tree with these links, in a store."""

    def __init__(self, files: SteelyardFileSystem, links: dict[str, str]) -> None:
        on_store(files, self._put, links)

    async def _put(self, store: Store, links: dict[str, str]) -> None:
        entries = [Entry(path=path, kind="link", target=target) for path, target in links.items()]
        for path in ("d/file", "top"):
            result = await store.put(path.encode())
            entries.append(Entry(path=path, digest=result.digest, size=result.size))
        async with lease_guard(store) as guard:
            await store.images.assign({"t": await build_tree(guard, entries)}, overwrite=True)


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("top", b"top"),
        ("d/../top", b"top"),
        ("./d//file", b"d/file"),
        ("other", b"d/file"),
        ("into/file", b"d/file"),
        ("into/../top", b"top"),  # of the directory that the link leads to
        ("/top", None),
        ("../top", None),
        ("d/../../t/top", None),
        ("a", None),
        ("top/x", None),
        ("missing", None),
        ("./" * 5000 + "top", None),
    ],
)
def test_links_are_followed_inside_the_tree_only(files: SteelyardFileSystem, target: str, found: bytes | None) -> None:
    Linked(files, {"a": target, "other": "d/file", "into": "d"})

    assert target == files.info("t/a")["destination"]
    assert files.info("t/a")["islink"]
    if found is None:
        assert "link" == files.info("t/a")["type"]
        with pytest.raises(FileNotFoundError):
            files.cat("t/a")
    else:
        assert found == files.cat("t/a")
        assert len(found) == files.size("t/a")


def test_a_chain_of_links_is_followed_up_to_forty(files: SteelyardFileSystem) -> None:
    Linked(files, {f"l{place}": f"l{place + 1}" for place in range(60)} | {"l60": "top"})

    assert b"top" == files.cat("t/l21")
    assert not files.isfile("t/l20")


def test_a_link_to_a_directory_is_entered_by_path_and_by_no_walk(files: SteelyardFileSystem) -> None:
    Linked(files, {"into": "d", "d/up": "..", "round": "."})

    assert b"d/file" == files.cat("t/into/file") == files.cat("t/round/round/into/up/d/file")
    assert files.isdir("t/into")
    assert ["t/into/file", "t/into/up"] == files.ls("t/into", detail=False)
    assert ["t/d/file", "t/d/up", "t/into", "t/round", "t/top"] == files.find("t")
    assert {"t/into": "link", "t/round": "link"} == {
        info["name"]: info["type"] for info in files.ls("t") if info["islink"]
    }


def test_the_shortest_name_that_has_the_path_is_taken(tree: SteelyardFileSystem) -> None:
    async def names(store: Store) -> None:
        target = (await store.images.get("work/tree")).target
        await store.images.assign({"work/tree/a/one": Descriptor(digest=(await store.put(b"2")).digest)})
        await store.images.assign({"work/tree/more": Descriptor(digest=(await store.put(b"3")).digest), "work": target})

    on_store(tree, names)

    assert b"1" == tree.cat("work/tree/a/one") == tree.cat("work/a/one")
    assert b"3" == tree.cat("work/tree/more")


def test_a_name_may_be_a_file_and_begin_others(files: SteelyardFileSystem) -> None:
    files.pipe({"a": b"1", "a/b": b"2"})

    assert (b"1", b"2") == (files.cat("a"), files.cat("a/b"))
    assert ["a", "a/b"] == files.find("")
    assert ["a/b"] == files.ls("a", detail=False)


def test_a_name_of_a_blob_that_is_not_stored_is_listed(files: SteelyardFileSystem) -> None:
    async def name(store: Store) -> None:
        held = Descriptor(digest=Digest.parse(sha256(b"missing")))
        await store.images.assign({"x": held, "y": Descriptor(digest=held.digest, media_type=OCI_INDEX)})

    on_store(files, name)

    assert [None, None] == [info["size"] for info in files.ls("")]
    with pytest.raises(FileNotFoundError):
        files.cat("x")


def test_ranges_are_those_of_slices(files: SteelyardFileSystem) -> None:
    data = bytes(range(200))
    files.pipe("a", data)
    pairs: list[tuple[int | None, int | None]] = [
        *((None, None), (0, 200), (3, 10), (-5, None), (None, -5), (-10, -5), (190, 300), (250, 300), (5, 3), (0, 0)),
    ]
    starts, ends = zip(*pairs, strict=True)

    assert [data[start:end] for start, end in pairs] == files.cat_ranges(["a"] * len(pairs), list(starts), list(ends))
    assert [data[start:end] for start, end in pairs] == [files.cat_file("a", start, end) for start, end in pairs]
    with pytest.raises(FileNotFoundError):
        files.cat_ranges(["a", "b"], 0, 1, on_error="raise")
    with pytest.raises(ValueError, match="argument"):
        files.cat_ranges(["a"], [0, 1], 1)


def test_an_open_file_seeks_and_stays_as_it_was(files: SteelyardFileSystem) -> None:
    data = bytes(range(256)) * 100
    files.pipe("a", data)
    with files.open("a", block_size=1000) as file:
        files.pipe("a", b"other")
        assert (data[:10], 10) == (file.read(10), file.tell())
        file.seek(-10, 2)
        assert data[-10:] == file.read()
        file.seek(5)
        target = bytearray(7)
        assert 7 == file.readinto(target)
        assert data[5:12] == target
        assert (len(data), sha256(data)) == (file.size, str(file.digest))
        file.seek(0)
        assert data == file.read()
    with files.open("a", "r", encoding="ascii") as text:
        assert "other" == text.read()


@pytest.mark.parametrize("files", ["local"], indirect=True)
def test_whole_reads_are_verified(files: SteelyardFileSystem, tmp_path: Path) -> None:
    files.pipe("a", b"right")
    for blob in tmp_path.glob("store/blobs/sha256/*"):
        blob.chmod(0o644)
        blob.write_bytes(b"wrong")

    assert b"wro" == files.cat_file("a", 0, 3)
    reads: list[Callable[[str], object]] = [
        files.cat,
        lambda path: files.open(path).read(),
        lambda path: files.get(path, tmp_path / "out"),
    ]
    for read in reads:
        with pytest.raises(DataCorrupt):
            read("a")
    assert isinstance(files.cat_ranges(["a", "a"], 0, [2, 5])[1], DataCorrupt)
    assert not (tmp_path / "out").exists()


class Seen(Callback):
    def __init__(self) -> None:
        super().__init__()
        self.children: list[Seen] = []

    def branched(self, path_1: Any, path_2: Any, **options: Any) -> Seen:
        del path_1, path_2, options
        self.children.append(Seen())
        return self.children[-1]


def test_callbacks_have_sizes_in_bytes(files: SteelyardFileSystem, tmp_path: Path) -> None:
    data = bytes(3 << 20)
    (tmp_path / "in").write_bytes(data)
    (tmp_path / "small").write_bytes(b"1")
    small, put, get, read, many = Seen(), Seen(), Seen(), Seen(), Seen()
    files.put_file(str(tmp_path / "small"), "small", callback=small)
    files.put_file(str(tmp_path / "in"), "a", callback=put)
    files.get_file("a", str(tmp_path / "out"), callback=get)
    files.cat_file("a", callback=read)
    files.get(["a", "a"], [str(tmp_path / "1"), str(tmp_path / "2")], callback=many)

    assert (1, 1) == (small.size, small.value)
    assert [(len(data), len(data))] * 3 == [(each.size, each.value) for each in (put, get, read)]
    assert (2, 2) == (many.size, many.value)
    assert [(len(data), len(data))] * 2 == [(each.size, each.value) for each in many.children]
    assert data == (tmp_path / "out").read_bytes() == (tmp_path / "2").read_bytes()


def test_get_writes_executable_files_and_replaces_others(tree: SteelyardFileSystem, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/run.sh").write_text("another")
    tree.get("work/tree/run.sh", tmp_path / "out/run.sh")
    tree.get("work/tree/a/one", f"{tmp_path}/out/")

    with (tmp_path / "out/file").open("wb") as file:
        tree.get_file("work/tree/run.sh", file)

    assert FILES["run.sh"] == (tmp_path / "out/run.sh").read_bytes() == (tmp_path / "out/file").read_bytes()
    assert (tmp_path / "out/run.sh").stat().st_mode & 0o100
    assert not (tmp_path / "out/one").stat().st_mode & 0o111


def test_walk_du_and_glob_work_on_trees_and_names(tree: SteelyardFileSystem) -> None:
    walked = list(tree.walk("work"))

    assert ("work", ["tree"], []) == walked[0]
    assert ["work/tree/a/one"] == tree.glob("work/*/a/on?")
    assert ["work/tree/a.txt", "work/tree/a/b", "work/tree/a/one"] == [
        *tree.glob("work/tree/a.txt"),
        *tree.glob("work/tree/a/b"),
        *tree.glob("**/one"),
    ]
    assert sum(map(len, FILES.values())) + len(FILES["a/one"]) == tree.du("work/tree")
    assert FILES.keys() | {"link", "a/dangling", "a", "a/b", "nothing", "nothing/here", ""} == {
        path.removeprefix("work/tree").lstrip("/") for path in tree.find("work/tree", withdirs=True)
    }
    assert tree.find("work/tree", maxdepth=9, withdirs=True) == tree.find("work/tree", withdirs=True)
