"""Copy an image out of a containerd into a local store, on trio, and name it there.

Stored blobs are not fetched again, and the next run resumes a large blob after an interruption.
All blobs are copied before the name is set, so the name never holds an incomplete image.

    python copy_from_containerd.py SOCKET NAMESPACE IMAGE STORE
"""

import sys

import trio

from steelyard import Digest, LocalStore, Store, copy
from steelyard.containerd import RemoteStore
from steelyard.images import check


async def copy_image(source: Store, name: str, target: Store) -> int:
    """Copy all blobs of an image, a few at a time; return how many were new."""
    image = await check(source, name)
    image.require()  # nothing is copied of an image of which containerd has only a part
    new = 0
    room = trio.CapacityLimiter(4)

    async def copy_blob(digest: Digest) -> None:
        nonlocal new
        async with room:
            result = await copy(source, digest, target)
        new += result.new
        print(f"{result.digest}  {result.size} bytes{'' if result.new else ', was there'}")

    async with trio.open_nursery() as nursery:
        for node in image.present:
            nursery.start_soon(copy_blob, node.descriptor.blob)
    held = await source.images.get(name)
    await target.images.assign({name: held.target}, overwrite=True)
    return new


async def main(socket: str, namespace: str, name: str, root: str) -> None:
    """Copy, and say what was done."""
    async with RemoteStore(socket, namespace=namespace) as source, LocalStore(root) as target:
        new = await copy_image(source, name, target)
        complete = (await check(target, name)).complete
        print(f"{name}: {new} new blobs, {'complete' if complete else 'incomplete'}")


if __name__ == "__main__":
    socket, namespace, name, root = sys.argv[1:]
    trio.run(main, socket, namespace, name, root)
