"""Upload a file with tuspy: python tus_py.py ENDPOINT FILE OPTIONS. It prints the URL of the upload."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tusclient.client import TusClient


def main() -> None:
    endpoint, file, options = sys.argv[1:]
    metadata = {"filename": Path(file).name}
    more = json.loads(options)
    uploader = TusClient(endpoint).uploader(file, retries=200, retry_delay=0.1, metadata=metadata, **more)
    uploader.upload()
    print(uploader.url)


main()
