"""How long a start takes, beside a bare interpreter: ``python -m steelyard_bench.start [--runs N]``.

The programs take turns, so that a busy machine slows all of them. The processor time of a run is that of its process. The
package is compiled first: an installation from a wheel is, too.
"""

from __future__ import annotations

import argparse
import compileall
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import steelyard

RUNS = 20
COMMAND = [sys.executable, "-m", "steelyard"]
BARE = "python -c pass"
IMPORTS = "import anyio, msgspec"
PROGRAMS = {
    BARE: [sys.executable, "-c", "pass"],
    IMPORTS: [sys.executable, "-c", IMPORTS],
    "from steelyard import LocalStore": [sys.executable, "-c", "from steelyard import LocalStore"],
    **{
        f"steelyard {words}": [*COMMAND, *words.split()]
        for words in ("--version", "--help", "ls", "info e3b0c442", "stat", "ingests", "images ls")
    },
}


def run(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run a program, and return the seconds that it took, and those of a processor."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return ended - started, busy


def main(runs: int) -> None:
    """Print the medians, and their ratios to a bare interpreter and to the imports that the library needs."""
    compileall.compile_dir(Path(steelyard.__file__).parent, quiet=1)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
    with tempfile.TemporaryDirectory() as root:
        environment = os.environ | {"STEELYARD_STORE": root, "STEELYARD_ALLOW_DEBUG": "1"}
        subprocess.run([*COMMAND, "put", "-"], env=environment, input=b"", capture_output=True, check=True)
        for _ in range(runs):
            for name, command in PROGRAMS.items():
                times[name].append(run(command, environment))
    medians = {name: [statistics.median(one) for one in zip(*found, strict=True)] for name, found in times.items()}
    print(f"medians of {runs} runs; x: times `{BARE}`, y: times `{IMPORTS}`; first elapsed, then of a processor")
    for name, found in medians.items():
        elapsed, busy = (
            f"{1000 * one:6.1f} ms {one / bare:5.2f} x {one / imports:5.2f} y"
            for one, bare, imports in zip(found, medians[BARE], medians[IMPORTS], strict=True)
        )
        print(f"{name:34}{elapsed}  {busy}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m steelyard_bench.start", description=(__doc__ or "").partition(":")[0]
    )
    parser.add_argument(
        "--runs", type=int, default=RUNS, help="how often each program is started (default: %(default)s)"
    )
    main(parser.parse_args().runs)
