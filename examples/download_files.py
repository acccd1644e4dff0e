"""Download all files that a SHA256SUMS names, and show how far it has come.

Kill it at any time and run it again: files that are stored are not requested again, and a large one goes on where it was.

    python examples/download_files.py STORE https://example.org/files/SHA256SUMS
"""

from __future__ import annotations

import sys
from contextlib import aclosing
from urllib.parse import quote, urljoin

import anyio

from steelyard import Descriptor, LocalStore
from steelyard.fetch import FetchItem, Sums, fetch, fetch_many


async def main(root: str, url: str) -> None:
    """Download, and give each file an image name, which keeps it from garbage collection."""
    async with LocalStore(root) as opened, opened.lease() as store:
        sums = Sums.parse((await store.get((await fetch(store, url)).digest)).decode())
        items = [FetchItem(url=urljoin(url, quote(name)), expected=sums.digest_of(name)) for name in sums]
        files, downloaded = {}, 0
        async with aclosing(fetch_many(store, items)) as results:
            async for one in results:
                files[one.source.url] = Descriptor(digest=one.result.digest, size=one.result.size)
                downloaded += one.result.new
                print(f"{len(files)} of {len(items)} files, {downloaded} of them downloaded", flush=True)
        await store.images.assign(files, overwrite=True)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2])
