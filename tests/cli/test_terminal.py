"""On a terminal: a live line that leaves no trace, no binary without --force, lists in place."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .runner import COMMAND, Shell, sha256
from .test_get import damage

MIB = 1 << 20


class Terminal:
    """A command whose standard streams, those that are named, are a terminal."""

    def __init__(self, shell: Shell, *words: str | Path, streams: tuple[str, ...], **environment: str) -> None:
        self.master, slave = pty.openpty()
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            [*COMMAND, *map(str, words)],
            stdin=slave if "stdin" in streams else subprocess.PIPE,
            cwd=shell.home,
            env=shell.environment | environment,
            stdout=slave if "stdout" in streams else subprocess.PIPE,
            stderr=slave if "stderr" in streams else subprocess.PIPE,
        )
        os.close(slave)
        self.shown = b""

    def show_until(self, pattern: str | None, seconds: float = 45) -> str:
        """Read what is shown until it matches, or to the end."""
        end = time.monotonic() + seconds
        while pattern is None or not re.search(pattern, self.shown.decode("utf-8", "replace")):
            ready, _, _ = select.select([self.master], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"nothing like {pattern!r} in {self.shown!r}"
            try:
                more = os.read(self.master, 65536)
            except OSError:  # the other end is closed
                more = b""
            self.shown += more
            if not more:
                assert pattern is None, f"nothing like {pattern!r} in {self.shown!r}"
                break
        return self.shown.decode("utf-8", "replace")

    def close(self) -> int:
        """Wait for the end and return the exit code."""
        self.process.communicate()
        os.close(self.master)
        return self.process.wait(60)


def shown_lines(shell: Shell, *words: str | Path, code: int = 0) -> list[str]:
    """Run a command on a terminal, and return the lines that stay there."""
    terminal = Terminal(shell, *words, streams=("stdout", "stderr"))
    shown = terminal.show_until(None)
    assert code == terminal.close()
    return [line.rpartition("\x1b[2K")[2] for line in shown.removesuffix("\r\n").split("\r\n")]


def test_progress_is_a_line_that_goes_away(shell: Shell) -> None:
    terminal = Terminal(shell, "put", "-", "--ref", "x", streams=("stderr",))
    assert terminal.process.stdin is not None
    terminal.process.stdin.write(bytes(3 * MIB))
    terminal.process.stdin.flush()

    terminal.show_until(r"storing.*3\.1/\?|storing.*3\.0.*MiB")
    terminal.process.stdin.close()
    terminal.process.stdin = None
    shown = terminal.show_until(None)

    last = shown[shown.rindex("\x1b[2K") :]
    assert "\x1b[2Ksteelyard: 1 file, 3.0 MiB: 1 new, 0 already there\r\n" == last
    assert 0 == terminal.close()


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"CI": "true"}, {"words": "--no-progress"}, {"words": "-q"}])
def test_there_is_no_live_line_where_it_is_not_wanted(shell: Shell, environment: dict[str, str]) -> None:
    words = [environment["words"]] if "words" in environment else []
    terminal = Terminal(shell, "put", "-", *words, streams=("stderr",), **environment)
    assert terminal.process.stdin is not None
    terminal.process.stdin.write(bytes(MIB))
    terminal.process.stdin.flush()
    # A command that was started later shows its line by now.
    other = Terminal(shell, "put", "-", streams=("stderr",))
    other.show_until("storing")
    other.close()
    terminal.process.stdin.close()
    terminal.process.stdin = None

    assert "\x1b" not in terminal.show_until(None)
    assert 0 == terminal.close()


def test_no_color_means_no_color(shell: Shell) -> None:
    terminal = Terminal(shell, "put", "-", streams=("stderr",), NO_COLOR="1")
    assert terminal.process.stdin is not None
    terminal.process.stdin.write(bytes(MIB))
    terminal.process.stdin.flush()
    shown = terminal.show_until("storing")
    terminal.process.stdin.close()
    terminal.process.stdin = None
    shown = terminal.show_until(None)

    assert not re.search(r"\x1b\[[0-9;]*m", re.sub(r"\x1b\[(0|1|2|3|22|23)m", "", shown))
    assert 0 == terminal.close()


def test_results_and_progress_share_a_terminal(shell: Shell, tree: Path, files: dict[str, bytes]) -> None:
    lines = shown_lines(shell, "put", "-r", tree, "--verbose")

    assert {f"{sha256(data)}  {path}" for path, data in files.items()} <= set(lines)


def test_a_tree_gives_a_summary_and_no_lines(shell: Shell, tree: Path, files: dict[str, bytes]) -> None:
    lines = shown_lines(shell, "put", "-r", tree)

    assert f"steelyard: {len(files)} files, " == re.sub(r"\d+\.\d .*", "", "".join(lines))


@pytest.mark.parametrize("words", [["-q"], ["--format", "jsonl"]])
def test_quiet_and_json_list_on_a_terminal_too(
    stocked: Shell, tree: Path, files: dict[str, bytes], words: list[str]
) -> None:
    shown = "".join(shown_lines(stocked, "put", "-r", tree, *words))

    assert all(sha256(data) in shown for data in files.values())


def test_lines_stay_if_messages_go_to_another_file(stocked: Shell, tree: Path, files: dict[str, bytes]) -> None:
    terminal = Terminal(stocked, "put", "-r", tree, streams=("stdout",))

    shown = terminal.show_until(None)

    assert sorted(f"{sha256(data)}  {path}" for path, data in files.items()) == sorted(shown.splitlines())
    assert 0 == terminal.close()


def test_a_tree_shows_the_number_of_stored_files(shell: Shell, tree: Path, files: dict[str, bytes]) -> None:
    os.mkfifo(shell.home / "pipe")
    terminal = Terminal(shell, "put", "-r", tree, "pipe", streams=("stdout", "stderr"))

    terminal.show_until(rf"{len(files)} files  storing")
    (shell.home / "pipe").write_bytes(b"the end")

    assert f"{len(files) + 1} files, " in terminal.show_until(None)
    assert 0 == terminal.close()


def test_a_store_that_is_verified_shows_only_damage(own: Shell, files: dict[str, bytes]) -> None:
    data = next(data for data in files.values() if len(data) > 10_000)
    number = len(set(files.values()))
    assert number == sum("ok  " in line for line in shown_lines(own, "verify", "--all", "--verbose"))
    damage(own, sha256(data))

    lines = shown_lines(own, "verify", "--all", code=5)

    assert [f"damaged  {sha256(data)}"] == [line for line in lines if line.startswith(("ok", "damaged"))]
    assert re.fullmatch(rf"steelyard: {number} blobs, .*: 1 damaged", lines[-1])


def test_a_copy_of_all_blobs_gives_a_summary(own: Shell, files: dict[str, bytes]) -> None:
    number = len(set(files.values()))

    lines = shown_lines(own, "cp", str(own.store), "listed", "--all", "--verbose")
    assert {sha256(data) for data in files.values()} <= set(lines)
    (summary,) = shown_lines(own, "cp", str(own.store), "copied", "--all")
    assert summary.startswith(f"steelyard: {number} blobs, ")


@pytest.mark.slow
def test_many_names_give_a_summary_and_a_list_stays_a_list(shell: Shell) -> None:
    for number in range(105):
        (shell.home / f"{number}").write_text(f"{number}")

    (summary,) = shown_lines(shell, "put", *map(str, range(105)))
    assert summary.startswith("steelyard: 105 files, ")
    digests = [line[:71] for line in shown_lines(shell, "ls")]
    assert 105 == len(digests)
    assert 4 == sum(line.startswith("sha256:") for line in shown_lines(shell, "rm", *digests[:4]))
    assert 101 == sum(line.startswith("sha256:") for line in shown_lines(shell, "rm", *digests[4:], "--dry-run"))
    (summary,) = shown_lines(shell, "rm", *digests[4:])
    assert summary.startswith("steelyard: deleted 101 blobs, ")
    assert [] == shell.run("ls").lines


@pytest.fixture
def three(shell: Shell) -> Shell:
    """Give a shell whose store has two blobs with the label `old`, and another blob."""
    for data in (b"1", b"22"):
        shell.run("put", "-", "--label", "old=yes", stdin=data)
    shell.run("put", "-", stdin=b"other")
    return shell


def test_rm_by_filter_asks_and_deletes_after_a_yes(three: Shell) -> None:
    terminal = Terminal(three, "rm", "--filter", "labels.old==yes", streams=("stdin", "stdout", "stderr"))
    terminal.show_until(r"steelyard: delete 2 blobs, 3 bytes, except those that are needed\? \[y/N\] ")
    # It was not there when the blobs were counted.
    three.run("put", "-", "--label", "old=yes", stdin=b"late")
    three.run("label", sha256(b"22"), "more=yes")
    os.write(terminal.master, b"y\n")

    assert "steelyard: deleted 1 blob, 1 byte" in terminal.show_until(None)
    assert 0 == terminal.close()
    assert {sha256(data) for data in (b"22", b"late", b"other")} == set(three.run("ls", "-q").lines)


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"\4", b"yess\n", b"\3"])
def test_rm_by_filter_deletes_nothing_after_any_other_answer(three: Shell, answer: bytes) -> None:
    terminal = Terminal(three, "rm", "--filter", "size>0", streams=("stdin", "stdout", "stderr"))
    terminal.show_until(r"delete 3 blobs, 8 bytes.*\[y/N\] ")
    if answer == b"\3":
        terminal.process.send_signal(signal.SIGINT)  # the terminal is not the controlling one of the process
    else:
        os.write(terminal.master, answer)

    shown = terminal.show_until(None)
    assert ("interrupted" if answer == b"\3" else "nothing was deleted: not confirmed") in shown
    assert (130 if answer == b"\3" else 1) == terminal.close()
    assert 3 == len(three.run("ls").lines)


def test_many_blobs_by_filter_give_a_summary(three: Shell) -> None:
    assert ["steelyard: labelled 3 blobs"] == shown_lines(three, "label", "--filter", "size>0", "a=b")
    assert 3 == sum("a=c" in line for line in shown_lines(three, "label", "--filter", "size>0", "a=c", "--verbose"))
    assert 4 == len(shown_lines(three, "rm", "--filter", "size>0", "--dry-run"))
    assert ["steelyard: deleted 3 blobs, 8 bytes"] == shown_lines(three, "rm", "--filter", "size>0", "-y")


def test_binary_is_not_written_to_a_terminal_without_force(shell: Shell) -> None:
    digest = sha256(b"\0\1\2")
    shell.run("put", "-", stdin=b"\0\1\2")

    refused = Terminal(shell, "get", digest, streams=("stdout", "stderr"))
    assert f"next: steelyard get {digest} -o FILE" in refused.show_until(None)
    assert 2 == refused.close()
    forced = Terminal(shell, "get", digest, "--force", streams=("stdout",))
    assert "\0\1\2" == forced.show_until(None)
    assert 0 == forced.close()


def test_a_blob_on_a_terminal_has_no_progress_in_it(shell: Shell) -> None:
    data = b"0123456789abcdef" * (1 << 16)
    digest = sha256(data)
    shell.run("put", "-", stdin=data)

    terminal = Terminal(shell, "get", digest, "--force", streams=("stdout", "stderr"))
    for size in range(0, len(data), 1 << 18):  # slower than the live line is drawn
        terminal.show_until(f"(?s).{{{size + 1}}}")
        time.sleep(0.12)

    assert data.decode() == terminal.show_until(None)
    assert 0 == terminal.close()


def test_watch_draws_in_place(shell: Shell) -> None:
    shell.run("put", "-", "--ref", "waiting", "--expected", sha256(b"other"), stdin=b"x", code=5)
    terminal = Terminal(shell, "ingests", "--watch", "--interval", "0.05", streams=("stdout", "stderr"))

    terminal.show_until(r"1 B of .*waiting\r\n\x1b\[1F\x1b\[J.*waiting")
    terminal.process.terminate()

    assert "ended by SIGTERM" in terminal.show_until(None)
    assert 143 == terminal.close()
