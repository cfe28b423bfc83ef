"""What a key-lock hides, as far as it can be computed: each of its two propositions with what speaks for it and against it.

An update determines an image to first order if no direction leaves it as it is, that is, if its derivative has no singular value
near 0. Derivatives are central differences in double precision.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from benchmarks.cases import Settings
from benchmarks.results import Results, Shown, Values
from leakgauge.core.autodiff import loss_gradient
from leakgauge.core.lock import Activation, Factors, drawn, factors, opened, private
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Inputs, Model, Params
from leakgauge.data.photographs import Photographs
from leakgauge.victims.key_locked import KeyLocked
from leakgauge.victims.lenet import LeNet

SEEDS, KEYS = 20, 5
INPUTS = Inputs((3, 16, 16), 10)
ACTIVATIONS: tuple[Activation, ...] = ("sigmoid", "relu")
LOCK, LAST = "0.lock", "7"
_STEP = 1e-5
_FAINT = 1e-4
"""Of the largest singular value by the image: what is fainter comes from the 1e-5 in a BatchNorm, the others are near 1e-3."""


def run(settings: Settings, results: Results) -> Shown:
    """Measure on photographs that come along: `--images` says how many networks, each with its key and its image."""
    count = settings.images or SEEDS
    rows = [results.row("lock_theory", {"lock": one, "networks": count}, partial(_measure, one, count)) for one in ACTIVATIONS]
    return Shown(
        "A LeNet with a key-lock behind its first convolution, one image of 16x16 in color (768 numbers): medians",
        rows,
        {
            "lock": "lock",
            "labels": "labels read off the last layer",
            "embedding": "its input read off: relative error",
            "wrong": "update with another key: relative distance",
            "alive": "channels that let something through",
            "plain": "faint directions of the image, no lock",
            "known": "the same, key known",
            "unknown": "of image and factors, key unknown",
            "lost": "networks with more than one, key known",
            "hidden": "networks with more where the key is unknown",
        },
        [f"a direction is faint below {_FAINT:g} of the image's strongest; with a BatchNorm its contrast always is"],
    )


def _measure(activation: Activation, count: int) -> Values:
    each = [_one(activation, seed) for seed in range(count)]
    medians: dict[str, object] = {name: statistics.median(one[name] for one in each) for name in each[0]}
    return {
        **medians,
        "labels": f"{sum(one['labels'] for one in each):g} of {count}",
        "lost": f"{sum(one['known'] > 1 for one in each)} of {count}",
        "hidden": f"{sum(one['unknown'] > one['known'] for one in each)} of {count}",
    }


def _one(activation: Activation, seed: int) -> dict[str, float]:
    pool = Photographs(size=INPUTS.shape[-1]).load()
    row = int(torch.randint(len(pool), (), generator=stream(seed, "row")))
    secret = Batch(pool.x[row : row + 1].double(), torch.tensor([seed % INPUTS.classes]))
    plain = _double(LeNet().build(INPUTS, rng=stream(seed, "victim")))
    locked = _double(KeyLocked(victim=LeNet(), activation=activation).build(INPUTS, rng=stream(seed, "victim")))
    sent = _sent(locked, secret.x, secret.y)
    bare, known = (torch.linalg.svdvals(_slopes(partial(_sent_of, model, secret), secret.x.flatten())) for model in (plain, locked))
    unknown = torch.linalg.svdvals(_slopes_of_both(locked, secret))
    return {
        **_last_layer(locked, secret),
        "wrong": statistics.median(_apart(locked, secret, sent, key) for key in range(KEYS)),
        "alive": float((factors(locked)[LOCK].gamma > 0).double().sum()),
        "plain": _faint(bare, bare[0]),
        "known": _faint(known, known[0]),
        "unknown": _faint(unknown, known[0]),
    }


def _last_layer(model: Model, secret: Batch) -> dict[str, float]:
    """Proposition 1, past the lock: each row of a linear layer's gradient is its input times the derivative of its bias."""
    sent = loss_gradient(model, secret, training=True).params
    weight, bias = sent[f"{LAST}.weight"], sent[f"{LAST}.bias"]
    given: list[Tensor] = []
    hook = model.net.get_submodule(LAST).register_forward_pre_hook(lambda _, entering: given.append(entering[0][0]))
    buffers = {name: value.clone() for name, value in model.buffers.items()}
    model.forward(model.params, buffers, secret.x, training=True)
    hook.remove()
    row = int(bias.abs().argmax())
    error = (weight[row] / bias[row] - given[0]).norm() / given[0].norm()
    return {"labels": float(bias.argmin() == secret.y[0]), "embedding": float(error)}


def _apart(model: Model, secret: Batch, sent: Tensor, key: int) -> float:
    """Proposition 2: how far the update of the secret with another key is from the one that was sent."""
    other = {name: value.double() for name, value in drawn(model, rng=stream(key, "another key")).items()}
    found = _sent(replace(model, params={**model.params, **other}), secret.x, secret.y)
    return float((found - sent).norm() / sent.norm())


def _slopes_of_both(model: Model, secret: Batch) -> Tensor:
    """The derivative by the image and by the factors; of those that a ReLU makes 0 nothing can be seen, but that they are 0."""
    own = {name.removeprefix(f"{LOCK}."): model.params[name] for name in private(model)}
    inner = torch.stack([own[f"{side}.weight"] @ own["key"] + own[f"{side}.bias"] for side in ("scale", "shift")])
    alive = torch.stack(list(factors(model)[LOCK])) > 0

    def sent(point: Tensor) -> Tensor:
        moved = inner.masked_scatter(alive, point[secret.x.numel() :])
        return _sent(opened(model, {LOCK: Factors(*moved)}), point[: secret.x.numel()].reshape(secret.x.shape), secret.y)

    return _slopes(sent, torch.cat([secret.x.flatten(), inner[alive]]))


def _slopes(function: Callable[[Tensor], Tensor], point: Tensor) -> Tensor:
    steps = _STEP * torch.eye(len(point), dtype=point.dtype)
    return torch.stack([(function(point + step) - function(point - step)) / (2 * _STEP) for step in steps], dim=1)


def _faint(values: Tensor, strongest: Tensor) -> float:
    """How many directions hardly move the update."""
    return float((values < _FAINT * strongest).sum())


def _sent_of(model: Model, secret: Batch, x: Tensor) -> Tensor:
    return _sent(model, x.reshape(secret.x.shape), secret.y)


def _sent(model: Model, x: Tensor, y: Tensor) -> Tensor:
    kept = private(model) if any(name.startswith(LOCK) for name in model.params) else frozenset()
    return torch.cat([value.flatten() for name, value in _gradient(model, x, y).items() if name not in kept])


def _gradient(model: Model, x: Tensor, y: Tensor) -> Params:
    return loss_gradient(model, Batch(x, y), training=True).params


def _double(model: Model) -> Model:
    buffers = {name: value.double() if value.is_floating_point() else value for name, value in model.buffers.items()}
    return replace(model, params={name: value.double() for name, value in model.params.items()}, buffers=buffers)
