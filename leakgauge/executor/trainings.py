"""Run many federated trainings, some at once, each in a process of its own; what is finished is found again."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from leakgauge.core.devices import check_device
from leakgauge.core.errors import UsageError
from leakgauge.executor.attempt import context_for, interrupts_held
from leakgauge.executor.tasks import Runtime
from leakgauge.executor.worker import die_with_parent

if TYPE_CHECKING:
    from leakgauge.federation.running import Curve
    from leakgauge.spec.federating import FederationSpec


TRAININGS = "federations"
"""The folder, beside that of audits, that trainings are kept in."""


class Trained(NamedTuple):
    """How a training went, on how many examples its accuracy was measured, and how many each client had."""

    curve: Curve
    tested: int
    sizes: tuple[int, ...]


def train(
    specs: Sequence[FederationSpec], folder: Path, runtime: Runtime, hear: Callable[[int], None] = lambda _: None
) -> tuple[Trained, ...]:
    """Train every federation, `runtime.workers` at once, each in a folder of its own; what was finished before is not done again.

    `hear` is told how many are done. Raises UsageError as the trainings do, and where a process was killed: what it had finished is
    kept; and KeyboardInterrupt as it comes.
    """
    check_device(runtime.device)
    wanted: dict[str, list[FederationSpec]] = {}
    for spec in specs:  # those of one key differ in their rounds, and go on from each other
        wanted.setdefault(spec.key, []).append(spec)
    before = set(multiprocessing.active_children())
    workers = min(runtime.workers, max(1, len(wanted)))
    pool = ProcessPoolExecutor(workers, mp_context=context_for(runtime), initializer=die_with_parent)
    found: dict[tuple[str, int], Trained] = {}
    try:
        with interrupts_held():
            jobs = {pool.submit(_in_turn, several, folder, runtime): key for key, several in wanted.items()}
        for job in as_completed(jobs):
            found |= {(jobs[job], rounds): one for rounds, one in job.result().items()}
            hear(len(found))
    except BrokenProcessPool as error:
        raise UsageError(
            "out: a training was killed (out of memory?), expected it to end; run the same command again, with fewer workers"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - before:
            process.kill()  # checkpoints are written whole or not at all
            process.join()
    return tuple(found[spec.key, spec.rounds] for spec in specs)


def finished(spec: FederationSpec, folder: Path) -> Curve | None:
    """Return the curve of a training that has come to its end, well or not; None before. Raises UsageError for a damaged one."""
    from leakgauge.federation import running

    return running.finished(folder / TRAININGS / spec.key, spec.rounds)


def _in_turn(specs: Sequence[FederationSpec], folder: Path, runtime: Runtime) -> dict[int, Trained]:
    """Train federations of one key, by their rounds."""
    import torch

    from leakgauge.federation.running import run
    from leakgauge.spec.federating import prepare

    torch.set_num_threads(runtime.threads)
    found = {}
    for spec in sorted(specs, key=lambda one: one.rounds):
        federation, test = prepare(spec, runtime.device)
        made = {"federation": spec.key}
        _, curve = run(federation, test, spec.rounds, every=spec.every, folder=folder / TRAININGS / spec.key, made=made)
        found[spec.rounds] = Trained(curve, len(test), tuple(len(share) for share in federation.shares))
    return found
