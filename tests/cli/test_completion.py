"""Completion scripts, and what they ask the command for."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from foreign.programs import needs

from steelyard.cli import serve  # noqa: F401  # gRPC keeps a descriptor from its import on, which is not a test's
from steelyard.cli.commands import COMMANDS, GROUPS, OPTIONS, function_of
from steelyard.cli.parameters import arguments_of

from .runner import COMMAND, Shell, sha256

ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[=>])|\r|.\x08")


def wrapper(shell: Shell) -> Path:
    """Make the command as shells find it, in a directory of its own."""
    path = shell.home / "bin" / "steelyard"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
    path.chmod(0o755)
    return path


def type_and_see(terminal: int, keys: str, expected: str) -> None:
    """Type on a terminal, and read until the text is shown there."""
    os.write(terminal, keys.encode())
    shown, end = b"", time.monotonic() + 30
    while expected not in ESCAPES.sub("", shown.decode("utf-8", "replace")):
        ready, _, _ = select.select([terminal], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"no {expected!r} in {shown!r}"
        shown += os.read(terminal, 65536)


@pytest.mark.parametrize("name", ["bash", "zsh", "fish", "powershell"])
def test_every_shell_gets_a_script_that_asks_the_command(shell: Shell, name: str) -> None:
    script = shell.run("completion", name).out

    assert " __complete " in script
    if shutil.which(name):
        subprocess.run([name, "-n"], input=script, text=True, check=True)


def test_all_commands_and_options_are_offered(shell: Shell) -> None:
    def offered(*words: str) -> set[str]:
        return {line.partition("\t")[0] for line in shell.run("__complete", *words).lines}

    names = {tuple(name.split()) for name in COMMANDS}
    assert {words[0] for words in names} == offered("") == offered("--store", "other-store", "")
    for group in GROUPS:
        assert {words[1] for words in names if words[0] == group} == offered(group, "")
    for name in COMMANDS:
        options = {option for one in arguments_of(function_of(name)) if not one.positional for option in one.names}
        common = {option for one in OPTIONS for option in one.names} | {"--help", "-h"}
        assert options | common == offered(*name.split(), "-")
    assert {"json", "jsonl"} == offered("ls", "--format", "js")
    assert {"--format=json", "--format=jsonl"} == offered("ls", "--format=js")
    assert {"bash"} == offered("completion", "ba")
    assert set() == offered("nosuch", "") == offered("put", "")  # shells complete file names


def test_install_writes_where_the_shell_looks(shell: Shell) -> None:
    done = shell.run("completion", "bash", "--install")

    assert shell.home in shell.home.joinpath(done.out.strip()).parents
    assert done.out.strip() in (shell.home / ".bashrc").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("before", [None, "autoload -Uz compinit && compinit\nPS1='$ '"], ids=["new", "with compinit"])
def test_zsh_completes_after_an_install(shell: Shell, before: str | None) -> None:
    needs("zsh")
    start = shell.home / ".zshrc"
    if before is not None:
        start.write_text(before)
    for _ in range(2):  # the second time changes nothing
        shell.run("completion", "zsh", "--install")
    shell.run("put", "-", stdin=b"wax")
    digits = sha256(b"wax")[7:]

    assert 1 == start.read_text().count("/completions/_steelyard ]] && source")
    path = f"{wrapper(shell).parent}:{shell.environment['PATH']}"
    environment = {name: value for name, value in shell.environment.items() if name not in {"ZDOTDIR", "ZSH"}}
    leader, follower = pty.openpty()
    command = ["zsh", "-i"]
    with subprocess.Popen(
        command,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        cwd=shell.home,
        env=environment | {"PATH": path},
    ) as process:
        os.close(follower)
        try:
            type_and_see(leader, "echo rea''dy\n", "\nready")
            type_and_see(leader, "steelyard inge\t", "steelyard ingests ")
            type_and_see(leader, f"\x15steelyard get {digits[:12]}\t", digits)
        finally:
            process.kill()
            os.close(leader)


def test_bash_completes_commands_options_and_digests(stocked: Shell) -> None:
    script = stocked.run("completion", "bash").out
    command = wrapper(stocked)

    def complete(*words: str) -> set[str]:
        line = " ".join(f"'{word}'" for word in (str(command), *words))
        asked = (
            f"{script}\nCOMP_WORDS=({line}); COMP_CWORD={len(words)}; _steelyard; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        )
        done = subprocess.run(
            ["bash", "-c", asked], env=stocked.environment, capture_output=True, text=True, check=True
        )
        return set(done.stdout.split())

    assert {"info", "ingests"} == complete("in")
    assert {"--format"} == complete("ls", "--fo")
    assert {"jsonl", "json"} == complete("ls", "--format", "js")
    empty = sha256(b"")
    assert {empty.replace(":", "\\:"), empty} & complete("get", empty[:12])
    assert {empty[7:]} == complete("get", empty[7:15])


def test_refs_are_completed_from_the_store_on_the_command_line(shell: Shell) -> None:
    words = ["put", "-", "--ref", "half-done", "--expected", sha256(b"y"), "--store", "elsewhere"]
    shell.run(*words, stdin=b"x", code=5)

    offered = shell.run("__complete", "abort", "--store", "elsewhere", "ha").out

    assert "half-done\t1 B" in offered
    assert "half-done" not in shell.run("__complete", "abort", "ha").out
