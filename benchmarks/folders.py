"""Folders of ten thousand audits: the gate, the table, and the overview, each in a process of its own."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.cases import Settings
from benchmarks.results import Results, Shown, Values
from leakgauge.results.store import Store

AUDITS = 10_000
SECONDS, MEGABYTES = 10, 500


def run(settings: Settings, results: Results) -> Shown:
    """Read so many audits as `--images` says."""
    count = settings.images or AUDITS
    found = results.row("folders", {"audits": count}, lambda: measured(count))
    rows = [{"what": name, **found[name]} for name in WORK]
    return Shown(
        f"What reads a folder of {count:,} audits",
        rows,
        {"what": "what", "seconds": "seconds", "megabytes": "peak RSS (MB)"},
        [f"goals: at most {SECONDS} s and {MEGABYTES} MB"],
    )


def measured(count: int) -> Values:
    """Copy one audit under other keys, seeds and steps, and let each reader have them."""
    with tempfile.TemporaryDirectory() as root:
        _fill(Path(root), count)
        return {name: _apart(name, root) for name in WORK}


def _fill(folder: Path, count: int) -> None:
    from benchmarks.sweeping import tasks
    from leakgauge.executor import Runtime, execute
    from leakgauge.results.folder import RECORD, TENSORS, adapter

    store = Store(folder)
    execute(tasks(1, 1), store, Runtime(device="cpu", workers=1))
    first = next(store.records())
    for number in range(1, count):
        spec = {**first.spec, "seed": number, "batch": {"size": 1 + number % 5}}
        record = replace(first, key=f"{number:016x}", seed=number, spec=spec, name=f"audit {number}")
        made = folder / record.key
        made.mkdir()
        (made / RECORD).write_bytes(adapter().dump_json(record))
        os.link(folder / first.key / TENSORS, made / TENSORS)


def _apart(name: str, root: str) -> Values:
    done = subprocess.run([sys.executable, "-m", "benchmarks.folders", name, root], capture_output=True, text=True, check=True)
    values: Values = json.loads(done.stdout)
    return values


def _gate(store: Store) -> None:
    from leakgauge.results.gate import Policy, gate

    gate(store.records(), Policy())


def _table(store: Store) -> None:
    from leakgauge.results.table import write_csv

    write_csv(list(store.records()), store.root / "table.csv")


def _overview(store: Store) -> None:
    from leakgauge.core.private import write_private
    from leakgauge.report.files import json_parts
    from leakgauge.report.page import render_overview

    records = sorted(store.records(), key=lambda record: (record.name, record.key))
    write_private(store.root / "audit.json", json_parts(records))
    page = render_overview(records, [f"audits/{record.key}.html" for record in records])
    write_private(store.root / "report.html", [page.encode()])


WORK: dict[str, Callable[[Store], None]] = {"gate": _gate, "table": _table, "overview": _overview}


if __name__ == "__main__":
    began = time.perf_counter()
    WORK[sys.argv[1]](Store(Path(sys.argv[2])))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(json.dumps({"seconds": time.perf_counter() - began, "megabytes": peak}))
