"""Inner products of many gradients with one update, and of each with itself (ghost clipping, Goodfellow 2015, arXiv 1510.01799).

The gradient of a linear layer's weight is G X^T, of the slopes G [o, q] at its outputs and of its inputs X [i, q], at q places: a
convolution's inputs are unfolded, and the examples of one candidate are places as well. Its product with an update U is that of
G with U X, and its square that of X^T X with G^T G: q x q numbers in place of o x i. Where q is large, the gradient itself is less
work (Bu et al., NeurIPS 2022, arXiv 2205.10683, choose by layer as well).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from leakgauge.attacks.engine.tape import Entry, Tape
from leakgauge.core.autodiff import has_second_derivatives
from leakgauge.core.differentiation import is_replayed
from leakgauge.core.guarding import guarded
from leakgauge.core.types import Batch, Model, Observation, Params

Change = Callable[[Tensor], Tensor]
"""What becomes of the gradients of one tensor, [candidates, *shape], number by number."""


_LARGE = 4_000_000
"""Multiplications of a layer's gradient from which on a call for each candidate costs less than unfolding its inputs."""


class Target(NamedTuple):
    """An update to compare all gradients with, or one for each candidate, each in a unit in which squares stay within range."""

    numbers: Params  # [1, *shape], or [candidates, *shape]
    squares: Mapping[str, Tensor]  # [1] or [candidates]
    unit: Tensor  # [1] or [candidates]; powers of two, so that nothing is rounded


def target(*updates: Params) -> Target:
    """Return updates of the same tensors as targets, each in a unit of its own."""
    units = [_unit(update) for update in updates]
    if units == [1.0]:  # as it is: a copy would be as large as the network
        numbers = {name: value.unsqueeze(0) for name, value in updates[0].items()}
    else:
        each = list(zip(updates, units, strict=True))
        numbers = {name: torch.stack([update[name] / unit for update, unit in each]) for name in updates[0]}
    squares = {name: torch.stack([one.square().sum() for one in value]) for name, value in numbers.items()}
    return Target(numbers, squares, next(iter(updates[0].values())).new_tensor(units))


def _unit(update: Params) -> float:
    """That of the largest number, where it is far from 1."""
    most = max((float(value.abs().max()) for value in update.values() if value.numel()), default=0.0)
    return 1.0 if not 0 < most < math.inf or 1 / _FAR < most < _FAR else 2.0 ** math.frexp(most)[1]


_FAR = 1e4


