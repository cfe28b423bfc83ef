"""Several processes that write, read, clear up and set aside in one folder, with clocks that are hours apart."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.cases import Settings
from benchmarks.results import Results, Shown, Values
from benchmarks.sweeping import tasks
from leakgauge.auditing.record import Record, Verdict
from leakgauge.core.errors import UsageError
from leakgauge.executor import Runtime, execute
from leakgauge.results.store import Store

OPERATIONS, KEYS = 100_000, 8
HOURS = {"writer": (-2.0, 2.0), "reader": (0.0, -2.0, 2.0)}


def run(settings: Settings, results: Results) -> Shown:
    """Race until so many operations are done: `--steps` sets their number."""
    wanted = settings.steps or OPERATIONS
    row = results.row("racing", {"operations": wanted, "keys": KEYS}, lambda: measured(wanted))
    return Shown(
        "Two processes that replace failed records, three that read, open the folder and set damage aside; clocks 2 hours off",
        [row],
        {name: name for name in ("operations", "savings", "errors", "set aside", "records", "left over", "seconds")},
        [f"goal: no error, nothing set aside, {KEYS} records, nothing left over"],
    )


def measured(wanted: int) -> Values:
    """Let them race, and look at what is there afterwards."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        execute(tasks(1, 1), store, Runtime(device="cpu", workers=1))
        whole = next(store.records())
        failed = [_failed(whole, f"key{place}") for place in range(KEYS)]
        for one in failed:
            store.save(one)
        counts = context.Array("q", [0, 0, 0])  # operations, savings, errors
        line = context.Barrier(sum(map(len, HOURS.values())))
        racers = [
            context.Process(target=_race, args=(kind, folder, hours, failed, wanted, counts, line))
            for kind, off in HOURS.items()
            for hours in off
        ]
        began = time.perf_counter()
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        seconds = time.perf_counter() - began
        names = [path.name for path in store.root.iterdir()]
        sound = [one for one in failed if store.load(one.key).status == "failed"]
        return {
            "savings": counts[1],
            "errors": counts[2] + sum(racer.exitcode != 0 for racer in racers),
            "set aside": sum(".corrupt-" in name for name in names),
            "records": len(sound),
            "left over": sum(name.startswith(".") for name in names),
            "seconds": seconds,
        }


def _race(kind: str, folder: str, hours: float, failed: list[Record], wanted: int, counts: Any, line: Any) -> None:
    """Work until all together have done what is wanted, on a machine whose clock is off by so many hours."""
    clock = time.time
    time.time = lambda: clock() + 3600 * hours
    store = Store(Path(folder))
    work: Callable[[int], None] = {"writer": _write, "reader": _read}[kind](store, failed, hours)
    turn = 0
    line.wait()
    while counts[0] < wanted:
        turn += 1
        wrong = 0
        try:
            work(turn)
        except (UsageError, OSError, AssertionError):
            wrong = 1
        with counts.get_lock():
            counts[0] += 1
            counts[1] += kind == "writer"
            counts[2] += wrong


def _write(store: Store, failed: list[Record], hours: float) -> Callable[[int], None]:
    def work(turn: int) -> None:
        record = failed[turn % len(failed)]
        store.save(replace(record, seed=turn))
        moment = time.time()
        try:
            os.utime(store.root / record.key, (moment, moment))
        except FileNotFoundError:
            return  # the other writer is just putting one in its place

    return work


def _read(store: Store, failed: list[Record], hours: float) -> Callable[[int], None]:
    def work(turn: int) -> None:
        key = failed[turn % len(failed)].key
        if turn % 3 == 0:
            store.open()
        try:
            if store.has(key) or store.load(key).status != "failed":
                raise AssertionError("a failed record counts as finished")
        except UsageError:
            store.set_aside(key)
            raise

    return work


def _failed(whole: Record, key: str) -> Record:
    verdict = Verdict("inconclusive", "The audit did not finish.")
    return replace(whole, key=key, status="failed", error="raised", verdict=verdict, trials={}, setting=None)
