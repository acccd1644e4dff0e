"""A process that has loaded the command line and forks for every run of it.

What runs is the real program in a process of its own, with its own pipes, directory and environment; only its imports,
a fifth of a second each time, are done once. Tests of starting, of signals and of terminals run the command itself.
"""

from __future__ import annotations

import importlib
import json
import os
import selectors
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ("ForkServer",)


class ForkServer:
    """The client's side: starts the process, and asks it to run command lines one after the other."""

    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())], env=environment, pass_fds=[theirs.fileno()]
            )

    def run(
        self, words: Sequence[str], *, stdin: bytes, directory: Path, environment: Mapping[str, str]
    ) -> tuple[int, bytes, bytes]:
        """Run a command line to its end and return the exit code, standard output and standard error."""
        ends = [os.pipe() for _ in range(3)]
        (theirs_in, ours_in), (ours_out, theirs_out), (ours_err, theirs_err) = ends
        request = {"words": list(words), "directory": str(directory), "environment": dict(environment)}
        socket.send_fds(self._socket, [json.dumps(request).encode()], [theirs_in, theirs_out, theirs_err])
        for descriptor in (theirs_in, theirs_out, theirs_err):
            os.close(descriptor)
        out, err = _exchange(ours_in, stdin, ours_out, ours_err)
        return int(self._socket.recv(100)), out, err

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.wait(60)


def _exchange(stdin: int, data: bytes, stdout: int, stderr: int) -> tuple[bytes, bytes]:
    """Write all of the input and read all of the two outputs, whichever is ready."""
    found = {stdout: bytearray(), stderr: bytearray()}
    rest = memoryview(data)
    os.set_blocking(stdin, False)
    with selectors.DefaultSelector() as selector:
        selector.register(stdin, selectors.EVENT_WRITE)
        for descriptor in found:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                if key.fd == stdin:
                    with suppress(BrokenPipeError):
                        rest = rest[os.write(stdin, rest) :] if rest else rest
                        if rest:
                            continue
                elif more := os.read(key.fd, 1 << 20):
                    found[key.fd] += more
                    continue
                selector.unregister(key.fd)
                os.close(key.fd)
    return bytes(found[stdout]), bytes(found[stderr])


def serve(descriptor: int) -> None:
    """Fork for each request until the client goes away."""
    from steelyard.cli.commands import COMMANDS  # noqa: PLC0415 - this process's whole purpose is to have loaded these

    for module in {target.partition(":")[0] for target, _ in COMMANDS.values()} | {
        "context",
        "loop",
        "run",
        "help",
        "completion",
    }:
        importlib.import_module(f"steelyard.cli.{module}")
    for module in ("anyio._backends._asyncio", "anyio._backends._trio", "steelyard.local._engine"):
        importlib.import_module(module)
    with socket.socket(fileno=descriptor) as client:
        while True:
            message, streams, _, _ = socket.recv_fds(client, 1 << 20, 3)
            if not message:
                return
            child = os.fork()
            if child == 0:
                client.close()
                _run(json.loads(message), streams)
            for stream in streams:
                os.close(stream)
            _, status = os.waitpid(child, 0)
            client.send(str(os.waitstatus_to_exitcode(status)).encode())


def _run(request: dict[str, Any], streams: Sequence[int]) -> None:
    """Be the command: it never returns."""
    code: object = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        # As the interpreter makes them when it starts: the old ones remember what kind of file they were on.
        sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115
        os.chdir(request["directory"])
        os.environ.clear()
        os.environ.update(request["environment"])
        from steelyard.cli import main  # noqa: PLC0415

        code = main(request["words"])
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - what the interpreter would do
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
