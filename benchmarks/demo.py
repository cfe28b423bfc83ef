"""How long the first audit takes: the example file that is installed with the package, from the command to the report."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from importlib.resources import as_file, files
from pathlib import Path

from benchmarks.cases import Settings
from benchmarks.results import Results, Shown, Values

EXAMPLE = files("leakgauge") / "examples" / "audit.yaml"


def run(settings: Settings, results: Results) -> Shown:
    row = results.row("demo", {"audit": EXAMPLE.read_text()}, _measure)
    return Shown("`leakgauge audit` of the example, with its report", [row], {"seconds": "seconds", "report": "report (MB)"}, [])


def _measure() -> Values:
    with as_file(EXAMPLE) as file, tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        audit = [sys.executable, "-m", "leakgauge", "audit", str(file), "--out", folder, "--device", "cpu"]
        done = subprocess.run(audit, stdout=subprocess.DEVNULL, check=False)
        seconds = time.perf_counter() - started
        if done.returncode not in (0, 3):  # 3: inconclusive, a result as well
            raise RuntimeError(f"leakgauge audit ended with exit code {done.returncode}")
        report = sum(page.stat().st_size for page in Path(folder).glob("*.html"))
    return {"seconds": seconds, "report": report / 1e6}
