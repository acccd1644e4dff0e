"""`serve`: serve the store to other programs."""

from __future__ import annotations

import json
import signal
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import anyio

from steelyard.cli.context import Context
from steelyard.cli.explain import UsageError
from steelyard.cli.parameters import Parameter
from steelyard.cli.serve_log import log_to_stderr
from steelyard.errors import InvalidArgument

_HELP = "steelyard serve containerd --help"

WRITE_BUFFER = 32 << 20
"""The most bytes that all Write calls together hold in memory before they are written: a quarter of `LocalStore`'s default."""


async def containerd(
    *,
    address: str,
    metrics_address: str | None = None,
    calls: int = 256,
    message_size: int = 16 << 20,
    read_size: int = 1 << 20,
    idle: float = 300,
    grace: float = 10,
    own_collector: bool = False,
    log_format: Literal["text", "json"] = "text",
    log_level: Literal["debug", "info", "warning", "error"] = "info",
    print_config: bool = False,
    plugin: str = "steelyard",
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Serve the store to containerd, as its content store, on a Unix socket.

    From then on containerd collects the garbage of the store, and `steelyard gc` refuses to do so. With --own-collector, `steelyard gc`
    collects it. A missing store is created. Only its owner and root can use the socket. Ctrl-C or SIGTERM ends the service: it accepts no
    new call, gives running calls --grace seconds, keeps ingests, and exits with code 0. A second signal ends it at once.
    --print-config prints the block for containerd's configuration, and serves nothing.

    Args:
        address: the path of the socket, or unix:///PATH. A missing directory is created.
        metrics_address: HOST:PORT of the metrics for Prometheus; without a host, 127.0.0.1.
        calls: the most concurrent Write calls, and the most other concurrent calls.
        message_size: the most bytes of a message.
        read_size: the most bytes of data in one message of a Read.
        idle: the seconds for which a client may keep a call waiting.
        grace: the seconds that running calls may take at the end.
        own_collector: serve programs other than a containerd: `steelyard gc` collects the garbage, and the service offers leases,
            which keep blobs.
        log_format: the log on standard error: readable lines, or one JSON object per line.
        log_level: the lowest level to log; debug has a line for each call.
        print_config: print the block for containerd's config.toml.
        plugin: the name of the plugin in that block.
        context: the run.
    """
    if print_config:
        text = config(_absolute(address), plugin)
        await context.out.document({"config": text}, text.rstrip("\n"))
        return
    context.drain = (ending := anyio.Event()).set
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    log_to_stderr(log_format, log_level)
    from steelyard.containerd.service import Server  # noqa: PLC0415 - other commands do not need it

    if metrics_address is not None:
        _require_metrics()
    async with (
        context.open_store(create=True, change=True, write_buffer_bytes=WRITE_BUFFER) as store,
        Server(
            store,
            address,
            metrics_address=metrics_address,
            calls=calls,
            message_bytes=message_size,
            read_bytes=read_size,
            idle_seconds=_seconds("--idle", idle),
            grace_seconds=_seconds("--grace", grace),
            own_collector=own_collector,
        ),
    ):
        await ending.wait()


def config(path: Path, plugin: str) -> str:
    """Return the block of containerd's config.toml for a content store that this service serves."""
    return f"""\
version = 2

# Disable containerd's own content store; the plugin below replaces it.
disabled_plugins = ["io.containerd.content.v1.content"]

[proxy_plugins]
  [proxy_plugins.{_quoted(plugin)}]
    type = "content"
    address = {_quoted(str(path))}
"""


def _quoted(text: str) -> str:
    """Return a basic string of TOML: JSON's, but for the escapes of surrogates, which TOML does not have, and for DEL.

    Raises:
        InvalidArgument: TOML cannot have the text.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{text[:100]!r}: not Unicode text, which a TOML file has: {error.reason}") from None
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _absolute(address: str) -> Path:
    from steelyard.containerd.service import parse_address  # noqa: PLC0415 - as above

    return parse_address(address)


def _require_metrics() -> None:
    """Refuse a page of metrics if its package is missing.

    Raises:
        UsageError: the package is not installed.
    """
    try:
        import_module("prometheus_client")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--metrics-address: the package {error.name} is not installed",
            next_step="pip install 'steelyard[cli,metrics]'",
        ) from error


def _seconds(option: str, value: float) -> float:
    if not value > 0:
        raise UsageError(f"{option} {value:g}: expected a number of seconds above 0", next_step=_HELP)
    return value
