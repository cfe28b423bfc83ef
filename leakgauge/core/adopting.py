"""A network that is somebody's own, as a model whose weights are values, and weights from elsewhere in it."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from leakgauge.core.errors import UsageError, suggestion
from leakgauge.core.isolation import copied
from leakgauge.core.types import Inputs, Loss, Model, Params
from leakgauge.core.wrappers import unwrapped


def adopted(net: nn.Module, inputs: Inputs, loss: Loss) -> Model:
    """Return a copy of a network as a model; half precision becomes float32. Raises UsageError for one that cannot be copied."""
    net = copied(net)
    if any(value.is_floating_point() and value.itemsize < 4 for value in net.parameters()):
        net = net.float()
    params = {name: value.detach().clone() for name, value in net.named_parameters()}
    buffers = {name: value.detach().clone() for name, value in net.named_buffers()}
    return Model(net=net, params=params, buffers=buffers, loss=loss, inputs=inputs)


def with_weights(model: Model, weights: Params, where: str, *, is_partial: bool = False) -> Model:
    """Return the model with weights from `where`; their names may differ by what wrappers add.

    Buffers that are not there are the model's own, and so are parameters where `is_partial`. Raises UsageError for weights of
    another network.
    """
    known = {**model.params, **model.buffers}
    found = unwrapped(weights, known)(weights)
    tied = model.net.state_dict().keys() - known.keys()
    for name, value in found.items():
        if name not in known and name not in tied:
            raise UsageError(
                f"{where}: holds {name!r}, which the model does not have, {suggestion(name, known)}; "
                "pass the network that was trained"
            )
        if name in known and value.shape != known[name].shape:
            raise UsageError(
                f"{where}: {name!r} has shape {tuple(value.shape)}, expected {tuple(known[name].shape)} as in the model; "
                "pass the network that was trained"
            )
    for name in () if is_partial else model.params:
        if name not in found:
            raise UsageError(
                f"{where}: lacks {name!r}, which the model has, expected all of its parameters; pass the whole state dict"
            )
    return replace(
        model,
        params={name: found[name].detach().to(value) if name in found else value for name, value in model.params.items()},
        buffers={name: found[name].detach().to(value) if name in found else value for name, value in model.buffers.items()},
    )
