"""The Bayes-optimal objective: the ball, the annealed likelihood, and known attacks as its special cases."""

import math
from dataclasses import replace

import pytest
import torch
from batches import alike
from torch import nn

from leakgauge.attacks.annealing import Annealing
from leakgauge.attacks.ball import Ball
from leakgauge.attacks.bayes import bayes
from leakgauge.attacks.cpl import cpl
from leakgauge.attacks.deep import Deep
from leakgauge.attacks.dlg import dlg
from leakgauge.attacks.dummies import draw
from leakgauge.attacks.gradinversion import gradinversion
from leakgauge.attacks.group import GroupConsistency
from leakgauge.attacks.idlg import idlg
from leakgauge.attacks.inverting_gradients import inverting_gradients
from leakgauge.attacks.labels.known import Known
from leakgauge.attacks.likelihoods.cosine import Cosine
from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.attacks.likelihoods.uninformative import Uninformative
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.objective import Problem
from leakgauge.attacks.priors.l2 import L2
from leakgauge.attacks.priors.total_variation import TotalVariation
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.searches.adam import Adam
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.core import tree
from leakgauge.core.autodiff import loss_gradient
from leakgauge.core.capabilities import ADAPTIVE
from leakgauge.core.errors import UsageError
from leakgauge.core.protocols import Found
from leakgauge.core.rng import stream
from leakgauge.core.threat import observe
from leakgauge.core.types import Batch, Inputs, Model, no_tick
from leakgauge.defenses.noise import GaussianNoise, LaplaceNoise
from leakgauge.testing import sample
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.mlp import MLP

CASE = sample(MLP(hidden=(8,)), examples=2)


def seen_of(*defenses):
    return observe(CASE.model, CASE.batch, client=FedSGD(), defenses=defenses, threat=ADAPTIVE, rng=stream(0, "client"))


def test_a_ball_is_filled_evenly():
    """The share of a d-ball within a share s of its radius is s^d."""
    batch = Batch(torch.full((500, 1, 1, 3), 0.5, dtype=torch.float64), torch.zeros(500, dtype=torch.long))
    around = Ball(radius=2.0, samples=20).around(batch, rng=stream(0))
    lengths = torch.stack([(one.x - batch.x).flatten(1).norm(dim=1) for one in around]).flatten() / 2
    assert len(around) == 20
    assert float(lengths.max()) <= 1 + 1e-6
    for share in (0.3, 0.6, 0.9):
        assert float((lengths <= share).double().mean()) == pytest.approx(share**3, abs=0.02)
    offsets = torch.cat([(one.x - batch.x).flatten(1) for one in around])
    assert float(offsets.mean().abs()) < 0.02
    assert float((offsets > 0).double().mean()) == pytest.approx(0.5, abs=0.01)


class Watching:
    """A search that evaluates the objective at its start, often, and remembers."""

    def __init__(self, often=1, step=0.0):
        self.often, self.step, self.losses, self.starts = often, step, [], []

    def minimize(self, objective, start, /, *, project, goal, rng, tick):
        self.starts.append(start["x"].clone())
        self.losses.append([float(objective(start)) for _ in range(self.often)])
        return Found({**start, "x": start["x"] + self.step}, self.losses[-1][0], torch.tensor(self.losses[-1]))


def matching(search, **settings):
    parts = {"likelihood": Gaussian(), "space": Pixels(start_from="gray"), "replay": Granted(), "labels": Known()}
    return Matching(**{**parts, "search": search, **settings})


def test_the_objective_is_the_mean_over_the_ball():
    """For squared pixels the mean over a d-ball of radius r is |x|^2 + r^2 d / (d + 2)."""
    seen, radius = seen_of(), 0.7
    size = CASE.batch.x[0].numel()
    settings = {"likelihood": Uninformative(), "priors": (L2(weight=1.0),)}
    alone, wide = Watching(), Watching(often=400)
    matching(alone, **settings).run(seen, rng=stream(0, "attack"), tick=no_tick)
    matching(wide, **settings, ball=Ball(radius=radius, samples=5)).run(seen, rng=stream(0, "attack"), tick=no_tick)
    point = matching(alone, ball=Ball(radius=0.0, samples=3)).loss_at(seen, CASE.batch)
    assert float(point) == pytest.approx(0, abs=1e-8)
    per_pixel = float(L2(weight=1.0)(alike(torch.ones_like(CASE.batch.x)), seen)) / CASE.batch.x.numel()
    expected = alone.losses[0][0] + per_pixel * len(CASE.batch) * radius**2 * size / (size + 2)
    found = wide.losses[0]
    assert len(set(found)) == len(found)  # drawn anew at every evaluation
    assert sum(found) / len(found) == pytest.approx(expected, rel=0.01)


