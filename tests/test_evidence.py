"""What chance explains: ranks in a line-up, gaps beside it, and who stands in it."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leakgauge.auditing.chance import dimension, gap_chance, least_rank_chance, rank_chance
from leakgauge.auditing.evidence import Lineup, weigh
from leakgauge.auditing.likeness import AFFINE, EDGES, PLAIN, distances, structure
from leakgauge.auditing.lineup import split
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch
from leakgauge.data.photographs import Photographs

POOL = Photographs(size=12).load()
LIMITS = {"threshold": 20.0, "margin": 3.0}


def fisher(scores, truths, strata, slack=1e-9):
    """The chance of a sum of log(N / rank) above the true one less `slack`, by going through every choice within strata."""

    def weight(place):
        kin = [other for other in range(len(scores)) if strata[other] == strata[place]]
        return math.log(len(kin) / sum(scores[other] >= scores[place] for other in kin))

    groups = {label: [place for place in range(len(scores)) if strata[place] == label] for label in set(strata)}
    counts = {label: sum(strata[place] == label for place in truths) for label in groups}
    choices = itertools.product(*(itertools.combinations(groups[label], counts[label]) for label in groups))
    ways = [[place for part in way for place in part] for way in choices]
    seen = sum(weight(place) for place in truths)
    return sum(sum(weight(place) for place in way) >= seen - slack for way in ways) / len(ways)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=4, max_size=9), st.integers(1, 3), st.integers(1, 2), st.randoms())
def test_the_chance_of_ranks_is_that_of_all_choices(values, count, kinds, rng):
    strata = [rng.randrange(kinds) for _ in values]
    truths = list(range(count))
    is_truth = torch.arange(len(values)) < count
    found = rank_chance(torch.tensor(values, dtype=torch.double), is_truth, torch.tensor(strata))
    step = (
        2 * count * count * math.log(len(values)) / 2000
    )  # what the grid may round off two sums: they may change places, no others
    assert fisher(values, truths, strata, -step) - 1e-9 <= found <= fisher(values, truths, strata, step) + 1e-9


def test_of_one_truth_the_chance_is_its_rank():
    for rank in (1, 2, 57, 100):
        scores = torch.arange(100, 0, -1).double().roll(1 - rank)  # the truth, first in line, has this rank
        scores = torch.cat([torch.tensor([100.5 - rank]), torch.arange(99, 0, -1).double()])
        assert rank_chance(scores, torch.arange(100) == 0, torch.zeros(100)) == pytest.approx((rank + 0.0) / 100, abs=0.011)
    first = torch.tensor([2.0] + [1.0] * 99)
    assert rank_chance(first, torch.arange(100) == 0, torch.zeros(100)) == pytest.approx(0.01)


def test_chance_keeps_its_word():
    """Scores without knowledge show a chance of at most p in a share p of cases, and nearly that for several truths."""
    rng = torch.Generator().manual_seed(0)
    is_truth, strata = torch.arange(68) < 8, torch.arange(68) % 2
    found = [rank_chance(torch.randn(68, generator=rng), is_truth, strata) for _ in range(1500)]
    for level in (0.01, 0.05, 0.2):
        share = np.mean([one <= level for one in found])
        assert level / 2 - 0.005 < share < level + 3 * math.sqrt(level * (1 - level) / 1500)


def test_all_truths_first_is_the_least_chance():
    is_truth, strata = torch.arange(12) < 3, torch.tensor([0, 0, 1] + [0] * 6 + [1] * 3)
    least = least_rank_chance(is_truth, strata)
    assert least == pytest.approx(1 / math.comb(8, 2) / 4)
    assert rank_chance(is_truth.double() * 9 + torch.rand(12) / 9, is_truth, strata) == pytest.approx(least)


def test_all_alike_is_no_evidence():
    assert rank_chance(torch.ones(9), torch.arange(9) < 2, torch.zeros(9)) == 1.0


def test_a_gap_is_worth_its_volume():
    one, others, count = torch.tensor([0.01]), torch.tensor([1.0]), torch.tensor([20])
    assert gap_chance(one, others, count, 1, 1.0) == pytest.approx(0.01 / 20)
    assert gap_chance(one, others, count, 1, 2.0) == pytest.approx(1e-4 / 20)
    assert gap_chance(torch.tensor([0.01, 0.7]), torch.ones(2), torch.tensor([20, 20]), 2, 1.0) == pytest.approx(4 * 0.01 / 20)
    assert gap_chance(torch.tensor([0.51]), others, count, 1, 4.0) == 1.0  # the mean of a pool may be as near


def test_the_dimension_of_lines_and_planes():
    rng = torch.Generator().manual_seed(0)
    line, plane, many = torch.rand(300, 1, generator=rng), torch.rand(300, 2, generator=rng), torch.rand(300, 50, generator=rng)
    assert dimension(torch.cdist(line, line)) == pytest.approx(1.0, abs=0.2)
    assert dimension(torch.cdist(plane, plane)) == pytest.approx(2.0, abs=0.3)
    assert dimension(torch.cdist(many, many)) == 4.0


@pytest.mark.parametrize("shape", [(7,), (2, 7), (3, 5, 6), (1, 3, 4, 5)])
def test_distances_against_loops(shape):
    rng = stream(0, "distances")
    images, guesses = torch.rand(4, *shape, generator=rng), torch.rand(2, *shape, generator=rng)
    found = distances(images, guesses)
    assert set(found) == ({PLAIN, AFFINE} if len(shape) == 1 else {PLAIN, AFFINE, EDGES})
    for row, column in itertools.product(range(4), range(2)):
        x, g = images[row].double(), guesses[column].double()
        assert found[PLAIN][row, column] == pytest.approx(float((x - g).square().mean().sqrt()))
        channels = [(x, g)] if len(shape) == 1 else list(zip(x, g, strict=True))
        left = 0.0
        for a, b in channels:
            design = torch.stack([b.flatten(), torch.ones(b.numel())], dim=1)
            left += float((a.flatten() - design @ torch.linalg.lstsq(design, a.flatten()).solution).square().sum())
        assert found[AFFINE][row, column] == pytest.approx(math.sqrt(left / x.numel()))
    assert structure(images)[AFFINE][0] == pytest.approx(float(distances(images, torch.full_like(guesses, 0.3))[AFFINE][0, 0]))


def lineup(count=1, others=150, **changes):
    x, y = POOL.x, torch.zeros(len(POOL), dtype=torch.long)
    order = torch.randperm(len(x), generator=stream(1))
    x = x[order]
    return Lineup(
        **{"truths": x[:count], "classes": y[:count], "others": x[count : count + others], "other_classes": y[:others], **changes}
    )


def test_a_faint_picture_is_evidence_and_a_mean_image_is_none():
    one = lineup()
    blind = one.others.mean(0, keepdim=True)
    faint = 0.5 + 0.15 * (one.truths - one.truths.mean()) + 0.01 * torch.randn(one.truths.shape, generator=stream(2))
    found = weigh(one, faint, [blind], **LIMITS)
    assert found.chance <= 0.01
    assert found.ranks.tolist() == [1]
    assert weigh(one, blind, [blind], **LIMITS).chance == 1.0
    assert weigh(one, torch.full_like(blind, torch.nan), [blind], **LIMITS).chance == 1.0


def test_what_the_floor_finds_as_well_is_no_evidence():
    one = lineup()
    assert weigh(one, one.truths, [], **LIMITS).chance < 1e-4
    assert weigh(one, one.truths, [one.truths.clone()], **LIMITS).chance > 0.5


def test_one_exact_copy_among_eight_is_evidence_however_small_the_pool():
    few = lineup(8, 5)
    guesses = torch.rand(8, *POOL.x.shape[1:], generator=stream(3))
    blind = POOL.x[::7].mean(0, keepdim=True)
    assert weigh(few, guesses, [blind], **LIMITS).chance > 0.05
    guesses[4] = few.truths[2] + 1e-6
    assert weigh(few, guesses, [blind], **LIMITS).chance < 0.01


def test_bars_rise_with_what_is_near_without_knowing():
    one = lineup()
    plain = weigh(one, one.truths, [], **LIMITS).bars["psnr"]
    near = one.truths + 0.01
    raised = weigh(one, one.truths, [near], **LIMITS).bars["psnr"]
    assert float(plain) == 20.0 or float(plain) > 20.0
    assert float(raised) == pytest.approx(40 + 3, abs=0.1)
    flat = lineup(truths=torch.full((1, *POOL.x.shape[1:]), 0.3))
    assert float(weigh(flat, flat.truths, [], **LIMITS).bars["psnr_affine"]) > 120  # nothing to recover but its color


@pytest.mark.parametrize("is_labeled", [False, True])
@pytest.mark.parametrize("count", [4, 30, 340])
def test_the_sides_of_a_line_up_share_nothing(is_labeled, count):
    others = Batch(POOL.x[10 : 10 + count], POOL.y[10 : 10 + count])
    secret = Batch(POOL.x[:2], POOL.y[:2])
    sides = split(others, secret, 100, is_labeled=is_labeled, more=3, rng=stream(0))
    parts = [sides.decoy, sides.lineup, sides.held, *sides.more]
    rows = [set() if part is None else {tuple(x.flatten().tolist()) for x in part.x} for part in parts]
    assert sum(map(len, rows)) == len(set.union(*rows)) == len({tuple(x.flatten().tolist()) for x in others.x})
    assert count == 4 or len(sides.held) >= 1, "granted data never vanish"
    assert len(sides.decoy) == 2
    assert all(len(batch) == 2 and (not is_labeled or batch.y.tolist() == secret.y.tolist()) for batch in sides.more)
    if count == 340:
        assert len(sides.more) == 3
    if is_labeled and count > 4:
        assert sides.decoy.y.tolist() == secret.y.tolist()
        assert set(sides.lineup.y.tolist()) <= set(secret.y.tolist())
    if not is_labeled and count == 340:
        assert len(sides.lineup) == 99
