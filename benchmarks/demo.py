"""How long the demonstration takes, as `make demo` runs it: from the command to the report of its three audits."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

from benchmarks.cases import Settings
from benchmarks.results import Results, Shown, Values


def run(settings: Settings, results: Results) -> Shown:
    sweep = (files("leakgauge") / "examples" / "sweep.yaml").read_text()
    row = results.row("demo", {"sweep": sweep}, _measure)
    return Shown("`leakgauge sweep`, the demonstration", [row], {"seconds": "seconds", "report": "report (MB)"}, [])


def _measure() -> Values:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        command = [sys.executable, "-m", "leakgauge", "sweep", "--out", folder, "--device", "cpu"]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        seconds = time.perf_counter() - started
        if done.returncode:  # also 3, inconclusive: audits that fail are quick, and no measurement of the demonstration
            raise RuntimeError(f"leakgauge sweep ended with exit code {done.returncode}; see `leakgauge doctor`")
        report = (Path(folder) / "report.html").stat().st_size
    return {"seconds": seconds, "report": report / 1e6}
