"""Completion in shells: the scripts, and the candidates that they request.

A script has no list of commands: it calls `steelyard __complete WORDS...`, so it is never out of date.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from steelyard.cli.commands import COMMANDS, GROUPS, OPTIONS, function_of, split
from steelyard.cli.parameters import Argument, arguments_of
from steelyard.cli.parse import options_by_name, positional
from steelyard.cli.printing import printable

__all__ = ("SCRIPTS", "install", "offer")

SCRIPTS = {
    "bash": r"""# steelyard completion
_steelyard() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        printf -v line %q "${line%%$'\t'*}"
        COMPREPLY+=("$line")
    done < <("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _steelyard steelyard
""",
    "zsh": r"""#compdef steelyard
_steelyard() {
    local -a values shown
    local line command=$words[1]
    (( $+commands[$command] )) || [[ -x $command ]] || command=steelyard
    for line in "${(@f)$($command __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        [[ -n $line ]] || continue
        values+=("${line%%$'\t'*}")
        shown+=("${line/$'\t'/ -- }")
    done
    if (( $#values )); then compadd -d shown -a values; else _files; fi
}
if [[ $funcstack[1] == _steelyard ]]; then _steelyard "$@"; else compdef _steelyard steelyard; fi
""",
    "fish": r"""# steelyard completion
function __steelyard_complete
    set -l words (commandline -opc)
    set -l command $words[1]
    set -e words[1]
    $command __complete $words "$(commandline -ct)" 2>/dev/null
end
complete -c steelyard -a '(__steelyard_complete)'
""",
    "powershell": r"""# steelyard completion
Register-ArgumentCompleter -Native -CommandName steelyard -ScriptBlock {
    param($word, $ast, $position)
    $words = @($ast.CommandElements | Select-Object -Skip 1 | Where-Object { $_.Extent.EndOffset -lt $position } |
        ForEach-Object { $_.Extent.Text })
    & $ast.CommandElements[0].Extent.Text __complete @words $word 2>$null | ForEach-Object {
        $value, $text = $_ -split "`t", 2
        if (-not $text) { $text = $value }
        [System.Management.Automation.CompletionResult]::new($value, $value, 'ParameterValue', $text)
    }
}
""",
}
"""The script of each shell."""


def offer(words: Sequence[str]) -> int:
    """Print the candidates for the last of these words, each with a description. Without any, shells offer file names."""
    *before, word = _joined(words) or [""]
    line = split(before)
    if line.unknown is None:
        for value, text in _candidates(line.name, line.rest, before, word):
            if value.startswith(word):
                print(printable(value), printable(text), sep="\t")
    return 0


def _joined(words: Sequence[str]) -> list[str]:
    """Join the words that bash has split: it also ends words at ``=`` and ``:``. Only the hex digits of a digest are left."""
    joined: list[str] = []
    for place, word in enumerate(words):
        if word == ":" and joined:
            joined.pop()
            if place == len(words) - 1:
                joined.append("")
        elif word != "=":
            joined.append(word)
        elif place == len(words) - 1:
            joined.append("")
    return joined


def _candidates(name: str, rest: Sequence[str], before: Sequence[str], word: str) -> Iterator[tuple[str, str]]:
    own = arguments_of(function_of(name)) if name in COMMANDS else []
    options = options_by_name([*own, *OPTIONS])
    store = next((value for option, value in pairwise(before) if option == "--store"), None)
    option, equals, value = word.partition("=")
    if before and before[-1] in options and not options[before[-1]].is_flag:
        yield from _values_of(options[before[-1]], word, store)
    elif equals and option in options:
        yield from ((f"{option}={one}", text) for one, text in _values_of(options[option], value, store))
    elif word.startswith("-"):
        yield from ((name, one.help) for name, one in options.items())
        yield from (("--help", "Show this help."), ("-h", "Show this help."))
    elif name not in COMMANDS:
        yield from _commands(name)
    else:
        yield from _values_of(_place_of(rest, own, options), word, store)


def _commands(group: str) -> Iterator[tuple[str, str]]:
    for name, text in ({name: text for name, (_, text) in COMMANDS.items()} | GROUPS).items():
        first, _, second = name.partition(" ")
        if first == group and second:
            yield second, text
        elif not group and not second:
            yield first, text


def _place_of(rest: Sequence[str], own: Sequence[Argument], options: dict[str, Argument]) -> Argument | None:
    """Return the positional argument that comes next."""
    places = [one for one in own if one.positional]
    for _ in positional(rest, options):
        if places and not places[0].many:
            places.pop(0)
    return places[0] if places else None


def _values_of(one: Argument | None, word: str, store: str | None) -> Iterable[tuple[str, str]]:
    if one is None:
        return ()
    if one.completer is not None:
        return one.completer(word, store)
    return [(choice, "") for choice in one.choices]


def install(shell: str, output: Path | None) -> Path:
    """Write the script to the shell's directory, make the start-up file load it, and return the path of the script."""
    home = Path.home()
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    script, start, load = {
        "bash": (
            data / "bash-completion" / "completions" / "steelyard",
            home / ".bashrc",
            ("[ -f {0} ] && . {0}",),
        ),
        "zsh": (
            home / ".zsh" / "completions" / "_steelyard",
            Path(os.environ.get("ZDOTDIR") or home) / ".zshrc",
            ("(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit -i }}", "[[ -f {0} ]] && source {0}"),
        ),
        "fish": (config / "fish" / "completions" / "steelyard.fish", None, ()),
        "powershell": (
            config / "powershell" / "steelyard.ps1",
            config / "powershell" / "profile.ps1",
            ("if (Test-Path {0}) {{ . {0} }}",),
        ),
    }[shell]
    script = output or script
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(SCRIPTS[shell], "utf-8")
    if start is not None:
        word = shlex.quote(str(script))
        _add_lines(start, ["# steelyard completion", *(line.format(word) for line in load)])
    return script


def _add_lines(start: Path, lines: Sequence[str]) -> None:
    """Add lines to the end of a start-up file, unless it already has them."""
    text = start.read_text("utf-8") if start.exists() else ""
    if lines[-1] not in text:
        gap = "" if text.endswith("\n") or not text else "\n"
        start.parent.mkdir(parents=True, exist_ok=True)
        start.write_text(text + gap + "\n".join(lines) + "\n", "utf-8")
