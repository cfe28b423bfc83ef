"""By what chance guesses that know nothing of the secret come as near to it as these: a test of ranks, and one of gaps."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_BINS = 2000


def rank_chance(scores: Tensor, is_truth: Tensor, strata: Tensor) -> float:
    """Return the exact probability that truths, drawn at random, stand as high by `scores` [N] as the true ones, all together.

    Who knows nothing but the stratum of each example (its class, where labels are granted) cannot tell the n truths (`is_truth`, a
    mask [N]) from the other examples of their strata (`strata` [N]): every choice of as many of each is as likely. The statistic is
    Fisher's, the sum of log(N / rank) over the truths, so that all ranks count and the first ones most; equal scores share the
    last of their ranks. Its distribution is computed, not sampled, on a grid of 2,000 steps. For one truth it is rank / N.
    """
    total, seen = np.ones(1), 0
    parts = []
    for stratum in strata[is_truth].unique():
        inside = strata == stratum
        values, truths = scores[inside], is_truth[inside]
        ranks = (values[None, :] >= values[:, None]).sum(1)
        parts.append(((len(values) / ranks.double()).log(), truths))
    most = sum(float(weights.topk(int(truths.sum())).values.sum()) for weights, truths in parts)
    if most == 0:
        return 1.0
    for weights, truths in parts:
        # rounded up for all alike, so that what is tested is the rounded statistic itself
        steps = (weights / most * _BINS).round().long().numpy()
        total = np.convolve(total, _sums(steps, int(truths.sum())))
        seen += int(steps[truths.numpy()].sum())
    return float(min(1.0, total[seen:].sum()))


def _sums(steps: np.ndarray, chosen: int) -> np.ndarray:
    """The distribution of the sum of `chosen` numbers drawn from `steps` without replacement, by passing them one by one."""
    size = int(np.sort(steps)[-chosen:].sum()) + 1
    table: np.ndarray = np.zeros((chosen + 1, size))  # [how many were taken, their sum]
    table[0, 0] = 1.0
    for place, step in enumerate(steps.tolist()):
        taking = np.clip((chosen - np.arange(chosen + 1)) / (len(steps) - place), 0.0, 1.0)[:, None]
        taken = table * taking
        table = table - taken
        table[1:, step:] += taken[:-1, : size - step]
    found: np.ndarray = table[chosen]
    return found


def least_rank_chance(is_truth: Tensor, strata: Tensor) -> float:
    """Return the probability that `rank_chance` gives at least: that of the truths standing before all others."""
    chance = 1.0
    for stratum in strata[is_truth].unique():
        inside = strata == stratum
        truths, size = int(is_truth[inside].sum()), int(inside.sum())
        for taken in range(truths):
            chance *= (truths - taken) / (size - taken)
    return chance


def gap_chance(nearest: Tensor, others: Tensor, count: Tensor, guesses: int, dimension: float) -> float:
    """Return a bound on the probability that some guess comes so much nearer to some truth than any other picture does.

    `nearest` [n] is the distance of each truth to its nearest guess, `others` [n] that to the nearest of `count` [n] other pictures
    of its kind. Of a guess that is just one more such picture, the share of being within r times their distance is r^d / count,
    where pictures fill d dimensions evenly around the truth; the sum over truths and guesses bounds the chance of any. Meant for
    pools too small for ranks: a picture found to a millionth of that distance is no accident, however few others there are.
    Above half the distance it shows nothing: the mean of a pool may be that near to all of it.
    """
    ratios = torch.where(nearest <= others / 2, nearest / others, torch.inf)
    bound = guesses * len(ratios) * float(ratios.amin()) ** dimension / max(int(count.amin()), 1)
    return bound if bound < 1 else 1.0


def dimension(distances: Tensor) -> float:
    """Return how many dimensions pictures fill, between 1 and 4, from their distances [m, m] to each other.

    The estimator TwoNN (Facco et al., Scientific Reports 2017, Eq. 5): m / sum of log(second / first) over the distances to the two
    nearest neighbors. More than 4 are never believed, for where all pictures are
    alike their mean is nearer to each of them than any other, and knows nothing of it.
    """
    first, second = distances.clone().fill_diagonal_(torch.inf).topk(2, largest=False).values.unbind(1)
    spread = float((second / first).log().mean())
    return min(max(1 / spread, 1.0), _MOST) if spread > 0 else _MOST


_MOST = 4.0
