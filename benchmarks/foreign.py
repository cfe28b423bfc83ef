"""Files from outside: whatever stands in them, they are taken, or refused in one line; quickly, and in little memory."""

from __future__ import annotations

import copy
import io
import json
import random
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save

from benchmarks.cases import Settings
from benchmarks.fuzzing import changed, outcome
from benchmarks.results import Results, Shown, Values
from leakgauge.executor import Runtime, execute, task_of
from leakgauge.report import audits_of, render, render_models, to_markdown
from leakgauge.report.files import json_parts
from leakgauge.results.folder import RECORD, TENSORS
from leakgauge.results.gate import gate, load_policy
from leakgauge.results.rescoring import Rescoring, rescored
from leakgauge.results.rulings import as_junit, as_sarif
from leakgauge.results.store import Store
from leakgauge.results.table import write_csv
from leakgauge.spec import load as load_audit
from leakgauge.spec.building import build
from leakgauge.spec.sweep import expand
from leakgauge.spec.sweep import load as load_sweep

COUNT = 100_000
_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        3,
        2**31,
        2**70,
        1e308,
        -1e-308,
        float("nan"),
        float("inf"),
        "",
        "a",
        "\x1b[2J",
        "1e400",
        "../x",
    ),
    *(
        [],
        {},
        [[]],
        [None],
        [1, 2, 3, 4, 5, 6, 7],
        {"a": {"b": {}}},
        {"name": "dlg"},
        {"name": "os:system"},
        "x" * 5000,
        [0] * 2000,
    ),
)
AUDIT: dict[str, Any] = {
    "name": "foreign",
    "data": {"name": "photographs", "size": 8},
    "batch": {"size": 2},
    "victim": {"name": "mlp", "hidden": [8]},
    "defenses": [{"name": "clipping", "norm": 1.0}, "gaussian_noise"],
    "attack": {"name": "inverting_gradients", "steps": 2, "restarts": 2},
    "threat": "informed",
    "criteria": {"threshold": 20.0, "power": 2},
    "metrics": {"psnr": "psnr"},
    "controls": ["floor", "blind", "positive"],
}
POLICY: dict[str, Any] = {"forbid": ["leaks"], "max": {"psnr": 20.0}, "inconclusive": "fail", "at_least": 2}


