"""`steelyard serve containerd`: its start, its log, its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import grpc
import pytest
from grpc import StatusCode

from steelyard import InvalidArgument
from steelyard.cli import serve
from steelyard_bench._proto import content_pb2 as pb

from .serving import serving
from .wire import SECONDS, refused, wire

DIGEST = "sha256:" + "0" * 64


def command(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "steelyard", "serve", "containerd", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "STEELYARD_ALLOW_DEBUG": "1"} | environment,
    )


@pytest.mark.parametrize(("number", "backend"), [(signal.SIGTERM, "asyncio"), (signal.SIGINT, "trio")])
def test_a_signal_lets_calls_end_and_exits_with_0(short_path: Path, number: signal.Signals, backend: str) -> None:
    with serving(short_path, "--backend", backend) as running, wire(running.address) as connected:
        talk = connected.talk()
        talk.ask(pb.WRITE, ref="a", data=b"begun, ")
        ended: list[tuple[int, str]] = []
        thread = threading.Thread(target=lambda: ended.append(running.end(number)))
        thread.start()
        while running.path.exists():
            assert thread.is_alive()
        done = talk.ask(pb.COMMIT, offset=7, data=b"and ended")
        assert 16 == done.offset
        thread.join(SECONDS)

    ((code, said),) = ended
    assert 0 == code
    assert "stopped serving" in said
    assert ["store"] == [path.name for path in short_path.iterdir()]


def gc(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "steelyard", "gc", "--grace", "0s", *words, "--store", str(folder / "store")],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "STEELYARD_ALLOW_DEBUG": "1"},
    )


@pytest.mark.slow
def test_a_served_store_is_left_to_the_collector_of_containerd_until_it_is_taken_back(short_path: Path) -> None:
    """Containerd has the names, so all that it stored would look like garbage here."""
    with serving(short_path) as running, wire(running.address) as connected:
        digest = connected.store(b"data")
        refused_while_served = gc(short_path, "--take-back")
        assert 0 == running.end()[0]
    assert 1 == refused_while_served.returncode
    assert "a service for containerd has the store open" in refused_while_served.stderr

    done = gc(short_path, "--accept-roots")
    assert 1 == done.returncode
    assert "nothing was collected: containerd collects" in done.stderr
    assert "gc --take-back --dry-run" in done.stderr
    served = command("--own-collector", "--address", short_path / "s", "--store", short_path / "store")
    assert served.returncode not in {0, -9}
    assert "steelyard gc --take-back" in served.stderr

    for _ in range(2):
        assert digest == gc(short_path, "--take-back", "--dry-run").stdout.strip().split()[0]
    assert 1 == gc(short_path).returncode  # a dry run takes nothing back
    assert digest == gc(short_path, "--take-back", "-q").stdout.strip()
    assert 0 == gc(short_path).returncode
    with serving(short_path, "--own-collector") as running:
        assert 0 == running.end()[0]


def test_a_store_with_its_own_collector_is_collected_while_it_is_served(short_path: Path) -> None:
    with serving(short_path, "--own-collector") as running, wire(running.address) as connected:
        digest = connected.store(b"data")
        assert digest == gc(short_path, "-q").stdout.strip()
        served = command("--address", short_path / "s", "--store", short_path / "store")
        assert served.returncode not in {0, -9}
        assert "--own-collector" in served.stderr
        assert b"more" == connected.read(connected.store(b"more"))


def test_calls_that_outlast_the_grace_are_cancelled_and_their_ingests_kept(short_path: Path) -> None:
    with serving(short_path, "--grace", "0.2") as running, wire(running.address) as connected:
        talk = connected.talk()
        talk.ask(pb.WRITE, ref="a", data=b"kept")
        assert 0 == running.end()[0]
        with pytest.raises(grpc.RpcError):
            next(talk.call)

    with serving(short_path) as running, wire(running.address) as connected:
        assert 4 == connected.content.Status(pb.StatusRequest(ref="a")).status.offset


def test_a_second_signal_ends_it_at_once(short_path: Path) -> None:
    with serving(short_path, "--grace", "60") as running, wire(running.address) as connected:
        connected.talk().ask(ref="a")
        running.process.send_signal(signal.SIGTERM)
        while running.path.exists():
            assert running.process.poll() is None
        assert 143 == running.end()[0]


def test_a_killed_service_leaves_a_socket_that_the_next_one_replaces(short_path: Path) -> None:
    with serving(short_path) as running:
        assert -9 == running.end(signal.SIGKILL)[0]
        assert stat.S_ISSOCK(running.path.stat().st_mode)
    with serving(short_path) as running, wire(running.address) as connected:
        assert b"data" == connected.read(connected.store(b"data"))


def test_sighup_does_nothing(short_path: Path) -> None:
    with serving(short_path) as running, wire(running.address) as connected:
        running.process.send_signal(signal.SIGHUP)
        assert b"data" == connected.read(connected.store(b"data"))


def test_the_log_has_a_line_for_each_call_as_text_or_json(short_path: Path) -> None:
    for shape in ("json", "text"):
        with serving(short_path, "--log-format", shape, "--log-level", "debug") as running:
            with wire(running.address) as connected:
                connected.store(shape.encode())
                with refused(StatusCode.NOT_FOUND):
                    connected.read(DIGEST)
                with refused(StatusCode.FAILED_PRECONDITION):
                    connected.write(pb.WriteContentRequest(action=pb.COMMIT, ref="bad\n", expected=DIGEST))
            code, said = running.end()

        assert 0 == code
        if shape == "text":
            assert "debug Write stored: OK" in said
            assert f"debug Read {DIGEST}: NOT_FOUND" in said
            assert "warning Write bad\\n: FAILED_PRECONDITION" in said
            continue
        entries = [json.loads(line) for line in said.splitlines()]
        (write,) = [entry for entry in entries if entry.get("subject") == "stored"]
        assert ("debug", "/containerd.services.content.v1.Content/Write", "OK") == (
            write["level"],
            write["method"],
            write["code"],
        )
        assert write["bytes_in"] > 0 < write["bytes_out"]
        assert 0 < write["seconds"] < SECONDS
        assert "stopped serving" in entries[-1]["message"]


def test_what_containerd_needs_is_printed_and_nothing_served(tmp_path: Path) -> None:
    done = command("--address", tmp_path / 'with "quotes"', "--print-config", "--plugin", "mine")
    config = tomllib.loads(done.stdout)

    assert (0, "") == (done.returncode, done.stderr)
    assert {
        "version": 2,
        "disabled_plugins": ["io.containerd.content.v1.content"],
        "proxy_plugins": {"mine": {"type": "content", "address": str(tmp_path / 'with "quotes"')}},
    } == config
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["é", "\U0001f4e6", "\x7f", '"\\\t\x1f', "\u2028"])
def test_the_configuration_is_toml_whatever_the_names_are(name: str) -> None:
    config = tomllib.loads(serve.config(Path(f"/run/{name}"), name))

    assert {name: {"type": "content", "address": f"/run/{name}"}} == config["proxy_plugins"]


def test_a_name_that_toml_cannot_have_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="not Unicode text"):
        serve.config(Path("/run/\udcff"), "steelyard")


def test_where_a_server_answers_the_exit_code_is_6_and_what_is_no_socket_is_2(short_path: Path) -> None:
    store = ("--store", short_path / "store")
    path = short_path / "content.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen(1)
        done = command("--address", path, *store)
        assert (6, True) == (done.returncode, f"Address already in use: {path}" in done.stderr)
    path.unlink()
    path.write_text("precious")
    done = command("--address", path, *store)
    assert (2, True) == (done.returncode, f"next: ls -ld {path}" in done.stderr)
    assert "precious" == path.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--address", "tcp://x"], "expected the path of a Unix socket"),
        (["--address", "s", "--idle", "0"], "--idle 0: expected"),
        (["--address", "s", "--grace", "-1"], "--grace -1: expected"),
        (["--address", "s", "--calls", "0"], "calls 0: expected"),
        (["--address", "s", "--metrics-address", "x"], "metrics address 'x': expected HOST:PORT"),
        ([], "--address"),
    ],
)
def test_a_wrong_command_line_is_reported_and_exits_with_2(tmp_path: Path, words: list[str], message: str) -> None:
    done = command(*words, "--store", tmp_path / "store")

    assert (2, True) == (done.returncode, message in done.stderr), done.stderr


def test_without_the_package_for_metrics_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "prometheus_client.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'prometheus_client'\", name='prometheus_client')\n"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    words: list[str | Path] = [
        "--address",
        tmp_path / "s",
        "--store",
        tmp_path / "store",
        "--metrics-address",
        "127.0.0.1:0",
    ]
    done = command(*words, PYTHONPATH=path)

    assert 2 == done.returncode
    assert "is not installed\n  next: pip install 'steelyard[cli,metrics]'\n" in done.stderr
