"""Inner products of many gradients with one update, and of each with itself (ghost clipping, Goodfellow 2015, arXiv 1510.01799).

The gradient of a linear layer's weight is G X^T, of the slopes G [o, q] at its outputs and of its inputs X [i, q], at q places: a
convolution's inputs are unfolded, and the examples of one candidate are places as well. Its product with an update U is that of
G with U X, and its square that of X^T X with G^T G: q x q numbers in place of o x i. Where q is large, the gradient itself is less
work (Bu et al., NeurIPS 2022, arXiv 2205.10683, choose by layer as well).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from leakgauge.attacks.population.tape import Entry, Tape
from leakgauge.core.guarding import guarded
from leakgauge.core.types import Batch, Model, Observation, Params

Change = Callable[[Tensor], Tensor]
"""What becomes of the gradients of one tensor, [candidates, *shape], number by number."""


_LARGE = 4_000_000
"""Multiplications of a layer's gradient from which on a call for each candidate costs less than unfolding its inputs."""


class Products(NamedTuple):
    """By tensor: the products of each candidate's gradient with the update, its square, and the update's square."""

    dots: Mapping[str, Tensor]  # [candidates]
    squares: Mapping[str, Tensor]  # [candidates]
    targets: Mapping[str, Tensor]  # scalars

    def scaled(self, factors: Tensor) -> Products:
        """Return the products for gradients that are multiplied by a factor each, [candidates]."""
        return Products(
            {name: factors * value for name, value in self.dots.items()},
            {name: factors.square() * value for name, value in self.squares.items()},
            self.targets,
        )

    def total(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the sums over tensors: products and squares [candidates], and the update's square."""
        dots, squares = (torch.stack(list(one.values())).sum(dim=0) for one in (self.dots, self.squares))
        return dots, squares, torch.stack(list(self.targets.values())).sum()


class Shape(NamedTuple):
    """A replay as what it makes of the gradients of single tensors, and then of the products of all."""

    changes: Mapping[str, Change]
    scaled: Callable[[Products], Products]


@runtime_checkable
class Shaping(Protocol):
    """A replay that may be one gradient of the batch in evaluation mode, changed tensor by tensor and multiplied."""

    def shape(self, seen: Observation, /) -> Shape | None:
        """Return what becomes of the gradient; None where the update is no such."""
        ...


@runtime_checkable
class Comparing(Protocol):
    """A likelihood that asks of two updates for their products alone."""

    def compare(self, found: Products, /) -> Tensor:
        """Return the loss of each candidate, [candidates]: that of `__call__`, up to rounding."""
        ...


def products(model: Model, batch: Batch, candidates: int, update: Params, changes: Mapping[str, Change]) -> Products | None:
    """Return the products of the mean gradients of `candidates` batches, which stand one behind the other in `batch`.

    The network runs in evaluation mode. `changes` says of some tensors what becomes of their gradients. None for a network with
    parameters that this cannot follow: shared ones, and ones of other layers than linear ones, 2-d convolutions without groups, and
    normalizations. Raises UsageError for whatever the model raises.
    """
    with torch.enable_grad():
        leaves = {name: value.detach().requires_grad_() for name, value in model.trained.items()}
        tape = Tape(leaves)
        with tape:
            logits = model.forward({**model.params, **leaves}, model.buffers, batch.x, training=False)
        parts = [
            model.loss_of(logits[rows], batch.y[rows]) for rows in torch.arange(len(batch)).reshape(candidates, -1)
        ]  # a mean over the examples of one candidate, whatever the loss makes of a batch
        followed = {name for name in leaves if tape.names.count(name) == 1}
        if any(entry.kind == "other" for entry in tape.entries) or len(tape.names) != len(followed):
            return None
        others = [value for name, value in leaves.items() if name not in followed]
        outs = [entry.out for entry in tape.entries]
        with guarded("model backward", "mend the network or the loss, which has to be differentiable"):
            slopes = torch.autograd.grad(torch.stack(parts).sum(), [*outs, *others], allow_unused=True)
    if any(slope is not None for slope in slopes[len(outs) :]):
        return None
    dots: dict[str, Tensor] = {}
    squares: dict[str, Tensor] = {}
    with torch.no_grad():
        for entry, slope in zip(tape.entries, slopes, strict=False):
            if slope is not None:
                for name, dot, square in _of(entry, slope, candidates, update, changes):
                    dots[name], squares[name] = dot, square
    zeros = batch.x.new_zeros(candidates)  # for what was sent and no candidate moves
    return Products(
        {name: dots.get(name, zeros) for name in update},
        {name: squares.get(name, zeros) for name in update},
        {name: value.square().sum() for name, value in update.items()},
    )


def _of(
    entry: Entry, slope: Tensor, candidates: int, update: Params, changes: Mapping[str, Change]
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """The name, the products and the squares, for the parameters of one layer."""
    g = _together(slope if entry.kind in ("conv", "channels") else slope.movedim(-1, 1), candidates)
    if entry.bias is not None and entry.bias in update:
        yield (entry.bias, *_explicit(g.sum(dim=2), update[entry.bias], changes.get(entry.bias)))
    if entry.weight not in update:
        return
    u, change = update[entry.weight], changes.get(entry.weight)
    if entry.kind in ("channels", "last"):
        yield (entry.weight, *_explicit((g * _given(entry, candidates)).sum(dim=2), u, change))
        return
    outputs, inputs, places = g.shape[1], u[0].numel(), g.shape[2]
    if change is None and places * (inputs + outputs) < inputs * outputs / 2:
        x = _given(entry, candidates)
        dots = (g * (u.reshape(outputs, inputs) @ x)).sum(dim=(1, 2))
        yield entry.weight, dots, ((x.mT @ x) * (g.mT @ g)).sum(dim=(1, 2))
    elif entry.kind == "linear" or places * inputs * outputs < _LARGE:
        yield (entry.weight, *_explicit(g @ _given(entry, candidates).mT, u, change))
    else:
        yield (entry.weight, *_explicit(_of_convolution(entry, slope, candidates, u), u, change))


def _of_convolution(entry: Entry, slope: Tensor, candidates: int, like: Tensor) -> Tensor:
    """The gradients of a convolution's weight, one candidate after the other: unfolding would take longer than all else."""
    settings = {name: value for name, value in entry.settings.items() if name != "kernel_size"}
    pairs = zip(entry.given.chunk(candidates), slope.chunk(candidates), strict=True)
    return torch.stack([conv2d_weight(given, like.shape, own, **settings) for given, own in pairs])


def _explicit(gradients: Tensor, update: Tensor, change: Change | None) -> tuple[Tensor, Tensor]:
    """Products and squares of gradients that are written down, [candidates, ...] with as many numbers as the update each."""
    own = gradients if change is None else change(gradients.reshape(-1, *update.shape))
    own = own.flatten(1)
    return own @ update.flatten(), torch.linalg.vecdot(own, own)


def _given(entry: Entry, candidates: int) -> Tensor:
    """What a layer multiplies, [candidates, channels, places]: its inputs, unfolded, or normalized ones."""
    if entry.kind == "conv":
        x = functional.unfold(entry.given, **entry.settings)
    elif entry.kind == "channels":
        x = entry.settings["plain"]()
    else:
        x = (entry.settings["plain"]() if entry.kind == "last" else entry.given).movedim(-1, 1)
    return _together(x, candidates)


def _together(maps: Tensor, candidates: int) -> Tensor:
    """Maps [candidates * n, channels, ...] as [candidates, channels, n * places]."""
    flat = maps.reshape(candidates, -1, maps.shape[1], maps[0, 0].numel())
    return flat.transpose(1, 2).flatten(2)
