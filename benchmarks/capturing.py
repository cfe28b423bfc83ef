"""What a capture and a defending mod cost a federation that runs on Flower, beside the round itself, in turn."""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from collections.abc import Callable

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.cases import Settings
from benchmarks.results import Results, Shown, Values
from leakgauge.capture.files import write
from leakgauge.capture.manifest import made
from leakgauge.flower import defending

TURNS, STEPS, BATCH = 10, 20, 32
DEFENSES = "[{name: clipping, norm: 1.0}]"


def run(_: Settings, results: Results) -> Shown:
    """Time one client's part of a round, what is captured of it, and what a mod adds to it."""
    row = results.row("capturing", {"turns": TURNS, "steps": STEPS, "batch": BATCH}, measured)
    return Shown(
        f"One client's round of {STEPS} steps of {BATCH} images, a network of 1.05 million parameters, median of {TURNS} turns",
        [row],
        {name: name for name in ("round, ms", "capture, ms", "mod, ms", "defense alone, ms")},
        [
            f"a capture is {row['capture, ms'] / row['round, ms']:.1%} of a round (goal: at most 5%)",
            f"the mod takes {row['mod, ms'] - row['defense alone, ms']:.1f} ms beside the defense itself (goal: at most 2 ms)",
        ],
    )


def network() -> nn.Module:
    """Two convolutions and a wide layer: 1.05 million parameters."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1568, 660),
        nn.ReLU(),
        nn.Linear(660, 10),
    )


def measured() -> Values:
    """Medians, in milliseconds."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    torch.manual_seed(0)
    net = network()
    x, y = torch.rand(BATCH, 3, 32, 32), torch.arange(BATCH) % 10
    before = {name: value.clone() for name, value in net.state_dict().items()}
    for name in ("task_id", "run_id", "node_id"):
        setattr(TaskIdentity, name, 1)  # without which Flower makes no message outside of a run
    message = Message(RecordDict({"arrays": ArrayRecord(before)}), dst_node_id=1, message_type="train")
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={"defenses": DEFENSES})
    reply = RecordDict(
        {
            "arrays": ArrayRecord({name: value + 0.01 for name, value in before.items()}),
            "metrics": MetricRecord({"n": 1}),
            "config": ConfigRecord(),
        }
    )
    mod = defending()
    times: dict[str, list[float]] = {"round, ms": [], "capture, ms": [], "mod, ms": [], "defense alone, ms": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(TURNS):
            times["round, ms"].append(_timed(lambda: _train(net, x, y)))
            times["capture, ms"].append(_timed(lambda: write(folder, made(kind="weights", round=1), net.state_dict(), before)))
            times["mod, ms"].append(_timed(lambda: mod(message, context, lambda *_: Message(reply, reply_to=message))))
            times["defense alone, ms"].append(_timed(lambda: _clipped(before, net.state_dict())))
    return {name: 1e3 * statistics.median(values) for name, values in times.items()}


def _train(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    for _ in range(STEPS):
        optimizer.zero_grad()
        cross_entropy(net(x), y).backward()
        optimizer.step()


def _clipped(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> None:
    from leakgauge.defenses.clipping import Clipping

    Clipping(norm=1.0).transform({name: before[name] - value for name, value in after.items()}, rng=None)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
