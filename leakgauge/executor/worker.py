"""The life of a worker: it runs one job, files the record, and does not outlive the process that wants it."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from math import inf
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from leakgauge.core.errors import LeakgaugeError, UsageError
from leakgauge.executor.tasks import DONE, Failure, Runtime, Tick

if TYPE_CHECKING:
    from leakgauge.auditing.outcome import Outcome


def audit_job(spec: dict[str, Any], runtime: Runtime, tick: Tick) -> Outcome:
    """Make what a canonical spec describes and audit it."""
    import torch

    from leakgauge.auditing.pipeline import run
    from leakgauge.spec import parse, prepare

    torch.set_num_threads(runtime.threads)
    scene, plan = prepare(parse(spec), runtime.device, lambda share: tick(0.2 * share))
    return run(scene, plan, tick=lambda share: tick(0.2 + 0.8 * share))


def work(channel: Connection, environment: Mapping[str, str], payload: bytes) -> None:
    """Run the job in the payload and tell the channel how it ended. Its environment is that of whoever asks."""
    os.environ.clear()  # a server that was started earlier has the environment of its day
    os.environ.update(environment)
    die_with_parent()
    try:
        # Made by the process that started this one and handed over its own pipe, as multiprocessing does with every argument: no
        # file and nothing from outside is ever unpickled.
        task, store, runtime, job = pickle.loads(payload)
        outcome = job(task.spec, runtime, _Throttled(channel))
        record = replace(outcome.record, key=task.key, name=task.name, seed=task.seed, spec=task.spec)
        store.save(record, outcome.images)
        channel.send(DONE)
    except LeakgaugeError as error:
        channel.send(Failure("failed", str(error), is_usage=isinstance(error, UsageError)))
    except BaseException as error:  # noqa: BLE001  any other way to end is a record too
        line = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
        channel.send(Failure("failed", _without_places(line), _without_places("".join(traceback.format_exception(error)))))


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


def die_with_parent() -> None:
    """End this process as soon as the one that wants it has ended, however that ended."""
    threading.Thread(target=_outlive_nobody, daemon=True).start()


def _outlive_nobody() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _without_places(text: str) -> str:
    """Shorten the folders that say on whose machine this was, for records are passed on."""
    for folder in sorted({*filter(None, sys.path), str(Path.cwd())}, key=len, reverse=True):
        text = text.replace(folder + os.sep, "")
    return text.replace(str(Path.home()), "~")
