"""`containerd.services.images.v1.Images`: the image names of the store, so that a client finds all of a store here."""

from __future__ import annotations

from typing import Any

import grpc

from steelyard.containerd._proto import images_pb2
from steelyard.containerd.service import _messages as messages
from steelyard.containerd.service._call import Call
from steelyard.containerd.service._content import EMPTY, EXACT
from steelyard.containerd.service._interceptor import Interceptor
from steelyard.containerd.service._loop_store import AnyStore
from steelyard.digest import Digest
from steelyard.model import Image

__all__ = ("SERVICE", "Images")

SERVICE = "containerd.services.images.v1.Images"

EXPECTED = "steelyard-expected"
"""A header of our own client: Update and Delete change a name only if it holds this digest."""


class Images:
    """The five calls, on a store."""

    def __init__(self, store: AnyStore) -> None:
        self._store = store

    def handlers(self, interceptor: Interceptor) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return the methods, by name."""
        ones = {
            "Get": self.get,
            "List": self.list,
            "Create": self.create,
            "Update": self.update,
            "Delete": self.delete,
        }
        return {name: interceptor.one(f"/{SERVICE}/{name}", one) for name, one in ones.items()}

    def get(self, call: Call, data: bytes) -> bytes:
        """Return a name and its target."""
        call.subject = messages.parse(images_pb2.GetImageRequest, data).name
        image = messages.image_message(self._store.images.get(call.subject))
        return images_pb2.GetImageResponse(image=image).SerializeToString()

    def list(self, call: Call, data: bytes) -> bytes:
        """Return all matching names."""
        del call
        request = messages.parse(images_pb2.ListImagesRequest, data)
        images = [
            messages.image_message(image) for image in self._store.images.list(*messages.filters_value(request.filters))
        ]
        return images_pb2.ListImagesResponse(images=images).SerializeToString()

    def create(self, call: Call, data: bytes) -> bytes:
        """Make a name."""
        given = _image(call, messages.parse(images_pb2.CreateImageRequest, data).image)
        image = messages.image_message(self._store.images.create(given.name, given.target, labels=given.labels))
        return images_pb2.CreateImageResponse(image=image).SerializeToString()

    def update(self, call: Call, data: bytes) -> bytes:
        """Change what a name holds, or its labels."""
        request = messages.parse(images_pb2.UpdateImageRequest, data)
        given = _image(call, request.image)
        updated = self._store.images.update(given, *request.update_mask.paths, expected=_expected(call))
        return images_pb2.UpdateImageResponse(image=messages.image_message(updated)).SerializeToString()

    def delete(self, call: Call, data: bytes) -> bytes:
        """Remove a name."""
        call.subject = messages.parse(images_pb2.DeleteImageRequest, data).name
        self._store.images.delete(call.subject, expected=_expected(call))
        return EMPTY


def _image(call: Call, message: images_pb2.Image) -> Image:
    call.subject = message.name
    return Image(
        name=message.name,
        target=messages.descriptor_value(message.target),
        created_at=messages.EPOCH,
        updated_at=messages.EPOCH,
        labels=messages.labels_value(message.labels, exact=call.header(EXACT) is not None),
    )


def _expected(call: Call) -> Digest | None:
    text = call.header(EXPECTED)
    return None if text is None else Digest.parse(text)