def run(settings: Settings, results: Results) -> Shown:
    """Read files of eight kinds, each changed at random; `--images` in all."""
    count = settings.images or COUNT
    kinds = [
        results.row("foreign", {"kind": kind, "files": count // len(KINDS)}, partial(fuzzed, kind, count // len(KINDS)))
        for kind in settings.among(KINDS)
    ]
    crashed = sum(row["crashed"] for row in kinds)
    return Shown(
        f"{sum(row['files'] for row in kinds):,} files of {len(kinds)} kinds, changed at random",
        kinds,
        {name: name for name in ("kind", "files", "taken", "refused", "crashed", "slowest, s", "peak, MB more", "first crash")},
        [f"{crashed} raised anything but one line of bad input (goal: 0)"],
    )


def fuzzed(kind: str, count: int) -> Values:
    """What came of so many files of one kind."""
    rng, ended, slowest, first = random.Random(kind), Counter[str](), 0.0, ""
    with tempfile.TemporaryDirectory() as where:
        files, taken = KINDS[kind](Path(where))
        taken()  # as they were written, they are taken
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(count):
            path = rng.choice(list(files))
            path.write_bytes(_mutated(files[path], rng))
            started = time.perf_counter()
            how, line = outcome(taken)
            slowest = max(slowest, time.perf_counter() - started)
            ended[how] += 1
            first = first or (line if how == "crashed" else "")
            path.write_bytes(files[path])
        more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    found = {name: ended[name] for name in ("refused", "crashed")}
    return {"taken": ended["read"], **found, "slowest, s": slowest, "peak, MB more": more, "first crash": first[:120]}


Kind = Callable[[Path], tuple[Mapping[Path, bytes], Callable[[], object]]]


def _audit(folder: Path) -> tuple[Mapping[Path, bytes], Callable[[], object]]:
    return _one(folder / "audit.yaml", yaml.safe_dump(AUDIT).encode(), load_audit)


def _sweep(folder: Path) -> tuple[Mapping[Path, bytes], Callable[[], object]]:
    document = {"base": AUDIT, "grid": {"seed": [0, 1], "attack.steps": [1, 2]}, "include": [{"batch.size": 1}]}
    return _one(folder / "sweep.yaml", yaml.safe_dump(document).encode(), load_sweep)


def _policy(folder: Path) -> tuple[Mapping[Path, bytes], Callable[[], object]]:
    return _one(folder / "policy.yaml", yaml.safe_dump(POLICY).encode(), load_policy)


def _results(folder: Path) -> tuple[Mapping[Path, bytes], Callable[[], object]]:
    """Two audits, and all that is made of results."""
    specs = expand({"base": AUDIT | {"criteria": {"power": 1}}, "grid": {"seed": [0, 1]}})
    store = Store(folder / "results")
    execute(map(task_of, specs), store, Runtime(device="cpu"))
    keys = store.keys()
    paths = [store.root / key / name for key in keys for name in (RECORD, TENSORS)]

    def all_of_it() -> None:
        audits = audits_of(store.root)
        hidden = audits_of(store.root, is_redacted=True)
        render(audits), render_models(audits), render(hidden, is_redacted=True)
        to_markdown(hidden)
        records = [one.record for one in audits]
        for _ in json_parts(records):
            pass
        write_csv(records, folder / "table.csv")
        for record in records:
            rescored(record, Rescoring(threshold=30.0, alpha=0.05))
        rulings = gate(records, load_policy(folder / "policy.yaml"))
        as_junit(rulings), as_sarif(rulings)

    (folder / "policy.yaml").write_text("{}")
    return {path: path.read_bytes() for path in paths}, all_of_it


def _npz(folder: Path) -> tuple[Mapping[Path, bytes], Callable[[], object]]:
    content = io.BytesIO()
    np.savez_compressed(content, x=np.zeros((4, 5, 5, 3), np.uint8), y=np.arange(4))
    return _one(folder / "set.npz", content.getvalue(), lambda path: build("data", {"name": "npz", "path": str(path)}).load())


def _safetensors(folder: Path) -> tuple[Mapping[Path, bytes], Callable[[], object]]:
    content = save({"x": torch.zeros(4, 5, 5, 3, dtype=torch.uint8), "y": torch.arange(4)})
    return _one(folder / "set.safetensors", content, lambda path: build("data", {"name": "safetensors", "path": str(path)}).load())


def _pictures(folder: Path) -> tuple[Mapping[Path, bytes], Callable[[], object]]:
    files = {}
    for name, kind in (("a", "PNG"), ("b", "JPEG"), ("c", "GIF")):
        path = folder / "pictures" / name / f"one.{kind.lower()}"
        path.parent.mkdir(parents=True)
        Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(path, kind)
        files[path] = path.read_bytes()
    return files, lambda: build("data", {"name": "folder", "path": str(folder / "pictures"), "size": 8}).load()


def _weights(folder: Path) -> tuple[Mapping[Path, bytes], Callable[[], object]]:
    """Snapshots, in the three kinds of file that hold them."""
    from leakgauge.core.snapshots import snapshot

    tensors, content, archive = {"a": torch.ones(3, 4), "b": torch.ones(2)}, io.BytesIO(), io.BytesIO()
    torch.save(tensors, content)
    np.savez(archive, a=tensors["a"].numpy(), b=tensors["b"].numpy())
    files = {folder / "w.safetensors": save(tensors), folder / "w.pt": content.getvalue(), folder / "w.npz": archive.getvalue()}
    for path, data in files.items():
        path.write_bytes(data)
    return files, lambda: [snapshot("weights", path) for path in files]


KINDS: Mapping[str, Kind] = {
    "audit file": _audit,
    "sweep file": _sweep,
    "policy": _policy,
    "results": _results,
    "npz": _npz,
    "safetensors": _safetensors,
    "pictures": _pictures,
    "weights": _weights,
}


def _one(path: Path, content: bytes, take: Callable[[Path], object]) -> tuple[Mapping[Path, bytes], Callable[[], object]]:
    path.write_bytes(content)
    return {path: content}, lambda: take(path)


def _mutated(content: bytes, rng: random.Random) -> bytes:
    """The file with values changed where it is JSON or YAML, or with bytes changed."""
    if rng.random() < 0.3 or content[:1] not in b"{abcdefghijklmnopqrstuvwxyz" or not content:
        return changed(content, rng)
    try:
        document = json.loads(content)
        write: Callable[[Any], str] = json.dumps
    except ValueError:
        try:
            document, write = yaml.safe_load(content), yaml.safe_dump
        except (yaml.YAMLError, UnicodeDecodeError):
            return changed(content, rng)
    document = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 2, 3))):
        _change(document, rng)
    return write(document).encode()


def _change(node: Any, rng: random.Random) -> None:
    """Put another value somewhere below, take something away, or put something twice."""
    while isinstance(node, dict | list) and node:
        place = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        if isinstance(node[place], dict | list) and node[place] and rng.random() < 0.75:
            node = node[place]
            continue
        match rng.randrange(4):
            case 0:
                del node[place]
            case 1 if isinstance(node, list):
                node.insert(place, copy.deepcopy(node[place]))
            case 2 if isinstance(node, dict):
                node[rng.choice(("extra", "", "\x1b[0m", "name", "a" * 300))] = rng.choice(_VALUES)
            case _:
                node[place] = copy.deepcopy(rng.choice(_VALUES))
        return