def test_the_weight_of_the_likelihood_grows_while_the_search_goes_on():
    search = Watching(step=0.01)
    seen = seen_of()
    priors = (L2(weight=0.5),)
    matching(search, priors=priors, annealing=Annealing(start=1e-2, stages=3)).run(seen, rng=stream(0, "attack"), tick=no_tick)
    assert Annealing(start=1e-2, stages=3).weights() == pytest.approx((1e-2 ** (2 / 3), 1e-2 ** (1 / 3), 1.0))
    assert len(search.starts) == 3
    for stage, weight in enumerate(Annealing(start=1e-2, stages=3).weights()):
        assert torch.allclose(search.starts[stage], search.starts[0] + 0.01 * stage)
        batch = Batch(seen.model.inputs.denormalize(search.starts[stage]), seen.labels)
        gradient = loss_gradient(seen.model, batch).params
        expected = weight * float(Gaussian()(gradient, seen.update.delta)) + float(L2(weight=0.5)(batch, seen))
        assert search.losses[stage][0] == pytest.approx(expected, rel=1e-4)


def own_loss(seen, x):
    gradient = loss_gradient(seen.model, Batch(seen.model.inputs.denormalize(x), seen.labels)).params
    return float(Gaussian()(gradient, seen.update.delta))


def test_of_annealed_restarts_the_worse_half_ends_after_each_stage():
    search, seen = Watching(), seen_of()
    halved = matching(search, space=Pixels(), restarts=5, annealing=Annealing(start=1e-2, stages=3, halving=True))
    found = halved.run(seen, rng=stream(0, "attack"), tick=no_tick)
    stages = [search.starts[:5], search.starts[5:8], search.starts[8:]]
    assert [len(stage) for stage in stages] == [5, 3, 2]
    weights = halved.annealing.weights()
    for earlier, stage, weight in zip(stages, stages[1:], weights, strict=False):
        losses = [weight * own_loss(seen, x) for x in earlier]
        kept = sorted(sorted(range(len(earlier)), key=losses.__getitem__)[: len(stage)])
        assert all(torch.equal(x, earlier[row]) for x, row in zip(stage, kept, strict=True))
    assert found.losses.tolist() == pytest.approx([own_loss(seen, x) for x in stages[0]], rel=1e-4), "of all, at the same weight"


@pytest.mark.parametrize("start", [1e-2, 1.0])
def test_the_last_stage_alone_is_polished(start):
    search, polish = Watching(), Watching(step=0.5)
    annealed = Annealing(start=start, stages=3, halving=True, polish=polish)
    found = matching(search, space=Pixels(), restarts=4, annealing=annealed).run(seen_of(), rng=stream(0, "attack"), tick=no_tick)
    assert (len(search.starts), len(polish.starts)) == (4 + 2, 1)
    assert len(found.losses) == 4


class Alone:
    """Adam that does not say that it can follow many starts."""

    def minimize(self, objective, start, /, **given):
        return Adam(steps=3).minimize(objective, start, **given)


@pytest.mark.parametrize("halving", [False, True])
def test_annealed_restarts_at_once_are_those_of_one_after_the_other(halving):
    seen, settings = seen_of(), {"restarts": 3, "annealing": Annealing(start=1e-2, stages=2, halving=halving)}
    together, apart = (
        matching(search, space=Pixels(), **settings).run(seen, rng=stream(0, "attack"), tick=no_tick)
        for search in (Adam(steps=3), Alone())
    )
    assert together.losses.tolist() == pytest.approx(apart.losses.tolist(), rel=1e-4)
    torch.testing.assert_close(together.batch.x, apart.batch.x, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "parts", [{"annealing": Annealing()}, {"deep": Deep(search=Adam(), annealing=Annealing())}], ids=["plain", "deep"]
)
def test_a_group_is_not_annealed(parts):
    with pytest.raises(UsageError, match="annealing: a group ends with one member"):
        matching(Adam(), group=GroupConsistency(), **parts)


def test_under_gaussian_noise_bayes_is_the_squared_distance_up_to_its_weight():
    """The search moves alike: the images are those of L2 with the weight 1 / (2 sigma^2)."""
    seen = seen_of(GaussianNoise(sigma=0.01))
    search = Adam(steps=30)
    by_theory = bayes(total_variation=0.1, search=search)
    by_hand = matching(
        search, likelihood=Gaussian(weight=1 / (2 * 0.01**2)), priors=by_theory.priors, space=Pixels(start_from="pink")
    )
    guesses = [attack.run(seen, rng=stream(0, "attack"), tick=no_tick).batch.x for attack in (by_theory, by_hand)]
    torch.testing.assert_close(*guesses, atol=1e-3, rtol=0)


