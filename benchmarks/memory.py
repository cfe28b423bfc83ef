"""The memory of a whole audit of LeNet through the command line: DLG, its controls, judging, the report."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.cases import Settings
from benchmarks.results import Results, Shown, Values

AUDIT = """
data: {{name: photographs, size: 32}}
batch: {{indices: [0]}}
victim: lenet
attack: {{name: dlg, search: {{name: lbfgs, steps: {steps}}}}}
"""
GOAL = 1000


def run(settings: Settings, results: Results) -> Shown:
    audit = AUDIT.format(steps=settings.steps or 300)
    row = results.row("memory", {"audit": audit}, lambda: _measure(audit))
    return Shown(
        "Peak memory of `leakgauge audit` of LeNet by DLG",
        [row],
        {"largest": "largest process, peak RSS (MB)", "together": "all processes, peak PSS (MB)"},
        [f"goal: below {GOAL} MB"],
    )


def _measure(audit: str) -> Values:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "audit.yaml"
        file.write_text(audit)
        command = [sys.executable, "-m", "leakgauge", "audit", str(file), "--out", folder, "--device", "cpu"]
        watched = subprocess.run([sys.executable, "-m", "benchmarks.watch", *command], stdout=subprocess.PIPE, check=True)
    peaks: dict[str, float] = json.loads(watched.stdout)
    if peaks["exit"] not in (0, 3):  # 3: inconclusive, a result as well
        raise RuntimeError(f"leakgauge audit ended with exit code {peaks['exit']}")
    return peaks
