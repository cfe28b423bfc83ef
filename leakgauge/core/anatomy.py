"""Find the layers of a network by kind and role, in the order in which one forward pass runs them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from leakgauge.core import tree
from leakgauge.core.errors import OutOfScope
from leakgauge.core.rng import stream, uniform
from leakgauge.core.types import Model, Observation


class Linear(NamedTuple):
    """The parameter names of a linear layer; `bias` is None where it has none."""

    weight: str
    bias: str | None


class InputLayer(NamedTuple):
    """A linear layer with bias that sees every number of the input, and how they reach it."""

    weight: str
    bias: str
    places: Tensor  # [d], where each number of the flattened input is among those that enter the layer
    gain: Tensor  # [d], what it was multiplied by on its way, in the order of the input
    offset: Tensor  # [d], what was added then

    def pixels(self, entered: Tensor) -> Tensor:
        """Return what was the input [n, d] of what entered the layer [n, d]."""
        return (entered.index_select(1, self.places) - self.offset) / self.gain


class _Run(NamedTuple):
    name: str
    given: Tensor


def running_order(model: Model) -> list[str]:
    """The names of the linear layers and convolutions that a forward pass runs, in its order, each once: where it runs last.

    Traced with one example for each network, and kept. Raises UsageError for whatever the network raises.
    """
    if model.net not in _ORDERS:
        names = [run.name for run in _trace(model, probe(model, 0))]
        _ORDERS[model.net] = list(dict.fromkeys(reversed(names)))[::-1]
    return _ORDERS[model.net]


def linear_layers(model: Model) -> list[str]:
    """The names of the linear layers that a forward pass runs, in its order."""
    return [name for name in running_order(model) if isinstance(model.net.get_submodule(name), nn.Linear)]


def head(model: Model) -> Linear:
    """The linear layer that runs last, whose rows belong to the classes.

    Raises OutOfScope where it does not give `inputs.classes` outputs, or there is none.
    """
    names = linear_layers(model)
    layer = model.net.get_submodule(names[-1]) if names else None
    if not isinstance(layer, nn.Linear) or layer.out_features != model.inputs.classes:
        raise OutOfScope(f"the model's last layer is no linear layer with {model.inputs.classes} outputs")
    return _names(names[-1], layer)


def input_layer(model: Model) -> InputLayer:
    """The first linear layer with bias that sees the whole input, flattened, in whichever order, and at most scaled and shifted.

    Each number may have a scale of its own where the order is kept (a normalization inside the network); where it is not, they
    come as they are. Raises OutOfScope where there is no such layer.
    """
    size = math.prod(model.inputs.shape)
    probes = [probe(model, number) for number in range(4)]
    flat = [model.inputs.normalize(x).flatten() for x in probes]
    runs = [_trace(model, x) for x in probes]
    for place, run in enumerate(runs[0]):
        layer = model.net.get_submodule(run.name)
        if not isinstance(layer, nn.Linear) or layer.bias is None or run.given.numel() != size or layer.in_features != size:
            continue
        found = _route(flat, [passed[place].given.flatten() for passed in runs])
        if found is not None:
            names = _names(run.name, layer)
            return InputLayer(names.weight, names.bias or "bias", *found)
    first = f"{runs[0][0].name!r} ({type(model.net.get_submodule(runs[0][0].name)).__name__})" if runs[0] else "none"
    raise OutOfScope(f"no linear layer with bias sees the whole input, at most reordered or scaled and shifted; first runs {first}")


def _route(flat: list[Tensor], entered: list[Tensor]) -> tuple[Tensor, Tensor, Tensor] | None:
    """Places, gain and offset by which every input became what entered the layer; None where that is no explanation."""
    ones = torch.ones_like(flat[0])
    straight = torch.arange(len(ones), device=ones.device)
    by_value = torch.empty_like(straight)
    by_value[flat[0].argsort()] = entered[0].argsort()
    gain = (entered[0] - entered[1]) / (flat[0] - flat[1])
    for places, factor, shift in (
        (straight, ones, 0 * ones),
        (by_value, ones, 0 * ones),
        (straight, gain, entered[0] - gain * flat[0]),
    ):
        if not bool((factor.isfinite() & (factor != 0)).all()):
            continue
        if all(
            torch.allclose(after[places], factor * before + shift, rtol=_CLOSE, atol=_CLOSE * float(after.abs().max()))
            for before, after in zip(flat, entered, strict=True)
        ):
            return places, factor, shift
    return None


@torch.no_grad()
def _trace(model: Model, x: Tensor) -> list[_Run]:
    """What enters the linear layers and convolutions, in the order in which they run."""
    runs: list[_Run] = []

    def heard(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], dict[str, Tensor]], None]:
        return lambda _, given, named: runs.append(_Run(name, (given[0] if given else named["input"]).detach().clone()))

    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    layers = [(name, layer) for name, layer in model.net.named_modules() if isinstance(layer, kinds)]
    hooks = [layer.register_forward_pre_hook(heard(name), with_kwargs=True) for name, layer in layers]
    try:
        model.forward(model.params, tree.apply(Tensor.clone, model.buffers), x, training=False)
    finally:
        for hook in hooks:
            hook.remove()
    return runs


def probe(model: Model, number: int) -> Tensor:
    """One example of random pixels."""
    inputs, like = model.inputs, next(iter(model.params.values()), torch.empty(0))
    share = uniform((1, *inputs.shape), stream(number, "probe")).to(like)
    return inputs.low + (inputs.high - inputs.low) * share


_ORDERS: WeakKeyDictionary[nn.Module, list[str]] = WeakKeyDictionary()
_CLOSE = 1e-3
"""Of the largest number: above the rounding of half precision, and below what another number would make."""


def batch_norms(model: Model) -> dict[str, nn.modules.batchnorm._BatchNorm]:
    """The BatchNorm layers that keep running statistics, by name."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    return {name: layer for name, layer in model.net.named_modules() if isinstance(layer, kinds) and layer.track_running_stats}


def seen_tensor(seen: Observation, name: str) -> Tensor:
    """The tensor of that name in an update. Raises OutOfScope where the client kept it to itself."""
    if name not in seen.update.delta:
        raise OutOfScope(f"the update does not hold {name!r}")
    return seen.update.delta[name]


def moved_tensor(seen: Observation, name: str) -> Tensor:
    """The tensor of that name, as `seen_tensor`. Raises OutOfScope where it is exactly zero as well, for that names no class."""
    value = seen_tensor(seen, name)
    if not value.any():
        raise OutOfScope(f"the update of {name!r} is exactly zero, which says nothing of the examples")
    return value


def check_moved(seen: Observation) -> None:
    """Raise OutOfScope for an update that is exactly zero, in any of the rounds that were seen."""
    for one in (seen, *seen.earlier):
        if not any(bool(value.any()) for value in one.update.delta.values()):
            raise OutOfScope("the update is exactly zero, which says nothing of the examples")


def _names(layer: str, module: nn.Linear) -> Linear:
    prefix = f"{layer}." if layer else ""
    return Linear(f"{prefix}weight", f"{prefix}bias" if module.bias is not None else None)
