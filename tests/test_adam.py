"""What Adam's first step gives away: signs everywhere, and sizes where its epsilon shows."""

from dataclasses import replace

import pytest
import torch

from leakgauge.attacks.adam_inversion import adam_inversion
from leakgauge.attacks.adam_undone import AdamUndone
from leakgauge.attacks.analytic import Analytic
from leakgauge.attacks.labels.known import Known
from leakgauge.attacks.likelihoods.saturated import Saturated
from leakgauge.attacks.likelihoods.sign_agreement import SignAgreement
from leakgauge.attacks.priors.total_variation import TotalVariation
from leakgauge.attacks.searches.adam import Adam as SearchAdam
from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.optimizers.adam import Adam
from leakgauge.core import tree
from leakgauge.core.capabilities import INFORMED
from leakgauge.core.rng import stream
from leakgauge.core.threat import observe
from leakgauge.core.types import Batch, no_tick
from leakgauge.data.photographs import Photographs
from leakgauge.testing import sample
from leakgauge.victims.lenet import LeNet

EPSILON = 1e-8
FIRST = FedAvg(optimizer=Adam(learning_rate=1e-3))


def test_a_step_is_turned_back_into_its_gradient():
    rng = stream(0, "gradient")
    before = {"a": 0.3 * torch.randn(40, 5, generator=rng), "b": torch.zeros(40)}
    sizes = {"a": torch.logspace(-11, 0, 200).reshape(40, 5), "b": torch.logspace(-11, 0, 40)}
    gradient = tree.apply(lambda size: size * torch.where(torch.rand(size.shape, generator=rng) < 0.5, -1, 1), sizes)
    after, _ = Adam(learning_rate=1e-3, eps=EPSILON).step(before, gradient, {})
    step = tree.apply(torch.sub, before, after)
    found = AdamUndone(attack=Analytic(), error=0.05).gradient(step, before)
    largest = max(float(value.abs().max()) for value in found.values())
    for name, value in found.items():
        known = value.abs() < largest
        assert torch.equal(value[step[name] != 0].sign(), gradient[name][step[name] != 0].sign())
        large = known & (gradient[name].abs() > 1e-9)  # smaller ones are lost in the weights' own rounding
        torch.testing.assert_close(EPSILON * value[large], gradient[name][large], rtol=0.2, atol=0)
        assert float((EPSILON * value[large] / gradient[name][large] - 1).abs().median()) < 0.05
        assert bool(known[gradient[name].abs() < 1e-7].all())
    assert not bool((found["a"].abs() < largest)[gradient["a"].abs() > 1e-4].all())
    assert float((found["b"].abs() < largest).float().mean()) > float((found["a"].abs() < largest).float().mean())


def by_hand(guess, seen, signs, readable):
    """The loss, number by number."""
    largest = max(abs(float(number)) for value in seen.values() for number in value.flatten())
    shares = []
    for name, value in seen.items():
        for ours, theirs in zip(guess[name].reshape(len(value), -1).tolist(), value.reshape(len(value), -1).tolist(), strict=True):
            pairs = [(o, t) for o, t in zip(ours, theirs, strict=True) if abs(t) < largest and t != 0]
            if len(pairs) < max(2, readable * len(ours)):
                continue
            scale = sum(o * t for o, t in pairs) / sum(o * o for o, _ in pairs)
            left = sum((t - scale * o) ** 2 for o, t in pairs) / sum(t * t for _, t in pairs)
            shares.append(left if scale >= 0 else 2 - left)
    assert len(shares) > 1
    return sum(shares) / len(shares) + signs * float(SignAgreement()(guess, seen))


def updates():
    rng = stream(1, "updates")
    shapes = {"a": (4, 6), "b": (4,), "c": (2, 2, 3)}
    seen = {name: torch.randn(shape, generator=rng).double().clamp(-1, 1) for name, shape in shapes.items()}
    seen["a"][0] *= 1e-9
    seen["a"][1, 1:] = 1
    return {name: value + 0.7 * torch.randn(value.shape, generator=rng).double() for name, value in seen.items()}, seen


@pytest.mark.parametrize("readable", [0.3, 0.9])
def test_saturated_compares_sizes_by_row_and_signs_everywhere(readable):
    guess, seen = updates()
    likelihood = Saturated(weight=2.0, signs=0.3, readable=readable)
    for factor in (1.0, -1.0):
        turned = {name: factor * value for name, value in guess.items()}
        assert float(likelihood(turned, seen)) == pytest.approx(2 * by_hand(turned, seen, 0.3, readable), rel=1e-6)
    assert float(likelihood(seen, seen)) == pytest.approx(0, abs=1e-12)


def test_saturated_has_the_slopes_of_its_value():
    guess, seen = updates()
    leaves = {name: value.clone().requires_grad_() for name, value in guess.items()}
    likelihood = Saturated(signs=0)
    slopes = torch.autograd.grad(likelihood(leaves, seen), list(leaves.values()), materialize_grads=True)
    for (name, value), slope in zip(guess.items(), slopes, strict=True):
        for place in range(value.numel()):
            ends = []
            for sign in (1, -1):
                moved = value.clone()
                moved.view(-1)[place] += sign * 1e-6
                ends.append(float(likelihood({**guess, name: moved}, seen)))
            assert float(slope.flatten()[place]) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-7)


def test_an_update_without_sizes_leaves_the_signs():
    guess, seen = updates()
    signs = {name: value.sign() for name, value in seen.items()}
    assert float(Saturated(signs=0.3)(guess, signs)) == pytest.approx(0.3 * float(SignAgreement()(guess, signs)))


@pytest.fixture(scope="module")
def case():
    pool = Photographs(size=32).load()
    case = sample(LeNet(), examples=1, inputs=pool.inputs)
    return replace(case, batch=Batch(pool.x[3:4], pool.y[3:4])), pool


def test_the_sizes_tell_an_image_from_others(case):
    """As far as the objective goes: the truth explains the sizes, other images and the signs alone do not tell it apart so well."""
    case, pool = case
    seen = observe(case.model, case.batch, client=FIRST, threat=INFORMED, rng=stream(0, "client"))
    attack = adam_inversion(total_variation=0, labels=Known())
    at_truth = float(attack.loss_at(seen, case.batch))
    others = [float(attack.loss_at(seen, Batch(pool.x[row : row + 1], case.batch.y))) for row in range(40, 60)]
    assert at_truth < 0.05 * min(others)


def test_sizes_bring_an_image_back_that_signs_do_not(case):
    case, _ = case
    seen = observe(case.model, case.batch, client=FIRST, threat=INFORMED, rng=stream(0, "client"))
    search = SearchAdam(learning_rate=0.05, steps=300, schedule="cosine")
    whole = adam_inversion(labels=Known(), search=search)
    signs = replace(whole.attack, likelihood=SignAgreement(), priors=(TotalVariation(weight=0.01),))
    errors = [
        float((attack.run(seen, rng=stream(0, "attack"), tick=no_tick).batch.x - case.batch.x).square().mean())
        for attack in (whole, signs)
    ]
    assert errors[0] < 0.7 * errors[1]


def test_several_rounds_and_an_attack_without_an_objective():
    case = sample(LeNet(channels=2), examples=1)
    seen = case.observe(FIRST)
    undone = AdamUndone(attack=Analytic())
    assert bool(undone.loss_at(seen, case.batch).isnan())
    assert undone.needs == Analytic().needs
    attack = adam_inversion(total_variation=0)
    once, twice = (float(attack.loss_at(one, case.batch)) for one in (seen, replace(seen, earlier=(seen,))))
    assert twice == pytest.approx(2 * once, rel=1e-5)
