"""A quota on a real file system: EDQUOT is StorageFull, and what is stored can be read and deleted."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

from support.disks import mounted

_HANG_SECONDS = 60

_SCRIPT = textwrap.dedent("""
    import os, sys
    import anyio, msgspec
    from steelyard import LocalStore, StorageFull

    root = sys.argv[1]

    async def refused(call):
        try:
            await call
        except StorageFull as error:
            return f"{error.errno} {error.filename}"
        return "worked"

    async def main():
        async with LocalStore(root) as store:
            first = await store.put(os.urandom(4 << 20), labels={"a": "b"})
            print("put", await refused(store.put(os.urandom(20 << 20))))
            print("ingest", await refused(store.put([os.urandom(1 << 20) for _ in range(20)], ref="upload")))
            assert len(await store.get(first.digest)) == 4 << 20
            info = await store.info(first.digest)
            outcomes = set()
            for number in range(100):
                changed = msgspec.structs.replace(info, labels={"n": str(number) * 1000})
                outcomes.add(await refused(store.update(changed, "labels")))
            for outcome in sorted(outcomes):
                print("label", outcome)
            await store.delete(first.digest)
            print("end", "ok", "ok")

    anyio.run(main)
""")


def test_a_quota_is_reported_as_such(tmp_path: Path) -> None:
    with mounted("btrfs", tmp_path) as point:
        # Of all quotas this is the one that needs neither a user of its own nor an option of the kernel.
        for command in (["quota", "enable"], ["qgroup", "limit", "16M"]):
            subprocess.run(["btrfs", *command, str(point)], check=True, capture_output=True)
        ended = subprocess.run(
            [sys.executable, "-c", _SCRIPT, str(point / "store")],
            capture_output=True,
            text=True,
            timeout=_HANG_SECONDS,
            check=False,
            env=os.environ | {"STEELYARD_ALLOW_DEBUG": "1"},
        )
        large = tmp_path / "large"
        large.write_bytes(os.urandom(20 << 20))
        refused = subprocess.run(
            [sys.executable, "-m", "steelyard", "--store", str(point / "store"), "put", str(large)],
            capture_output=True,
            text=True,
            timeout=_HANG_SECONDS,
            check=False,
        )

    assert refused.returncode == 9, refused.stderr
    assert "Disk quota exceeded" in refused.stderr
    assert f"next: steelyard --store {point}/store stat\n" in refused.stderr
    assert ended.returncode == 0, ended.stderr[-2000:] + ended.stdout
    said = [line.split(maxsplit=2) for line in ended.stdout.splitlines()]
    for step in ("put", "ingest"):
        (found,) = [line for line in said if line[0] == step]
        assert found[1] == str(errno.EDQUOT), found
        assert found[2].startswith(str(point / "store")), found
    labels = [line[1:] for line in said if line[0] == "label"]
    refusals = [line for line in labels if line != ["worked"]]
    # Of a page of the log's index the kernel does not say why it has no room.
    full = {str(errno.EDQUOT), str(errno.ENOSPC)}
    assert all(line[0] in full and line[1] == f"{point}/store/meta.db" for line in refusals), labels
    assert said[-1][0] == "end"
