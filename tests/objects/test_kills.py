"""Writers, collectors and their server are killed at random times: what a writer said that it named is there, whole and right."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from anyio import to_thread

from steelyard.digest import Digest
from steelyard.objects import ObjectStore

from . import servers
from .test_processes import BACKENDS, start

KILLS = int(os.environ.get("STEELYARD_OBJECT_KILLS", "8"))
"""How often something is killed; 300 is the long form."""

SEED = int(os.environ.get("STEELYARD_SEED", "1"))
WRITERS, COLLECTORS = 3, 1

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.usefixtures("keys"),
    pytest.mark.timeout(300 + 10 * KILLS),
]


class Server:
    """A server that can be killed and started again, at the same port and on the same directory."""

    def __init__(self, root: Path) -> None:
        self._root, self._port = root, servers.free_port()
        self._stack = ExitStack()
        self.url = self._stack.enter_context(servers.versitygw(root, self._port))

    def restart(self) -> None:
        """Kill it, and start it."""
        self.kill()
        self._stack.enter_context(servers.versitygw(self._root, self._port))

    def kill(self) -> None:
        """Kill it."""
        self._stack.close()


class Client:
    """A process that works until it is killed, and then another one in its place, with the same spool.

    Attributes:
        said: the file of what they have said.
    """

    def __init__(self, address: str, path: Path, kind: str, slot: int, chance: random.Random) -> None:
        self._address, self._spool, self._kind, self._slot, self._chance = address, path, kind, slot, chance
        self.said = path.with_suffix(".said")
        self.process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        seed = str(self._chance.randrange(1 << 30))
        return start(
            BACKENDS[self._slot % 2], self._address, self._spool, self._kind, seed, str(self._slot), said=self.said
        )

    def check(self) -> None:
        """Check that it works, and has not ended with an error."""
        assert self.process.poll() is None, self.said.read_text(encoding="utf-8")[-3000:]

    def kill(self) -> None:
        """Kill it."""
        self.check()
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Kill it, and start another one."""
        self.kill()
        self.process = self._start()

    @property
    def lines(self) -> list[list[str]]:
        """The words of each line that was said."""
        return [line.split() for line in self.said.read_text(encoding="utf-8").splitlines()]


@contextmanager
def everyone(root: Path, chance: random.Random) -> Iterator[tuple[Server, list[Client]]]:
    """Run a server, writers and collectors."""
    server = Server(root / "server")
    address = f"s3://bucket/{uuid4().hex}?endpoint={server.url}"
    clients: list[Client] = []
    try:
        for slot in range(WRITERS + COLLECTORS):
            kind = "write on" if slot < WRITERS else "collect on"
            clients.append(Client(address, root / f"client {slot}", kind, slot, chance))
        yield server, clients
    finally:
        for client in clients:
            client.process.kill()
            client.process.wait()
        server.kill()


def killed(server: Server, clients: list[Client], chance: random.Random) -> None:
    """Kill one after the other, and let each of them get on with its work in between."""
    for _ in range(KILLS):
        busy = chance.choice(clients[:WRITERS])
        seen, deadline = len(busy.lines), time.monotonic() + 60
        while len(busy.lines) < seen + 2 and time.monotonic() < deadline:
            busy.check()
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.3))
        victims: list[Server | Client] = [server, server, *clients]
        chance.choice(victims).restart()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_was_named_stays_when_all_are_killed_again_and_again(tmp_path: Path) -> None:
    chance = random.Random(SEED)  # reproducible, as far as processes are
    (tmp_path / "server").mkdir()
    with everyone(tmp_path, chance) as (server, clients):
        await to_thread.run_sync(killed, server, clients, chance)
        for client in clients:
            client.kill()
        async with ObjectStore(clients[0]._address, spool=tmp_path / "spool") as store:
            images = {image.name: image.target.digest for image in await store.images.list()}
            for digest in images.values():
                layers = msgspec.json.decode(await store.get(digest))["layers"]
                for layer in layers:
                    await store.get(Digest.parse(layer["digest"]))  # verified
            for slot, client in enumerate(clients[:WRITERS]):
                said = [words for words in client.lines if words[0] in {"naming", "named", "removed"}]
                assert len(said) > 2, client.said.read_text(encoding="utf-8")
                match said[-1]:
                    case "named", "own", _, manifest:
                        assert manifest == str(images[f"own {slot}"])
                    case "removed", "own", _:
                        assert f"own {slot}" not in images
            named = sum(words[0] == "named" for client in clients for words in client.lines)
            collected = sum(words[0] == "collected" for client in clients for words in client.lines)
            print(f"{KILLS} kills, {named} images named, {collected} collections")
            assert not any("Error" in client.said.read_text(encoding="utf-8") for client in clients)
