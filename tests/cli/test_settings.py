"""Where options come from, and `doctor`, which shows it."""

from __future__ import annotations

from typing import Any

import pytest

import steelyard

from .runner import Shell, sha256


def settings(shell: Shell, *words: str, **environment: str) -> dict[str, Any]:
    """Return the settings that hold, as `doctor` shows them."""
    done = shell.run("doctor", "--format", "json", *words, code=0, stdin=b"", **environment)
    found = done.document["settings"]
    assert isinstance(found, dict)
    return found


def test_flag_environment_file_default_in_that_order(shell: Shell) -> None:
    folder = shell.home / "config" / "steelyard"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('store = "beside"\nbackend = "trio"\ndurability = "process-crash"\n')
    for store in ("flag", "env", "config/steelyard/beside", "data/steelyard/store"):
        shell.run("--store", store, "put", "-", stdin=b"x")

    flag = settings(shell, "--store", "flag", "--backend", "asyncio", STEELYARD_BACKEND="trio", STEELYARD_STORE="env")
    variable = settings(shell, STEELYARD_STORE="env", STEELYARD_DURABILITY="power-loss")
    file = settings(shell, STEELYARD_STORE="")
    (folder / "config.toml").unlink()
    default = settings(shell, STEELYARD_STORE="")

    config = str(folder / "config.toml")
    assert {"value": str(shell.home / "flag"), "origin": "--store"} == flag["store"]
    assert {"value": "asyncio", "origin": "--backend"} == flag["backend"]
    assert {"value": str(shell.home / "env"), "origin": "STEELYARD_STORE"} == variable["store"]
    assert {"value": "power-loss", "origin": "STEELYARD_DURABILITY"} == variable["durability"]
    assert {"value": str(folder / "beside"), "origin": config} == file["store"]
    assert {"value": "trio", "origin": config} == file["backend"]
    assert {"value": str(shell.home / "data" / "steelyard" / "store"), "origin": "default"} == default["store"]


def test_a_config_file_that_is_not_understood_is_named(shell: Shell) -> None:
    folder = shell.home / "config" / "steelyard"
    folder.mkdir(parents=True)
    wrong = (
        ("store = [", "not valid TOML"),
        ("sotre = 'x'", "unknown key 'sotre'"),
        ("store = 3", "store: expected text in quotes, found 3"),
        ("format = 'xml'", "format 'xml': expected one of text, json, jsonl"),
    )
    for text, message in wrong:
        (folder / "config.toml").write_text(text)

        done = shell.run("ls", code=2)

        assert str(folder / "config.toml") in done.err
        assert message in done.err


def test_doctor_shows_versions_the_file_system_and_health(own: Shell) -> None:
    shown = own.run("doctor").out

    found = own.run("doctor", "--format", "json").document
    assert {"steelyard", "python", "platform", "sqlite", "anyio", "msgspec", "rich"} <= found["versions"].keys()
    assert found["ok"] is True
    assert found["store"]["writable"] is True
    assert ["metadata", "blobs", "quarantine", "ingests"] == [check["name"] for check in found["checks"]]
    assert "ok    metadata: readable" in shown
    assert f"store       {own.store}  (from STEELYARD_STORE)" in shown


def test_doctor_finds_damaged_metadata_and_rebuilds_it(own: Shell) -> None:
    digest = sha256(b"")
    own.run("label", digest, "a=b")
    for name in ("meta.db-wal", "meta.db-shm"):
        (own.store / name).unlink(missing_ok=True)
    (own.store / "meta.db").write_bytes(b"this is no database" * 1000)

    broken = own.run("doctor", "--format", "json", code=1)

    assert broken.document["ok"] is False
    assert "next: steelyard doctor --rebuild" in own.run("doctor", code=1).out
    assert b"" == own.run("get", digest).raw
    assert own.run("label", digest, "a=b", code=5).err.endswith("next: steelyard doctor --rebuild\n")
    assert own.run("doctor", "--rebuild", "--format", "json").document["rebuilt"]
    assert own.run("doctor", "--format", "json").document["ok"] is True
    own.run("label", digest, "a=b")


