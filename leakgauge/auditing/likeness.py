"""How like a picture is to guesses at it, on scales that each forgive something else: what a person would recognize."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

PLAIN, AFFINE, EDGES = "plain", "affine", "edges"
"""Pixel by pixel; after the best gain and offset of each channel; of edges, after the best gain of each channel."""

_ROWS = 64
_LEAST = 1e-6
"""Below this root mean square, in units of the pixel range, two pictures are the same, and one has no structure."""


def distances(images: Tensor, guesses: Tensor) -> dict[str, Tensor]:
    """Return root mean square distances [N, n] of pictures [N, *shape] to guesses [n, *shape] on each scale; pixels in [0, 1].

    The affine one is what remains of a picture after the best fit of a guess to it, and so is that of edges. A channel comes first
    where `shape` has more than one axis; a vector has one channel and no edges.
    """
    images, guesses = _channels(images), _channels(guesses)
    pairs: dict[str, tuple[Tensor, Tensor, Callable[[Tensor, Tensor], Tensor]]] = {
        PLAIN: (images, guesses, _plain),
        AFFINE: (_centered(images), _centered(guesses), _unexplained),
    }
    if images.shape[1:] != (1, images.shape[-1]):  # no vector, which has no neighbors
        pairs[EDGES] = (_edges(images), _edges(guesses), _unexplained)
    return {
        name: torch.cat([distance(part, others) for part in ones.split(_ROWS)]).clamp_min(_LEAST)
        for name, (ones, others, distance) in pairs.items()
    }


def structure(images: Tensor) -> dict[str, Tensor]:
    """Return what there is to explain [N] on the scales that fit: the distance of each picture to a guess without structure."""
    images = _channels(images)
    parts = {AFFINE: _centered(images), EDGES: _edges(images)}
    return {name: _size(values).clamp_min(_LEAST) for name, values in parts.items() if values.numel()}


def nearness(near: Mapping[str, Tensor], far: Mapping[str, Tensor]) -> Tensor:
    """Return how much nearer pictures [N] are to one thing than to another, on the scale where that stands out most.

    `near` and `far` hold distances [N] by scale. Their log ratios are counted in robust deviations from their median over all
    pictures, which treats all N alike: if nothing is known of which of them is the secret, neither does their order know.
    """
    gains = [(far[name] / value).log() if name in far else -value.log() for name, value in near.items()]
    telling = [gain for gain in gains if bool((gain != gain[0]).any())]  # one color has no edges, and nothing to fit
    standing = [(gain - gain.median()) / _spread(gain) for gain in telling or gains]
    return torch.stack(standing).amax(0)


def _spread(gain: Tensor) -> Tensor:
    """The robust standard deviation; the mean deviation where most are equal."""
    away = (gain - gain.median()).abs()
    spread: Tensor = torch.where(away.median() > 0, away.median() * 1.4826, away.mean())
    return spread.clamp_min(_LEAST)


def _channels(x: Tensor) -> Tensor:
    """Pixels [N, C, *sides] in double precision; a vector is one channel."""
    x = x.double()
    return x.unsqueeze(1) if x.dim() == 2 else x


def _centered(x: Tensor) -> Tensor:
    flat = x.flatten(2)
    return flat - flat.mean(2, keepdim=True)


def _edges(x: Tensor) -> Tensor:
    """Differences of neighbors along every side, [N, C, differences]."""
    return torch.cat([x.diff(dim=axis).flatten(2) for axis in range(2, x.dim())], dim=2)


def _size(x: Tensor) -> Tensor:
    return x.square().flatten(1).mean(1).sqrt()


def _plain(ones: Tensor, others: Tensor) -> Tensor:
    ones, others = ones.flatten(1), others.flatten(1)
    # without the matrix product, whose rounding would blur perfect copies
    apart: Tensor = torch.cdist(ones, others, compute_mode="donot_use_mm_for_euclid_dist")
    return apart / math.sqrt(ones.shape[1])


def _unexplained(ones: Tensor, others: Tensor) -> Tensor:
    """What of each channel of `ones` [N, C, P] no gain of that of `others` [n, C, P] explains, as root mean square [N, n]."""
    unit = others / others.norm(dim=2, keepdim=True).clamp_min(_LEAST)
    gains = torch.einsum("acp,bcp->abc", ones, unit)
    left = (ones.square().sum(2).unsqueeze(1) - gains.square()).clamp_min(0).sum(2)
    return (left / (ones.shape[1] * ones.shape[2])).sqrt()
