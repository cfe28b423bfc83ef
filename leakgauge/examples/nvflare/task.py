"""The network, and the photograph of each client."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leakgauge.data.photographs import Photographs

SIZE, CLASSES = 16, 10


class Net(nn.Module):
    """LeNet as the first papers on leaks had it: sigmoids, and strides in place of pooling."""

    def __init__(self) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(inner, 12, 5, stride=stride, padding=2) for inner, stride in ((3, 2), (12, 2), (12, 1))]
        self.features = nn.Sequential(*[layer for one in convolutions for layer in (one, nn.Sigmoid())])
        self.head = nn.Linear(12 * (SIZE // 4) ** 2, CLASSES)
        for value in self.parameters():
            nn.init.uniform_(value, -0.5, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [n, classes] of pixels [n, 3, 16, 16] in [0, 1]."""
        return self.head(self.features(x).flatten(1))


def photograph(partition: int) -> tuple[Tensor, Tensor]:
    """Return the private data of a client: one photograph [1, 3, 16, 16], and a class."""
    pool = Photographs(size=SIZE).load()
    return pool.x[partition : partition + 1], torch.tensor([partition % CLASSES])
