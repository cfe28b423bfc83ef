"""Additive noise on the update (Zhu et al., Deep Leakage from Gradients, NeurIPS 2019, arXiv 1906.08935, section 5.1)."""

from __future__ import annotations

from typing import final

from leakgauge.core import tree
from leakgauge.core.algorithm import NonNegative, algorithm
from leakgauge.core.belief import Belief
from leakgauge.core.noise import with_laplace, with_normal
from leakgauge.core.rng import laplace_like, normal_like
from leakgauge.core.types import Client, Params, Rng
from leakgauge.defenses.transformed import Transformed


@final
@algorithm
class GaussianNoise:
    """Adds N(0, sigma^2) to every number, drawn anew for each tensor.

    Without an `rng` nothing is added, the mean of the noise.
    """

    sigma: NonNegative = 0.01

    def protect(self, client: Client, /) -> Client:
        """Return the client with noise on its update."""
        return Transformed(client, self)

    def spread(self, belief: Belief, seen: Params, /) -> Belief:
        """Return the belief with this noise on top."""
        return belief.spread(lambda noise: with_normal(noise, self.sigma)) if self.sigma else belief

    def transform(self, delta: Params, /, *, rng: Rng | None) -> Params:
        """Return the noisy numbers."""
        if rng is None:
            return delta
        return tree.apply(lambda value: value + self.sigma * normal_like(value, rng), delta)


@final
@algorithm
class LaplaceNoise:
    """Adds Laplace(0, scale) to every number, drawn anew for each tensor; its standard deviation is sqrt(2) times the scale.

    Without an `rng` nothing is added, the mean of the noise.
    """

    scale: NonNegative = 0.01

    def protect(self, client: Client, /) -> Client:
        """Return the client with noise on its update."""
        return Transformed(client, self)

    def spread(self, belief: Belief, seen: Params, /) -> Belief:
        """Return the belief with this noise on top."""
        return belief.spread(lambda noise: with_laplace(noise, self.scale)) if self.scale else belief

    def transform(self, delta: Params, /, *, rng: Rng | None) -> Params:
        """Return the noisy numbers."""
        if rng is None:
            return delta
        return tree.apply(lambda value: value + self.scale * laplace_like(value, rng), delta)
