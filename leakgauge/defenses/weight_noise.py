"""Noise on the weights, scaled up with them (Zhao, Luo, Ding: DLM, CPAL 2024, arXiv 2206.04887)."""

from __future__ import annotations

from typing import Literal, final

import torch
from torch import Tensor

from leakgauge.core import tree
from leakgauge.core.algorithm import NonNegative, Positive, algorithm
from leakgauge.core.belief import Belief
from leakgauge.core.noise import with_laplaces, with_normal
from leakgauge.core.rng import laplace_like, normal_like
from leakgauge.core.types import Client, Params, Rng
from leakgauge.defenses.sent_weights import Cloaked


@final
@algorithm
class WeightNoise:
    """Sends W + c noise in place of each tensor W, before training and after, each with draws of its own.

    Noise is Laplace(0, `scale`) or Gaussian of standard deviation `scale`, drawn anew for each number. c = max(1, n / `clip`),
    with n the largest L2 norm among the tensor's rows: the clipping under which noise is added is undone afterwards, as in the
    released code, whose rows run along the second dimension; a vector is one row. Without an `rng` nothing is added, the mean
    of the noise. A client that sends a gradient counts as one step of rate 1, beside which the noise is small: judge it with
    fedavg.
    """

    scale: NonNegative = 0.001
    distribution: Literal["laplace", "gaussian"] = "laplace"
    clip: Positive = 0.2

    def protect(self, client: Client, /) -> Client:
        """Return the client with noise on both of its snapshots."""
        return Cloaked(client, self)

    def spread(self, belief: Belief, seen: Params, before: Params, /) -> Belief:
        """Return the belief with the noise of both snapshots; factors are those of the noisy weights, a little larger."""
        if not self.scale:
            return belief
        scales = {name: float(self._factor(before[name])) * self.scale for name in seen}
        if self.distribution == "gaussian":
            return belief.by_tensor(lambda name, noise: with_normal(noise, 2**0.5 * scales[name]) if name in scales else noise)
        return belief.by_tensor(lambda name, noise: with_laplaces(noise, scales[name]) if name in scales else noise)

    def cloak(self, weights: Params, /, *, rng: Rng | None) -> Params:
        """Return the noisy weights."""
        if rng is None:
            return weights
        draw = laplace_like if self.distribution == "laplace" else normal_like
        return tree.apply(lambda value: value + self._factor(value) * self.scale * draw(value, rng), weights)

    def _factor(self, value: Tensor) -> Tensor:
        rows: Tensor = torch.linalg.vector_norm(value.detach(), dim=1 if value.ndim > 1 else None)
        return (rows.amax() / (self.clip + 1e-6)).clamp(min=1)
