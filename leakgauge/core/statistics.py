"""What a handful of scores allows to say: shares, medians and chance, with exact intervals and no drawing of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, sqrt
from statistics import fmean, median, stdev
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


def clustered_share(groups: Sequence[Sequence[float]], threshold: float, confidence: float = 0.95) -> Estimate:
    """The share of scores that reach the threshold, where those of a group (the examples of one batch) go together.

    Wilson's interval at the effective number of scores (Rao and Scott, Biometrics 1992): the variance between groups over that of
    independent scores is the design effect, at least 1, and the size of a group where all scores agree; Student's t with one degree
    of freedom less than there are groups takes the place of the normal. Groups of one score each are independent scores.
    Raises UsageError without scores.
    """
    scores = [score for group in groups for score in group]
    if len(scores) == len(groups):
        return recovered_share(scores, threshold, confidence)
    if not scores:
        raise UsageError("scores: got none, expected at least one; judge an example first")
    hits = [sum(score >= threshold for score in group) for group in groups]
    share = sum(hits) / len(scores)
    effect = (
        len(scores) / len(groups) if share in (0.0, 1.0) else _variance(groups, hits, share) * len(scores) / (share * (1 - share))
    )
    size, reach = len(scores) / max(effect, 1.0), _reach(len(groups), confidence)
    middle = (share + reach**2 / (2 * size)) / (1 + reach**2 / size)
    half = reach / (1 + reach**2 / size) * sqrt(share * (1 - share) / size + reach**2 / (4 * size**2))
    return Estimate(share, min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half)))  # rounding may cross it


def clustered_median_interval(groups: Sequence[Sequence[float]], confidence: float = 0.95) -> tuple[float, float] | None:
    """The interval of the median of scores of which those of a group go together; None below 6 groups.

    Woodruff's (JASA 1952): the share of scores below the median has an interval around 1/2, by the variance between groups, and its
    ends are shares at which scores are read off. Groups of one score each get `median_interval`. A nan counts as the smallest.
    """
    scores = sorted(float("-inf") if score != score else score for group in groups for score in group)
    if len(scores) == len(groups):
        return median_interval(scores, confidence)
    if median_interval([0.0] * len(groups), confidence) is None:
        return None
    middle = median(scores)
    hits = [sum(not score > middle for score in group) for group in groups]
    independent = 0.25 / len(scores)
    half = _reach(len(groups), confidence) * sqrt(max(_variance(groups, hits, sum(hits) / len(scores)), independent))
    low, high = floor((0.5 - half) * len(scores)) - 1, ceil((0.5 + half) * len(scores))
    return scores[max(low, 0)], scores[min(high, len(scores) - 1)]


def _variance(groups: Sequence[Sequence[float]], hits: Sequence[int], share: float) -> float:
    """The variance of a share of scores by what the groups differ in (a ratio estimator)."""
    total, count = sum(map(len, groups)), len(groups)
    if count < 2:
        return share * (1 - share)
    return count / (count - 1) * sum((hit - share * len(group)) ** 2 for hit, group in zip(hits, groups, strict=True)) / total**2


def _reach(groups: int, confidence: float) -> float:
    """The quantile of Student's t for so many groups."""
    return float(student.ppf((1 + confidence) / 2, max(groups - 1, 1)))


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
