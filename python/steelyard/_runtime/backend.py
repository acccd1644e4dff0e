"""The event loop in which a call runs, and the differences between asyncio and trio: how a thread wakes it, and what Ctrl-C does.

Ctrl-C cancels the main task of `asyncio.run` once, by asyncio's own `Task.cancel`, which no shield stops. trio raises
KeyboardInterrupt in whatever Python code of the main task runs, unless a function is protected: then at the next checkpoint.
"""

from __future__ import annotations

import contextvars
import inspect
import sys
import weakref
from collections.abc import Callable, Coroutine, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeVar

import anyio

from steelyard import _lazy

__all__ = ("EventLoop", "interruptible", "on_asyncio", "outlast", "protect_imported", "uninterrupted")

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def on_asyncio() -> bool:
    """Return whether the caller runs on asyncio; otherwise it runs on trio.

    Inside trio there is no asyncio task, even when trio is a guest in asyncio's loop. A program that has not imported
    asyncio does not run on it. This function never imports asyncio: that would cost each start 15 ms.
    """
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False


_tasks: set[object] = set()
"""Tasks that belong to no scope: asyncio itself keeps only weak references to tasks."""


def _forget(task: Any) -> None:
    _tasks.discard(task)
    if not task.cancelled():
        task.exception()  # only Ctrl-C is possible, and the event loop has already raised it


class EventLoop:
    """The event loop in which this object is made, for the use of other threads. The object holds a weak reference to it.

    This is the one way into a loop from outside: from a thread of Python or of the native core, and from a finalizer.
    """

    def __init__(self) -> None:
        loop: object
        if on_asyncio():
            import asyncio  # noqa: PLC0415  # only a program that runs on it has it, and it is slow to import

            loop, self._method = asyncio.get_running_loop(), "call_soon_threadsafe"
        else:
            import trio  # noqa: PLC0415  # only a program that runs on trio has it

            protect_imported()
            loop, self._method = trio.lowlevel.current_trio_token(), "run_sync_soon"
        self.reference: Callable[[], Any] = weakref.ref(loop)
        """Returns asyncio's loop or trio's token, or None when the loop is gone."""

    @property
    def running(self) -> bool:
        """Whether the loop runs. A loop that has ended or was stopped makes no more calls."""
        loop = self.reference()
        is_running = getattr(loop, "is_running", None)
        return is_running() if is_running is not None else self.try_call(bool)

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Have the function called in the loop's thread, soon; from any thread.

        Raises:
            RuntimeError: the loop has ended.
        """
        loop = self.reference()
        if loop is None:
            raise RuntimeError("the event loop is gone")
        getattr(loop, self._method)(function, *args)

    def try_call(self, function: Callable[..., object], *args: object) -> bool:
        """Do the same as `call`; return False if the loop has ended."""
        try:
            self.call(function, *args)
        except RuntimeError:
            return False
        return True

    def start_task(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a task that belongs to no scope. Call it in the loop's thread. The task must raise nothing but cancellation."""
        if self._method == "call_soon_threadsafe":
            import asyncio  # noqa: PLC0415  # as above

            task: asyncio.Task[None] = asyncio.create_task(function())
            task.add_done_callback(_forget)  # first: Ctrl-C between the two must not keep the task for good
            _tasks.add(task)
        else:
            import trio  # noqa: PLC0415  # as above

            trio.lowlevel.spawn_system_task(function, context=contextvars.copy_context())


_marked: list[tuple[Callable[..., Any], bool]] = []
"""The functions that trio does not know yet, and whether they are protected."""

_interruptible: set[CodeType] = set()

_seen: set[str] = set()
"""The modules that `protect` has looked at."""

_module_count = 0
"""The number of imported modules when `protect` last ran."""

_UNPROTECTED = ("steelyard.cli", "steelyard.testing")
"""The packages that `protect` leaves out: the command line handles signals in a task, and `steelyard.testing` plays the part of user code."""


def uninterrupted(function: FunctionT) -> FunctionT:
    """Protect a function, and the functions that it calls, from KeyboardInterrupt: trio raises it at the next checkpoint instead.

    Use it for a plain function that transfers or releases something and must not stop half-way; `protect` marks all coroutines.
    A mark adds no cost to a call. The function must not call user code that may run for long.
    """
    _mark(function, protected=True)
    return function


def interruptible(function: FunctionT) -> FunctionT:
    """Let trio raise KeyboardInterrupt in this function, because the user code that it calls may run for long."""
    _interruptible.add(function.__code__)
    _mark(function, protected=False)
    return function


def _mark(function: Callable[..., Any], *, protected: bool) -> None:
    _marked.append((function, protected))
    if "trio" in sys.modules:
        _mark_for_trio()


def _mark_for_trio() -> None:
    import trio  # noqa: PLC0415  # only a program that runs on trio has it

    while _marked:
        function, protected = _marked.pop()
        mark = trio.lowlevel.enable_ki_protection if protected else trio.lowlevel.disable_ki_protection
        mark(function)


def protect_imported() -> None:
    """Call `protect` if modules were imported since its last run. If there are none, this takes a tenth of a microsecond."""
    if len(sys.modules) != _module_count:
        protect()


def protect() -> None:
    """Protect the package's coroutines from KeyboardInterrupt: trio raises it at their next checkpoint instead.

    Without protection, it may be raised between the call that makes a coroutine and its await, in the first and last steps of
    an ``async with``, or before the result of a call is assigned. Therefore every coroutine function and async
    generator of the modules that are imported, now or later, is `uninterrupted`, unless it is `interruptible`.
    """
    if protect not in _lazy.on_load:
        _lazy.on_load.append(protect)
    global _module_count  # noqa: PLW0603  # there is one `sys.modules`
    _module_count = len(sys.modules)
    for name in sys.modules.keys() - _seen:
        if name.startswith("steelyard.") and not name.startswith(_UNPROTECTED):
            module = sys.modules[name]
            if getattr(module.__spec__, "_initializing", False):
                continue  # it is being imported: some of its functions are not defined yet
            for code in _coroutines(module):
                if code not in _interruptible:
                    _mark(_Coded(code), protected=True)
        _seen.add(name)
    _mark_for_trio()


class _Coded:
    """The attributes of a function that trio reads."""

    def __init__(self, code: CodeType) -> None:
        self.__code__ = code

    def __call__(self) -> None:
        """Do nothing."""


def _coroutines(module: ModuleType) -> Iterator[CodeType]:
    """Iterate over the code of the coroutine functions and async generators that a module defines."""
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    for scope in (module, *classes):
        for value in vars(scope).values():
            if isinstance(value, FunctionType | staticmethod | classmethod):
                function: Any = inspect.unwrap(value)  # type: ignore[arg-type]  # it unwraps these too
                if function.__module__ == module.__name__:
                    yield from _coroutines_in(function.__code__)


def _coroutines_in(code: CodeType) -> Iterator[CodeType]:
    if code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _coroutines_in(constant)


async def outlast(event: anyio.Event, before_wait: Callable[[], object] = bool) -> None:
    """Wait for an event that is certain to be set, and ignore cancellation meanwhile. Ctrl-C is raised afterwards.

    Args:
        event: the event.
        before_wait: called before each wait.
    """
    broken: BaseException | None = None
    with anyio.CancelScope(shield=True):
        while not event.is_set():
            try:
                before_wait()
                await event.wait()
            except (anyio.get_cancelled_exc_class(), KeyboardInterrupt) as error:
                # A shield does not stop asyncio's own cancel and Ctrl-C.
                broken = error
    try:
        if broken is not None:
            raise broken
    finally:
        del broken  # its traceback holds this frame
