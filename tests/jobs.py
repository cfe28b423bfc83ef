"""Jobs for the executor that need no torch: what a spec (a dict) tells them to do, they do."""

import importlib
import json
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from samples import images, record

from leakgauge.auditing.record import Record
from leakgauge.core.errors import OutOfScope, UsageError
from leakgauge.executor import Task


@dataclass(frozen=True)
class FakeOutcome:
    record: Record
    images: object


def task(key, **spec):
    return Task(key, f"name of {key}", 5, {name: str(value) if isinstance(value, Path) else value for name, value in spec.items()})


def job(spec, runtime, tick):
    tick(0.5)
    for name, value in spec.items():
        STEPS[name](value)
    made = record("", spec={}, seed=5)
    return FakeOutcome(made, images(runtime.threads))


def note(path):
    """Write down the process, and when."""
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()} {time.time()}\n")


def echo(path):
    """Write down what a worker sees of the environment."""
    Path(path).write_text(os.environ.get("LEAKGAUGE_ECHO", "nothing"))


def modules(path):
    """Write down what has been imported."""
    Path(path).write_text("\n".join(sorted(sys.modules)))


def kill_once(path):
    if not Path(path).exists():
        Path(path).touch()
        kill(None)


def kill_parent_once(path):
    """Kill what wants this audit, a worker of Ray's."""
    if not Path(path).exists():
        Path(path).touch()
        os.kill(multiprocessing.parent_process().pid, signal.SIGKILL)
        time.sleep(600)


def kill_parent(_):
    os.kill(multiprocessing.parent_process().pid, signal.SIGKILL)
    time.sleep(600)


def kill(_):
    os.kill(os.getpid(), signal.SIGKILL)


def leave(code):
    os._exit(code)


def leave_politely(code):
    sys.exit(code)


def divide(by):
    return 1 / by


def misuse(text):
    raise UsageError(text)


def out_of_scope(text):
    raise OutOfScope(text)


STEPS = {
    "echo": echo,
    "modules": modules,
    "note": note,
    "sleep": time.sleep,
    "kill_once": kill_once,
    "kill": kill,
    "kill_parent_once": kill_parent_once,
    "kill_parent": kill_parent,
    "leave": leave,
    "leave_politely": leave_politely,
    "divide": divide,
    "misuse": misuse,
    "out_of_scope": out_of_scope,
}


def main(root, log):
    """A driver to be killed: one audit that ends, one that never does, one that never starts."""
    from leakgauge.executor import Runtime, execute
    from leakgauge.results.store import Store

    tasks = [task("a1"), task("b2", note=log, sleep=600), task("c3", note=log)]
    try:
        execute(tasks, Store(Path(root)), Runtime(), job=job)
    except KeyboardInterrupt:
        sys.exit(130)


def main_on_ray(root, log, seconds):
    """A driver on Ray: eight audits of so many seconds each."""
    from leakgauge.executor import Runtime, execute_on_ray
    from leakgauge.results.store import Store

    tasks = [task(f"a{number}", note=log, sleep=float(seconds)) for number in range(8)]
    of_a_module = importlib.import_module("jobs").job  # that of __main__ is in none
    execute_on_ray(tasks, Store(Path(root)), Runtime(), job=of_a_module)


def main_of(root, tasks):
    """A driver on Ray of the tasks in a file: key to spec. Writes down what came of them."""
    from leakgauge.executor import Runtime, execute_on_ray
    from leakgauge.results.store import Store

    events = []
    wanted = [task(key, **spec) for key, spec in json.loads(Path(tasks).read_text()).items()]
    summary = execute_on_ray(wanted, Store(Path(root)), Runtime(), listener=events.append, job=importlib.import_module("jobs").job)
    found = {
        "records": [(made.key, made.status, made.verdict.reason) for made in summary.records],
        "usage_errors": summary.usage_errors,
        "skipped": sorted(summary.skipped),
        "ended": sorted(event.task.key for event in events if event.kind == "ended"),
    }
    Path(tasks).with_suffix(".found").write_text(json.dumps(found))


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    {"main": main, "ray": main_on_ray, "tasks": main_of}[name](*arguments)
