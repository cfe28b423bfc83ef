"""Examples dealt out by chance (McMahan et al., AISTATS 2017, arXiv 1602.05629, Sec. 3: "IID")."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from leakgauge.core.algorithm import algorithm
from leakgauge.core.types import Rng


@final
@algorithm
class IID:
    """Shuffles all examples and deals them out evenly; sizes differ by one at most."""

    def split(self, y: Tensor, clients: int, /, *, rng: Rng) -> list[Tensor]:
        """Return the rows of every client."""
        return [torch.as_tensor(rows) for rows in torch.randperm(len(y), generator=rng).tensor_split(clients)]
