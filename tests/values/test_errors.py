"""Errors: made alike, with their arguments as attributes and digests as `Digest`, and kept by pickle and copy."""

from __future__ import annotations

import copy
import errno
import inspect
import pickle
import re

import pytest
from support.made_errors import ERRORS, IN_WORDS, ONE, TWO

from steelyard import errors
from steelyard.digest import Digest
from steelyard.errors import SteelyardError


def _id(error: SteelyardError) -> str:
    return type(error).__name__


def test_every_error_is_made_in_the_list() -> None:
    assert {getattr(errors, name) for name in errors.__all__} - {SteelyardError} == {type(e) for e in ERRORS}


def test_the_tree_of_the_docs_is_that_of_the_classes() -> None:
    tree = (errors.__doc__ or "").partition("```\n")[2].partition("```")[0].splitlines()
    above: list[str] = []
    for line in tree:
        found = re.match(r"([│├└─ ]*)(\w+)(?: \([\w.]+\))?", line)
        assert found is not None, line
        above[len(found[1]) // 4 :] = [found[2]]
        assert above == [kind.__name__ for kind in reversed(getattr(errors, found[2]).__mro__) if _is_ours(kind)]
    assert set(errors.__all__) == set(re.findall(r"^[│├└─ ]*(\w+)", "\n".join(tree), re.MULTILINE))


def _is_ours(kind: type) -> bool:
    return issubclass(kind, SteelyardError)


@pytest.mark.parametrize("error", ERRORS, ids=_id)
def test_the_first_argument_says_what_it_is_about_and_the_rest_are_keywords(error: SteelyardError) -> None:
    first, *rest = inspect.signature(type(error)).parameters.values()

    assert inspect.Parameter.POSITIONAL_OR_KEYWORD is first.kind
    assert all(one.kind is inspect.Parameter.KEYWORD_ONLY for one in rest)
    if type(error) in IN_WORDS:
        assert ([], str(error)) == (rest, error.args[0])
    else:
        assert all(hasattr(error, one.name) for one in (first, *rest))


@pytest.mark.parametrize("error", [error for error in ERRORS if type(error) not in IN_WORDS], ids=_id)
def test_an_error_can_be_made_again_from_its_attributes(error: SteelyardError) -> None:
    arguments = {name: getattr(error, name) for name in inspect.signature(type(error)).parameters}
    again = type(error)(**arguments)

    assert vars(error) == vars(again)
    assert re.sub(r"for [\d.]+ s", "", str(error)) == re.sub(r"for [\d.]+ s", "", str(again))


def test_digests_are_values_whether_given_so_or_as_text() -> None:
    for expected, actual in ((ONE, TWO), (str(ONE), str(TWO))):
        assert ONE == errors.NotFound(expected).digest
        assert ONE == errors.AlreadyExists(expected).digest
        assert ONE == errors.OutOfRange(expected, offset=3, size=2).digest
        assert ONE == errors.DataCorrupt(expected, expected="a size", actual="none").digest
        for error in (
            errors.UnexpectedDigest(expected=expected, actual=actual),
            errors.NameMoved("name", expected=expected, actual=actual),
        ):
            assert (ONE, TWO) == (error.expected, error.actual)
            assert isinstance(error.expected, Digest)
            assert f"{ONE}, found {TWO}" in str(error)
        assert ((ONE, TWO, None),) == errors.IncompleteImage("name", absent=[(expected, actual, None)]).absent


def test_a_name_that_is_not_a_digest_has_none() -> None:
    assert errors.NotFound(str(ONE), kind="ingest").digest is None
    assert errors.OutOfRange("a ref", offset=3, size=2).digest is None
    assert errors.DataCorrupt("meta.db", expected="a table", actual="none").digest is None
    assert (("md5:22", None, None),) == errors.IncompleteImage("name", absent=[("md5:22", None, None)]).absent


def test_an_error_of_the_system_becomes_the_fitting_one() -> None:
    full = errors.StorageError.of(OSError(errno.EDQUOT, "no"), operation="write", path="here")
    other = errors.StorageError.of(OSError(errno.EIO, "no"), operation="sync")

    assert (errors.StorageFull, errno.EDQUOT, "here", "write") == (type(full), full.errno, full.path, full.operation)
    assert (errors.StorageError, errno.EIO, None) == (type(other), other.errno, other.path)


@pytest.mark.parametrize("error", ERRORS, ids=_id)
@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_errors_survive_pickling_and_copying(error: SteelyardError, again: object) -> None:
    assert callable(again)
    restored = again(error)

    assert type(error) is type(restored)
    assert str(error) == str(restored)
    assert vars(error) == vars(restored)
    assert error.args == restored.args


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [type(error).code for error in ERRORS]

    assert sorted(set(codes)) == sorted(codes)


def test_a_server_that_does_not_answer_holds_no_ref() -> None:
    """`open_writer` waits on Unavailable for ever, so nothing else may be a kind of it."""
    assert [errors.Unavailable] == [
        getattr(errors, name) for name in errors.__all__ if issubclass(getattr(errors, name), errors.Unavailable)
    ]


def test_what_a_store_raises_is_made_as_the_table_says() -> None:
    rows = [line for line in (errors.__doc__ or "").splitlines() if line.startswith("| ") and "``" in line]
    names = {
        "digest": ONE,
        "other": TWO,
        "ref": "a ref",
        "name": "a",
        "lease": "a",
        "path": "p",
        "since": None,
        "error": OSError(5, "no"),
    }
    made = [eval(code, vars(errors) | names) for row in rows for code in re.findall(r"``(.+?)``", row)]

    assert len(made) >= 17
    assert all(isinstance(error, SteelyardError) for error in made)
    assert {"Unavailable", "WriterClosed", "UnexpectedDigest", "NameMoved"} <= {type(error).__name__ for error in made}