class Products(NamedTuple):
    """By tensor: the products of each candidate's gradient with its update, its square, and the update's square.

    Updates are in a `unit`, the gradients are as they are.
    """

    dots: Mapping[str, Tensor]  # [candidates]
    squares: Mapping[str, Tensor]  # [candidates]
    targets: Mapping[str, Tensor]  # [1] or [candidates]
    unit: Tensor  # [1] or [candidates]

    def scaled(self, factors: Tensor) -> Products:
        """Return the products for gradients that are multiplied by a factor each, [candidates]."""
        dots = {name: factors * value for name, value in self.dots.items()}
        squares = {name: factors.square() * value for name, value in self.squares.items()}
        return self._replace(dots=dots, squares=squares)

    def total(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the sums over tensors: products and squares [candidates], and the updates' squares [1] or [candidates]."""
        dots, squares, targets = (torch.stack(list(one.values())).sum(dim=0) for one in (self.dots, self.squares, self.targets))
        return dots, squares, targets

    @property
    def are_sound(self) -> Tensor:
        """Return [candidates], whether a gradient's square lies well within the range of its numbers."""
        squares = self.total()[1].detach()
        limits = torch.finfo(squares.dtype)
        sound: Tensor = (squares > limits.tiny**0.8) & (squares < limits.max**0.8)
        return sound


class Shape(NamedTuple):
    """A replay as what it makes of the gradients of single tensors, what it multiplies them by, and what becomes of all then."""

    changes: Mapping[str, Change] = MappingProxyType({})
    scale: float = 1.0
    ended: Callable[[Products], Products] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is a multiple of the gradient."""
        return not self.changes and self.ended is None


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


def products(model: Model, batch: Batch, candidates: int, aim: Target, changes: Mapping[str, Change]) -> Products | None:
    """Return the products of the mean gradients of `candidates` batches, which stand one behind the other in `batch`.

    The network runs in evaluation mode. `changes` says of some tensors what becomes of their gradients. Parameters that this cannot
    follow, shared ones and those of other layers than linear ones, 2-d convolutions without groups and normalizations, have their
    gradient written down; of several candidates that cannot be, and the answer is None. So it is where the batch requires a
    gradient, to which the result stays attached, and the model has no second derivatives. Raises UsageError for whatever the model
    raises.
    """
    attached = is_replayed(batch)
    if attached and not has_second_derivatives(model, batch, training=False):
        return None
    with torch.enable_grad():
        leaves = {name: value.detach().requires_grad_() for name, value in model.trained.items()}
        tape = Tape(leaves)
        with tape:
            logits = model.forward({**model.params, **leaves}, model.buffers, batch.x, training=False)
        loss = _summed(model, logits, batch, candidates)
        entries = [entry for entry in tape.followed if entry.edge is not None]
        outs: list[Any] = [entry.edge for entry in entries]
        others = {name: value for name, value in leaves.items() if name not in {one for entry in entries for one in entry.names}}
        with guarded("model backward", "mend the network or the loss, which has to be differentiable"):
            slopes = torch.autograd.grad(loss, [*outs, *others.values()], create_graph=attached, allow_unused=True)
    rest = {name: slope for name, slope in zip(others, slopes[len(outs) :], strict=True) if slope is not None}
    if rest and candidates > 1:
        return None
    dots: dict[str, Tensor] = {}
    squares: dict[str, Tensor] = {}
    with torch.set_grad_enabled(attached):
        for entry, slope in zip(entries, slopes, strict=False):
            if slope is not None:
                for name, dot, square in _of(entry, slope, candidates, aim.numbers, changes):
                    dots[name], squares[name] = dot, square
        for name in rest.keys() & aim.numbers.keys():
            dots[name], squares[name] = _explicit(rest[name].unsqueeze(0), aim.numbers[name], changes.get(name))
    zeros = batch.x.new_zeros(candidates)  # for what was sent and no candidate moves
    return Products(
        {name: dots.get(name, zeros) for name in aim.numbers},
        {name: squares.get(name, zeros) for name in aim.numbers},
        aim.squares,
        aim.unit,
    )


def _summed(model: Model, logits: Tensor, batch: Batch, candidates: int) -> Tensor:
    """The sum of the losses of all candidates, each of which is a loss of its own examples."""
    own, whole = model.factor(len(batch) // candidates), model.factor(len(batch))
    if own is not None and whole is not None and not batch.y.is_floating_point():  # a mean or a sum of examples, as was tried
        return own * candidates / whole * model.loss_of(logits, batch.y)
    parts = [model.loss_of(logits[rows], batch.y[rows]) for rows in torch.arange(len(batch)).reshape(candidates, -1)]
    return torch.stack(parts).sum()


def unwritten(model: Model, batch: Batch) -> int:
    """Return how many numbers of a batch's gradient `products` does without."""
    tape = Tape(model.trained)
    with torch.no_grad(), tape:
        model.forward(model.params, model.buffers, batch.x, training=False)
    found = 0
    for entry in tape.followed:
        weight = model.params[entry.weight]
        places = entry.out.numel() // weight.shape[0]
        if entry.kind in ("conv", "linear") and _is_small(places, weight[0].numel(), weight.shape[0]):
            found += weight.numel()
    return found


def _is_small(places: int, inputs: int, outputs: int) -> bool:
    """Whether the products of a layer's places with one another are fewer numbers than its gradient, and by far."""
    return places * (inputs + outputs) < inputs * outputs / 2


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
    outputs, inputs, places = g.shape[1], u[0, 0].numel(), g.shape[2]
    if change is None and _is_small(places, inputs, outputs):
        x = _given(entry, candidates)
        dots = (g * (_rows(u, outputs) @ x)).sum(dim=(1, 2))
        yield entry.weight, dots, ((x.mT @ x) * (g.mT @ g)).sum(dim=(1, 2))
    elif entry.kind == "linear" or places * inputs * outputs < _LARGE:
        yield (entry.weight, *_explicit(g @ _given(entry, candidates).mT, u, change))
    else:
        yield (entry.weight, *_explicit(_of_convolution(entry, slope, candidates, u[0]), u, change))


def _of_convolution(entry: Entry, slope: Tensor, candidates: int, like: Tensor) -> Tensor:
    """The gradients of a convolution's weight, one candidate after the other: unfolding would take longer than all else."""
    settings = {name: value for name, value in entry.settings.items() if name != "kernel_size"}
    pairs = zip(entry.given.chunk(candidates), slope.chunk(candidates), strict=True)
    return torch.stack([conv2d_weight(given, like.shape, own, **settings) for given, own in pairs])


def _explicit(gradients: Tensor, update: Tensor, change: Change | None) -> tuple[Tensor, Tensor]:
    """Products and squares of gradients that are written down, [candidates, ...] with as many numbers as an update each."""
    own = gradients if change is None else change(gradients.reshape(-1, *update.shape[1:]))
    own, rows = own.flatten(1), update.flatten(1)
    return own @ rows[0] if len(rows) == 1 else torch.linalg.vecdot(own, rows), torch.linalg.vecdot(own, own)


def _rows(update: Tensor, outputs: int) -> Tensor:
    """An update of a weight as a matrix, or as one for each candidate."""
    return update.reshape(outputs, -1) if len(update) == 1 else update.reshape(len(update), outputs, -1)


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
