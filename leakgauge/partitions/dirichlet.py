"""Classes in unequal shares: each class is divided by a Dirichlet draw (Hsu, Qi, Brown 2019, arXiv 1909.06335; Yurochkin 2019)."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from torch import Tensor

from leakgauge.core.algorithm import Positive, algorithm
from leakgauge.core.types import Rng


@final
@algorithm
class Dirichlet:
    """Divides the examples of each class among the clients in shares from Dirichlet(alpha, ..., alpha).

    Small `alpha` gives each class to few clients; large ones come near to even shares. Clients differ in size as well.
    """

    alpha: Positive = 0.5

    def split(self, y: Tensor, clients: int, /, *, rng: Rng) -> list[Tensor]:
        """Return the rows of every client, some of which may be empty."""
        draws = np.random.default_rng(int(torch.randint(2**62, (), generator=rng)))  # torch has no Dirichlet of a generator's own
        mine: list[list[Tensor]] = [[] for _ in range(clients)]
        for label in y.unique().tolist():
            rows = (y == label).nonzero().flatten()
            rows = rows[torch.randperm(len(rows), generator=rng)]
            ends = np.round(np.cumsum(draws.dirichlet([self.alpha] * clients)) * len(rows)).astype(int)[:-1]
            for client, part in enumerate(rows.tensor_split(torch.from_numpy(ends))):
                mine[client].append(part)
        return [torch.cat(parts) if parts else torch.empty(0, dtype=torch.long) for parts in mine]
