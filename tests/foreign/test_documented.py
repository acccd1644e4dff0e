"""The chains of commands that the README and docs/images.md show, on an image that umoci made."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from .programs import Steelyard, needs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["README.md", "docs/images.md"])
def test_the_chain_on_a_page_works_as_it_stands(page: str, ours: Steelyard, made: Path, tmp_path: Path) -> None:
    needs("skopeo", "gzip", "tar")
    [chain] = re.findall(
        r"^```sh\n(skopeo .*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    (tmp_path / "layout").symlink_to(made / "umoci")

    said = ours.shell(
        chain.replace("skopeo ", "skopeo --insecure-policy ").replace("layout:1 ", "layout:amd64 "), tmp_path
    )

    assert b"docker.io/demo/app:1  complete  " in said
    assert b'"Architecture": "amd64"' in said
    assert ours.digest("docker.io/demo/app:1") == ours.digest("docker.io/demo/app:2")
    if not (tmp_path / "again").exists():
        assert page == "README.md"  # it shows less
        return
    index = json.loads((tmp_path / "again" / "index.json").read_bytes())
    assert ours.digest("docker.io/demo/app:1") == index["manifests"][0]["digest"]
