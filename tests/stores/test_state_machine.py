"""Random programs run on LocalStore and MemoryStore alike; what either says at any step, the other says too."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from steelyard.content import Store, Writer
from steelyard.digest import Algorithm, Digest
from steelyard.errors import SteelyardError
from steelyard.local import LocalStore
from steelyard.memory import MemoryStore
from steelyard.model import Info, Labels, PutResult, Status
from steelyard.testing._values import data_of, digest_of

SIZES = (0, 1, 31, 4096, 70_000, 1_100_000)
DATA = st.builds(data_of, st.sampled_from(SIZES), st.sampled_from("xyz"))
REFS = st.sampled_from(["ref", "../ref", "long " * 10])
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
        self.seen: dict[Digest, Info] = {}


class Machine(RuleBasedStateMachine):
    """Rules for one backend."""

    backend = "asyncio"
    digests: Bundle[Digest] = Bundle("digests")

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.portal: BlockingPortal = self.stack.enter_context(start_blocking_portal(self.backend))
        self.memory = Pair(MemoryStore())
        self.local = Pair(self.portal.call(self.opened))

    async def opened(self) -> LocalStore:
        return await LocalStore(self.folder, durability="process-crash").__aenter__()

    def teardown(self) -> None:
        try:
            self.portal.call(self.close)
        finally:
            self.stack.close()

    async def close(self) -> None:
        for pair in (self.local, self.memory):
            for writer in pair.writers.values():
                await writer.aclose()
            pair.writers.clear()
        await self.local.store.aclose()

    def both(self, call: Callable[[Pair], Awaitable[Any]]) -> Any:
        """Run the same call on both and return its result on the local store, if both agree."""

        async def run(pair: Pair) -> Any:
            try:
                return await call(pair)
            except SteelyardError as error:
                return error

        expected, found = self.portal.call(run, self.memory), self.portal.call(run, self.local)

        assert facts(expected) == facts(found)
        return found

    @rule(target=digests, data=DATA, labels=LABELS, algorithm=ALGORITHMS, ref=st.none() | REFS)
    def put(self, data: bytes, labels: dict[str, str], algorithm: Algorithm | None, ref: str | None) -> Any:
        found = self.both(lambda pair: pair.store.put(data, labels=labels, algorithm=algorithm, ref=ref))
        return found.digest if isinstance(found, PutResult) else multiple()

    @rule(target=digests, data=DATA, algorithm=st.sampled_from(Algorithm))
    def name_a_digest_that_may_be_missing(self, data: bytes, algorithm: Algorithm) -> Digest:
        return digest_of(data, algorithm)

    @rule(
        ref=REFS,
        size=st.none() | st.sampled_from(SIZES),
        expected=st.none() | digests,
        algorithm=ALGORITHMS,
    )
    def open(self, ref: str, size: int | None, expected: Digest | None, algorithm: Algorithm | None) -> None:
        async def call(pair: Pair) -> Any:
            pair.writers[ref] = await pair.store.writer(ref, size=size, expected=expected, algorithm=algorithm)
            return pair.writers[ref]

        self.both(call)

    @precondition(lambda self: self.local.writers)
    @rule(data=DATA, pick=st.randoms(use_true_random=False))
    def write(self, data: bytes, pick: Any) -> None:
        ref = pick.choice(sorted(self.local.writers))
        self.both(lambda pair: pair.writers[ref].write(data))

    @precondition(lambda self: self.local.writers)
    @rule(percent=st.integers(-1, 110), pick=st.randoms(use_true_random=False))
    def truncate(self, percent: int, pick: Any) -> None:
        ref = pick.choice(sorted(self.local.writers))
        self.both(lambda pair: pair.writers[ref].truncate(pair.writers[ref].offset * percent // 100))

    @precondition(lambda self: self.local.writers)
    @rule(call=st.sampled_from(["digest", "status", "sync", "aclose"]), pick=st.randoms(use_true_random=False))
    def ask(self, call: str, pick: Any) -> None:
        ref = pick.choice(sorted(self.local.writers))
        self.both(lambda pair: getattr(pair.writers[ref], call)())

    @precondition(lambda self: self.local.writers)
    @rule(
        target=digests,
        size=st.sampled_from([None, 0, 1]),
        expected=st.none() | digests,
        right=st.booleans(),
        labels=st.none() | LABELS,
        pick=st.randoms(use_true_random=False),
    )
    def commit(self, size: int | None, expected: Digest | None, right: bool, labels: Any, pick: Any) -> Any:
        ref = pick.choice(sorted(self.local.writers))

        async def call(pair: Pair) -> Any:
            writer = pair.writers[ref]
            if right:
                return await writer.commit(size=writer.offset, expected=await writer.digest(), labels=labels)
            return await writer.commit(
                size=None if size is None else writer.offset + size, expected=expected, labels=labels
            )

        found = self.both(call)
        return found.digest if isinstance(found, Info) else multiple()

    @rule(ref=REFS)
    def abort(self, ref: str) -> None:
        self.both(lambda pair: pair.store.abort(ref))

    @rule(ref=REFS)
    def status(self, ref: str) -> None:
        self.both(lambda pair: pair.store.status(ref))

    @rule(digest=digests, labels=LABELS, paths=PATHS)
    def update(self, digest: Digest, labels: dict[str, str], paths: list[str]) -> None:
        async def call(pair: Pair) -> Any:
            before = await pair.store.info(digest)
            after = await pair.store.update(Info(**{**_fields(before), "labels": Labels(labels)}), *paths)
            assert before.created_at == after.created_at
            assert before.updated_at < after.updated_at
            return after

        self.both(call)

    @rule(digest=consumes(digests))
    def delete(self, digest: Digest) -> None:
        self.both(lambda pair: pair.store.delete(digest))

    @rule(digest=digests, call=st.sampled_from(["get", "info", "exists", "verify"]))
    def look(self, digest: Digest, call: str) -> None:
        self.both(lambda pair: getattr(pair.store, call)(digest))

    @rule(asked=st.lists(digests, max_size=5))
    def infos(self, asked: list[Digest]) -> None:
        self.both(lambda pair: pair.store.infos(asked))

    @rule(filters=FILTERS)
    def walk(self, filters: list[str]) -> None:
        async def call(pair: Pair) -> Any:
            return [info async for info in pair.store.walk(*filters)]

        self.both(call)

    @rule()
    def reopen(self) -> None:
        self.portal.call(self.close)
        self.local.store = self.portal.call(self.opened)

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


def _fields(info: Info) -> dict[str, Any]:
    return {name: getattr(info, name) for name in info.__struct_fields__}


class TrioMachine(Machine):
    """The same rules on trio."""

    backend = "trio"


SETTINGS = settings(max_examples=30, stateful_step_count=25)
TestOnAsyncio = pytest.mark.slow(Machine.TestCase)
TestOnAsyncio.settings = SETTINGS
TestOnTrio = pytest.mark.slow(TrioMachine.TestCase)
TestOnTrio.settings = SETTINGS
