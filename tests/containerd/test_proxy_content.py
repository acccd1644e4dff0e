"""`ctr content` on a real containerd that has its content in our store."""

from __future__ import annotations

import os
import subprocess
import tomllib

import pytest
from foreign.programs import Ctr
from grpc import StatusCode

from steelyard_bench._proto import content_pb2 as pb

from .proxied import Proxied, block_of, open_ingest
from .wire import refused, sha256, wire

pytestmark = pytest.mark.slow

MIB = 1 << 20


def _refused(ctr: Ctr, *words: str, stdin: bytes = b"") -> str:
    done = subprocess.run(ctr.line(*words), input=stdin, capture_output=True)
    assert done.returncode != 0, done.stdout
    return done.stderr.decode()


def test_the_printed_block_makes_our_socket_the_content_store(system: Proxied, ctr: Ctr) -> None:
    block = tomllib.loads(block_of(system.service))
    [(name, plugin)] = block["proxy_plugins"].items()

    assert "content" == plugin["type"]
    assert system.service.address == plugin["address"]
    stores = [line.split() for line in ctr("plugins", "ls").decode().splitlines() if ".content.v1" in line]
    # In between are the platforms, of which containerd 1 knows none.
    assert [("io.containerd.content.v1", name, "ok")] == [(*store[:2], store[-1]) for store in stores]
    assert not list(system.daemon.log.parent.glob("containerd/io.containerd.content.v1.content/*"))


def test_what_is_ingested_is_a_file_of_ours_and_comes_back(system: Proxied, ctr: Ctr) -> None:
    data = os.urandom(5 * MIB + 12345)
    digest = sha256(data)
    ctr("content", "ingest", "--expected-size", str(len(data)), "--expected-digest", digest, "a/b:c", stdin=data)

    assert data == ctr("content", "get", digest)
    assert data == (system.service.store / "blobs" / digest.replace(":", "/")).read_bytes()
    assert [digest] == ctr("content", "ls", "-q").decode().split()


def test_an_empty_blob_may_be_stored(system: Proxied, ctr: Ctr) -> None:
    ctr("content", "ingest", "nothing")

    assert b"" == ctr("content", "get", sha256(b""))
    assert sha256(b"") in system.files()


def test_wrong_bytes_are_refused_and_kept_as_an_ingest(system: Proxied, ctr: Ctr) -> None:
    said = _refused(ctr, "content", "ingest", "--expected-digest", sha256(b"right"), "wrong", stdin=b"wrong")

    assert sha256(b"right") in said
    assert sha256(b"right") not in system.files()
    assert ["wrong"] == [line.split()[0] for line in ctr("content", "active").decode().splitlines()[1:]]


def test_labels_are_set_changed_and_removed(ctr: Ctr) -> None:
    digest = sha256(b"labelled")
    ctr("content", "ingest", "labelled", stdin=b"labelled")
    ctr("content", "label", digest, "weighed=yes", "place=London")
    ctr("content", "label", digest, "place=")

    assert [digest] == ctr("content", "ls", "-q", "labels.weighed==yes").decode().split()
    assert b"place" not in ctr("content", "ls")


def test_an_open_ingest_is_listed_with_its_offset(ctr: Ctr) -> None:
    with open_ingest(ctr, "docker.io/demo:1", os.urandom(2 * MIB)):
        lines = ctr("content", "active").decode().splitlines()

    assert ["docker.io/demo:1", "2.097MB"] == lines[1].split()[:2]


def test_a_ref_that_is_written_is_refused_to_others_until_its_writer_ends(ctr: Ctr) -> None:
    data = os.urandom(MIB)
    request = pb.WriteContentRequest(action=pb.STAT, ref="held")
    namespace = (("containerd-namespace", ctr.namespace),)
    with open_ingest(ctr, "held", data) as first, wire(f"unix:{ctr.address}") as client:
        with refused(StatusCode.UNAVAILABLE, "held"):
            client.write(request, metadata=namespace)
        assert first.stdin is not None
        first.stdin.close()
        assert 0 == first.wait(60)
        answers = client.write(request, metadata=namespace)

    assert 0 == answers[0].offset
    assert data == ctr("content", "get", sha256(data))


def test_a_removed_blob_is_gone_for_containerd(ctr: Ctr) -> None:
    digest = sha256(b"removed")
    ctr("content", "ingest", "removed", stdin=b"removed")
    ctr("content", "rm", digest)

    assert b"" == ctr("content", "ls", "-q")
    assert "not found" in _refused(ctr, "content", "get", digest)


def test_namespaces_share_bytes_and_nothing_else(system: Proxied) -> None:
    one, other = system.ctr("one"), system.ctr("other")
    data = os.urandom(MIB)
    digest = sha256(data)
    one("content", "ingest", "first", stdin=data)
    assert "not found" in _refused(other, "content", "get", digest)
    other("content", "ingest", "second", stdin=data)
    one("content", "label", digest, "mine=yes")
    one("content", "rm", digest)

    assert data == other("content", "get", digest)
    assert b"mine" not in other("content", "ls")
    assert digest in system.files()
