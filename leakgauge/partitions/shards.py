"""Few classes a client: examples sorted by class, dealt out in shards (McMahan et al., AISTATS 2017, arXiv 1602.05629, Sec. 3)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.types import Rng


@final
@algorithm
class Shards:
    """Sorts examples by class, cuts them into `per_client` shards for each client, and deals the shards out by chance."""

    per_client: Count = 2

    def split(self, y: Tensor, clients: int, /, *, rng: Rng) -> list[Tensor]:
        """Return the rows of every client; within a class, which examples make a shard is chance."""
        shuffled = torch.randperm(len(y), generator=rng)
        ordered = shuffled[y[shuffled].argsort(stable=True)]
        shards = ordered.tensor_split(clients * self.per_client)
        dealt = torch.randperm(len(shards), generator=rng).reshape(clients, self.per_client)
        return [torch.cat([shards[shard] for shard in mine]) for mine in dealt.tolist()]
