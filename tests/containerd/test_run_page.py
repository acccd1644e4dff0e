"""docs/run-containerd.md is followed word for word, at the very paths it names, in a mount namespace of the test's own."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from foreign.programs import COMMAND, environment

from .images import layer, make, may_mount
from .proxied import VERSIONS, programs_of

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "run-containerd.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
UNIT = re.search(r"^(\[Unit\]\nDescription.*?)^END$", TEXT, re.MULTILINE | re.DOTALL)

PLACES = (
    "/etc/containerd",
    "/etc/systemd/system",
    "/opt/steelyard",
    "/run/containerd",
    "/run/steelyard",
    "/var/lib/containerd",
    "/var/lib/steelyard",
)

# In place of systemd: what `ExecStart=` says is what runs.
SYSTEMCTL = r"""#!/bin/bash
set -eu
verb=$1; shift
for unit; do case $unit in
  --now|--yes) ;;
  *)
    name=${unit%.service}
    if [ "$verb" = stop ] || [ "$verb" = disable ] || [ "$verb" = restart ]; then
      if [ -e /run/containerd/$name.pid ]; then
        kill $(cat /run/containerd/$name.pid); tail --pid=$(cat /run/containerd/$name.pid) -f /dev/null; rm /run/containerd/$name.pid
      fi
    fi
    if [ "$verb" = start ] || [ "$verb" = enable ] || [ "$verb" = restart ]; then
      case $name in
        containerd) line=containerd; ready="ctr --timeout 1s version" ;;
        *) line=$(sed -n 's/^ExecStart=//p' /etc/systemd/system/$name.service); ready="test -S ${line##* }" ;;
      esac
      $line >>/run/containerd/$name.log 2>&1 & echo $! >/run/containerd/$name.pid
      for try in $(seq 900); do $ready >/dev/null 2>&1 && break; sleep 0.1; done
      [ $try -lt 900 ] || { cat /run/containerd/$name.log; exit 1; }
    fi ;;
esac; done
"""

CONFIG = """version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
"""


def test_the_page_shows_what_the_command_prints() -> None:
    line = ["serve", "containerd", "--address", "/run/steelyard/content.sock", "--print-config"]
    printed = subprocess.run([*COMMAND, *line], capture_output=True, check=True, env=environment()).stdout.decode()

    assert f"```toml\n{printed}```\n" in TEXT
    assert ["io.containerd.content.v1.content"] == tomllib.loads(printed)["disabled_plugins"]


def test_the_unit_pleases_systemd(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    assert UNIT is not None
    unit = tmp_path / "steelyard-containerd.service"
    unit.write_text(UNIT.group(1).replace("/opt/steelyard/bin/steelyard", "/bin/true"))
    checked = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)

    assert [] == [line for line in checked.stderr.splitlines() if "steelyard" in line]
    assert 0 == checked.returncode, checked.stderr


@pytest.fixture
def places() -> Iterator[None]:
    """Have the folders that are mounted over, and remove those that were not there."""
    made = []
    for place in map(Path, PLACES):
        for folder in (*reversed(place.parents), place):
            if not folder.exists():
                folder.mkdir()
                made.append(folder)
    yield
    for folder in reversed(made):
        folder.rmdir()


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize("version", VERSIONS)
def test_the_page_can_be_followed(tmp_path: Path, version: str) -> None:
    programs = programs_of(version)
    if not may_mount():
        pytest.skip("mounting is not permitted here, and the page's paths are not ours to write to")
    made = make("docker.io/demo/app:1", layer(1000), layer(3 << 20))
    (tmp_path / "image.tar").write_bytes(made.archive)
    (tmp_path / "systemctl").write_text(SYSTEMCTL)
    (tmp_path / "steelyard").write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    for program in ("systemctl", "steelyard"):
        (tmp_path / program).chmod(0o755)
    script = tmp_path / "follow"
    script.write_text(
        _script(tmp_path, "containerd config default" if version == "2" else f"cat <<'END'\n{CONFIG}END\n")
    )
    words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-euo", "pipefail"]
    with (tmp_path / "said").open("wb") as said:
        done = subprocess.run(
            [*words, str(script)],
            cwd=tmp_path,
            stdout=said,
            stderr=said,
            env=_environment(tmp_path, programs),
            timeout=240,
        )
    text = (tmp_path / "said").read_text(errors="replace")

    assert 0 == done.returncode, text
    assert re.search(r"^io\.containerd\.content\.v1 +steelyard .* ok *$", text, re.MULTILINE), text
    assert 2 * len(made.blobs) <= len(re.findall(r"^ok +sha256:", text, re.MULTILINE)), text
    assert "the end" in text


def _environment(place: Path, programs: Path | None) -> dict[str, str]:
    theirs = "" if programs is None else f"{programs}:"
    return environment(PATH=f"{place}:{theirs}{os.environ['PATH']}")


def _script(place: Path, config_before: str) -> str:
    """Return the blocks in the order in which an operator with an installation comes to them, with looks in between."""
    install, service, config, restart, use, move, compare, sweep, heal, backup, undo = BLOCKS
    assert "pip install" in install
    assert "image.tar" in use
    lines = [f"loose=/var/lib/steelyard/blobs/sha256/{hashlib.sha256(b'').hexdigest()}"]
    lines += [f"mount -t tmpfs none {folder}" for folder in PLACES]
    lines += ["mkdir /opt/steelyard/bin", f"cp {place}/steelyard /opt/steelyard/bin/"]
    lines += [f"cat > /etc/containerd/config.toml < <({config_before})"]
    old = "/var/lib/containerd/io.containerd.content.v1.content"
    largest = "/var/lib/steelyard/blobs/sha256/$(ls -S /var/lib/steelyard/blobs/sha256 | head -1)"
    # Without the option, the `ctr` of 2.4.2 loses the end of the archive now and then (2 of 60, beside busy loops).
    # `grep -q` would end before its input does, and with pipefail the option would sometimes be left out.
    local = "$(ctr images export --help | grep -o -e --local | sort -u)"
    export = f"ctr images export {local} - docker.io/demo/app:1 | tar -t"
    # As the page says: what containerd is about to collect is in one listing and not in the other, for a moment.
    # So the first listing that is empty counts; the next one may have such a blob again.
    looks = f'if test -z "$({compare.strip()})"; then same=yes; break; fi; sleep 0.1'
    same = f"same=no; for _ in $(seq 900); do {looks}; done; test $same = yes"
    return "\n".join(
        [
            *lines,
            "systemctl start containerd; ctr images import --no-unpack image.tar; systemctl stop containerd",
            service,
            config,
            move,
            f"{same}; {export}",
            restart,
            use,
            # As an outage leaves it: a blob that containerd does not know.
            "touch loose; /opt/steelyard/bin/steelyard --store /var/lib/steelyard put loose; test -e $loose",
            sweep,
            "for _ in $(seq 900); do test -e $loose || break; sleep 0.1; done; test ! -e $loose",
            f'test -e {old}/blobs; rm -f {largest}; test -n "$({compare.strip()})"',
            heal,
            f"{same}; {export}",
            backup,
            "tar -tf backup.tar | grep meta.db",
            use,
            f"rm -r {old}",
            undo,
            f"ctr plugins ls | grep -v steelyard; {export}",
            "echo the end",
        ]
    )
