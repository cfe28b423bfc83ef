"""The cosine likelihood: only the direction counts (Inverting Gradients, Geiping et al., NeurIPS 2020, Eq. 4)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from leakgauge.algorithm import Positive, algorithm
from leakgauge.types import Params


@final
@algorithm
class Cosine:
    """`weight` times 1 - cos of the angle between the two updates as single vectors; blind to their scale, not to their sign.

    A zero vector on either side has cosine 0.
    """

    weight: Positive = 1.0

    def __call__(self, guess: Params, seen: Params, /) -> Tensor:
        """Return the weighted angular distance over the tensors that were seen."""
        pairs = [(guess[name].reshape(-1), value.reshape(-1)) for name, value in seen.items()]
        inner = torch.stack([torch.dot(a, b) for a, b in pairs]).sum()
        squares = torch.stack([torch.dot(a, a) for a, _ in pairs]).sum() * torch.stack([torch.dot(b, b) for _, b in pairs]).sum()
        # The floor keeps the gradient finite where a replayed update vanishes.
        return self.weight * (1 - inner / squares.clamp_min(torch.finfo(squares.dtype).tiny).sqrt())
