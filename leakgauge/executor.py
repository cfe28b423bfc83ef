"""Run audits: a spawned process for each, so that one that is killed takes no other with it and memory is given back."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, final

from leakgauge.algorithm import Count, NonNegativeInt, Positive, algorithm
from leakgauge.devices import check_device, cores
from leakgauge.errors import LeakgaugeError, UsageError
from leakgauge.record import Ending, Record, Verdict
from leakgauge.store import Store

if sys.platform != "win32":
    from multiprocessing import resource_tracker

if TYPE_CHECKING:
    from leakgauge.auditing import Outcome
    from leakgauge.spec import AuditSpec

log = logging.getLogger(__name__)


@final
@algorithm
class Runtime:
    """Where and how fast audits run; changes no result beyond rounding, and is in no key.

    `device` is "auto" (a GPU if torch sees one), "cpu", "cuda" or "cuda:1"; `timeout` is in seconds per audit; `retries` is how
    often an audit is started again whose process was killed.
    """

    device: str = "auto"
    workers: Count = 1
    timeout: Positive = inf
    retries: NonNegativeInt = 1

    @property
    def threads(self) -> int:
        """How many threads each worker may use."""
        return max(1, cores() // self.workers)


@final
@dataclass(frozen=True)
class Task:
    """One audit to run: what its record is filed under, and the canonical spec that the job is given."""

    key: str
    name: str
    seed: int
    spec: dict[str, Any]  # plain values: no class has to be importable to pass it on or to read it


Tick = Callable[[float], None]
Job = Callable[[dict[str, Any], Runtime, Tick], "Outcome"]
"""Runs the audit of a spec. It is called in a process of its own, and so must be a function of a module."""


@final
@dataclass(frozen=True)
class Event:
    """What a listener is told: `share` with progress, `record` with skipped and ended, `message` with retried."""

    kind: Literal["skipped", "started", "progress", "retried", "ended"]
    task: Task
    share: float = 0.0
    record: Record | None = None
    message: str = ""


Listener = Callable[[Event], None]


def ignore(_: Event) -> None:
    """Listen to nothing."""


@final
@dataclass(frozen=True)
class Summary:
    """The records of all audits asked for, in that order, whether run now or before."""

    records: tuple[Record, ...]
    skipped: frozenset[str]  # keys of those that were finished before
    usage_errors: tuple[str, ...]  # bad input that only running brought to light


def task_of(spec: AuditSpec) -> Task:
    """The task of an audit's spec."""
    from leakgauge.spec import canonical, key

    return Task(key(spec), spec.name, spec.parts.seed, canonical(spec))


def audit_job(spec: dict[str, Any], runtime: Runtime, tick: Tick) -> Outcome:
    """Make what a canonical spec describes and audit it."""
    import torch

    from leakgauge.auditing import run
    from leakgauge.spec import parse, prepare

    torch.set_num_threads(runtime.threads)
    scene, plan = prepare(parse(spec), runtime.device, lambda share: tick(0.2 * share))
    return run(scene, plan, tick=lambda share: tick(0.2 + 0.8 * share))


def execute(tasks: Iterable[Task], store: Store, runtime: Runtime, *, listener: Listener = ignore, job: Job = audit_job) -> Summary:
    """Run every audit that is not finished yet, `runtime.workers` at once; each ends as a record in the store.

    A process that is killed is started again, then recorded as failed; an error is recorded with its traceback; one that takes
    too long is killed and recorded as timed out. Workers do not outlive this process. A script that calls this needs the
    guard `if __name__ == "__main__":`, because workers import it.

    Raises UsageError if there is no such device or the store cannot be written to (what is finished is kept), and
    KeyboardInterrupt as it comes.
    """
    check_device(runtime.device)
    store.open()
    # Workers share the cores with each other and with whatever else runs: threads that spin while they wait, the default of
    # OpenMP, made a step ten times slower on a busy machine. Read when a worker imports torch.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    wanted = {task.key: task for task in tasks}
    records: dict[str, Record] = {}
    usage_errors: dict[str, None] = {}
    for task in wanted.values():
        if _is_done(store, task.key):
            records[task.key] = store.load(task.key)
            listener(Event("skipped", task, 1.0, records[task.key]))
    skipped = frozenset(records)
    waiting = deque(_Attempt(task) for task in wanted.values() if task.key not in records)
    running: list[_Attempt] = []
    try:
        while waiting or running:
            while waiting and len(running) < runtime.workers:
                listener(Event("started", waiting[0].task))
                with _interrupts_held():
                    running.append(waiting.popleft().start(store, runtime, job))
            _listen(running, runtime.timeout, listener)
            for attempt in [attempt for attempt in running if attempt.is_over(runtime.timeout)]:
                attempt.stop(store)
                running.remove(attempt)
                task, failure = attempt.task, attempt.failure(store, runtime.timeout)
                if failure is not None and failure.is_kill and attempt.number <= runtime.retries:
                    listener(Event("retried", task, message=failure.message))
                    waiting.appendleft(_Attempt(task, attempt.number + 1))
                    continue
                if failure is not None:
                    store.save(_failed(task, failure, attempt.seconds))
                    usage_errors |= dict.fromkeys([failure.message] if failure.is_usage else [])
                records[task.key] = store.load(task.key)
                listener(Event("ended", task, 1.0, records[task.key]))
    finally:
        for attempt in running:
            attempt.stop(store)
    return Summary(tuple(records[key] for key in wanted), skipped, tuple(usage_errors))


