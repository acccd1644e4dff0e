"""A process whose collections stop before a system call, until its parent has it go on or kills it: `python held_collector.py`.

The thread that collects asks the main thread before each call that takes a lock, renames or removes. The calls of SQLite are among them.
Ingests without a writer and without a lease go at once.
"""

from __future__ import annotations

import errno
import fcntl
import os
import queue
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

from steelyard.collection import CollectOptions
from steelyard.local.blocking import BlockingStore, OpenOptions
from steelyard.local.blocking._collect import BlockingCollection
from support.seccomp import ANSWER, QUESTION, RECEIVE, answer, supervised

__all__ = ("HeldCollector",)

CALLS = ("fcntl", "renameat", "renameat2", "unlinkat")


class HeldCollector:
    """Such a process, seen from the test."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self._hear("ready")

    def _hear(self, *expected: str) -> list[str]:
        assert self._process.stdout is not None
        words = self._process.stdout.readline().split()
        assert words, "it has ended"
        assert words[0] in expected, words
        return words

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def count(self, root: Path, grace: timedelta) -> int:
        """Collect to the end; return before how many calls such a collection can stop."""
        self._say(f"{root} {grace.total_seconds()} -1 -1")
        return int(self._hear("ended")[1])

    def collect(self, root: Path, grace: timedelta, at: int, max_bytes: int = -1) -> bool:
        """Collect up to the call of that number; return whether it has stopped there. If not, it has ended."""
        self._say(f"{root} {grace.total_seconds()} {max_bytes} {at}")
        return self._hear("held", "ended")[0] == "held"

    def go_on(self) -> None:
        """Let the collection go on to its end."""
        self._say("go on")
        self._hear("ended")

    def kill(self) -> None:
        """Kill the process where it is, and start another."""
        self.close()
        self._start()

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.communicate()


class Hold:
    """Answers the questions about calls, and stops before one of them."""

    def __init__(self) -> None:
        self.asked = 0
        self.at = -1

    def answer_all(self, listener: int) -> None:
        while True:
            question = bytearray(QUESTION.size)
            try:
                fcntl.ioctl(listener, RECEIVE, question)
                if self.asked == self.at:
                    print("held", flush=True)
                    assert sys.stdin.readline(), "the parent has ended"
                self.asked += 1
                fcntl.ioctl(listener, ANSWER, answer(QUESTION.unpack(question)[0]))
            except OSError as error:
                if error.errno not in {errno.ENOENT, errno.EINTR}:
                    raise


def work(hold: Hold, listeners: queue.Queue[int]) -> None:
    """Collect as each line says: root, grace time, budget, number of the call."""
    listeners.put(supervised(*CALLS))
    stores: dict[str, BlockingStore] = {}
    print("ready", flush=True)
    while line := sys.stdin.readline():
        root, grace, budget, at = line.split()
        if root not in stores:
            stores[root] = BlockingStore.open(OpenOptions.parse(root, durability="process-crash"))
        options = CollectOptions(
            grace=timedelta(seconds=float(grace)),
            max_bytes=None if budget == "-1" else int(budget),
            ingest_age=timedelta(0),
        )
        hold.asked, hold.at = 0, int(at)
        collection = BlockingCollection.start(stores[root].native, options)
        while not collection.step().ended:
            pass
        collection.close()
        hold.at = -1
        print("ended", hold.asked, flush=True)
    os._exit(0)


if __name__ == "__main__":
    listeners: queue.Queue[int] = queue.Queue()
    hold = Hold()
    threading.Thread(target=work, args=(hold, listeners), daemon=True).start()
    hold.answer_all(listeners.get())
