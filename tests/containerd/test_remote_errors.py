"""Errors over the wire: what our service refuses with, our client raises again."""

from __future__ import annotations

import pytest
from anyio import ClosedResourceError
from support.made_errors import ERRORS, ONE, TWO

from steelyard import errors
from steelyard.containerd._code import Code
from steelyard.containerd.remote._errors import About, NameTaken, Refused, error_of
from steelyard.containerd.service._codes import refusal

ADDRESS = "unix:///somewhere"
INGEST = About(kind="ingest", name="a ref", call="Write", expected=str(ONE))


@pytest.mark.parametrize(
    "error",
    [error for error in ERRORS if not isinstance(error, OSError | ClosedResourceError | errors.Unavailable)],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_raised_again_with_its_arguments(error: errors.SteelyardError) -> None:
    sent = refusal(error)
    raised = error_of(Refused(sent.code, sent.message, sent.details), INGEST, ADDRESS)

    assert (type(error), str(error), vars(error)) == (type(raised), str(raised), vars(raised))


@pytest.mark.parametrize(
    "details",
    [
        b'{"code": "already_exists"}',
        b'{"code": "already_exists", "digest": 5}',
        b'{"code": "already_exists", "digest": "md5:x"}',
        b'{"code": "unexpected_digest", "expected": "", "unknown": 1}',
        b'{"code": "incomplete_image", "name": "a", "absent": [1]}',
        b'{"code": "out_of_range", "__dict__": {}}',
        b"no JSON",
    ],
)
def test_details_that_do_not_fit_are_passed_over(details: bytes) -> None:
    raised = error_of(Refused(Code.NOT_FOUND, "no: not found", details), INGEST, ADDRESS)

    assert ("ingest", "a ref") == (getattr(raised, "kind", None), getattr(raised, "name", None))


def test_what_containerd_says_names_digests() -> None:
    exists = error_of(Refused(Code.ALREADY_EXISTS, f"content {TWO}: already exists"), INGEST, ADDRESS)
    other = error_of(
        Refused(Code.FAILED_PRECONDITION, f"unexpected commit digest {TWO}, expected {ONE}"), INGEST, ADDRESS
    )
    foreign = error_of(Refused(Code.FAILED_PRECONDITION, f"unexpected digest sha512:{'0' * 128}"), INGEST, ADDRESS)
    unnamed = About(kind="ingest", name="a ref", call="Write")
    silent = error_of(Refused(Code.ALREADY_EXISTS, "already exists"), unnamed, ADDRESS)
    name = About(kind="image name", name="a", call="Images.Create")
    taken = error_of(Refused(Code.ALREADY_EXISTS, "already exists"), name, ADDRESS)

    assert isinstance(exists, errors.AlreadyExists)
    assert ONE == exists.digest
    assert isinstance(other, errors.UnexpectedDigest)
    assert (ONE, TWO) == (other.expected, other.actual)
    assert isinstance(foreign, errors.Unsupported)
    assert (errors.FailedPrecondition, NameTaken) == (type(silent), type(taken))
