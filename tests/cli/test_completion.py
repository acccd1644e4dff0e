"""Completion scripts, and what they ask the command for."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from .runner import COMMAND, Shell, sha256


@pytest.mark.parametrize("name", ["bash", "zsh", "fish", "powershell"])
def test_every_shell_gets_a_script_with_all_commands(shell: Shell, name: str) -> None:
    script = shell.run("completion", name).out

    for word in ("put", "ingests", "verify", "--store", "--format"):
        assert word in script
    if shutil.which(name):
        subprocess.run([name, "-n"], input=script, text=True, check=True)


def test_install_writes_where_the_shell_looks(shell: Shell) -> None:
    done = shell.run("completion", "bash", "--install")

    assert shell.home in shell.home.joinpath(done.out.strip()).parents
    assert done.out.strip() in (shell.home / ".bashrc").read_text()


def test_bash_completes_commands_options_and_digests(stocked: Shell) -> None:
    script = stocked.run("completion", "bash").out
    wrapper = stocked.home / "steelyard"
    wrapper.write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
    wrapper.chmod(0o755)

    def complete(*words: str) -> set[str]:
        line = " ".join(f"'{word}'" for word in (str(wrapper), *words))
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
