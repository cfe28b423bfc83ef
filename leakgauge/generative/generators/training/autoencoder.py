"""A variational auto-encoder (Kingma and Welling, ICLR 2014, arXiv 1312.6114), whose decoder is the generator."""

from __future__ import annotations

from typing import Annotated, final

import annotated_types as at
import torch

from leakgauge.core.algorithm import Count, OpenShare, Positive, algorithm
from leakgauge.core.rng import normal_like
from leakgauge.core.types import Rng
from leakgauge.generative.generators.deconvolution import Sizes
from leakgauge.generative.generators.training.networks import Strided, Trainable, start
from leakgauge.generative.generators.training.state import Minibatches, State


@final
@algorithm
class AutoEncoder:
    """Codes of images are normal around what an encoder says; the decoder makes the images of them again.

    The loss of an image, in nats per example: its squared error over 2 `deviation`^2, and the divergence of its codes from
    standard normal ones. The rate falls to 0 along a cosine.
    """

    latent: Count = 128
    widths: tuple[Count, ...] = (256, 128, 64)
    kernel: Annotated[int, at.Ge(2)] = 4
    encoder: tuple[Count, ...] = (64, 128, 256)
    deviation: Positive = 0.1
    learning_rate: Positive = 2e-3
    first_moment: OpenShare = 0.9
    second_moment: OpenShare = 0.999
    batch_size: Count = 64
    steps: Count = 10_000

    def init(self, sizes: Sizes, *, rng: Rng) -> State:
        """Return fresh networks and their optimizer."""
        side = sizes.side * 2 ** len(sizes.widths)
        generator = start(Trainable(sizes), rng)
        encoder = start(Strided(sizes.channels, sizes.classes, side, self.encoder, 2 * self.latent), rng)
        both = [*generator.parameters(), *encoder.parameters()]
        adam = torch.optim.Adam(both, lr=self.learning_rate, betas=(self.first_moment, self.second_moment))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, self.steps)
        return State({"generator": generator, "encoder": encoder}, {"both": adam}, {"both": schedule})

    def step(self, state: State, data: Minibatches, *, rng: Rng) -> dict[str, float]:
        """Train both in place; return the squared error per pixel and the divergence, in nats per example."""
        x, labels = data.draw(self.batch_size, rng=rng)
        mean, log_variance = state.networks["encoder"](x, labels).chunk(2, dim=1)
        codes = mean + (log_variance / 2).exp() * normal_like(mean, rng)
        error = (state.networks["generator"](codes, labels) - x).square().flatten(1)
        divergence = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(dim=1)
        state.descend("both", (error.sum(dim=1) / (2 * self.deviation**2) + divergence).mean())
        return {"squared error": float(error.mean().detach()), "divergence": float(divergence.mean().detach())}
