"""The interface for many blobs at once."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from steelyard._lazy import Module as _Module

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence

    from steelyard import options as _options
    from steelyard._runtime import concurrent as _concurrent
    from steelyard.content import _many
    from steelyard.content._many import Errors
    from steelyard.digest import Digest
    from steelyard.model import Blobs, DeleteManyResult, Info, UpdateManyResult
    from steelyard.options import LabelChange, ReadRange
else:
    _options, _concurrent = _Module("steelyard.options"), _Module("steelyard._runtime.concurrent")
    _many = _Module("steelyard.content._many")

__all__ = ("BatchManager",)


class BatchManager:
    """Looks up many blobs, changes the labels of many, and deletes many."""

    @abstractmethod
    async def infos(self, digests: Iterable[Digest | str]) -> dict[Digest, Info]:
        """Return the `Info` of each stored digest; one call can take thousands of digests."""

    @abstractmethod
    async def sizes(self, digests: Iterable[Digest | str]) -> dict[Digest, int]:
        """Return the size in bytes of each stored digest. This is faster than `infos` if the store keeps labels apart from blobs."""

    # Reads parts of many blobs, and returns the bytes or the error of each. A whole blob is verified.
    _read_ranges: Callable[[Sequence[ReadRange]], Awaitable[list[bytes | Exception]]]

    # The hooks of `update_many` and `delete_many`, called with parsed arguments; `BaseStore` has them for every store.
    _update_many: Callable[[Blobs, LabelChange, int | None], AsyncGenerator[UpdateManyResult, None]]
    _delete_many: Callable[[Blobs, int | None], AsyncGenerator[DeleteManyResult, None]]

    def update_many(
        self,
        blobs: Blobs,
        labels: Mapping[str, str | None],
        *,
        concurrency: int | None = None,
        errors: Errors = "raise",
    ) -> AsyncGenerator[UpdateManyResult, None]:
        """Set and remove labels of many blobs, and yield the result of each when its change survives a power loss.

        ```python
        async with aclosing(store.update_many(store.walk("labels.kind==layer"), {"tier": "cold", "old": None})) as results:
            async for one in results:
                print(one.result.digest, one.result.labels)
        ```

        `blobs` is read only as fast as results are taken, so memory is bounded. A failed blob does not stop the others. Work begins
        when the first result is asked for. Close the iterator (`contextlib.aclosing`) to stop early.

        Args:
            blobs: the blobs: infos, for example those of a `walk`, or digests. If the iterable itself raises, the blobs in work finish,
                then its error is raised.
            labels: the new value of each label, or None to remove it. Other labels do not change.
            concurrency: the most blobs that are changed at a time (None: the store's default).
            errors: ``"raise"`` yields only successes, and raises the errors of failed blobs at the end. A consumer that stops
                before the end does not see them. ``"yield"`` yields a result for each failed blob, too; see
                `UpdateManyResult.error`.

        Raises:
            ExceptionGroup: blobs failed, for example with NotFound. The message has their number; the group has the first 100 errors,
                each with a note of its blob, and the error of the iterable if that failed, too.
            InvalidArgument: `labels` is empty, `concurrency` is less than 1, or `errors` has another value.
            InvalidLabel: a label is too long; at once, not for each blob.

        Cancellation:
            Blobs that were in work may have been changed or not; their number is bounded by `concurrency`.

        Cost:
            A `LocalStore` changes batches of up to 512 blobs, each in one hop and one transaction.
        """
        _concurrent.check_concurrency(concurrency)
        change = _options.LabelChange.parse(labels)
        return _many.of_blobs(self._update_many(blobs, change, concurrency), errors, "update_many")

    def delete_many(
        self, blobs: Blobs, *, concurrency: int | None = None, errors: Errors = "raise"
    ) -> AsyncGenerator[DeleteManyResult, None]:
        """Delete many blobs and their labels, and yield the result of each when its removal survives a power loss.

        Like `Manager.delete`, it does not check whether a root keeps a blob; `Collector.reasons` does. The arguments, the errors and the
        order of work are those of `update_many`.

        Raises:
            ExceptionGroup: see `update_many`.
            InvalidArgument: `concurrency` is less than 1, or `errors` is something else.

        Cancellation:
            Blobs that were in work may have been deleted or not; their number is bounded by `concurrency`.

        Cost:
            A `LocalStore` deletes batches of up to 512 blobs, each in one hop, with one sync and one transaction.
        """
        _concurrent.check_concurrency(concurrency)
        return _many.of_blobs(self._delete_many(blobs, concurrency), errors, "delete_many")
