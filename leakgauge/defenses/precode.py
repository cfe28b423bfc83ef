"""PRECODE: training through a variational bottleneck, whose noise is drawn anew (Scheliga et al., WACV 2022, arXiv 2108.04725)."""

from __future__ import annotations

from typing import final

from leakgauge.core.abilities import exchange_gradient
from leakgauge.core.algorithm import NonNegative, algorithm
from leakgauge.core.bottleneck import bottleneck_gradient, noise_name
from leakgauge.core.differentiation import Gradient
from leakgauge.core.rng import normal_like
from leakgauge.core.types import Batch, Client, Model, Rng


@final
@algorithm
class Precode:
    """Draws standard normal noise for each example in the bottleneck, and adds `beta` times its divergence to the loss.

    It wants the victim `precode`, which has the bottleneck. A gradient rule: it acts in every local step, wherever it stands among
    the defenses, and of two gradient rules the last one counts. Without an `rng` the noise is at its mean, 0.
    """

    beta: NonNegative = 1e-3

    def protect(self, client: Client, /) -> Client:
        """Return the client with this gradient rule. Raises UsageError where its rule cannot be exchanged."""
        return exchange_gradient(client, self)

    def __call__(self, model: Model, batch: Batch, /, *, training: bool, rng: Rng | None) -> Gradient:
        """Return the gradient, and the buffers after the forward pass. Raises UsageError for a model without bottleneck."""
        noise = model.buffers[noise_name(model)]  # [1, latent], zeros
        if rng is not None:
            noise = normal_like(noise.expand(len(batch), -1), rng)
        return bottleneck_gradient(model, batch, noise, beta=self.beta, training=training)
