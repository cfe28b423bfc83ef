"""Train a generator: step by step, from a checkpoint where there is one, with progress and sheets of samples on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, final

from torch import Tensor

from leakgauge.core.errors import UsageError
from leakgauge.core.rng import stream
from leakgauge.core.types import Rng
from leakgauge.generative.generators.deconvolution import Deconvolution, Sizes
from leakgauge.generative.generators.training import checkpoints
from leakgauge.generative.generators.training.networks import Trainable
from leakgauge.generative.generators.training.state import Minibatches, State


class Training(Protocol):
    """A way to train a generator of deconvolutions: networks to begin with, and a step that changes them in place."""

    @property
    def latent(self) -> int:
        """How many numbers a code has."""
        ...

    @property
    def widths(self) -> tuple[int, ...]:
        """The channels of the generator's maps."""
        ...

    @property
    def kernel(self) -> int:
        """The side of its deconvolutions."""
        ...

    @property
    def steps(self) -> int:
        """How many steps a whole training has."""
        ...

    def init(self, sizes: Sizes, *, rng: Rng) -> State:
        """Return fresh networks."""
        ...

    def step(self, state: State, data: Minibatches, *, rng: Rng) -> dict[str, float]:
        """Change the networks; return what there is to tell about them."""
        ...


@final
@dataclass(frozen=True)
class Progress:
    """Where a training is."""

    step: int
    steps: int
    told: dict[str, float]
    generator: Callable[[], Deconvolution]  # as it is by now


def sizes(training: Training, x: Tensor, classes: int) -> Sizes:
    """Return the sizes of the generator for images [N, c, h, w].

    Raises UsageError for images that are no squares whose side the deconvolutions can reach by doubling.
    """
    channels, height, width = x.shape[1:]
    times = 2 ** len(training.widths)
    if height != width or height % times:
        raise UsageError(
            f"data: images are {height}x{width}, expected squares of a multiple of {times} pixels, for {len(training.widths)} "
            "deconvolutions double them; set the size of the data, or take another number of widths"
        )
    if training.kernel % 2:
        raise UsageError(f"kernel: got {training.kernel}, expected an even number, for every deconvolution doubles the side")
    return Sizes(training.latent, classes, channels, height // times, training.kernel, tuple(training.widths))


def train(
    training: Training,
    data: Minibatches,
    *,
    seed: int,
    checkpoint: Path | None = None,
    every: int = 500,
    hear: Callable[[Progress], None] = lambda _: None,
) -> Deconvolution:
    """Return the trained generator; with `checkpoint`, a file, whoever calls again goes on where it stands.

    Steps do not depend on where they were interrupted. Every `every` steps, and after the last, a checkpoint is written and `hear`
    is called. Raises UsageError for a checkpoint of another training, and for a training that diverges.
    """
    state = training.init(sizes(training, data.x, data.classes), rng=stream(seed, "weights"))
    rng = stream(seed, "training")
    identity = f"{training!r}, seed {seed}, {len(data.x)} images of {tuple(data.x.shape[1:])}, {data.classes} classes"
    done = 0 if checkpoint is None else checkpoints.resume(checkpoint, identity, state, rng)
    generator = state.networks["generator"]
    assert isinstance(generator, Trainable)

    def so_far() -> Deconvolution:
        return Deconvolution(generator.sizes, generator.folded())

    for step in range(done + 1, training.steps + 1):
        told = training.step(state, data, rng=rng)
        if not all(value == value and abs(value) != float("inf") for value in told.values()):
            raise UsageError(
                f"learning_rate: diverged at step {step} of {training.steps} ({told}), expected finite numbers; lower it"
            )
        if step % every == 0 or step == training.steps:
            if checkpoint is not None:
                checkpoints.save(checkpoint, identity, state, rng, step)
            hear(Progress(step, training.steps, told, so_far))
    return so_far()