def test_the_likelihood_that_fits_finds_more_under_noise_that_is_not_gaussian():
    """Laplace noise has tails: squared distances chase its largest draws."""
    case = sample(LeNet(channels=4), examples=1)
    errors = {"bayes": 0.0, "squares": 0.0}
    for seed in range(4):
        seen = observe(
            case.model,
            case.batch,
            client=FedSGD(),
            defenses=[LaplaceNoise(scale=2e-3)],
            threat=ADAPTIVE,
            rng=stream(seed, "client"),
        )
        by_theory = bayes(total_variation=1.0, search=Adam(learning_rate=0.05, steps=200, schedule="cosine"))
        squares = matching(
            by_theory.search,
            likelihood=Gaussian(weight=1 / (4 * 2e-3**2)),
            priors=by_theory.priors,
            space=Pixels(start_from="pink"),
        )
        for name, attack in (("bayes", by_theory), ("squares", squares)):
            guess = attack.run(seen, rng=stream(seed, "attack"), tick=no_tick).batch.x
            errors[name] += float((guess - case.batch.x).square().mean())
    assert errors["bayes"] < 1.02 * errors["squares"]


# Known attacks, written down as their papers have them


def losses(attack, batch):
    seen = seen_of()
    return float(attack.loss_at(seen, batch)), loss_gradient(seen.model, batch).params, seen.update.delta


def squared(ours, theirs):
    return sum(float((ours[name] - theirs[name]).square().sum()) for name in ours)


OTHER = sample(MLP(hidden=(8,)), examples=2, seed=3).batch


@pytest.mark.parametrize("recipe", [dlg, idlg], ids=["dlg", "idlg"])
def test_dlg_and_idlg_are_squared_distances_under_a_flat_prior(recipe):
    loss, ours, theirs = losses(recipe(), OTHER)
    assert loss == pytest.approx(squared(ours, theirs), rel=1e-5)


def test_inverting_gradients_is_one_minus_the_cosine_and_total_variation():
    loss, ours, theirs = losses(inverting_gradients(total_variation=0.3), OTHER)
    dot = sum(float((ours[name] * theirs[name]).sum()) for name in ours)
    norms = [math.sqrt(sum(float(value.square().sum()) for value in one.values())) for one in (ours, theirs)]
    x = OTHER.x
    variation = float((x[..., 1:] - x[..., :-1]).abs().mean() + (x[..., 1:, :] - x[..., :-1, :]).abs().mean())
    assert loss == pytest.approx(1 - dot / (norms[0] * norms[1]) + 0.3 * variation, rel=1e-4)


def test_cpl_is_the_squared_distance_and_how_far_the_prediction_is_from_the_label():
    loss, ours, theirs = losses(cpl(label_agreement=0.7), OTHER)
    predicted = seen_of().model.logits(OTHER.x).softmax(dim=-1).tolist()
    wanted = [
        [float(column == label) for column in range(len(row))] for row, label in zip(predicted, OTHER.y.tolist(), strict=True)
    ]
    distance = sum((p - y) ** 2 for row, labels in zip(predicted, wanted, strict=True) for p, y in zip(row, labels, strict=True))
    assert loss == pytest.approx(squared(ours, theirs) + 0.7 * distance / len(OTHER), rel=1e-5)


def test_gradinversion_is_the_squared_distance_and_three_terms_for_the_image():
    net = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.Sigmoid(), nn.Flatten(), nn.Linear(18, 3))
    params, buffers = dict(net.named_parameters()), dict(net.named_buffers())
    model = Model(net, tree.detach(params), tree.detach(buffers), nn.functional.cross_entropy, Inputs((1, 5, 5), 3))
    truth, other = (Batch(torch.rand(2, 1, 5, 5, generator=stream(seed)), torch.tensor([0, 2])) for seed in (0, 1))
    seen = observe(model, truth, client=FedSGD(), threat=ADAPTIVE, rng=stream(0, "client"))
    found = nn.functional.conv2d(other.x, model.params["0.weight"]).transpose(0, 1).flatten(1)
    terms = {
        "gradient": squared(loss_gradient(model, other).params, seen.update.delta),
        "total_variation": float(other.x.diff(dim=-1).abs().mean() + other.x.diff(dim=-2).abs().mean()),
        "l2": sum(math.sqrt(float(image.square().sum())) for image in other.x) / 2,
        "batchnorm": float(found.mean(dim=1).norm() + (found.var(dim=1) - 1).norm()),  # a fresh layer knows mean 0 and variance 1
    }
    for name, expected in terms.items():
        weights = {"gradient": 1e-9, **dict.fromkeys(("total_variation", "l2", "batchnorm"), 0.0), name: 0.5}
        loss = float(gradinversion(**weights, group=None).loss_at(seen, other))
        assert loss == pytest.approx(0.5 * expected, rel=1e-4)


