"""FedKL's architecture: any model with key-locks behind its convolutions (Ren et al., arXiv 2305.04095)."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, final

import torch
from torch import Tensor, nn

from leakgauge.core import tree
from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.anatomy import probe, running_order
from leakgauge.core.errors import UsageError, suggestion
from leakgauge.core.lock import Activation, KeyLock
from leakgauge.core.protocols import Victim
from leakgauge.core.rng import uniform
from leakgauge.core.types import Inputs, Model, Rng
from leakgauge.victims.initialization import initialize
from leakgauge.victims.lenet import LeNet

Kind = Literal["lock", "batchnorm", "fixed"]
_EVERY = "all"


@final
@algorithm
class KeyLocked:
    """Puts a lock behind convolutions of another victim, in place of the BatchNorm there, if there is one (see `locked`).

    `layers` names the convolutions; without a name it is the first one to run, as in the paper, and "all" stands for every one.
    The other weights are those that the victim has without locks. `kind` is what is put there: the lock; or, to tell what it does
    from what it comes with, "batchnorm", whose scale and shift are trained and sent, or "fixed", whose scale and shift are as
    random as a lock's, but known and never trained.
    """

    victim: Victim = LeNet()
    layers: tuple[str, ...] = ()
    length: Count = 1024
    activation: Activation = "relu"
    kind: Kind = "lock"

    def build(self, inputs: Inputs, /, *, rng: Rng) -> Model:
        """Return a fresh model. Raises UsageError for a victim without convolutions of images, or without those that are named."""
        model = self.victim.build(inputs, rng=rng)
        return locked(model, self.layers, length=self.length, activation=self.activation, kind=self.kind, rng=rng)


def locked(
    model: Model,
    layers: Sequence[str] = (),
    *,
    length: int = 1024,
    activation: Activation = "relu",
    kind: Kind = "lock",
    rng: Rng,
) -> Model:
    """Return a model with locks behind its convolutions (see `KeyLocked`).

    Each lock has a key of its own, `length` numbers from U(0, 1), and linear layers as PyTorch initializes them, as in the released
    code; there, further locks take the factors of the one before for their key. Raises UsageError as `KeyLocked.build`.
    """
    known = [name for name in running_order(model) if isinstance(model.net.get_submodule(name), nn.Conv2d)]
    if not known:
        raise UsageError("KeyLocked.victim: has no convolution of images, expected one to put a lock behind; choose another victim")
    for name in layers:
        if name not in (*known, _EVERY):
            raise UsageError(f"KeyLocked.layers: {name!r} is no convolution of the victim, {suggestion(name, [*known, _EVERY])}")
    for name in known if _EVERY in layers else layers or known[:1]:
        model = _with(model, name, length, activation, kind, rng)
    return model


def _with(model: Model, name: str, length: int, activation: Activation, kind: Kind, rng: Rng) -> Model:
    net = copy.deepcopy(model.net).to("meta")
    convolution = net.get_submodule(name)
    assert isinstance(convolution, nn.Conv2d)
    made = _layer(convolution.out_channels, model.inputs, length, activation, kind, rng)
    norm = _norm_behind(model, name)
    if norm is not None:
        net, place = _placed(net, norm, made.net), norm
        params, buffers = (
            {one: value for one, value in own.items() if _within(one, norm) is None} for own in (model.params, model.buffers)
        )
    else:
        net, place = _placed(net, name, nn.Sequential(OrderedDict(conv=convolution, lock=made.net))), _under(name, "lock")
        params, buffers = ({_moved(one, name): value for one, value in own.items()} for own in (model.params, model.buffers))
    params |= {_under(place, one): value for one, value in made.params.items()}
    buffers |= {_under(place, one): value for one, value in made.buffers.items()}
    return replace(
        model,
        net=net.train(net.training),  # what is new is in the mode of the rest
        params={one: params[one] for one, _ in net.named_parameters()},
        buffers={one: buffers[one] for one, _ in net.named_buffers()},
    )


def _layer(channels: int, inputs: Inputs, length: int, activation: Activation, kind: Kind, rng: Rng) -> Model:
    """What is put behind a convolution, with its weights."""
    with torch.device("meta"):
        layer = nn.BatchNorm2d(channels) if kind == "batchnorm" else KeyLock(channels, length, activation)
    if kind == "fixed":
        layer.requires_grad_(False)
    made = initialize(layer, inputs, normalize=True, rng=rng)
    return made if kind == "batchnorm" else replace(made, params={**made.params, "key": uniform((length,), rng)})


@torch.no_grad()
def _norm_behind(model: Model, convolution: str) -> str | None:
    """The name of the BatchNorm that sees what a convolution gives; None where there is no such."""
    given: list[Tensor] = []
    found: list[str] = []

    def sees(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, entering: found.append(name) if given and entering[0] is given[-1] else None

    norms = [(name, layer) for name, layer in model.net.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    hooks = [layer.register_forward_pre_hook(sees(name)) for name, layer in norms]
    hooks.append(model.net.get_submodule(convolution).register_forward_hook(lambda _, __, made: given.append(made)))
    try:
        model.forward(model.params, tree.apply(Tensor.clone, model.buffers), probe(model, 0), training=False)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None


def _placed(net: nn.Module, name: str, layer: nn.Module) -> nn.Module:
    if not name:
        return layer
    net.set_submodule(name, layer)
    return net


def _under(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _within(name: str, path: str) -> str | None:
    """The name of a tensor within the layer at a path; None where it is elsewhere."""
    return name.removeprefix(f"{path}.") if not path or name.startswith(f"{path}.") else None


def _moved(name: str, path: str) -> str:
    """The name of a tensor where the convolution at a path has become the first of two layers there."""
    inner = _within(name, path)
    return name if inner is None else _under(path, f"conv.{inner}")
