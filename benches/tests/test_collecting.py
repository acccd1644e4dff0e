"""The measurement of collections: what it prints, and that it leaves nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from steelyard_bench._peers._containerd import available
from steelyard_bench.collecting import main

CALLS = ["put", "put with a label", "set an image name"]


def test_collections_and_the_pauses_of_a_writer_are_measured_and_nothing_is_left(
    memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--blobs", "4000", "--size", "64", "--seconds", "0.2", "--json", "--directory", str(memory)]

    assert 0 == main(words)

    results = json.loads(capsys.readouterr().out)
    assert 0 == results["first"]["blobs"]
    assert ["not synced", "synced"] == [each["name"] for each in results["rounds"]]
    for each in results["rounds"]:
        # The writer's blobs are garbage, too.
        assert 400 <= each["blobs"] == each["measured"]["blobs"]
        assert 3 < each["measured"]["steps"]
        assert CALLS == list(each["alone"]) == list(each["beside"])
        assert all(0 < pauses["p50"] <= pauses["longest"] for pauses in each["beside"].values())
    assert 4 == len(results["questions"])
    assert [] == list(memory.iterdir())


@pytest.mark.skipif(available() is not None, reason="containerd does not run here")
def test_a_containerd_that_collects_as_many_is_measured_and_nothing_is_left(
    memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--blobs", "300", "--size", "64", "--seconds", "0.2", "--containerd", "--directory", str(memory)]

    assert 0 == main(words)

    out = capsys.readouterr().out
    assert out.startswith("300 blobs; ")
    assert "| containerd | 30 | " in out
    assert "| containerd, beside | put with a label | " in out
    assert [] == list(memory.iterdir())