def test_what_a_fit_is_worth_is_what_its_formula_says():
    seen = seen_of()
    attack = matching(Adam(steps=1), priors=(L2(weight=0.5),))
    problem = Problem(seen, attack.terms, Pixels(), seen.labels, None, stream(0))
    point = {"x": 2 * torch.randn(CASE.batch.x.shape, generator=stream(1))}
    batch = problem.batch_at(point)
    misfit = float(Gaussian()(loss_gradient(seen.model, batch).params, seen.update.delta))
    numbers = sum(value.numel() for value in seen.update.delta.values())
    pink = Batch(draw(seen.model.inputs, 8, "pink", rng=stream(0, "usual")), torch.zeros(8, dtype=torch.int64))
    expected = numbers * float(L2(weight=0.5)(pink, seen)) / (2 * batch.x.numel() * misfit)
    assert problem.worth(point) == pytest.approx(expected, rel=1e-4)
    assert problem.weighted(0.1).worth(point) == problem.worth(point)
    assert problem.worth({"x": seen.model.inputs.normalize(CASE.batch.x[CASE.batch.y.argsort()])}) > 1e9
    assert replace(problem, terms=replace(problem.terms, likelihood=Uninformative())).worth(point) == math.inf


def test_a_measured_weight_grows_as_far_as_what_was_found_is_worth():
    asked, ticks, worths = [], [], {0: [0.02, 0.05, 0.08, 0.09], 1: [3.0, 0.8, 0.9]}
    told = {target: iter(each) for target, each in worths.items()}
    known = {}

    def stage(weight, other, rows, earlier, is_last, tick):
        asked.append((round(weight, 4), other, list(rows), len(earlier), is_last))
        known.update(dict.fromkeys((targets[row] for row in rows), None))
        tick(1.0)
        return [Found({"x": torch.tensor(float(row))}, float(row), torch.zeros(1)) for row in rows]

    def worth(row, found):
        assert found.loss == row
        if known[targets[row]] is None:
            known[targets[row]] = next(told[targets[row]])
        return known[targets[row]]

    targets, polish = [0, 0, 1], Adam(steps=1)
    annealing = Annealing(start=1e-2, stages=2, measured=True, polish=polish)
    ended = annealing.minimize(stage, targets, worth=worth, tick=ticks.append)
    assert asked == [
        (0.1, None, [0, 1, 2], 0, False),
        (0.02, polish, [0, 1], 2, True),  # what the first target's is worth,
        (1.0, polish, [2], 1, True),  # and the second one's, which is worth more than was planned
        (0.05, polish, [0, 1], 2, True),  # as often as it is worth more by half
        (0.08, polish, [0, 1], 2, True),
    ]
    assert ended.weights == [0.08, 0.08, 1.0]
    assert ticks == sorted(ticks)


def test_restarts_are_compared_at_the_weight_that_their_update_deserves():
    rng = stream(4, "noise")
    seen = seen_of()
    delta = {name: value + torch.randn(value.shape, generator=rng) * value.std() for name, value in seen.update.delta.items()}
    noisy = replace(seen, update=replace(seen.update, delta=delta))
    annealing = Annealing(start=0.1, stages=2, measured=True, halving=True)
    settings = {"likelihood": Cosine(), "priors": (L2(weight=0.005),), "restarts": 4, "annealing": annealing}
    attack = matching(Adam(steps=20), **settings)
    found = attack.run(noisy, rng=stream(0, "attack"), tick=no_tick)
    problem = Problem(noisy, attack.terms, Pixels(), noisy.labels, None, stream(0))
    point = {"x": noisy.model.inputs.normalize(found.batch.x)}
    prior = float(problem.weighted(0.0)(point))
    weight = (float(found.losses.min()) - prior) / (float(problem(point)) - prior)
    assert 0 < weight < 0.9, "noise was taken for the image's"
    assert weight == pytest.approx(problem.worth(point), rel=1.0)


def test_where_the_prior_says_nothing_the_update_keeps_its_weight():
    model = MLP(hidden=(8,)).build(Inputs((6,), 3), rng=stream(0))
    seen = observe(model, Batch(torch.rand(1, 6), torch.tensor([1])), client=FedSGD(), threat=ADAPTIVE, rng=stream(1))
    settings = {"priors": (TotalVariation(),), "restarts": 2, "annealing": Annealing(stages=2, measured=True)}
    problem = Problem(seen, matching(Adam(steps=1), **settings).terms, Pixels(), seen.labels, None, stream(0))
    assert problem.worth({"x": torch.zeros(1, 6)}) == math.inf
    found = matching(Adam(steps=5), **settings).run(seen, rng=stream(0, "attack"), tick=no_tick)
    assert float(found.losses.min()) > 0, "the likelihood was left out"
