"""Judging: matching and ranks against brute force, and the statistics against known numbers and enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from leakgauge.auditing.judging import judge
from leakgauge.core.errors import UsageError
from leakgauge.core.rng import stream
from leakgauge.core.statistics import clustered_median_interval, clustered_share, median_interval, recovered_share, wilson
from leakgauge.core.types import Batch

SHAPE = (2, 3, 3)


def mse(guess, truth):
    return (guess - truth).square().flatten(1).mean(1)


def psnr(guess, truth):
    return -10 * mse(guess, truth).clamp(min=1e-12).log10()


METRICS = {"mse": mse, "psnr": psnr}


def images(n, seed=0):
    return torch.rand(n, *SHAPE, generator=stream(seed, "images"))


def batch(x, y=None):
    return Batch(x, torch.zeros(len(x), dtype=torch.int64) if y is None else torch.tensor(y))


def judged(secret, guess, candidates=None):
    return judge(batch(secret), batch(guess), candidates=candidates, metrics=METRICS)


# ---------------------------------------------------------------------------------------------------- matching


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(4))
def test_the_assignment_is_the_best_of_all_permutations(n, seed):
    truth, guess = images(n, seed), 3 * images(n, seed + 100) - 1
    clamped = guess.clamp(0, 1)

    def cost(permutation):
        return sum(float((clamped[j] - truth[i]).square().mean()) for i, j in enumerate(permutation))

    best = min(itertools.permutations(range(n)), key=cost)
    result = judged(truth, guess)
    assert result.assignment.tolist() == list(best)
    assert torch.equal(result.matched, clamped[list(best)])
    torch.testing.assert_close(result.scores["mse"], mse(clamped[list(best)], truth))


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(5)), st.integers(0, 1000))
def test_the_order_of_the_guess_changes_nothing(order, seed):
    truth, guess, candidates = images(5, seed), images(5, seed + 1), images(7, seed + 2)
    one, two = judged(truth, guess, candidates), judged(truth, guess[list(order)], candidates)
    for name in METRICS:
        assert torch.equal(one.scores[name], two.scores[name])
    assert torch.equal(one.ranks, two.ranks)
    assert torch.equal(one.matched, two.matched)
    assert torch.equal(one.assignment, torch.tensor(list(order))[two.assignment])


def test_a_perfect_guess():
    truth = images(4)
    result = judged(truth, truth.flip(0), images(20, seed=1))
    assert result.assignment.tolist() == [3, 2, 1, 0]
    torch.testing.assert_close(result.scores["psnr"], torch.full((4,), 120.0))
    assert result.ranks.tolist() == [1, 1, 1, 1]
    assert result.candidates_count == 21


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_guess_that_is_not_finite_is_matched_to_nothing(bad):
    truth = images(3)
    guess = truth.clone()
    guess[1, 0, 0, 0] = bad
    result = judged(truth, guess, images(4, seed=1))
    assert result.assignment.tolist() == [0, -1, 2]
    assert result.scores["psnr"].isnan().tolist() == [False, True, False]
    assert result.matched.flatten(1).isnan().all(1).tolist() == [False, True, False]
    assert result.ranks.tolist() == [1, 5, 1]
    nothing = judged(truth, torch.full_like(truth, bad), images(4, seed=1))
    assert nothing.assignment.tolist() == [-1, -1, -1]
    assert nothing.scores["mse"].isnan().all()
    assert nothing.ranks.tolist() == [5, 5, 5]


def test_fewer_or_more_guesses_than_truths():
    truth = images(3)
    fewer = judged(truth, truth[2:], images(4, seed=1))
    assert fewer.assignment.tolist() == [-1, -1, 0]
    assert fewer.scores["mse"].isnan().tolist() == [True, True, False]
    assert fewer.ranks.tolist() == [5, 5, 1]
    more = judged(truth, torch.cat([images(2, seed=9), truth]))
    assert more.assignment.tolist() == [2, 3, 4]
    assert judged(truth, truth[:0]).assignment.tolist() == [-1, -1, -1]


@pytest.mark.parametrize("guesses", [2, 3, 4])
def test_what_was_trained_on_is_matched_by_itself(guesses):
    """The nearest secret of a guess need not be the one whose transform it is."""
    truth, changed, guess = images(3), images(3, seed=1), images(guesses, seed=2)

    def cost(rows):
        return sum(float((guess[row] - changed[place]).square().mean()) for place, row in enumerate(rows) if row is not None)

    ways = itertools.permutations([*range(guesses), *[None] * (3 - guesses)], 3)
    best = min(ways, key=cost)
    plain = judged(truth, guess, images(5, seed=3))
    both = judge(batch(truth), batch(guess), candidates=images(5, seed=3), metrics=METRICS, trained=batch(changed))
    assert both.scores.keys() == {"mse", "psnr", "mse_trained", "psnr_trained"}
    for place, row in enumerate(best):
        expected = math.nan if row is None else float((guess[row] - changed[place]).square().mean())
        assert float(both.scores["mse_trained"][place]) == pytest.approx(expected, nan_ok=True)
    for name, values in plain.scores.items():
        torch.testing.assert_close(both.scores[name], values, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(both.assignment, plain.assignment)
    assert torch.equal(both.ranks, plain.ranks)
    assert both.label_accuracy == plain.label_accuracy


def test_nothing_is_mutated_and_graphs_end_here():
    truth, guess = images(2), (images(2, seed=1) + 1).requires_grad_()
    before = guess.detach().clone()
    result = judged(truth, guess, images(2, seed=2))
    assert torch.equal(guess, before)
    assert not result.matched.requires_grad
    assert not any(values.requires_grad for values in result.scores.values())


def test_examples_of_another_shape_are_refused():
    with pytest.raises(UsageError, match="guess: got examples of shape"):
        judged(images(2), torch.rand(2, 1, 3, 3, generator=stream(0)))
    with pytest.raises(UsageError, match="candidates: got examples of shape"):
        judged(images(2), images(2), torch.rand(2, 1, 3, 3, generator=stream(0)))


# ---------------------------------------------------------------------------------------------------- ranks


def standing(pool, guess):
    """How far each picture [C, H, W] stands out by nearness to the guess, scale by scale, in plain numpy."""

    def unexplained(x, g):
        left = [((a - (a @ b) / max(b @ b, 1e-12) * b) ** 2).sum() for a, b in zip(x, g, strict=True)]
        return max(np.sqrt(sum(left) / sum(a.size for a in x)), 1e-6)

    def centered(x):
        return [channel.ravel() - channel.mean() for channel in x]

    def edges(x):
        return [np.concatenate([np.diff(channel, axis=axis).ravel() for axis in (0, 1)]) for channel in x]

    gains = [[-np.log(max(np.sqrt(((x - guess) ** 2).mean()), 1e-6)) for x in pool]]
    for part in (centered, edges):
        size = [max(np.sqrt(sum((a**2).sum() for a in part(x)) / sum(a.size for a in part(x))), 1e-6) for x in pool]
        gains.append([np.log(all_of_it / unexplained(part(x), part(guess))) for x, all_of_it in zip(pool, size, strict=True)])
    middles = [sorted(gain)[(len(gain) - 1) // 2] for gain in gains]
    spreads = [1.4826 * sorted(abs(g - m) for g in gain)[(len(gain) - 1) // 2] for gain, m in zip(gains, middles, strict=True)]
    return np.max([(np.array(g) - m) / s for g, m, s in zip(gains, middles, spreads, strict=True)], axis=0)


def test_ranks_of_one_guess_against_a_loop():
    for seed in range(20):
        truth, guess, candidates = images(1, seed), images(1, seed + 50), images(9, seed + 99)
        own, *others = standing(torch.cat([truth, candidates]).double().numpy(), guess[0].double().numpy())
        nearer, ties = sum(other > own for other in others), sum(other == own for other in others)
        assert judged(truth, guess, candidates).ranks.tolist() == [1 + nearer + (ties + 1) // 2]


@pytest.mark.parametrize(("gain", "offset"), [(0.2, 0.4), (0.05, 0.9), (-0.3, 0.6)])
def test_no_gain_and_no_offset_hides_a_picture(gain, offset):
    truth, candidates = images(3), images(40, seed=1)
    assert judged(truth, gain * truth + offset, candidates).ranks.tolist() == [1, 1, 1]


def flat(*values):
    return torch.tensor(values).reshape(-1, 1, 1, 1).expand(-1, *SHAPE).clone()


@pytest.mark.parametrize(("same", "rank"), [(0, 2), (1, 3), (2, 3), (3, 4)])
def test_ties_count_against(same, rank):
    candidates = flat(0.5, 1.0, *[0.25] * same)
    assert judged(flat(0.25), flat(0.5), candidates).ranks.tolist() == [rank]


def test_without_candidates_there_are_no_ranks():
    result = judged(images(2), images(2))
    assert result.ranks is None
    assert result.candidates_count is None


def test_several_guesses_that_know_nothing_get_uniform_ranks():
    """A rank by the matched guess fails this by far, for the match was made with the truths in hand."""
    n, others = 6, 9
    ranks = [
        rank
        for seed in range(250)
        for rank in judged(images(n, seed), images(n, seed + 1000), images(others, seed + 2000)).ranks.tolist()
    ]
    counts = np.bincount(ranks, minlength=others + 2)[1:]
    assert counts.sum() == n * 250
    assert abs(counts[0] / counts.sum() - 0.1) < 0.03
    assert abs(np.mean(ranks) - 5.5) < 0.3


# ---------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("true", "guessed", "share"),
    [
        ([0, 1, 2], [2, 0, 1], 1.0),
        ([0, 0, 1], [0, 1, 1], 2 / 3),
        ([0, 1], [2, 3], 0.0),
        ([5, 5, 5, 1], [5], 1 / 4),
        ([1], [1, 1, 1], 1.0),
    ],
)
def test_label_accuracy_is_the_overlap_of_multisets(true, guessed, share):
    def accuracy(y):
        return judge(batch(images(len(true)), true), Batch(images(len(guessed)), y), candidates=None, metrics={}).label_accuracy

    assert accuracy(torch.tensor(guessed)) == pytest.approx(share)
    soft = 0.1 + torch.nn.functional.one_hot(torch.tensor(guessed), 6).float()
    assert accuracy(soft) == pytest.approx(share)


def test_a_label_that_is_not_finite_is_no_label():
    guess = Batch(images(2), torch.tensor([[0.1, 0.9], [math.nan, 0.0]]))
    assert judge(batch(images(2), [1, 0]), guess, candidates=None, metrics={}).label_accuracy == 0.5


# ---------------------------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),  # Newcombe, Statistics in Medicine 1998, table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_against_published_numbers(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_wilson_at_the_edges():
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(5, 5)[1] == 1.0
    assert wilson(3, 9, 0.99)[0] < wilson(3, 9)[0]
    with pytest.raises(UsageError, match="got 3 of 2"):
        wilson(3, 2)


def test_recovered_share():
    share = recovered_share([25.0, 20.0, 19.9, math.nan], 20.0)
    assert share.value == 0.5
    assert (share.low, share.high) == wilson(2, 4)
    with pytest.raises(UsageError, match="got none"):
        recovered_share([], 20.0)


def test_the_median_interval_of_tables():
    # Conover, Practical Nonparametric Statistics: 95% intervals for the median by order statistics
    assert median_interval(range(1, 6)) is None
    assert median_interval([]) is None
    assert median_interval([3.0, 1.0, 2.0, 6.0, 5.0, 4.0]) == (1.0, 6.0)
    assert median_interval(range(1, 11)) == (2, 9)
    assert median_interval(range(1, 21)) == (6, 15)


@pytest.mark.parametrize("n", [6, 9, 17, 40])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_median_interval_covers_as_promised_and_could_not_be_narrower(n, confidence):
    low, high = median_interval(range(1, n + 1), confidence)
    assert low == n + 1 - high

    def coverage(lower):  # by the number of values below the median
        return sum(math.comb(n, below) for below in range(lower, n + 1 - lower)) / 2**n

    assert coverage(low) >= confidence
    assert low + 1 > n - low or coverage(low + 1) < confidence


def test_nan_is_the_smallest_value_of_a_median():
    assert median_interval([math.nan, 1.0, 2.0, 3.0, 4.0, 5.0]) == (-math.inf, 5.0)


@pytest.mark.parametrize("alike", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("batches", [12, 30])
def test_intervals_over_examples_of_one_batch_hold_what_they_promise(alike, batches):
    """Scores that share a part of each batch: the share above 0.5 and the median are known, 95% intervals hold them."""
    rng, held = np.random.default_rng(0), {"share": 0, "median": 0}
    for _ in range(400):
        shared, own = rng.standard_normal((batches, 1)), rng.standard_normal((batches, 8))
        groups = (alike**0.5 * shared + (1 - alike) ** 0.5 * own).tolist()
        _, low, high = clustered_share(groups, 0.5)
        held["share"] += low <= stats.norm.sf(0.5) <= high
        low, high = clustered_median_interval(groups)
        held["median"] += low <= 0 <= high
    assert min(held.values()) >= 0.93 * 400


def test_one_example_a_batch_is_as_before():
    values = [21.0, 19.0, 25.0, 12.0, 30.0, 22.0, 18.0]
    assert clustered_share([[value] for value in values], 20.0) == recovered_share(values, 20.0)
    assert clustered_median_interval([[value] for value in values]) == median_interval(values)
    assert clustered_median_interval([[1.0, 2.0]] * 5) is None
    low, high = clustered_share([[30.0] * 8] * 3, 20.0)[1:]
    assert low < 0.45  # three batches in which all agree are three, not 24
    assert high == pytest.approx(1.0)
    with pytest.raises(UsageError, match="got none"):
        clustered_share([[], []], 20.0)
