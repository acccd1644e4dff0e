"""Help, and the page that documents the command line: neither may fall behind the code."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

import msgspec
import pytest

from steelyard import filters
from steelyard.cli import records, tree_records
from steelyard.cli.commands import COMMANDS, OPTIONS, Options, function_of
from steelyard.cli.exits import MEANINGS
from steelyard.cli.parameters import arguments_of
from steelyard.cli.topics import FILTERS

from .runner import Shell

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
RECORDS = [
    kind
    for module in (records, tree_records)
    for kind in vars(module).values()
    if inspect.isclass(kind) and issubclass(kind, records.Record) and kind.__module__ == module.__name__
]


def section(name: str) -> str:
    """Return what the page says of a command."""
    return PAGE.partition(f"\n### `{name}")[2].partition("\n### ")[0].partition("\n## ")[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_in_the_list_is_that_of_the_docstring(name: str) -> None:
    assert COMMANDS[name][1] == (inspect.getdoc(function_of(name)) or "").splitlines()[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained_in_help_and_on_the_page(name: str) -> None:
    own = arguments_of(function_of(name))

    assert section(name), f"docs/cli.md does not describe {name}"
    assert [] == [argument.names for argument in own if not argument.help]
    options = [option for argument in own for option in argument.names if option.startswith("-")]
    assert [] == [option for option in options if f"`{option}" not in section(name)]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_usage_line_is_that_of_the_page(shell: Shell, name: str) -> None:
    usage = shell.run(*name.split(), "--help").lines[0]

    (heading,) = re.findall(rf"^### `({name}(?: [A-Z\[].*)?)`$", PAGE, re.MULTILINE)
    assert f"Usage: steelyard {heading}".replace("…", "...") == usage.replace(" [OPTIONS]", "")
    assert "ARGS" not in usage


def test_help_takes_commands_of_two_words(shell: Shell) -> None:
    assert shell.run("images", "check", "--help").out == shell.run("help", "images", "check").out


def test_the_options_of_every_command_are_on_the_page() -> None:
    assert [one.parameter for one in OPTIONS] == list(Options._fields)
    assert [] == [one.names for one in OPTIONS if not one.help or f"`{one.names[0]}" not in PAGE]


def test_the_page_names_no_option_that_does_not_exist() -> None:
    known = {
        "--help",
        "--version",
        *(name for one in OPTIONS for name in one.names),
    }
    for name in COMMANDS:
        known |= {option for argument in arguments_of(function_of(name)) for option in argument.names}

    assert set() == set(re.findall(r"`(--[a-z-]+)", PAGE)) - known


def test_exit_codes_on_the_page_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", PAGE, re.MULTILINE)

    assert [(str(int(code)), meaning.replace("|", "\\|")) for code, meaning in MEANINGS.items()] == rows


@pytest.mark.parametrize(
    "kind", [kind for kind in RECORDS if kind is not records.Record], ids=lambda kind: kind.__name__
)
def test_records_have_the_documented_fields(kind: type[records.Record]) -> None:
    config = msgspec.inspect.type_info(kind)
    assert isinstance(config, msgspec.inspect.StructType)
    fields = PAGE.partition("| `type` | Fields |")[2]
    (row,) = re.findall(rf"^\| `{config.tag}` \| (.*) \|$", fields, re.MULTILINE)

    assert [field.name for field in config.fields] == re.findall(r"`(\w+)`", row)


def test_the_examples_of_filters_are_filters() -> None:
    examples = [re.split(r" {2,}", line.strip())[0] for line in FILTERS.splitlines() if line.startswith("  ")]
    words = [shlex.split(text.replace("--filter ", "")) for text in examples]
    commands = [each[2] if each[:1] == ["steelyard"] else text for each, text in zip(words, examples, strict=True)]

    assert len(commands) == len(filters.compile(*commands).texts)
    assert {"labels.kind", "ref~=^put:"} <= set(commands)


def test_help_on_commands_and_topics(shell: Shell) -> None:
    assert "List unfinished ingests." in shell.run("help", "ingests").out
    assert "--dry-run" in shell.run("abort", "--help").out
    assert "labels.kind==layer" in shell.run("help", "filters").out
    assert "STEELYARD_STORE" in shell.run("help", "config").out
    assert "expected one of exit-codes" in shell.run("help", "everything", code=2).err
    for words in ([], ["--help"], ["help"]):
        assert "Usage: steelyard COMMAND" in shell.run(*words).out
