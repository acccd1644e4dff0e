"""Ctrl-C and SIGTERM: a clean end, an ingest that can be resumed, and the words that resume it."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import time

import pytest
from support.ingested import ingested

from .runner import Shell, end, feed, sha256

MIB = 1 << 20


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_stream_resumes_with_the_line_it_prints(
    shell: Shell, number: signal.Signals, backend: str
) -> None:
    data = os.urandom(5 * MIB + 17)
    process = feed(shell, data[: 3 * MIB], "put", "-", "--ref", "a stream", "--backend", backend)

    code, out, err = end(process, number)

    assert 128 + number == code
    assert "" == out
    assert "ingest a stream keeps 3.0 MiB (3145728 bytes)" in err
    again = f"put - --ref 'a stream' --backend {backend}"
    assert f"resume with: … | steelyard {again}\n" in err
    assert "or discard it: steelyard abort 'a stream'\n" in err
    assert 3 * MIB == shell.offset("a stream")
    done = shell.run("put", "-", "--ref", "a stream", stdin=data)
    assert "resumed at 3.0 MiB (3145728 bytes); these bytes of the input are read and skipped" in done.err
    assert [f"{sha256(data)}  -"] == done.lines
    assert -1 == shell.offset("a stream")


def test_without_a_ref_nothing_is_kept_and_it_says_what_would_help(shell: Shell) -> None:
    process = feed(shell, b"x" * MIB, "put", "-")

    code, _, err = end(process, signal.SIGINT)

    assert 130 == code
    assert "steelyard: interrupted\nsteelyard: standard input: nothing was kept; --ref NAME makes it resumable\n" == err
    assert [] == shell.run("ingests").lines
    assert [] == shell.run("ls").lines


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_put_of_a_large_file_resumes_by_itself(shell: Shell, number: signal.Signals) -> None:
    """Killed outright, as by the kernel or a power cut, no handler runs and the last checkpoint counts."""
    data = os.urandom(256 * MIB)
    (shell.home / "large").write_bytes(data)
    while True:
        process = shell.start("put", "large")
        # The checkpoint at 64 MiB is made beside the writing; the one at 128 MiB waits for it.
        while process.poll() is None and ingested(shell.store) <= 130 * MIB:
            time.sleep(0.001)  # nothing else tells from outside how far it is
        code, _, err = end(process, number)
        if shell.run("ingests", "-q").lines:
            break
        assert [sha256(data)] == shell.run("ls", "-q").lines, err
        shell.run("rm", sha256(data))  # it was faster than the signal

    done = shell.run("put", "large")

    assert code in {-9, 130}
    assert ("resume with: steelyard put large\n" in err) == (number is signal.SIGINT)
    resumed = re.search(r"large: resumed at .* \((\d+) bytes\)", done.err)
    assert resumed
    assert 64 * MIB <= int(resumed[1]) < 256 * MIB
    assert [f"{sha256(data)}  large"] == done.lines
    assert [] == shell.run("ingests").lines


def test_a_changed_file_does_not_resume(shell: Shell) -> None:
    path = shell.home / "large"
    path.write_bytes(bytes(17 * MIB))
    first = shell.run("put", "large", "--expected", f"sha256:{'0' * 64}", code=5)
    (before,) = shell.run("ingests", "--format", "json").document["ingests"]
    assert "next: steelyard abort" in first.err
    path.write_bytes(b"\1" * 17 * MIB)

    done = shell.run("put", "large")

    assert "resumed" not in done.err
    assert [f"{sha256(path.read_bytes())}  large"] == done.lines
    assert [before["ref"]] == shell.run("ingests", "-q").lines


def test_a_json_document_is_complete_after_ctrl_c(shell: Shell) -> None:
    (shell.home / "small").write_bytes(b"small")
    process = feed(shell, b"x", "put", "small", "-", "--format", "json")
    while not shell.run("ls", "-q").lines:
        assert process.poll() is None

    code, out, _ = end(process, signal.SIGINT)

    assert 130 == code
    assert '"path":"small"' in out
    assert '"summary":{"type":"summary","command":"put","files":1,' in out
    assert out.endswith("}\n")


def test_a_reader_that_stands_still_does_not_hold_up_ctrl_c(shell: Shell) -> None:
    data = bytes(3 * MIB)
    shell.run("put", "-", stdin=data)
    process = shell.start("get", sha256(data))
    assert process.stdout is not None
    process.stdout.read(1)

    process.send_signal(signal.SIGINT)

    assert 130 == process.wait(60)
    process.communicate()


@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "ended by SIGTERM")], ids=["INT", "TERM"]
)
def test_a_list_whose_reader_stands_still_is_interrupted(stocked: Shell, number: signal.Signals, said: str) -> None:
    process = stocked.start("ls", "--format", "json")
    assert process.stdout is not None
    assert process.stderr is not None
    fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    process.stdout.read(1)  # the rest does not fit into the pipe

    process.send_signal(number)

    assert 128 + number == process.wait(60)
    assert f"steelyard: {said}\n" == process.stderr.read().decode()
    process.communicate()