def test_doctor_without_a_store_still_tells_what_it_can(shell: Shell) -> None:
    done = shell.run("doctor", "--format", "json", code=3)

    assert done.document["ok"] is False
    assert done.document["store"] == {"path": str(shell.store), "exists": False}


def test_the_version_is_that_of_the_distribution(shell: Shell) -> None:
    assert "steelyard" == steelyard.__name__
    assert ["steelyard"] == shell.run("--version").out.split()[:1]


def test_an_empty_store_and_an_unknown_scheme_are_refused(shell: Shell) -> None:
    (shell.home / "file").write_bytes(b"x")
    folder = shell.home / "config" / "steelyard"
    folder.mkdir(parents=True)
    before = sorted(shell.home.rglob("*"))

    for words, environment, told in (
        (["--store", "", "put", "file"], {}, "--store: expected a path or an address, found ''"),
        (["--store", "gs://bucket", "put", "file"], {}, "--store: gs://bucket: unknown scheme 'gs'"),
        (["put", "file"], {"STEELYARD_STORE": "gs://bucket"}, "STEELYARD_STORE: gs://bucket: unknown scheme 'gs'"),
        (["import", "docker://alpine"], {}, "docker://alpine: unknown scheme 'docker'"),
        (["cp", "http://host/", "elsewhere", "--all"], {}, "http://host/: unknown scheme 'http'"),
        (["cp", "", "elsewhere", "--all"], {}, "expected a path or an address, found ''"),
    ):
        assert told in shell.run(*words, code=2, stdin=b"", **environment).err
    (folder / "config.toml").write_text('store = ""\n')
    assert "config.toml: expected a path" in shell.run("put", "file", code=2, STEELYARD_STORE="").err
    (folder / "config.toml").unlink()
    left = set(shell.home.rglob("*")) - set(before)

    assert not left
    shell.run("--store", "./s3://bucket", "put", "file")
    assert (shell.home / "s3:" / "bucket" / "steelyard.json").is_file()


def test_a_directory_that_is_no_store_is_not_taken_for_an_empty_one(shell: Shell) -> None:
    (shell.home / "photos").mkdir()
    (shell.home / "photos" / "photo").write_bytes(b"x")

    for command in ("ls", "verify --all", "stat", "ingests", "images ls", "get 00000000", "rm 00000000", "doctor"):
        told = shell.run("--store", "photos", *command.split(), code=3)
        assert "photos (from --store): not a store: it has neither steelyard.json nor blobs/" in told.err
        assert "0 blobs" not in told.out + told.err
    assert ["photo"] == [path.name for path in (shell.home / "photos").iterdir()]


@pytest.mark.parametrize("words", [["put", "file"], ["import", "layout"], ["cp", "source", "other", "--all"]], ids=repr)
def test_no_store_is_made_among_other_files(shell: Shell, words: list[str]) -> None:
    other, source = shell.home / "other", shell.home / "source"
    other.mkdir()
    (other / "two\nlines").write_bytes(b"")
    (other / "z").mkdir()
    (shell.home / "file").write_bytes(b"data")
    shell.run("--store", source, "put", "file")
    (shell.home / "layout").mkdir()
    for name, text in (
        ("oci-layout", '{"imageLayoutVersion": "1.0.0"}'),
        ("index.json", '{"schemaVersion": 2, "manifests": []}'),
    ):
        (shell.home / "layout" / name).write_text(text)
    options = [] if words[0] == "cp" else ["--store", "other"]

    told = shell.run(*options, *words, code=2).err

    assert r"not a store, and not empty: found two\nlines and 1 more" in told
    assert {"two\nlines", "z"} == {path.name for path in other.iterdir()}
    (other / "blobs").mkdir()
    shell.run(*options, *words)
    assert (other / "steelyard.json").is_file()


def test_a_new_store_goes_into_an_empty_directory_and_a_half_made_one_is_completed(shell: Shell) -> None:
    (shell.home / "file").write_bytes(b"data")
    for number, names in enumerate([[], ["lost+found/"], ["ingest/", "lock", "meta.db", "meta.db-wal"]]):
        root = shell.home / str(number)
        root.mkdir()
        for name in names:
            (root / name).mkdir() if name.endswith("/") else (root / name).touch()
        shell.run("--store", root, "put", "file")
