"""Standard streams that are closed or full: the documented exit codes, no traceback, and nothing in a wrong place."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from steelyard.cli.commands import COMMANDS, function_of
from steelyard.cli.exits import MEANINGS, Exit
from steelyard.cli.output import Output
from steelyard.cli.parameters import arguments_of
from steelyard.cli.records import ErrorRecord

from .runner import COMMAND, Shell, sha256

ZERO = "0" * 8


def script(shell: Shell, line: str) -> tuple[int, str, str]:
    """Run a line of a shell, with STEELYARD for the command; return its exit code, output and errors."""
    done = subprocess.run(
        ["sh", "-c", line.replace("STEELYARD", " ".join(COMMAND))],
        cwd=shell.home,
        env=shell.environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert "Exception ignored" not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("words", ["ls", "ls --format json", "--version", "--help"])
def test_a_closed_standard_output_is_reported_and_gives_1(stocked: Shell, words: str) -> None:
    code, out, err = script(stocked, f"STEELYARD {words} >&-")

    assert (1, "") == (code, out)
    assert err.startswith("steelyard: error: Bad file descriptor: standard output\n")


@pytest.mark.parametrize("words", ["ls", "help filters", "--help"])
def test_a_full_standard_output_gives_9_and_a_reader_that_left_141(stocked: Shell, words: str) -> None:
    code, _, err = script(stocked, f"STEELYARD {words} >/dev/full")
    left, _, quiet = script(stocked, f"{{ STEELYARD {words}; echo $? >code; }} | true; exit $(cat code)")

    assert 9 == code
    assert "steelyard: error: No space left on device: standard output" in err
    assert "next:" not in err
    # It may be quicker than `true`, and then the reader has not left yet.
    assert (left, quiet) in {(141, ""), (0, "")}


@pytest.mark.parametrize("stream", ["2>&-", ">&- 2>/dev/full"])
def test_messages_that_go_nowhere_change_no_exit_code(stocked: Shell, stream: str) -> None:
    assert (3, "") == script(stocked, f"STEELYARD info {ZERO} {stream}")[:2]
    assert (2, "") == script(stocked, f"STEELYARD frobnicate {stream}")[:2]


def test_a_put_stores_also_if_no_message_can_be_printed(shell: Shell) -> None:
    (shell.home / "file").write_bytes(b"data")

    assert 1 == script(shell, "STEELYARD put file <&- >&- 2>&-")[0]

    assert [sha256(b"data")] == shell.run("ls", "-q").lines
    assert b"data" == shell.run("get", sha256(b"data")).raw
    shell.run("verify", "--all")


def test_a_closed_standard_input_cannot_be_read(shell: Shell) -> None:
    code, out, err = script(shell, "STEELYARD put - <&-")

    assert (1, "") == (code, out)
    assert "steelyard: error: -: Bad file descriptor" in err
    assert 1 == script(shell, "STEELYARD import - <&-")[0]
    assert "" == shell.run("ls").out


@pytest.mark.parametrize("most", [6, 10])
def test_too_few_descriptors_are_reported_as_such_or_suffice(stocked: Shell, most: int) -> None:
    code, _, err = script(stocked, f"ulimit -n {most}; exec STEELYARD info {ZERO}")

    if code != 3:
        assert 1 == code, err
        assert "Too many open files" in err


def test_a_config_file_that_cannot_be_read_is_reported(shell: Shell) -> None:
    (shell.home / "config" / "steelyard" / "config.toml").mkdir(parents=True)

    done = shell.run("ls", code=2)

    assert "steelyard: error: Is a directory: " in done.err
    assert "Traceback" not in done.err


@contextmanager
def unwritable_output() -> Iterator[None]:
    """Make standard output refuse every write, as a closed one does."""
    kept = os.dup(1)
    refusing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(refusing, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(refusing)


@pytest.mark.anyio
async def test_lines_that_the_clock_of_the_display_could_not_write_are_missed_by_the_command() -> None:
    out = Output("jsonl")
    out.fail(ErrorRecord(code="not_found", message="gone", next=None, exit_code=3))
    with unwritable_output():
        with pytest.raises(OSError, match="Bad file descriptor") as by_clock:
            await out.flush()
        with pytest.raises(OSError, match="Bad file descriptor") as by_command:  # it has nothing more to write
            await out.flush()

    assert errno.EBADF == by_clock.value.errno
    assert by_command.value is by_clock.value


def test_an_output_that_fails_is_reported_once(stocked: Shell) -> None:
    _, _, err = script(stocked, "STEELYARD ls --format json >/dev/full")

    assert 1 == err.count("No space left on device")


def test_completion_into_a_missing_folder_is_reported(shell: Shell) -> None:
    done = shell.run("completion", "bash", "-o", str(Path("absent") / "file"), code=3)

    assert "steelyard: error: No such file or directory: absent/file" in done.err


def operands(name: str) -> list[str]:
    """Return words that a command takes: each of its operands is the same name."""
    return ["nosuch" for one in arguments_of(function_of(name)) if one.positional and one.required]


@pytest.mark.slow
def test_every_command_fails_in_words_without_input_and_output(stocked: Shell) -> None:
    lines = {name: f"{name} {' '.join(operands(name))}" for name in COMMANDS}  # it would measure first
    lines["serve containerd"] += " --address http://x"

    with ThreadPoolExecutor(4) as pool:
        found = {
            name: pool.submit(script, stocked, f"STEELYARD {line} --format json <&- >&-")
            for name, line in lines.items()
        }

    for name, done in found.items():
        code, _, err = done.result()
        assert code in set(MEANINGS) - {Exit.OK}, name
        assert err.startswith("steelyard: error: "), name
        assert "internal" not in err, name
