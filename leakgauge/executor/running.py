"""Run many audits, some at once; each ends as a record."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from multiprocessing.connection import wait
from typing import Literal, final

from leakgauge.auditing.record import Record, Verdict
from leakgauge.core.devices import check_device
from leakgauge.core.errors import UsageError
from leakgauge.executor.attempt import Attempt, interrupts_held
from leakgauge.executor.claims import Claims
from leakgauge.executor.tasks import Failure, Job, Runtime, Task
from leakgauge.executor.worker import audit_job
from leakgauge.results.store import Store

_AGAIN = 0.5
"""After how many seconds it is asked again for an audit that another process runs."""
log = logging.getLogger(__name__)


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


def execute(tasks: Iterable[Task], store: Store, runtime: Runtime, *, listener: Listener = ignore, job: Job = audit_job) -> Summary:
    """Run every audit that is not finished yet, `runtime.workers` at once; each ends as a record in the store.

    Several processes share the work on one folder: an audit that another one runs is waited for, and taken over where that one ends
    without a record. A process that is killed is started again, then recorded as failed; an error is recorded with its traceback;
    one that takes too long is killed and recorded as timed out. Workers do not outlive this process. A script that calls this needs
    the guard `if __name__ == "__main__":`, because workers import it.

    Raises UsageError if there is no such device or the store cannot be written to (what is finished is kept), and
    KeyboardInterrupt as it comes.
    """
    check_device(runtime.device)
    store.open()
    wanted = {task.key: task for task in tasks}
    usage_errors: dict[str, None] = {}
    records = finished_before(wanted.values(), store, listener)
    skipped = frozenset(records)
    waiting = deque(Attempt(task) for task in wanted.values() if task.key not in records)
    claims, running = Claims(store), list[Attempt]()
    try:
        while waiting or running:
            elsewhere: list[Attempt] = []
            while waiting and len(running) < runtime.workers:
                attempt = waiting.popleft()
                task = attempt.task
                if not claims.take(task.key):
                    elsewhere.append(attempt)
                elif (record := claims.ended(task.key)) is not None:
                    claims.release(task.key)
                    records[task.key] = record
                    listener(Event("ended", task, 1.0, record))
                else:
                    listener(Event("started", task))
                    with interrupts_held():
                        running.append(attempt.start(store, runtime, job))
            waiting.extend(elsewhere)
            if running or elsewhere:
                _listen(running, runtime.timeout, listener, at_most=_AGAIN if elsewhere else inf)
            for attempt in [attempt for attempt in running if attempt.is_over(runtime.timeout)]:
                attempt.stop(store)
                running.remove(attempt)
                task, failure = attempt.task, attempt.failure(store, runtime.timeout)
                claims.release(task.key)
                if failure is not None and failure.is_kill and attempt.number <= runtime.retries:
                    listener(Event("retried", task, message=failure.message))
                    waiting.appendleft(Attempt(task, attempt.number + 1))
                    continue
                if failure is not None:
                    store.save(failed(task, failure, attempt.seconds))
                    usage_errors |= dict.fromkeys([failure.message] if failure.is_usage else [])
                records[task.key] = store.load(task.key)
                listener(Event("ended", task, 1.0, records[task.key]))
    finally:
        for attempt in running:
            attempt.stop(store)
        claims.release_all()
    return Summary(tuple(records[key] for key in wanted), skipped, tuple(usage_errors))


def finished_before(tasks: Iterable[Task], store: Store, listener: Listener) -> dict[str, Record]:
    """Return the records that are there by key, and tell the listener; what is damaged is set aside."""
    records = {}
    for task in tasks:
        if _is_done(store, task.key):
            records[task.key] = store.load(task.key)
            listener(Event("skipped", task, 1.0, records[task.key]))
    return records


def _listen(running: list[Attempt], timeout: float, listener: Listener, at_most: float) -> None:
    """Wait until a worker says something, ends or has had its time; or for so many seconds."""
    left = min([at_most, *(timeout - attempt.seconds for attempt in running)])
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


def failed(task: Task, failure: Failure, seconds: float) -> Record:
    """Return the record of an audit that came to nothing."""
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
