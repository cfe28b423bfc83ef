"""PRECODE's noise searched along with the examples (Balunovic et al., ICLR 2022, arXiv 2111.04706, for convolutional networks)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from torch import Tensor

from leakgauge.algorithm import NonNegative, Positive, algorithm
from leakgauge.bottleneck import bottleneck_gradient, noise_name
from leakgauge.errors import OutOfScope
from leakgauge.protocols import Point, Replay
from leakgauge.rng import normal_like, stream
from leakgauge.types import Batch, Capability, Observation, Params

_NAME = "noise"


@final
@algorithm
class Bottleneck:
    """One gradient through the variational bottleneck of the victim `precode`, whose noise is unknown and searched along.

    The first restart begins at the mean of the noise, the others at draws of it; it moves `pace` times as fast as the examples.
    `beta` is the weight of the divergence that the client is assumed to add, `batchnorm` as in FedSGD.
    """

    beta: NonNegative = 1e-3
    pace: Positive = 1.0
    batchnorm: Literal["eval", "train"] = "eval"

    @property
    def needs(self) -> frozenset[Capability]:
        """Nothing."""
        return frozenset()

    def __call__(self, seen: Observation, batch: Batch, /) -> Params:
        """Return the gradient at the mean of the noise."""
        return self.gradient(seen, batch, seen.model.buffers[noise_name(seen.model)])

    def unknowns(self, seen: Observation, /, *, restart: int) -> Point:
        """Return where the noise starts, in units of `pace`: [n, latent].

        Raises UsageError for a model without bottleneck, and OutOfScope for several rounds, each of which has a noise of its own.
        """
        if seen.earlier:
            raise OutOfScope("the batch was seen in several rounds, and the replay 'bottleneck' knows the noise of one alone")
        mean = seen.model.buffers[noise_name(seen.model)].expand(seen.count, -1)
        start = mean if restart == 0 else normal_like(mean, stream(restart, "bottleneck"))
        return {_NAME: start / self.pace}

    def at(self, point: Point, /) -> Replay:
        """Return the replay at the noise of a point."""
        return _AtNoise(self, self.pace * point[_NAME])

    def remarks(self, start: Point, end: Point, /) -> tuple[str, ...]:
        """Tell of noise that no client would have drawn."""
        size = float((self.pace * end[_NAME]).square().mean().sqrt())
        if size < 2:
            return ()
        return (f"The noise of the bottleneck was found at a standard deviation of {size:.1f}, but it is drawn at 1.",)

    def gradient(self, seen: Observation, batch: Batch, noise: Tensor) -> Params:
        """Return the gradient at a noise, [n, latent] or [1, latent]; differentiable in it where the batch is."""
        return bottleneck_gradient(seen.model, batch, noise, beta=self.beta, training=self.batchnorm == "train").params


@final
@dataclass(frozen=True)
class _AtNoise:
    replay: Bottleneck
    noise: Tensor

    @property
    def needs(self) -> frozenset[Capability]:
        return self.replay.needs

    def __call__(self, seen: Observation, batch: Batch, /) -> Params:
        return self.replay.gradient(seen, batch, self.noise)
