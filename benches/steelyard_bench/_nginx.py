"""An nginx on loopback, with one worker, that serves a directory."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from steelyard_bench._tied import tied

__all__ = ("available", "nginx")

_CONFIG = """
daemon off; worker_processes 1; pid {root}/pid; error_log {root}/error; {user}
events {{ worker_connections 512; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000; default_type application/octet-stream;
  client_body_temp_path {root}/a; proxy_temp_path {root}/b; fastcgi_temp_path {root}/c; uwsgi_temp_path {root}/d; scgi_temp_path {root}/e;
  server {{ listen 127.0.0.1:{port}; root {files}; }}
}}
"""


def available() -> str | None:
    """Return why there is no nginx to measure with, or None."""
    return None if _program() else "nginx is not installed: apt-get install nginx-light"


@contextmanager
def nginx(files: Path, root: Path) -> Iterator[str]:
    """Serve a directory until the end, with `root` for nginx's own files; give the URL.

    Raises:
        OSError: it does not start.
    """
    root.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    user = "user root;" if os.getuid() == 0 else ""  # else its worker may not read the files of a private directory
    (root / "config").write_text(_CONFIG.format(root=root, files=files, port=port, user=user), encoding="utf-8")
    command = tied([_program() or "nginx", "-c", str(root / "config"), "-e", str(root / "error")])
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            while not _answers(port):
                if process.poll() is not None:
                    raise OSError(f"nginx: {(root / 'error').read_text(encoding='utf-8')}")
                time.sleep(0.01)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _program() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
