"""The parent's side of a worker: start it, listen to it, stop it, and say why it came to nothing."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkServerContext, SpawnContext
from types import FrameType
from typing import final

from leakgauge.core.devices import device_named
from leakgauge.core.errors import UsageError, one_line
from leakgauge.executor.tasks import DONE, Failure, Job, Runtime, Task
from leakgauge.executor.worker import work
from leakgauge.results.store import Store

if sys.platform != "win32":
    from multiprocessing import resource_tracker


def context_for(runtime: Runtime) -> SpawnContext | ForkServerContext:
    """How workers come to be: as forks of a server that has imported what takes seconds, or each from nothing.

    Forks are for work on the CPU of a Linux machine. A GPU's driver does not survive a fork, nor do some libraries of macOS.
    """
    # Workers share the cores with each other and with whatever else runs: threads that spin while they wait, the default of
    # OpenMP, made a step ten times slower on a busy machine. Read when torch is imported, by a worker or by the server.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if sys.platform == "linux" and device_named(runtime.device).type == "cpu":
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["leakgauge.executor.preload"])
        return context
    return multiprocessing.get_context("spawn")


_PAUSES = (0.05, 0.2, 1.0)
"""Seconds before a process is started once more, where the one that starts it was not there."""
_ORPHANED = 255
"""What Python says of a process whose server was killed before it."""


@final
class Attempt:
    """A task with the process that works on it: the only thing here that changes."""

    def __init__(self, task: Task, number: int = 1) -> None:
        self.task, self.number = task, number
        self.ending: Failure | None = None  # as the worker told it
        self.is_open = True
        self.exit: int | None = None  # the exit code, once it is stopped

    def start(self, store: Store, runtime: Runtime, job: Job) -> Attempt:
        """Start the process; the first one of all waits until the server is up. A server that was killed is started again."""
        context = context_for(runtime)
        # pickled here, so that an import that fails over there is told like any other error
        payload = pickle.dumps((self.task, store, runtime, job))
        for pause in _PAUSES:
            with suppress(EOFError, OSError):  # the server is gone, which it may be before the system says so
                return self._launched(context, payload)
            time.sleep(pause)
        try:
            return self._launched(context, payload)
        except (EOFError, OSError) as error:
            raise UsageError(
                f"no worker can be started ({type(error).__name__} {one_line(error)}), expected memory for one, and room in a "
                "temporary folder; what is finished is kept: make room and run the same command again"
            ) from error

    def _launched(self, context: SpawnContext | ForkServerContext, payload: bytes) -> Attempt:
        self.channel, theirs = context.Pipe(duplex=False)
        self.process = context.Process(target=work, args=(theirs, dict(os.environ), payload), daemon=True)
        self.started = time.monotonic()
        try:
            self.process.start()
        except (EOFError, OSError):
            self.channel.close()
            raise
        finally:
            theirs.close()
        return self

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self.started

    def is_over(self, timeout: float) -> bool:
        """Whether it has ended, or had its time."""
        return self.ending is not None or not self.is_open or not self.process.is_alive() or self.seconds >= timeout

    def receive(self) -> Iterator[float]:
        """What has arrived: shares are passed on, the ending is kept."""
        while self.is_open and self.channel.poll():
            try:
                message = self.channel.recv()
            except (EOFError, OSError):  # the worker is gone, perhaps in the middle of a message
                self.is_open = False
                return
            if isinstance(message, Failure):
                self.ending = message
            else:
                yield message

    def stop(self, store: Store) -> None:
        """Let a worker that is done leave by itself, kill any other, and clear what it had begun to write."""
        if not self.process.is_alive():
            list(self.receive())  # what it said last
        self.process.join(5.0 if self.ending or not self.is_open else 0.0)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.exit, pid = self.process.exitcode, self.process.pid or 0
        self.process.close()  # a worker whose server was killed only seems to be dead: this ends it
        self.channel.close()
        self.is_open = False
        store.discard_partial(self.task.key, pid)

    def failure(self, store: Store, timeout: float) -> Failure | None:
        """Why a stopped attempt came to nothing; None if its record is there."""
        if self.ending is not None:
            return None if self.ending == DONE else self.ending
        if store.has(self.task.key):  # killed after the record was written
            return None
        if self.seconds >= timeout:
            return Failure("timed_out", f"The audit was stopped after {timeout:g} seconds; raise --timeout or take fewer steps.")
        how = f"the process ended with exit code {self.exit}"
        if self.exit == _ORPHANED:
            how += ", or the one that starts it was killed"
        elif self.exit is not None and self.exit < 0:
            how = f"the process was killed ({signal.strsignal(-self.exit)})"
        hint = "out of memory? take fewer workers or a smaller batch"
        return Failure("failed", f"After {self.number} attempts {how} ({hint}).", is_kill=True)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Keep Ctrl-C from a child for good (its parent stops it), and from us until the child is accounted for."""
    caught: list[tuple[int, FrameType | None]] = []
    is_main = threading.current_thread() is threading.main_thread()  # the only one that is interrupted, or may say how
    handler = signal.signal(signal.SIGINT, lambda *told: caught.append(told)) if is_main else None
    try:
        if sys.platform == "win32":
            yield
        else:
            resource_tracker.ensure_running()  # its start would lift the mask, which the child inherits
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                yield
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    finally:
        if is_main:
            signal.signal(signal.SIGINT, handler)
    if caught and callable(handler):
        handler(*caught[0])
