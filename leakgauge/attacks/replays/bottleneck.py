"""PRECODE's noise, searched along with the examples (Balunovic et al., ICLR 2022, arXiv 2111.04706) or read off the update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from torch import Tensor

from leakgauge.core.algorithm import NonNegative, Positive, algorithm
from leakgauge.core.bottleneck import bottleneck_gradient, encode, moments, noise_name
from leakgauge.core.errors import OutOfScope
from leakgauge.core.protocols import Point, Replay
from leakgauge.core.rng import normal_like, stream
from leakgauge.core.types import Batch, Capability, Observation, Params

_NAME = "noise"


@final
@algorithm
class Bottleneck:
    """One gradient through the variational bottleneck of the victim `precode`, whose noise is unknown.

    The noise of several examples is searched along: the first restart begins at its mean, the others at draws of it, and it moves
    `pace` times as fast as the examples. That of one example need not be: the latent z enters a linear layer with bias, so that it
    is read off the decoder's gradient as an input is off the first layer's, and a candidate's noise follows, (z - mean) / std.

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
        """Return the gradient at the noise that follows for one example, and for several at its mean."""
        latent = _latent(seen, len(batch))
        if latent is None:
            return self.gradient(seen, batch, seen.model.buffers[noise_name(seen.model)])
        mean, std = moments(encode(seen.model, batch.x, training=self.batchnorm == "train"))
        return self.gradient(seen, batch, (latent - mean) / std)

    def unknowns(self, seen: Observation, /, *, restart: int) -> Point:
        """Return where the noise starts, in units of `pace`: [n, latent]; nothing where it follows.

        Raises UsageError for a model without bottleneck, and OutOfScope for several examples in several rounds, each of which has
        a noise of its own.
        """
        if _latent(seen, seen.count) is not None:
            return {}
        if seen.earlier:
            raise OutOfScope("the batch was seen in several rounds, and the replay 'bottleneck' searches the noise of one alone")
        mean = seen.model.buffers[noise_name(seen.model)].expand(seen.count, -1)
        start = mean if restart == 0 else normal_like(mean, stream(restart, "bottleneck"))
        return {_NAME: start / self.pace}

    def at(self, point: Point, /) -> Replay:
        """Return the replay at the noise of a point."""
        return _AtNoise(self, self.pace * point[_NAME]) if _NAME in point else self

    def remarks(self, start: Point, end: Point, /) -> tuple[str, ...]:
        """Tell of noise that no client would have drawn."""
        size = float((self.pace * end[_NAME]).square().mean().sqrt()) if _NAME in end else 1.0
        if size < 2:
            return ()
        return (f"The noise of the bottleneck was found at a standard deviation of {size:.1f}, but it is drawn at 1.",)

    def gradient(self, seen: Observation, batch: Batch, noise: Tensor) -> Params:
        """Return the gradient at a noise, [n, latent] or [1, latent]; differentiable in it where the batch is."""
        return bottleneck_gradient(seen.model, batch, noise, beta=self.beta, training=self.batchnorm == "train").params


def _latent(seen: Observation, count: int) -> Tensor | None:
    """The latent of one example [1, latent], by least squares over the decoder's rows; None for several, or without those rows."""
    decoder = f"{noise_name(seen.model).removesuffix('noise')}decoder"
    rows, factors = (seen.update.delta.get(f"{decoder}.{name}") for name in ("weight", "bias"))
    if count != 1 or rows is None or factors is None or not factors.any():
        return None
    return (factors @ rows / factors.square().sum()).unsqueeze(0)


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
