"""The contract of every `Store`, as tests to inherit. It needs pytest; no other module imports it.

```python
import pytest
from steelyard.testing import StoreContract

class TestMyStore(StoreContract):
    @pytest.fixture
    async def store(self, tmp_path):
        async with MyStore(tmp_path) as store:
            yield store
```

The tests are async and marked ``anyio``, so anyio's pytest plugin runs each of them on asyncio and trio. They cover
containerd's content test suite, common mistakes of implementations, and cancellation at every await. A store
with an intended difference overrides one test, which then documents the difference.

Implement one method after the other, and select its tests with ``-k`` and words of their names: ``-k "writer and not cancelled"``. Nearly all
tests use `put` and `get`, so implement `writer` and `reader_at` first.
`docs/guide.md` has the rules that stores most often break.

Inherit further contracts together with `StoreContract`: `DamageContract` if blobs of the store can be damaged from outside, `LeaseContract`
if it has leases, `EventContract` if it has events, and `CollectionContract` if it collects garbage. `cancel_at` and `every_wait` cancel your
own operations in the same way.
"""

from __future__ import annotations

from typing import Any

import pytest

pytest.register_assert_rewrite(
    *(
        f"steelyard.testing._{name}"
        for name in (
            "cancelling",
            "changing",
            "collecting",
            "committing",
            "damage",
            "eventing",
            "labelling",
            "leased",
            "leasing",
            "listing",
            "moving",
            "naming",
            "putting",
            "reading",
            "refs",
            "resuming",
            "sweeping",
            "writing",
        )
    )
)

from steelyard.testing._cancelling import CancellingContract  # noqa: E402  # after the line above, which the tests need
from steelyard.testing._changing import ChangingContract  # noqa: E402
from steelyard.testing._collecting import CollectingContract  # noqa: E402
from steelyard.testing._committing import CommittingContract  # noqa: E402
from steelyard.testing._damage import DamagingContract  # noqa: E402
from steelyard.testing._eventing import EventingContract  # noqa: E402
from steelyard.testing._labelling import LabellingContract  # noqa: E402
from steelyard.testing._leased import LeasedContract  # noqa: E402
from steelyard.testing._leasing import LeasingContract  # noqa: E402
from steelyard.testing._listing import ListingContract  # noqa: E402
from steelyard.testing._moving import MovingContract  # noqa: E402
from steelyard.testing._naming import NamingContract  # noqa: E402
from steelyard.testing._putting import PuttingContract  # noqa: E402
from steelyard.testing._reading import ReadingContract  # noqa: E402
from steelyard.testing._refs import RefsContract  # noqa: E402
from steelyard.testing._resuming import ResumingContract  # noqa: E402
from steelyard.testing._steps import cancel_at, every_wait  # noqa: E402
from steelyard.testing._sweeping import SweepingContract  # noqa: E402
from steelyard.testing._writing import WritingContract  # noqa: E402

__all__ = (
    "CollectionContract",
    "DamageContract",
    "EventContract",
    "LeaseContract",
    "StoreContract",
    "cancel_at",
    "every_wait",
)


class StoreContract(
    WritingContract,
    ResumingContract,
    CommittingContract,
    LabellingContract,
    ChangingContract,
    ReadingContract,
    ListingContract,
    NamingContract,
    RefsContract,
    PuttingContract,
    CancellingContract,
):
    """The tests of all rules of `steelyard.content`. The fixture `store` returns a new, empty store for each test.

    Attributes:
        large_size: the size of the largest blob in bytes; containerd's suite uses 32 MiB.
    """

    @pytest.fixture
    async def store(self) -> Any:
        """Return a new, empty store; override this fixture."""
        pytest.fail("override the fixture `store`: it must return a new, empty store for each test")


class DamageContract(DamagingContract):
    """The tests of damaged blobs, for stores with `verify` and `verify_all` as in `MemoryStore`.

    Inherit it together with `StoreContract`, and override `damage(store, digest, data)`, which replaces the stored bytes of a
    blob without calling the store.
    """


class EventContract(EventingContract):
    """The tests of events, for stores that have events and leases. Inherit it together with `StoreContract`."""


class LeaseContract(LeasingContract, LeasedContract):
    """The tests of leases, for stores that have leases. Inherit it together with `StoreContract`."""


class CollectionContract(CollectingContract, SweepingContract, MovingContract):
    """The tests of garbage collection, for stores that collect. Inherit it together with `StoreContract` and `LeaseContract`.

    If your store does not record each use of a blob, override `age(store, *digests)`: it must make the last use of the blobs so old that the
    store records the next one. The environment variable STEELYARD_CONTRACT_CHILDREN sets how many blobs the largest tree of documents names.
    """