@final
@dataclass(frozen=True)
class _Failure:
    status: Ending
    message: str  # one line
    details: str = ""
    is_usage: bool = False
    is_kill: bool = False


_DONE = _Failure("ok", "")
"""What a worker sends once its record is saved."""


@final
class _Attempt:
    """A task with the process that works on it: the only thing here that changes."""

    def __init__(self, task: Task, number: int = 1) -> None:
        self.task, self.number = task, number
        self.ending: _Failure | None = None  # as the worker told it
        self.is_open = True

    def start(self, store: Store, runtime: Runtime, job: Job) -> _Attempt:
        context = multiprocessing.get_context("spawn")
        self.channel, theirs = context.Pipe(duplex=False)
        # pickled here, so that an import that fails over there is told like any other error
        payload = pickle.dumps((self.task, store, runtime, job))
        self.process: SpawnProcess = context.Process(target=_work, args=(theirs, payload), daemon=True)
        self.started = time.monotonic()
        self.process.start()
        theirs.close()
        return self

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def is_over(self, timeout: float) -> bool:
        return self.ending is not None or not self.is_open or not self.process.is_alive() or self.seconds >= timeout

    def receive(self) -> Iterator[float]:
        """What has arrived: shares are passed on, the ending is kept."""
        while self.is_open and self.channel.poll():
            try:
                message = self.channel.recv()
            except (EOFError, OSError):  # the worker is gone, perhaps in the middle of a message
                self.is_open = False
                return
            if isinstance(message, _Failure):
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
        store.discard_partial(self.task.key, self.process.pid or 0)
        self.channel.close()
        self.is_open = False

    def failure(self, store: Store, timeout: float) -> _Failure | None:
        """Why a stopped attempt came to nothing; None if its record is there."""
        if self.ending is not None:
            return None if self.ending == _DONE else self.ending
        if store.has(self.task.key):  # killed after the record was written
            return None
        if self.seconds >= timeout:
            return _Failure("timed_out", f"The audit was stopped after {timeout:g} seconds; raise --timeout or take fewer steps.")
        how = f"the process ended with exit code {self.process.exitcode}"
        if self.process.exitcode is not None and self.process.exitcode < 0:
            how = f"the process was killed ({signal.strsignal(-self.process.exitcode)})"
        hint = "out of memory? take fewer workers or a smaller batch"
        return _Failure("failed", f"After {self.number} attempts {how} ({hint}).", is_kill=True)


def _listen(running: list[_Attempt], timeout: float, listener: Listener) -> None:
    """Wait until a worker says something, ends or has had its time."""
    left = min(timeout - attempt.seconds for attempt in running)
    handles = [handle for attempt in running for handle in (attempt.channel, attempt.process.sentinel)]
    wait(handles, None if left == inf else max(left, 0.0))
    for attempt in running:
        for share in attempt.receive():
            listener(Event("progress", attempt.task, share))


def _is_done(store: Store, key: str) -> bool:
    try:
        return store.has(key)
    except UsageError as error:
        log.warning("%s", error)
        store.set_aside(key)
        return False


def _failed(task: Task, failure: _Failure, seconds: float) -> Record:
    return Record(
        key=task.key,
        name=task.name,
        seed=task.seed,
        status=failure.status,
        verdict=Verdict("inconclusive", f"The audit did not finish: {failure.message}"),
        setting=None,
        trials={},
        seconds=seconds,
        spec=task.spec,
        environment={},
        error=failure.details or failure.message,
    )


def _work(channel: Connection, payload: bytes) -> None:
    """The life of a worker."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        task, store, runtime, job = pickle.loads(payload)
        outcome = job(task.spec, runtime, _Throttled(channel))
        record = replace(outcome.record, key=task.key, name=task.name, seed=task.seed, spec=task.spec)
        store.save(record, outcome.images)
        channel.send(_DONE)
    except LeakgaugeError as error:
        channel.send(_Failure("failed", str(error), is_usage=isinstance(error, UsageError)))
    except BaseException as error:  # noqa: BLE001  any other way to end is a record too
        line = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
        channel.send(_Failure("failed", _without_places(line), _without_places("".join(traceback.format_exception(error)))))


@final
class _Throttled:
    """Tells the share that is done, at most ten times a second."""

    def __init__(self, channel: Connection) -> None:
        self.channel, self.last = channel, -inf

    def __call__(self, share: float) -> None:
        now = time.monotonic()
        if now - self.last >= 0.1:
            self.last = now
            self.channel.send(share)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # returns when the parent has ended, however it ended
        os._exit(1)


def _without_places(text: str) -> str:
    """Shorten the folders that say on whose machine this was, for records are passed on."""
    for folder in sorted({*filter(None, sys.path), str(Path.cwd())}, key=len, reverse=True):
        text = text.replace(folder + os.sep, "")
    return text.replace(str(Path.home()), "~")


@contextmanager
def _interrupts_held() -> Iterator[None]:
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
