"""Ctrl-C and SIGTERM while a command works on large files: its exit code, no traceback, and what it leaves."""

from __future__ import annotations

import functools
import itertools
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support.make_archives import layout, one_image, tar

from .runner import Shell, end, feed, sha256

SIZE = 64 << 20
NAME = "demo:1"
MOST_LATE = 3
FIRST_LINE = {signal.SIGINT: "steelyard: interrupted", signal.SIGTERM: "steelyard: ended by SIGTERM"}


@functools.cache
def layer() -> bytes:
    """Return the bytes of the layer; they are made when a test runs, not when it is collected."""
    return random.Random(3).randbytes(SIZE)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an archive of one image with a large layer."""
    index, _, blobs = one_image([layer()], org_opencontainers_image_ref_name=NAME)
    path = tmp_path_factory.mktemp("archive") / "a.tar"
    path.write_bytes(tar(layout(index, blobs)))
    return path


def opens(process: subprocess.Popen[bytes], path: Path) -> bool:
    """Return whether a command has opened a file; False once it has ended."""
    while process.poll() is None:
        for entry in Path(f"/proc/{process.pid}/fd").glob("*"):
            try:
                if entry.readlink() == path:
                    return True
            except OSError:
                continue
        time.sleep(0.0005)  # nothing else tells from outside how far it is
    return False


def interrupt(shell: Shell, number: signal.Signals, file: Path, *words: str | Path, is_stored: bool = True) -> str:
    """Send the signal to a command while it has that file open, and return what it says on standard error.

    Args:
        shell: where the command runs.
        number: the signal.
        file: the file.
        words: the command; ``{}`` stands for the number of the try.
        is_stored: whether the image is in the store before, else nothing is.
    """
    late = 0
    for each in itertools.count():  # a command that is faster than the signal ends as usual
        if not is_stored:
            shutil.rmtree(shell.store, ignore_errors=True)
        process = shell.start(*(str(word).format(each) for word in words))
        opened = opens(process, file)
        code, _, err = end(process, number)
        assert opened or code == 0, err
        if code == 128 + number and FIRST_LINE[number] in err.splitlines():
            assert "Traceback" not in err
            return err
        # The command had ended and Python not yet: the signal then does what it does to any Python program.
        late += code != 0
        assert late <= MOST_LATE, f"exit code {code}\n{err}"
    raise AssertionError


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def blob(shell: Shell) -> Path:
    return shell.store / "blobs" / sha256(layer()).replace(":", "/")


@pytest.fixture
def holding(shell: Shell, archive: Path) -> Shell:
    """Give a store that has the image."""
    shell.run("import", archive)
    return shell


def test_get_leaves_no_file(holding: Shell) -> None:
    before = files(holding.home)

    interrupt(holding, signal.SIGTERM, blob(holding), "get", sha256(layer()), "-o", "out-{}")

    left = files(holding.home) - before  # of tries that were faster than the signal
    assert all((holding.home / name).read_bytes() == layer() for name in left)


def test_export_leaves_no_file(holding: Shell) -> None:
    before = files(holding.home)

    interrupt(holding, signal.SIGINT, blob(holding), "export", "out-{}.tar", NAME)

    left = files(holding.home) - before
    assert all((holding.home / name).stat().st_size > SIZE for name in left)


def test_verify_changes_nothing(holding: Shell) -> None:
    before = holding.run("ls").lines

    err = interrupt(holding, signal.SIGTERM, blob(holding), "verify", "--all")

    assert "resume with: steelyard verify --all --resume\n" in err
    assert before == holding.run("ls").lines
    holding.run("verify", "--all", "--resume")


def test_import_of_a_file_goes_on_when_it_is_given_again(shell: Shell, archive: Path) -> None:
    err = interrupt(shell, signal.SIGINT, archive, "import", archive, is_stored=False)

    assert f"resume with: steelyard import {archive}\n" in err
    shell.run("import", archive)
    assert [] == shell.run("ingests").lines
    shell.run("images", "check", NAME)


def test_import_of_a_stream_goes_on_when_it_is_given_again(shell: Shell, archive: Path) -> None:
    data = archive.read_bytes()
    process = feed(shell, data[: SIZE // 2], "import", "-")

    code, out, err = end(process, signal.SIGTERM)

    assert code == 143
    assert out == ""
    assert FIRST_LINE[signal.SIGTERM] in err.splitlines()
    assert "Traceback" not in err
    assert len(shell.run("ingests", "-q").lines) == 1
    shell.run("import", "-", stdin=data)
    assert [] == shell.run("ingests").lines
    shell.run("images", "check", NAME)
