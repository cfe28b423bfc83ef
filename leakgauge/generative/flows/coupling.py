"""A normalizing flow of image patches (PatchNR, Altekrüger et al., Inverse Problems 2023, arXiv 2205.12021, Sec. 2).

Affine couplings (Real NVP, Dinh et al., ICLR 2017, arXiv 1605.08803, Eq. 4 to 6) with a permutation before each that was drawn once
and stays, and scales that are clamped softly. Unlike in the paper, patches are whitened first, which costs one product with a
matrix and spares the couplings what a Gaussian would know; and a subnetwork has one hidden layer, for it is called at every step of
an attack, of bounded units: far from all images, -log p grows as a Gaussian's does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, final

import torch
from torch import Tensor

from leakgauge.core import tree
from leakgauge.core.types import Params, Rng

_CLAMP = 2.0
"""A coupling scales a number by e^-2 at least and e^2 at most."""


class Shape(NamedTuple):
    """What a flow is made of: patches of `channels` x `side` x `side` numbers, and so many couplings with so many hidden units."""

    channels: int
    side: int
    couplings: int
    hidden: int

    @property
    def size(self) -> int:
        """How many numbers a patch has."""
        return self.channels * self.side**2

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """The names of the parameters, and their shapes."""
        kept = self.size // 2
        sizes: dict[str, tuple[int, ...]] = {"mean": (self.size,), "whitening": (self.size, self.size)}
        for index in range(self.couplings):
            sizes[f"{index}.order"] = (self.size,)  # the one that holds integers
            sizes[f"{index}.in.weight"], sizes[f"{index}.in.bias"] = (self.hidden, kept), (self.hidden,)
            changed = 2 * (self.size - kept)  # a scale and a shift for each number
            sizes[f"{index}.out.weight"], sizes[f"{index}.out.bias"] = (changed, self.hidden), (changed,)
        return sizes


@final
@dataclass(frozen=True)
class PatchFlow:
    """A density of patches; `made` tells how it was fitted. Patches are vectors [n, size], of pixels from 0 to 1."""

    shape: Shape
    params: Params
    made: Mapping[str, str] = field(default_factory=dict)

    def to(self, like: Tensor) -> PatchFlow:
        """Return the flow with its weights where a tensor is, and of its type."""
        return replace(
            self,
            params=tree.apply(lambda value: value.to(like if value.is_floating_point() else like.device), self.params),
        )

    def encode(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the flow takes patches to, [n, size], and the log determinants of its Jacobian there, [n]."""
        z = self.params["whitening"] @ (patches - self.params["mean"]).T  # [size, n]: rows are put in order faster than columns
        log_det = torch.linalg.slogdet(self.params["whitening"]).logabsdet.expand(len(patches))
        for index in range(self.shape.couplings):
            kept, changed = self._halves(z.index_select(0, self.params[f"{index}.order"]))
            log_scale, shift = self._coupling(index, kept)
            z = torch.cat([kept, changed * log_scale.exp() + shift])
            log_det = log_det + log_scale.sum(dim=0)
        return z.T, log_det

    def decode(self, z: Tensor) -> Tensor:
        """Return the patches that the flow takes to `z`."""
        z = z.T
        for index in reversed(range(self.shape.couplings)):
            kept, changed = self._halves(z)
            log_scale, shift = self._coupling(index, kept)
            z = torch.cat([kept, (changed - shift) * (-log_scale).exp()])[self.params[f"{index}.order"].argsort()]
        centered: Tensor = torch.linalg.solve(self.params["whitening"], z)
        return centered.T + self.params["mean"]

    def log_density(self, patches: Tensor) -> Tensor:
        """Return log p of each patch, [n], in nats, by the change of variables from standard normal numbers."""
        z, log_det = self.encode(patches)
        return log_det - 0.5 * z.square().sum(dim=1) - 0.5 * self.shape.size * math.log(2 * math.pi)

    def _halves(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z[: self.shape.size // 2], z[self.shape.size // 2 :]

    def _coupling(self, index: int, kept: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = self._layer(f"{index}.out", self._layer(f"{index}.in", kept).tanh()).chunk(2)
        return _CLAMP * torch.tanh(scale / _CLAMP), shift

    def _layer(self, name: str, columns: Tensor) -> Tensor:
        return torch.addmm(self.params[f"{name}.bias"].unsqueeze(1), self.params[f"{name}.weight"], columns)


def whitened(shape: Shape, patches: Tensor, *, rng: Rng) -> PatchFlow:
    """Return the flow that fits a Gaussian to patches [n, size] of full rank; its couplings change nothing yet."""
    variances, directions = torch.linalg.eigh(torch.cov(patches.T))
    fitted = {"mean": patches.mean(dim=0), "whitening": (directions / variances.sqrt()).T.contiguous()}
    params = {name: fitted.get(name, torch.zeros(size)) for name, size in shape.tensors().items()}
    for index in range(shape.couplings):
        params[f"{index}.order"] = torch.randperm(shape.size, generator=rng)
        inner = params[f"{index}.in.weight"]
        params[f"{index}.in.weight"] = torch.randn(inner.shape, generator=rng) / inner.shape[1] ** 0.5
    return PatchFlow(shape, params)
