"""The variational bottleneck of PRECODE (Scheliga et al., WACV 2022, arXiv 2108.04725): what victim, defense and attacker share.

The representation r is encoded as a Gaussian, of which a draw is decoded: mean and raw spread are linear in r, the standard
deviation is softplus of the latter, z = mean + std * noise, and what goes on to the last layer is linear in z.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from leakgauge.core import tree
from leakgauge.core.autodiff import loss_gradient
from leakgauge.core.differentiation import Gradient
from leakgauge.core.errors import UsageError
from leakgauge.core.types import Batch, Model


@final
class VariationalBottleneck(nn.Module):
    """From representations [n, features] over a latent space to representations [n, features].

    `noise` [1, latent] is a buffer that holds zeros, so that the model by itself takes the mean; a client that trains puts a draw
    for each example [n, latent] in its place. It is no part of the state that is saved.
    """

    noise: Tensor

    def __init__(self, features: int, latent: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(features, 2 * latent)
        self.decoder = nn.Linear(latent, features)
        self.register_buffer("noise", torch.zeros(1, latent), persistent=False)

    def forward(self, representation: Tensor) -> Tensor:
        """Return the decoded draw [n, features]."""
        mean, std = moments(self.encoder(representation))
        decoded: Tensor = self.decoder(mean + std * self.noise)
        return decoded


def moments(encoded: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, each [n, latent], of what the encoder gives [n, 2 latent]."""
    mean, raw = encoded.chunk(2, dim=1)
    return mean, softplus(raw)


def divergence(encoded: Tensor) -> Tensor:
    """The mean over examples of KL(N(mean, std^2) || N(0, 1)), in nats, for what the encoder gives [n, 2 latent]."""
    mean, std = moments(encoded)
    # A softplus far below 0 rounds to 0, whose logarithm is not finite.
    entropy = std.clamp_min(torch.finfo(std.dtype).tiny).log()
    return (0.5 * (mean.square() + std.square() - 1) - entropy).sum(1).mean()


def noise_name(model: Model) -> str:
    """Return the name of the buffer that holds the noise. Raises UsageError for a model without bottleneck."""
    for name, layer in model.net.named_modules():
        if isinstance(layer, VariationalBottleneck):
            return f"{name}.noise" if name else "noise"
    raise UsageError("victim: has no variational bottleneck, expected one as PRECODE puts it in; wrap the victim in precode")


def encode(model: Model, x: Tensor, *, training: bool) -> Tensor:
    """Return what the encoder gives for pixels [n, *shape]: [n, 2 latent]. Raises UsageError for a model without bottleneck."""
    encoded: list[Tensor] = []
    with _listening(model, encoded):
        model.forward(model.params, tree.apply(Tensor.clone, model.buffers), x, training=training)
    return encoded[0]


def bottleneck_gradient(model: Model, batch: Batch, noise: Tensor, *, beta: float, training: bool) -> Gradient:
    """Return the gradient of the mean loss plus `beta` times the divergence, at given `noise`, [n, latent] or [1, latent].

    Differentiable in the noise wherever it is in the batch. The buffers after hold no noise. Raises UsageError for a model without
    bottleneck.
    """
    name = noise_name(model)
    encoded: list[Tensor] = []

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return model.loss_of(logits, labels) + beta * divergence(encoded.pop())

    with _listening(model, encoded):
        noisy = replace(model, buffers={**model.buffers, name: noise}, loss=loss)
        values, buffers = loss_gradient(noisy, batch, training=training)
    return Gradient(values, {**buffers, name: model.buffers[name]})


@contextmanager
def _listening(model: Model, encoded: list[Tensor]) -> Iterator[None]:
    """Append what the encoder gives in each forward pass."""
    encoder = model.net.get_submodule(f"{noise_name(model).removesuffix('noise')}encoder")
    hook = encoder.register_forward_hook(lambda _, __, given: encoded.append(given))
    try:
        yield
    finally:
        hook.remove()
