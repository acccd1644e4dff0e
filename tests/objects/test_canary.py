"""Credentials are in no text: not in errors, tracebacks with locals, logs, what commands print, or a text in memory."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from steelyard.errors import InvalidArgument, SteelyardError
from steelyard.objects import ObjectAddress, ObjectStore
from steelyard.objects._credentials import client_options

from .canary import SECRETS, assert_no_secret, texts_of
from .lying import lying_server
from .proxy import FAULTS, fault_proxy
from .s3 import KEYS

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("keys")]

SECRET, TOKEN = KEYS["AWS_SECRET_ACCESS_KEY"], "canary-token-77aa01"
ALL = (*SECRETS, TOKEN)


@pytest.fixture
def profile(keys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the credentials in a shared file, from where Python reads them; the environment is read by the native client alone."""
    del keys
    for name in KEYS:
        monkeypatch.delenv(name)
    file = tmp_path / "credentials"
    file.write_text(
        f"[work]\naws_access_key_id = {KEYS['AWS_ACCESS_KEY_ID']}\naws_secret_access_key = {SECRET}\n"
        f"aws_session_token = {TOKEN}\nregion = us-east-1\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "work")
    return file


def test_the_search_finds_a_secret_in_a_local_of_an_error_that_is_behind_it() -> None:
    """Otherwise it would prove nothing."""
    namespace: dict[str, object] = {}
    code = "def fail(secret):\n try:\n  int(secret)\n except ValueError:\n  raise KeyError from None\n"
    exec(compile(code, "module.py", "exec"), namespace)
    with pytest.raises(KeyError) as caught:
        namespace["fail"](SECRET)  # type: ignore[operator]

    assert any(SECRET in text for text in texts_of(caught.value))
    with pytest.raises(AssertionError):
        assert_no_secret(caught.value)


@pytest.mark.usefixtures("profile")
def test_settings_do_not_show_their_values() -> None:
    settings = client_options(ObjectAddress.parse("s3://bucket"))

    assert (SECRET, TOKEN) == (settings["secret_access_key"], settings["token"])
    for text in (repr(settings), str(settings), f"{settings}", f"{settings!r}"):
        assert not any(secret in text for secret in ALL)
        assert "secret_access_key" in text


@pytest.mark.parametrize("line", ["aws_secret_access_key", "[work", "[work]\nx = 1\n[work]\n"])
def test_a_broken_shared_file_leaves_nothing_behind(profile: Path, line: str) -> None:
    profile.write_text(profile.read_text(encoding="utf-8") + f"{line} {SECRET}\n", encoding="utf-8")

    with pytest.raises(InvalidArgument) as caught:
        client_options(ObjectAddress.parse("s3://bucket"))
    assert_no_secret(caught.value, ALL)


@pytest.mark.usefixtures("profile")
async def test_errors_at_open_have_no_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with lying_server() as endpoint:
        for address in (
            f"s3://bucket/p?endpoint={endpoint}",
            "s3://bucket/p?endpoint=http://127.0.0.1:1",
            "s3://bucket/p?endpoint=http://host.invalid",
            "s3://bucket/p?endpoint=https://127.0.0.1:1",
        ):
            store = ObjectStore(address, spool=tmp_path / "spool", retries=0, timeout=5)
            with pytest.raises(SteelyardError) as caught:
                await store.aopen()
            assert_no_secret(caught.value, ALL)
            assert not any(secret in repr(vars(store)) for secret in ALL)
    assert not any(secret in caplog.text for secret in ALL)


async def fails(call: Callable[[], Awaitable[object]]) -> None:
    """Check that the error of a call, if it has one, has no secret."""
    try:
        await call()
    except (SteelyardError, StopAsyncIteration) as error:
        assert_no_secret(error)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
async def test_errors_of_requests_have_no_secret(
    versitygw: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    """`test_faults.py` looks at each of its errors; here are the calls that it lacks."""
    caplog.set_level(logging.DEBUG)
    with fault_proxy(versitygw) as proxy:
        address = f"s3://bucket/{uuid4().hex}?endpoint={proxy.address}"
        async with ObjectStore(address, spool=tmp_path / "spool", retries=0, timeout=5) as store:
            proxy.plan(fault, lasting=True)
            async with anyio.create_task_group() as tasks:  # as each may wait for its whole time
                for call in (store.stats, store.server, store.quarantined, lambda: anext(store.uploads())):
                    tasks.start_soon(fails, call)
            proxy.plan(None)
    assert not any(secret in caplog.text for secret in SECRETS)


@pytest.mark.slow
def test_commands_print_no_secret(versitygw: str, tmp_path: Path, profile: Path) -> None:
    """With --debug, which prints tracebacks: with the right credentials, and with wrong ones."""
    text = re.sub("aws_session_token.*\n", "", profile.read_text(encoding="utf-8"))
    profile.write_text(text, encoding="utf-8")
    wrong = tmp_path / "wrong"
    wrong.write_text(text.replace(SECRET, SECRET + "wrong"), encoding="utf-8")
    address = f"s3://bucket/{uuid4().hex}?endpoint={versitygw}"
    for file, code in ((profile, 0), (wrong, 1)):
        for words in (["put", str(tmp_path / "file")], ["doctor"], ["ls"], ["ls", "--format", "json"]):
            (tmp_path / "file").write_bytes(b"data")
            program = "import sys; from steelyard.cli import main; sys.exit(main())"
            done = subprocess.run(
                [sys.executable, "-X", "dev", "-c", program, "--debug", *words],
                env=os.environ
                | {
                    "PYTHONPATH": os.pathsep.join(sys.path),
                    "STEELYARD_STORE": address,
                    "XDG_CACHE_HOME": str(tmp_path / "cache"),
                    "AWS_SHARED_CREDENTIALS_FILE": str(file),
                },
                capture_output=True,
                text=True,
            )
            assert code == done.returncode, (words, done.stderr)
            assert not any(secret in done.stdout + done.stderr for secret in ALL)


PROGRAM = """
import os, sys, anyio
from steelyard.objects import ObjectStore
from steelyard.errors import SteelyardError
async def main(address, spool):
    async with ObjectStore(address, spool=spool) as store:
        await store.put(b"data", labels={"a": "b"})
        try:
            await store.get("sha256:" + 64 * "0")
        except SteelyardError as error:
            print(repr(error), store, vars(store), file=sys.stderr)
        if "SHOW" in os.environ:
            with open(os.environ["AWS_SHARED_CREDENTIALS_FILE"]) as file:
                shown = repr(file.read().split())
        print("ready", flush=True)
        sys.stdin.read()
anyio.run(main, *sys.argv[1:])
"""

WRITTEN_OUT = re.compile(rb"""["'=:]\s?""" + SECRET.encode() + rb"""|""" + SECRET.encode() + rb"""['"]""")
"""The secret as a text shows it: as the value of a field, or in quotes."""


@pytest.mark.slow
@pytest.mark.parametrize("shows", [False, True])
def test_memory_has_no_text_with_the_secret(versitygw: str, tmp_path: Path, profile: Path, *, shows: bool) -> None:
    """Unless a program makes one, which the search has to find. The secret itself is there, as requests are signed with it; what formats it would leave it written out."""
    profile.write_text(re.sub("aws_session_token.*\n", "", profile.read_text(encoding="utf-8")), encoding="utf-8")
    text = profile.read_text(encoding="utf-8").replace(" = ", "\t=\t")  # not as a text of ours has it
    profile.write_text(text, encoding="utf-8")
    address = f"s3://bucket/{uuid4().hex}?endpoint={versitygw}"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | ({"SHOW": "1"} if shows else {})
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, address, str(tmp_path / "spool")],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert b"ready\n" == process.stdout.readline()
        memory = list(_memory(process.pid))
        _, printed = process.communicate()
    assert 0 == process.returncode, printed
    assert SECRET.encode() not in printed
    assert any(SECRET.encode() in each for each in memory)
    assert shows == any(WRITTEN_OUT.search(each) for each in memory)


def _memory(process: int) -> list[bytes]:
    """Return the memory of a process that can be written."""
    found = []
    with (
        Path(f"/proc/{process}/maps").open(encoding="ascii") as maps,
        Path(f"/proc/{process}/mem").open("rb", 0) as memory,
    ):
        for line in maps:
            extent, access, *_ = line.split()
            start, end = (int(number, 16) for number in extent.split("-"))
            if access.startswith("rw"):
                memory.seek(start)
                try:
                    found.append(memory.read(end - start))
                except OSError:
                    continue  # memory of a device
    return found
