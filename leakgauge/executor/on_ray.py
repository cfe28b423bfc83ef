"""Audits on a Ray cluster: each Ray task runs one audit as a machine alone would, into a folder that all machines share."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from leakgauge.core.devices import cores
from leakgauge.core.errors import MissingExtra
from leakgauge.executor.running import Event, Listener, Summary, execute, failed, finished_before, ignore
from leakgauge.executor.tasks import Failure, Job, Runtime, Task
from leakgauge.executor.worker import audit_job
from leakgauge.results.store import Store

_AHEAD = 2
"""Tasks that are handed over for each of the cluster's cores: enough that none waits, too few to fill its memory."""


def execute_on_ray(
    tasks: Iterable[Task],
    store: Store,
    runtime: Runtime,
    *,
    address: str = "local",
    listener: Listener = ignore,
    job: Job = audit_job,
) -> Summary:
    """Run every audit that is not finished yet on the cluster at `address`; "local" is one of this machine's own cores.

    A worker of Ray's that is killed, or whose machine is lost, is replaced, its audit is begun anew `runtime.retries` times, and
    recorded as failed after that. Who is killed and starts again goes on where the folder is. Within its task, an audit has a
    process of its own, its timeout and its retries, as `execute` gives it. Raises MissingExtra without Ray, and as `execute` does.
    """
    ray = _ray()
    store.open()
    wanted = {task.key: task for task in tasks}
    records = finished_before(wanted.values(), store, listener)
    skipped = frozenset(records)
    usage_errors: dict[str, None] = {}
    waiting = [task for task in wanted.values() if task.key not in records]
    is_ours = not ray.is_initialized()
    if is_ours:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        resources = {"num_gpus": 1} if runtime.device.startswith("cuda") else {"num_cpus": 1}
        remote = ray.remote(max_retries=runtime.retries, retry_exceptions=False, **resources)(_audited)
        most = _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
        pending: dict[Any, Task] = {}
        while waiting or pending:
            while waiting and len(pending) < most:
                task = waiting.pop(0)
                listener(Event("started", task))
                pending[remote.remote(task, store, runtime, job)] = task
            (done, *_), _ = ray.wait(list(pending), num_returns=1)
            task = pending.pop(done)
            try:
                usage_errors |= dict.fromkeys(ray.get(done))
            except ray.exceptions.RayTaskError as error:  # what `execute` raises, such as of a folder that cannot be written to
                raise error.cause from None
            except ray.exceptions.RayError as error:  # its worker was killed more often than it may be
                told = f"Ray's worker was lost ({type(error).__name__}); out of memory? take a machine with more."
                if not store.has(task.key):
                    store.save(failed(task, Failure("failed", told, is_kill=True), 0.0))
            records[task.key] = store.load(task.key)
            listener(Event("ended", task, 1.0, records[task.key]))
    finally:
        if is_ours:
            ray.shutdown()
    return Summary(tuple(records[key] for key in wanted), skipped, tuple(usage_errors))


def _audited(task: Task, store: Store, runtime: Runtime, job: Job) -> tuple[str, ...]:
    """One audit, on whatever machine this is, with one thread: Ray counts a core for it. Returns what was wrong with its input."""
    return execute([task], store, replace(runtime, workers=cores()), job=job).usage_errors


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # as on a machine alone: by default, whatever else runs goes first
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise MissingExtra("sweeps on Ray", "ray") from error
