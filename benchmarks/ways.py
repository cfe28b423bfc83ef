"""Slopes of one candidate in every way that was tried, those that the engine does not take as well, in one process, in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from benchmarks.cases import NETS, Settings, case
from benchmarks.results import Results, Shown, Values
from leakgauge.attacks.engine.products import products, target
from leakgauge.attacks.likelihoods.cosine import Cosine
from leakgauge.core import tree
from leakgauge.core.capabilities import INFORMED
from leakgauge.core.differences import by_differences
from leakgauge.core.differentiation import Gradient, differentiated, slopes
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Model, Params

TURNS = 8
Step = Callable[[Batch], Tensor]
"""The slopes of the cosine's loss by the pixels of a batch."""


def run(settings: Settings, results: Results) -> Shown:
    """Measure one candidate; `--steps` sets the turns."""
    pool, turns = settings.pool(), settings.steps or TURNS

    def measure(net: str, way: str) -> Values:
        this = case(pool, 0, NETS[net], INFORMED)
        model, update = this.seen.model, this.seen.update.delta
        at = Batch(torch.rand(this.secret.x.shape, generator=stream(1)), this.secret.y)
        oracle, step = one_by_one(model, update), WAYS[way](model, update)
        turned = [(_seconds(oracle, at), _seconds(step, at)) for _ in range(turns + 1)][1:]  # the first one warms up
        ratios = [own / other for other, own in turned]
        low, _, high = statistics.quantiles(ratios, n=4)
        found = step(at).double()
        exact = one_by_one(_cast(model, torch.double), tree.apply(Tensor.double, update))(Batch(at.x.double(), at.y))
        return {
            "ms": 1000 * statistics.median(own for _, own in turned),
            "ratio": f"{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})",
            "error": float((found - exact).norm() / exact.norm()),
            "cosine": float(torch.cosine_similarity(found.flatten(), exact.flatten(), dim=0)),
        }

    return Shown(
        "Slopes of the cosine's loss of one candidate, 32x32, batch 1",
        [
            results.row("ways", {"net": net, "way": way, "turns": turns}, partial(measure, net, way))
            for net in settings.among(NETS)
            for way in WAYS
        ],
        {
            "net": "net",
            "way": "way",
            "ms": "ms",
            "ratio": "to one by one (middle half of the turns)",
            "error": "off double precision, as a share",
            "cosine": "cosine with double precision",
        },
        [],
    )


def _seconds(step: Step, at: Batch) -> float:
    began = time.perf_counter()
    step(at)
    return time.perf_counter() - began


def _matched(update: Params, gradient: Callable[[Batch], Gradient]) -> Step:
    def step(at: Batch) -> Tensor:
        x = at.x.clone().requires_grad_()
        return slopes(Cosine()(gradient(Batch(x, at.y)).params, update), [x])[0]

    return step


def one_by_one(model: Model, update: Params) -> Step:
    return _matched(update, partial(differentiated, model, training=False, replayed=True))


def _by_products(model: Model, update: Params) -> Step:
    aim = target(update)

    def step(at: Batch) -> Tensor:
        x = at.x.clone().requires_grad_()
        found = products(model, Batch(x, at.y), 1, aim, {})
        assert found is not None, f"products follow no {type(model.net).__name__}"
        return slopes(Cosine().compare(found).sum(), [x])[0]

    return step


def _by_differences(model: Model, update: Params) -> Step:
    return _matched(update, partial(by_differences, model, training=False))


def _forward_over_reverse(model: Model, update: Params) -> Step:
    """How the slopes change along the direction in which the loss falls with the gradient, by forward differentiation."""

    def step(at: Batch) -> Tensor:
        gradient = differentiated(model, at, training=False, replayed=False).params
        leaves = {name: value.requires_grad_() for name, value in gradient.items()}
        direction = dict(zip(leaves, slopes(Cosine()(leaves, update), [*leaves.values()]), strict=True))

        def moved(params: Params) -> Tensor:
            def loss(x: Tensor) -> Tensor:
                return model.loss_of(model.forward({**model.params, **params}, model.buffers, x, training=False), at.y)

            found: Tensor = torch.func.grad(loss)(at.x)
            return found

        found: Tensor = torch.func.jvp(moved, ({name: model.params[name] for name in direction},), (direction,))[1]
        return found

    return step


def _in_half_precision(model: Model, update: Params) -> Step:
    step = one_by_one(_cast(model, torch.bfloat16), tree.apply(Tensor.bfloat16, update))
    return lambda at: step(Batch(at.x.bfloat16(), at.y))


def _channels_last(model: Model, update: Params) -> Step:
    def laid_out(value: Tensor) -> Tensor:
        return value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value

    step = one_by_one(replace(model, params=tree.apply(laid_out, model.params)), tree.apply(laid_out, update))
    return lambda at: step(Batch(laid_out(at.x), at.y))


def _cast(model: Model, kind: torch.dtype) -> Model:
    def cast(value: Tensor) -> Tensor:
        return value.to(kind) if value.is_floating_point() else value

    return replace(model, params=tree.apply(cast, model.params), buffers=tree.apply(cast, model.buffers))


WAYS: Mapping[str, Callable[[Model, Params], Step]] = {
    "one by one": one_by_one,
    "products": _by_products,
    "differences": _by_differences,
    "forward over reverse": _forward_over_reverse,
    "bfloat16": _in_half_precision,
    "channels last": _channels_last,
}
