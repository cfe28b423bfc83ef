"""The nouns: what flows through an audit. Frozen values, parameters always by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Protocol, final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from leakgauge.core.capabilities import Capability as Capability
from leakgauge.core.capabilities import ThreatModel as ThreatModel
from leakgauge.core.errors import UsageError
from leakgauge.core.guarding import guarded, told
from leakgauge.core.outputs import logits_in
from leakgauge.core.reduction import Reduction, reduction
from leakgauge.core.reversible import reversible

Params = Mapping[str, Tensor]
Rng = torch.Generator
Loss = Callable[[Tensor, Tensor], Tensor]
Tick = Callable[[float], None]
"""Called with the share of the work that is done, from 0 to 1."""


def no_tick(_: float) -> None:
    """Report progress to nobody."""


def part_of(tick: Tick, done: int, parts: int, count: int = 1) -> Tick:
    """The progress of one part, or of `count` as one, of which `done` came before, as progress of the whole."""
    return lambda share: tick((done + count * share) / parts)


@final
@dataclass(frozen=True)
class Inputs:
    """What a model takes: pixels in [low, high], which the model normalizes per channel by `mean` and `std`.

    Everything outside a model is in pixel units; "normalized" means `(x - mean) / std`, as the first layer sees it.
    """

    shape: tuple[int, ...]
    classes: int
    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def normalize(self, x: Tensor) -> Tensor:
        """Pixels [n, *shape] to what the first layer sees."""
        if self._is_identity:
            return x
        return (x - self._per_channel(self.mean, x)) / self._per_channel(self.std, x)

    def denormalize(self, x: Tensor) -> Tensor:
        """The inverse of `normalize`."""
        if self._is_identity:
            return x
        return x * self._per_channel(self.std, x) + self._per_channel(self.mean, x)

    @property
    def _is_identity(self) -> bool:
        return self.mean == (0.0,) and self.std == (1.0,)

    def _per_channel(self, values: tuple[float, ...], x: Tensor) -> Tensor:
        return x.new_tensor(values).reshape(-1, *[1] * (len(self.shape) - 1))


@final
@dataclass(frozen=True)
class Batch:
    """Examples with labels."""

    x: Tensor  # [n, *shape], pixels
    y: Tensor  # [n] classes (int64), or [n, classes] soft labels

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: slice | Tensor) -> Batch:
        return Batch(self.x[index], self.y[index])

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        return Batch(self.x.to(device), self.y.to(device))


@final
@dataclass(frozen=True)
class Model:
    """A network with its weights as values: `net` gives the architecture, `params` and `buffers` the numbers.

    Parameters that require no gradient in `net` are frozen: no client trains them.
    """

    net: nn.Module
    params: Params
    buffers: Params
    loss: Loss
    inputs: Inputs

    @property
    def frozen(self) -> frozenset[str]:
        """The names of the parameters that are not trained."""
        return frozenset(name for name, value in self.net.named_parameters() if not value.requires_grad)

    @property
    def trained(self) -> Params:
        """The parameters that are trained. Raises UsageError where all are frozen."""
        frozen = self.frozen
        if not self.params.keys() - frozen:
            raise UsageError(
                f"model: none of its {len(self.params)} parameters is trained, expected at least one; "
                "call requires_grad_(True) on those that the client trains"
            )
        return {name: value for name, value in self.params.items() if name not in frozen}

    def logits(self, x: Tensor) -> Tensor:
        """Evaluation-mode outputs [n, classes] for pixels [n, *shape]."""
        return self.forward(self.params, self.buffers, x, training=False)

    def forward(self, params: Params, buffers: Params, x: Tensor, *, training: bool) -> Tensor:
        """Outputs [n, classes] for pixels under the given weights; in training mode `buffers` are updated in place.

        Raises UsageError for whatever the network raises, and for outputs without logits.
        """
        if self.net.training is not training:
            self.net.train(training)
        with guarded("model forward", "mend the network, or pass it what it takes"), reversible(self.net, x.device):
            output = functional_call(self.net, {**params, **buffers}, (self.inputs.normalize(x),))
        return logits_in(output, len(x), self.inputs.classes)

    def loss_of(self, logits: Tensor, y: Tensor) -> Tensor:
        """The loss, a scalar, of logits [n, classes] for classes [n] or soft labels [n, classes].

        Raises UsageError for whatever the loss raises, and for one that gives no single number.
        """
        try:
            with guarded("loss", "mend it, or pass one that takes logits [n, classes] and classes [n]"):
                value: object = self.loss(logits, y)
        except UsageError as error:
            if error.__cause__ is None or not y.is_floating_point():
                raise
            raise UsageError(
                f"loss: takes no soft labels [n, classes]: it raised {told(error.__cause__)}, expected one that does, for labels "
                "that are searched (joint) or mixed (mixup); set the attack's labels to known or idlg, or pass such a loss"
            ) from error
        if not isinstance(value, Tensor) or value.numel() != 1:
            got = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise UsageError(f"loss: gives {got}, expected one number for a batch; set its reduction to 'mean'")
        return value

    def factor(self, examples: int) -> float | None:
        """What multiple of the mean over so many examples the loss of a batch is: 1, or their number; None where it is neither."""
        return None if self._reduction is None else float(examples) if self._reduction == "sum" else 1.0

    @cached_property
    def _reduction(self) -> Reduction | None:
        return reduction(self.loss, self.inputs.classes, next(iter(self.params.values())))

    def to(self, device: torch.device | str) -> Model:
        """Return the model with its weights on a device."""
        return replace(
            self,
            params={name: value.to(device) for name, value in self.params.items()},
            buffers={name: value.to(device) for name, value in self.buffers.items()},
        )


@final
@dataclass(frozen=True)
class Update:
    """What a client sends, with the sign of a gradient: for local training, weights before minus after.

    `scale` is the factor on a mean gradient where one is defined: 1 for a gradient, learning rate times local steps for plain
    local SGD, times the examples for a loss that is their sum; None where it is unknown or undefined (adaptive optimizers,
    class weights).
    What a client does not train (frozen or unused parameters), and what it keeps to itself, is missing.
    """

    delta: Params
    examples: int | None = None
    scale: float | None = None
    buffers: Params = field(default_factory=dict)  # after local training
    before: Params | None = None  # the weights that training started from, where the client sends them changed (see docs)
    notes: tuple[str, ...] = ()  # what was done to make a recorded one fit its model, a sentence each; no adversary sees them


class Client(Protocol):
    """A pure function from a model and a batch to the update that leaves the client.

    It is differentiable in the batch wherever `batch.x` (or a soft `batch.y`) requires a gradient, because an attacker replays
    it. `rng=None` means "the part that is not chance": noise at its mean, examples in the order given.
    """

    def __call__(self, model: Model, batch: Batch, /, *, rng: Rng | None = None) -> Update:
        """Return the update that these examples produce."""
        ...


@final
@dataclass(frozen=True)
class Observation:
    """All that an adversary sees. Made by `observe()` alone; no field can hold the secret batch.

    What the threat model withholds is None (or, for `update.buffers`, empty).
    """

    model: Model
    update: Update
    threat: ThreatModel
    client: Client | None = None  # PROCEDURE; the defended one with DEFENSE
    labels: Tensor | None = None  # LABELS: [n], sorted, so that their order says nothing
    public: Batch | None = None  # PUBLIC_DATA
    earlier: tuple[Observation, ...] = ()  # the same batch, seen in other rounds, each with the model of its round

    @property
    def count(self) -> int:
        """The number of examples. Raises UsageError where COUNT is not granted."""
        if self.update.examples is None:
            raise UsageError(f"threat: {self.threat.name!r} does not grant count, which this attack needs; choose server or wider")
        return self.update.examples


class Status(StrEnum):
    """How a computation ended. Each of them is a result."""

    OK = "ok"
    DIVERGED = "diverged"
    OUT_OF_SCOPE = "out_of_scope"
    FAILED = "failed"
    TIMED_OUT = "timed_out"


@final
@dataclass(frozen=True)
class Reconstruction:
    """An attack's guess, chosen by the attack's own loss."""

    batch: Batch
    losses: Tensor  # [restarts], the attack's own objective at each restart's best point; nan where it has none
    trace: Tensor | None = None  # [steps], the objective along the chosen restart
    status: Status = Status.OK
    notes: tuple[str, ...] = ()  # what the attack noticed about itself, a sentence each
    estimates: Mapping[str, float] = field(
        default_factory=dict
    )  # settings of defenses that it read off the update, as Clipping.norm
    uncovered: Params = field(default_factory=dict)  # what it takes for what the client kept, as KeyLock.gamma
