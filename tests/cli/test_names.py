"""Names that would play tricks on a terminal, and paths that are no text: shown without harm, and told apart."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.cli.printing import escaped_json, path_hex, path_shown, path_text, printable, quoted, shown

from .runner import Shell, sha256

TRICKS = "\x1b\x7f\x85\x9b\u200e\u2028\u202a\u202e\u2066\u2069\U000e0001"
"""An escape, C1 controls, a line separator, bidirectional controls, a tag."""


def test_what_is_not_printable_is_escaped_in_text_and_json(shell: Shell) -> None:
    name = f"a{TRICKS}b"
    (shell.home / name).write_bytes(b"data")

    text = shell.run("put", name, "--label", f"{name}={name}")
    (put, _) = shell.run("put", name, "--format", "jsonl").records
    blobs = shell.run("ls", "--format", "json")
    failed = shell.run("put", f"{name}.absent", code=3)

    for out in (text.raw, blobs.raw, shell.run("put", name, "--format", "json").raw, failed.err.encode()):
        assert out.decode().replace("\n", "").isprintable()
    assert text.out.endswith(f"  {shown(name)}\n")
    assert name == put["path"]
    assert {name: name} == blobs.document["blobs"][0]["labels"]
    assert shown(name) in shell.run("info", sha256(b"data")).out


def test_names_with_backslashes_and_bytes_that_are_no_text_are_distinguished(shell: Shell) -> None:
    names = [rb"a\xff", b"a\xff", "a\x85".encode(), rb"a\x85", rb"a\u0085", b"a\x85", rb"a\\xff"]
    for name in names:
        Path(os.fsdecode(os.fsencode(shell.home) + b"/" + name)).write_bytes(name)
    digests = {sha256(name): name for name in names}

    lines = shell.run("put", "-r", ".").lines
    found = {line.split("  ./")[1] for line in lines}
    records = [one for one in shell.run("put", "-r", ".", "--format", "jsonl").records if one["type"] == "put"]

    assert len(names) == len(found) == len(records)
    assert {r"a\\xff", r"a\xff", r"a\u0085", r"a\\x85", r"a\\u0085", r"a\x85", r"a\\\\xff"} == found
    for one in records:
        octets = one["path"].encode() if one["path_hex"] is None else bytes.fromhex(one["path_hex"])
        assert b"./" + digests[one["digest"]] == octets


@pytest.mark.parametrize("shape", ["text", "json", "jsonl"])
def test_a_root_that_is_no_text_is_shown_with_its_bytes(shell: Shell, shape: str) -> None:
    root = os.fsdecode(b"no\xff where")

    failed = shell.run("--store", root, "ls", "--format", shape, code=3)
    report = shell.run("--store", root, "doctor", "--format", shape, code=3)

    assert r"no\xff where" in failed.err
    assert r"next: steelyard --store $'no\xff where' doctor" in failed.err
    assert r"no\xff where".replace("\\", "\\" if shape == "text" else "\\\\") in report.out
    if shape == "json":
        assert report.document["store"]["path"].endswith(r"no\xff where")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_escaped_json_means_the_same(text: str) -> None:
    data = json.dumps({text: [text]}, ensure_ascii=False).encode()
    escaped = escaped_json(data)

    assert {text: [text]} == json.loads(escaped)
    assert escaped.decode().isprintable()


@given(st.binary().filter(lambda name: b"\0" not in name))
def test_every_path_is_shown_in_its_own_way(name: bytes) -> None:
    assert path_shown(name).isprintable()
    assert name == _octets(path_shown(name))
    assert (path_hex(name) is None) == (path_text(name).encode() == name)
    assert path_hex(name) in {None, name.hex()}


def _octets(text: str) -> bytes:
    """Read the escapes back."""
    octets, rest = b"", text
    lengths = {"x": 2, "u": 4, "U": 8}
    while rest:
        if rest[0] != "\\":
            octets, rest = octets + rest[0].encode(), rest[1:]
        elif rest[1] in lengths:
            end = 2 + lengths[rest[1]]
            number = int(rest[2:end], 16)
            octets += bytes([number]) if rest[1] == "x" else chr(number).encode()
            rest = rest[end:]
        else:
            octets, rest = octets + {"n": b"\n", "t": b"\t", "r": b"\r", "\\": b"\\"}[rest[1]], rest[2:]
    return octets


def test_printable_text_stays_as_it_is() -> None:
    assert r"a \ b" == printable(r"a \ b")
    assert r"a \\ b" == shown(r"a \ b")
    assert r"$'a\\\xff\''" == quoted("a\\\udcff'")
    assert r"\U000e0001" == printable("\U000e0001")
