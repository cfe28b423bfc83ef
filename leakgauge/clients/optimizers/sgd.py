"""SGD with momentum, dampening, Nesterov momentum and weight decay (as `torch.optim.SGD`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from leakgauge.core import tree
from leakgauge.core.algorithm import NonNegative, OpenShare, Positive, algorithm
from leakgauge.core.errors import UsageError
from leakgauge.core.types import Params


@final
@algorithm
class SGD:
    """Stochastic gradient descent."""

    learning_rate: Positive = 0.1
    momentum: OpenShare = 0.0
    dampening: OpenShare = 0.0
    nesterov: bool = False
    weight_decay: NonNegative = 0.0

    def __post_init__(self) -> None:
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise UsageError(
                f"SGD.nesterov: got momentum={self.momentum}, dampening={self.dampening}, "
                "expected momentum > 0 and dampening 0; set momentum: 0.9"
            )

    @property
    def is_plain(self) -> bool:
        """Without momentum and weight decay, a step is the learning rate times the gradient."""
        return self.momentum == 0 and self.weight_decay == 0

    def step(self, params: Params, gradient: Params, state: Mapping[str, Params], /) -> tuple[Params, Mapping[str, Params]]:
        """Return the parameters and {"momentum": buffer} after one step."""
        if self.weight_decay:
            gradient = tree.apply(lambda g, p: g + self.weight_decay * p, gradient, params)
        if self.momentum:
            buffer = gradient  # torch's first buffer is the gradient itself, undampened
            if state:
                buffer = tree.apply(lambda b, g: self.momentum * b + (1 - self.dampening) * g, state["momentum"], gradient)
            gradient = tree.apply(lambda g, b: g + self.momentum * b, gradient, buffer) if self.nesterov else buffer
            state = {"momentum": buffer}
        return tree.apply(lambda p, g: p - self.learning_rate * g, params, gradient), state
