"""What sweeps make of two workers, and of workers that are killed while they work."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cases import Settings
from benchmarks.results import Results, Shown, Values
from leakgauge.executor import Runtime, Task, execute, task_of
from leakgauge.results.store import Store
from leakgauge.spec.sweep import expand

AUDITS, PACED, EVERY = 200, 40, 20.0


def run(settings: Settings, results: Results) -> Shown:
    """Time a sweep on one core and on two, and run another whose workers are killed one by one."""
    steps = settings.steps or 300
    paced = results.row("sweeping", {"audits": PACED, "steps": steps}, lambda: measured(PACED, steps))
    killed = results.row("sweeping", {"audits": AUDITS, "steps": steps, "kill every, s": EVERY}, lambda: attacked(AUDITS, steps))
    return Shown(
        f"Audits of {steps} steps of Inverting Gradients on a small CNN",
        [paced, killed],
        {name: name for name in ("audits", "one core, s", "two workers, s", "kills", "records", "ok")},
        [
            f"efficiency of two workers: {paced['one core, s'] / 2 / paced['two workers, s']:.2f} (goal: at least 0.85)",
            f"with a worker killed every {EVERY:g} s ({killed['kills']} kills): {killed['records']} of {AUDITS} records, "
            f"{killed['ok']} of them completed (goal: all records)",
        ],
    )


def measured(count: int, steps: int) -> Values:
    """Seconds of one worker that may use one core, and of two workers that may use one each."""
    return {"one core, s": _alone(count, steps, cores=1), "two workers, s": _alone(count, steps, cores=2)}


def attacked(count: int, steps: int) -> Values:
    """What is there after a sweep in which some worker is killed again and again."""
    with tempfile.TemporaryDirectory() as folder:
        over, kills = threading.Event(), list[int]()
        killer = threading.Thread(target=_kill, args=(over, kills), daemon=True)
        killer.start()
        execute(tasks(count, steps), Store(Path(folder)), Runtime(device="cpu", workers=2))
        over.set()
        killer.join()
        ends = Counter(record.status for record in Store(Path(folder)).records())
    return {"kills": len(kills), "records": ends.total(), "ok": ends["ok"]}


def tasks(count: int, steps: int) -> list[Task]:
    """Audits that differ in their seed."""
    document = {
        "name": "sweeping",
        "base": {
            "data": {"name": "photographs", "size": 16},
            "batch": {"size": 1},
            "victim": {"name": "cnn", "width": 16},
            "attack": {"name": "inverting_gradients", "steps": steps},
            "threat": "informed",
        },
        "grid": {"seed": list(range(count))},
    }
    return [task_of(spec) for spec in expand(document)]


def _alone(count: int, steps: int, *, cores: int) -> float:
    """The sweep in a process of its own, which has so many cores: threads of torch are set once a process."""
    code = f"from benchmarks.sweeping import timed; print(timed({count}, {steps}, {cores}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def timed(count: int, steps: int, cores: int) -> float:
    """Seconds of a sweep with a worker a core."""
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:cores]))
    wanted = tasks(count, steps)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        execute(wanted, Store(Path(folder)), Runtime(device="cpu", workers=cores))
        return time.perf_counter() - started


def _kill(over: threading.Event, kills: list[int]) -> None:
    chance = random.Random(0)
    while not over.wait(EVERY):
        if workers := list(_workers()):
            kills.append(chance.choice(workers))
            os.kill(kills[-1], signal.SIGKILL)


def _workers() -> Iterator[int]:
    """The children of the process that forks workers."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:  # it has ended
            continue
        parents[int(path.parent.name)] = int(text.rpartition(")")[2].split()[1])
    servers = {child for child, parent in parents.items() if parent == os.getpid()}
    return (child for child, parent in parents.items() if parent in servers)
