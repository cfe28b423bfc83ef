"""A small vision transformer (Dosovitskiy et al., ICLR 2021, arXiv 2010.11929, section 3.1)."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn

from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.errors import UsageError
from leakgauge.core.types import Inputs, Model, Rng
from leakgauge.victims.initialization import image_shape, initialize


@final
@algorithm
class ViT:
    """Patch embedding, class token, learned positions, `depth` pre-norm encoder blocks with GELU, and a linear head."""

    patch: Count = 4
    dim: Count = 64
    depth: Count = 4
    heads: Count = 4
    mlp_ratio: Count = 2
    normalize: bool = True

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise UsageError(f"ViT.heads: got {self.heads}, expected a divisor of dim ({self.dim})")

    def build(self, inputs: Inputs, /, *, rng: Rng) -> Model:
        """Return a fresh model. Raises UsageError where `patch` does not divide the image's sides."""
        channels, height, width = image_shape("ViT", inputs)
        if height % self.patch or width % self.patch:
            common = math.gcd(height, width)
            raise UsageError(f"ViT.patch: got {self.patch} for images of {height}x{width}, expected a divisor of {common}")
        patches = (height // self.patch) * (width // self.patch)
        with torch.device("meta"):
            net = _Transformer(self, channels, patches, inputs.classes)
        return initialize(net, inputs, normalize=self.normalize, rng=rng)


class _Transformer(nn.Module):
    def __init__(self, spec: ViT, channels: int, patches: int, classes: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.empty(1, 1, spec.dim))
        self.positions = nn.Parameter(torch.empty(1, patches + 1, spec.dim))
        self.embed = nn.Conv2d(channels, spec.dim, spec.patch, stride=spec.patch)
        self.blocks = nn.Sequential(*(_Block(spec.dim, spec.heads, spec.mlp_ratio) for _ in range(spec.depth)))
        self.norm = nn.LayerNorm(spec.dim)
        self.head = nn.Linear(spec.dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.embed(x).flatten(2).transpose(1, 2)  # [n, patches, dim]
        tokens = torch.cat([self.token.expand(len(x), -1, -1), patches], dim=1) + self.positions
        return self.head(self.norm(self.blocks(tokens)[:, 0]))  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = _Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, ratio * dim), nn.GELU(), nn.Linear(ratio * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class _Attention(nn.Module):
    """Softmax attention written out, because the fused kernels have no double backward."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        count, length, dim = x.shape
        query, key, value = (
            self.qkv(x).reshape(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        )  # each [n, heads, length, d]
        weights = (query @ key.transpose(-2, -1) / math.sqrt(dim // self.heads)).softmax(-1)
        return self.out((weights @ value).transpose(1, 2).reshape(count, length, dim))  # type: ignore[no-any-return]
