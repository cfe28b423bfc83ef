"""`python -m benchmarks [NAME...]`: measure, or find what was measured, and print it."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.cases import Settings
from benchmarks.results import Results, show
from leakgauge.core.errors import UsageError

# The quick ones first.
NAMES = (
    "startup",
    "memory",
    "demo",
    "analytic",
    "dlg",
    "step",
    "restarts",
    "throughput",
    "threads",
    "ways",
    "scaling",
    "large",
    "candidates",
    "federating",
    "lock_theory",
    "fuzzing",
    "foreign",
    "capturing",
    "sweeping",
    "folders",
    "surviving",
    "racing",
    "inverting",
    "modern",
    "labels",
    "verdicts",
    "searching",
    "tuning",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure leakgauge; see docs/benchmarks.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; all of them if none is named")
    parser.add_argument("--data", type=Path, help=".npz file of CIFAR-10 images: x uint8 [N, 32, 32, 3], y [N]")
    parser.add_argument("--out", type=Path, default=Path("benchmark-results"), help="where rows are kept and found again")
    parser.add_argument("--images", type=int, help="how many images (default: as published)")
    parser.add_argument("--steps", type=int, help="steps of a search (default: as published); few are a smoke test")
    parser.add_argument("--only", default="", help="which of its networks or setups, with commas between (default: as published)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in NAMES]:
        parser.error(f"unknown: {', '.join(unknown)}; choose from {', '.join(NAMES)}")
    torch.set_num_threads(given.threads)
    only = tuple(filter(None, given.only.split(",")))
    settings, results = Settings(given.data, given.images, given.steps, only), Results(given.out)
    console = Console(width=None if sys.stdout.isatty() else 120)
    for name in given.names or NAMES:
        try:
            show(importlib.import_module(f"benchmarks.{name}").run(settings, results), console)
        except UsageError as error:
            sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
