"""Properties of the machine that the numbers depend on, and those that make them weak."""

from __future__ import annotations

import os
import platform
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from steelyard_bench._inside import Mount, __version__, debug_build, mount_of
from steelyard_bench._results import RowResult

__all__ = ("Clock", "Machine", "look", "weaknesses", "weaknesses_of_rows")

_INSTRUCTIONS = ("sha_ni", "avx2", "avx512f", "avx512bw", "sha512", "sha2", "asimd")
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse", "virtiofs"}
_BUSY = 0.15
_UNSTEADY = 1.3


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine, a disk and a build.

    Attributes:
        commit: the commit of the source tree that the package is in, with ``+`` if something was changed since; or None.
        processor, cores, instructions: the model, the cores that this process may use, those that matter for hashing.
        virtual: whether it is a virtual machine.
        governor: how the processor's frequency is chosen, where the system tells.
        memory: bytes.
        filesystem, device, mount_options: what the rounds are written to.
        journal: whether an ext4 has one; None elsewhere.
        rotational, write_cache: of the device, where the system tells.
        load: the load average of the last minute, when the run began.
    """

    steelyard: str
    commit: str | None
    debug_build: bool
    python: str
    openssl: str
    kernel: str
    processor: str
    cores: int
    instructions: list[str]
    virtual: bool
    governor: str | None
    memory: int
    filesystem: str | None
    device: str | None
    mount_options: list[str]
    journal: bool | None
    rotational: bool | None
    write_cache: str | None
    load: float


def look(directory: Path) -> Machine:
    """Look at the machine, and at the disk that a directory is on."""
    cpu = cpu_info()
    mount = mount_of(directory)
    queue = _queue_of(directory)
    return Machine(
        steelyard=__version__,
        commit=_commit(Path(__file__).parent),
        debug_build=debug_build,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        openssl=ssl.OPENSSL_VERSION,
        kernel=f"{platform.system()} {platform.release()}",
        processor=cpu.get("model name", platform.processor() or platform.machine()),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        instructions=[name for name in _INSTRUCTIONS if name in _flags(cpu)],
        virtual="hypervisor" in _flags(cpu),
        governor=_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        filesystem=None if mount is None else mount.kind,
        device=None if mount is None else mount.device,
        mount_options=[] if mount is None else list(mount.options),
        journal=_has_journal(mount),
        rotational=None if (found := _read(f"{queue}/rotational")) is None else found == "1",
        write_cache=_read(f"{queue}/write_cache"),
        load=os.getloadavg()[0],
    )


def weaknesses(machine: Machine, *, divisor: int, rounds: int, busy: float | None = None) -> list[str]:
    """Return what makes the numbers weak, a sentence each, the worst first.

    Args:
        machine: where they come from.
        divisor: how much smaller the work was.
        rounds: how many rounds there were.
        busy: the part of the processors' time that other work took during the run, if that is over.
    """
    where = machine.filesystem or "unknown"
    others = machine.load / machine.cores if busy is None else busy
    found: list[tuple[bool, str]] = [
        (machine.debug_build, "a debug build of the extension: it is many times slower than a release build"),
        (where in {"tmpfs", "ramfs"}, f"{where} is memory: a sync costs nothing, durable is not durable"),
        (where == "overlay", "an overlay file system: the numbers are those of what lies below it, and of the overlay"),
        (where.split(".")[0] in _NETWORK, f"{where} is not a local disk"),
        (
            machine.journal is False,
            f"{where} has no journal: syncs are cheaper than on most disks",
        ),
        (
            others > _BUSY,
            f"a busy machine: load {machine.load:.2f} on {machine.cores} cores when the run began"
            if busy is None
            else f"a busy machine: other work took {busy:.0%} of the processors' time during the run",
        ),
        (
            machine.governor in {"powersave", "conservative"},
            f"the processor's governor is {machine.governor}: its frequency follows the load",
        ),
        (divisor > 1, f"sizes are divided by {divisor}: what a call costs weighs more than it should"),
        (rounds < 3, f"only {rounds} round{'s' * (rounds != 1)}: no median to speak of"),
    ]
    return [text for holds, text in found if holds]


def weaknesses_of_rows(rows: list[RowResult]) -> list[str]:
    """Return which rows are weak by themselves, and which H itself moved in, which does the same work in every round."""
    found = [f"row {row.label}: {row.weak}" for row in rows if row.weak]
    for row in rows:
        times = [sample.seconds for entry in row.contestants if entry.name == "H" for sample in entry.samples]
        if times and max(times) > _UNSTEADY * min(times):
            found.append(f"row {row.label}: H itself took between {min(times):.3g} and {max(times):.3g} s")
    return found


class Clock:
    """Tells how much of the processors' time went to other work, between its making and the call.

    Args:
        own_seconds: returns the processor time that this process and its children have used.
    """

    def __init__(self, own_seconds: Callable[[], float]) -> None:
        self._own_seconds = own_seconds
        self._all, self._begun = _busy_and_total()
        self._own = own_seconds()

    def others(self) -> float | None:
        """Return the part of the processors' time that other work took, 0 to 1, or None where the system does not tell."""
        busy, total = _busy_and_total()
        if total <= self._begun:
            return None
        own = self._own_seconds() - self._own
        return max(0.0, (busy - self._all - own) / (total - self._begun))


def _busy_and_total() -> tuple[float, float]:
    """Return the seconds that all processors have worked, and have been there, since the start of the machine."""
    line = (_read("/proc/stat") or "").partition("\n")[0].split()[1:9]
    if len(line) < 8:
        return 0.0, 0.0
    ticks = os.sysconf("SC_CLK_TCK")
    user, nice, system, idle, waiting, irq, softirq, steal = (int(word) / ticks for word in line)
    busy = user + nice + system + irq + softirq + steal
    return busy, busy + idle + waiting


def cpu_info() -> dict[str, str]:
    """Return what /proc/cpuinfo says of the first processor."""
    first = (_read("/proc/cpuinfo") or "").partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _flags(cpu: dict[str, Any]) -> set[str]:
    return set((cpu.get("flags") or cpu.get("Features") or "").split())


def _has_journal(mount: Mount | None) -> bool | None:
    if mount is None or mount.kind != "ext4":
        return None
    device = Path(os.path.realpath(mount.device)).name
    if not Path(f"/proc/fs/ext4/{device}").exists():
        return None
    return any(Path("/proc/fs/jbd2").glob(f"{device}-*"))


def _queue_of(directory: Path) -> str:
    """Return the folder with what the kernel tells of a device: a partition's is that of the whole disk."""
    number = os.stat(directory).st_dev  # noqa: PTH116 - called on a thread
    device = Path(os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"))
    return str((device if (device / "queue").exists() else device.parent) / "queue")


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _commit(folder: Path) -> str | None:
    """Return the commit of the source tree that a folder is tracked in, if it is in one."""
    try:
        tracked = _git(folder, "ls-files", "--error-unmatch", "__init__.py")
        commit = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}{'+' if changed else ''}" if tracked else None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return done.stdout.strip()
