"""Random programs on a store and on MemoryStore alike: what either says at any step, the other says too. Here: blobs, labels and ingests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack
from typing import Any

import msgspec
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from steelyard.collection import Collected, Garbage, Reason, Root
from steelyard.content import Store, Writer
from steelyard.digest import Algorithm, Digest
from steelyard.errors import LeaseEnded, SteelyardError, Unavailable
from steelyard.memory import MemoryStore
from steelyard.model import Image, Info, Labels, Lease, PutResult, Status
from steelyard.testing._values import data_of, digest_of

__all__ = ("LABELS", "REFS", "Machine", "Pair", "some")

SIZES = (0, 1, 31, 4096, 70_000, 1_100_000)
DATA = st.builds(data_of, st.sampled_from(SIZES), st.sampled_from("xyz"))
REFS = st.sampled_from(["ref", "../ref", "long " * 10])
LEASES = st.sampled_from([None, "lease", "flat", "../lease"])
LABELS = st.dictionaries(st.sampled_from(["a", "b", "c/d.e"]), st.sampled_from(["", "1", "x y"]), max_size=3)
PATHS = st.lists(st.sampled_from(["labels", "labels.a", "labels.b", "labels.c/d.e", "size"]), max_size=3)
ALGORITHMS = st.sampled_from([None, *Algorithm])
FILTERS = st.lists(
    st.sampled_from(
        ["", "labels.a", "labels.a==1", "labels.b!=1,size>30", 'labels."c/d.e"~=x', "digest~=^sha512", "a=b"]
    ),
    max_size=2,
)


def facts(value: Any) -> Any:
    """Return what two stores must agree on: all but times and who holds a ref."""
    match value:
        case SteelyardError():
            return type(value).__name__, {
                key: vars(value)[key] for key in sorted(vars(value)) if key not in {"since", "holder"}
            }
        case Info():
            return value.digest, value.size, dict(value.labels)
        case Status():
            return value.ref, value.offset, value.total, value.expected
        case Image():
            return value.name, value.target, dict(value.labels)
        case Lease():
            return value.id, value.process, dict(value.labels)
        case Collected():
            about = sorted(warning.partition(": ")[0] for warning in value.warnings)  # each has its own words
            return msgspec.structs.replace(value, warnings=tuple(about))
        case Garbage():
            return value.digest, value.size, value.since is None, value.goes
        case Reason():
            return value.digest, facts(value.root), value.chain, value.since is None
        case Root():
            return value.kind, value.name, value.until is None
        case dict():
            return {key: facts(each) for key, each in value.items()}
        case list() | tuple():
            return [facts(each) for each in value]
        case Writer():
            return value.ref, value.offset
    return value


class Pair:
    """A store, and the open writers of it."""

    def __init__(self, store: Store) -> None:
        self.store: Any = store
        self.writers: dict[str, Any] = {}

    def under(self, lease: str | None) -> Any:
        """Return the store under a lease, or without one."""
        return self.store if lease is None else self.store.with_lease(lease)


class Machine(RuleBasedStateMachine):
    """The rules.

    Attributes:
        backend: the event loop.
        folder: a directory for the tested store.
        opened: opens the tested store, which may have been open before.
    """

    opened: Callable[[], Coroutine[Any, Any, Store]]

    backend = "asyncio"
    digests: Bundle[Digest] = Bundle("digests")

    def __init__(self) -> None:
        super().__init__()
        self.contents: dict[Digest, bytes] = {}
        self.stack = ExitStack()
        self.folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.portal: BlockingPortal = self.stack.enter_context(start_blocking_portal(self.backend))
        self.memory = Pair(MemoryStore())
        self.tested = Pair(self.portal.call(self.opened))

    def teardown(self) -> None:
        try:
            self.portal.call(self.close)
        finally:
            self.stack.close()

    async def close(self) -> None:
        for pair in (self.tested, self.memory):
            for writer in pair.writers.values():
                await writer.aclose()
            pair.writers.clear()
        await self.tested.store.aclose()

    def both(self, call: Callable[[Pair], Awaitable[Any]], *, either: tuple[type[SteelyardError], ...] = ()) -> Any:
        """Run the same call on both and return its result on the tested store, if both agree.

        Args:
            call: the call.
            either: errors of which one is raised where several apply, no matter which.
        """

        async def run(pair: Pair) -> Any:
            try:
                return await call(pair)
            except SteelyardError as error:
                return error

        expected, found = self.portal.call(run, self.memory), self.portal.call(run, self.tested)
        if isinstance(expected, either) and isinstance(found, either):
            return found
        wanted, given = facts(expected), facts(found)
        assert wanted == given, f"{wanted}, but {given}"
        return found

    @rule(target=digests, data=DATA, labels=LABELS, algorithm=ALGORITHMS, ref=st.none() | REFS, lease=LEASES)
    def put(
        self, data: bytes, labels: dict[str, str], algorithm: Algorithm | None, ref: str | None, lease: str | None
    ) -> Any:
        found = self.both(
            lambda pair: pair.under(lease).put(data, labels=labels, algorithm=algorithm, ref=ref),
            either=(LeaseEnded, Unavailable),
        )
        return self.stored(found, data)

    def stored(self, found: Any, data: bytes) -> Any:
        """Return what a target gets of a `put`."""
        if not isinstance(found, PutResult):
            return multiple()
        self.contents[found.digest] = data
        return found.digest

    @rule(digest=digests, is_expected=st.booleans(), lease=LEASES)
    def put_again(self, digest: Digest, is_expected: bool, lease: str | None) -> None:
        self.put_bytes(digest, is_expected, lease)

    def put_bytes(self, digest: Digest, is_expected: bool, lease: str | None) -> None:
        """Put the bytes of a blob that was stored before; it may have been deleted or collected."""
        if (data := self.contents.get(digest)) is not None:
            expected = digest if is_expected else None
            self.both(
                lambda pair: pair.under(lease).put(data, expected=expected, algorithm=digest.algorithm),
                either=(LeaseEnded, Unavailable),
            )

    @rule(target=digests, data=DATA, algorithm=st.sampled_from(Algorithm))
    def name_a_digest_that_may_be_missing(self, data: bytes, algorithm: Algorithm) -> Digest:
        return digest_of(data, algorithm)

    @rule(
        ref=REFS,
        size=st.none() | st.sampled_from(SIZES),
        expected=st.none() | digests,
        algorithm=ALGORITHMS,
        lease=LEASES,
    )
    def open(
        self, ref: str, size: int | None, expected: Digest | None, algorithm: Algorithm | None, lease: str | None
    ) -> None:
        async def call(pair: Pair) -> Any:
            opened = pair.under(lease).writer(ref, size=size, expected=expected, algorithm=algorithm)
            pair.writers[ref] = await opened
            return pair.writers[ref]

        self.both(call, either=(LeaseEnded, Unavailable))

    @precondition(lambda self: self.tested.writers)
    @rule(data=DATA, pick=st.randoms(use_true_random=False))
    def write(self, data: bytes, pick: Any) -> None:
        ref = pick.choice(sorted(self.tested.writers))
        self.both(lambda pair: pair.writers[ref].write(data))

    @precondition(lambda self: self.tested.writers)
    @rule(percent=st.integers(-1, 110), pick=st.randoms(use_true_random=False))
    def truncate(self, percent: int, pick: Any) -> None:
        ref = pick.choice(sorted(self.tested.writers))
        self.both(lambda pair: pair.writers[ref].truncate(pair.writers[ref].offset * percent // 100))

    @precondition(lambda self: self.tested.writers)
    @rule(call=st.sampled_from(["digest", "status", "sync", "aclose"]), pick=st.randoms(use_true_random=False))
    def ask(self, call: str, pick: Any) -> None:
        ref = pick.choice(sorted(self.tested.writers))
        self.both(lambda pair: getattr(pair.writers[ref], call)())

    @precondition(lambda self: self.tested.writers)
    @rule(
        target=digests,
        size=st.sampled_from([None, 0, 1]),
        expected=st.none() | digests,
        right=st.booleans(),
        labels=st.none() | LABELS,
        pick=st.randoms(use_true_random=False),
    )
    def commit(self, size: int | None, expected: Digest | None, right: bool, labels: Any, pick: Any) -> Any:
        ref = pick.choice(sorted(self.tested.writers))

        async def call(pair: Pair) -> Any:
            writer = pair.writers[ref]
            if right:
                return await writer.commit(size=writer.offset, expected=await writer.digest(), labels=labels)
            return await writer.commit(
                size=None if size is None else writer.offset + size, expected=expected, labels=labels
            )

        found = self.both(call)
        return found.digest if isinstance(found, Info) else multiple()

    @rule(ref=REFS, lease=LEASES)
    def abort(self, ref: str, lease: str | None) -> None:
        self.both(lambda pair: pair.under(lease).abort(ref))

    @rule(ref=REFS)
    def status(self, ref: str) -> None:
        self.both(lambda pair: pair.store.status(ref))

    @rule(digest=digests, labels=LABELS, paths=PATHS)
    def update(self, digest: Digest, labels: dict[str, str], paths: list[str]) -> None:
        async def call(pair: Pair) -> Any:
            before = await pair.store.info(digest)
            after = await pair.store.update(msgspec.structs.replace(before, labels=Labels(labels)), *paths)
            assert before.created_at == after.created_at
            assert before.updated_at < after.updated_at
            return after

        self.both(call)

    @rule(digest=consumes(digests), lease=LEASES)
    def delete(self, digest: Digest, lease: str | None) -> None:
        self.portal.call(self.memory.store.reasons, [])  # it learns what a document names when it marks
        self.both(lambda pair: pair.under(lease).delete(digest))

    @rule(digest=digests, call=st.sampled_from(["get", "info", "exists", "verify"]))
    def look(self, digest: Digest, call: str) -> None:
        self.both(lambda pair: getattr(pair.store, call)(digest))

    @rule(asked=st.lists(digests, max_size=5))
    def infos(self, asked: list[Digest]) -> None:
        self.both(lambda pair: pair.store.infos(asked))

    @rule(refs=st.sampled_from([(), ("ref==ref",), ("offset>0",), ("a=b",)]))
    def list_statuses(self, refs: tuple[str, ...]) -> None:
        self.both(lambda pair: pair.store.list_statuses(*refs))

    @rule(filters=FILTERS)
    def walk(self, filters: list[str]) -> None:
        async def call(pair: Pair) -> Any:
            return [info async for info in pair.store.walk(*filters)]

        self.both(call)

    @rule()
    def reopen(self) -> None:
        self.portal.call(self.close)
        self.tested.store = self.portal.call(self.opened)

    @invariant()
    def they_hold_the_same(self) -> None:
        async def call(pair: Pair) -> Any:
            infos = [info async for info in pair.store.walk()]
            for info in infos:
                assert info.created_at <= info.updated_at
            return infos, await pair.store.list_statuses()

        infos, statuses = self.both(call)
        assert infos == sorted(infos, key=lambda info: str(info.digest))
        assert statuses == sorted(statuses, key=lambda status: str(status.ref))


def some(most: int) -> settings:
    """Return the settings of a machine that tries so many programs, or ``STEELYARD_MACHINE_PROGRAMS`` in the long form."""
    return settings(max_examples=int(os.environ.get("STEELYARD_MACHINE_PROGRAMS", most)), stateful_step_count=40)
