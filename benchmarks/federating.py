"""Federated training beside a plain loop of PyTorch over the same model and the same mini-batches."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn

from benchmarks.cases import Settings
from benchmarks.results import Results, Shown, Values
from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core.protocols import Defense, Victim
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Inputs, Model
from leakgauge.defenses.key_lock import KeyLock
from leakgauge.federation.rounds import Federation, start, step
from leakgauge.victims.key_locked import KeyLocked
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.resnet import resnet20

CLIENTS, BATCH, BATCHES, TURNS = 3, 64, 5, 7
GOAL = 0.8
DIGITS, COLOR = Inputs((1, 28, 28), 10), Inputs((3, 32, 32), 10)
NETS: Mapping[str, tuple[Victim, Inputs, tuple[Defense, ...]]] = {
    "LeNet": (LeNet(), DIGITS, ()),
    "LeNet, key-lock": (KeyLocked(victim=LeNet()), DIGITS, (KeyLock(),)),
    "ResNet-20": (resnet20(), COLOR, ()),
    "ResNet-20, key-lock": (KeyLocked(victim=resnet20()), COLOR, (KeyLock(),)),
}


def run(settings: Settings, results: Results) -> Shown:
    """Time one round of three clients, in turn with the plain loop: `--steps` sets the turns."""
    turns = settings.steps or TURNS
    rows = [results.row("federating", {"net": net, "turns": turns}, partial(_measure, net, turns)) for net in NETS]
    return Shown(
        f"A round of {CLIENTS} clients, {BATCHES} mini-batches of {BATCH} each, SGD with momentum",
        rows,
        {
            "net": "net",
            "round": "a round (s)",
            "plain": "the plain loop (s)",
            "throughput": "throughput, share of the plain loop's",
            "spread": "from to",
        },
        [f"goal: at least {GOAL:g} of the plain loop's"],
    )


def _measure(name: str, turns: int) -> Values:
    victim, inputs, defenses = NETS[name]
    model = victim.build(inputs, rng=stream(0, "victim"))
    shares = tuple(_share(inputs, one) for one in range(CLIENTS))
    made = Federation(
        model=model,
        shares=shares,
        client=FedAvg(batch_size=BATCH, optimizer=SGD(learning_rate=0.01, momentum=0.9), batchnorm="train"),
        defenses=defenses,
        server=SGD(learning_rate=1.0),
        sampled=CLIENTS,
    )
    begun = start(made)
    ways: tuple[Callable[[], object], ...] = (lambda: step(made, begun), lambda: _plain(model, shares))
    pairs = [tuple(map(_seconds, ways)) for _ in range(turns + 1)][1:]  # the first one warms up
    ratios = sorted(plain / own for own, plain in pairs)
    return {
        "round": statistics.median(own for own, _ in pairs),
        "plain": statistics.median(plain for _, plain in pairs),
        "throughput": statistics.median(ratios),
        "spread": f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
    }


def _plain(model: Model, shares: tuple[Batch, ...]) -> None:
    """What anyone would write: a module, an optimizer of torch, and a loop."""
    net = copy.deepcopy(model.net).to_empty(device="cpu")
    net.load_state_dict({**model.params, **model.buffers})
    net.train()
    loss_of = nn.CrossEntropyLoss()
    for share in shares:
        optimizer = torch.optim.SGD([value for value in net.parameters() if value.requires_grad], lr=0.01, momentum=0.9)
        for rows in torch.randperm(len(share)).split(BATCH):
            optimizer.zero_grad()
            loss_of(net(share.x[rows]), share.y[rows]).backward()
            optimizer.step()


def _share(inputs: Inputs, client: int) -> Batch:
    rng = stream(client, "share")
    count = BATCH * BATCHES
    return Batch(torch.rand(count, *inputs.shape, generator=rng), torch.randint(inputs.classes, (count,), generator=rng))


def _seconds(way: Callable[[], object]) -> float:
    started = time.perf_counter()
    way()
    return time.perf_counter() - started
