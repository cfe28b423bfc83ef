"""What a handful of scores allows to say: shares, medians and chance, with exact intervals and no drawing of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, sqrt
from statistics import fmean, stdev
from typing import NamedTuple

from scipy.stats import binom, binomtest
from scipy.stats import t as student

from leakgauge.core.errors import UsageError


class Estimate(NamedTuple):
    """A share with the interval that holds it."""

    value: float
    low: float
    high: float


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a share (Wilson, JASA 1927); (0, 1) without trials.

    Raises UsageError if there are more successes than trials.
    """
    if not 0 <= successes <= trials:
        raise UsageError(f"successes: got {successes} of {trials} trials, expected between 0 and all of them; count again")
    if trials == 0:
        return 0.0, 1.0
    interval = binomtest(successes, trials).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


def recovered_share(scores: Sequence[float], threshold: float, confidence: float = 0.95) -> Estimate:
    """The share of scores that reach the threshold, with its Wilson interval; nan (no guess) does not reach it.

    Raises UsageError without scores.
    """
    if not scores:
        raise UsageError("scores: got none, expected at least one; judge an example first")
    count = sum(score >= threshold for score in scores)
    return Estimate(count / len(scores), *wilson(count, len(scores), confidence))


def identification_p_value(ranks: Sequence[int], candidates: int) -> float:
    """The probability that at least so many of n truths rank first if the guesses know nothing of them.

    `ranks` are those that `judge` gives for one batch, `candidates` the images that each was ranked among, itself included.
    Without knowledge the n truths and the m = candidates - 1 others are exchangeable, all compared with the same guesses, and k
    truths rank first if the k nearest of the n + m images are truths: C(n, k) / C(n + m, k). For one truth this is
    1 / candidates. The ranks share their candidates, so a binomial distribution would give too small a probability.
    Raises UsageError for a rank that is not between 1 and `candidates`.
    """
    for rank in ranks:
        if not 1 <= rank <= candidates:
            raise UsageError(f"ranks: got {rank}, expected between 1 and {candidates} candidates; pass the count of the judgement")
    first = sum(rank == 1 for rank in ranks)
    return comb(len(ranks), first) / comb(len(ranks) + candidates - 1, first)


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """The interval between two of the values that holds the median with at least this confidence, whatever the distribution.

    The narrowest symmetric pair of order statistics, by the binomial distribution; None where even the smallest and the largest
    value do not suffice (below 6 values for 95%). A nan counts as the smallest.
    """
    lower = int(binom.ppf((1 - confidence) / 2, len(values), 0.5)) if values else 0  # values that may be left out below
    if lower == 0:
        return None
    ordered = sorted(float("-inf") if value != value else value for value in values)
    return ordered[lower - 1], ordered[-lower]


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """The interval of Student's t for the mean of independent values; None below two values."""
    if len(values) < 2:
        return None
    reach = float(student.ppf((1 + confidence) / 2, len(values) - 1)) * stdev(values) / sqrt(len(values))
    return fmean(values) - reach, fmean(values) + reach
