"""Stores that are open while an application of Starlette or FastAPI runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from steelyard._runtime.scopes import managed
from steelyard.content import Store

__all__ = ("lifespan",)


def lifespan(*stores: Store) -> Callable[[object], AbstractAsyncContextManager[None]]:
    """Return a lifespan of Starlette or FastAPI that opens the stores when the application starts, and closes them when it ends.

    ```python
    app = FastAPI(lifespan=lifespan(store))
    ```
    """

    @managed
    async def opened(_app: object) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for store in stores:
                await stack.enter_async_context(store)
            yield

    return opened
