"""How long `leakgauge --help` takes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks.cases import Settings
from benchmarks.results import Results, Shown, Values

RUNS = 10
GOAL = 0.5


def run(settings: Settings, results: Results) -> Shown:
    row = results.row("startup", {"runs": RUNS}, _measure)
    return Shown(
        f"`leakgauge --help`, {RUNS} runs",
        [row],
        {"median": "median (s)", "fastest": "fastest (s)", "slowest": "slowest (s)"},
        [f"goal: median below {GOAL} s"],
    )


def _measure() -> Values:
    seconds = [_once() for _ in range(RUNS)]
    return {"median": statistics.median(seconds), "fastest": min(seconds), "slowest": max(seconds)}


def _once() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "leakgauge", "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started
