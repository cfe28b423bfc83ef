"""WGAN-GP (Gulrajani et al., NeurIPS 2017, arXiv 1704.00028), of GGL's 32x32 design (Li et al., CVPR 2022, Sec. 4)."""

from __future__ import annotations

from typing import Annotated, final

import annotated_types as at
import torch
from torch import Tensor, nn

from leakgauge.core.algorithm import Count, OpenShare, Positive, algorithm
from leakgauge.core.rng import uniform
from leakgauge.core.types import Rng
from leakgauge.generative.generators.deconvolution import Sizes
from leakgauge.generative.generators.training.networks import Strided, Trainable, start
from leakgauge.generative.generators.training.state import Minibatches, State


@final
@algorithm
class WGAN:
    """Adversarial training: a critic estimates the Wasserstein distance of images made and images given, under a penalty.

    A step is one of the generator after `critics` of the critic. The penalty is `penalty` times the squared distance from 1 of the
    norm of the critic's derivative, between the two kinds of images.
    """

    latent: Count = 128
    widths: tuple[Count, ...] = (512, 256, 128)
    kernel: Annotated[int, at.Ge(2)] = 2
    critic: tuple[Count, ...] = (128, 256, 512)
    critics: Count = 5
    penalty: Positive = 10.0
    learning_rate: Positive = 1e-4
    first_moment: OpenShare = 0.5
    second_moment: OpenShare = 0.999
    batch_size: Count = 64
    steps: Count = 30_000

    def init(self, sizes: Sizes, *, rng: Rng) -> State:
        """Return fresh networks and their optimizers."""
        side = sizes.side * 2 ** len(sizes.widths)
        generator = start(Trainable(sizes), rng)
        critic = start(Strided(sizes.channels, sizes.classes, side, self.critic, 1), rng)
        betas = (self.first_moment, self.second_moment)
        optimizers = {
            name: torch.optim.Adam(net.parameters(), lr=self.learning_rate, betas=betas)
            for name, net in (("generator", generator), ("critic", critic))
        }
        return State({"generator": generator, "critic": critic}, optimizers)

    def step(self, state: State, data: Minibatches, *, rng: Rng) -> dict[str, float]:
        """Train the critic, then the generator, in place; return the estimated distance and the penalty."""
        generator, critic = state.networks["generator"], state.networks["critic"]
        told: dict[str, float] = {}
        for _ in range(self.critics):
            x, labels = data.draw(self.batch_size, rng=rng)
            with torch.no_grad():
                made = generator(self._codes(len(x), rng), labels)
            distance = critic(x, labels).mean() - critic(made, labels).mean()
            penalty = self.penalty * slope_penalty(critic, x, made, labels, rng=rng)
            state.descend("critic", penalty - distance)
            told = {"distance": float(distance.detach()), "penalty": float(penalty.detach())}
        _, labels = data.draw(self.batch_size, rng=rng)
        state.descend("generator", -critic(generator(self._codes(self.batch_size, rng), labels), labels).mean())
        return told

    def _codes(self, count: int, rng: Rng) -> Tensor:
        return torch.randn(count, self.latent, generator=rng)


def slope_penalty(critic: nn.Module, x: Tensor, made: Tensor, labels: Tensor, *, rng: Rng) -> Tensor:
    """The mean of (|d critic / d x| - 1)^2 at random places between images given and images made, pixels from -1 to 1."""
    share = uniform((len(x), 1, 1, 1), rng)
    between = (share * x + (1 - share) * made).requires_grad_()
    (slopes,) = torch.autograd.grad(critic(between, labels).sum(), between, create_graph=True)
    lengths: Tensor = torch.linalg.vector_norm(slopes.flatten(1) / 2, dim=1)  # per pixel from 0 to 1 it is twice as steep
    return (lengths - 1).square().mean()
