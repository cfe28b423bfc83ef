"""A multi-layer perceptron on the flattened input: the victim on which a single example can be read off the first layer."""

from __future__ import annotations

import itertools
import math
from typing import Literal, final

import torch
from torch import nn

from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.errors import UsageError
from leakgauge.core.types import Inputs, Model, Rng
from leakgauge.victims.initialization import initialize

Activation = Literal["relu", "sigmoid", "tanh", "gelu", "softplus"]
_ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "softplus": nn.Softplus,
}


@final
@algorithm
class MLP:
    """Fully connected layers of the widths in `hidden`; an empty `hidden` is a linear classifier."""

    hidden: tuple[Count, ...] = (256,)
    activation: Activation = "relu"
    normalize: bool = False

    def __post_init__(self) -> None:
        if any(width < 1 for width in self.hidden):
            raise UsageError(f"MLP.hidden: got {self.hidden}, expected widths >= 1")
        if self.activation not in _ACTIVATIONS:
            raise UsageError(f"MLP.activation: got {self.activation!r}, expected one of {', '.join(_ACTIVATIONS)}")

    def build(self, inputs: Inputs, /, *, rng: Rng) -> Model:
        """Return a fresh model for inputs of any shape."""
        widths = (math.prod(inputs.shape), *self.hidden)
        layers: list[nn.Module] = [nn.Flatten()]
        with torch.device("meta"):
            for before, after in itertools.pairwise(widths):
                layers += [nn.Linear(before, after), _ACTIVATIONS[self.activation]()]
            layers.append(nn.Linear(widths[-1], inputs.classes))
        return initialize(nn.Sequential(*layers), inputs, normalize=self.normalize, rng=rng)
