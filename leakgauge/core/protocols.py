"""The verbs: what each family of algorithms does. One method each; anything that has it belongs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, final

from torch import Tensor

from leakgauge.core.differentiation import Gradient
from leakgauge.core.types import (
    Batch,
    Capability,
    Client,
    Inputs,
    Model,
    Observation,
    Params,
    Reconstruction,
    Rng,
    Status,
    Tick,
)

__all__ = [
    "Attack",
    "Client",
    "Data",
    "Defense",
    "Found",
    "GradientRule",
    "Labels",
    "Likelihood",
    "Metric",
    "Objective",
    "Optimizer",
    "Partition",
    "Point",
    "Pool",
    "Prior",
    "Replay",
    "Search",
    "Space",
    "Victim",
]

Point = Mapping[str, Tensor]
"""The unknowns of a search: floating tensors by name ("x", and "y" where labels are joint)."""
Objective = Callable[[Point], Tensor]
"""From a point to a scalar loss, differentiable."""


@final
@dataclass(frozen=True)
class Pool:
    """All examples of a data set. Pixels in [inputs.low, inputs.high]."""

    x: Tensor  # [N, *shape], float32
    y: Tensor  # [N], int64
    inputs: Inputs
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.x)


class Data(Protocol):
    """Where private examples come from."""

    def load(self) -> Pool:
        """Read all examples; no network."""
        ...


class Victim(Protocol):
    """An architecture with its initialization."""

    def build(self, inputs: Inputs, /, *, rng: Rng) -> Model:
        """Return a fresh model; all weights come from `rng`."""
        ...


class GradientRule(Protocol):
    """How a client gets a gradient from a mini-batch: the mean gradient, or a private estimate of it."""

    def __call__(self, model: Model, batch: Batch, /, *, training: bool, rng: Rng | None) -> Gradient:
        """Return the gradient and the buffers after the forward pass."""
        ...


class Optimizer(Protocol):
    """A local optimizer as a pure step."""

    @property
    def learning_rate(self) -> float:
        """The step size."""
        ...

    @property
    def is_plain(self) -> bool:
        """Whether a step is exactly learning_rate times the gradient."""
        ...

    def step(self, params: Params, gradient: Params, state: Mapping[str, Params], /) -> tuple[Params, Mapping[str, Params]]:
        """Return the parameters and the state after one step; the first state is empty."""
        ...


class Partition(Protocol):
    """Which client of a federation holds which examples."""

    def split(self, y: Tensor, clients: int, /, *, rng: Rng) -> list[Tensor]:
        """Return the rows of each client, for the labels [N] of all examples; no row twice, and none left out."""
        ...


class Defense(Protocol):
    """Makes a client safer."""

    def protect(self, client: Client, /) -> Client:
        """Return the defended client."""
        ...


class Attack(Protocol):
    """Guesses the batch behind an observation."""

    @property
    def needs(self) -> frozenset[Capability]:
        """The capabilities without which the attack cannot run."""
        ...

    def run(self, seen: Observation, /, *, rng: Rng, tick: Tick) -> Reconstruction:
        """Return the guess. Raises OutOfScope where the attack does not apply to this model or update."""
        ...


class Likelihood(Protocol):
    """-log p(update | x), up to a constant: how far a replayed update is from the one that was seen."""

    def __call__(self, guess: Params, seen: Params, /) -> Tensor:
        """Return a scalar that is 0 where the two agree; `guess` may hold more names than `seen`."""
        ...


class Prior(Protocol):
    """-log p(x), up to a constant, of examples with their labels."""

    def __call__(self, batch: Batch, seen: Observation, /) -> Tensor:
        """Return a scalar for a batch."""
        ...


class Space(Protocol):
    """Where the search walks, and how a point becomes pixels."""

    def start(self, seen: Observation, count: int, /, *, rng: Rng) -> Tensor:
        """Return a random starting point for `count` examples."""
        ...

    def decode(self, point: Tensor, seen: Observation, /) -> Tensor:
        """Return pixels [n, *shape]."""
        ...

    def project(self, point: Tensor, seen: Observation, /) -> Tensor:
        """Return the nearest allowed point."""
        ...


class Replay(Protocol):
    """How the adversary turns a candidate batch into an update."""

    @property
    def needs(self) -> frozenset[Capability]:
        """What the replay must know."""
        ...

    def __call__(self, seen: Observation, batch: Batch, /) -> Params:
        """Return the update that the candidate would have produced, differentiable in the candidate."""
        ...


class Labels(Protocol):
    """What the adversary makes of the labels."""

    @property
    def needs(self) -> frozenset[Capability]:
        """What the rule must know."""
        ...

    def infer(self, seen: Observation, count: int, /, *, rng: Rng) -> Tensor:
        """Return classes [n] (int64) to hold fixed, or logits [n, classes] (floating) that the search starts from."""
        ...


@final
@dataclass(frozen=True)
class Found:
    """The best point of one search, with the loss at that very point."""

    point: Point
    loss: float
    trace: Tensor  # [steps]
    status: Status = Status.OK


class Search(Protocol):
    """Minimizes an objective from a start."""

    def minimize(
        self, objective: Objective, start: Point, /, *, project: Callable[[Point], Point], goal: float, rng: Rng, tick: Tick
    ) -> Found:
        """Return the best point seen. It ends at a loss of `goal`, and with Status.DIVERGED at a loss that is no number."""
        ...


class Metric(Protocol):
    """Compares guesses with the truths they were matched to."""

    def __call__(self, guess: Tensor, truth: Tensor, /) -> Tensor:
        """Return a score per example [n] for pixels [n, *shape] in [0, 1]."""
        ...
