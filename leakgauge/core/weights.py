"""From two snapshots of a network's weights to the update between them: the door for whoever holds weights and no gradients."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from leakgauge.core import tree
from leakgauge.core.errors import UsageError, suggestion
from leakgauge.core.snapshots import Weights, snapshot
from leakgauge.core.types import Model, Params, Update
from leakgauge.core.wrappers import unwrapped


def update_between(
    before: Weights,
    after: Weights,
    *,
    model: Model | nn.Module | None = None,
    examples: int | None = None,
    scale: float | None = None,
) -> Update:
    """Return the update that lies between two snapshots of a network: before minus after, the sign of a gradient, by name.

    Snapshots are what `snapshot` takes: state dicts, networks, arrays, checkpoints, or paths of files with these, taken before and
    after local training. Names may differ by what wrappers add (`module.`, `_orig_mod.`). `model` is the network with the weights
    of `before`: it tells parameters from buffers, and snapshots that were swapped. Without it, buffers are what torch's
    normalization layers call `running_mean`, `running_var` and `num_batches_tracked`; a network with buffers of its own needs it.
    The buffers of `after` are sent along, and the parameters of `before`, from which an adversary starts. `examples` and `scale`
    are as in `Update`; leave out what is not known.

    Half precision becomes float32, with the rounding that it has: a step below half the gap between two numbers is lost, and near
    0.1 that gap is 6e-5 in float16 and 5e-4 in bfloat16. Raises UsageError for snapshots of different networks, parameters that
    are no finite floating numbers, snapshots that were swapped, and two that are the same.
    """
    if examples is not None and examples < 1:
        raise UsageError(f"examples: got {examples}, expected at least 1; leave it out where it is not known")
    was, now, notes = _snapshots(before, after, model)
    _check_same_network(was, now)
    names = _names(was) if model is None else _names_of(model, was, now)
    for key, weights in (("before", was), ("after", now)):
        _check_parameters(key, {name: weights[name] for name in names.params})
    start = tree.detach({name: _wide(was[name]) for name in names.params})
    delta = {name: value - _wide(now[name].detach()).to(value.device) for name, value in start.items()}
    if not any(bool(value.any()) for value in delta.values()):
        raise UsageError(
            f"after: holds the same {len(delta)} tensors as before, expected trained weights; nothing was trained: "
            "copy the weights before training, since a state dict changes along with its network"
        )
    buffers = tree.detach({name: _wide(now[name]) for name in names.buffers})
    return Update(delta=delta, examples=examples, scale=scale, buffers=buffers, before=start, notes=notes)


def _snapshots(before: Weights, after: Weights, model: Model | nn.Module | None) -> tuple[Params, Params, tuple[str, ...]]:
    """Both as tensors by name, with the names of the model, or of `before` where there is none; and what was done for that."""
    net = model.net if isinstance(model, Model) else model
    order = [] if net is None else list(net.state_dict())
    was, now = snapshot("before", before, order), snapshot("after", after, order)
    first = unwrapped(was, was if net is None else order)
    was = first(was)
    second = unwrapped(now, was)
    return was, second(now), tuple(dict.fromkeys((*first.notes, *second.notes)))


class _Names(NamedTuple):
    params: list[str]
    buffers: list[str]


_STATISTICS = frozenset({"running_mean", "running_var", "num_batches_tracked"})


def _names(weights: Params) -> _Names:
    """Tell parameters from buffers by what torch calls the latter."""
    buffers = [name for name in weights if name.rpartition(".")[2] in _STATISTICS]
    return _Names([name for name in weights if name not in buffers], buffers)


def _names_of(model: Model | nn.Module, before: Params, after: Params) -> _Names:
    """Tell parameters from buffers by the network, and hold the snapshots against it."""
    net = model.net if isinstance(model, Model) else model
    params = model.params if isinstance(model, Model) else dict(model.named_parameters())
    buffers = model.buffers if isinstance(model, Model) else dict(model.named_buffers())
    shared = {name for name, _ in net.named_parameters(remove_duplicate=False)} - params.keys()  # second names of tied weights
    for name, value in before.items():
        if name not in params and name not in buffers and name not in shared:
            raise UsageError(
                f"before: holds {name!r}, which the model does not have, {suggestion(name, params)}; take both from one network"
            )
        if name in params and value.shape != params[name].shape:
            raise UsageError(
                f"before: {name!r} has shape {tuple(value.shape)}, expected {tuple(params[name].shape)} as in the model; "
                "take both from one network"
            )
    for name in params:
        if name not in before:
            raise UsageError(
                f"before: lacks {name!r}, which the model has, expected all of its parameters; "
                "pass the whole state dict, or no model where layers are kept back"
            )
    if _holds(params, after) and not _holds(params, before):
        raise UsageError(
            "after: is what the model holds, and before is not, expected the model as it was before training; "
            "swap before and after, or load before into the model"
        )
    return _Names(list(params), [name for name in before if name in buffers])


def _holds(params: Params, weights: Params) -> bool:
    return all(torch.equal(weights[name], value.detach().to(weights[name])) for name, value in params.items())


def _check_same_network(before: Params, after: Params) -> None:
    for key, one, other_key, other in (("after", after, "before", before), ("before", before, "after", after)):
        for name in one:
            if name not in other:
                raise UsageError(
                    f"{other_key}: lacks {name!r}, which {key} holds, {suggestion(name, other)}; take both from one network"
                )
    for name, value in before.items():
        if value.shape != after[name].shape:
            raise UsageError(
                f"after: {name!r} has shape {tuple(after[name].shape)}, expected {tuple(value.shape)} as in before; "
                "take both from one network"
            )


def _check_parameters(key: str, weights: Params) -> None:
    if not weights:
        raise UsageError(f"{key}: holds buffers alone, expected parameters as well; pass the whole state_dict()")
    for name, value in weights.items():
        if not value.is_floating_point():
            raise UsageError(
                f"{key}: {name!r} holds {value.dtype}, expected floating weights; convert it, or pass the model if it is a buffer"
            )
        if not bool(value.isfinite().all()):
            raise UsageError(f"{key}: {name!r} holds nan or infinity, expected finite numbers; did local training diverge?")


def _wide(value: Tensor) -> Tensor:
    """Half precision as float32; all else as it is."""
    return value.float() if value.is_floating_point() and value.itemsize < 4 else value


def jumps(before: Tensor, delta: Tensor) -> Tensor:
    """Where a number was set to zero in one of two snapshots, and not by training: a mask.

    A tensor that holds no zero after training, or nothing else before it (biases that start at 0), gained its numbers by training.
    """
    was, now = before == 0, before.abs() == delta.abs()  # set to zero before training, and after it; whichever was subtracted
    jumped = now & ~was
    return jumped | (was & ~now) if bool(now.any()) and not bool(was.all()) else jumped
