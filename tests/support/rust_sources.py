"""Reads the sources of a Rust crate: which file uses which, and what is code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Module = tuple[str, ...]
"""The path of a module, `()` for the crate itself. Each is one file."""

RUST_TEXT = re.compile(
    r"""//[^\n]* | /\*.*?\*/ | b?r(?P<hashes>\#*)".*?"(?P=hashes) | b?"(?:\\.|[^"\\])*" | b?'(?:\\[^']+|\\'|[^\\'])'""",
    re.DOTALL | re.VERBOSE,
)
"""A comment, a string or a character."""

_USE = re.compile(r"(?P<visible>\bpub\s+)?\buse\s+(?P<tree>[^;]+);")
_VISIBILITY = re.compile(r"\bpub\([^)]*\)")
_ITEM = re.compile(r"#\[cfg\((?:all\()?test\b[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*")


def blanked(text: str) -> str:
    """Replace comments, strings and characters by blanks, so that every brace left is code."""
    return RUST_TEXT.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def shipped(text: str) -> str:
    """Blank the items that only tests have; comments and strings stay."""
    code = blanked(text)
    for match in reversed(list(_ITEM.finditer(code))):
        end = _end_of_item(code, match.end())
        text = text[: match.start()] + re.sub(r"[^\n]", " ", text[match.start() : end]) + text[end:]
    return text


def _end_of_item(code: str, start: int) -> int:
    depth = 0
    for end in range(start, len(code)):
        depth += (code[end] in "([{") - (code[end] in ")]}")
        if depth == 0 and code[end] in ";}":
            return end + 1
    return len(code)


def expanded(tree: str) -> Iterator[tuple[str, str]]:
    """Yield the path of each name in a `use` tree, and what the name is called here."""
    before, brace, inside = tree.strip().partition("{")
    if not brace:
        path, _, alias = tree.strip().partition(" as ")
        path = path.strip().removesuffix("::self")
        yield path, alias.strip() or path.rpartition("::")[2]
        return
    depth, part = 0, ""
    for char in inside.rpartition("}")[0] + ",":
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            if part.strip():
                yield from expanded(before + part.strip())
            part = ""
        else:
            part += char


@dataclass(frozen=True)
class _Source:
    code: str
    imports: tuple[tuple[str, str], ...]
    """Path and name of everything that a `use` brings in."""
    exports: tuple[tuple[str, str], ...]
    """Likewise for `pub use`."""


class Crate:
    """The modules of a crate, without those that only tests have."""

    def __init__(self, src: Path) -> None:
        self.src = src
        self.files: dict[Module, Path] = {}
        self._sources: dict[Module, _Source] = {}
        self._edges: dict[Module, set[Module]] = {}
        self._read(src / "lib.rs", ())

    def _read(self, path: Path, module: Module) -> None:
        text = _VISIBILITY.sub("pub", blanked(shipped(path.read_text(encoding="utf-8"))))
        uses = list(_USE.finditer(text))
        trees = [(bool(use["visible"]), list(expanded(re.sub(r"\s+", " ", use["tree"])))) for use in uses]
        self.files[module] = path
        self._sources[module] = _Source(
            code=_USE.sub("", text),
            imports=tuple(pair for visible, pairs in trees if not visible for pair in pairs),
            exports=tuple(pair for visible, pairs in trees if visible for pair in pairs),
        )
        inner = path.parent if path.name in {"lib.rs", "mod.rs"} else path.with_suffix("")
        for name in re.findall(r"\bmod\s+(\w+)\s*;", text):
            file = inner / f"{name}.rs"
            self._read(file if file.exists() else inner / name / "mod.rs", (*module, name))

    def edges(self) -> dict[Module, set[Module]]:
        """Return the files that each file uses.

        A name that a module only passes on leads to the file that has it. `mod` and re-exports do not count.
        """
        if not self._edges:
            self._edges = {module: self._used_by(module) - {module} for module in self.files}
        return self._edges

    def _used_by(self, module: Module) -> set[Module]:
        source = self._sources[module]
        children = {path[-1] for path in self.files if path[:-1] == module and path}
        first = "|".join(["crate", "super", "self", *sorted(children)])
        inline = re.findall(rf"(?<![\w:])(?:{first})(?:\s*::\s*\w+)+", source.code)
        paths = [path for path, _ in source.imports] + [re.sub(r"\s+", "", path) for path in inline]
        found = (self._target(module, path) for path in paths)
        return {target for target in found if target is not None}

    def _target(self, module: Module, path: str, seen: frozenset[tuple[Module, str]] = frozenset()) -> Module | None:
        """Return the file that has what a path in a module leads to; None if it is outside of the crate."""
        names = path.split("::")
        start: Module = module
        if names[0] == "crate":
            start, names = (), names[1:]
        elif names[0] == "self":
            names = names[1:]
        elif names[0] == "super":
            while names and names[0] == "super":
                start, names = start[:-1], names[1:]
        elif (*module, names[0]) not in self.files:
            # A crate, or a name that another `use` of this module has brought in, which counts by itself.
            return None
        while names and (*start, names[0]) in self.files:
            start, names = (*start, names[0]), names[1:]
        if not names or (start, names[0]) in seen:
            return start
        source = self._sources[start]
        for passed_on, name in (*source.exports, *source.imports):
            if name == names[0]:
                return self._target(start, passed_on, seen | {(start, name)}) or start
        return start


def circles(edges: dict[Module, set[Module]]) -> list[set[Module]]:
    """Return the groups of files that use each other in a circle."""
    reached = {module: _reached(edges, module) for module in edges}
    groups = {frozenset({module} | {o for o in reached[module] if module in reached[o]}) for module in edges}
    return [set(group) for group in groups if len(group) > 1]


def _reached(edges: dict[Module, set[Module]], start: Module) -> set[Module]:
    reached: set[Module] = set()
    waiting = list(edges[start])
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting.extend(edges[module])
    return reached
