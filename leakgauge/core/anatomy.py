"""Find the layers of a network by kind and role."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from leakgauge.core.errors import OutOfScope
from leakgauge.core.types import Model, Observation


class Linear(NamedTuple):
    """The parameter names of a linear layer; `bias` is None where it has none."""

    weight: str
    bias: str | None


def head(model: Model) -> Linear:
    """The last linear layer, whose rows belong to the classes.

    Raises OutOfScope where no linear layer gives `inputs.classes` outputs.
    """
    linears = [(name, layer) for name, layer in model.net.named_modules() if isinstance(layer, nn.Linear)]
    if not linears or linears[-1][1].out_features != model.inputs.classes:
        raise OutOfScope(f"the model's last layer is no linear layer with {model.inputs.classes} outputs")
    return _names(*linears[-1])


def input_layer(model: Model) -> Linear:
    """The linear layer that sees the whole flattened input.

    Raises OutOfScope where the first layer with weights is of another kind, has no bias, or sees something else.
    """
    size = 1
    for side in model.inputs.shape:
        size *= side
    for name, layer in model.net.named_modules():
        if next(layer.parameters(recurse=False), None) is None:
            continue
        if isinstance(layer, nn.Linear) and layer.in_features == size and layer.bias is not None:
            return _names(name, layer)
        raise OutOfScope(f"the first layer, {name!r} ({type(layer).__name__}), is no linear layer with bias on the flattened input")
    raise OutOfScope("the model has no layer with weights")


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
