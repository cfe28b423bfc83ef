"""Labels from weights before and after three local steps that nobody describes: what each rule finds on five fresh networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.cases import Settings
from benchmarks.results import Results, Shown, Values
from leakgauge.attacks.labels.counts import Counts
from leakgauge.attacks.labels.geng import Geng
from leakgauge.attacks.labels.ilrg import ILRG
from leakgauge.attacks.labels.llg import LLG
from leakgauge.attacks.settling import settle
from leakgauge.auditing.judging import label_accuracy
from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core import tree
from leakgauge.core.capabilities import WEIGHTS
from leakgauge.core.errors import OutOfScope
from leakgauge.core.protocols import Labels, Pool, Victim
from leakgauge.core.rng import stream
from leakgauge.core.threat import observe
from leakgauge.core.types import Batch, Inputs, Model, Observation, Rng
from leakgauge.victims.convnet import ConvNet
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.resnet import resnet20

COUNT, BATCHES = 16, 12
CLIENT = FedAvg(epochs=3, optimizer=SGD(learning_rate=0.037, momentum=0.9, weight_decay=5e-4))
DEFAULT = "counts"
RULES: Mapping[str, Labels] = {DEFAULT: Counts(), "ilrg": ILRG(), "geng": Geng(), "llg": LLG()}
UNEVEN = 0.5
"""Of the Dirichlet distribution that a batch's classes are drawn from: about five of ten occur."""
SURE = 0.9
"""The share of labels that a rule expects to be right from which on it counts as sure of them."""


@final
@dataclass(frozen=True)
class VGG:
    """A small VGG with GroupNorm (Simonyan and Zisserman, ICLR 2015), as torch initializes it."""

    has_bias: bool = True

    def build(self, inputs: Inputs, /, *, rng: Rng) -> Model:
        """Return a fresh model for images of at least 8x8."""
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(int(torch.randint(2**31, (), generator=rng)))
            layers: list[nn.Module] = []
            depth = inputs.shape[0]
            for width in (32, 64, 128):
                for _ in range(2):
                    layers += [nn.Conv2d(depth, width, 3, padding=1), nn.GroupNorm(8, width), nn.ReLU()]
                    depth = width
                layers.append(nn.MaxPool2d(2))
            head = nn.Linear(depth, inputs.classes, bias=self.has_bias)
            net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
        return Model(net, tree.detach(dict(net.named_parameters())), {}, cross_entropy, inputs)


NETS: Mapping[str, tuple[Victim, FedAvg]] = {
    "LeNet": (LeNet(), CLIENT),
    "ConvNet-16": (ConvNet(width=16), CLIENT),
    "ConvNet-16, batch statistics": (ConvNet(width=16), replace(CLIENT, batchnorm="train")),
    "ResNet-20": (resnet20(), CLIENT),
    "ResNet-20, batch statistics": (resnet20(), replace(CLIENT, batchnorm="train")),
    "VGG with GroupNorm": (VGG(), CLIENT),
    "VGG without a last bias": (VGG(has_bias=False), CLIENT),
}


def run(settings: Settings, results: Results) -> Shown:
    pool, batches = settings.pool(), settings.images or BATCHES
    key = {"data": str(settings.data and settings.data.name), "batches": batches}
    rows = [results.row("labels", {"net": net, **key}, partial(_measure, pool, *made, batches)) for net, made in NETS.items()]
    behind = {row["net"]: max(row[rule] for rule in RULES) - row[DEFAULT] for row in rows}
    worst = max(behind, key=lambda net: behind[net])
    least = min(row[DEFAULT] for row in rows if row["net"].startswith("ResNet-20"))
    return Shown(
        f"Labels right, of {COUNT} in a batch with duplicates: weights after three steps, momentum, rate unknown, fresh networks",
        rows,
        {
            "net": "net",
            **{rule: rule for rule in RULES},
            "even": "even guess",
            "expected": f"expected by {DEFAULT}",
            "rash": "sure, and wrong",
            "told": "signs told",
            "doubted": "doubted",
            "mistaken": "mistaken",
        },
        [
            f"{DEFAULT} is at most {behind[worst]:.3f} behind the best rule ({worst}; goal: 0.02)",
            f"ResNet-20: at least {least:.3f} (goal: 0.85)",
            f"of {2 * batches} signs on each net, both ways round, at most {max(row['mistaken'] for row in rows)} are believed "
            f"wrongly and without a doubt (goal: {batches // 12})",
        ],
    )


def _measure(pool: Pool, victim: Victim, client: FedAvg, batches: int) -> Values:
    found: list[dict[str, Any]] = [_one(pool, victim, client, seed) for seed in range(batches)]
    means = {name: sum(one[name] for one in found) / batches for name in (*RULES, "even", "expected")}
    return {**means, **{name: sum(one[name] for one in found) for name in ("rash", "told", "doubted", "mistaken")}}


def _one(pool: Pool, victim: Victim, client: FedAvg, seed: int) -> dict[str, Any]:
    model = victim.build(pool.inputs, rng=stream(seed, "victim"))
    secret = _uneven(pool, stream(seed, "batch"))
    seen = observe(model, secret, client=client, threat=WEIGHTS, rng=stream(seed, "client"))
    right = {name: _right(rule, seen, secret, seed) for name, rule in RULES.items()}
    expected = Counts().believe(seen, COUNT, rng=stream(seed, DEFAULT)).share or 0.0
    signs = [_sign(seen), _sign(_negated(seen), is_negated=True)]
    return {
        **right,
        "even": label_accuracy(secret.y, torch.arange(COUNT) % pool.inputs.classes),
        "expected": expected,
        "rash": int(expected >= SURE and right[DEFAULT] < expected - 0.2),
        **{said: signs.count(said) for said in ("told", "doubted", "mistaken")},
    }


def _right(rule: Labels, seen: Observation, secret: Batch, seed: int) -> float:
    """The share of labels that a rule gets right; none where it does not apply."""
    try:
        return label_accuracy(secret.y, rule.infer(seen, COUNT, rng=stream(seed, DEFAULT)))
    except OutOfScope:
        return 0.0


def _sign(seen: Observation, *, is_negated: bool = False) -> str:
    """Whether the sign of an update is told, doubted in words, or believed wrongly."""
    notes = " ".join(settle(seen).notes)
    if "does not tell the sign" in notes:
        return "doubted"
    return "told" if ("turned around" in notes) == is_negated else "mistaken"


def _negated(seen: Observation) -> Observation:
    return replace(seen, update=replace(seen.update, delta=tree.apply(torch.neg, seen.update.delta)))


def _uneven(pool: Pool, rng: Rng) -> Batch:
    """A batch whose classes have shares of a Dirichlet distribution."""
    classes = pool.inputs.classes
    shares = torch._sample_dirichlet(torch.full((classes,), UNEVEN, dtype=torch.float64), generator=rng)
    wanted = torch.multinomial(shares, COUNT, replacement=True, generator=rng)
    order = torch.randperm(len(pool), generator=rng)
    rows = torch.cat([order[pool.y[order] == label][:count] for label, count in enumerate(wanted.bincount(minlength=classes))])
    return Batch(pool.x[rows], pool.y[rows])
