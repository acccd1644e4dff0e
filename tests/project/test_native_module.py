"""How the extension module is made: nothing of it before the check that refuses a subinterpreter."""

from __future__ import annotations

import re
from pathlib import Path

from steelyard import _native

SOURCES = sorted((Path(__file__).parents[2] / "rust" / "py" / "src").glob("**/*.rs"))
REGISTERED = re.compile(r"add_class::<(?:\w+::)*(\w+)>|add_function\(wrap_pyfunction!\((?:\w+::)*(\w+),")
DECLARED = re.compile(
    r"#\[pyclass\b[^\]]*\]\s*(?:#\[[^\]]*\]\s*|///[^\n]*\n\s*)*(?:pub(?:\([a-z]+\))? )?(?:struct|enum) (\w+)"
    r"|#\[pyfunction\b[^\]]*\]\s*(?:#\[[^\]]*\]\s*|///[^\n]*\n\s*)*(?:pub(?:\([a-z]+\))? )?fn (\w+)"
)


def names(pattern: re.Pattern[str], text: str) -> set[str]:
    return {first or second for first, second in pattern.findall(text)}


def test_every_native_class_and_function_is_registered_after_the_check_for_subinterpreters() -> None:
    """PyO3 adds items of a declared module before `init` runs: there must be none but `init`."""
    library = next(path for path in SOURCES if path.name == "lib.rs").read_text()
    module, functions = re.split(r"\n}\n\nfn add_classes", library[library.index("#[pymodule]") :], maxsplit=1)
    registered = names(REGISTERED, functions)
    text = "\n".join(path.read_text() for path in SOURCES)

    assert len(registered) > 20
    assert registered == names(REGISTERED, text), "registered elsewhere"
    assert registered == names(DECLARED, text), "declared, and not registered"
    marked = len(re.findall(r"^\s*#\[(?:pyclass|pyfunction)\b", text, re.MULTILINE))
    assert marked == len(registered), "a declaration in another form, or in the module itself"
    for other in ("pymodule_export", "#[pyclass", "#[pyfunction", "add_class::", "add_function("):
        assert other not in module
    fallible = re.findall(r"(\w+)\([^()]*\)\?", module)  # what `init` calls, in order
    assert ["check_main", "watch", "add_classes", "add_functions"] == fallible[:4]
    exported = {name for name, value in vars(_native).items() if callable(value)}
    assert exported - {"Cancelled", "PanicException", "RequestFailed"} == registered
