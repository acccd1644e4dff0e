"""Random programs on a store and on MemoryStore alike: image names, leases, labels that keep blobs, documents, and collections."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, multiple, rule

from steelyard.collection import Garbage
from steelyard.digest import Digest
from steelyard.model import Descriptor, Image, Labels
from steelyard.testing._collecting import EXPIRE, FLAT, REFERENCE, ROOT, document
from steelyard.testing._leasing import HOUR
from steelyard.testing._values import digest_of
from support.machine import LABELS, REFS, Machine, Pair

__all__ = ("RootMachine",)

NAMES = st.sampled_from(["name", "docker.io/library/alpine:3.20", "größe"])
NAME_PATHS = st.lists(st.sampled_from(["target", "labels", "labels.a", "size"]), max_size=2)
NAME_FILTERS = st.lists(st.sampled_from(["name~=docker", "labels.a", "target.digest~=^sha256", "a=b"]), max_size=2)
LEASES = st.sampled_from(["lease", "flat", "../lease"])
LEASE_FILTERS = st.lists(st.sampled_from(["id==lease", "labels.a", "a=b"]), max_size=2)
FOUND_BEFORE = timedelta(microseconds=1)
"""With this grace time goes what an earlier collection has found."""
TIMES = st.sampled_from([FOUND_BEFORE, timedelta(0), HOUR, None])
AGES = st.sampled_from([timedelta(0), HOUR, None])
"""Ages of ingests. On a disk they are those of notes of collections, so a microsecond would not be the same everywhere."""
EXPIRED, LASTING = datetime(2020, 1, 1, tzinfo=UTC).isoformat(), datetime(2199, 1, 1, tzinfo=UTC).isoformat()


class RootMachine(Machine):
    """More rules."""

    @initialize(target=Machine.digests)
    def begin(self) -> Any:
        """Have leases, blobs, and a document that names one of them."""
        self.create_named_lease("lease", {})
        self.create_named_lease("flat", {FLAT: "1"})
        sources = [b"blob", b"another", document(layers=[digest_of(b"blob")])]
        return multiple(*map(self.put_small, sources))

    def create_named_lease(self, lease: str, labels: dict[str, str]) -> None:
        self.both(lambda pair: pair.store.leases.create(lease, expires=HOUR, labels=labels))

    def put_small(self, data: bytes) -> Any:
        return self.stored(self.both(lambda pair: pair.store.put(data)), data)

    # Documents and labels that refer

    @rule(
        target=Machine.digests,
        layers=st.lists(Machine.digests, max_size=3),
        subject=st.none() | Machine.digests,
        lease=st.none() | LEASES,
    )
    def put_document(self, layers: list[Digest], subject: Digest | None, lease: str | None) -> Any:
        data = document(layers=layers, **({"subject": subject} if subject is not None else {}))
        found = self.both(lambda pair: pair.under(lease).put(data))
        return self.stored(found, data)

    @rule(
        digest=Machine.digests,
        other=Machine.digests,
        root=st.sampled_from(["", "1"]),
        until=st.sampled_from([EXPIRED, LASTING, "tomorrow", None]),
        refers=st.sampled_from([True, False, None]),
    )
    def refer(self, digest: Digest, other: Digest, root: str, until: str | None, refers: bool | None) -> None:
        labels = {ROOT: root} | ({} if until is None else {EXPIRE: until})
        labels |= {} if refers is None else {REFERENCE: str(other) if refers else "nothing"}

        async def call(pair: Pair) -> Any:
            info = await pair.store.info(digest)
            return await pair.store.update(msgspec.structs.replace(info, labels=Labels(labels)))

        self.both(call)

    # Image names

    @rule(
        name=NAMES,
        digest=Machine.digests,
        labels=LABELS | st.sampled_from([{EXPIRE: EXPIRED}, {EXPIRE: LASTING}, {EXPIRE: "tomorrow"}]),
    )
    def create_name(self, name: str, digest: Digest, labels: dict[str, str]) -> None:
        self.both(lambda pair: pair.store.images.create(name, Descriptor(digest=digest), labels=labels))

    @rule(
        assigned=st.dictionaries(NAMES, Machine.digests, min_size=1),
        labels=st.none() | LABELS,
        overwrite=st.booleans(),
    )
    def assign(self, assigned: dict[str, Digest], labels: dict[str, str] | None, overwrite: bool) -> None:
        described = {name: Descriptor(digest=digest) for name, digest in assigned.items()}
        self.both(lambda pair: pair.store.images.assign(described, labels=labels, overwrite=overwrite))

    @rule(name=NAMES, digest=Machine.digests, labels=LABELS, paths=NAME_PATHS, expected=st.none() | Machine.digests)
    def update_name(
        self, name: str, digest: Digest, labels: dict[str, str], paths: list[str], expected: Digest | None
    ) -> None:
        at = datetime.now(UTC)
        image = Image(name=name, target=Descriptor(digest=digest), created_at=at, updated_at=at, labels=Labels(labels))
        self.both(lambda pair: pair.store.images.update(image, *paths, expected=expected))

    @rule(name=NAMES, expected=st.none() | Machine.digests)
    def delete_name(self, name: str, expected: Digest | None) -> None:
        self.both(lambda pair: pair.store.images.delete(name, expected=expected))

    @rule(name=NAMES, names=NAME_FILTERS, leases=LEASE_FILTERS)
    def look_at_roots(self, name: str, names: list[str], leases: list[str]) -> None:
        self.both(lambda pair: pair.store.images.get(name))
        self.both(lambda pair: pair.store.images.list(*names))
        self.both(lambda pair: pair.store.leases.list(*leases))

    # Leases

    @rule(lease=LEASES, labels=LABELS | st.just({FLAT: "1"}), expires=st.sampled_from([HOUR, timedelta(0)]))
    def create_lease(self, lease: str, labels: dict[str, str], expires: timedelta) -> None:
        self.both(lambda pair: pair.store.leases.create(lease, expires=expires, labels=labels))

    @rule(
        call=st.sampled_from(["add", "remove"]),
        lease=LEASES,
        digests=st.lists(Machine.digests, max_size=3),
        refs=st.lists(REFS, max_size=2),
    )
    def change_lease(self, call: str, lease: str, digests: list[Digest], refs: list[str]) -> None:
        self.both(lambda pair: getattr(pair.store.leases, call)(lease, digests=digests, refs=refs))

    @rule(call=st.sampled_from(["get", "resources", "delete"]), lease=LEASES)
    def ask_lease(self, call: str, lease: str) -> None:
        self.both(lambda pair: getattr(pair.store.leases, call)(lease))

    # Collections

    @rule(grace=TIMES, ingest_age=AGES, dry_run=st.booleans(), max_bytes=st.sampled_from([None, 1 << 40]))
    def collect(
        self, grace: timedelta | None, ingest_age: timedelta | None, dry_run: bool, max_bytes: int | None
    ) -> None:
        """With a smaller budget, what goes depends on the last use, of which each store knows something else."""

        async def call(pair: Pair) -> Any:
            garbage: list[Garbage] = []
            options = {"grace": grace, "ingest_age": ingest_age, "max_bytes": max_bytes, "dry_run": dry_run}
            collected = await pair.store.collect(**options, on_garbage=garbage.append)
            return collected, sorted(garbage, key=lambda each: each.digest)

        self.both(call)

    @rule(digest=Machine.digests, is_expected=st.booleans(), lease=st.none() | LEASES)
    def find_garbage_again(self, digest: Digest, is_expected: bool, lease: str | None) -> None:
        """It is no longer what the first collection found."""
        self.both(lambda pair: pair.store.collect(grace=HOUR))
        self.put_bytes(digest, is_expected, lease)
        self.both(lambda pair: pair.store.collect(grace=FOUND_BEFORE))

    @rule(grace=TIMES, ingest_age=AGES)
    def set_collect_defaults(self, grace: timedelta | None, ingest_age: timedelta | None) -> None:
        self.both(lambda pair: pair.store.set_collect_defaults(grace=grace, ingest_age=ingest_age))

    @rule(digests=st.lists(Machine.digests, min_size=1, max_size=4))
    def why(self, digests: list[Digest]) -> None:
        self.both(lambda pair: pair.store.why(digests[0]))
        self.both(lambda pair: pair.store.reasons(digests))

    @invariant()
    def they_keep_the_same(self) -> None:
        async def call(pair: Pair) -> Any:
            leases = await pair.store.leases.list()
            resources = [await pair.store.leases.resources(lease.id) for lease in leases]
            return await pair.store.images.list(), leases, resources

        self.both(call)
