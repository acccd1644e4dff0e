"""Where the store is, and other processes: pickles, forks, the end of the interpreter."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import fsspec
import pytest
from support.forks import forked

from steelyard import MemoryStore
from steelyard.errors import FailedPrecondition, InvalidArgument
from steelyard.fs import SteelyardFileSystem


def test_fsspec_knows_the_protocol() -> None:
    (entry,) = entry_points(group="fsspec.specs", name="steelyard")

    assert entry.load() is SteelyardFileSystem
    assert fsspec.get_filesystem_class("steelyard") is SteelyardFileSystem


def test_the_package_loads_without_fsspec_and_names_the_extra() -> None:
    program = """
import sys
sys.modules["fsspec"] = None
import steelyard, steelyard.cli, steelyard.trees
try:
    import steelyard.fs
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "steelyard.fs needs fsspec: pip install 'steelyard[fsspec]'\n" == done.stdout


def test_the_library_and_the_command_line_do_not_load_fsspec() -> None:
    program = "import sys, steelyard.cli, steelyard.trees, steelyard.fetch; print('fsspec' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "False\n" == done.stdout


def test_the_store_is_that_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("STEELYARD_STORE", raising=False)
    assert f"steelyard:{tmp_path}/XDG_DATA_HOME/steelyard/store" == SteelyardFileSystem().fsid
    (tmp_path / "XDG_CONFIG_HOME/steelyard").mkdir(parents=True)
    (tmp_path / "XDG_CONFIG_HOME/steelyard/config.toml").write_text('store = "configured"')
    assert f"steelyard:{tmp_path}/XDG_CONFIG_HOME/steelyard/configured" == SteelyardFileSystem().fsid
    monkeypatch.setenv("STEELYARD_STORE", "s3://bucket/prefix?region=here")
    assert "steelyard:s3://bucket/prefix?region=here" == SteelyardFileSystem().fsid
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEELYARD_STORE", "of-environment")
    files = fsspec.filesystem("steelyard")
    assert f"steelyard:{tmp_path}/of-environment" == files.fsid
    assert files is SteelyardFileSystem(tmp_path / "of-environment") is SteelyardFileSystem("of-environment")
    assert files is not SteelyardFileSystem("another")
    with pytest.raises(InvalidArgument, match="unknown scheme"):
        SteelyardFileSystem("ftp://bucket")
    with pytest.raises(TypeError):
        SteelyardFileSystem(*("a", "b"))  # type: ignore[call-arg,arg-type]


def test_looking_makes_no_store(tmp_path: Path) -> None:
    files = SteelyardFileSystem(tmp_path / "store")

    assert not files.exists("a")
    for look in (lambda: files.ls(""), lambda: files.open("a"), lambda: files.cat("a")):
        with pytest.raises(FileNotFoundError, match="store"):
            look()
    assert not (tmp_path / "store").exists()
    files.pipe_file("a", b"1")
    assert ["a"] == files.ls("", detail=False)
    files.close()


def test_a_store_is_not_made_among_other_files(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    files = SteelyardFileSystem(tmp_path)
    with pytest.raises(InvalidArgument, match="not empty: found 'mine'"):
        files.pipe_file("a", b"1")

    assert [tmp_path / "mine"] == list(tmp_path.iterdir())


def test_a_read_only_file_system_changes_nothing(tmp_path: Path) -> None:
    writer = SteelyardFileSystem(tmp_path / "store")
    writer.pipe_file("a", b"1")
    files = SteelyardFileSystem(tmp_path / "store", read_only=True)

    assert b"1" == files.cat("a")
    for change in (lambda: files.pipe_file("b", b"2"), lambda: files.rm("a"), lambda: files.open("b", "wb").close()):
        with pytest.raises(OSError, match="read-only"):
            change()
    assert ["a"] == files.ls("", detail=False)
    files.close()
    writer.close()


def test_a_pickled_file_system_opens_the_store_in_another_process(tmp_path: Path) -> None:
    files = SteelyardFileSystem(tmp_path / "store")
    files.pipe_file("a", b"data")
    with files.open("a") as file:
        file.seek(2)
        pickled = pickle.dumps((files, file))
    assert files is pickle.loads(pickled)[0]
    program = """
import pickle, sys
files, file = pickle.load(sys.stdin.buffer)
print(files.cat("a"), file.read(), file.digest)
"""
    done = subprocess.run([sys.executable, "-c", program], input=pickled, capture_output=True, check=True)

    assert f"{b'data'!r} {b'ta'!r} {file.digest}\n".encode() == done.stdout
    assert files is type(files).from_json(files.to_json())
    assert str(tmp_path / "store") == json.loads(files.to_json())["store"]
    with files.open("b", "wb") as new, pytest.raises(TypeError):
        pickle.dumps(new)
    files.close()


def test_a_file_system_of_an_open_store_is_not_pickled_nor_kept() -> None:
    store = MemoryStore()
    files = SteelyardFileSystem(store)

    assert files is not SteelyardFileSystem(store)
    with pytest.raises(TypeError, match="open store"):
        pickle.dumps(files)


def test_a_child_of_a_fork_makes_its_own(tmp_path: Path) -> None:
    files = SteelyardFileSystem(tmp_path / "store")
    files.pipe_file("a", b"1")
    file, new = files.open("a"), files.open("b", "wb")
    new.write(b"2" * (6 << 20))

    def child() -> None:
        for call in (lambda: files.cat("a"), file.read, files.close, lambda: new.write(b"3" * (6 << 20))):
            with pytest.raises(FailedPrecondition, match="fork"):
                call()
        own = SteelyardFileSystem(tmp_path / "store")
        assert own is not files
        assert b"1" == own.cat("a")

    forked(child)
    new.close()
    assert 6 << 20 == files.size("b")
    file.close()
    files.close()


def test_the_end_of_the_interpreter_closes_the_store(tmp_path: Path) -> None:
    program = """
import atexit, sys
from pathlib import Path
@atexit.register
def last():
    print([path for path in map(str, map(Path.resolve, Path("/proc/self/fd").iterdir())) if "store" in path])
import fsspec
files = fsspec.filesystem("steelyard", store=sys.argv[1])
files.pipe_file("a", b"1")
file = files.open("b", "wb")
file.write(b"1" * (6 << 20))
"""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", program, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        check=True,
    )

    assert ("[]\n", "") == (done.stdout, done.stderr)
    files = SteelyardFileSystem(tmp_path / "store")
    assert ["a"] == files.ls("", detail=False)
    files.close()
