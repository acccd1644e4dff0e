"""Uploads that resume: an ASGI application that speaks tus 1.0, where each upload is an ingest.

| Name | Is |
| --- | --- |
| `Uploads` | the application |
| `Upload` | an upload, as the application's callback gets it |
| `OnComplete` | the type of that callback |

Spec: tus resumable upload protocol 1.0.0 (https://tus.io/protocols/resumable-upload): core, creation, creation-with-upload,
creation-defer-length, checksum, termination and expiration.
"""

from __future__ import annotations

from steelyard.web.uploads._app import Uploads
from steelyard.web.uploads._completing import OnComplete
from steelyard.web.uploads._records import Upload

__all__ = ("OnComplete", "Upload", "Uploads")
