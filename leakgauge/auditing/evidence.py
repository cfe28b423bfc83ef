"""What speaks for a guess knowing the secret: how near it comes to the truths, beside what comes near without knowing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from leakgauge.auditing.chance import dimension, gap_chance, least_rank_chance, rank_chance
from leakgauge.auditing.likeness import AFFINE, PLAIN, distances, nearness, structure
from leakgauge.auditing.record import TRAINED

_METRICS = {PLAIN: "psnr", AFFINE: "psnr_affine"}
"""The scales that scores are known by."""
_SAMPLE = 300
"""Pictures that the dimension of a pool is estimated from."""
_FEW = 10
_CONTRAST = 0.05
"""The standard deviation of pixels from which a picture counts as one with contrast."""


@final
@dataclass(frozen=True)
class Lineup:
    """Truths among other pictures of their kind, all [*, *shape] with pixels in [0, 1] on the CPU.

    `classes` and `other_classes` are what the adversary was told of each: equal numbers cannot be told apart by that.
    """

    truths: Tensor
    classes: Tensor
    others: Tensor
    other_classes: Tensor
    trained: Tensor | None = None  # what the client made of the truths before it trained

    @property
    def least_chance(self) -> float:
        """The smallest chance that ranks can show: that of all truths standing first."""
        return least_rank_chance(*self._places())

    def _places(self) -> tuple[Tensor, Tensor]:
        is_truth = torch.arange(len(self.truths) + len(self.others)) < len(self.truths)
        return is_truth, torch.cat([self.classes, self.other_classes])


@final
@dataclass(frozen=True)
class Evidence:
    """What a trial's guesses are worth against chance."""

    chance: float | None = None  # that guesses without knowledge come as near; None where there is nothing to compare with
    ranks: Tensor | None = None  # [n], of each truth among the others of its class, 1 is nearest; None without others
    bars: Mapping[str, Tensor] = field(default_factory=dict)  # metric -> [n], what a score must reach to count as recovered
    rivals: Mapping[str, Tensor] = field(default_factory=dict)  # metric -> [n], the best score of what knows nothing, 0 dB or more


def weigh(lineup: Lineup, guesses: Tensor, floors: Sequence[Tensor], *, threshold: float, margin: float) -> Evidence:
    """Weigh guesses [m, *shape] against a line-up and against `floors`, guesses that knew nothing; nan guesses are left out.

    A picture is as near as it is to the nearest guess, on the scale (plain, brightness and contrast fitted, edges) where it stands
    out most, and as much nearer than to the nearest floor: what is like everything in the pool stands out nowhere.
    """
    guesses, floor = _usable(guesses), _usable(torch.cat([*floors, lineup.truths[:0]]))
    rivals = _rivals(lineup.truths, lineup, floor)
    if lineup.trained is not None:
        rivals |= {_METRICS[PLAIN] + TRAINED: _rivals(lineup.trained, lineup, floor)[_METRICS[PLAIN]]}
    bars = {name: (best + margin).clamp_min(threshold) for name, best in rivals.items()}
    if not len(guesses):
        ranks = torch.full_like(lineup.classes, len(lineup.others) + 1) if len(lineup.others) else None
        return Evidence(1.0 if ranks is not None else None, ranks, bars, rivals)
    chances = [_gap(truths, lineup, guesses, floor) for truths in (lineup.truths, lineup.trained) if truths is not None]
    if not len(lineup.others):
        return Evidence(min(chances), None, bars, rivals)
    is_truth, strata = lineup._places()
    pool = torch.cat([lineup.truths, lineup.others])
    far = {name: value.amin(1) for name, value in distances(pool, floor).items()} if len(floor) else structure(pool)
    scores = nearness({name: value.amin(1) for name, value in distances(pool, guesses).items()}, far)
    ranks = ((scores[None, :] >= scores[is_truth, None]) & (strata[None, :] == lineup.classes[:, None]) & ~is_truth[None, :]).sum(1)
    return Evidence(min(rank_chance(scores, is_truth, strata), *chances), 1 + ranks, bars, rivals)


def _gap(truths: Tensor, lineup: Lineup, guesses: Tensor, floor: Tensor) -> float:
    """The chance of the gap between guesses and all else that is near, on the scales that have one."""
    near, kin = distances(truths, guesses), lineup.classes[:, None] == lineup.other_classes[None, :]
    others = distances(truths, torch.cat([lineup.others, floor])) if len(lineup.others) + len(floor) else structure(truths)
    among = _dimensions(lineup.others[:_SAMPLE], truths)
    chances = []
    for name in (PLAIN, AFFINE):
        if name not in others:
            continue
        beside = others[name]
        if beside.dim() == 2:
            allowed = torch.cat([kin, torch.ones(len(truths), len(floor), dtype=torch.bool)], dim=1)
            count, beside = allowed.sum(1), beside.masked_fill(~allowed, torch.inf).amin(1)
        else:
            count = torch.ones(len(truths))
        chances.append(gap_chance(near[name].amin(1), beside, count, len(guesses), among[name]))
    return min(1.0, len(chances) * min(chances))


def _dimensions(others: Tensor, truths: Tensor) -> dict[str, float]:
    """How many dimensions pictures fill: of a pool that is too small to tell, one, or four where every truth has contrast."""
    if len(others) >= _FEW:
        return {name: dimension(value) for name, value in distances(others, others).items()}
    return dict.fromkeys((PLAIN, AFFINE), 4.0 if bool((structure(truths)[AFFINE] > _CONTRAST).all()) else 1.0)


def _rivals(truths: Tensor, lineup: Lineup, floor: Tensor) -> dict[str, Tensor]:
    """What floors, other pictures and a structureless guess reach at best, in dB."""
    flat, others = structure(truths), distances(truths, torch.cat([lineup.others, floor]))
    best = {}
    for scale, name in _METRICS.items():
        rivals = [others[scale], *([flat[scale][:, None]] if scale in flat else [])]
        best[name] = -20 * torch.cat([*rivals, torch.ones(len(truths), 1)], dim=1).amin(1).log10()
    return best


def _usable(pixels: Tensor) -> Tensor:
    return pixels[pixels.flatten(1).isfinite().all(1)] if len(pixels) else pixels
