"""Sweeps that are killed at random moments, shared by processes, and run where files may not grow: nothing finished is lost."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from benchmarks.cases import Settings
from benchmarks.results import Results, Shown, Values
from benchmarks.sweeping import tasks
from leakgauge.core.errors import UsageError
from leakgauge.executor import Event, Runtime, execute
from leakgauge.results.store import Store

KILLS, AUDITS, STEPS = 100, 16, 40
WHO = ("driver", "server", "worker")
SHARERS = (2, 3)
TIMELESS = ("seconds", "started", "environment")


def run(settings: Settings, results: Results) -> Shown:
    """Kill so many times as `--images` says; audits have `--steps` steps."""
    kills, steps = settings.images or KILLS, settings.steps or STEPS
    parts: Mapping[str, Callable[[], Values]] = {
        f"{kills} kills": lambda: killed(kills, steps),
        **{f"{count} processes": partial(shared, count, steps) for count in SHARERS},
        "files that may not grow": lambda: narrowed(steps),
        "the same audits elsewhere": lambda: repeated(steps),
    }
    rows = [results.row("surviving", {"what": what, "steps": steps}, measure) for what, measure in settings.among(parts).items()]
    return Shown(
        f"Sweeps of {AUDITS} audits",
        rows,
        {name: name for name in ("what", "runs", "lost", "damaged", "aborted", "run twice", "differ", "records")},
        ["goal: nothing lost, damaged, aborted or different; at most 2% run twice after a kill, none without"],
    )


def killed(kills: int, steps: int) -> Values:
    """Kill a driver, a server of workers or a worker, run the same command again, and look at what had been there."""
    chance, found = random.Random(0), Counter[str]()
    with tempfile.TemporaryDirectory() as root:
        folder, number = Path(root) / "0", 0
        while found["kills"] < kills:
            kept = _finished(folder)
            driver = _driver(folder, steps)
            time.sleep(chance.uniform(0.5, 6.0))
            who = chance.choice(WHO)
            if (victim := _victim(driver.pid, who, chance)) is not None:
                os.kill(victim, signal.SIGKILL)
                found["kills"] += 1
            said = driver.communicate()[1]
            found["aborted"] += who != "driver" and driver.returncode != 0
            if who != "driver" and driver.returncode != 0:
                print(said, file=sys.stderr)
            found["lost"] += sum(_finished(folder).get(key) != mark for key, mark in kept.items())
            found["damaged"] += sum(".corrupt-" in path.name for path in folder.glob("*"))
            if len(_finished(folder)) == AUDITS:
                number += 1
                folder = Path(root) / str(number)
        found["records"] = number * AUDITS + len(_finished(folder))
    return {"runs": found["kills"], **{name: found[name] for name in ("lost", "damaged", "aborted", "records")}}


def shared(count: int, steps: int) -> Values:
    """Let processes run the same sweep into one folder at once, and count how often an audit was begun."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "out"
        drivers = [_driver(folder, steps) for _ in range(count)]
        begun = Counter(key for driver in drivers for key in json.loads(driver.communicate()[0] or "[]"))
        return {"runs": begun.total(), "run twice": begun.total() - len(begun), "records": len(_finished(folder))}


def narrowed(steps: int) -> Values:
    """Run the sweep where no file may be larger than so many bytes, from none on, and then without a bound."""
    found = Counter[str]()
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "out"
        for size in (0, 1, 100, 1_000, 3_000, 6_000, 12_000, 20_000, 40_000):
            kept = _finished(folder)
            driver = _driver(folder, steps, largest=size)
            told = driver.communicate()[1].strip().splitlines()
            found["runs"] += 1
            found["aborted"] += driver.returncode not in (0, 2) or (driver.returncode == 2 and not told[-1].startswith("out: "))
            found["lost"] += sum(_finished(folder).get(key) != mark for key, mark in kept.items())
        _driver(folder, steps).communicate()
        found["records"] = len(_finished(folder))
        found["damaged"] = sum(".corrupt-" in path.name for path in folder.glob("*"))
    return {name: found[name] for name in ("runs", "lost", "damaged", "aborted", "records")}


def repeated(steps: int) -> Values:
    """Run the sweep with one worker and with two, under several hash seeds and in several folders, and compare the records."""
    found, differ = [], 0
    for workers, seed in ((1, "0"), (2, "0"), (2, "1"), (1, "12345")):
        with tempfile.TemporaryDirectory(prefix=f"folder{seed}") as root:
            _driver(Path(root) / "out", steps, workers=workers, hash_seed=seed).communicate()
            found.append(_told(Path(root) / "out"))
    differ = sum(one.get(key) != value for one in found[1:] for key, value in found[0].items())
    return {"runs": len(found), "records": sum(map(len, found)), "differ": differ}


def main(folder: str, steps: str, workers: str) -> None:
    """Run the sweep, and print the keys of the audits that were begun: what a driver does."""
    begun: list[str] = []

    def listen(event: Event) -> None:
        if event.kind == "started":
            begun.append(event.task.key)

    try:
        execute(tasks(AUDITS, int(steps)), Store(Path(folder)), Runtime(device="cpu", workers=int(workers)), listener=listen)
    except UsageError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(json.dumps(begun))


def _driver(
    folder: Path, steps: int, *, workers: int = 2, hash_seed: str = "0", largest: int | None = None
) -> subprocess.Popen[str]:
    def bounded() -> None:
        if largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))

    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.surviving", str(folder), str(steps), str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        preexec_fn=bounded,
    )


def _victim(driver: int, who: str, chance: random.Random) -> int | None:
    """A process of a running sweep: its driver, the server that forks workers, or one of these."""
    if who == "driver":
        return driver
    servers = list(_children(driver))
    found = servers if who == "server" else [worker for server in servers for worker in _children(server)]
    return chance.choice(found) if found else None


def _children(parent: int) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:  # it has ended
            continue
        if int(text.rpartition(")")[2].split()[1]) == parent:
            yield int(path.parent.name)


def _finished(folder: Path) -> Mapping[str, str]:
    """What finished audits say, by key."""
    if not folder.exists():
        return {}
    store = Store(folder)
    return {key: (folder / key / "record.json").read_text() for key in store.keys() if store.has(key)}  # noqa: SIM118


def _told(folder: Path) -> dict[str, object]:
    """The records, but for how long they took and where they were made, and the numbers of their images."""
    store = Store(folder)
    return {key: (_timeless(json.loads(text)), _images(store, key)) for key, text in _finished(folder).items()}


def _timeless(value: object) -> object:
    if isinstance(value, dict):
        return {name: _timeless(part) for name, part in value.items() if name not in TIMELESS}
    return [_timeless(part) for part in value] if isinstance(value, list) else value


def _images(store: Store, key: str) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in store.images(key).items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
