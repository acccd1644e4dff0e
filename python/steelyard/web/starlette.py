"""`BlobResponse` as a response of Starlette and FastAPI. They pass only their own responses on unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from steelyard import web
from steelyard.content import Provider
from steelyard.digest import Digest
from steelyard.model import Descriptor

__all__ = ("BlobResponse",)


class BlobResponse(web.BlobResponse, Response):
    """A `steelyard.web.BlobResponse` that endpoints of Starlette and FastAPI return.

    Args:
        background: a task that runs after the response.

    The other arguments are those of `steelyard.web.BlobResponse`. The attribute `headers` and the method `set_cookie` work. The attributes
    `body` and `status_code` have no effect.
    """

    def __init__(
        self,
        store: Provider,
        blob: Descriptor | Digest | str,
        *,
        content_type: str | None = None,
        filename: str | None = None,
        disposition: Literal["attachment", "inline"] | None = None,
        headers: Mapping[str, str] | None = None,
        verify: bool = True,
        missing: web.ASGIApp | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        super().__init__(
            store,
            blob,
            content_type=content_type,
            filename=filename,
            disposition=disposition,
            headers=headers,
            verify=verify,
            missing=missing,
        )
        self.raw_headers: list[tuple[bytes, bytes]] = self._fields
        self.status_code: int = 200
        self.body: bytes | memoryview = b""
        self.background: BackgroundTask | None = background

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and run the background task."""
        await web.BlobResponse.__call__(self, scope, receive, send)
        if self.background is not None:
            await self.background()
