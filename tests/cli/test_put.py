"""`put`: files, trees, streams."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from .runner import Shell, end, feed, sha256

LARGE = 16 << 20


def test_a_tree_is_stored_and_each_file_reads_back(stocked: Shell, tree: Path, files: dict[str, bytes]) -> None:
    again = stocked.run("put", "-r", tree)

    shown = {line[73:]: line[:71] for line in again.lines}
    assert {path: sha256(data) for path, data in files.items()} == shown
    path, data = next((path, data) for path, data in files.items() if len(data) > 10_000)
    assert data == stocked.run("get", shown[path]).raw


def test_a_second_put_says_that_all_is_there_and_writes_nothing(
    stocked: Shell, tree: Path, files: dict[str, bytes]
) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in (stocked.store / "blobs").rglob("*") if path.is_file())

    again = stocked.run("put", "-r", tree, "--format", "jsonl")

    *puts, summary = again.records
    assert {False} == {record["new"] for record in puts}
    size = sum(map(len, files.values()))
    counts = {"files": len(files), "bytes": size, "new": 0, "existing": len(files), "skipped": 0, "failed": 0}
    assert {"type": "summary", "command": "put", **counts} == summary
    assert f"{len(files)} already there" in again.err
    after = sorted((path, path.stat().st_mtime_ns) for path in (stocked.store / "blobs").rglob("*") if path.is_file())
    assert before == after


def test_links_and_special_files_are_left_out_with_a_notice(shell: Shell) -> None:
    top = shell.home / "top"
    (top / "deep").mkdir(parents=True)
    (top / "deep" / "file").write_bytes(b"file")
    (top / "link").symlink_to("deep/file")
    (top / "loop").symlink_to(top)
    os.mkfifo(top / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(top / "socket"))
        done = shell.run("put", "-r", top)

    assert [f"{sha256(b'file')}  {top}/deep/file"] == done.lines
    assert "2 × symbolic link" in done.err
    assert f"skipped: {top}/pipe: special file" in done.err
    assert f"skipped: {top}/socket: special file" in done.err


def test_a_tree_around_the_store_does_not_swallow_it(shell: Shell) -> None:
    (shell.home / "file").write_bytes(b"file")
    shell.run("put", "file")

    again = shell.run("put", "-r", ".")

    assert [f"{sha256(b'file')}  ./file"] == again.lines
    assert "skipped: ./store: the store itself" in again.err


def test_unreadable_files_are_reported_and_the_rest_is_stored(shell: Shell) -> None:
    (shell.home / "good").write_bytes(b"good")

    done = shell.run("put", "absent", "good", code=3)

    assert [f"{sha256(b'good')}  good"] == done.lines
    assert "steelyard: error: No such file or directory: absent\n  next: ls -ld ." in done.err


def test_a_text_in_place_of_a_path_is_explained(shell: Shell) -> None:
    sentence = shell.run("put", "ten pounds of wool", code=3)
    long = shell.run("put", "wool " * 1000, code=1)

    assert (
        "No such file or directory: ten pounds of wool\n  next: printf %s 'ten pounds of wool' | steelyard put -"
        in sentence.err
    )
    assert "next: steelyard put - < FILE" in long.err


@pytest.mark.parametrize("words", [["absent"], ["absent", "gone"], ["-r", "absent"]])
def test_sources_that_are_not_there_leave_no_store_behind(shell: Shell, words: list[str]) -> None:
    told = shell.run("put", *words, code=3).err

    assert told.count("No such file or directory") >= len(set(words) - {"-r"})
    assert not shell.store.exists()


def test_a_socket_leaves_no_store_behind(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shell.home)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")

        told = shell.run("put", "socket", code=1).err

    assert "not a file that can be read: socket" in told
    assert not shell.store.exists()


def test_directories_without_r_leave_no_store_behind(shell: Shell) -> None:
    (shell.home / "dir").mkdir()

    told = shell.run("put", "dir", code=2).err

    assert "is a directory: expected a file, or -r" in told
    assert "put -r dir" in told
    assert not shell.store.exists()


def test_options_may_stand_between_files(shell: Shell) -> None:
    (shell.home / "dir").mkdir()
    for name in ("a", "dir/b", "c"):
        (shell.home / name).write_bytes(name.encode())

    done = shell.run("put", "a", "-r", "dir", "--label", "k=v", "c")

    assert {"a", "dir/b", "c"} == {line.split("  ")[1] for line in done.lines}
    assert 3 == len(shell.run("ls", "-q", "labels.k==v").lines)
    digests = shell.run("ls", "-q").lines
    assert digests == shell.run("info", digests[0], "-q", *digests[1:]).lines
    shell.run("label", digests[0], "a=1", "-q", "b=2")
    assert [digests[0]] == shell.run("ls", "-q", "labels.a==1,labels.b==2").lines
    shell.run("rm", digests[0], "--dry-run", digests[1])
    (shell.home / "-r").write_bytes(b"not an option")
    assert f"{sha256(b'not an option')}  -r" in shell.run("put", "--", "-r").lines


def test_a_directory_without_r_is_refused(shell: Shell) -> None:
    done = shell.run("put", ".", code=2)

    assert "error: .: is a directory: expected a file, or -r\n  next: steelyard put -r ." in done.err
    other = shell.run("--store", "other", "put", ".", code=2)
    assert "next: steelyard --store other put -r ." in other.err


def test_labels_algorithm_and_path_are_kept(shell: Shell) -> None:
    words = ["--label", "origin=Reval", "--label", "io.example/a=b=c", "--algorithm", "blake3", "--format", "json"]
    done = shell.run("put", "-", *words, stdin=b"wax")

    (put,) = done.document["puts"]
    assert {"type": "put", "path": "-", "digest": put["digest"], "size": 3, "new": True, "path_hex": None} == put
    assert put["digest"].startswith("blake3:")
    (blob,) = shell.run("info", put["digest"], "--format", "json").document["blobs"]
    assert {"origin": "Reval", "io.example/a": "b=c"} == blob["labels"]


def test_blobs_that_are_there_keep_their_labels_and_it_says_so(shell: Shell) -> None:
    shell.run("put", "-", "--label", "a=1", stdin=b"x")

    again = shell.run("put", "-", "--label", "a=2", stdin=b"x")

    assert "existing blobs keep their labels" in again.err
    assert shell.run("ls").out.endswith("a=1\n")


def test_names_with_odd_bytes_are_stored_and_shown_harmlessly(shell: Shell) -> None:
    top = shell.home / "top"
    top.mkdir()
    names = {b"caf\xe9": r"caf\xe9", b"two\nlines": r"two\nlines", b"\x1b[31mred": r"\x1b[31mred", b"-dash": "-dash"}
    for number, name in enumerate(names):
        Path(os.fsdecode(os.fsencode(top) + b"/" + name)).write_text(str(number))

    text = shell.run("put", "-r", top)
    puts = shell.run("put", "-r", top, "--format", "json").document["puts"]

    assert {f"{top}/{shown}" for shown in names.values()} == {line.split("  ", 1)[1] for line in text.lines}
    assert {f"{top}/caf\\xe9", f"{top}/two\nlines", f"{top}/\x1b[31mred", f"{top}/-dash"} == {
        put["path"] for put in puts
    }


def test_a_name_that_begins_with_a_dash_comes_after_two(shell: Shell) -> None:
    (shell.home / "-x").write_bytes(b"x")

    assert [f"{sha256(b'x')}  -x"] == shell.run("put", "--", "-x").lines
    assert "Unknown option: -x" in shell.run("put", "-x", code=2).err


def test_a_named_pipe_that_is_given_is_read_as_a_stream(shell: Shell) -> None:
    os.mkfifo(shell.home / "pipe")
    with shell.start("put", "pipe") as process:
        (shell.home / "pipe").write_bytes(b"through the pipe")  # waits for the reader

        assert process.stdout is not None
        assert f"{sha256(b'through the pipe')}  pipe\n" == process.stdout.read().decode()
    assert 0 == process.returncode


def test_standard_input_may_be_a_file(shell: Shell) -> None:
    (shell.home / "file").write_bytes(b"file")
    script = f'exec "{shell.environment["PYTHON"]}" -m steelyard put - < file'

    assert [f"{sha256(b'file')}  -"] == shell.execute("sh", "-c", script).lines


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_runs_on_either_backend(shell: Shell, tree: Path, files: dict[str, bytes], backend: str) -> None:
    done = shell.run("--backend", backend, "put", "-r", tree / "json")

    assert {sha256(data) for path, data in files.items() if "/json/" in path} == {line[:71] for line in done.lines}


def test_a_large_file_leaves_no_ingest_behind(shell: Shell) -> None:
    data = os.urandom(LARGE + 1)
    (shell.home / "large").write_bytes(data)

    assert [f"{sha256(data)}  large", f"{sha256(data)}  large"] == shell.run("put", "large", "large").lines
    assert [] == shell.run("ingests", "--format", "json").document["ingests"]


def test_a_second_put_of_a_large_file_begins_no_ingest(shell: Shell) -> None:
    """The directory that an ingest would be made in is not touched."""
    (shell.home / "large").write_bytes(os.urandom(LARGE))
    shell.run("put", "large")
    before = (shell.store / "ingest").stat().st_mtime_ns

    assert "0 new, 1 already there" in shell.run("put", "large").err
    assert before == (shell.store / "ingest").stat().st_mtime_ns


def test_json_and_errors_make_one_document(shell: Shell) -> None:
    (shell.home / "good").write_bytes(b"good")

    done = shell.run("put", "good", "absent", "gone", "--format", "json", code=3)

    document = json.loads(done.out)
    assert ["good"] == [record["path"] for record in document["puts"]]
    assert [3, 3] == [record["exit_code"] for record in document["errors"]]
    assert 2 == document["summary"]["failed"]
    assert "2 failed:\n  No such file or directory: absent\n  No such file or directory: gone" in done.err


def test_verify_reads_what_was_kept_again(shell: Shell) -> None:
    def interrupt() -> None:
        process = feed(shell, data[: LARGE // 2], "put", "-", "--ref", "r")
        end(process, signal.SIGINT)
        [path] = shell.store.glob("ingest/*/data")
        with path.open("r+b") as file:
            file.seek(5)
            file.write(b"x")

    data = os.urandom(LARGE)
    (shell.home / "file").write_bytes(data)
    interrupt()

    done = shell.run("put", "-", "--ref", "r", "--verify", "--format", "json", code=5, stdin=data)

    [error] = done.document["errors"]
    assert ("data_corrupt", "steelyard ingests") == (error["code"], error["next"])
    assert "" == shell.run("ls").out
    assert f"{sha256(data)}  file" in shell.run("put", "file", "--ref", "r", "--verify").lines
    shell.run("verify", "--all")
    shell.run("abort", "r", code=3)
