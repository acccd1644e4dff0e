"""One error of each class, made as `steelyard.errors` documents it."""

from __future__ import annotations

from datetime import UTC, datetime

from steelyard import errors
from steelyard.digest import Digest

ONE = Digest.parse("sha256:" + "01" * 32)
TWO = Digest.parse("sha256:" + "02" * 32)

ERRORS: tuple[errors.SteelyardError, ...] = (
    errors.NotFound(ONE),
    errors.AlreadyExists(ONE),
    errors.Unavailable("a ref", holder="process 4711", since=datetime(2026, 1, 2, 12, tzinfo=UTC), local=True),
    errors.ServerRefused("s3://bucket", server_code="AccessDenied", reason="not permitted"),
    errors.InvalidResponse("https://example.org/a", expected="no content coding", actual="gzip"),
    errors.Unreachable("unix:///somewhere", reason="connection refused"),
    errors.Unsupported("unix:///somewhere", operation="image names"),
    errors.FailedPrecondition("open it read-only"),
    errors.UnexpectedDigest("a ref", expected=ONE, actual=TWO),
    errors.UnexpectedSize("a ref", expected=1, actual=2),
    errors.WriterClosed("a ref"),
    errors.IncompatibleFormat("somewhere", actual="2", supported="1"),
    errors.CollectionBusy("process 4711"),
    errors.CollectionRefused("/srv/blobs", cause="roots", reason="its metadata was rebuilt"),
    errors.LeaseExists("a lease"),
    errors.LeaseEnded("a lease", reason="expired"),
    errors.NameMoved("a name", expected=ONE, actual=TWO),
    errors.IncompleteImage("a name", absent=((ONE, TWO, "linux/amd64"), ("md5:22", None, None)) * 6),
    errors.Aborted("a ref"),
    errors.InvalidArgument("no"),
    errors.InvalidDigest("no"),
    errors.InvalidDigestLength("sha256:ab", expected=64, actual=2),
    errors.UnsupportedAlgorithm("md5:ab", algorithm="md5"),
    errors.InvalidFilter("a==", position=3, reason="expected a value"),
    errors.InvalidLabel("key", size=5000),
    errors.InvalidReference("UPPER" * 100, reason="a repository is in lower case"),
    errors.InvalidImage("no"),
    errors.InvalidDocument("index.json", where="$.manifests[0].size", expected="a size", actual="-1"),
    errors.InvalidArchive("index.json", expected="512 bytes", actual="12", offset=512),
    errors.LimitExceeded("index.json", limit="json_bytes", allowed=4, actual=5),
    errors.OutOfRange("a ref", offset=3, size=2),
    errors.DataCorrupt(ONE, expected=ONE, actual=TWO),
    errors.StorageError(5, operation="fdatasync", path="somewhere"),
    errors.StorageFull(28, operation="write"),
)
IN_WORDS = (errors.SteelyardError, errors.FailedPrecondition, errors.InvalidArgument, errors.InvalidImage)
"""The classes whose only argument is the message."""
